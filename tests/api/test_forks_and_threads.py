"""One handle in many threads while it moves, and in forked children with changes of their own; pickled handles.

Every flush gives two arrays and an attribute of all datasets the same new number, so that each read shows of which
version it is.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from atlas import Atlas
from atlas.commit.commit_log import CommitLog
from atlas.errors import ConflictError, CorruptStoreError, StaleHandleError
from atlas.read import snapshot
from atlas.storage.local import LocalStorage
from atlas.storage.memory import MemoryStorage

NAMES = [f"d{at}" for at in range(5)]
NEW = {"keep_versions": 1, "keep_days": 0}


@pytest.fixture(params=["folder", "memory", "objects"])
def source(request, tmp_path):
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "objects":
        return pytest.importorskip("obstore.store").MemoryStore()
    return LocalStorage(tmp_path / "store", durable=False)


def numbered(length, number):
    """Cells that all show a number, and are not alike: chunks of one value only are not read from any file."""
    return number * 1000 + np.arange(length)


def beat(store, number):
    """Give everything a number, in one flush."""
    for name in NAMES:
        if not store.dataset_exists(name):
            view = store.create_dataset(name)
            view.define_array("small", "int64", ["x"], [6], fill_value=-1)
            view.define_array("cut", "int64", ["x"], [50], [7], fill_value=-1)
            view.define_array("text", "string", ["x"], [5], [2], fill_value="fill")
        view = store.open_dataset(name)
        view.write_array("small", [0], numbered(6, number))
        view.write_array("cut", [0], numbered(50, number))
        view.write_array("text", [0], np.array([f"é{cell}" for cell in numbered(5, number)], object))
        view.set_attribute("number", number)
    store.flush()


def seen(store):
    """Return what each of many calls shows, each of which must show one number only."""
    view = store.open_dataset("d3")

    def stats():
        found = view.array_stats("cut")
        assert found["null_count"] == 0
        return [found["min"], found["max"]]

    found = [
        view.read_array("small"),
        view.read_array("cut", [2], [40]),
        [int(text[1:]) for text in view.read_array("text").tolist()],
        store.read_array_across_stacked("cut", NAMES),
        store.read_array_across_stacked("small", NAMES, [1], [3]),
        [int(text[1:]) for cells in store.read_array_across("text", NAMES) for text in cells.tolist()],
        stats(),
        [view.get_attribute("number") * 1000],
    ]
    numbers = [set((np.asarray(cells) // 1000).ravel().tolist()) for cells in found]
    assert all(len(some) == 1 for some in numbers), numbers
    return [some.pop() for some in numbers]


def watch(store, stop, *, stale):
    """Read until told to stop; numbers never fall, and what is no longer kept is the only thing refused."""
    last = count = 0
    while not stop.is_set() or not count:
        try:
            for number in seen(store):
                assert number >= last
                last = number
        except StaleHandleError:
            assert stale
            continue
        count += 1
    return count


@pytest.mark.parametrize("how", ["flushes", "refreshes", "compacts", "refreshes beside compactions"])
def test_each_call_shows_one_version_while_another_thread_moves_the_handle(source, how):
    store = Atlas.create(source)
    beat(store, 1)
    other, stop = Atlas.open(source), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(watch, store, stop, stale="beside" in how) for _ in range(2)]
        try:
            for number in range(2, 10):
                if how in {"flushes", "compacts"}:
                    # What is pending is shown before it is flushed: two thirds of the numbers are seen too early.
                    other.refresh()
                    beat(other, number)
                    store.refresh()
                    store.create_dataset(f"own{number}").set_attribute("k", number)
                    store.flush()
                    if how == "compacts":
                        store.compact(**NEW)
                else:
                    beat(other, number)
                    if "beside" in how:
                        other.compact(**NEW)
                    store.refresh()
        finally:
            stop.set()
        assert all(reader.result(60) for reader in readers)
    assert set(seen(store)) == {9}


def test_a_read_that_a_refresh_overtakes_shows_the_new_version(source, monkeypatch):
    store = Atlas.create(source)
    beat(store, 1)
    beat(store, 2)
    store, other, done = Atlas.open(source), Atlas.open(source), []
    original = snapshot.read_boxes

    def overtaken(*arguments):
        if not done:
            done.append(True)
            other.compact(**NEW)
            mover = threading.Thread(target=store.refresh)
            mover.start()
            mover.join()
        return original(*arguments)

    monkeypatch.setattr(snapshot, "read_boxes", overtaken)
    assert set((store.read_array_across_stacked("cut", NAMES) // 1000).ravel().tolist()) == {2}
    assert done


def test_damage_is_reported_though_the_handle_moves(source):
    store = Atlas.create(source)
    beat(store, 1)
    reader = Atlas.open(source)
    storage = reader._session.view.storage
    storage.delete(storage.list("arrays/cut"))
    with pytest.raises(CorruptStoreError, match="missing"):
        reader.open_dataset("d1").read_array("cut")


def test_pickled_handles_show_their_version(tmp_path):
    source = LocalStorage(tmp_path / "store", durable=False)
    store = Atlas.create(source)
    pickled = {}
    for number in range(1, 7):
        beat(store, number)
        pickled[number] = pickle.dumps(store)
    held = pickle.loads(pickled[1])
    assert set(seen(held)) == {1}
    store.compact(keep_versions=4, keep_days=0)
    for number in (6, 5, 4):
        assert set(seen(pickle.loads(pickled[number]))) == {number}
    with pytest.raises(StaleHandleError, match="no version 2"):
        pickle.loads(pickled[2])
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda at: seen(pickle.loads(pickled[4 + at % 3]))[0] - at % 3, range(12))) == {4}
    held.refresh()
    assert set(seen(held)) == {6}


# Forks


def in_child(work):
    """Run `work` in a forked child and return its exit code, 0 where it returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are part of it
        child = os.fork()
    if not child:
        signal.alarm(60)  # a child that hangs is a failure
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001 - told by the exit code, for the test goes on in the parent
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def location(tmp_path):
    return LocalStorage(tmp_path / "store", durable=False)


