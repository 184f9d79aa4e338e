"""What decides the meaning of the cells of an array, and whether several datasets agree on it. No I/O.

Cells of two arrays may stand in one only where these agree: attributes that say what a number is, and the dtype that
xarray had. Fill values are no matter of metadata alone: see `read.bulk_read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.chunking.batches import equal_runs
from atlas.errors import InvalidValueError
from atlas.format.attribute_keys import DTYPE_KEY, flatten_key
from atlas.format.attributes import decode_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from atlas.catalog.selection import ArraySelection
    from atlas.format.attribute_keys import AttributeKey

__all__ = [
    "DECIDING_KEYS",
    "AttributeGroups",
    "calendar_of",
    "check_one_meaning",
    "comparable",
    "differ",
    "find_difference",
]

DECIDING_KEYS: Final = (
    "units",
    "calendar",
    "scale_factor",
    "add_offset",
    "missing_value",
    "_Unsigned",
    "flag_values",
    "flag_masks",
    "flag_meanings",
    "positive",
    DTYPE_KEY,
)
"""Attributes of CF, and the recorded dtype, that decide what a cell means."""


@dataclass(frozen=True, slots=True)
class AttributeGroups:
    """The G distinct attributes of arrays over N datasets."""

    distinct: list[dict[AttributeKey, Any]]
    """Values by key, encoded or exact."""
    first: NDArray[np.int64]
    """The first dataset that has each of them, (G,)."""
    of: NDArray[np.int64]
    """Which of them each dataset has, (N,)."""

    def split(self, at: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield those of the datasets `at` (M,) that have the same attributes, with the number of these."""
        if len(self.distinct) == 1:
            yield 0, at
            return
        order = np.argsort(self.of[at], kind="stable")
        numbers = self.of[at[order]]
        for some in equal_runs(numbers):
            yield int(numbers[some.start]), at[order[some]]


def comparable(value: object) -> object:
    """Return an exact attribute value as something that equals what means the same: 1 and 1.0, 5 and [5]."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else value.tolist()
    if isinstance(value, list | tuple):
        return comparable(value[0]) if len(value) == 1 else tuple(map(comparable, value))
    if isinstance(value, np.generic) and value.dtype.kind in "biufSU":
        value = value.item()
    if isinstance(value, bool | int | float):
        return ("nan",) if value != value else value  # noqa: PLR0124
    return value if isinstance(value, str | bytes) else (type(value).__name__, repr(value))


def differ(encoded: Iterable[Any]) -> bool:
    """Return whether encoded values of one attribute mean different things; not if one of them cannot be decoded."""
    try:
        return len({comparable(decode_value(value)) for value in encoded}) > 1
    except InvalidValueError:
        return False


def find_difference(selection: ArraySelection, groups: AttributeGroups) -> tuple[str, Mapping[str, object]] | None:
    """Return the first attribute of an array whose values decide and differ, with two datasets that differ in it.

    The second result has the exact value of each of the two datasets by name, None where one lacks it. None where all
    agree.
    """
    if len(groups.distinct) < 2:
        return None
    by_text = [{flatten_key(key): value for key, value in found.items()} for found in groups.distinct]
    for key in (*DECIDING_KEYS, "_FillValue"):
        values = [_exact(attributes.get(f"{selection.array}.{key}")) for attributes in by_text]
        compare = {DTYPE_KEY: _dates_calendar, "calendar": calendar_of}.get(key, comparable)
        kinds = [compare(value) for value in values]
        first = int(groups.of[0])
        other = next((number for number, kind in enumerate(kinds) if kind != kinds[first]), None)
        if other is not None:
            at = int(np.argmax(groups.of == other))
            return key, {selection.names[0]: values[first], selection.names[at]: values[other]}
    return None


def calendar_of(value: object) -> object:
    """Return the calendar that an attribute `calendar` names; without one it is the standard calendar (CF, 4.4.1)."""
    return "standard" if value is None or value == "gregorian" else comparable(value)


def _dates_calendar(recorded: object) -> object:
    # Other recorded dtypes are of the same stored cells: times in another unit, text in another dtype.
    return recorded if isinstance(recorded, str) and recorded.startswith("cftime") else None


def _exact(encoded: object) -> object:
    return None if encoded is None else decode_value(encoded)


def check_one_meaning(selection: ArraySelection, groups: AttributeGroups) -> None:
    """Raise `InvalidValueError` where the arrays of a selection cannot stand in one: numbers are not decoded here."""
    found = find_difference(selection, groups)
    if found is not None:
        key, values = found
        (one, mine), (two, other) = values.items()
        name = "dtype in xarray" if key == DTYPE_KEY else key
        raise InvalidValueError(
            f"array {selection.array!r} has {name} {mine!r} in dataset {one!r} and {other!r} in dataset {two!r}, so "
            "its cells do not mean the same; read_array_across() returns them apart, and to_xarray_many() decodes them "
            "where that makes them one"
        )
