"""Requests whose answers are lost, come late, or come damaged: a writer recognises its own commit."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr
from obstore.store import MemoryStore

from atlas import Atlas
from atlas.errors import StorageError
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import LocalStorage, MemoryStorage, open_storage
from tests.api.samples import put
from tests.reliability.faulty import FaultyHandle, FaultyStorage, Injector


@pytest.fixture
def injector():
    return Injector()


@pytest.fixture(params=["storage", "handle"])
def places(request, injector):
    """The same place, with an injector before it and without."""
    if request.param == "storage":
        inner = MemoryStorage()
        return FaultyStorage(inner, injector), inner
    handle = MemoryStore()
    return FaultyHandle(handle, injector), handle


def fill(store, value=1):
    view = store.create_dataset(f"d{value}")
    put(view, "t", np.full(4, value), "int64")
    return view


def fail(store, injector, needle, fault, *more):
    """Flush while the operation that has `needle` in it meets a fault, and those after it meet more."""
    faults = dict.fromkeys(range(1000))
    injector.arm(faults)
    original = injector.run

    def run(kind, what, effect, error):
        if needle in what and not any(faults.values()):
            at = len(injector.log)
            faults.update({at + number: one for number, one in enumerate((fault, *more))})
        return original(kind, what, effect, error)

    injector.run = run
    try:
        store.flush()
    finally:
        del injector.run


@pytest.mark.parametrize("when", ["after the next", "before the retry", "after the retry"])
@pytest.mark.parametrize("paged", [False, True])
def test_a_commit_executed_after_its_flush_has_failed_finds_its_files(places, injector, monkeypatch, when, paged):
    if paged:
        monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=0))
    faulty, plain = places
    store = Atlas.create(faulty)
    fill(store)
    with pytest.raises(StorageError):
        fail(store, injector, "commits/", when)
    injector.release("after the next")
    injector.release("before the retry")
    # It may have landed by now, and then all it names is there.
    for name in Atlas.open(plain).list_datasets():
        assert Atlas.open(plain).open_dataset(name).read_array("t").tolist() == [1] * 4
    with injector.paused():
        store.flush()
        injector.release("after the retry")
    assert Atlas.open(plain).open_dataset("d1").read_array("t").tolist() == [1] * 4
    with injector.paused():
        fill(store, 2)
        store.flush()
        store.compact(keep_versions=1, keep_days=0)
    assert Atlas.open(plain).list_datasets() == ["d1", "d2"]


@pytest.mark.parametrize("when", ["after the next", "before the retry", "after the retry"])
def test_a_dataset_replaced_again_after_a_lost_answer_has_nothing_of_the_first_one(places, injector, when):
    faulty, plain = places
    store = Atlas.create(faulty)
    for name, cells in (("a", 4), ("b", 4)):
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.zeros(cells))}), name)
    store.flush()
    store.replace_dataset("a", xr.Dataset({"t": ("x", np.ones(8)), "u": ("x", np.ones(8))}), chunks={"x": 1})
    with pytest.raises(StorageError):
        fail(store, injector, "commits/", when)
    store.replace_dataset("a", xr.Dataset({"t": ("x", np.full(8, 2.0))}, attrs={"second": 1}), chunks={"x": 4})
    with injector.paused():
        store.flush()
        for moment in ("after the next", "before the retry", "after the retry"):
            injector.release(moment)
    for handle in (store, Atlas.open(plain)):
        assert handle.list_datasets() == ["a", "b"]
        assert handle["a"].list_arrays() == ["t"]
        assert handle["a"]["t"][:].tolist() == [2.0] * 8
        assert dict(handle["a"].attrs) == {"second": 1}
    assert Atlas.open(plain).verify().ok


def test_a_commit_that_may_still_be_executed_gives_way_to_another_writer(places, injector):
    faulty, plain = places
    store = Atlas.create(faulty)
    fill(store)
    with pytest.raises(StorageError):
        fail(store, injector, "commits/", "after the retry")
    with Atlas.open(plain) as other:
        fill(other, 2)
    with injector.paused():
        store.flush()
        injector.release("after the retry")
    assert sorted(Atlas.open(plain).list_datasets()) == ["d1", "d2"]
    for name in ("d1", "d2"):
        assert Atlas.open(plain).open_dataset(name).read_array("t").tolist() == [int(name[1])] * 4


@pytest.mark.parametrize("damage", ["short", "flip"])
def test_an_own_commit_that_is_read_back_damaged_is_not_taken_for_another_writers(places, injector, damage):
    """It met itself, was read back wrongly, and its files were removed as those of a commit that had lost."""
    faulty, plain = places
    for first in ("twice", "lost"):
        store = Atlas.create(faulty, overwrite=True)
        view = fill(store)
        with suppress(StorageError):
            fail(store, injector, "commits/", first, damage)
        assert len(injector.met) == 2
        with injector.paused():
            assert view.read_array("t").tolist() == [1] * 4
            assert Atlas.open(plain).open_dataset("d1").read_array("t").tolist() == [1] * 4
            store.flush()
        assert Atlas.open(plain).open_dataset("d1").read_array("t").tolist() == [1] * 4


@pytest.mark.parametrize("fault", ["twice", "lost"])
def test_a_repeated_create_of_a_store_recognises_its_first_request(places, injector, fault):
    faulty, plain = places
    injector.arm({})
    Atlas.create(faulty)
    wanted = [at for at, (kind, what) in enumerate(injector.log) if kind == "change" and "atlas.json" in what]
    assert len(wanted) == 1
    with injector.paused():
        storage = open_storage(plain)
        storage.delete(storage.list())
    injector.arm({wanted[0]: fault})
    with Atlas.create(faulty) as store:
        assert injector.met
        fill(store)
    assert Atlas.open(plain).open_dataset("d1").read_array("t").tolist() == [1] * 4


@pytest.mark.parametrize("damage", ["short", "flip"])
def test_a_compaction_that_reads_its_own_link_damaged_starts_over(places, injector, damage):
    faulty, plain = places
    store = Atlas.create(faulty)
    fill(store)
    store.flush()
    store.delete_dataset("d1")
    fill(store, 2)
    store.flush()
    version, original, linked = store.version, injector.run, []

    def run(kind, what, effect, error):
        link = "bases/" in what and what.endswith(f"{0:020d}.json")
        if link and kind == "change":
            linked.append(what)
        elif link and linked and not injector.met:
            injector.arm({0: damage})
        return original(kind, what, effect, error)

    injector.run = run
    store.compact(keep_versions=1, keep_days=0)
    del injector.run
    assert [met.rpartition(" ")[2] for met in injector.met] == [damage]
    # Once for what was dropped, and once more for what the first try had tombstoned and not removed yet.
    assert store.version == version + 2
    for reader in (store, Atlas.open(plain)):
        assert reader.list_datasets() == ["d2"]
        assert reader.open_dataset("d2").read_array("t").tolist() == [2] * 4
    assert store.compact(keep_versions=1, keep_days=0).files_freed == 0
    assert store.version == version + 2


def test_a_page_that_could_not_be_synced_does_not_fail_later_flushes(tmp_path, monkeypatch):
    """A checkpoint wrote pages, their wait failed, and every commit after it waited for them in vain."""
    store = Atlas.create(LocalStorage(tmp_path / "s"), limits=Limits(page_rows=0))
    fill(store)
    store.flush()
    fsync = os.fsync

    def failing(descriptor):
        if "/pages/" in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115 - the text as it is
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return fsync(descriptor)

    fill(store, 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StorageError):
            store.flush()
        store._session.log.limits = Limits(page_rows=1000)
        store.flush()
        store._session.log.limits = Limits(page_rows=0)
        with suppress(StorageError):
            store.compact(keep_versions=1, keep_days=0)
    for value in (3, 4):
        fill(store, value)
        store.flush()
    assert store.compact(keep_versions=1, keep_days=0).files_freed > 0
    assert Atlas.open(tmp_path / "s").list_datasets() == ["d1", "d2", "d3", "d4"]
