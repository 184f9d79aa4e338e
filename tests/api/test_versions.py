"""The history of a store: its versions, going back to one, and what compaction keeps of them."""

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import (
    AtlasError,
    ConflictError,
    InvalidTypeError,
    InvalidValueError,
    StaleHandleError,
    VersionNotFoundError,
)
from atlas.maintenance import gc
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.session import Session
from atlas.storage.memory import MemoryStorage
from tests.clock import lend_clock


@pytest.fixture(params=["local", "memory"])
def location(request, tmp_path):
    return MemoryStorage() if request.param == "memory" else tmp_path / "store"


def days(store, count, first=0):
    """Flush one dataset a day, and change the one before."""
    for day in range(first, first + count):
        view = store.create_dataset(f"day{day}")
        view.define_array("t", "float32", ["x"], [3])
        view.write_array("t", [0], np.full(3, day, "f4"))
        if store.dataset_exists(f"day{day - 1}"):
            store.open_dataset(f"day{day - 1}").set_attribute("done", True)
        store.flush(message=f"day {day}")


def contents(store):
    return {
        name: (store.open_dataset(name).read_array("t").tolist(), store.open_dataset(name).attributes())
        for name in store.list_datasets()
    }


def test_every_version_can_be_opened(location):
    store = Atlas.create(location)
    seen = [contents(store)]
    for day in range(12):
        days(store, 1, day)
        seen.append(contents(store))
    for version, expected in enumerate(seen):
        old = Atlas.open(location, version=version)
        assert (old.version, contents(old)) == (version, expected)
    for version in (13, -1, 10**30):
        with pytest.raises(VersionNotFoundError, match="keeps versions 0 to 12") as caught:
            Atlas.open(location, version=version)
        assert isinstance(caught.value, KeyError)
        assert caught.value.version == version
    for version in ("3", 3.0, True):
        with pytest.raises(InvalidTypeError, match="a version is a whole number"):
            Atlas.open(location, version=version)


def test_the_history_has_the_time_and_the_changes(location):
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    store = Atlas.create(location)
    days(store, 2)
    store.delete_dataset("day0")
    store.flush()
    store.rollback(2, message="back")
    store.compact()
    store.create_datasets([f"n{at}" for at in range(limits.DEFAULT.page_rows + 1)])
    store.flush()
    history = store.history()
    found = [(v.version, v.action, v.message, v.created, v.changed, v.deleted, v.arrays) for v in history]
    assert found == [
        (0, "create", None, 0, 0, 0, ()),
        (1, "flush", "day 0", 1, 0, 0, ("t",)),
        (2, "flush", "day 1", 1, 1, 0, ("t",)),
        (3, "flush", None, 0, 0, 1, ()),
        (4, "rollback", "back", 0, 0, 0, ()),
        (5, "compact", None, 0, 0, 0, ()),
        (6, "flush", None, limits.DEFAULT.page_rows + 1, 0, 0, ()),
    ]
    times = [version.time for version in history]
    assert before < times[0] <= times[-1] <= dt.datetime.now(dt.UTC)
    assert times == sorted(times)
    assert str(history[2]).endswith("flush     datasets +1 ~1; arrays t; day 1")
    assert [v.version for v in Atlas.open(location, version=3).history()] == [0, 1, 2, 3]
    assert Atlas.open(location).history() == history


def test_a_message_is_a_string(location):
    store = Atlas.create(location)
    store.create_dataset("d")
    with pytest.raises(InvalidTypeError, match="a message is a str, not int"):
        store.flush(message=5)
    with pytest.raises(InvalidTypeError, match="a message is a str, not bytes"):
        store.rollback(0, message=b"x")
    assert store.version == 0
    store.flush(message="Ünïcode \n 日本")
    assert Atlas.open(location).history()[-1].message == "Ünïcode \n 日本"


@pytest.mark.parametrize("paged", [False, True])
def test_a_rollback_brings_back_what_was(location, monkeypatch, paged):
    if paged:
        monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=1))
    store = Atlas.create(location)
    days(store, 3)
    expected = contents(store)
    store.delete_dataset("day1")
    store.open_dataset("day0").write_array("t", [1], np.array([99], "f4"))
    store.open_dataset("day2").delete_array("t")
    store.open_dataset("day2").define_array("t", "float32", ["x"], [1])
    store.flush()
    days(store, 2, 5)
    changed = contents(store)
    assert store.rollback(3) == store.version == 7
    assert contents(store) == contents(Atlas.open(location)) == expected
    assert contents(Atlas.open(location, version=6)) == changed
    days(store, 1, 8)
    assert list(contents(Atlas.open(location))) == ["day0", "day1", "day2", "day8"]
    assert store.rollback(6) == 9
    assert contents(Atlas.open(location)) == changed
    store.compact(keep_days=0)
    assert contents(store) == contents(Atlas.open(location)) == changed


