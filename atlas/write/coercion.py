"""Data of a caller as cells of the stored dtype. No I/O; a refusal changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.dtypes import exact_times, is_zero_unit, narrow_numbers, time_range
from atlas.format.strings import is_missing
from atlas.format.text import decode_text, recover_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.dtypes import DataType
    from atlas.format.schema import ArraySchema

__all__ = ["broadcast_cells", "cast_cells", "coerce_cells", "coerce_strings"]


def coerce_cells(data: object, schema: ArraySchema, array: str) -> NDArray[Any]:
    """Return `data` with the stored dtype of `schema`, without a copy where it has it already.

    Any memory layout and byte order is taken; times also as int64 of their unit, strings and bytes as `coerce_strings`
    says. Masked cells get the fill value, those of strings and bytes without one are missing.

    Raises `InvalidTypeError` for another dtype, for what is no NumPy array, and for masked cells without a fill value;
    `InvalidValueError` for strings that are no UTF-8.
    """
    if isinstance(data, np.generic):
        data = np.asarray(data)
    if not isinstance(data, np.ndarray):
        raise InvalidTypeError(
            f"data for array {array!r} is a numpy ndarray, not {type(data).__name__}; wrap it with np.asarray"
        )
    if isinstance(data, np.ma.MaskedArray):
        return _fill_masked(data, schema, array, coerce_cells)
    datatype = schema.datatype
    if datatype.cell is None:
        if data.dtype.kind in "OSUT":
            try:
                return coerce_strings(data, schema)
            except (InvalidTypeError, InvalidValueError) as error:
                raise type(error)(f"array {array!r}: {error}") from error
    elif is_zero_unit(data.dtype):
        pass
    elif data.dtype == datatype.cell and datatype.kind != "bool":
        return data
    elif data.dtype == datatype.memory:
        cells = data.view(datatype.cell)
        # Memory that was viewed as bools may hold any byte; stored bools are 0 or 1.
        return cells if datatype.kind != "bool" or cells.max(initial=0) <= 1 else (cells != 0).view(datatype.cell)
    elif data.dtype.newbyteorder("<") in ({datatype.memory, datatype.cell} if datatype.has_nat else {datatype.memory}):
        return data.astype(data.dtype.newbyteorder("<")).view(datatype.cell)
    raise InvalidTypeError(
        f"array {array!r} is of dtype {datatype.name}, and data of dtype {data.dtype} does not fit; use .astype"
    )


def _fill_masked(
    data: np.ma.MaskedArray[Any, Any],
    schema: ArraySchema,
    array: str,
    convert: Callable[[NDArray[Any], ArraySchema, str], NDArray[Any]],
) -> NDArray[Any]:
    """Return masked data as `convert` does, the fill value at masked cells.

    Filled only once it is converted: in the dtype of the data the fill could be cut or wrap around.
    """
    plain: NDArray[Any] = np.asarray(data)
    if plain.dtype.names is not None or not np.ma.is_masked(data):
        return convert(plain, schema, array)
    mask = np.ma.getmaskarray(data)
    if schema.datatype.cell is None:
        plain = plain.astype(object)
        plain[mask] = None
        return convert(plain, schema, array)
    if schema.fill is None:
        raise InvalidTypeError(
            f"data for array {array!r} has masked cells, and the array has no fill_value to store for them; "
            "define it with one, or pass data.filled(value)"
        )
    plain = plain.copy()
    plain[mask] = np.zeros((), plain.dtype)  # what a mask hides need not fit
    cells = convert(plain, schema, array)
    cells[mask] = np.frombuffer(schema.fill_bits, cells.dtype)[0]
    return cells


def cast_cells(value: object, schema: ArraySchema, array: str) -> NDArray[Any]:
    """Return what is assigned to cells of `schema` with its stored dtype.

    Unlike `coerce_cells` it takes Python values and lists, other sizes of a number and other units of a time: floats
    are rounded as NumPy rounds them, and everything else is exact.

    Raises `InvalidTypeError` for values of another kind, such as floats for an integer array, and `OutOfRangeError` for
    a number or time that the dtype cannot hold.
    """
    datatype = schema.datatype
    if not isinstance(value, np.ndarray | np.generic):
        try:
            value = np.asarray(value, object if datatype.cell is None else None)
            value = value if value.size else value.astype(datatype.memory)  # an empty list has no dtype
        except TypeError as error:  # an object that refuses to become an array
            raise InvalidTypeError(f"what is assigned to array {array!r} is no array: {error}") from error
        except ValueError as error:  # a ragged list
            raise InvalidValueError(f"what is assigned to array {array!r} is no array: {error}") from error
    data = np.asanyarray(value)
    if isinstance(data, np.ma.MaskedArray):
        return _fill_masked(data, schema, array, cast_cells)
    kind, cell = data.dtype.kind, datatype.cell
    takes = {"int": "iu", "uint": "iu", "float": "fiu"}.get(datatype.kind, "")
    if cell is not None and kind in takes:
        return _narrow(data, cell, array)
    if kind in "mM" and kind == datatype.memory.kind:
        return _ticks(data, datatype.memory, array)
    try:
        return coerce_cells(data, schema, array)
    except InvalidTypeError as error:
        if data.ndim:
            raise
        raise InvalidTypeError(
            f"{data[()]!r} does not fit in array {array!r} of dtype {datatype.name}; assign {_takes(datatype)}"
        ) from error


def _takes(datatype: DataType) -> str:
    """Return what a cell of a dtype may be assigned, for messages."""
    if datatype.has_nat:
        scalar = "datetime64" if datatype.kind == "timestamp" else "timedelta64"
        return f"np.{scalar}(...), and np.{scalar}('NaT') for a missing one"
    missing = ", and float('nan') for a missing one" if datatype.kind == "float" else ""
    missing = ", and None for a missing one" if datatype.cell is None else missing
    names = {"string": "a str", "bytes": "bytes", "bool": "a bool", "float": "a number"}
    return names.get(datatype.kind, "an int") + missing


def _narrow(data: NDArray[Any], cell: np.dtype[Any], array: str) -> NDArray[Any]:
    cells, lost = narrow_numbers(data, cell)
    if lost is None:
        return cells
    first = data[lost].flat[0]
    if cell.kind == "f":
        raise OutOfRangeError(f"{first} is too large for array {array!r} of dtype {cell.name}")
    limits = np.iinfo(cell)
    raise OutOfRangeError(
        f"{first} does not fit in array {array!r} of dtype {cell.name}, which holds {limits.min} to {limits.max}"
    )


def _ticks(data: NDArray[Any], dtype: np.dtype[Any], array: str) -> NDArray[Any]:
    times = exact_times(data, dtype)
    if times is None:
        raise OutOfRangeError(
            f"times of dtype {data.dtype} do not fit in array {array!r} of dtype {dtype.name}; {time_range(dtype)}"
        )
    return times.view("<i8")


def broadcast_cells(cells: NDArray[Any], shape: tuple[int, ...], array: str) -> NDArray[Any]:
    """Return `cells` broadcast to `shape`, as NumPy does when it assigns: leading axes of length 1 may be too many.

    Raises `InvalidValueError` where that cannot be.
    """
    own = cells.shape
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    try:
        return np.broadcast_to(cells.reshape(own), shape)
    except ValueError:
        raise InvalidValueError(
            f"could not broadcast what is assigned to array {array!r} from shape {cells.shape} into shape {shape}"
        ) from None


def coerce_strings(data: NDArray[Any], schema: ArraySchema) -> NDArray[Any]:
    """Return data of dtype object, S, U or StringDType as an object array of str or of bytes, as `schema` says.

    For strings, bytes are decoded as UTF-8, surrogate escapes too. None, NaN and what pandas has for missing cells
    become the fill value, or None where there is none.

    Raises `InvalidTypeError` for a cell of another type, `InvalidValueError` for one that is no UTF-8.
    """
    cells: list[Any] = data.ravel().tolist()
    out = np.empty(data.size, object)
    convert = _text if schema.datatype.kind == "string" else _bytes
    out[:] = [convert(cell, schema.fill) for cell in cells]
    return out.reshape(data.shape)


def _text(cell: object, missing: object) -> object:
    if isinstance(cell, str):
        text = str.__str__(cell)  # of a subclass too, whatever it prints as
        return text if text.isascii() else recover_text(text)
    if isinstance(cell, bytes):
        return decode_text(cell)
    if is_missing(cell):
        return missing
    raise InvalidTypeError(
        f"a string array takes str and bytes, and None for missing cells, not {type(cell).__name__} {cell!r}"
    )


def _bytes(cell: object, missing: object) -> object:
    if isinstance(cell, bytes):
        return bytes(cell)
    if is_missing(cell):
        return missing
    remedy = "; encode text first, for example with text.encode()" if isinstance(cell, str) else ""
    raise InvalidTypeError(
        f"a bytes array takes bytes, and None for missing cells, not {type(cell).__name__} {cell!r}{remedy}"
    )
