"""The lossless codec of attribute values: exact values to values of JSON and MessagePack, and back.

Exact values are bool, int, float, str, bytes, None, `Timestamp`, NumPy scalars and arrays, dates and durations of
datetime and pandas (see `attribute_times`), and lists, tuples and dicts of those. `decode_value` returns exactly what
`encode_value` was given, down to the bits of a NaN. Bool, int, finite float and str are encoded as themselves, every
other value as an object `{"$": tag, ...}`. A stored dict cannot be mistaken for a tag, because a dict is itself a
tagged object.

Pure functions over Python and NumPy values, no I/O. Complex numbers, long doubles, structured, masked and mixed object
arrays, and nesting deeper than `MAX_DEPTH` are refused. Decoding trusts nothing and allocates in proportion to its
input, whatever shapes the input claims.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atlas.errors import CorruptStoreError, InvalidValueError, OutOfRangeError
from atlas.format.attribute_times import TIME_DECODERS, TIMES, encode_time
from atlas.format.dtypes import TIME_UNIT
from atlas.format.text import recover_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MAX_DEPTH", "Timestamp", "check_int64", "decode_value", "encode_value", "encoded_text"]

MAX_DEPTH: Final = 64
"""Most lists, tuples and dicts within each other; far below the limit of Python's own stack."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# Python refuses to convert an integer of more than 4300 digits to text, which showing the attribute needs.
_MAX_INT_BITS: Final = 4096
# Python hashes integers modulo 2**61-1: many long integers may share a hash, and take quadratic time as keys of a dict.
_MOST_LONG_KEYS: Final = 64
_MOST_ROWS: Final = 1 << 16
"""Most rows of an array without cells."""
_SUPPORTED: Final = (
    "supported are bool, int, float, str, bytes, None, dates and durations of datetime and pandas, NumPy scalars and "
    "arrays of booleans, integers, floats, dates, durations, bytes and text, and lists, tuples and dicts of those"
)
_SCALAR_TYPE: Final = re.compile(rf"\|b1|\|[iu]1|<[iu][248]|<f[248]|<[Mm]8(?:{TIME_UNIT})?")
_ARRAY_TYPE: Final = re.compile(rf"{_SCALAR_TYPE.pattern}|\|S\d{{1,9}}|<U\d{{1,9}}")


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An attribute of dtype `timestamp_nanoseconds`; shown as a plain int."""

    ns: int
    """Nanoseconds since 1970-01-01T00:00:00, within int64; -2**63 is "not a time"."""

    def __post_init__(self) -> None:
        check_int64(self.ns)


def check_int64(number: int) -> int:
    """Return `number`, or raise `OutOfRangeError` where int64 cannot hold it."""
    if not _INT64_MIN <= number <= _INT64_MAX:
        raise OutOfRangeError("attribute integers must lie between -2**63 and 2**63-1")
    return number


def encode_value(value: object) -> object:
    """Return an exact value as JSON and MessagePack hold it.

    Raises `InvalidValueError` for a value of an unsupported type, which it names, and for text that is no UTF-8 (see
    `recover_text`), and `OutOfRangeError` for an integer of over 4096 bits.
    """
    encode = _BARE.get(type(value))  # one look for what most attributes are
    return _encode(value, 0) if encode is None else encode(value)


def decode_value(data: object) -> object:
    """Return the exact value of an encoded one; arrays are new and writable.

    Raises `InvalidValueError` for malformed input.
    """
    try:
        return _decode(data, 0)
    except (ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(f"malformed attribute value: {error}") from error


def encoded_text(encoded: object) -> str:
    """Return text that encoded values, or several, share only where they are the same in value and type.

    True, 1 and 1.0 are equal in Python. As attributes they differ. Raises `CorruptStoreError` for a value that is
    nested more deeply than any that `encode_value` returns.
    """
    try:
        return repr(encoded)
    except RecursionError as error:
        raise CorruptStoreError(
            "the store is damaged: an attribute is nested too deeply; restore its documents from a copy"
        ) from error


def _unsupported(value: object) -> InvalidValueError:
    kind = type(value).__name__
    if isinstance(value, np.ndarray | np.generic):
        kind = f"{kind} of dtype {value.dtype}"
    return InvalidValueError(f"unsupported attribute type: {kind}; {_SUPPORTED}{_remedy(value)}")


def _remedy(value: object) -> str:
    """Return what to store instead of `value`, the end of an error message; empty where no rule fits."""
    if isinstance(value, complex | np.complexfloating):
        return "; use [float(value.real), float(value.imag)]"
    if isinstance(value, np.floating):  # of more than 64 bits
        return "; use float(value)"
    if isinstance(value, set | frozenset | range):
        return "; use list(value)"
    if isinstance(value, np.ndarray) and value.dtype.kind == "T":
        return "; use value.tolist()"
    return ""


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise InvalidValueError(f"attribute value is nested more than {MAX_DEPTH} deep")
    return depth + 1


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _encode(value: object, depth: int) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return _encode_numpy(value)
    if isinstance(value, int):
        return value if isinstance(value, bool) else _encode_int(int(value))
    if isinstance(value, float):
        return _encode_float(float(value))
    if isinstance(value, str):
        return recover_text(str.__str__(value))
    if isinstance(value, bytes):
        return {"$": "bytes", "v": _base64(value)}
    if value is None:
        return {"$": "none"}
    if isinstance(value, Timestamp):
        return {"$": "time", "v": value.ns}
    if isinstance(value, list | tuple):
        tag = "list" if isinstance(value, list) else "tuple"
        inner = _deeper(depth)
        return {"$": tag, "v": [_encode(item, inner) for item in value]}
    if isinstance(value, dict):
        return _encode_dict(value, _deeper(depth))
    if isinstance(value, TIMES):
        return encode_time(value)
    raise _unsupported(value)


def _encode_int(whole: int) -> object:
    if _INT64_MIN <= whole <= _INT64_MAX:
        return whole
    if whole.bit_length() > _MAX_INT_BITS:
        raise OutOfRangeError(f"integers of an attribute have {_MAX_INT_BITS} bits at most")
    return {"$": "int", "v": f"{whole:x}"}


def _encode_float(number: float) -> object:
    return number if math.isfinite(number) else {"$": "float", "v": struct.pack(">d", number).hex()}


_BARE: Final[Mapping[type, Callable[[Any], object]]] = {
    bool: bool,
    int: _encode_int,
    float: _encode_float,
    str: recover_text,
}
"""What encodes values of just these types, which most attributes have."""


def _encode_dict(value: dict[object, object], depth: int) -> object:
    pairs = []
    for key, item in value.items():
        if not (key is None or isinstance(key, bool | int | float | str)) or isinstance(key, np.generic):
            raise InvalidValueError(f"unsupported key of a dict attribute: {type(key).__name__}; use str")
        pairs.append([_encode(key, depth), _encode(item, depth)])
    _check_keys(value)
    return {"$": "dict", "v": pairs}


def _check_keys(value: dict[Any, object]) -> None:
    long = sum(isinstance(key, int) and key.bit_length() > 64 for key in value)
    if long > _MOST_LONG_KEYS:
        raise InvalidValueError(f"a dict attribute has {_MOST_LONG_KEYS} keys of more than 64 bits at most; use str")


def _is_vast(shape: Sequence[int]) -> bool:
    """Return whether an empty array would take much memory as lists, which hold one for each of its rows."""
    return 0 in shape and math.prod(shape[: shape.index(0)]) > _MOST_ROWS


def _encode_numpy(value: NDArray[np.generic] | np.generic) -> object:
    # Text scalars are not stored as fixed-width cells, which drop trailing NULs and take four bytes a character.
    if isinstance(value, np.str_):
        return {"$": "npstr", "v": recover_text(str.__str__(value))}
    if isinstance(value, np.bytes_):
        return {"$": "npbytes", "v": _base64(bytes(value))}
    if isinstance(value, np.ma.MaskedArray) or value.dtype.kind == "T":
        raise _unsupported(value)
    if isinstance(value, np.ndarray) and _is_vast(value.shape):
        raise InvalidValueError(f"an array attribute without cells has {_MOST_ROWS} rows at most, not {value.shape}")
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        items = value.ravel().tolist()
        if not all(isinstance(item, str) for item in items):
            raise _unsupported(value)
        return {"$": "text", "s": list(value.shape), "v": [recover_text(str.__str__(item)) for item in items]}
    array = np.asarray(value)
    if array.dtype.kind == "U" and array.dtype.itemsize and not _is_text(array):
        array = np.array([recover_text(item) for item in array.ravel().tolist()], np.str_).reshape(array.shape)
    if array.dtype.kind in "SU" and not array.dtype.itemsize:
        array = array.astype(f"{array.dtype.kind}1")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if not _ARRAY_TYPE.fullmatch(little.dtype.str):
        raise _unsupported(value)
    raw = _base64(little.tobytes())
    if isinstance(value, np.generic):
        return {"$": "np", "t": little.dtype.str, "v": raw}
    return {"$": "array", "t": little.dtype.str, "s": list(array.shape), "v": raw}


def _is_text(array: NDArray[np.generic]) -> bool:
    # Four bytes a character, zeros after the end of a shorter cell; surrogates are not characters.
    codes = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view("<u4")
    return not bool(np.any((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))))


def _malformed(what: str) -> InvalidValueError:
    return InvalidValueError(f"malformed attribute value: {what}")


def _decode(data: object, depth: int) -> object:
    if isinstance(data, str):
        return data
    if isinstance(data, float):
        if not math.isfinite(data):
            raise _malformed("a bare number that is not finite")
        return data
    if isinstance(data, int):
        return data if isinstance(data, bool) else check_int64(data)
    if not isinstance(data, dict):
        raise _malformed(f"unexpected {type(data).__name__}")
    tag = data.get("$")
    decoder = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decoder is None:
        raise _malformed(f"unknown tag {tag!r:.40}")
    fields, decode = decoder
    if data.keys() != fields:
        raise _malformed(f"fields of {tag!r}")
    return decode(data, depth)


def _text_field(data: dict[str, object]) -> str:
    text = data["v"]
    if not isinstance(text, str):
        raise _malformed("text expected")
    return text


def _bytes_field(data: dict[str, object]) -> bytes:
    return base64.b64decode(_text_field(data), validate=True)


def _list_field(data: dict[str, object], name: str) -> list[object]:
    items = data[name]
    if not isinstance(items, list):
        raise _malformed("list expected")
    return items


def _shape_field(data: dict[str, object], count: int) -> tuple[int, ...]:
    shape = []
    for length in _list_field(data, "s"):
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise _malformed("shape")
        shape.append(length)
    if len(shape) > 32 or math.prod(shape) != count or _is_vast(shape):
        raise _malformed("shape")
    return tuple(shape)


def _decode_int(data: dict[str, object], _: int) -> int:
    text = _text_field(data)
    if not re.fullmatch("-?[0-9a-f]+", text) or len(text.lstrip("-")) > _MAX_INT_BITS // 4:
        raise _malformed("integer")
    return int(text, 16)


def _decode_float(data: dict[str, object], _: int) -> float:
    (number,) = struct.unpack(">d", bytes.fromhex(_text_field(data)))
    return float(number)


def _decode_time(data: dict[str, object], _: int) -> Timestamp:
    ns = data["v"]
    if isinstance(ns, bool) or not isinstance(ns, int):
        raise _malformed("timestamp")
    return Timestamp(ns)


def _decode_list(data: dict[str, object], depth: int) -> list[object]:
    inner = _deeper(depth)
    return [_decode(item, inner) for item in _list_field(data, "v")]


def _decode_dict(data: dict[str, object], depth: int) -> dict[object, object]:
    inner = _deeper(depth)
    out: dict[object, object] = {}
    long = 0
    for pair in _list_field(data, "v"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise _malformed("pair of a dict")
        key = _decode(pair[0], inner)
        if not (key is None or isinstance(key, bool | int | float | str)) or isinstance(key, np.generic):
            raise _malformed("key of a dict")
        out[key] = _decode(pair[1], inner)
        long += isinstance(key, int) and key.bit_length() > 64
        if long > _MOST_LONG_KEYS:
            raise _malformed(f"a dict of more than {_MOST_LONG_KEYS} keys beyond 64 bits")
    return out


def _decode_scalar(data: dict[str, object], _: int) -> np.generic:
    dtype, raw = data["t"], _bytes_field(data)
    if not isinstance(dtype, str) or not _SCALAR_TYPE.fullmatch(dtype):
        raise _malformed("dtype of a scalar")
    (cell,) = _cells(dtype, raw)
    return cell  # type: ignore[no-any-return]


def _decode_array(data: dict[str, object], _: int) -> NDArray[np.generic]:
    dtype, raw = data["t"], _bytes_field(data)
    if not isinstance(dtype, str) or not _ARRAY_TYPE.fullmatch(dtype):
        raise _malformed("dtype of an array")
    cells = _cells(dtype, raw)
    return cells.reshape(_shape_field(data, cells.size)).copy()


def _cells(dtype: str, raw: bytes) -> NDArray[np.generic]:
    cells = np.frombuffer(raw, np.dtype(dtype))
    if dtype == "|b1" and cells.size and int(cells.view(np.uint8).max()) > 1:
        raise _malformed("boolean")
    if dtype[1] == "U" and not _is_text(cells):
        raise _malformed("text")
    return cells


def _decode_texts(data: dict[str, object], _: int) -> NDArray[np.object_]:
    items = _list_field(data, "v")
    if not all(isinstance(item, str) for item in items):
        raise _malformed("text expected")
    out = np.empty(len(items), object)
    out[:] = items
    return out.reshape(_shape_field(data, len(items)))


_DECODERS: Final[Mapping[str, tuple[frozenset[str], Callable[[dict[str, object], int], object]]]] = {
    "none": (frozenset("$"), lambda _data, _depth: None),
    "int": (frozenset("$v"), _decode_int),
    "float": (frozenset("$v"), _decode_float),
    "bytes": (frozenset("$v"), lambda data, _: _bytes_field(data)),
    "time": (frozenset("$v"), _decode_time),
    "list": (frozenset("$v"), _decode_list),
    "tuple": (frozenset("$v"), lambda data, depth: tuple(_decode_list(data, depth))),
    "dict": (frozenset("$v"), _decode_dict),
    "np": (frozenset("$tv"), _decode_scalar),
    "npstr": (frozenset("$v"), lambda data, _: np.str_(_text_field(data))),
    "npbytes": (frozenset("$v"), lambda data, _: np.bytes_(_bytes_field(data))),
    "array": (frozenset("$tsv"), _decode_array),
    "text": (frozenset("$sv"), _decode_texts),
    **TIME_DECODERS,
}
