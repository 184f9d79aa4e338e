"""The dtypes of arrays: their names, their NumPy dtypes in memory and on disk, and their fill values. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnsupportedDtypeError
from atlas.format.attribute_codec import recover_text

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["DATATYPES", "EXTREME_DTYPES", "SUPPORTED", "DataType", "Fill", "check_fill", "exact_times", "parse_dtype"]

type_names = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
)  # fmt: skip

Fill = int | float | str
"""A fill value as Python keeps it: int for integers and timestamps (nanoseconds), float, or str."""


@dataclass(frozen=True, slots=True)
class DataType:
    """One dtype of the store."""

    name: str
    """Canonical name, as written on disk and returned by `array_meta`."""
    memory: np.dtype[Any]
    """The dtype that reads return: little-endian; datetime64[ns] for timestamps, object (of str) for strings."""
    cell: np.dtype[Any] | None
    """The dtype of a stored cell: int64 for timestamps, None for strings, which have no fixed length."""
    kind: str
    """"int", "uint", "float", "timestamp" or "string"."""

    @property
    def itemsize(self) -> int:
        """Bytes of a stored cell; 1 for strings, whose chunks are runs of bytes."""
        return 1 if self.cell is None else self.cell.itemsize


def _numeric(name: str) -> DataType:
    dtype = np.dtype(name).newbyteorder("<")
    kind = {"i": "int", "u": "uint", "f": "float"}[dtype.kind]
    return DataType(name, dtype, dtype, kind)


DATATYPES: dict[str, DataType] = {name: _numeric(name) for name in type_names} | {
    "timestamp_nanoseconds": DataType("timestamp_nanoseconds", np.dtype("<M8[ns]"), np.dtype("<i8"), "timestamp"),
    "string": DataType("string", np.dtype(object), None, "string"),
}
SUPPORTED = ", ".join(DATATYPES)
EXTREME_DTYPES = {
    "float": np.dtype("<f8"), "uint": np.dtype("<u8"), "int": np.dtype("<i8"), "timestamp": np.dtype("<i8"),
}  # fmt: skip
"""What the 64 bits of the minimum and maximum in a chunk's statistics are, by `DataType.kind`; strings have none."""

_ALIASES = {name: name for name in DATATYPES} | {
    "str": "string",
    "timestamp_ns": "timestamp_nanoseconds",
    "datetime64[ns]": "timestamp_nanoseconds",
} | {f"{kind[0]}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "f32": "float32",
    "f64": "float64",
}  # fmt: skip
_RESERVED = ("bool", "binary", "list", "fixed_size_list")


def _unsupported(dtype: object) -> UnsupportedDtypeError:
    return UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored; the dtypes supported are {SUPPORTED}")


def parse_dtype(dtype: object) -> DataType:
    """Return the `DataType` for a documented name (in any case), a NumPy dtype or a scalar type.

    Raises `UnsupportedDtypeError` for a dtype that exists but is not stored, `InvalidValueError` for an unknown name,
    `InvalidTypeError` for what cannot be a dtype.
    """
    if isinstance(dtype, DataType):
        return dtype
    if isinstance(dtype, str):
        text = dtype.strip().lower()
        if text in _ALIASES:
            return DATATYPES[_ALIASES[text]]
        if text.startswith(_RESERVED):
            raise _unsupported(dtype)
        try:
            return _from_numpy(np.dtype(dtype))
        except TypeError:
            raise InvalidValueError(f"unknown dtype {dtype!r}; the dtypes supported are {SUPPORTED}") from None
    if dtype is None:
        raise InvalidTypeError(f"a dtype is needed; the dtypes supported are {SUPPORTED}")
    try:
        return _from_numpy(np.dtype(dtype))  # type: ignore[call-overload]
    except UnsupportedDtypeError:
        raise
    except TypeError:
        raise InvalidTypeError(f"{dtype!r} is not a dtype; the dtypes supported are {SUPPORTED}") from None


def _from_numpy(dtype: np.dtype[Any]) -> DataType:
    if dtype.kind in "iuf" and dtype.name in DATATYPES:
        return DATATYPES[dtype.name]
    if dtype.kind == "M" and np.datetime_data(dtype) == ("ns", 1):
        return DATATYPES["timestamp_nanoseconds"]
    if dtype.kind in "OSUT":
        return DATATYPES["string"]
    raise _unsupported(dtype)


def check_fill(datatype: DataType, fill: object) -> Fill | None:
    """Return a fill value as a Python scalar, None for no fill value.

    Integers take an int (no bool, no float), floats an int or float, strings a str, timestamps an int of
    nanoseconds or a datetime64; NumPy scalars of these kinds are accepted too.

    Raises `InvalidTypeError` for another kind and `OutOfRangeError` for a number that the dtype cannot hold.
    """
    if fill is None:
        return None
    kind = datatype.kind
    if kind == "timestamp" and isinstance(fill, np.datetime64):
        return _nanoseconds(fill)
    value = (
        fill.item() if isinstance(fill, np.generic) and not isinstance(fill, np.datetime64 | np.timedelta64) else fill
    )
    if kind == "string" and isinstance(value, str):
        return recover_text(value)
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise OutOfRangeError(f"fill_value {value!r} is too large for {datatype.name}") from None
        if datatype.name == "float32" and math.isfinite(number):
            with np.errstate(over="ignore"):
                if np.isinf(np.float32(number)):
                    raise OutOfRangeError(f"fill_value {value!r} is too large for float32")
        return number
    if kind in {"int", "uint", "timestamp"} and isinstance(value, int) and not isinstance(value, bool):
        assert datatype.cell is not None
        limits = np.iinfo(datatype.cell)
        if not limits.min <= value <= limits.max:
            raise OutOfRangeError(
                f"fill_value {value} is outside {datatype.name}, which holds {limits.min} to {limits.max}"
            )
        return value
    takes = {"int": "an int", "uint": "an int", "float": "an int or a float", "string": "a str"}.get(
        kind, "an int of nanoseconds or a datetime64"
    )
    raise InvalidTypeError(f"fill_value of a {datatype.name} array is {takes}, not {type(fill).__name__} {fill!r}")


def _nanoseconds(value: np.datetime64) -> int:
    try:
        ns = value.astype("M8[ns]")
        exact = bool(np.isnat(value) or ns.astype(value.dtype) == value)
    except OverflowError:  # NumPy 2.5 and later; earlier versions wrap around, which the comparison finds
        exact = False
    if not exact:
        raise OutOfRangeError(
            f"fill_value {value} is no whole nanosecond from 1677-09-21 to 2262-04-11, which is what 64 bits hold"
        )
    return int(ns.astype(np.int64))


def exact_times(times: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return datetime64 or timedelta64 cells in the unit of `dtype`; None where a cell does not keep its value."""
    if np.datetime_data(times.dtype)[0] == "generic":  # a number without a unit; not-a-time has every unit
        return times.astype(dtype) if np.isnat(times).all() else None
    try:
        found = times.astype(dtype)
        back = found.astype(times.dtype)
    except OverflowError:  # NumPy 2.5 and later; earlier versions wrap around, which the comparison finds
        return None
    return found if np.array_equal(_as_integers(back), _as_integers(times)) else None


def _as_integers(times: NDArray[Any]) -> NDArray[np.int64]:
    # Comparing times of two units would convert them once more and overflow; NaT would differ from itself.
    return np.asarray(times, dtype=times.dtype.newbyteorder("=")).view(np.int64)
