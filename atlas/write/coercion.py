"""Data of a caller as cells of the stored dtype. No I/O; a refusal changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError
from atlas.format.attributes import recover_text

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema

__all__ = ["coerce_cells", "coerce_strings"]


def coerce_cells(data: object, schema: ArraySchema, array: str) -> NDArray[Any]:
    """Return `data` with the stored dtype of `schema`, without a copy where it has it already.

    Any memory layout and byte order is taken; timestamps as datetime64[ns] or int64, strings as object (str or
    bytes), S, U or StringDType.

    Raises `InvalidTypeError` for another dtype, for what is no NumPy array, and for masked cells without a fill value.
    """
    if isinstance(data, np.generic):
        data = np.asarray(data)
    if not isinstance(data, np.ndarray):
        raise InvalidTypeError(
            f"data for array {array!r} is a numpy ndarray, not {type(data).__name__}; wrap it with np.asarray"
        )
    if isinstance(data, np.ma.MaskedArray):
        data = _unmasked(data, schema, array)
    datatype = schema.datatype
    if datatype.cell is None:
        if data.dtype.kind in "OSUT":
            return coerce_strings(data)
    elif data.dtype == datatype.cell:
        return data
    elif data.dtype.newbyteorder("<") in {datatype.cell, datatype.memory}:
        return (
            data.astype(data.dtype.newbyteorder("<"), copy=False).view(datatype.cell)
            if data.dtype.kind != "M"
            else _ticks(data)
        )
    raise InvalidTypeError(
        f"array {array!r} is of dtype {datatype.name}, and data of dtype {data.dtype} does not fit; use .astype"
    )


def _ticks(data: NDArray[Any]) -> NDArray[Any]:
    native = data.astype("<M8[ns]", copy=False)
    return native.view("<i8")


def _unmasked(data: np.ma.MaskedArray[Any, Any], schema: ArraySchema, array: str) -> NDArray[Any]:
    if not np.ma.is_masked(data):
        return np.asarray(data)
    if schema.fill is None:
        raise InvalidTypeError(
            f"data for array {array!r} has masked cells, and the array has no fill_value to store for them; "
            "define it with one, or pass data.filled(value)"
        )
    fill = (
        np.datetime64(int(schema.fill), "ns")
        if schema.datatype.kind == "timestamp" and data.dtype.kind == "M"
        else schema.fill
    )
    return np.asarray(data.filled(fill))


def coerce_strings(data: NDArray[Any]) -> NDArray[Any]:
    """Return string data as a C-contiguous object array of str.

    bytes are decoded as UTF-8; surrogate escapes are recovered where they decode, else replaced.

    Raises `InvalidTypeError` for a cell that is neither str nor bytes.
    """
    cells: list[Any] = data.ravel().tolist()
    out = np.empty(data.size, object)
    out[:] = [_text(cell) for cell in cells]
    return out.reshape(data.shape)


def _text(cell: object) -> str:
    if isinstance(cell, str):
        text = str.__str__(cell)  # of a subclass too, whatever it prints as
        return text if text.isascii() else recover_text(text)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    raise InvalidTypeError(f"a string array takes str and bytes, not {type(cell).__name__} {cell!r}")