def test_an_array_declared_again_after_a_rollback_has_no_cells_of_before(location):
    store = Atlas.create(location)
    days(store, 1)
    for at in range(2):
        store.open_dataset("day0").define_array("u", "int8", ["x"], [2], [1])
        store.open_dataset("day0").write_array("u", [at], np.array([5], "i1"))
        store.flush()
        assert store.open_dataset("day0").read_array("u").tolist() == [5 * (at == 0), 5 * (at == 1)]
        store.rollback(1)
        assert store.open_dataset("day0").list_arrays() == ["t"]


def test_a_rollback_is_refused_where_it_would_lose_something(location):
    store = Atlas.create(location)
    days(store, 2)
    other = Atlas.open(location)
    days(store, 1, 2)
    with pytest.raises(ConflictError, match="refresh"):
        other.rollback(1)
    assert list(contents(Atlas.open(location))) == ["day0", "day1", "day2"]
    store.create_dataset("pending")
    with pytest.raises(InvalidValueError, match="flush them first"):
        store.rollback(1)
    assert store.dataset_exists("pending")
    store.flush()
    for version in (9, -1):
        with pytest.raises(VersionNotFoundError, match=f"no version {version}"):
            store.rollback(version)
    with pytest.raises(InvalidTypeError):
        store.rollback("1")
    other.refresh()
    assert other.rollback(1) == 5


def test_compaction_keeps_the_last_versions(location):
    store = Atlas.create(location)
    days(store, 6)
    readers = {version: Atlas.open(location, version=version) for version in range(7)}
    expected = {version: contents(reader) for version, reader in readers.items()}
    fresh = {version: Atlas.open(location, version=version) for version in range(7)}
    assert store.compact(keep_versions=3, keep_days=0).bytes_freed > 0
    latest = store.version
    assert contents(store) == contents(Atlas.open(location)) == expected[6]
    first = latest - 2
    for version in range(7):
        if version >= first:
            assert contents(Atlas.open(location, version=version)) == contents(fresh[version]) == expected[version]
        else:
            with pytest.raises(VersionNotFoundError, match=f"keeps versions {first} to {latest}"):
                Atlas.open(location, version=version)
    assert [version.version for version in store.history()] == list(range(first, latest + 1))
    with pytest.raises(StaleHandleError, match="version 2 of the store"):
        fresh[2].history()
    with pytest.raises(StaleHandleError, match="version 2 of the store"):
        fresh[2].open_dataset("day0").read_array("t")
    assert store.rollback(first) == latest + 1
    assert contents(store) == expected[first]
    with pytest.raises(VersionNotFoundError):
        store.rollback(first - 1)


def test_compaction_keeps_what_was_the_latest_within_the_last_days(location):
    store = Atlas.create(location)
    with lend_clock() as clock:
        for ago in (9, 5, 3, 1):
            clock.ago = dt.timedelta(days=ago)
            days(store, 1, 9 - ago)
    expected = {version: contents(Atlas.open(location, version=version)) for version in range(5)}
    store.compact(keep_days=4)
    # Version 2, made five days ago, was the latest until three days ago.
    assert [version.version for version in store.history()][:3] == [2, 3, 4]
    assert contents(Atlas.open(location, version=2)) == expected[2]
    store.compact(keep_days=float("inf"))
    store.compact(keep_days=10**9)
    assert store.history()[0].version == 2
    store.compact(keep_days=2)
    assert store.history()[0].version == 3
    store.compact(keep_days=0)
    assert len(store.history()) == 1
    assert contents(Atlas.open(location)) == expected[4]


