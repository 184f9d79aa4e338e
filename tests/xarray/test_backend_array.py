"""Lazily indexed arrays: every selection gives what NumPy gives, in one read of the chunks that hold it, each once."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.core import indexing

from atlas import ArrayView, Atlas, DatasetView, Limits
from atlas.engine import AtlasBackendEntrypoint
from atlas.errors import ArrayNotFoundError, InvalidIndexError, StaleHandleError
from atlas.storage import MemoryStorage
from atlas.xarray.array_reads import ArrayReads
from atlas.xarray.backend_array import StoredBackendArray
from tests.xarray.test_lazy import REDECLARED

SHAPE, CHUNKS = (7, 12, 5), (3, 4, 2)


class CountingStorage(MemoryStorage):
    """Notes which bytes of segments are read."""

    def __init__(self):
        super().__init__()
        self.ranges = []

    def read_range(self, key, offset, length):
        if key.startswith("arrays/"):
            self.ranges.append((key, offset, length))
        return super().read_range(key, offset, length)

    def read_into(self, key, offsets, lengths, out, out_offsets):
        self.ranges += [(key, *pair) for pair in zip(offsets.tolist(), lengths.tolist(), strict=True)]
        super().read_into(key, offsets, lengths, out, out_offsets)

    def take(self):
        """The bytes read since the last call; fails where one was read twice."""
        read = [(key, at) for key, offset, length in self.ranges for at in range(offset, offset + length)]
        self.ranges.clear()
        assert len(read) == len(set(read)), "read twice"
        return set(read)


def array_of(view, name="t"):
    cells = view[name]
    return StoredBackendArray(ArrayReads(view, name, view.array_meta(name), None), cells.shape, cells.dtype)


class Chunked:
    """A stored array, each of whose chunks is a block by itself, and what reading each of them reads."""

    def __init__(self):
        self.storage = CountingStorage()
        self.cells = np.random.default_rng(5).random(SHAPE)
        limits = Limits(own_block=0, shared_block=1)
        with Atlas.create(self.storage, limits=limits, cache_bytes=0) as store:
            view = store.create_dataset("d")
            view.define_array("t", "float64", ["x", "y", "z"], SHAPE, CHUNKS)
            view["t"][...] = self.cells
        self.view = Atlas.open(self.storage, limits=limits, cache_bytes=0)["d"]
        self.array = array_of(self.view)
        self.owner = np.zeros(SHAPE, int)
        self.view.read_array("t", [0, 0, 0], [1, 1, 1])  # the index of the segment
        self.storage.take()
        self.bytes = []
        for x in range(0, SHAPE[0], CHUNKS[0]):
            for y in range(0, SHAPE[1], CHUNKS[1]):
                for z in range(0, SHAPE[2], CHUNKS[2]):
                    self.owner[x : x + CHUNKS[0], y : y + CHUNKS[1], z : z + CHUNKS[2]] = len(self.bytes)
                    self.view.read_array("t", [x, y, z], [1, 1, 1])
                    self.bytes.append(self.storage.take())
        assert len(self.bytes) == 27
        assert all(self.bytes)
        assert len(set.union(*self.bytes)) == sum(map(len, self.bytes)), "a block of several chunks"

    def check(self, take):
        """Compare `take` of the array with that of its cells, and the bytes read with those of the chunks of these."""
        expected = take(xr.Variable(("x", "y", "z"), self.cells))
        owners = np.unique(take(xr.Variable(("x", "y", "z"), self.owner)).values)
        self.storage.take()
        found = take(xr.Variable(("x", "y", "z"), indexing.LazilyIndexedArray(self.array)))
        assert self.storage.take() == set()
        xr.testing.assert_identical(found.load(), expected)
        assert self.storage.take() == set().union(*(self.bytes[owner] for owner in owners.tolist()))


@pytest.fixture(scope="module")
def chunked():
    return Chunked()


def entries(length):
    ends = st.none() | st.integers(-length - 2, length + 2)
    positions = st.integers(-length, length - 1)
    return st.one_of(
        positions,
        st.builds(slice, ends, ends, st.integers(-6, 6).filter(bool)),
        st.lists(positions, max_size=6).map(lambda found: np.array(found, np.int64)),
        st.lists(st.booleans(), min_size=length, max_size=length).map(lambda found: np.array(found, bool)),
    )


outer = st.fixed_dictionaries({}, optional={dim: entries(n) for dim, n in zip("xyz", SHAPE, strict=True)})


@st.composite
def points(draw):
    """Indexers of which several go along the same new axes, and others by themselves."""
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=2))
    found = {}
    for dim, length in zip("xyz", SHAPE, strict=True):
        kind = draw(st.sampled_from(["points", "points", "one axis", "slice", "none"]))
        axes = ("p", "q")[: len(shape)] if kind == "points" else ("p",)
        sizes = shape if kind == "points" else shape[:1]
        cells = st.lists(st.integers(-length, length - 1), min_size=int(np.prod(sizes)), max_size=int(np.prod(sizes)))
        if kind in ("points", "one axis"):
            found[dim] = xr.Variable(axes, np.array(draw(cells), np.int64).reshape(sizes))
        elif kind == "slice":
            found[dim] = slice(draw(st.integers(-length, length)), None, draw(st.sampled_from([1, 2, -1, -3])))
    return found


@given(chosen=outer)
def test_an_outer_index_gives_what_numpy_gives_and_reads_its_chunks_once(chunked, chosen):
    chunked.check(lambda variable: variable.isel(chosen))


@given(chosen=points())
def test_points_give_what_numpy_gives_and_read_their_chunks_once(chunked, chosen):
    chunked.check(lambda variable: variable.isel(chosen))


@given(first=outer, second=st.data())
@settings(max_examples=50)
def test_selections_of_selections_are_one_read(chunked, first, second):
    taken = xr.Variable(("x", "y", "z"), chunked.cells).isel(first)
    more = {dim: second.draw(entries(n)) for dim, n in taken.sizes.items() if n and second.draw(st.booleans())}
    chunked.check(lambda variable: variable.isel(first).isel(more))


@given(data=st.data())
@settings(max_examples=30)
def test_the_indexers_of_xarrays_own_strategies(chunked, data):
    strategies = pytest.importorskip("xarray.testing.strategies")
    kinds = ("basic_indexers", "outer_array_indexers", "vectorized_indexers")
    if not all(hasattr(strategies, kind) for kind in kinds):
        pytest.skip("this xarray has none")
    make = getattr(strategies, data.draw(st.sampled_from(kinds)))
    chosen = data.draw(make(sizes=dict(zip("xyz", SHAPE, strict=True))))
    chunked.check(lambda variable: xr.DataArray(variable).isel(chosen).variable)


def test_groups_far_apart_read_nothing_between(chunked):
    chunked.check(lambda variable: variable.isel(x=[0, 6], y=[0, 11], z=[4]))


def test_a_selection_is_one_call(store, monkeypatch):
    calls = []
    read, index = DatasetView.read_array, ArrayView.__getitem__
    monkeypatch.setattr(
        DatasetView, "read_array", lambda self, *given, **named: (calls.append("box"), read(self, *given, **named))[1]
    )
    monkeypatch.setattr(ArrayView, "__getitem__", lambda self, key: (calls.append("index"), index(self, key))[1])
    view = store.create_dataset("d")
    view.define_array("t", "int32", ["x", "y"], [20, 20], [3, 3])
    array = array_of(view)
    for key, kind in (
        (indexing.BasicIndexer((slice(2, 9), 3)), "box"),
        (indexing.BasicIndexer((slice(None, None, 5), slice(None))), "index"),
        (indexing.OuterIndexer((np.array([1, 17]), np.array([0, 19, 0]))), "index"),
        (indexing.VectorizedIndexer((np.array([1, 17]), np.array([0, 19]))), "index"),
        (indexing.VectorizedIndexer((np.array([[1], [17]]), slice(3, 1, -1))), "index"),
    ):
        assert isinstance(array[key], np.ndarray)
        assert calls == [kind]
        calls.clear()


@pytest.mark.parametrize(("shape", "key"), [((), ()), ((3,), (1,)), ((2, 0), (1, slice(None))), ((2, 3), (-1, -3))])
def test_what_one_index_takes_is_an_array_with_text_of_any_length(store, shape, key):
    view = store.create_dataset("d")
    view.define_array("t", "string", [f"d{at}" for at in range(len(shape))], shape)
    cells = np.array(["é" * at for at in range(int(np.prod(shape)))], object).reshape(shape)
    view["t"][...] = cells
    found = array_of(view)[indexing.BasicIndexer(key)]
    assert (type(found), found.dtype) == (np.ndarray, object)
    np.testing.assert_array_equal(found, cells[key])


def test_an_index_out_of_bounds_is_an_error_and_no_other_cell(store):
    view = store.create_dataset("d")
    view.define_array("t", "int32", ["x"], [4])
    for key in (4, -5):
        with pytest.raises(InvalidIndexError, match="out of bounds"):
            array_of(view)[indexing.BasicIndexer((key,))]


# ---- opened from a folder --------------------------------------------------------------------------------------------


@pytest.fixture
def opened(store):
    """A dataset that is opened lazily, with what it holds and its store."""
    cells = np.arange(250 * 4, dtype=np.float32).reshape(250, 4)
    store.add_xr_dataset(xr.Dataset({"t": (("x", "y"), cells)}), "a", chunks={"x": 100})
    store.flush()
    return xr.open_dataset(store, engine=AtlasBackendEntrypoint, cache=False), cells


def test_it_pickles_and_so_does_a_selection(opened):
    ds, cells = opened
    for found, expected in ((ds["t"], cells), (ds["t"][::-3, [1, 3]], cells[::-3, [1, 3]])):
        again = pickle.loads(pickle.dumps(found))
        assert not again.variable._in_memory
        np.testing.assert_array_equal(again.values, expected)


def test_sixteen_threads_read_one_array(opened):
    ds, cells = opened
    start = threading.Barrier(16)

    def read(number):
        start.wait()
        rows = np.random.default_rng(number).integers(0, 250, 50)
        return [(ds["t"].isel(x=rows[at:]).values == cells[rows[at:]]).all() for at in range(20)]

    with ThreadPoolExecutor(16) as pool:
        assert all(map(all, pool.map(read, range(16))))


@pytest.mark.skipif(not hasattr(xr.Dataset, "load_async"), reason="an xarray without load_async")
def test_many_are_loaded_side_by_side_without_waiting_in_the_event_loop(opened):
    ds, cells = opened

    async def load():
        parts = [ds["t"].isel(x=slice(at, None, 7), y=[0, 3]) for at in range(50)]
        return await asyncio.gather(*(part.load_async() for part in parts))

    for at, part in enumerate(asyncio.run(load())):
        np.testing.assert_array_equal(part.values, cells[at::7, [0, 3]])


def test_an_async_read_runs_in_another_thread(opened, monkeypatch):
    ds, _ = opened
    threads = []
    read = DatasetView.read_array
    monkeypatch.setattr(
        DatasetView,
        "read_array",
        lambda self, *given, **named: (threads.append(threading.current_thread()), read(self, *given, **named))[1],
    )
    array = array_of(Atlas.open(ds.encoding["source"])["a"])
    asyncio.run(array.async_getitem(indexing.BasicIndexer((0, slice(None)))))
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_dask_computes_it(opened, scheduler):
    ds, cells = opened
    chunked = ds.chunk({"x": 100})
    with dask.config.set(scheduler=scheduler):
        np.testing.assert_array_equal(chunked["t"][::-1].values, cells[::-1])


@pytest.mark.parametrize("index", [{}, {"x": slice(None, None, 7)}, {"x": [3, 200]}])
def test_an_array_deleted_meanwhile_is_an_error(store, opened, index):
    ds, _ = opened
    store["a"].delete_array("t")
    with pytest.raises(ArrayNotFoundError, match=r"'t'.*deleted.*again"):
        ds["t"].isel(index).load()


@pytest.mark.parametrize("how", REDECLARED)
@pytest.mark.parametrize("index", [{}, {"x": slice(None, None, 7)}, {"x": [3, 200]}])
def test_an_array_that_was_declared_anew_is_an_error_and_never_other_cells(store, opened, how, index):
    ds, _ = opened
    store["a"].delete_array("t")
    store["a"].define_array("t", *REDECLARED[how])
    with pytest.raises(StaleHandleError, match=r"'t'.*'a'.*again"):
        ds["t"].isel(index).load()


def test_one_that_is_declared_anew_while_it_is_read_is_an_error_too(store, opened, monkeypatch):
    ds, _ = opened
    index = ArrayView.__getitem__

    def late(self, key):
        store["a"].delete_array("t")
        store["a"].define_array("t", "int8", ["x", "y"], [5, 4])
        return index(self, key)

    monkeypatch.setattr(ArrayView, "__getitem__", late)
    with pytest.raises(StaleHandleError, match="again"):
        ds["t"].isel(x=[3, 200]).load()
