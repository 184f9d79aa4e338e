"""Reads are as written however often they are repeated, with a large, a tiny and no cache, by every way of reading."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas import Atlas
from atlas.errors import CorruptStoreError, InvalidValueError
from atlas.read import cached_chunks, reader
from atlas.read.block_cache import BlockCache
from atlas.storage import MemoryStorage

BUDGETS = [0, 40_000, 64 << 20]


def cells_of(dtype, shape, seed):
    rng = np.random.default_rng(seed)
    if dtype == "string":
        return np.array([f"word {n}" for n in rng.integers(0, 500, shape).ravel()], object).reshape(shape)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "timestamp_nanoseconds":
        return rng.integers(0, 10**9, shape).astype("M8[ns]")
    return rng.integers(0, 120, shape).astype(dtype)


@settings(max_examples=30)
@given(st.data())
def test_every_way_of_reading_agrees(data):
    dtype = data.draw(st.sampled_from(["int8", "float32", "float64", "bool", "timestamp_nanoseconds", "string"]))
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 7, 40, 130]), min_size=1, max_size=2)))
    # Up to chunks that are cut into several blocks.
    shape = (data.draw(st.sampled_from([1, 3, 60])), *shape)
    chunk = [data.draw(st.integers(max(1, n // 3), n)) for n in shape]
    names = ["a", "b", "c"]
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for at, name in enumerate(names):
            dataset = store.create_dataset(name)
            dataset.define_array("v", dtype, [f"x{axis}" for axis in range(len(shape))], shape, chunk)
            if name != "c" or data.draw(st.booleans()):
                dataset.write_array("v", [0] * len(shape), cells_of(dtype, shape, at))
    want = Atlas.open(storage, cache_bytes=0).read_array_across_stacked("v", names)
    store = Atlas.open(storage, cache_bytes=data.draw(st.sampled_from(BUDGETS)))
    for _ in range(3):
        start = [data.draw(st.integers(0, n - 1)) for n in shape]
        count = [data.draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True)]
        box = tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))
        at = data.draw(st.integers(0, 2))
        for _ in range(3):
            found = [
                store.read_array_across_stacked("v", names, start, count)[at],
                store.read_array_across("v", names[: at + 1], start, count)[at],
                store[names[at]].read_array("v", start, count),
                store[names[at]]["v"][box],
                store[names[at]].read_array("v")[box],
                store.to_xarray(names[at])["v"].values[box],
            ]
            for cells in found:
                np.testing.assert_array_equal(cells, want[at][box])
                cells[...] = cells.flat[-1]  # it belongs to the caller


@pytest.fixture
def storage():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        for at in range(4):
            dataset = store.create_dataset(f"d{at}")
            dataset.define_array("large", "float32", ["y", "x"], [300, 200], [300, 200])
            dataset.write_array("large", [0, 0], np.random.default_rng(at).random((300, 200), np.float32))
            dataset.define_array("small", "int16", ["z"], [30])
            dataset.write_array("small", [0], np.arange(30, dtype=np.int16) + at)
            dataset.define_array("text", "string", ["z"], [30], [10])
            dataset.write_array("text", [0], np.array([f"{at} {n}" for n in range(30)], object))
    return storage


NAMES = [f"d{at}" for at in range(4)]


def stored_reads(monkeypatch):
    """Return a list that grows with each read of stored bytes."""
    reads, read_into = [], MemoryStorage.read_into
    monkeypatch.setattr(MemoryStorage, "read_into", lambda *args: reads.append(args) or read_into(*args))
    return reads


@pytest.mark.parametrize("array", ["large", "text"])
def test_the_third_time_nothing_is_read(storage, monkeypatch, array):
    store, reads = Atlas.open(storage, cache_bytes=64 << 20), stored_reads(monkeypatch)
    counts = []
    for _ in range(4):
        reads.clear()
        store.read_array_across_stacked(array, NAMES)
        counts.append(bool(reads))
    assert counts == [True, True, False, False]
    # Other reads of the same blocks find them too.
    store["d2"].read_array(array, [5] if array == "text" else [5, 5], [12] if array == "text" else [100, 7])
    store["d2"][array][-2:]
    assert not reads


def test_small_arrays_come_out_of_their_shared_block(storage, monkeypatch):
    store, reads = Atlas.open(storage, cache_bytes=64 << 20), stored_reads(monkeypatch)
    store["d0"].read_array("small")
    assert len(reads) == 1
    for at, name in enumerate(NAMES):
        assert store[name].read_array("small", [3], [2]).tolist() == [3 + at, 4 + at]
        assert store[name]["small"][::10].tolist() == [at, 10 + at, 20 + at]
        assert store.to_xarray(name)["small"].values[1] == 1 + at
    assert len([read for read in reads if "small" in read[1]]) == 1


def test_boxes_of_large_chunks_are_copied_without_a_plan(storage, monkeypatch):
    store, planned = Atlas.open(storage, cache_bytes=64 << 20), []
    find = BlockCache.find
    monkeypatch.setattr(BlockCache, "find", lambda *args: planned.append(args) or find(*args))
    want = Atlas.open(storage, cache_bytes=0)["d1"].read_array("large")
    for at in range(5):
        planned.clear()
        np.testing.assert_array_equal(store["d1"].read_array("large", [20, 3], [200, 90]), want[20:220, 3:93])
        assert len(planned) == (at < 2)


def test_small_chunks_of_one_array_come_out_of_their_shared_block(monkeypatch):
    storage, cells = MemoryStorage(), np.arange(3000, dtype=np.float32).reshape(300, 10)
    with Atlas.create(storage) as store:
        store.create_dataset("d").define_array("v", "float32", ["y", "x"], [300, 10], [7, 4])
        store["d"].write_array("v", [0, 0], cells)
    store, planned = Atlas.open(storage, cache_bytes=64 << 20), []
    find = BlockCache.find
    monkeypatch.setattr(BlockCache, "find", lambda *args: planned.append(args) or find(*args))
    for y in range(0, 300, 7):
        for x in (0, 4, 8):
            got = store["d"].read_array("v", [y, x], [min(7, 300 - y), min(4, 10 - x)])
            np.testing.assert_array_equal(got, cells[y : y + 7, x : x + 4])
            got[...] = 0  # it belongs to the caller
            np.testing.assert_array_equal(store["d"]["v"][y, x], cells[y, x])
    assert len(planned) <= 6
    with pytest.raises(InvalidValueError):
        store["d"].read_array("v", [299, 0], [2, 1])


def test_few_locations_of_chunks_are_remembered(storage, monkeypatch):
    monkeypatch.setattr(cached_chunks, "_MOST_KNOWN", 2)
    store = Atlas.open(storage, cache_bytes=64 << 20)
    for at in range(12):
        assert store[NAMES[at % 4]].read_array("large", [0, 0], [1, 1]).shape == (1, 1)
        known = store._session.reader._chunks._known.values()
        assert sum(len(some.seen) + len(some.locations) for some in known) <= 6


def test_chunks_beside_pending_ones_are_read_from_memory(storage, monkeypatch):
    store, planned = Atlas.open(storage, cache_bytes=64 << 20), []
    store["d0"].delete_array("large")
    store["d0"].define_array("large", "float32", ["y", "x"], [300, 200], [50, 200])
    store["d0"].write_array("large", [0, 0], np.random.default_rng(9).random((300, 200), np.float32))
    store.flush()
    dataset = store["d0"]
    for _ in range(3):
        before = [dataset.read_array("large", [y, 0], [1, 1])[0, 0] for y in (0, 100)]
        single = store["d1"].read_array("small")
    find, take = BlockCache.find, reader.take_snapshot
    monkeypatch.setattr(BlockCache, "find", lambda *args: planned.append(args) or find(*args))
    monkeypatch.setattr(reader, "take_snapshot", lambda *args: planned.append(args) or take(*args))
    for at in range(5):
        dataset.write_array("large", [100, 0], np.full((1, 1), at, before[1].dtype))
        store["d0"].write_array("small", [0], np.full(1, at, single.dtype))
        planned.clear()
        assert dataset.read_array("large", [0, 0], [1, 1]) == before[0]
        np.testing.assert_array_equal(store["d1"].read_array("small"), single)
        assert planned == []
        assert dataset.read_array("large", [100, 0], [1, 1]) == at
        assert dataset["small"][0] == at
        assert planned != []
    store.flush()
    assert dataset.read_array("large", [100, 0], [1, 1]) == 4
    assert dataset["small"][0] == 4
    np.testing.assert_array_equal(store["d1"].read_array("small"), single)


def test_reads_from_memory_do_not_wait_for_the_lock(storage):
    store = Atlas.open(storage, cache_bytes=64 << 20)
    dataset = store["d0"]
    for _ in range(3):
        want = dataset.read_array("large", [0, 0], [1, 1]), dataset.read_array("small")
    with ThreadPoolExecutor(1) as pool, store._session.locks.state:
        assert pool.submit(dataset.read_array, "large", [0, 0], [1, 1]).result(60) == want[0]
        np.testing.assert_array_equal(pool.submit(dataset.read_array, "small").result(60), want[1])
        assert pool.submit(store.open_dataset, "d1").result(60).name == "d1"
        assert pool.submit(dataset.array_meta, "large").result(60)["dtype"] == str(want[0].dtype)
    with ThreadPoolExecutor(1) as pool:
        with store._session.locks.changing:  # what is looked up in a change may be half of it
            waiting = pool.submit(dataset.read_array, "small")
            with pytest.raises(TimeoutError):
                waiting.result(0.1)
        np.testing.assert_array_equal(waiting.result(60), want[1])


@pytest.mark.parametrize("budget", BUDGETS)
def test_changes_of_any_handle_are_read(storage, budget):
    mine, other = Atlas.open(storage, cache_bytes=budget), Atlas.open(storage)
    box = [2, 2], [3, 3]

    def cells():
        found = []
        for _ in range(3):
            found.append(mine["d0"].read_array("large", *box)[0, 0])
            found.append(mine.read_array_across_stacked("large", NAMES[:2], *box)[0, 0, 0])
        assert len(set(found)) == 1
        return found[0]

    before = cells()
    other["d0"].write_array("large", [2, 2], np.full((1, 1), 7, np.float32))
    other.flush()
    assert cells() == before
    mine.refresh()
    assert cells() == 7
    mine["d0"].write_array("large", [2, 2], np.full((1, 1), 8, np.float32))
    assert cells() == 8
    mine.flush()
    assert cells() == 8
    other.refresh()
    other.compact(keep_days=0)
    mine.refresh()
    assert cells() == 8
    other.delete_dataset("d0")
    other.create_dataset("d0").define_array("large", "float32", ["y", "x"], [300, 200], fill_value=-1)
    other.flush()
    mine.refresh()
    assert cells() == -1


def test_a_damaged_block_is_never_kept(storage, monkeypatch):
    key = next(key for key in storage.list() if key.startswith("arrays/large/"))
    data = bytearray(storage.read(key))
    data[1000] ^= 1
    storage.write(key, [bytes(data)])
    store = Atlas.open(storage, cache_bytes=64 << 20)
    for _ in range(5):
        with pytest.raises(CorruptStoreError, match="checksum"):
            store.read_array_across_stacked("large", NAMES)
        with pytest.raises(CorruptStoreError, match="checksum"):
            store["d0"].read_array("large")


def test_verification_reads_what_a_cache_has(storage):
    store = Atlas.open(storage, cache_bytes=64 << 20)
    for _ in range(3):
        store.read_array_across_stacked("large", NAMES)
    key = next(key for key in storage.list() if key.startswith("arrays/large/"))
    data = bytearray(storage.read(key))
    data[1000] ^= 1
    storage.write(key, [bytes(data)])
    assert not store.verify().ok
    assert store.read_array_across_stacked("large", NAMES).shape == (4, 300, 200)


def test_a_handle_that_is_closed_or_dropped_gives_its_memory_back(storage):
    gc.disable()
    try:
        for leave in (Atlas.close, lambda _: None):
            store = Atlas.open(storage, cache_bytes=64 << 20)
            pool = store._session.reader.cache.pool
            for _ in range(3):
                store.read_array_across_stacked("large", NAMES)
                store["d0"].read_array("small")
                store["d0"]["large"][:3]
            store["d1"].write_array("large", [0, 0], np.ones((2, 2), np.float32))
            store.flush()
            assert pool.size > 900_000
            session = weakref.ref(store._session)
            leave(store)
            assert (pool.size == 0) == (leave is Atlas.close)
            assert store["d0"].read_array("small")[0] == 0
            del store
            assert session() is None
            assert pool.size == 0
    finally:
        gc.enable()


def test_the_option_goes_with_pickles(tmp_path):
    with Atlas.create(tmp_path / "s") as store:
        store.create_dataset("a").define_array("v", "int8", ["x"], [3])
    for budget in (None, 0, 1 << 20):
        store = Atlas.open(tmp_path / "s", cache_bytes=budget)
        again = pickle.loads(pickle.dumps(store))
        assert again._session.reader.cache.pool.cache_bytes == budget
        assert atlas.Atlas.open(tmp_path / "s")._session.reader.cache.pool.cache_bytes is None


def test_locations_of_an_index_that_is_gone_are_forgotten(storage):
    store = Atlas.open(storage, cache_bytes=64 << 20)
    for _ in range(3):
        store["d0"].read_array("large", [0, 0], [1, 1])
        single = store["d0"].read_array("small")
    parts, whole = store._session.reader._chunks, store._session.reader._single_chunks
    assert (set(parts._known), set(whole._known)) == ({"large"}, {"small"})
    store["d1"].write_array("large", [0, 0], np.ones((300, 200), np.float32))
    store.compact(keep_versions=1, keep_days=0)
    np.testing.assert_array_equal(store["d0"].read_array("small"), single)
    assert (set(parts._known), set(whole._known)) == (set(), {"small"})
    np.testing.assert_array_equal(store["d1"].read_array("large", [0, 0], [1, 1]), [[1]])


def test_reads_beside_a_thread_that_writes_are_of_what_it_wrote(storage):
    store = Atlas.open(storage, cache_bytes=64 << 20)
    want = store["d0"].read_array("small")
    stop, written = threading.Event(), 0

    def read():
        count = 0
        while not stop.is_set():
            before = written
            found = store["d1"].read_array("small")
            assert before <= found[0] <= written + 1
            assert (found == found[0]).all()
            np.testing.assert_array_equal(store["d0"].read_array("small"), want)
            count += 1
        return count

    store["d1"].write_array("small", [0], np.zeros(30, np.int16))
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for at in range(1, 400):
                store["d1"].write_array("small", [0], np.full(30, at, np.int16))
                written = at
                if at % 50 == 0:
                    store.flush()
        finally:
            stop.set()
        assert all(reader.result(60) > 0 for reader in readers)
