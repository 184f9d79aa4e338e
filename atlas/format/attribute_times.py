"""Dates, times of day and durations of datetime and pandas as attribute values: exact, or refused with advice.

Kept are datetime, date, time and timedelta of the datetime module, and Timestamp, Timedelta and NaT of pandas with
their units, without a zone or in one of a fixed offset (`datetime.timezone`). Refused is what would come back as
something else: zones by name, whose rules change, subclasses, and `fold`.

Pure functions, no I/O. pandas is imported only where a value is one of its own.
"""

from __future__ import annotations

import datetime as dt
import re
from importlib import import_module
from typing import TYPE_CHECKING, Final

import numpy as np

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.format.text import recover_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["TIMES", "TIME_DECODERS", "encode_time", "numpy_time"]

TIMES: Final = dt.date | dt.time | dt.timedelta
"""What `encode_time` takes: datetimes are dates, and times of pandas are datetimes and timedeltas."""

_NAT: Final = -(2**63)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK: Final = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?")
_DATETIME: Final = re.compile(f"{_DATE.pattern}T{_CLOCK.pattern}")
_PANDAS_DTYPE: Final = re.compile(r"(?:datetime64|timedelta64)\[(?:s|ms|us|ns)\]")


def encode_time(value: dt.date | dt.time | dt.timedelta) -> dict[str, object]:
    """Return a date, time of day or duration as JSON and MessagePack hold it.

    Raises `InvalidValueError`, with advice, for a value that would come back as something else.
    """
    if type(value) is dt.timedelta:
        return {"$": "duration", "v": [value.days, value.seconds, value.microseconds]}
    if type(value) is dt.date:
        return {"$": "date", "v": value.isoformat()}
    if type(value) is dt.time or type(value) is dt.datetime:
        tag = "clock" if type(value) is dt.time else "datetime"
        zone = _encode_zone(value, "value.isoformat()")
        return {"$": tag, "v": value.replace(tzinfo=None).isoformat(), "z": zone}
    if not _is_pandas(value):
        parts = "[value.days, value.seconds, value.microseconds]"
        raise _unsupported(value, "", parts if isinstance(value, dt.timedelta) else "value.isoformat()")
    cell = value.to_numpy()  # type: ignore[union-attr]
    try:
        f"{value!r} {value}"  # showing an attribute formats it so
    except (NotImplementedError, ValueError, OverflowError):
        raise _unsupported(value, " that pandas cannot show as text", "value.to_numpy()") from None
    zone = [] if isinstance(value, dt.timedelta) else _encode_zone(value, "value.tz_convert('UTC')")
    return {"$": "pd", "t": cell.dtype.name, "v": int(cell.astype(np.int64)), "z": zone}


def numpy_time(value: dt.date | dt.timedelta, kind: str) -> np.datetime64 | np.timedelta64:
    """Return a date or duration as NumPy has it, in UTC where it has a zone.

    `kind`, the "M" or "m" of NumPy's dtypes, decides which NaT stands for that of pandas. Raises `InvalidValueError`
    for zones by name, and `OutOfRangeError` for a duration that NumPy does not hold.
    """
    if not isinstance(value, dt.timedelta) and getattr(value, "tzinfo", None) is not None:
        _encode_zone(value, "(value - value.utcoffset()).replace(tzinfo=None)")
    if _is_pandas(value):
        if value is _pandas().NaT and kind == "m":
            return np.timedelta64("NaT", "ns")
        found: np.datetime64 | np.timedelta64 = value.to_numpy()  # type: ignore[union-attr]
        return found
    if isinstance(value, dt.timedelta):
        microseconds = value // dt.timedelta(microseconds=1)
        if not -(2**63) < microseconds < 2**63:
            raise OutOfRangeError(f"{value!r} is beyond microseconds in 64 bits, which reach 292,000 years")
        return np.timedelta64(microseconds, "us")
    if isinstance(value, dt.datetime):
        naive = value if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)
        return np.datetime64(naive, "us")
    return np.datetime64(value, "D")


def _pandas() -> Any:
    return import_module("pandas")


