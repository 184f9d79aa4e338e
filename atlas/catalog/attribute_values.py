"""The attributes of many datasets as columns: one array of values for each attribute, made of interned tables.

A value that many datasets share is decoded once. Values are those that `DatasetView.attributes` shows, but for times of
NumPy, which a column of nothing else holds as such. No I/O; the session's lock guards the look-up, not the decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.catalog.attribute_set_column import AttributePart
from atlas.catalog.column_builder import AttributeSets
from atlas.chunking.batches import equal_groups
from atlas.format.attribute_keys import flatten_key, may_be_of_array
from atlas.format.attributes import Timestamp, plain_value
from atlas.format.dtypes import blank_column
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.datasets import Datasets
    from atlas.catalog.selection import DatasetSelection
    from atlas.format.attribute_keys import AttributeKey

__all__ = ["AttributeColumn", "attribute_columns", "attribute_parts", "owned_parts"]

_NANOSECONDS = np.dtype("<M8[ns]")
_INT64 = np.iinfo(np.int64)
_PLAIN = (bool, int, float, str)
"""Types of values that are stored as themselves."""
_CELL_BYTES = 9
"""Bytes of a value of a column, and whether it is present."""


@dataclass(frozen=True, slots=True, eq=False)
class AttributeColumn:
    """One attribute of N datasets, see `Atlas.attributes_across`."""

    values: NDArray[Any]
    """The value of each, (N,): bool, int64, uint64, float64, or datetime64 or timedelta64 of one unit, where all that
    are present are of that one type; else objects. Where it is not present: False, 0, NaN, NaT or None."""
    present: NDArray[np.bool_]
    """Whether the dataset has the attribute, (N,)."""


class _Exact(NamedTuple):
    """A value that is not stored as itself, decoded."""

    kind: object
    """The type of `plain` if it is one of `_PLAIN`, the dtype of a time of NumPy, None for any other value."""
    plain: Any
    """What `DatasetView.attributes` shows."""
    ticks: int = 0
    """Of a time of NumPy, in the unit of its dtype."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """The values of one attribute in some of the datasets."""

    at: NDArray[np.int64]
    """The datasets, (M,)."""
    of: NDArray[np.int64] | None
    """Which of the values each has, (M,); None for each its own in order."""
    key: AttributeKey
    """The attribute."""
    encoded: list[Any]
    """The values."""

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of each dataset, (M,)."""
        return values if self.of is None else values[self.of]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The values of a piece, decoded."""

    piece: _Piece
    """The piece."""
    kinds: set[object]
    """Kinds of its values, see `_Exact.kind`."""
    plain: list[Any]
    """What is shown of each."""
    exact: list[_Exact] = field(default_factory=list)
    """Those values, where not all are stored as themselves and of one type."""


@dataclass(frozen=True, slots=True)
class _Owner:
    """One array of some datasets, as the owner of attributes."""

    array: str
    """Its name."""
    longer: tuple[str, ...]
    """What the attributes of those arrays begin with whose names are the name of this one, a dot and more."""

    def name_of(self, text: str) -> str | None:
        """Return the name in the array of the attribute shown as `text`, None where it is not of the array."""
        if not text.startswith(f"{self.array}.") or text.startswith(self.longer):
            return None
        return text[len(self.array) + 1 :]


def attribute_parts(datasets: Datasets, selection: DatasetSelection) -> list[AttributePart]:
    """Return the attribute sets of the datasets of a selection, what is pending included.

    The caller must hold the lock.
    """
    committed = np.flatnonzero(selection.rows >= 0)
    parts = [
        AttributePart(committed[part.at], part.table, part.own, part.of_arrays)
        for part in datasets.catalog.attribute_parts(selection.rows[committed])
    ]
    pending = np.flatnonzero((selection.rows < 0) & (selection.ids >= 0))
    if len(pending):
        sets = AttributeSets()
        edited = [datasets.edited[selection.names[at]].attributes_now() for at in pending.tolist()]
        own, of_arrays = np.array([sets.add(some) for some in edited], np.int64).T
        parts.append(AttributePart(pending, sets.table(), own, of_arrays))
    return parts


def owned_parts(
    datasets: Datasets, selection: DatasetSelection, parts: Sequence[AttributePart], array: str | None
) -> list[tuple[AttributePart, _Owner | None]]:
    """Return the parts of those datasets that have an array, with what tells which attributes are of that array.

    Where `array` is None, all parts, with None. The caller must hold the lock.
    """
    if array is None:
        return [(part, None) for part in parts]
    # Of several arrays whose names begin an attribute's, the longest counts: only these can take one from the array.
    numbers: dict[tuple[str, ...], int] = {}
    group = np.full(len(selection.names), -1)
    for layout, at in selection.layout_groups(datasets.catalog.layout_table):
        names = [entry.name for entry in layout]
        if array in names:
            longer = tuple(sorted(name for name in names if name.startswith(f"{array}.")))
            group[at] = numbers.setdefault(longer, len(numbers))
    owners = [_Owner(array, tuple(f"{name}." for name in longer)) for longer in numbers]
    found: list[tuple[AttributePart, _Owner | None]] = []
    for part in parts:
        for some in equal_groups(group[part.at]):
            number = int(group[part.at[some[0]]])
            if number >= 0:
                taken = AttributePart(part.at[some], part.table, part.own[some], part.of_arrays[some])
                found.append((taken, owners[number]))
    return found


def attribute_columns(
    names: Sequence[str],
    parts: Iterable[tuple[AttributePart, _Owner | None]],
    keys: Sequence[str] | None,
    is_hidden: Callable[[str], bool],
    decode: Callable[[str, AttributeKey, Any], object],
) -> dict[str, AttributeColumn]:
    """Return a column for each attribute of the datasets `names` (N,), in the order in which a loop would meet them.

    Each part comes with the array whose attributes are wanted, None for all attributes of the datasets. With `keys`
    only these columns are returned, in that order. `is_hidden` tells by the text of an attribute whether it is left
    out. `decode` returns an exact value, given dataset, key and encoded value, and raises `CorruptStoreError` where it
    is damaged.
    """
    wanted = None if keys is None else set(keys)

    def name_of(key: AttributeKey, owner: _Owner | None) -> str | None:
        text = flatten_key(key)
        name = text if owner is None else owner.name_of(text)
        return None if is_hidden(text) or (wanted is not None and name not in wanted) else name

    runs = [run for part, owner in parts for run in _runs(part, partial(name_of, owner=owner))]
    found: dict[str, list[_Piece]] = {} if keys is None else {key: [] for key in keys}
    for _, pieces in sorted(runs, key=lambda run: run[0]):
        for text, piece in pieces.items():
            found.setdefault(text, []).append(piece)
    check_room(
        len(found) * len(names) * _CELL_BYTES,
        f"{len(found)} attributes of {len(names)} datasets as columns",
        "name fewer of them, with keys=, or fewer datasets at a time",
    )
    exact: dict[int, _Exact] = {}
    return {
        text: _column(len(names), [_decoded(piece, names, decode, exact) for piece in pieces])
        for text, pieces in found.items()
    }


def _runs(
    part: AttributePart, name_of: Callable[[AttributeKey], str | None]
) -> Iterable[tuple[int, dict[str, _Piece]]]:
    """Yield the first dataset and the pieces of those datasets of a part that have one list of keys, for each list.

    `name_of` returns the name of an attribute's column, None for one to leave out.
    """
    table = part.table
    every, of_every = _distinct(part.own)
    keysets = np.fromiter((table.sets[position][0] for position in every.tolist()), np.int64, len(every))
    if of_every is not None:
        keysets = keysets[of_every]
    for run in equal_groups(keysets):
        at = part.at[run]
        own, of_arrays = _distinct(part.own[run]), _distinct(part.of_arrays[run])
        own_sets = [table.sets[position] for position in own[0].tolist()]
        array_sets = [table.array_sets[position] for position in of_arrays[0].tolist()]
        pieces = {}
        place = [0, 0]
        for key in table.keysets[int(keysets[run[0]])]:
            others = may_be_of_array(key)
            place[others] += 1
            name = name_of(key)
            if name is None:
                continue
            sets, of = (array_sets, of_arrays[1]) if others else (own_sets, own[1])
            column = place[others]
            pieces[name] = _Piece(at, of, key, [table.values[some[column]] for some in sets])
        if pieces:
            yield int(at[0]), pieces


def _distinct(sets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the distinct numbers of sets (M,), and which of them each is; None for each its own in order."""
    if (sets == sets[0]).all():
        return sets[:1], np.zeros(len(sets), np.int64)
    if (sets[1:] > sets[:-1]).all():
        return sets, None
    return np.unique(sets, return_inverse=True)


