"""Text and bytes of xarray as cells of the store, and back to the dtype that they had. Pure.

The store keeps text and bytes of any length, and None for a missing cell. Where a variable was of another dtype than
object, that dtype is recorded as text: `S5` for bytes of NumPy, `StringDType` for its text, with what stands for a
missing cell, such as `StringDType(nan)`, and `string` or `str` for the two dtypes of pandas.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnsupportedDtypeError
from atlas.format.strings import is_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PANDAS_DTYPES",
    "check_declared",
    "check_strings",
    "decode_strings",
    "objects_to_record",
    "recorded_strings",
    "string_dtype_to_record",
    "widen_strings",
]

PANDAS_DTYPES: Final = ("string", "str")
"""Recorded dtypes of pandas, of arrays of one axis only. A missing cell is NA in the first and NaN in the second."""
_BYTES: Final = re.compile(r"S[1-9]\d{0,8}")
_STRING_DTYPES: Final = ("StringDType(None)", "StringDType(nan)", "StringDType(NA)")
"""Recorded dtypes of NumPy that have missing cells, with what stands for them."""


def string_dtype_to_record(dtype: Any) -> str | None:
    """Return the text that records the dtype of a variable or an index; None for one of objects, and for `U`.

    Raises `UnsupportedDtypeError` for a StringDType whose missing cells are text themselves.
    """
    if not isinstance(dtype, np.dtype):
        is_pandas = type(dtype).__name__ == "StringDtype"
        return {"NA": "string", "nan": "str"}.get(_missing_name(dtype.na_value)) if is_pandas else None
    if dtype.kind == "S" and dtype.itemsize:
        return f"S{dtype.itemsize}"
    if dtype.kind != "T":
        return None
    if not hasattr(dtype, "na_object"):
        return "StringDType"
    recorded = f"StringDType({_missing_name(dtype.na_object)})"
    if recorded not in _STRING_DTYPES:
        raise UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored: a missing cell in them is text")
    return recorded


def objects_to_record(cells: NDArray[Any]) -> str | None:
    """Return the text that records the dtype of pandas that xarray has turned into these objects; None for none."""
    # Of all that stands for a missing cell, xarray keeps apart only NA, and has it only from that dtype.
    is_pandas = cells.ndim == 1 and cells.dtype == object and "NA" in map(_missing_name, cells.tolist())
    return "string" if is_pandas else None


def _missing_name(missing: object) -> str:
    """Return a name of what stands for a missing cell in a dtype of text; empty for anything else."""
    if missing is None:
        return "None"
    if isinstance(missing, float):
        return "nan" if is_missing(missing) else ""
    return "NA" if type(missing).__name__ == "NAType" else ""


def recorded_strings(recorded: str) -> tuple[np.dtype[Any], str] | None:
    """Return NumPy's dtype of what `decode_strings` returns, and the stored dtype; None for what is no record."""
    if _BYTES.fullmatch(recorded):
        return np.dtype(recorded), "bytes"
    if recorded in PANDAS_DTYPES:
        return np.dtype(object), "string"
    if recorded == "StringDType":
        return np.dtypes.StringDType(), "string"
    if recorded not in _STRING_DTYPES:
        return None
    name = recorded.removeprefix("StringDType(").removesuffix(")")
    # pandas takes a while to import, and the command line seldom needs it.
    missing = importlib.import_module("pandas").NA if name == "NA" else {"None": None, "nan": np.nan}[name]
    return np.dtypes.StringDType(na_object=missing), "string"


def decode_strings(array: str, cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return stored cells, objects, in a dtype that `recorded_strings` returned.

    Raises `InvalidValueError` where the dtype cannot hold a cell: it was then not written through xarray.
    """
    if dtype.kind == "O":
        return cells
    missing = [is_missing(cell) for cell in cells.ravel().tolist()]
    fits = not any(missing) or hasattr(dtype, "na_object")
    if dtype.kind == "S" and fits:
        fits = all(len(cell) <= dtype.itemsize and not cell.endswith(b"\0") for cell in cells.ravel().tolist())
    if not fits:
        raise InvalidValueError(
            f"array {array!r} holds cells that its xarray dtype {dtype} cannot represent; read them with read_array, "
            "as stored"
        )
    if any(missing) and dtype.kind == "T":
        cells = cells.copy()
        cells[np.reshape(missing, cells.shape)] = dtype.na_object  # type: ignore[attr-defined]
    return cells.astype(dtype)


def widen_strings(cells: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return stored cells as `decode_strings` does; as they are where the dtype cannot hold them.

    Bytes take the length of the longest.
    """
    if dtype.kind == "S":
        longest = max((len(cell) for cell in cells.ravel().tolist() if cell is not None), default=0)
        dtype = np.dtype(f"S{max(longest, dtype.itemsize)}")
    try:
        return decode_strings("", cells, dtype)
    except InvalidValueError:
        return cells


def check_strings(variable: str, cells: NDArray[Any], kind: str, *, whole: bool = True) -> None:
    """Raise `InvalidTypeError`, naming the variable, unless every cell is of one kind, text or bytes, or missing.

    `kind` is "string" or "bytes", see `DataType.kind`; `whole` tells whether `cells` are all of the variable.
    """
    if cells.dtype.kind in ("UT" if kind == "string" else "S"):
        return
    own = str if kind == "string" else bytes
    others = [cell for cell in cells.ravel().tolist() if not isinstance(cell, own) and not is_missing(cell)]
    if others:
        what = "text" if kind == "string" else "bytes"
        raise InvalidTypeError(
            f"variable {variable!r}: an array of {what} holds {what}, or None where it is missing, and one cell is "
            f"{type(others[0]).__name__}; use {_remedy(variable, cells, whole=whole)}"
        )


def check_declared(variable: str, cells: NDArray[Any], recorded: str) -> None:
    """Raise `OutOfRangeError` where a recorded dtype, which dask declared, cannot represent the cells of a block."""
    found = recorded_strings(recorded)
    assert found is not None
    plain = cells.astype(object)
    try:
        decode_strings(variable, plain, found[0])
    except InvalidValueError:
        this = f"ds[{variable!r}]"
        raise OutOfRangeError(
            f"variable {variable!r}: dask declared dtype {found[0]}, and a block was computed as {cells.dtype} with "
            f"cells that it cannot hold; use {this} = {this}.copy(data={this}.data.map_blocks(lambda cells: "
            "cells.astype(object), dtype=object))"
        ) from None


def _remedy(variable: str, cells: NDArray[Any], *, whole: bool) -> str:
    """Return what to do with objects that are not all of one kind. What is not seen here may be of any."""
    this = f"ds[{variable!r}]"
    present = [cell for cell in cells.ravel().tolist() if not is_missing(cell)]
    if whole and all(isinstance(cell, bool | np.bool_) for cell in present):
        return f"{this}.fillna(False).astype(bool) for flags, of which missing ones are then False"
    if whole and all(isinstance(cell, int | float | np.number) for cell in present):
        return f"{this}.astype('float64') for numbers, of which missing ones are then NaN"
    if all(isinstance(cell, str | bytes) for cell in present):
        return (
            f"xr.apply_ufunc(lambda cell: cell.decode() if isinstance(cell, bytes) else cell, {this}, vectorize=True, "
            "dask='parallelized', output_dtypes=[object]) to make text of the bytes"
        )
    return (
        f"xr.apply_ufunc(lambda cell: None if cell is None or cell != cell else str(cell), {this}, vectorize=True, "
        "dask='parallelized', output_dtypes=[object]) to make text of all that is not missing"
    )
