"""Times and durations of units that are not stored to nanoseconds and back: exact, or an error. Pure.

Units from seconds to nanoseconds are stored as they are. Of others, such as days, NumPy's name of the dtype is
recorded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.format.dtypes import TIME_UNIT, exact_times, is_stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NANOSECONDS", "decode_times", "encode_times", "is_stored_time", "recorded_times", "time_dtype_to_record"]

_TIME_DTYPE = re.compile(f"(?:datetime64|timedelta64){TIME_UNIT}")
NANOSECONDS: Final = {"M": "timestamp_nanoseconds", "m": "timedelta64[ns]"}
"""The stored dtype of times of units that are not stored, by the kind of their dtype."""


def time_dtype_to_record(dtype: np.dtype[Any]) -> str | None:
    """The text that records `dtype`; None where the stored dtype alone restores it."""
    return dtype.name if dtype.kind in "mM" and not is_stored_time(dtype) else None


def is_stored_time(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is one of times that the store has."""
    return dtype.kind in "mM" and is_stored(dtype)


def recorded_times(recorded: str) -> tuple[np.dtype[Any], str] | None:
    """Return the dtype of what `decode_times` returns, and the stored dtype; None for what is no record of times."""
    try:
        dtype = np.dtype(recorded) if _TIME_DTYPE.fullmatch(recorded) else None
    except (TypeError, ValueError):
        return None
    if dtype is None:
        return None
    return dtype, NANOSECONDS[dtype.kind]


def encode_times(variable: str, cells: NDArray[Any]) -> NDArray[Any]:
    """Cells of datetime64 or timedelta64 in nanoseconds; NaT stays.

    Raises `OutOfRangeError` where 64 bits of nanoseconds do not reach, `InvalidValueError` for fractions of one.
    """
    dtype = np.dtype(f"{cells.dtype.kind}8[ns]")
    ns = exact_times(cells, dtype)
    if ns is None:
        cell = _first_inexact(cells, dtype)
        if np.datetime_data(cells.dtype)[0] in ("ps", "fs", "as"):
            raise InvalidValueError(
                f"variable {variable!r}: {cell} is finer than a nanosecond, the unit of stored times; "
                f"truncate it with ds[{variable!r}].astype('{dtype.kind}8[ns]')"
            )
        since = " from 1970" if dtype.kind == "M" else ""
        raise OutOfRangeError(
            f"variable {variable!r}: {cell} is beyond nanoseconds in 64 bits, which reach 292 years either way{since}; "
            f"set such cells to NaT, or store seconds: ds[{variable!r}].astype('{dtype.kind}8[s]')"
        )
    return ns


def decode_times(array: str, cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Stored cells in a dtype that `recorded_times` returned.

    Raises `InvalidValueError` where a value is finer than the recorded unit: it was then not written through xarray.
    """
    times = exact_times(cells.view(f"{dtype.kind}8[ns]"), dtype)
    if times is None:
        raise InvalidValueError(
            f"array {array!r} holds nanoseconds that its xarray dtype {dtype} cannot represent; "
            "read them with read_array, as stored"
        )
    return times


def _first_inexact(cells: NDArray[Any], dtype: np.dtype[Any]) -> Any:
    """The first of `cells` that `dtype` does not keep; by bisection, since NumPy does not say which one overflows."""
    flat = cells.reshape(-1)
    while flat.size > 1:
        half = flat.size // 2
        flat = flat[:half] if exact_times(flat[:half], dtype) is None else flat[half:]
    return flat[0]
