"""Times and durations of units that are not stored to nanoseconds and back: exact, or an error. Pure.

Units from seconds to nanoseconds are stored as they are. Where the stored dtype does not tell what a variable was in
xarray, its xarray dtype is recorded as text: for other units, such as days, and for dates of cftime (see
`cftime_dates`). Decoding takes that text as `xarray_dtype`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.format.dtypes import exact_times, is_stored
from atlas.xarray.cftime_dates import decode_dates, is_cftime_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_times", "decoded_dtype", "dtype_to_record", "encode_times", "is_stored_time"]

# Excludes multiples of zero, such as [0ns]: NumPy accepts them and crashes the process when it converts them.
_TIME_DTYPE = re.compile(r"(?:datetime64|timedelta64)\[(?:[1-9]\d{0,8})?(?:W|D|h|m|s|ms|us|ns|ps|fs|as|Y|M)\]")


def dtype_to_record(dtype: np.dtype[Any]) -> str | None:
    """The text that records `dtype`; None where the stored dtype alone restores it."""
    return dtype.name if dtype.kind in "mM" and not is_stored_time(dtype) else None


def is_stored_time(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is one of times that the store has."""
    return dtype.kind in "mM" and is_stored(dtype)


def decoded_dtype(xarray_dtype: object, stored: str) -> np.dtype[Any] | None:
    """The dtype that `decode_times` returns, or None where cells are to be read as stored.

    `xarray_dtype` is the recorded value as found in the store; None is returned where it is invalid or does not fit
    `stored`, the name of the stored dtype.
    """
    if not isinstance(xarray_dtype, str):
        return None
    if is_cftime_dtype(xarray_dtype):
        return np.dtype(object) if stored == "int64" else None
    try:
        dtype = np.dtype(xarray_dtype) if _TIME_DTYPE.fullmatch(xarray_dtype) else None
    except (TypeError, ValueError):
        return None
    if dtype is None:
        return None
    # Before durations had a dtype of their own they were stored as int64 nanoseconds.
    return dtype if stored in {"m": ("timedelta64[ns]", "int64"), "M": ("timestamp_nanoseconds",)}[dtype.kind] else None


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


def decode_times(array: str, cells: NDArray[Any], xarray_dtype: str) -> NDArray[Any]:
    """Stored cells as the xarray dtype; `decoded_dtype` must have accepted `xarray_dtype`.

    Raises `InvalidValueError` where a value is finer than the recorded unit: it was then not written through xarray.
    """
    if is_cftime_dtype(xarray_dtype):
        return decode_dates(array, cells, xarray_dtype)
    dtype = np.dtype(xarray_dtype)
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
