"""Dates, times of day and durations of datetime and pandas as attributes: as they were, or refused with advice."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import zoneinfo
from typing import Any

import numpy as np
import orjson
import ormsgpack
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError, OutOfRangeError
from atlas.format.attribute_times import numpy_time
from atlas.format.attributes import decode_value, encode_value, plain_value

HOUR = dt.timezone(dt.timedelta(hours=1))
NAMED = dt.timezone(dt.timedelta(hours=-3, minutes=-30), "NST")
ODD = dt.timezone(dt.timedelta(hours=-23, microseconds=1))
NAT = -(2**63)


class FakeDatetime(dt.datetime):
    """Such as other packages make, to stop the clock in tests."""


class FakeZone(dt.tzinfo):
    """A fixed offset in a class of its own, such as other packages have."""

    def utcoffset(self, _):
        return dt.timedelta(hours=1)

    def dst(self, _):
        return dt.timedelta(0)

    def tzname(self, _):
        return "CET"

    def __repr__(self):  # the same in every process that collects tests
        return "FakeZone()"


class FakeDate(dt.date):
    pass


class FakeDuration(dt.timedelta):
    pass


class FakeTimestamp(pd.Timestamp):
    pass


def told(value: Any) -> Any:
    """All that a value says, with its type: equal times may differ in unit, zone and fold."""
    if isinstance(value, list | tuple):
        return type(value), [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    zone = getattr(value, "tzinfo", None)
    return type(value), repr(value), getattr(value, "unit", None), repr(zone), getattr(value, "fold", 0)


def through(value: object) -> object:
    """The value after JSON; MessagePack and the plain structure must agree with it."""
    encoded = encode_value(value)
    found = decode_value(orjson.loads(orjson.dumps(encoded)))
    assert told(found) == told(decode_value(ormsgpack.unpackb(ormsgpack.packb(encoded)))) == told(decode_value(encoded))
    return found


EXACT = [
    dt.datetime(2000, 1, 2, 3, 4, 5, 6),
    dt.datetime.min,
    dt.datetime.max,
    dt.datetime(2000, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2000, 1, 2, tzinfo=HOUR),
    dt.datetime(2000, 1, 2, tzinfo=NAMED),
    dt.datetime.min.replace(tzinfo=HOUR),
    dt.datetime.max.replace(tzinfo=ODD),
    dt.datetime(2000, 1, 2, tzinfo=dt.timezone(dt.timedelta(0), "")),
    dt.datetime(2000, 1, 2).astimezone(),  # as programs note when something happened: an offset with a name
    dt.date(2000, 1, 2),
    dt.date.min,
    dt.date.max,
    dt.time(3, 4),
    dt.time.max,
    dt.time(3, 4, 5, 6, tzinfo=NAMED),
    dt.timedelta(1, 2, 3),
    dt.timedelta(-1, 2, 3),
    dt.timedelta.min,
    dt.timedelta.max,
    pd.Timestamp("2000-01-02"),
    pd.Timestamp("2000-01-02 00:00:00.123456789"),
    pd.Timestamp("2000-01-02", tz="UTC"),
    pd.Timestamp("2000-01-02T03:04+01:00"),
    pd.Timestamp("2000-01-02", tz=NAMED),
    *(pd.Timestamp("2000-01-02").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
    *(pd.Timestamp("2000-01-02", tz=ODD).as_unit(unit) for unit in ("s", "ms", "us", "ns")),
    pd.Timestamp.min,
    pd.Timestamp.max,
    pd.Timestamp(np.datetime64(2**40, "s")),
    *(pd.Timedelta(-5, "s").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
    pd.Timedelta.min,
    pd.Timedelta.max,
    pd.NaT,
]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_they_come_back_as_they_were(value: Any) -> None:
    assert told(through(value)) == told(value)
    assert told(through([value, (value,), {"a": value}])) == told([value, (value,), {"a": value}])
    assert told(plain_value(value)) == told(value)


ZONES = st.none() | st.builds(
    dt.timezone, st.timedeltas(dt.timedelta(microseconds=1) - dt.timedelta(1), dt.timedelta(1, microseconds=-1))
) | st.builds(
    dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)), st.text(max_size=3)
)  # fmt: skip
TIMES = (
    st.builds(lambda time, zone: time.replace(tzinfo=zone, fold=0), st.datetimes(), ZONES)
    | st.builds(lambda time, zone: time.replace(tzinfo=zone, fold=0), st.times(), ZONES)
    | st.dates()
    | st.timedeltas()
)


@given(TIMES)
def test_any_of_datetime_comes_back_as_it_was(value: Any) -> None:
    assert told(through(value)) == told(value)


@given(st.integers(NAT, 2**63 - 1), st.sampled_from(["s", "ms", "us", "ns"]), st.booleans(), ZONES)
@example(NAT, "s", False, None)
@example(NAT + 1, "s", False, ODD)
@example(2**63 - 1, "s", False, HOUR)
@example(NAT + 1, "ns", True, None)
def test_any_that_pandas_makes_comes_back_and_other_ticks_are_refused(
    ticks: int, unit: str, duration: bool, zone: dt.timezone | None
) -> None:
    dtype = f"{'timedelta' if duration else 'datetime'}64[{unit}]"
    own = encode_value(pd.Timestamp(0, tz=zone).as_unit("s"))
    data = {"$": "pd", "t": dtype, "v": ticks, "z": own["z"]}  # type: ignore[index]
    if ticks == NAT or (duration and zone is not None):
        if data == {"$": "pd", "t": "datetime64[ns]", "v": NAT, "z": []}:
            assert decode_value(data) is pd.NaT
        else:
            with pytest.raises(InvalidValueError):
                decode_value(data)
        return
    try:
        value: Any = decode_value(data)
    except InvalidValueError:  # pandas refuses it too
        with pytest.raises(Exception):  # noqa: B017 - whatever it raises
            repr(pd.Timestamp(np.datetime64(ticks, unit)).tz_localize("UTC").tz_convert(zone))
        return
    assert (value.unit, int(value.to_numpy().astype(np.int64)), value.to_numpy().dtype.name) == (unit, ticks, dtype)
    assert told(through(value)) == told(value)
    assert isinstance(str(value), str)


REFUSED = [
    dt.datetime(2000, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    dt.datetime(2000, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
    dt.time(3, 4, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    pd.Timestamp("2000-01-02", tz="Europe/Paris"),
    pd.Timestamp("2000-01-02", tz=zoneinfo.ZoneInfo("UTC")),
    dt.datetime(2000, 1, 2, tzinfo=FakeZone()),
    pd.Timestamp("2000-01-02", tz=FakeZone()),
    dt.datetime(2000, 1, 2, fold=1),
    dt.time(3, 4, fold=1, tzinfo=HOUR),
    pd.Timestamp(dt.datetime(2000, 1, 2, fold=1)),
    pytest.param(pd.Timestamp(np.datetime64(2**40, "s")).tz_localize("UTC").tz_convert(HOUR), id="year 36812, +01:00"),
    FakeDatetime(2000, 1, 2),
    FakeDate(2000, 1, 2),
    FakeDuration(1, 2, 3),
]


@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_what_would_come_back_as_something_else_is_refused_with_advice_that_works(value: Any) -> None:
    for refused in (value, [value], {"a": (value,)}):
        with pytest.raises(InvalidValueError, match=f"unsupported attribute type: {type(value).__name__}") as caught:
            encode_value(refused)
    instead = eval(str(caught.value).rpartition("; use ")[2], {"value": value})
    assert told(through(instead)) == told(instead)
    if isinstance(value, dt.datetime) and isinstance(instead, dt.datetime):
        assert instead == value


@pytest.mark.parametrize(
    ("package", "zones"),
    [
        ("pytz", lambda pytz: [pytz.FixedOffset(60), pytz.timezone("Europe/Paris"), pytz.utc]),
        ("dateutil.tz", lambda tz: [tz.tzoffset("CET", 3600), tz.tzutc()]),
    ],
)
def test_zones_of_other_packages_are_refused_with_advice_that_works(package: str, zones: Any) -> None:
    for zone in zones(pytest.importorskip(package)):
        for value in (dt.datetime(2000, 1, 2, tzinfo=zone), pd.Timestamp(dt.datetime(2000, 1, 2)).tz_localize(zone)):
            if type(value.tzinfo) is dt.timezone:  # pandas has taken UTC for its own
                continue
            with pytest.raises(InvalidValueError, match="fixed offset") as caught:
                encode_value(value)
            found = through(eval(str(caught.value).rpartition("; use ")[2], {"value": value}))
            assert found == (value if isinstance(value, pd.Timestamp) else value.isoformat())


def test_a_subclass_of_pandas_is_refused() -> None:
    value = FakeTimestamp("2000-01-02")
    if type(value) is FakeTimestamp:
        with pytest.raises(InvalidValueError, match="FakeTimestamp"):
            encode_value(value)


MALFORMED: list[object] = [
    {"$": "date", "v": "2000-1-2"},
    {"$": "date", "v": "20000102"},
    {"$": "date", "v": "2000-02-30"},
    {"$": "date", "v": "0000-01-01"},
    {"$": "date", "v": "٢٠٠٠-01-01"},
    {"$": "date", "v": "2000-01-02\n"},
    {"$": "date", "v": 5},
    {"$": "date", "v": "2000-01-02", "z": []},
    {"$": "clock", "v": "03:04", "z": []},
    {"$": "clock", "v": "24:00:00", "z": []},
    {"$": "clock", "v": "03:04:00.000000", "z": []},
    {"$": "clock", "v": "03:04:00+01:00", "z": []},
    {"$": "clock", "v": "03:04:00"},
    {"$": "datetime", "v": "2000-01-02 03:04:00", "z": []},
    {"$": "datetime", "v": "2000-01-02", "z": []},
    {"$": "datetime", "v": "2000-01-02T03:04:00.5", "z": []},
    {"$": "datetime", "v": "2000-01-02T03:04:60", "z": []},
    {"$": "datetime", "v": "2000-01-02T03:04:00" * 10**5, "z": []},
    *(
        {"$": "datetime", "v": "2000-01-02T03:04:00", "z": zone}
        for zone in (
            None, {}, "", 5, [None], [True], [1.0], ["CET"], [86_400 * 10**6], [2**63], [10**400], [0, 5], [0, None],
            [0, "a", "b"], [[]],
        )
    ),
    {"$": "duration", "v": 5},
    {"$": "duration", "v": []},
    {"$": "duration", "v": [1, 2]},
    {"$": "duration", "v": [1, 2, 3, 4]},
    {"$": "duration", "v": [True, 0, 0]},
    {"$": "duration", "v": [1.0, 0, 0]},
    {"$": "duration", "v": [0, 86_400, 0]},
    {"$": "duration", "v": [0, 0, -1]},
    {"$": "duration", "v": [10**9, 0, 0]},
    {"$": "duration", "v": [10**400, 0, 0]},
    *(
        {"$": "pd", "t": dtype, "v": ticks, "z": zone}
        for dtype, ticks, zone in (
            ("datetime64[D]", 5, []), ("datetime64[ps]", 5, []), ("datetime64", 5, []), ("timedelta64[0ns]", 5, []),
            ("<M8[ns]", 5, []), (None, 5, []), (["datetime64[ns]"], 5, []), ("datetime64[ns]", 5.0, []),
            ("datetime64[ns]", True, []), ("datetime64[ns]", "5", []), ("datetime64[ns]", 2**63, []),
            ("datetime64[ns]", -(2**63) - 1, []), ("datetime64[ns]", 10**400, []), ("datetime64[us]", NAT, []),
            ("timedelta64[ns]", NAT, []), ("datetime64[ns]", NAT, [0]), ("timedelta64[ns]", 5, [0]),
            ("datetime64[ns]", 5, None), ("datetime64[ns]", 5, ["UTC"]),
        )
    ),
    {"$": "pd", "t": "datetime64[ns]", "v": 5},
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data)[:70])
def test_malformed_input_is_a_value_error(data: object) -> None:
    for given_ in (data, {"$": "list", "v": [data]}):
        with pytest.raises(InvalidValueError) as caught:
            decode_value(given_)
    assert len(str(caught.value)) < 300


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers() | st.text(max_size=3), max_size=4)
)


@given(
    st.fixed_dictionaries(
        {"$": st.sampled_from(["date", "clock", "datetime", "duration", "pd"])},
        optional={
            "v": ANY
            | st.sampled_from(["2000-01-02", "03:04:00", "2000-01-02T03:04:00.000001"])
            | st.lists(st.integers(-5, 5), min_size=3, max_size=3),
            "t": ANY | st.sampled_from(["datetime64[ns]", "datetime64[s]", "timedelta64[us]", "timedelta64[s]"]),
            "z": ANY | st.just([]) | st.lists(st.integers(-(10**10), 10**10), max_size=1),
        },
    )
)
def test_hostile_input_decodes_or_is_a_value_error(data: object) -> None:
    try:
        value = decode_value(data)
    except InvalidValueError:
        return
    assert encode_value(value) == data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.datetime(2000, 1, 2, 3, tzinfo=HOUR), "2000-01-02 03:00:00+01:00"),
        (dt.date(2000, 1, 2), "2000-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(1, 2), "1 day, 0:00:02"),
        (pd.Timestamp("2000-01-02"), "2000-01-02 00:00:00"),
        (pd.Timedelta(5, "s"), "0 days 00:00:05"),
        (pd.NaT, "NaT"),
    ],
    ids=repr,
)
def test_within_a_list_they_are_shown_as_text(value: object, text: str) -> None:
    for shown in (plain_value([value, 1]), plain_value({"a": (value, 1)})):
        assert isinstance(shown, str)
        assert json.loads(shown.removeprefix("json:")) in ([text, 1], {"a": [text, 1]})


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (dt.datetime(2000, 1, 2, 3), "M", np.datetime64("2000-01-02T03", "us")),
        (dt.datetime(2000, 1, 2, 3, tzinfo=HOUR), "M", np.datetime64("2000-01-02T02", "us")),
        (dt.date(2000, 1, 2), "M", np.datetime64("2000-01-02", "D")),
        (dt.timedelta(1, 2, 3), "m", np.timedelta64(86_402_000_003, "us")),
        (pd.Timestamp("2000-01-02").as_unit("ms"), "M", np.datetime64("2000-01-02", "ms")),
        (pd.Timestamp("2000-01-02T03+01:00").as_unit("s"), "M", np.datetime64("2000-01-02T02", "s")),
        (pd.Timedelta(5, "s").as_unit("s"), "m", np.timedelta64(5, "s")),
        (pd.NaT, "M", np.datetime64("NaT", "ns")),
        (pd.NaT, "m", np.timedelta64("NaT", "ns")),
    ],
    ids=repr,
)
def test_numpy_has_them_too(value: Any, kind: str, expected: np.generic) -> None:
    found = numpy_time(value, kind)
    assert (type(found), found.dtype, found.tobytes()) == (type(expected), expected.dtype, expected.tobytes())


def test_a_duration_beyond_numpy_is_out_of_range() -> None:
    with pytest.raises(OutOfRangeError, match="292,000 years"):
        numpy_time(dt.timedelta.max, "m")


@pytest.mark.parametrize("zone", ["Europe/Paris", "UTC"])
def test_a_zone_by_name_is_no_time_of_numpy_and_the_advice_works(zone: str) -> None:
    value = dt.datetime(2000, 1, 2, tzinfo=zoneinfo.ZoneInfo(zone))
    for given_ in (value, pd.Timestamp(value)):
        with pytest.raises(InvalidValueError, match="fixed offset") as caught:
            numpy_time(given_, "M")
        advice = re.search(r"; use (.*)$", str(caught.value))
        assert advice
        instead = eval(advice[1], {"value": given_})
        assert numpy_time(instead, "M") == np.datetime64(value.astimezone(dt.UTC).replace(tzinfo=None))


def test_pandas_is_imported_only_for_values_of_its_own() -> None:
    script = (
        "import datetime as dt, sys\n"
        "from atlas.format.attributes import decode_value, encode_value\n"
        "for value in (dt.datetime(2000, 1, 2, tzinfo=dt.UTC), dt.date.min, dt.time.max, dt.timedelta(1)):\n"
        "    assert decode_value(encode_value(value)) == value\n"
        "print('pandas' in sys.modules)\n"
        "decode_value({'$': 'pd', 't': 'datetime64[ns]', 'v': 5, 'z': []})\n"
        "print('pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