def texts(store, name, array):
    return store.open_dataset(name).read_array(array).tolist()


@pytest.mark.bulky
@forks
@pytest.mark.parametrize("spilled", [False, True])
def test_what_was_pending_in_both_is_committed_once_and_conflicts_once(location, spilled):
    store = Atlas.create(location)
    beat(store, 1)
    cells = np.random.default_rng(0).integers(0, 1 << 60, 300_000)
    view = store.create_dataset("both")
    view.define_array("big", "int64", ["x"], [300_000], [100_000])
    view.write_array("big", [0], cells)
    if spilled:
        for staging in store._session.writes.by_array.values():
            staging.encode()
            staging.spill()

    def child():
        view = store.open_dataset("both")
        assert (view.read_array("big") == cells).all()
        view.write_array("big", [0], cells[:100_000] + 1)
        view.set_attribute("who", "child")
        store.flush()
        assert (store.open_dataset("both").read_array("big")[:100_000] == cells[:100_000] + 1).all()

    assert in_child(child) == 0
    view.write_array("big", [200_000], cells[200_000:] + 2)
    assert (view.read_array("big")[:200_000] == cells[:200_000]).all()
    with pytest.raises(ConflictError) as caught:
        store.flush()
    assert caught.value.collisions == (("both", None),)
    landed = Atlas.open(location).open_dataset("both")
    assert (landed.read_array("big") == np.concatenate([cells[:100_000] + 1, cells[100_000:]])).all()
    store.refresh()
    store.flush()
    landed = Atlas.open(location).open_dataset("both")
    assert landed.attributes() == {}
    assert (landed.read_array("big") == np.concatenate([cells[:200_000], cells[200_000:] + 2])).all()


