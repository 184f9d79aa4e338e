"""The dtypes of arrays: their names, their NumPy dtypes in memory and on disk, and their fill values. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnsupportedDtypeError
from atlas.format.text import recover_text

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = [
    "DATATYPES",
    "EXTREME_DTYPES",
    "SUPPORTED",
    "TIME_UNIT",
    "DataType",
    "Fill",
    "blank_column",
    "check_fill",
    "exact_times",
    "is_stored",
    "is_zero_unit",
    "narrow_numbers",
    "parse_dtype",
    "time_range",
]

Fill = bool | int | float | str | bytes
"""A fill value as Python keeps it: bool, int for integers and times (in their unit), float, str, or bytes."""


@dataclass(frozen=True, slots=True)
class DataType:
    """One dtype of the store."""

    name: str
    """Canonical name, as written on disk and returned by `array_meta`."""
    memory: np.dtype[Any]
    """The dtype that reads return: little-endian; datetime64 or timedelta64 for times; object for strings and bytes, of
    str or bytes, and None for a missing cell."""
    cell: np.dtype[Any] | None
    """The dtype of a stored cell: int64 for times, uint8 for bool, None for strings and bytes, which have no
    fixed length."""
    kind: str
    """"bool", "int", "uint", "float", "timestamp", "duration", "string" or "bytes"."""

    @property
    def itemsize(self) -> int:
        """Bytes of a stored cell; 1 for strings and bytes, whose chunks are runs of bytes."""
        return 1 if self.cell is None else self.cell.itemsize

    @property
    def has_nat(self) -> bool:
        """Whether the smallest int64 stands for not-a-time."""
        return self.kind in {"timestamp", "duration"}

    def in_memory(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Return decoded cells in the dtype that reads return, without a copy."""
        if self.kind == "bool":
            # A forged file may hold any byte, and NumPy is undefined for a bool of one that is neither 0 nor 1.
            truth: NDArray[Any] = np.not_equal(cells, 0, out=cells.view(np.bool_))
            return truth
        return cells.view(self.memory)


_NUMBERS = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip
TIME_UNIT = r"\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]"
"""Pattern of the unit in the name of a dtype of times. Nine digits at most: NumPy keeps the count in 32 bits. For 0 see
`is_zero_unit`."""
_UNITS = ("s", "ms", "us", "ns")
"""Units of times that are stored as they are: those of xarray and pandas."""


def _little_endian(name: str) -> np.dtype[Any]:
    # By its text, so that a dtype of the machine's own byte order says so: netCDF4 warns of one that says "<" instead.
    return np.dtype(np.dtype(name).newbyteorder("<").str)


def _numeric(name: str) -> DataType:
    dtype = _little_endian(name)
    kind = {"i": "int", "u": "uint", "f": "float"}[dtype.kind]
    return DataType(name, dtype, dtype, kind)


def _time(name: str, dtype: str) -> DataType:
    memory = _little_endian(dtype)
    return DataType(name, memory, np.dtype("<i8"), {"M": "timestamp", "m": "duration"}[memory.kind])


DATATYPES: dict[str, DataType] = {
    "bool": DataType("bool", np.dtype(np.bool_), np.dtype(np.uint8), "bool"),
    **{name: _numeric(name) for name in _NUMBERS},
    **{f"datetime64[{unit}]": _time(f"datetime64[{unit}]", f"M8[{unit}]") for unit in _UNITS if unit != "ns"},
    "timestamp_nanoseconds": _time("timestamp_nanoseconds", "M8[ns]"),
    **{f"timedelta64[{unit}]": _time(f"timedelta64[{unit}]", f"m8[{unit}]") for unit in _UNITS},
    "string": DataType("string", np.dtype(object), None, "string"),
    "bytes": DataType("bytes", np.dtype(object), None, "bytes"),
}
SUPPORTED = ", ".join(DATATYPES)
EXTREME_DTYPES = {
    "float": np.dtype("<f8"), "bool": np.dtype("<u8"), "uint": np.dtype("<u8"), "int": np.dtype("<i8"),
    "timestamp": np.dtype("<i8"), "duration": np.dtype("<i8"),
}  # fmt: skip
"""What the 64 bits of the minimum and maximum in a chunk's statistics are, by `DataType.kind`; text has none."""