def _decoded(
    piece: _Piece,
    names: Sequence[str],
    decode: Callable[[str, AttributeKey, Any], object],
    exact: dict[int, _Exact],
) -> _Decoded:
    """Return the values of a piece. `exact` has those that were decoded before, by the id of the encoded value."""
    encoded = piece.encoded
    types = set(map(type, encoded))
    if len(types) == 1 and types <= set(_PLAIN) and _are_sound(encoded, *types):
        return _Decoded(piece, set(types), encoded)
    first = piece.at
    if piece.of is not None:
        first = np.empty(len(encoded), np.int64)
        first[piece.of[::-1]] = piece.at[::-1]
    found = []
    for at, value in zip(first.tolist(), encoded, strict=True):
        known = exact.get(id(value))
        if known is None:
            known = exact[id(value)] = _exact(decode(names[at], piece.key, value))
        found.append(known)
    return _Decoded(piece, {one.kind for one in found}, [one.plain for one in found], found)


def _are_sound(encoded: list[Any], kind: type) -> bool:
    """Return whether values of one plain type are as they may be stored: finite, and integers of 64 bits."""
    if kind is float:
        return bool(np.isfinite(np.array(encoded)).all())
    return kind is not int or (min(encoded) >= _INT64.min and max(encoded) <= _INT64.max)


