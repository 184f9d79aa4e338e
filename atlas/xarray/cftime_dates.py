"""Dates of cftime, in calendars that NumPy lacks (360 days, no leap years, ...), to microseconds and back.

Never imports cftime before it is needed: cftime comes with netCDF4, which is optional. Decoding without it raises
`MissingExtraError`. The xarray dtype of a variable of such dates is recorded as `cftime[CALENDAR,YEAR_ZERO]`, for
example `cftime[360_day,1]`; YEAR_ZERO is 1 where the calendar has a year zero, else 0. Microseconds since 1970-01-01
are exact: cftime has no finer unit. They are stored as durations, in which not-a-time is a missing date.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import InvalidTypeError, OutOfRangeError
from atlas.format.strings import is_missing
from atlas.runtime.installation import missing_extra

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = [
    "HAS_OPTIONAL_YEAR_ZERO",
    "STORED",
    "cftime_dtype",
    "decode_dates",
    "encode_dates",
    "is_cftime_dtype",
    "recorded_dates",
]

STORED: Final = "timedelta64[us]"
"""The stored dtype: microseconds since 1970-01-01 in the calendar of the dates."""
_EPOCH: Final = "microseconds since 1970-01-01"
_CFTIME_DTYPE: Final = re.compile(r"cftime\[([a-z0-9_]+),([01])\]")
# cftime accepts `has_year_zero` for these calendars only and warns about it for the others, which all have a year zero.
HAS_OPTIONAL_YEAR_ZERO: Final = frozenset({"standard", "gregorian", "proleptic_gregorian", "julian"})


def cftime_dtype(cell: object) -> str | None:
    """The dtype to record for a variable whose first cell is `cell`; None for anything but a cftime date."""
    if not type(cell).__module__.startswith("cftime"):
        return None
    calendar: str = getattr(cell, "calendar", "")
    return f"cftime[{calendar},{int(getattr(cell, 'has_year_zero', False))}]" if calendar else None


def is_cftime_dtype(xarray_dtype: str) -> bool:
    """Whether a recorded dtype is one of `cftime_dtype`."""
    return _CFTIME_DTYPE.fullmatch(xarray_dtype) is not None


def recorded_dates(recorded: str) -> tuple[np.dtype[Any], str] | None:
    """Return the dtype of what `decode_dates` returns, and the stored dtype; None for what is no record of dates."""
    return (np.dtype(object), STORED) if is_cftime_dtype(recorded) else None


def encode_dates(variable: str, cells: NDArray[Any], xarray_dtype: str) -> NDArray[np.timedelta64]:
    """Dates of one calendar as timedelta64[us] since 1970-01-01, same shape; missing ones (None, NaN, NaT) as NaT.

    Raises `InvalidTypeError` for a cell of another type or calendar, and `OutOfRangeError` for dates that 64 bits of
    microseconds do not reach.
    """
    flat = cells.ravel()
    present = np.array([not is_missing(cell) for cell in flat], bool)
    for cell in flat[present]:
        if cftime_dtype(cell) != xarray_dtype:
            raise InvalidTypeError(
                f"variable {variable!r} holds dates of {xarray_dtype}, and one cell is {type(cell).__name__} {cell!r}; "
                "convert all cells to one calendar, for example with ds.convert_calendar('standard', use_cftime=True)"
            )
    microseconds = np.full(flat.shape, np.timedelta64("NaT", "us"), "m8[us]")
    if not present.any():  # cftime takes no array without dates
        return microseconds.reshape(cells.shape)
    try:
        numbers = _cftime(variable).date2num(flat[present], _EPOCH, **_options(xarray_dtype))
        microseconds[present] = np.asarray(numbers, np.int64).view("m8[us]")
    except OverflowError as error:
        furthest = max(flat[present], key=lambda cell: abs(cell.year - 1970))
        raise OutOfRangeError(
            f"variable {variable!r}: {furthest} is beyond microseconds in 64 bits, which reach 292,000 years either "
            f"way from 1970; use cftime.date2num(ds[{variable!r}], 'days since 1970-01-01') to store plain numbers"
        ) from error
    return microseconds.reshape(cells.shape)


def decode_dates(array: str, cells: NDArray[Any], xarray_dtype: str) -> NDArray[np.object_]:
    """Stored microseconds as cftime dates, same shape, None for not-a-time; `is_cftime_dtype(xarray_dtype)` holds."""
    out = np.full(cells.shape, None, object)
    present = ~np.isnat(cells)
    numbers = cells[present].view(np.int64)
    if numbers.size:
        out[present] = _cftime(array).num2date(
            numbers, _EPOCH, only_use_cftime_datetimes=True, **_options(xarray_dtype)
        )
    return out


def _cftime(array: str) -> ModuleType:
    try:
        return importlib.import_module("cftime")
    except ImportError as error:
        raise missing_extra("netcdf", f"array {array!r} holds dates that need cftime", "cftime") from error


def _options(xarray_dtype: str) -> dict[str, Any]:
    match = _CFTIME_DTYPE.fullmatch(xarray_dtype)
    assert match is not None
    calendar, year_zero = match.groups()
    options: dict[str, Any] = {"calendar": calendar}
    if calendar in HAS_OPTIONAL_YEAR_ZERO:
        options["has_year_zero"] = year_zero == "1"
    return options
