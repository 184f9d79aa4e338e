"""Dates of the calendars that NumPy lacks (cftime: 360 days, no leap years, ...) to int64 microseconds and back.

cftime comes with netCDF4 and is not needed to import this module: cells of its types can only come from it, and
reading them back without it is a `MissingExtraError`. A variable of such dates carries a marker, `cftime[` calendar
`,` whether it has a year zero `]`. Microseconds since 1970-01-01 are exact: cftime knows nothing finer.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import InvalidTypeError, MissingExtraError, OutOfRangeError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = ["calendar_marker", "dates_to_microseconds", "is_calendar_marker", "restored_dates"]

_EPOCH: Final = "microseconds since 1970-01-01"
_MARKER: Final = re.compile(r"cftime\[([a-z0-9_]+),([01])\]")
# cftime takes the argument for these alone and warns about it for the others, which all have a year zero.
_YEAR_ZERO_IS_A_CHOICE: Final = frozenset({"standard", "gregorian", "proleptic_gregorian", "julian"})


def calendar_marker(cell: object) -> str | None:
    """The marker of a variable whose first cell is `cell`; None where that is no date of cftime with a calendar."""
    if not type(cell).__module__.startswith("cftime"):
        return None
    calendar: str = getattr(cell, "calendar", "")
    return f"cftime[{calendar},{int(getattr(cell, 'has_year_zero', False))}]" if calendar else None


def is_calendar_marker(marker: str) -> bool:
    """Whether `marker` is one of this module's."""
    return _MARKER.fullmatch(marker) is not None


def dates_to_microseconds(variable: str, cells: NDArray[Any], marker: str) -> NDArray[np.int64]:
    """Cells of one calendar as int64, same shape.

    Raises `InvalidTypeError` for a cell of another kind or calendar, a missing one included, and `OutOfRangeError`
    where 64 bits of microseconds do not reach.
    """
    for cell in cells.ravel():
        if calendar_marker(cell) != marker:
            raise InvalidTypeError(
                f"variable {variable!r} holds dates, {marker}, and a cell is {type(cell).__name__} {cell!r}"
            )
    try:
        microseconds = np.asarray(_cftime(variable).date2num(cells, _EPOCH, **_calendar(marker)), np.int64)
    except OverflowError as error:
        furthest = max(cells.flat, key=lambda cell: abs(cell.year - 1970))
        raise OutOfRangeError(
            f"variable {variable!r}: {furthest} is beyond microseconds in 64 bits, which reach 292,000 years either "
            f"way from 1970; use cftime.date2num(ds[{variable!r}], 'days since 1970-01-01') to store plain numbers"
        ) from error
    return microseconds.reshape(cells.shape)


def restored_dates(array: str, cells: NDArray[Any], marker: str) -> NDArray[np.object_]:
    """Stored microseconds as dates of the calendar in `marker`."""
    out = np.empty(cells.shape, object)
    out[...] = _cftime(array).num2date(cells, _EPOCH, only_use_cftime_datetimes=True, **_calendar(marker))
    return out


def _cftime(array: str) -> ModuleType:
    try:
        return importlib.import_module("cftime")
    except ImportError as error:
        raise MissingExtraError(
            f"array {array!r} holds dates of a calendar that needs cftime: pip install 'atlas-store[netcdf]'"
        ) from error


def _calendar(marker: str) -> dict[str, Any]:
    match = _MARKER.fullmatch(marker)
    assert match is not None
    calendar, year_zero = match.groups()
    options: dict[str, Any] = {"calendar": calendar}
    if calendar in _YEAR_ZERO_IS_A_CHOICE:
        options["has_year_zero"] = year_zero == "1"
    return options
