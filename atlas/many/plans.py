"""Which arrays of several datasets can be one variable, and what makes them one. Metadata only; reads no cells.

Refused, by name, is what would change the meaning of a cell: other axes, another kind of cells or calendar, other
units or flags, and what is a coordinate here and data there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalog.meaning import DECIDING_KEYS, calendar_of, comparable
from atlas.errors import InvalidValueError
from atlas.format.attribute_keys import DTYPE_KEY
from atlas.xarray.attribute_owners import FILL_KEY
from atlas.xarray.cftime_dates import HAS_OPTIONAL_YEAR_ZERO, is_cftime_dtype

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from atlas.many.windows import Window
    from atlas.xarray.reading import StoredArray

__all__ = ["Part", "Plan", "plan_variable"]

_PACKING = frozenset({"scale_factor", "add_offset", "missing_value", "_Unsigned", FILL_KEY})
"""Attributes of numbers that xarray decodes, besides those of dates."""
_DECODED = (*sorted(_PACKING), "units", "calendar")
"""Attributes that decide what decoded cells are."""
_STANDARD = {"standard", "proleptic_gregorian"}
"""Calendars whose dates xarray decodes to datetime64, where it can."""


@dataclass(frozen=True, slots=True)
class Part:
    """One array of those datasets of a stack in which it is alike."""

    at: NDArray[np.int64]
    """Positions of the datasets, ascending."""
    label: str
    """Name of the first of them."""
    array: StoredArray
    """Its metadata, as what is taken of it."""
    window: Window
    """What is taken of it."""
    stored: str
    """Stored dtype."""
    memory_dtype: np.dtype[Any]
    """dtype of its cells as they are read."""
    encoding: object
    """Its encoding record (see `encoding_record`), None where it has none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A variable of many datasets, whose parts were found to mean the same, or will once they are decoded."""

    name: str
    """Name of the arrays."""
    parts: tuple[Part, ...]
    """By their first dataset."""
    dims: tuple[str, ...]
    """Names of the axes, as in the first of them."""
    decode: bool
    """Whether the cells of the parts mean the same only once they are decoded."""
    reads: tuple[Part, ...]
    """The parts to read apart: one for all that differ in nothing but the first axis, fill values and attributes."""
    fills_differ: bool
    """Whether datasets that are read together have other fill values than the first."""

    @property
    def first(self) -> StoredArray:
        """The array of the first dataset that has it."""
        return self.parts[0].array

    @property
    def at(self) -> NDArray[np.int64]:
        """Positions of the datasets that have it, ascending."""
        return _positions(self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """The largest length along each axis, of one dataset."""
        return tuple(map(max, zip(*map(self.shape_of, self.parts), strict=True)))

    def shape_of(self, part: Part) -> tuple[int, ...]:
        """Return the lengths of a part along the axes."""
        return _in_order(self.dims, part.array.dims, part.array.shape)

    @property
    def is_padded(self) -> bool:
        """Whether some datasets have fewer cells along an axis than others."""
        shape = self.shape
        return any(self.shape_of(part) != shape for part in self.parts)

    def as_stored(self) -> Plan:
        """Return the plan of the same cells as they are stored, whatever dtype xarray had."""
        parts = tuple(replace(part, array=replace(part.array, xarray_dtype=None)) for part in self.parts)
        return replace(self, parts=parts, reads=_reads(parts, decode=False))

    @property
    def labels_axis(self) -> bool:
        """Whether it has the labels of an axis, which an index would look up."""
        return self.first.coordinate and len(self.dims) == 1 and any(part.array.indexed for part in self.parts)


def plan_variable(name: str, parts: Sequence[Part], *, aligned: bool, uneven: Collection[str]) -> Plan:
    """Return the plan of a variable from its parts, sorted by their first dataset.

    `aligned` tells whether axes will be aligned by their labels; `uneven` names the dimensions along which lengths may
    differ. Raises `InvalidValueError`, which names what differs and two datasets, where the parts cannot be one
    variable.
    """
    if len(parts) == 1:
        return Plan(name, tuple(parts), parts[0].array.dims, decode=False, reads=tuple(parts), fills_differ=False)
    first, *others = kinds = _kinds(parts)
    for part in others:
        _check_pair(name, first, part, aligned=aligned)
    for part in parts[1:]:
        _check_lengths(name, first, part, uneven)
    decode = _must_decode(name, kinds, one_read=len(_reads(parts, decode=False)) == 1)
    fills = {comparable(part.array.attrs.get(FILL_KEY)) for part in kinds}
    reads = _reads(parts, decode=decode)
    return Plan(name, tuple(parts), first.array.dims, decode, reads, fills_differ=not decode and len(fills) > 1)


def _kinds(parts: Sequence[Part]) -> list[Part]:
    """Return the first of all parts that differ in nothing but their lengths, by their first dataset."""
    found: dict[object, Part] = {}
    for part in parts:
        array = part.array
        kind = id(array.attrs), part.stored, array.xarray_dtype, array.dims, array.coordinate, array.indexed
        found.setdefault(kind, part)
    return list(found.values())


def _reads(parts: Sequence[Part], *, decode: bool) -> tuple[Part, ...]:
    """Return parts as few as can be read one by one."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        array, window = part.array, part.window
        trailing = array.shape[1:] if window.kept[:1] == (True,) else array.shape
        layout = array.dims, window.kept, trailing, window.begin[1:], window.shape[1:]
        meaning = [(key, repr(comparable(array.attrs.get(key)))) for key in _DECODED] if decode else []
        groups.setdefault((part.stored, array.xarray_dtype, *layout, *meaning), []).append(part)
    return tuple(replace(group[0], at=_positions(group)) for group in groups.values())