def test_compaction_reports_what_it_gave_back(location):
    store = Atlas.create(location)
    for at in range(3):
        view = store.create_dataset(f"d{at}")
        view.define_array("t", "float64", ["x"], [50_000])
        view.write_array("t", [0], np.random.default_rng(at).normal(size=50_000))
        store.flush()

    def size():
        storage = store._session.view.storage
        return sum(map(storage.size, storage.list()))

    for name in ("d0", "d1"):
        store.delete_dataset(name)
    store.flush()
    kept = store.open_dataset("d2").read_array("t")
    report = store.compact()  # all of it was the latest today
    assert (report.bytes_freed, report.files_freed) == (0, 0)
    before, held, files = size(), report.bytes_held, len(store._session.view.storage.list())
    report = store.compact(keep_versions=1, keep_days=0)
    reclaimed = report.bytes_freed
    assert held <= reclaimed <= held + 20_000  # commits and the old base
    assert 0 <= report.files_freed - (files - len(store._session.view.storage.list())) <= 3
    assert (report.bytes_held, report.held_by, report.held_until, report.free_rest) == (0, None, None, None)
    assert str(report) == f"freed {reclaimed:,} bytes in {report.files_freed} files"
    assert reclaimed > 1_000_000
    assert 0 <= reclaimed - (before - size()) < 5_000
    assert store.compact(keep_versions=1, keep_days=0).bytes_freed == 0
    np.testing.assert_array_equal(Atlas.open(location).open_dataset("d2").read_array("t"), kept)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"keep_versions": 0}, InvalidValueError),
        ({"keep_versions": 1.5}, InvalidTypeError),
        ({"keep_versions": True}, InvalidTypeError),
        ({"keep_days": -1}, InvalidValueError),
        ({"keep_days": float("nan")}, InvalidValueError),
        ({"keep_days": "1"}, InvalidTypeError),
    ],
)
def test_what_is_kept_is_named_in_sound_numbers(location, arguments, error):
    store = Atlas.create(location)
    store.create_dataset("pending")
    with pytest.raises(error, match=next(iter(arguments))):
        store.compact(**arguments)
    assert store.version == 0


def test_files_of_a_killed_flush_are_invisible_and_go(location):
    store = Atlas.create(location)
    days(store, 2)
    storage = store._session.view.storage
    leftover = ["arrays/t/0123.seg", "arrays/other/ff.seg", "pages/00ff.json.zst"]
    for key in leftover:
        storage.write(key, [b"half a file"])
    assert contents(Atlas.open(location)) == contents(store)
    report = store.compact()
    assert (report.bytes_freed, report.files_freed) == (2 * len(b"half a file"), 2)
    store.compact(keep_days=0)  # pages go with a new base
    assert not set(leftover) & set(storage.list())
    assert contents(Atlas.open(location)) == contents(store)


def test_two_compactions_at_once_lose_nothing(location):
    store = Atlas.create(location)
    days(store, 5)
    other = Atlas.open(location)
    expected = contents(store)
    finish, done = gc.Collector.finish, []

    def interrupted(self, *arguments, **options):
        if not done:
            done.append(True)
            other.compact(keep_versions=1, keep_days=0)
        return finish(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc.Collector, "finish", interrupted)
        store.compact(keep_versions=1, keep_days=0)
    for handle in (store, other, Atlas.open(location)):
        handle.refresh()
        assert contents(handle) == expected
    other.compact(keep_versions=1, keep_days=0)
    assert contents(Atlas.open(location)) == expected


def test_a_compaction_that_another_overtakes_before_it_begins_starts_over(location, monkeypatch):
    store = Atlas.create(location)
    days(store, 5)
    other = Atlas.open(location)
    expected = contents(store)
    refresh, done = Session.refresh, []

    def overtaken(self):
        version = refresh(self)
        if self is store._session and not done:
            done.append(True)
            days(other, 1, 5)
            other.compact(keep_days=0)
        return version

    monkeypatch.setattr(Session, "refresh", overtaken)
    store = Atlas.open(location)  # one that holds no indexes
    store.compact(keep_days=0)
    assert done
    assert list(contents(store)) == [*expected, "day5"]
    assert contents(Atlas.open(location)) == contents(store)


def test_a_rollback_never_names_files_that_are_about_to_go(location):
    store = Atlas.create(location)
    days(store, 2)
    store.delete_dataset("day1")
    store.flush()
    other = Atlas.open(location)
    finish = gc.Collector.finish

    def interrupted(self, *arguments, **options):
        other.refresh()
        with pytest.raises(VersionNotFoundError):
            other.rollback(2)
        return finish(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc.Collector, "finish", interrupted)
        store.compact(keep_versions=1, keep_days=0)
    assert list(contents(Atlas.open(location))) == ["day0"]


def test_a_pickled_handle_is_one_of_its_version(tmp_path):
    store = Atlas.create(tmp_path / "store")
    days(store, 1)
    pickled = pickle.dumps(store)
    one = pickle.loads(pickled)
    days(store, 1, 1)
    one.refresh()
    assert list(contents(one)) == ["day0", "day1"]
    assert list(contents(pickle.loads(pickled))) == ["day0"]
    assert isinstance(one, Atlas)
    assert issubclass(VersionNotFoundError, AtlasError)