_BY_MEMORY = {datatype.memory: datatype for datatype in DATATYPES.values() if datatype.cell is not None}
_ALIASES = {name: name for name in DATATYPES} | {
    "str": "string",
    "timestamp_ns": "timestamp_nanoseconds",
    "datetime64[ns]": "timestamp_nanoseconds",
} | {f"{kind[0]}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (16, 32, 64)} | {
    "f32": "float32",
    "f64": "float64",
}  # fmt: skip
_RESERVED = ("binary", "list", "fixed_size_list")
_AMBIGUOUS = {
    "i8": 'dtype "i8" is eight bytes to NumPy and eight bits to atlas-python: write "int64" or "int8"',
    "u8": 'dtype "u8" is eight bytes to NumPy and eight bits to atlas-python: write "uint64" or "uint8"',
}
"""Names of dtypes that are refused, each with what to write instead."""


def _unsupported(dtype: object) -> UnsupportedDtypeError:
    return UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored; the dtypes supported are {SUPPORTED}")


def parse_dtype(dtype: object) -> DataType:
    """Return the `DataType` for a documented name (in any case), a NumPy dtype or a scalar type.

    Raises `UnsupportedDtypeError` for a dtype that exists but is not stored, `InvalidValueError` for an unknown name,
    `InvalidTypeError` for what cannot be a dtype.
    """
    if isinstance(dtype, DataType):
        return dtype
    if dtype is bytes:  # NumPy's dtype of it is that of "S", which is text here
        return DATATYPES["bytes"]
    if isinstance(dtype, str):
        text = dtype.strip().lower()
        if text in _ALIASES:
            return DATATYPES[_ALIASES[text]]
        if text in _AMBIGUOUS:
            raise InvalidValueError(_AMBIGUOUS[text])
        if text.startswith(_RESERVED):
            raise _unsupported(dtype)
        try:
            return _from_numpy(np.dtype(dtype))
        except (TypeError, ValueError):  # ValueError: text that is no UTF-8
            raise InvalidValueError(f"unknown dtype {dtype!r}; the dtypes supported are {SUPPORTED}") from None
    if dtype is None or isinstance(dtype, bytes):
        raise InvalidTypeError(
            f"a dtype is a name or NumPy's dtype, not {dtype!r}; the dtypes supported are {SUPPORTED}"
        )
    try:
        return _from_numpy(np.dtype(dtype))  # type: ignore[call-overload]
    except UnsupportedDtypeError:
        raise
    except (TypeError, ValueError):  # ValueError: what has a dtype that is no NumPy dtype
        raise InvalidTypeError(f"{dtype!r} is not a dtype; the dtypes supported are {SUPPORTED}") from None


def _from_numpy(dtype: np.dtype[Any]) -> DataType:
    if dtype.kind in "OSUT":
        return DATATYPES["string"]
    if not is_stored(dtype):
        raise _unsupported(dtype)
    return _BY_MEMORY[dtype.newbyteorder("<")]


def is_stored(dtype: np.dtype[Any]) -> bool:
    """Return whether cells of a NumPy dtype, in any byte order, are stored in that dtype."""
    return not is_zero_unit(dtype) and dtype.newbyteorder("<") in _BY_MEMORY