def _positions(parts: Sequence[Part]) -> NDArray[np.int64]:
    return np.sort(np.concatenate([part.at for part in parts]))


def _in_order(dims: tuple[str, ...], own: tuple[str, ...], values: tuple[int, ...]) -> tuple[int, ...]:
    """Return the values of the dimensions `own` in the order of `dims`; of equal lists a name may occur twice."""
    if own == dims:
        return values
    of = dict(zip(own, values, strict=True))
    return tuple(of[dim] for dim in dims)


def _check_pair(name: str, one: Part, two: Part, *, aligned: bool) -> None:
    """Raise `InvalidValueError` where two parts cannot be one variable."""
    mine, other = one.array, two.array
    if mine.coordinate != other.coordinate:
        kinds = {True: "a coordinate", False: "data"}
        raise _refusal(
            name, kinds[mine.coordinate], kinds[other.coordinate], one, two, "is", "choose others with variables="
        )
    if aligned and mine.coordinate and len(mine.dims) == 1 and mine.indexed != other.indexed:
        kinds = {True: "an index", False: "no index"}
        raise _refusal(name, kinds[mine.indexed], kinds[other.indexed], one, two, "has", "leave out join=")
    if _kind(one) != _kind(two):
        raise _refusal(name, _kind(one), _kind(two), one, two, "holds")
    if set(mine.dims) != set(other.dims) or (mine.dims != other.dims and len(set(mine.dims)) < len(mine.dims)):
        raise _refusal(name, list(mine.dims), list(other.dims), one, two, "has the dimensions")


def _check_lengths(name: str, one: Part, two: Part, uneven: Collection[str]) -> None:
    """Raise `InvalidValueError` where two parts of the same dimensions differ in the length of one not in `uneven`."""
    mine, other = one.array, two.array
    shape = _in_order(mine.dims, other.dims, other.shape)
    if any(length != own and dim not in uneven for dim, length, own in zip(mine.dims, mine.shape, shape, strict=True)):
        raise _refusal(
            name,
            mine.shape,
            shape,
            one,
            two,
            "has the shape",
            "combine='ragged' or 'concat' puts rows one after another, missing='fill' fills shorter ones, and "
            "join='outer' or 'inner' aligns labelled axes (see Atlas.open_many and Atlas.to_xarray_many)",
        )


def _refusal(
    name: str, mine: object, other: object, one: Part, two: Part, verb: str, allowed: str = ""
) -> InvalidValueError:
    allowed = allowed or "leave it out with variables=, or leave one of them out"
    return InvalidValueError(
        f"array {name!r} {verb} {mine} in dataset {one.label!r} and {other} in dataset "
        f"{two.label!r}, which do not stack; {allowed}"
    )


def _must_decode(name: str, parts: Sequence[Part], *, one_read: bool) -> bool:
    """Return whether the parts mean the same only once they are decoded, or refuse what stays different.

    `one_read` tells whether one read returns all, which gives all of them the fill value of the first.
    """
    first, *others = parts
    are_numbers = all(part.array.dtype.kind in "iuf" for part in parts)
    keys = [key for key in (*DECIDING_KEYS, FILL_KEY) if any(key in part.array.attrs for part in parts)]
    decode = False
    for part in others:
        for key in keys:
            mine, other = first.array.attrs.get(key), part.array.attrs.get(key)
            compare = calendar_of if key == "calendar" else comparable
            if mine is other or key == DTYPE_KEY or compare(mine) == compare(other):
                continue
            if key == FILL_KEY and {_is_no_number(mine), _is_no_number(other)} == {True}:
                continue  # NaN is missing whether it is declared or not
            are_dates = are_numbers and all(" since " in str(one.array.attrs.get("units", "")) for one in (first, part))
            decodes = (key in _PACKING and are_numbers) or (key == "units" and are_dates)
            if decodes or (key == "calendar" and are_dates and {calendar_of(mine), calendar_of(other)} == _STANDARD):
                decode = True
            elif key != FILL_KEY or not one_read:
                raise _refusal(name, repr(mine), repr(other), first, part, f"has {key}")
    return decode


def _is_no_number(value: object) -> bool:
    return (
        value is None
        or comparable(value) == ("nan",)
        or (isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value))
    )


def _kind(part: Part) -> str:
    """Return what the cells of an array are, in words: two that differ do not stack."""
    recorded, dtype = part.array.xarray_dtype, part.array.dtype
    if recorded is not None and is_cftime_dtype(recorded):
        calendar, _, year_zero = recorded.removeprefix("cftime[").removesuffix("]").partition(",")
        with_zero = " with a year 0" if year_zero == "1" and calendar in HAS_OPTIONAL_YEAR_ZERO else ""
        return f"dates of the calendar {calendar!r}{with_zero}"
    if part.stored in ("string", "bytes"):
        return {"string": "text", "bytes": "bytes"}[part.stored]
    return {"b": "flags", "M": "dates", "m": "durations"}.get(dtype.kind, "numbers")
