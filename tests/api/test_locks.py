"""No lock that other calls need is held while the storage works: a storage waits in it until the others are done."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import CorruptStoreError
from atlas.runtime.limits import Limits
from atlas.storage.memory import MemoryStorage

SECONDS = 60
"""After so many a test fails that hangs; none waits for them otherwise."""


class Slow(MemoryStorage):
    """Stops every thread that asks it for something while it is closed, and lets it go on when it is opened."""

    def __init__(self):
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()
        self.go.set()

    def _wait(self):
        if not self.go.is_set():
            self.reached.set()
            assert self.go.wait(SECONDS)

    @contextmanager
    def closed(self, call):
        """Call `call` in a thread, and yield its future while it waits here."""
        self.reached.clear()
        self.go.clear()
        with ThreadPoolExecutor(1) as pool:
            try:
                future = pool.submit(call)
                assert self.reached.wait(SECONDS)
                yield future
                assert not future.done()
            finally:
                self.go.set()
            future.result(SECONDS)

    def read(self, key):
        self._wait()
        return super().read(key)

    def list(self, prefix=""):
        self._wait()
        return super().list(prefix)

    def spill_file(self):
        self._wait()
        return super().spill_file()


LIMITS = Limits(raw_bytes=5000, checked_bytes=0, encoded_bytes=1 << 20, direct_bytes=4000, partial_bytes=4000)


@pytest.fixture
def place():
    return Slow()


@pytest.fixture
def store(place):
    """A store whose dataset `d` has arrays that were flushed, of which this handle has read nothing."""
    with Atlas.create(place) as store:
        view = store.create_dataset("d")
        for name in ("t", "u"):
            view.define_array(name, "int32", ["x"], [4000], [1000])
            view.write_array(name, [0], np.arange(4000, dtype="i4"))
        for name in ("s", "s2"):
            view.define_array(name, "string", ["x"], [4], [2])
            view.write_array(name, [0], np.array(["b" * 200, "a", "c" * 200, "d"], object))
        store.create_dataset("small").define_array("m", "int8", ["x"], [2])
        store.open_dataset("small").write_array("m", [0], np.zeros(2, "i1"))
    return Atlas.open(place, limits=LIMITS, cache_bytes=0)


def others(store):
    """Make small calls of each kind that need nothing of the storage, each in a thread, and look at what they do."""
    view = store.open_dataset("small")

    def create():
        new = store.create_dataset("new")
        new.define_array("m", "int8", ["x"], [2])
        new.write_array("m", [0], np.array([1, 2], "i1"))
        new.write_array("m", [1], np.array([5], "i1"))
        return new.read_array("m").tolist()

    with ThreadPoolExecutor(6) as pool:
        calls = [
            pool.submit(store.list_datasets),
            pool.submit(lambda: store.open_dataset("small").attributes()),
            pool.submit(view.array_meta, "m"),
            pool.submit(view.set_attribute, "key", 7),
            pool.submit(view.write_array, "m", [0], np.array([3, 4], "i1")),
            pool.submit(create),
        ]
        found = [call.result(SECONDS) for call in calls]
    assert found[0][:2] == ["d", "small"]
    assert found[5] == [1, 5]
    assert view.read_array("m").tolist() == [3, 4]
    assert view.attributes() == {"key": 7}
    store.delete_dataset("new")


def pend(store):
    """Leave chunks of `t` that are pending: two are encoded, one waits."""
    view = store.open_dataset("d")
    for chunk in range(3):
        view.write_array("t", [1000 * chunk + 5], np.full(10, -1, "i4"))
    staging = store._session.writes.by_array["t"]
    assert (len(staging.encoded_index().rows), len(staging.waiting())) == (2, 1)


READS = {
    "read_array": lambda store: store.open_dataset("d").read_array("t"),
    "index": lambda store: store.open_dataset("d")["t"][5:3600:7],
    "stacked": lambda store: store.read_array_across_stacked("t", ["d"]),
    "ragged": lambda store: store.read_array_across_ragged("t", ["d"]),
    "across": lambda store: store.read_array_across("t", ["d"]),
    "array_stats": lambda store: store.open_dataset("d").array_stats("s"),
    "stats_across": lambda store: store.array_stats_across("s"),
    "history": lambda store: store.history(),
    "describe": lambda store: store.describe(),
}


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_other_calls_go_on_while_one_waits_for_the_storage(store, place, call, pending, known):
    if known:  # the chunk index, so that blocks are what it waits for
        for name in store.list_arrays():
            store._session.view.load_index(name)
    if pending:
        pend(store)
    with place.closed(lambda: READS[call](store)):
        others(store)


WRITES = {
    "box": lambda view: view.write_array("t", [990], np.full(20, 9, "i4")),
    "index": lambda view: view["t"].__setitem__(slice(985, 1015, 2), 9),
    "strings": lambda view: view.write_array("s", [1], np.array(["new", "new"], object)),
}


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("known", [False, True])
def test_other_calls_go_on_while_present_cells_are_read(store, place, call, known):
    view = store.open_dataset("d")
    if known:
        for name in store.list_arrays():
            store._session.view.load_index(name)
    with place.closed(lambda: WRITES[call](view)):
        others(store)
        assert (store.list_arrays(), view.list_arrays()) == (["m", "s", "s2", "t", "u"], ["t", "u", "s", "s2"])
    want = np.arange(4000, dtype="i4")
    if call == "box":
        want[990:1010] = 9
    elif call == "index":
        want[985:1015:2] = 9
    texts = ["b" * 200, *(["new"] * 2 if call == "strings" else ["a", "c" * 200]), "d"]
    for _ in range(2):
        assert view.read_array("t").tolist() == want.tolist()
        assert view.read_array("s").tolist() == texts
        store.flush()


def test_other_calls_go_on_while_many_present_cells_are_read(place):
    """So many that they are encoded before they are seen."""
    cells = np.random.default_rng(1).integers(0, 1 << 30, (40, 50), "i4")
    with Atlas.create(place) as store:
        store.create_dataset("small").define_array("m", "int8", ["x"], [2])
        store.open_dataset("small").write_array("m", [0], np.zeros(2, "i1"))
        view = store.create_dataset("d")
        view.define_array("t", "int32", ["x", "y"], [40, 50], [1, 50])
        view.write_array("t", [0, 0], cells)
    store = Atlas.open(place, limits=Limits(partial_bytes=1000, encoded_bytes=0))
    view = store.open_dataset("d")
    with place.closed(lambda: view.write_array("t", [0, 7], cells[:, 20:23])), ThreadPoolExecutor(1) as pool:
        pool.submit(store.open_dataset("small").set_attribute, "key", 7).result(SECONDS)
        pool.submit(store.create_dataset, "new").result(SECONDS)
    cells[:, 7:10] = cells[:, 20:23]
    assert view.read_array("t").tolist() == cells.tolist()
    store.flush()
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == cells.tolist()


@pytest.mark.parametrize("bulk", [False, True])
def test_other_calls_go_on_while_a_large_write_spills(store, place, bulk):
    store = Atlas.open(place, limits=Limits(encoded_bytes=1000, direct_bytes=1000, run_bytes=1000))
    cells = np.random.default_rng(1).integers(0, 1 << 30, 4000, "i4")

    def write():
        if bulk:
            store.write_array_across_stacked("v", ["d", "small"], np.stack([cells, cells]))
        else:
            store.open_dataset("d").write_array("u", [0], cells)

    with place.closed(write):
        others(store)
        assert "v" not in store.list_arrays()
        assert store.open_dataset("d").array_meta("u")["shape"] == [4000]
    assert store.open_dataset("d").read_array("v" if bulk else "u").tolist() == cells.tolist()


def test_a_write_that_fails_to_read_present_cells_changes_nothing(store, place, monkeypatch):
    view = store.open_dataset("d")

    def damaged(self, key):
        raise CorruptStoreError("damaged")

    with monkeypatch.context() as patch:
        patch.setattr(Slow, "read", damaged)
        with pytest.raises(CorruptStoreError):
            view.write_array("t", [990], np.full(20, 9, "i4"))
    assert view.read_array("t").tolist() == list(range(4000))


def between(store, place, call, meanwhile):
    """Call `call`, and `meanwhile` once it waits for the storage."""
    with place.closed(call), ThreadPoolExecutor(1) as pool:
        pool.submit(meanwhile).result(SECONDS)


def test_a_write_of_the_same_chunk_meanwhile_is_not_lost(store, place):
    view, want = store.open_dataset("d"), np.arange(4000, dtype="i4")
    store._session.view.load_index("t")
    first = np.arange(1000, dtype="i4") * 3
    between(store, place, lambda: view.write_array("t", [10], np.full(5, -1, "i4")),
            lambda: view.write_array("t", [0], first))  # fmt: skip
    want[:1000], want[10:15] = first, -1
    assert view.read_array("t").tolist() == want.tolist()
    store.flush()
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == want.tolist()


@pytest.mark.parametrize("again", [False, True])
def test_a_write_of_an_array_that_is_deleted_meanwhile_finds_none_or_the_new_one(store, place, again):
    view = store.open_dataset("d")
    store._session.view.load_index("t")

    def replace():
        view.delete_array("t")
        if again:
            view.define_array("t", "int32", ["x"], [30], [8], fill_value=7)

    def write():
        if again:
            view.write_array("t", [10], np.full(5, -1, "i4"))
            return
        with pytest.raises(KeyError, match="no array 't'"):
            view.write_array("t", [10], np.full(5, -1, "i4"))

    between(store, place, write, replace)
    if again:
        assert view.read_array("t").tolist() == [7] * 10 + [-1] * 5 + [7] * 15
    else:
        assert view.list_arrays() == ["u", "s", "s2"]


def test_a_dataset_that_is_deleted_meanwhile_keeps_nothing_of_a_write(store, place):
    view = store.open_dataset("d")

    def replace():
        store.delete_dataset("d")
        store.create_dataset("d").define_array("t", "int32", ["x"], [3000], [1000])

    between(store, place, lambda: view.write_array("t", [10], np.full(5, 6, "i4")), replace)
    assert np.flatnonzero(view.read_array("t")).tolist() == [10, 11, 12, 13, 14]


def test_a_read_that_began_before_a_flush_ends_after_it(store, place):
    """Its pending chunks are read from where they were, which the flush has given away."""
    store = Atlas.open(place, limits=Limits(raw_bytes=0, checked_bytes=0, encoded_bytes=0, direct_bytes=0))
    view = store.open_dataset("d")
    cells = np.random.default_rng(1).integers(0, 1 << 30, 1000, "i4")
    view.write_array("t", [1000], cells)
    for name in store.list_arrays():
        store._session.view.load_index(name)
    gate, reading = threading.Event(), threading.Event()
    spill = store._session.writes.by_array["t"]._spill
    read_into = type(spill).read_into

    def slow(self, *args):
        if self is spill:
            reading.set()
            assert gate.wait(SECONDS)
        return read_into(self, *args)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(type(spill), "read_into", slow)
        try:
            future = pool.submit(view.read_array, "t", [999], [1002])
            assert reading.wait(SECONDS)
            store.flush()
        finally:
            gate.set()
        assert future.result(SECONDS).tolist() == [999, *cells.tolist(), 2000]
    assert view.read_array("t", [999], [1002]).tolist() == [999, *cells.tolist(), 2000]


@pytest.mark.parametrize("limits", [Limits(), LIMITS, Limits(raw_bytes=0, checked_bytes=0, encoded_bytes=0,
                                                             direct_bytes=0, partial_bytes=1)])  # fmt: skip
def test_parts_of_a_chunk_that_many_threads_write_all_arrive(place, limits):
    with Atlas.create(place) as store:
        view = store.create_dataset("d")
        view.define_array("t", "int32", ["x"], [64], [32])
        view.define_array("s", "string", ["x"], [64], [32])
        view.write_array("t", [0], np.full(64, -1, "i4"))
    store = Atlas.open(place, limits=limits)
    view, threads, rounds = store.open_dataset("d"), 4, 12
    stop, barrier = threading.Event(), threading.Barrier(threads + 1)

    def write(mine):
        barrier.wait()
        for step in range(rounds):
            at = (step * 5 + mine) % 16 * 4 + mine
            view.write_array("t", [at], np.array([1000 * mine + step], "i4"))
            view["s"][at] = f"{mine} {step}"
            view[("t", "s")[step % 2]][at : at + 1] = [1000 * mine + step] if step % 2 == 0 else [f"{mine} {step}"]

    def flush():
        barrier.wait()
        while not stop.is_set():
            store.flush()

    with ThreadPoolExecutor(threads + 1) as pool:
        flusher = pool.submit(flush)
        try:
            for done in [pool.submit(write, mine) for mine in range(threads)]:
                done.result(SECONDS)
        finally:
            stop.set()
        flusher.result(SECONDS)
    store.flush()
    numbers, texts = np.full(64, -1, "i4"), np.full(64, "", object)
    for mine in range(threads):
        for step in range(rounds):
            at = (step * 5 + mine) % 16 * 4 + mine
            numbers[at], texts[at] = 1000 * mine + step, f"{mine} {step}"
    for opened in (store, Atlas.open(place)):
        assert opened.open_dataset("d").read_array("t").tolist() == numbers.tolist()
        assert opened.open_dataset("d").read_array("s").tolist() == texts.tolist()