@forks
def test_both_land_where_they_change_different_things(location):
    store = Atlas.create(location)
    beat(store, 1)

    def child():
        store.create_dataset("child").set_attribute("k", 1)
        store.open_dataset("d1").write_array("cut", [0], np.full(7, 5))
        store.flush()

    assert in_child(child) == 0
    store.create_dataset("parent").set_attribute("k", 2)
    store.open_dataset("d1").write_array("cut", [45], np.full(5, 6))
    store.flush()
    found = Atlas.open(location)
    assert found.list_datasets() == [*NAMES, "child", "parent"]
    assert found.open_dataset("d1").read_array("cut").tolist() == [5] * 7 + numbered(50, 1).tolist()[7:45] + [6] * 5


@forks
@pytest.mark.parametrize("declared", ["before", "after"])
def test_an_array_that_a_fork_declared_and_deleted_leaves_no_cells(location, declared):
    store = Atlas.create(location)
    beat(store, 1)
    view = store.open_dataset("d0")

    def define():
        view.define_array("new", "int64", ["x"], [4], [2], fill_value=-1)

    if declared == "before":
        define()

    def child():
        if declared == "after":
            define()
        view.write_array("new", [2], np.array([6, 7]))
        store.flush()
        view.delete_array("new")
        store.flush()

    assert in_child(child) == 0
    if declared == "after":
        define()
    view.write_array("new", [0], np.array([8, 9]))
    store.flush()
    assert texts(Atlas.open(location), "d0", "new") == [8, 9, -1, -1]


@forks
def test_an_array_that_both_declare_collides(location):
    store = Atlas.create(location)
    beat(store, 1)
    view = store.open_dataset("d0")
    view.define_array("before", "int64", ["x"], [4], [4], fill_value=-1)
    view.write_array("before", [0], np.array([1]))

    def child():
        view.write_array("before", [1], np.array([2]))
        store.flush()

    assert in_child(child) == 0
    view.write_array("before", [2], np.array([3]))
    with pytest.raises(ConflictError) as caught:
        store.flush()
    assert caught.value.collisions == (("d0", "before"),)
    assert texts(Atlas.open(location), "d0", "before") == [1, 2, -1, -1]
    store.refresh()
    store.flush()
    assert texts(Atlas.open(location), "d0", "before") == [1, -1, 3, -1]


@forks
def test_a_child_unpickles_while_its_parent_was_opening_a_store(location, monkeypatch):
    store = Atlas.create(location)
    beat(store, 1)
    pickled, opening, go = pickle.dumps(store), threading.Event(), threading.Event()
    original = CommitLog.open

    def slow(*arguments):
        opening.set()
        go.wait()
        return original(*arguments)

    def child():
        go.set()
        assert set(seen(pickle.loads(pickled))) == {1}

    monkeypatch.setattr(CommitLog, "open", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(pickle.loads, pickled)
        opening.wait()
        code = in_child(child)
        go.set()
        assert other.result(60).version == 1
    assert code == 0


@forks
def test_a_child_may_be_forked_while_other_threads_read_flush_and_unpickle(location):
    store = Atlas.create(location)
    beat(store, 1)
    pickled, other, stop = pickle.dumps(store), Atlas.open(location), threading.Event()

    def work():
        number = 1
        while not stop.is_set():
            number += 1
            beat(other, number)
            seen(pickle.loads(pickled))
            seen(store)

    def child():
        assert set(seen(store)) == {1}
        assert set(seen(pickle.loads(pickled))) == {1}
        mine = Atlas.open(location)
        mine.create_dataset(f"child{os.getpid()}")
        mine.flush()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            codes = [in_child(child) for _ in range(4)]
        finally:
            stop.set()
        working.result(60)
    assert codes == [0] * 4
    assert sum(name.startswith("child") for name in Atlas.open(location).list_datasets()) == 4
