"""Times and durations of any unit to int64 nanoseconds and back; exact, or an error.

A variable of datetime64 in a unit other than ns, or of timedelta64, carries a marker (its dtype, as text), by which
reading restores it; one of other calendars carries that of `calendars`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.xarray.calendars import is_calendar_marker, restored_dates

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["restored_dtype", "restored_times", "time_marker", "times_to_ns"]

# NumPy takes units of nothing, such as [0ns], and ends the process when it converts them.
_MARKER = re.compile(r"(?:datetime64|timedelta64)\[(?:[1-9]\d{0,8})?(?:W|D|h|m|s|ms|us|ns|ps|fs|as|Y|M)\]")


def time_marker(dtype: np.dtype[Any]) -> str | None:
    """Text by which a variable of `dtype` is restored; None where the stored dtype says it all."""
    if dtype.kind == "m" or (dtype.kind == "M" and np.datetime_data(dtype) != ("ns", 1)):
        return dtype.name
    return None


def restored_dtype(marker: object, stored: str) -> np.dtype[Any] | None:
    """The dtype of what `marker` restores, if an array stored as `stored` can have come from it; None otherwise."""
    if not isinstance(marker, str):
        return None
    if is_calendar_marker(marker):
        return np.dtype(object) if stored == "int64" else None
    try:
        dtype = np.dtype(marker) if _MARKER.fullmatch(marker) else None
    except (TypeError, ValueError):
        return None
    if dtype is None or stored != ("int64" if dtype.kind == "m" else "timestamp_nanoseconds"):
        return None
    return dtype


def times_to_ns(variable: str, cells: NDArray[Any]) -> NDArray[Any]:
    """Cells of datetime64 as datetime64[ns], of timedelta64 as int64 nanoseconds; NaT stays, as -2**63.

    Raises `OutOfRangeError` where 64 bits of nanoseconds do not reach, `InvalidValueError` for fractions of one.
    """
    dtype = np.dtype(f"{cells.dtype.kind}8[ns]")
    ns = _exact(cells, dtype)
    if ns is None:
        cell = _first_inexact(cells, dtype)
        if np.datetime_data(cells.dtype)[0] in ("ps", "fs", "as"):
            raise InvalidValueError(f"variable {variable!r}: {cell} is finer than a nanosecond")
        since = " from 1970" if dtype.kind == "M" else ""
        raise OutOfRangeError(
            f"variable {variable!r}: {cell} is beyond nanoseconds in 64 bits, which reach 292 years either way{since}; "
            f"use ds[{variable!r}].astype('int64') to store plain numbers"
        )
    return ns.view(np.int64) if cells.dtype.kind == "m" else ns


def restored_times(array: str, cells: NDArray[Any], marker: str) -> NDArray[Any]:
    """Stored cells as what `marker` says; a marker that `restored_dtype` has found to fit.

    Raises `InvalidValueError` where the unit is too coarse for a value, which was then written by other means.
    """
    if is_calendar_marker(marker):
        return restored_dates(array, cells, marker)
    dtype = np.dtype(marker)
    ns = cells.view(f"{dtype.kind}8[ns]")
    times = _exact(ns, dtype)
    if times is None:
        raise InvalidValueError(f"array {array!r} holds nanoseconds that its xarray dtype {dtype} cannot keep")
    return times


def _exact(cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """`cells` in the unit of `dtype`; None where a cell does not come back from it unchanged."""
    try:
        times = cells.astype(dtype)
        back = times.astype(cells.dtype)
    except OverflowError:  # NumPy 2.5 and later; earlier versions wrap around, which the comparison finds
        return None
    return times if np.array_equal(_as_integers(back), _as_integers(cells)) else None


def _first_inexact(cells: NDArray[Any], dtype: np.dtype[Any]) -> Any:
    """The first of `cells` that `dtype` does not keep; by bisection, since NumPy does not say which one overflows."""
    flat = cells.reshape(-1)
    while flat.size > 1:
        half = flat.size // 2
        flat = flat[:half] if _exact(flat[:half], dtype) is None else flat[half:]
    return flat[0]


def _as_integers(cells: NDArray[Any]) -> NDArray[np.int64]:
    # Comparing times of two units would convert, and overflow, once more; NaT would differ from itself.
    native = np.asarray(cells, dtype=cells.dtype.newbyteorder("="))
    return native.view(np.int64)
