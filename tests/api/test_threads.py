"""Many threads on one handle, forks, and handles that travel to other processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from atlas import Atlas
from atlas.catalog import view
from atlas.read.block_cache import BlockCache
from atlas.storage.memory import MemoryStorage
from atlas.write.staging import Staging
from tests.api.samples import make_cells, put
from tests.api.subprocesses import run_python
from tests.model import identical


def test_threads_read_while_another_writes_flushes_and_compacts(store):
    for i in range(6):
        put(store.create_dataset(f"d{i}"), "t", np.full((20, 20), i, "i8"), "int64", (7, 7))
        put(store.open_dataset(f"d{i}"), "s", np.full(10, f"text {i}", object), "string", (3,))
    store.flush()
    names = [f"d{i}" for i in range(6)]
    stop = threading.Event()

    def read(seed):
        rng = np.random.default_rng(seed)
        count = 0
        while not stop.is_set():
            i = int(rng.integers(6))
            view = store.open_dataset(f"d{i}")
            values = view.read_array("t", [3, 4], [10, 9])
            # A write of the whole array is seen whole or not at all.
            assert (values == values[0, 0]).all()
            assert values[0, 0] % 6 == i
            assert set(view.read_array("s").tolist()) == {f"text {i}"}
            stacked = store.read_array_across_stacked("t", names, [0, 0], [2, 2])
            assert (stacked % 6 == np.arange(6)[:, None, None]).all()
            assert view.array_stats("t")["row_count"] == 400
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, seed) for seed in range(3)]
        try:
            for step in range(1, 25):
                i = step % 6
                store.open_dataset(f"d{i}").write_array("t", [0, 0], np.full((20, 20), i + 6 * step, "i8"))
                store.open_dataset(f"d{i}").set_attribute("step", step)
                if step % 3 == 0:
                    store.flush()
                if step % 8 == 0:
                    store.compact(keep_versions=1, keep_days=0)
        finally:
            stop.set()
        assert all(reader.result(60) > 0 for reader in readers)


def test_many_threads_write_their_own_datasets(store, place):
    def fill(i):
        view = store.create_dataset(f"d{i}")
        put(view, "t", make_cells("float32", (30, 30), i), "float32", (11, 13))
        view.set_attribute("i", i)
        if i % 5 == 0:
            store.flush()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(fill, range(30)))
    store.flush()
    again = Atlas.open(place)
    assert sorted(again.list_datasets()) == sorted(f"d{i}" for i in range(30))
    for i in range(30):
        assert identical(again.open_dataset(f"d{i}").read_array("t"), make_cells("float32", (30, 30), i))
        assert again.open_dataset(f"d{i}").attributes() == {"i": i}


def test_one_dataset_is_created_by_one_thread_only(store):
    barrier = threading.Barrier(6)

    def create(_):
        barrier.wait()
        try:
            store.create_dataset("d")
        except FileExistsError:
            return 0
        return 1

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(create, range(6))) == 1


@pytest.mark.bulky
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_and_writes_its_own():
    out = run_python(
        """
        import os, sys, tempfile, threading, warnings, numpy as np, atlas
        warnings.simplefilter("ignore")
        folder = tempfile.mkdtemp()
        store = atlas.Atlas.create(folder + "/s")
        for i in range(300):
            view = store.create_dataset(f"d{i}")
            view.define_array("t", "float64", ["x"], [1000])
            view.write_array("t", [0], np.arange(1000.0) + i)
        store.flush()
        names = store.list_datasets()
        expected = store.read_array_across_stacked("t", names)
        stop = threading.Event()

        def spin():
            while not stop.is_set():
                store.read_array_across_stacked("t", names)

        threads = [threading.Thread(target=spin) for _ in range(2)]
        [thread.start() for thread in threads]
        for attempt in range(10):
            child = os.fork()
            if not child:
                found = store.read_array_across_stacked("t", names)
                mine = atlas.Atlas.create(f"{folder}/child{attempt}")
                mine.create_dataset("c").set_attribute("k", 1)
                mine.flush()
                os._exit(0 if (found == expected).all() else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        [thread.join() for thread in threads]
        print("fine")
        """,
        timeout=120,
    )
    assert out == "fine"


def _read(view, start):
    return view.read_array("t", start)


def test_views_travel_to_other_processes(store):
    cells = make_cells("int32", (6, 5))
    put(store.create_dataset("d"), "t", cells, "int32", (2, 2))
    store.flush()
    view = store.open_dataset("d")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert identical(pool.submit(_read, view, [1, 2]).result(120), cells[1:, 2:].copy())


def test_stores_and_views_pickle_by_reopening(store):
    put(store.create_dataset("d"), "t", np.arange(3), "int64")
    with pytest.raises(ValueError, match="flush"):
        pickle.dumps(store)
    with pytest.raises(ValueError, match="flush"):
        pickle.dumps(store.open_dataset("d"))
    store.flush()
    other = pickle.loads(pickle.dumps(store))
    assert other is not store
    assert other.open_dataset("d").read_array("t").tolist() == [0, 1, 2]
    view = pickle.loads(pickle.dumps(store.open_dataset("d")))
    assert view.name == "d"
    assert view.read_array("t").tolist() == [0, 1, 2]


@pytest.mark.parametrize("threads", ["1", "2", "7", " 3 "])
def test_any_number_of_threads_gives_the_same(monkeypatch, place, threads):
    monkeypatch.setenv("ATLAS_NUM_THREADS", threads)
    cells = make_cells("float64", (400, 300))
    with Atlas.create(place) as store:
        put(store.create_dataset("d"), "t", cells, "float64", (100, 100))
    assert identical(Atlas.open(place).open_dataset("d").read_array("t"), cells)


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, store, threads):
    put(store.create_dataset("d"), "t", make_cells("float64", (400, 300)), "float64", (100, 100))
    monkeypatch.setenv("ATLAS_NUM_THREADS", threads)
    with pytest.raises(ValueError, match="ATLAS_NUM_THREADS"):
        store.flush()
    monkeypatch.delenv("ATLAS_NUM_THREADS")
    store.flush()
    assert identical(store.open_dataset("d").read_array("t"), make_cells("float64", (400, 300)))


class Held(MemoryStorage):
    """Stops a thread that creates a commit or writes a segment until it is released."""

    def __init__(self):
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()
        self.go.set()

    def _stop(self, key):
        if not self.go.is_set():
            self.reached.set()
            assert self.go.wait(60)

    def create(self, key, data):
        self._stop(key)
        return super().create(key, data)

    def write(self, key, parts):
        self._stop(key)
        return super().write(key, parts)


@pytest.mark.parametrize("call", ["flush", "compact", "rollback"])
def test_a_handle_is_read_while_another_thread_commits(call):
    place = Held()
    store = Atlas.create(place)
    for name in ("old", "gone"):
        view = store.create_dataset(name)
        view.define_array("t", "int32", ["x"], [8], [4])
        view.write_array("t", [0], np.arange(8, dtype="i4"))
        store.flush()
    if call == "compact":
        store.delete_dataset("gone")
        store.flush()
    if call == "flush":
        view = store.create_dataset("new")
        view.define_array("t", "int32", ["x"], [8], [4])
        view.write_array("t", [0], np.arange(8, dtype="i4") * 2)
        view.set_attribute("k", 1)
    names, version = store.list_datasets(), store.version
    place.go.clear()
    work = threading.Thread(target=(lambda: store.rollback(1)) if call == "rollback" else getattr(store, call))
    work.start()
    assert place.reached.wait(60)
    try:
        assert (store.list_datasets(), store.version) == (names, version)
        assert store.open_dataset("old").read_array("t").tolist() == list(range(8))
        assert store.open_dataset("old").array_stats("t")["max"] == 7
        assert store.read_array_across_stacked("t", names, [1], [2]).tolist()[0] == [1, 2]
        if call == "flush":
            assert store.open_dataset("new").read_array("t").tolist() == list(range(0, 16, 2))
            assert store.open_dataset("new").attributes() == {"k": 1}
        assert store.describe().version == version
        assert work.is_alive()
    finally:
        place.go.set()
        work.join()
    assert store.version == version + 1
    assert Atlas.open(place).list_datasets() == store.list_datasets()


def test_reads_do_not_wait_while_a_flush_encodes(store, monkeypatch):
    dataset, new = store.create_dataset("d"), np.arange(6, dtype="i4")
    put(dataset, "t", np.arange(40, dtype="i4"), "int32", (10,))
    put(dataset, "s", np.full(3, "old", object), "string", (3,))
    store.flush()
    dataset.write_array("t", [7], new)
    dataset.write_array("s", [0], np.full(3, "new", object))
    want = [*range(7), *range(6), *range(13, 40)]
    encoding, go_on, draft = threading.Event(), threading.Event(), Staging.draft

    def slow_draft(*args):
        found = draft(*args)  # what was pending is encoded by now
        encoding.set()
        assert go_on.wait(60)
        return found

    monkeypatch.setattr(Staging, "draft", slow_draft)
    with ThreadPoolExecutor(2) as pool:
        flush = pool.submit(store.flush)
        assert encoding.wait(60)
        try:
            assert pool.submit(dataset.read_array, "t").result(60).tolist() == want
            assert pool.submit(dataset.read_array, "s").result(60).tolist() == ["new"] * 3
            assert pool.submit(lambda: dataset["t"][12:14]).result(60).tolist() == [5, 13]
            assert pool.submit(store.read_array_across_stacked, "t", ["d"]).result(60)[0].tolist() == want
            assert not flush.done()
        finally:
            go_on.set()
        flush.result(60)
    assert dataset.read_array("t").tolist() == want
    assert dataset.read_array("s").tolist() == ["new"] * 3


def test_what_waits_is_read_beside_what_is_being_encoded():
    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(300)]
    for at, name in enumerate(store.create_datasets(names)):
        name.define_array("t", "int32", ["x"], [8], [4])
        name.write_array("t", [0], np.full(8, at, "i4"))
    stop, staging = threading.Event(), store._session.writes.by_array["t"]

    def read():
        count = 0
        while not stop.is_set():
            at = count % 300
            assert store[names[at]].read_array("t").tolist() == [at] * 8
            assert store.read_array_across_stacked("t", names)[:, 5].tolist() == list(range(300))
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for _ in range(20):
                with store._session.locks.writing:
                    staging.encode()
                with store._session.locks.changing:
                    for at in range(0, 300, 7):
                        store[names[at]].write_array("t", [0], np.full(8, at, "i4"))
        finally:
            stop.set()
        assert all(reader.result(60) > 0 for reader in readers)


@pytest.mark.parametrize("loader", ["load_segment", "load_chunk_index", "load"])
def test_no_lock_is_held_while_an_index_or_a_block_is_read(monkeypatch, loader):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        put(store.create_dataset("d"), "t", np.arange(6, dtype="i4"), "int32", (6,))
    store = Atlas.open(storage)
    if loader == "load_segment":  # a flush reads the index of its own segment
        store["d"].read_array("t")
        store["d"].write_array("t", [0], np.arange(6, dtype="i4"))
    loading, go_on, where = threading.Event(), threading.Event(), BlockCache if loader == "load" else view
    load = getattr(where, loader)

    def slow_load(*args):
        loading.set()
        assert go_on.wait(60)
        return load(*args)

    monkeypatch.setattr(where, loader, slow_load)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(store.flush if loader == "load_segment" else store["d"].read_array, *args)
                   for args in ([[]] if loader == "load_segment" else [["t"], ["t"]])]  # fmt: skip
        assert loading.wait(60)
        try:
            with store._session.locks.state:
                assert pool.submit(store.open_dataset, "d").result(60).name == "d"
            assert pool.submit(store.list_datasets).result(60) == ["d"]
            assert pool.submit(store["d"].attributes).result(60) == {}
            assert not any(one.done() for one in waiting)
        finally:
            go_on.set()
        for one in waiting:
            one.result(60)
    assert store["d"].read_array("t").tolist() == list(range(6))
