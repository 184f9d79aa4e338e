"""Versions of more than a day ago are thinned: those that stay can be opened, and the others are told from damage."""

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pytest

from atlas import Atlas, Limits
from atlas.errors import CorruptStoreError, StaleHandleError, VersionNotFoundError
from atlas.maintenance.gc import Collector
from atlas.storage.memory import MemoryStorage
from tests.clock import lend_clock
from tests.independent_reader import read_catalog

SMALL = Limits(page_rows=3, small_checkpoint=0, few_commits=2, pack_commits=4)


@pytest.fixture
def clock():
    with lend_clock() as clock:
        clock.ago = dt.timedelta(days=60)
        yield clock


class Overtaken(MemoryStorage):
    """Calls `overtake` once, before a base gets its link."""

    overtake = None

    def create(self, key, data):
        if key.startswith("bases/") and self.overtake is not None:
            overtake, self.overtake = self.overtake, None
            overtake()
        return super().create(key, data)


def append(store, number):
    view = store.create_dataset(f"d{number:03d}")
    view.define_array("t", "float32", ["x"], [4])
    view.write_array("t", [0], np.arange(4, dtype="f4") + number)
    store.open_dataset("d000").set_attribute("last", number)
    store.open_dataset("d000").write_array("t", [1], np.array([-number], "f4"))
    store.flush(message=f"number {number}")


def contents(store):
    names = store.list_datasets()
    return {name: (np.array(store[name].read_array("t")).tolist(), dict(store[name].attributes())) for name in names}


def grown(clock, storage, *, hours=5, count=60):
    """Make a store with a version every few hours, compacted every day; return it, and what each version held."""
    store = Atlas.create(storage, limits=SMALL)
    held = {0: {}}
    for number in range(count):
        clock.ago -= dt.timedelta(hours=hours)
        append(store, number)
        held[store.version] = contents(store)
        if number % 5 == 4:
            store.compact()
            held[store.version] = contents(store)
    return store, held


def kept(store):
    return [version.version for version in store.history()]


def test_what_stays_is_what_it_was_and_can_be_opened(clock):
    storage = MemoryStorage()
    store, held = grown(clock, storage)
    versions = store.history()
    numbers = [version.version for version in versions]
    assert 20 < len(numbers) < store.version
    assert len(numbers) == len({*numbers})
    day = [version for version in versions if clock.now(dt.UTC) - version.time < dt.timedelta(days=1)]
    assert [version.version for version in day] == list(range(day[0].version, store.version + 1))
    old = [version for version in versions if clock.now(dt.UTC) - version.time > dt.timedelta(days=7)]
    assert len({version.time.date() for version in old}) == len(old) > 3
    for number in range(store.version + 1):
        if number in numbers:
            opened = Atlas.open(storage, version=number)
            assert contents(opened) == held[number]
            assert kept(opened) == [other for other in numbers if other <= number]
            assert sorted(dataset.name for dataset in read_catalog(storage.read, number).datasets.values()) == sorted(
                held[number]
            )
        else:
            with pytest.raises(VersionNotFoundError, match=f"no version {number}: it keeps versions") as caught:
                Atlas.open(storage, version=number)
            assert str(numbers[0]) in str(caught.value)
    assert Atlas.open(storage).history() == versions
    assert [version.message for version in versions if version.action == "flush"][-1] == "number 59"
    assert store.verify().damage == ()
    assert store.verify().orphans == 0


def test_handles_of_thinned_versions_are_stale_and_those_of_others_read_on(clock, tmp_path):
    storage = tmp_path / "store"
    store, held = grown(clock, storage, count=14)
    handles = {number: Atlas.open(storage, version=number) for number in kept(store)}
    pickled = {number: pickle.dumps(handle) for number, handle in handles.items()}
    clock.ago -= dt.timedelta(days=9)
    append(store, 100)
    store.compact()
    now = set(kept(store))
    assert len(now) < len(handles)
    assert now & handles.keys()
    for number, handle in handles.items():
        if number in now:
            assert contents(handle) == held[number]
            assert contents(pickle.loads(pickled[number])) == held[number]
            assert kept(handle) == sorted(other for other in now if other <= number)
            assert handle.verify().damage == ()
        else:
            with pytest.raises(StaleHandleError, match="no longer kept"):
                handle.history()
    some = handles[min(now)]
    assert some.refresh() == store.version
    assert contents(some) == contents(store)


def test_pending_changes_on_an_earlier_version_go_on_top_of_the_latest(clock):
    storage = MemoryStorage()
    store, _ = grown(clock, storage, count=14)
    number = kept(store)[0]
    earlier = Atlas.open(storage, version=number)
    earlier.create_dataset("later")
    earlier.flush()
    assert earlier.version == store.version + 1
    store.refresh()
    assert contents(earlier) == contents(store)
    assert "later" in store
    assert "d013" in store


