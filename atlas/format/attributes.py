"""Attribute values in the public interface: what users may set, and what they are shown.

A value has three forms. The *exact* one keeps everything (see `atlas.format.attribute_codec`, whose functions this
module exports too), the *encoded* one is stored, and `DatasetView.get_attribute` shows the *plain* one: a bool, int,
float, str, or a date or duration of datetime or pandas. Pure functions over Python and NumPy values, no I/O.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, SupportsFloat

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.attribute_codec import MAX_DEPTH, Timestamp, check_int64, decode_value, encode_value
from atlas.format.attribute_times import TIMES
from atlas.format.text import recover_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

__all__ = [
    "KEPT_AS_SET",
    "MAX_DEPTH",
    "Timestamp",
    "coerce_attribute",
    "decode_value",
    "encode_value",
    "plain_value",
]

_INTEGER_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    name: (int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}
_DTYPE_NAMES: Final[Mapping[str, str]] = {
    **{name: name for name in (*_INTEGER_RANGES, "bool", "float32", "float64", "string", "timestamp_nanoseconds")},
    **{f"{kind[0]}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "f32": "float32",
    "f64": "float64",
    "str": "string",
    "timestamp_ns": "timestamp_nanoseconds",
    "datetime64[ns]": "timestamp_nanoseconds",
}


_SHOWN_ALIKE: Final = frozenset({bool, int, float, str})
"""Types of exact values that `_jsonable` returns as they are."""


KEPT_AS_SET: Final = frozenset({bool, float, str})
"""Types of values that `coerce_attribute` leaves to `encode_value` where no dtype is given."""


def coerce_attribute(value: object, dtype: str | np.dtype[np.generic] | type[np.generic] | None = None) -> object:
    """Return the exact value of what a user sets on a dataset: a bool, int, float, str or `Timestamp`.

    Without `dtype` the value decides the kind: NumPy scalars become Python scalars, and datetime64 a timestamp. With
    `dtype` the value must be of its kind and in its range; float32 rounds.

    Raises `InvalidValueError` for unsupported kinds and unknown dtype names, `InvalidTypeError` for a value that
    does not fit the kind of `dtype`, and `OutOfRangeError` for a number outside its range or outside int64.
    """
    if dtype is None:
        return _infer(value)
    name = _dtype_name(dtype)
    if isinstance(value, np.timedelta64):  # NumPy counts it as a signed integer
        pass
    elif name == "bool":
        if isinstance(value, bool | np.bool_):
            return bool(value)
    elif name == "string":
        if isinstance(value, str):
            return recover_text(str.__str__(value))
    elif name in ("float32", "float64"):
        if isinstance(value, int | float | np.bool_ | np.integer | np.floating):
            return _narrow_float(value, name)
    elif name == "timestamp_nanoseconds" and isinstance(value, np.datetime64):
        return Timestamp(check_int64(_exact_nanoseconds(value)))
    elif isinstance(value, int | np.bool_ | np.integer):
        number = check_int64(int(value))
        if name == "timestamp_nanoseconds":
            return Timestamp(number)
        low, high = _INTEGER_RANGES[name]
        if not low <= number <= high:
            raise OutOfRangeError(f"attribute value {number} is outside {name}, which goes from {low} to {high}")
        return number
    raise InvalidTypeError(f"attribute value of type {type(value).__name__} does not fit dtype {name!r}")


def plain_value(value: object) -> bool | int | float | str | dt.date | dt.time | dt.timedelta:
    """Return what `get_attribute` shows of an exact value.

    NumPy scalars become Python scalars, their times and durations, and timestamps, an int of nanoseconds; bytes a str
    (UTF-8, U+FFFD where it does not decode); None, lists, tuples, dicts and arrays the str `json:` followed by their
    JSON. Dates and durations of datetime and pandas are shown as they are, and as their `str` in that JSON.
    """
    if type(value) in _SHOWN_ALIKE or isinstance(value, TIMES):
        return value  # type: ignore[return-value]
    shown = _jsonable(value)
    if isinstance(shown, bool | int | float | str) and not isinstance(value, np.ndarray):
        return shown
    return "json:" + json.dumps(shown)


def _infer(value: object) -> object:
    if type(value) is int:  # before all that NumPy has
        return check_int64(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.datetime64):
        return Timestamp(check_int64(_exact_nanoseconds(value)))
    if isinstance(value, float | np.float16 | np.float32):
        return float(value)
    if isinstance(value, str):
        return recover_text(str.__str__(value))
    if isinstance(value, bool | Timestamp):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64):
        return check_int64(int(value))
    raise InvalidValueError(
        f"unsupported attribute type: {type(value).__name__!r}; supported are bool, int, float, str and datetime64; "
        "dataset.attrs[name] = value and dataset[array].attrs[name] = value take all that can be stored"
    )


def _dtype_name(dtype: str | np.dtype[np.generic] | type[np.generic]) -> str:
    if isinstance(dtype, str):
        text = dtype
    elif isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, np.generic)):
        text = np.dtype(dtype).name
    else:
        raise InvalidTypeError(f"dtype of an attribute must be a name such as 'int8', not {type(dtype).__name__}")
    name = _DTYPE_NAMES.get(text.lower())
    if name is None:
        known = ", ".join(dict.fromkeys(_DTYPE_NAMES.values()))
        raise InvalidValueError(f"unknown attribute dtype: {text!r}; known are {known}")
    return name


def _narrow_float(value: SupportsFloat, name: str) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise OutOfRangeError(f"attribute value is outside {name}") from error
    if name == "float64":
        return number
    with np.errstate(over="ignore"):
        narrow = float(np.float32(number))
    if math.isinf(narrow) and not math.isinf(number):
        raise OutOfRangeError(f"attribute value {number} is outside float32")
    return narrow


def _exact_nanoseconds(value: np.datetime64) -> int:
    ticks, numerator, denominator = _ticks(value)
    ns, rest = divmod(ticks * numerator, denominator)
    if rest:
        raise InvalidValueError(f"attribute value {value} is finer than a nanosecond")
    return ns


# Nanoseconds per unit as a fraction; durations of calendar units take the mean length, as NumPy's own casts do.
_NS_PER_UNIT: Final[Mapping[str, tuple[int, int]]] = {
    "Y": (31_556_952 * 10**9, 1),
    "M": (2_629_746 * 10**9, 1),
    "W": (604_800 * 10**9, 1),
    "D": (86_400 * 10**9, 1),
    "h": (3_600 * 10**9, 1),
    "m": (60 * 10**9, 1),
    "s": (10**9, 1),
    "ms": (10**6, 1),
    "us": (10**3, 1),
    "ns": (1, 1),
    "ps": (1, 10**3),
    "fs": (1, 10**6),
    "as": (1, 10**9),
    "generic": (1, 1),
}


def _ticks(value: np.datetime64 | np.timedelta64) -> tuple[int, int, int]:
    """Return the ticks of a date or duration, and the nanoseconds of a tick as numerator and denominator."""
    ticks = int(value.astype(np.int64))
    if np.isnat(value):
        return ticks, 1, 1
    unit, count = np.datetime_data(value.dtype)
    if isinstance(value, np.datetime64) and unit in ("Y", "M"):
        # The Gregorian calendar repeats every 4800 months, which are 146,097 days: NumPy counts within one period.
        cycles, month = divmod(ticks * count * (12 if unit == "Y" else 1), 4800)
        days = int(np.datetime64(month, "M").astype("datetime64[D]").astype(np.int64))
        return cycles * 146_097 + days, *_NS_PER_UNIT["D"]
    numerator, denominator = _NS_PER_UNIT[unit]
    return ticks * count, numerator, denominator


def _jsonable(value: object) -> object:
    """Return an exact value as plain Python values that `json.dumps` accepts."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        ticks, numerator, denominator = _ticks(value)
        return ticks * numerator // denominator
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "Mm":
            flat = np.empty(value.size, object)
            flat[:] = [_jsonable(item) for item in value.ravel()]
            return flat.reshape(value.shape).tolist()
        return _jsonable(value.tolist())
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, Timestamp):
        return value.ns
    if isinstance(value, TIMES):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return value
