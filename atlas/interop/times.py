"""Times and durations of any unit to int64 nanoseconds and back; exact, or an error.

A variable of datetime64 in a unit other than ns, or of timedelta64, carries a marker (its dtype, as text), by which
reading restores it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError, OutOfRangeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["restored_dtype", "restored_times", "time_marker", "times_to_ns"]

_MARKER = re.compile(r"(?:datetime64|timedelta64)\[\d{0,9}(?:W|D|h|m|s|ms|us|ns|ps|fs|as|Y|M)\]")


def time_marker(dtype: np.dtype[Any]) -> str | None:
    """Text by which a variable of `dtype` is restored; None where the stored dtype says it all."""
    if dtype.kind == "m" or (dtype.kind == "M" and np.datetime_data(dtype) != ("ns", 1)):
        return dtype.name
    return None


def restored_dtype(marker: object, stored: str) -> np.dtype[Any] | None:
    """The dtype that `marker` names, if an array stored as `stored` can have come from it; None otherwise."""
    if not isinstance(marker, str) or not _MARKER.fullmatch(marker):
        return None
    try:
        dtype = np.dtype(marker)
    except (TypeError, ValueError):
        return None
    return dtype if stored == ("int64" if dtype.kind == "m" else "timestamp_nanoseconds") else None


def times_to_ns(variable: str, cells: NDArray[Any]) -> NDArray[Any]:
    """Cells of datetime64 as datetime64[ns], of timedelta64 as int64 nanoseconds; NaT stays, as -2**63.

    Raises `OutOfRangeError` where 64 bits of nanoseconds do not reach, `InvalidValueError` for fractions of one.
    """
    ns = cells.astype(f"{cells.dtype.kind}8[ns]")
    changed = _as_integers(ns.astype(cells.dtype)) != _as_integers(cells)
    if np.any(changed):
        if np.datetime_data(cells.dtype)[0] in ("ps", "fs", "as"):
            raise InvalidValueError(f"variable {variable!r}: {cells[changed].flat[0]} is finer than a nanosecond")
        raise OutOfRangeError(
            f"variable {variable!r}: {cells[changed].flat[0]} is beyond nanoseconds in 64 bits, which reach 292 years "
            "either way from 1970"
        )
    return ns.view(np.int64) if cells.dtype.kind == "m" else ns


def restored_times(array: str, cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Stored nanoseconds as `dtype`, datetime64 or timedelta64 of any unit.

    Raises `InvalidValueError` where the unit is too coarse for a value, which was then written by other means.
    """
    ns = cells.view(f"{dtype.kind}8[ns]")
    times = ns.astype(dtype)
    if not np.array_equal(_as_integers(times.astype(ns.dtype)), _as_integers(ns)):
        raise InvalidValueError(f"array {array!r} holds nanoseconds that its xarray dtype {dtype} cannot keep")
    return times


def _as_integers(cells: NDArray[Any]) -> NDArray[np.int64]:
    # Comparing times of two units would convert, and overflow, once more; NaT would differ from itself.
    native = np.asarray(cells, dtype=cells.dtype.newbyteorder("="))
    return native.view(np.int64)