def test_an_earlier_version_can_be_brought_back(clock):
    storage = MemoryStorage()
    store, held = grown(clock, storage)
    for number in (kept(store)[1], kept(store)[5]):
        store.rollback(number)
        assert contents(store) == contents(Atlas.open(storage)) == held[number]
    clock.ago -= dt.timedelta(days=40)
    store.create_dataset("later")
    store.flush()
    store.compact()
    assert kept(store)[0] > number, "the versions it was made from are given up"
    del store["later"]
    assert contents(store) == held[number]


def test_what_is_too_old_goes_even_where_nothing_is_committed(clock):
    storage = MemoryStorage()
    store, held = grown(clock, storage)
    before, last = kept(store), store.version
    clock.ago -= dt.timedelta(days=10)
    store.compact()
    assert set(kept(store)) < {*before, last + 1}
    clock.ago -= dt.timedelta(days=31)
    report = store.compact()
    assert report.bytes_freed > 0
    assert kept(store) == [last + 1, last + 2] or kept(store) == [last, last + 1, last + 2]
    assert contents(store) == held[last]
    store.compact(keep_days=0)
    assert kept(store) == [store.version]
    assert sum(1 for key in storage.list("bases") if "-" in key) == 1
    assert store.describe().held == 0
    assert store.verify().orphans == 0


def test_a_listed_version_whose_document_is_missing_or_damaged_is_damage(clock):
    storage = MemoryStorage()
    store, held = grown(clock, storage)
    first, second = kept(store)[:2]
    documents = {int(key[6:26]): key for key in storage.list("bases") if "-" in key}
    storage.delete([documents[first]])
    with pytest.raises(CorruptStoreError, match=f"{documents[first]} is missing; restore it"):
        Atlas.open(storage, version=first)
    assert contents(Atlas.open(storage, version=second)) == held[second]
    data = storage.read(documents[second])
    storage.replace(documents[second], data[:40] + bytes([data[40] ^ 1]) + data[41:])
    with pytest.raises(CorruptStoreError, match=f"{documents[second]} is damaged"):
        Atlas.open(storage, version=second)
    assert contents(Atlas.open(storage)) == held[store.version]
    found = store.verify().damage
    assert [damage.file for damage in found] == [documents[first], documents[second]]
    assert f"version {first} cannot be opened" in found[0].what
    storage.replace(documents[second], storage.read(documents[kept(store)[2]]))
    with pytest.raises(CorruptStoreError, match=f"not {second}; restore it"):
        Atlas.open(storage, version=second)
    assert f"not {second}" in store.verify().damage[1].what


def test_of_two_compactions_one_makes_the_base_and_nothing_is_lost(clock):
    storage = Overtaken()
    store, held = grown(clock, storage, count=12)
    other = Atlas.open(storage, limits=SMALL)
    clock.ago -= dt.timedelta(days=3)
    append(store, 50)
    held[store.version] = contents(store)
    storage.overtake = lambda: (other.refresh(), other.compact())
    store.compact()
    assert storage.overtake is None
    for handle in (store, other, Atlas.open(storage)):
        handle.refresh()
        assert contents(handle) == held[14] if handle.version == 14 else contents(handle) == contents(store)
    for number in kept(Atlas.open(storage)):
        if number in held:
            assert contents(Atlas.open(storage, version=number)) == held[number]
    assert store.verify().damage == ()
    store.compact(keep_days=0)
    assert store.verify().orphans == 0


@pytest.mark.parametrize("keep", [{}, {"keep_versions": 50}, {"keep_days": 0}])
def test_pages_that_no_commit_names_survive_another_compaction(keep):
    storage, limits = Overtaken(), Limits(page_rows=2)
    store = Atlas.create(storage, limits=limits)
    for name in "abc":
        store.create_dataset(name)
        store.flush()
    other = Atlas.open(storage, limits=limits)
    storage.overtake = lambda: (other.refresh(), other.compact(**keep))
    store.compact(keep_days=0)
    assert storage.overtake is None
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c"]
    assert Atlas.open(storage).verify().damage == ()
    Atlas.open(storage).compact(keep_days=0)
    assert Atlas.open(storage).verify().orphans == 0
    assert Atlas.open(storage).list_datasets() == ["a", "b", "c"]


def test_what_another_compaction_keeps_is_not_removed(clock, monkeypatch):
    storage = MemoryStorage()
    store, held = grown(clock, storage, hours=7, count=40)
    other = Atlas.open(storage, limits=SMALL)
    finish = Collector.finish

    def overtaken(self, writer, catalog, *, tombstoned):
        monkeypatch.setattr(Collector, "finish", finish)
        clock.ago -= dt.timedelta(days=3)
        append(other, 70)
        other.compact()
        return finish(self, writer, catalog, tombstoned=tombstoned)

    monkeypatch.setattr(Collector, "finish", overtaken)
    store.compact(keep_days=4)
    assert Atlas.open(storage).verify().damage == ()
    numbers = [number for number in kept(Atlas.open(storage)) if number in held]
    assert len(numbers) > 10
    for number in numbers:
        assert contents(Atlas.open(storage, version=number)) == held[number]
    store.compact(keep_days=0)
    assert store.verify().orphans == 0