def _is_pandas(value: object) -> bool:
    if not type(value).__module__.startswith("pandas"):
        return False
    pandas = _pandas()
    return type(value) in (pandas.Timestamp, pandas.Timedelta) or value is pandas.NaT


def _unsupported(value: object, why: str, advice: str) -> InvalidValueError:
    return InvalidValueError(f"unsupported attribute type: {type(value).__name__}{why}; use {advice}")


def _encode_zone(value: Any, advice: str) -> list[object]:
    """Return the zone of a date or time: nothing, or its offset in microseconds and its name if it has one.

    Raises `InvalidValueError` for zones by name, with `advice`, and for what `fold` says, which a fixed offset has not.
    """
    zone = value.tzinfo
    if zone is not None and type(zone) is not dt.timezone:
        raise _unsupported(value, f" in {zone!r}; a zone is None or a datetime.timezone of a fixed offset", advice)
    if value.fold:
        raise _unsupported(value, " with fold=1, which only zones by name need", "value.replace(fold=0)")
    if zone is None:
        return []
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # what it pickles as
    return [offset // dt.timedelta(microseconds=1), *map(recover_text, name)]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _decode_zone(data: dict[str, Any]) -> dt.timezone | None:
    zone = data["z"]
    if zone == []:
        return None
    if not isinstance(zone, list) or not _is_int(zone[0]) or not all(isinstance(name, str) for name in zone[1:]):
        raise ValueError("zone")
    offset, *name = zone
    return dt.timezone(dt.timedelta(microseconds=offset), *name)


def _text_field(data: dict[str, Any], form: re.Pattern[str]) -> str:
    text = data["v"]
    if not isinstance(text, str) or not form.fullmatch(text):
        raise ValueError("date or time")
    return text


def _decode_date(data: dict[str, Any], _: int) -> dt.date:
    return dt.date.fromisoformat(_text_field(data, _DATE))


def _decode_zoned(data: dict[str, Any], kind: type[dt.time | dt.datetime], form: re.Pattern[str]) -> object:
    text = _text_field(data, form)
    found = kind.fromisoformat(text)
    if found.isoformat() != text:
        raise ValueError("date or time of day")
    return found.replace(tzinfo=_decode_zone(data))


def _decode_duration(data: dict[str, Any], _: int) -> dt.timedelta:
    parts = data["v"]
    if not isinstance(parts, list) or len(parts) != 3 or not all(map(_is_int, parts)):
        raise ValueError("duration")
    duration = dt.timedelta(*parts)
    if [duration.days, duration.seconds, duration.microseconds] != parts:
        raise ValueError("duration")
    return duration


def _decode_pandas(data: dict[str, Any], _: int) -> Any:
    dtype, ticks, zone = data["t"], data["v"], _decode_zone(data)
    if not isinstance(dtype, str) or not _PANDAS_DTYPE.fullmatch(dtype) or not _is_int(ticks):
        raise ValueError("time of pandas")
    cell = np.array(ticks, np.int64).view(dtype)[()]
    pandas = _pandas()
    if ticks == _NAT:
        found = pandas.NaT
    elif dtype.startswith("timedelta64"):
        found = pandas.Timedelta(cell)
    else:
        found = pandas.Timestamp(cell)
        if zone is not None:
            found = found.tz_localize("UTC").tz_convert(zone)
    if encode_time(found) != data:
        raise ValueError("time of pandas")
    return found


TIME_DECODERS: Final[Mapping[str, tuple[frozenset[str], Callable[[dict[str, Any], int], object]]]] = {
    "date": (frozenset("$v"), _decode_date),
    "clock": (frozenset("$vz"), lambda data, _: _decode_zoned(data, dt.time, _CLOCK)),
    "datetime": (frozenset("$vz"), lambda data, _: _decode_zoned(data, dt.datetime, _DATETIME)),
    "duration": (frozenset("$v"), _decode_duration),
    "pd": (frozenset("$tvz"), _decode_pandas),
}
"""The tags of dates, times of day and durations: the fields that each has, and what decodes it."""