def _exact(value: object) -> _Exact:
    if isinstance(value, Timestamp):
        return _Exact(_NANOSECONDS, value.ns, value.ns)
    plain = plain_value(value)
    if isinstance(value, np.datetime64 | np.timedelta64) and np.datetime_data(value.dtype)[0] != "generic":
        return _Exact(value.dtype, plain, int(value.astype(np.int64)))
    return _Exact(type(plain) if type(plain) in _PLAIN else None, plain)


def _column(count: int, parts: Sequence[_Decoded]) -> AttributeColumn:
    """Return the column of an attribute of `count` datasets."""
    present = np.zeros(count, np.bool_)
    for part in parts:
        present[part.piece.at] = True
    kinds = set[object]().union(*(part.kinds for part in parts))
    dtype = _dtype(kinds.pop(), parts) if len(kinds) == 1 else np.dtype(object)
    values = blank_column(count, dtype)
    for part in parts:
        if dtype.kind in "mM":
            some: NDArray[Any] = np.array([one.ticks for one in part.exact], np.int64).view(dtype)
        elif dtype.kind == "O":
            some = np.empty(len(part.plain), object)
            some[:] = part.plain
        else:
            some = np.array(part.plain, dtype)
        values[part.piece.at] = part.piece.spread(some)
    return AttributeColumn(values, present)


def _dtype(kind: object, parts: Sequence[_Decoded]) -> np.dtype[Any]:
    """Return the dtype of a column whose values are all of one kind."""
    if isinstance(kind, np.dtype):
        return kind
    if kind is int:
        least, most = min(min(part.plain) for part in parts), max(max(part.plain) for part in parts)
        if least >= _INT64.min and most <= _INT64.max:
            return np.dtype(np.int64)
        return np.dtype(np.uint64 if least >= 0 and most < 2**64 else object)
    return np.dtype({bool: np.bool_, float: np.float64}.get(kind, object))  # type: ignore[call-overload]
