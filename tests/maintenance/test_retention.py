"""Which versions a compaction keeps."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.maintenance.retention import Kept, Retention

NOW = dt.datetime(2026, 7, 15, 12, 30, tzinfo=dt.UTC)


class Clock(dt.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return NOW


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("atlas.maintenance.retention.dt.datetime", Clock)


def choose(retention, times, base=None):
    """Versions 1, 2, … of these times, all kept from `base` on."""
    return retention.choose(list(enumerate(times, 1)), 1 if base is None else base)


def ago(**units):
    return NOW - dt.timedelta(**units)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([ago(days=3)], Kept(1, ())),
        ([ago(hours=3), ago(hours=2)], Kept(1, ())),
        # The first two are of one hour, the third was the latest until an hour ago.
        ([ago(days=3, minutes=20), ago(days=3, minutes=10), ago(days=2), ago(hours=1)], Kept(3, (2,))),
        # Of a day more than a week ago only the last stays, and of more than a month ago none.
        ([ago(days=9, hours=4), ago(days=9, hours=2), ago(days=2), ago(days=2, hours=-1), NOW], Kept(4, (2, 3))),
        ([ago(days=31), ago(days=29), ago(hours=1), NOW], Kept(2, ())),
        ([ago(days=31), ago(days=29), ago(days=20), ago(hours=2), ago(hours=1)], Kept(3, (2,))),
    ],
)
def test_versions_are_thinned_by_hours_then_days(times, kept):
    assert choose(Retention(1, None), times) == kept


@pytest.mark.usefixtures("clock")
def test_days_that_are_named_keep_all_of_them_and_none_before():
    times = [ago(days=9), ago(days=5), ago(days=4), ago(days=4, hours=-1), ago(hours=1), NOW]
    assert choose(Retention(1, 4), times) == Kept(3, ())
    assert choose(Retention(1, 0), times) == Kept(6, ())
    assert choose(Retention(5, 0), times) == Kept(2, ())
    assert choose(Retention(99, 0), times) == Kept(1, ())
    assert choose(Retention(1, float("inf")), times) == Kept(1, ())


@pytest.mark.usefixtures("clock")
def test_of_earlier_versions_those_within_the_days_stay():
    versions = [(2, ago(days=9)), (5, ago(days=6)), (8, ago(days=3)), (9, ago(days=2)), (10, ago(hours=2))]
    assert Retention(1, 5).choose(versions, 8) == Kept(9, (5, 8))
    assert Retention(4, 0).choose(versions, 8) == Kept(9, (5, 8))
    assert Retention(5, 0).choose(versions, 8) == Kept(8, (2, 5))


@pytest.mark.usefixtures("clock")
def test_an_idle_store_gives_up_earlier_versions_with_a_new_base():
    # All of the last day: only version 9, which was the latest all day. It is listed once the base moves past it.
    versions = [(2, ago(days=40)), (5, ago(days=20)), (9, ago(days=10))]
    assert Retention(1, None).choose(versions, 9) == Kept(9, (5,))
    assert Retention(1, None).choose([*versions, (10, NOW)], 9) == Kept(10, (5, 9))


@given(
    st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=60),
    st.lists(st.floats(0.01, 3), max_size=12),
    st.integers(1, 4),
)
def test_whatever_the_course_the_promise_is_kept(ages, steps, most):
    """Compactions at any times keep what one compaction of all versions would have kept of the last week."""
    times = sorted(NOW - dt.timedelta(days=age) for age in ages)
    now, known, base = times[0], [], 1
    moments = sorted([*times, *(now + dt.timedelta(days=sum(steps[: at + 1])) for at in range(len(steps)))])
    made = 0
    for now in moments:
        if made < len(times) and times[made] == now:
            known.append((made + 1, now))
            made += 1
            base = base or 1
            continue
        if not known:
            continue
        retention = Retention(most, None)
        retention._now, retention._since = now, now - dt.timedelta(days=1)
        kept = retention.choose(known, base)
        numbers = [number for number, _ in known]
        stay = {*kept.earlier, *(number for number in numbers if number >= kept.base)}
        assert kept.base >= base
        assert numbers[-1] in stay
        assert set(numbers[-most:]) <= stay
        assert list(kept.earlier) == sorted(kept.earlier)
        for (number, time), (_, later) in pairwise(known):
            if later > now - dt.timedelta(days=1):
                assert number in stay, "it was the latest within the last day"
            elif now - time > dt.timedelta(days=30):
                assert number not in stay or number >= base, "it is too old"
        hours = {}
        for number, time in known:
            hours[time.date(), time.hour] = number
        for number in hours.values():
            time = dict(known)[number]
            assert now - time > dt.timedelta(days=7) or number in stay, "it is the last of its hour"
        base, known = kept.base, [pair for pair in known if pair[0] in stay]


@pytest.mark.parametrize(("versions", "days"), [("1", 1), (True, 1), (1, "1"), (1, True)])
def test_numbers_have_their_types(versions, days):
    with pytest.raises(InvalidTypeError, match="must be an int"):
        Retention(versions, days)


@pytest.mark.parametrize(("versions", "days"), [(0, 1), (1, -1), (1, float("nan"))])
def test_numbers_are_in_range(versions, days):
    with pytest.raises(InvalidValueError, match="or more, not"):
        Retention(versions, days)
