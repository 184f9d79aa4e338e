"""The dtype that a variable had in xarray, where the stored dtype does not tell: recorded as text, and decoded by it.

It is the attribute `DTYPE_KEY` of the variable: for times of units that are not stored (see `time_encoding`), dates of
cftime (`cftime_dates`), and text and bytes (`strings`). A record that a user changed decodes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.xarray.cftime_dates import decode_dates, is_cftime_dtype, recorded_dates
from atlas.xarray.strings import decode_strings, recorded_strings, widen_strings
from atlas.xarray.time_encoding import decode_times, recorded_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["decode_recorded", "decoded_dtype"]


def decoded_dtype(recorded: object, stored: str) -> np.dtype[Any] | None:
    """Return the dtype that `decode_recorded` returns, or None where cells are to be read as stored.

    `recorded` is the recorded value as found in the store; None is returned where it is invalid or does not fit
    `stored`, the name of the stored dtype.
    """
    found = _parse(recorded) if isinstance(recorded, str) else None
    return None if found is None or found[1] != stored else found[0]


def decode_recorded(array: str, cells: NDArray[Any], recorded: str, *, widens: bool = False) -> NDArray[Any]:
    """Return stored cells in the recorded dtype, which `decoded_dtype` must have accepted.

    Raises `InvalidValueError` where that dtype cannot represent a cell: it was then not written through xarray. Where
    `widens`, text and bytes are instead returned in a dtype that does.
    """
    if is_cftime_dtype(recorded):
        return decode_dates(array, cells, recorded)
    found = _parse(recorded)
    assert found is not None
    if found[0].kind in "mM":
        return decode_times(array, cells, found[0])
    return widen_strings(cells, found[0]) if widens else decode_strings(array, cells, found[0])


def _parse(recorded: str) -> tuple[np.dtype[Any], str] | None:
    """Return the dtype in xarray and the stored dtype that a record stands for."""
    return recorded_dates(recorded) or recorded_times(recorded) or recorded_strings(recorded)