def is_zero_unit(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype of times counts 0 of its unit, as `M8[0s]` does.

    NumPy divides by that number where it compares or converts such a dtype, which ends the process.
    """
    return dtype.kind in "mM" and np.datetime_data(dtype)[1] == 0


def check_fill(datatype: DataType, fill: object) -> Fill | None:
    """Return a fill value as a Python scalar, None for no fill value.

    Bools take a bool, integers an int (no bool, no float), floats an int or float, strings a str, bytes bytes, times an
    int of their unit or a datetime64 or timedelta64; NumPy scalars of these kinds are accepted too.

    Raises `InvalidTypeError` for another kind and `OutOfRangeError` for a number that the dtype cannot hold.
    """
    if fill is None:
        return None
    kind = datatype.kind
    if isinstance(fill, np.datetime64 | np.timedelta64) and datatype.memory.kind == fill.dtype.kind:
        return _ticks(datatype, fill)
    value = (
        fill.item() if isinstance(fill, np.generic) and not isinstance(fill, np.datetime64 | np.timedelta64) else fill
    )
    if kind == "string" and isinstance(value, str):
        return recover_text(value)
    if kind == "bytes" and isinstance(value, bytes):
        return bytes(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise OutOfRangeError(f"fill_value {value!r} is too large for {datatype.name}") from None
        if math.isfinite(number):
            with np.errstate(over="ignore"):
                if np.isinf(np.float64(number).astype(datatype.memory)):
                    raise OutOfRangeError(f"fill_value {value!r} is too large for {datatype.name}")
        return number
    if kind in {"int", "uint", "timestamp", "duration"} and isinstance(value, int) and not isinstance(value, bool):
        assert datatype.cell is not None
        limits = np.iinfo(datatype.cell)
        if not limits.min <= value <= limits.max:
            raise OutOfRangeError(
                f"fill_value {value} is outside {datatype.name}, which holds {limits.min} to {limits.max}"
            )
        return value
    times = f"an int or a NumPy time of unit {np.datetime_data(datatype.memory)[0]}" if datatype.has_nat else ""
    takes = {"bool": "a bool", "int": "an int", "uint": "an int", "float": "an int or a float"}
    takes |= {"string": "a str", "bytes": "bytes"}
    raise InvalidTypeError(
        f"fill_value of a {datatype.name} array is {takes.get(kind, times)}, not {type(fill).__name__} {fill!r}"
    )


def _ticks(datatype: DataType, value: np.datetime64 | np.timedelta64) -> int:
    times = exact_times(np.array(value), datatype.memory)
    if times is None:
        raise OutOfRangeError(f"fill_value {value} does not fit {datatype.name}; {time_range(datatype.memory)}")
    return int(times.view(np.int64))


def narrow_numbers(numbers: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return integers or floats in `dtype`, floats rounded, and which of them do not fit: None where all do.

    An integer fits if it is in the range of `dtype`, a float if it does not become infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # NumPy warns of signalling NaN
        cast: NDArray[Any] = numbers.astype(dtype, copy=False)
    if np.can_cast(numbers.dtype, dtype):
        return cast, None
    lost: NDArray[np.bool_] = (
        np.asarray(np.isinf(cast) & np.isfinite(numbers)) if dtype.kind == "f" else np.asarray(cast != numbers)
    )
    return cast, lost if lost.any() else None


def exact_times(times: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return datetime64 or timedelta64 cells in the unit of `dtype`; None where a cell does not keep its value."""
    if is_zero_unit(times.dtype):
        return None
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


def blank_column(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column of metadata that has no value yet, (count,): False, 0, NaN, not-a-time or None by its dtype."""
    if dtype.kind in "mM":
        return np.full(count, np.iinfo(np.int64).min, np.int64).view(dtype)
    return np.full(count, {"f": np.nan, "O": None}.get(dtype.kind, 0), dtype)


def time_range(dtype: np.dtype[Any]) -> str:
    """Return what 64 bits hold of the unit of `dtype`, for messages."""
    unit = np.datetime_data(dtype)[0]
    if dtype.kind == "m":
        return f"it holds whole {unit}"
    # The first whole day of nanoseconds: NumPy wraps around where it rounds down to the day before.
    first = -(2**63) + (86_400 * 10**9 if unit == "ns" else 1)
    ends = np.array([first, 2**63 - 1]).view(f"M8[{unit}]").astype("M8[D]" if unit == "ns" else "M8[Y]")
    return f"it holds whole {unit} from {ends[0]} to {ends[1]}"
