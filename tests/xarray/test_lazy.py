"""Lazy arrays: one read a chunk when computed and none before, with every dask scheduler."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import ArrayNotFoundError, StaleHandleError
from atlas.xarray.lazy import grid_chunks, lazy_array


class Ones:
    """A view of one endless array of ones."""

    name = "ones"

    def __init__(self):
        self.calls = []

    def array_meta(self, array):
        return None

    def read_array(self, name, start=None, shape=None):
        self.calls.append((start, shape))
        return np.ones(shape, np.float32)


def lazy(view, shape, chunk_shape, array="t"):
    return lazy_array(view, array, shape, chunk_shape, token=f"ones:{array}", dtype=np.dtype(np.float32))


@pytest.fixture
def reads(store, calls):
    """The recorded reads of a stored dataset, with the dataset as read back."""
    cells = np.arange(250 * 4, dtype=np.float32).reshape(250, 4)
    store.add_xr_dataset(xr.Dataset({"t": (("x", "y"), da.from_array(cells, chunks=(100, 4)))}), "a")
    store.flush()
    ds = store.to_xarray("a")
    calls.clear()
    return cells, ds, calls


@pytest.mark.parametrize(
    ("shape", "chunk_shape", "chunks"),
    [
        ((5,), (2,), ((2, 2, 1),)),
        ((4, 3), (2, 5), ((2, 2), (3,))),
        ((0, 3), (1, 2), ((0,), (2, 1))),
        ((0,), (0,), ((0,),)),
    ],
)
def test_the_chunks_are_those_of_the_grid(shape, chunk_shape, chunks):
    assert grid_chunks(shape, chunk_shape) == chunks
    assert lazy(Ones(), shape, chunk_shape).chunks == chunks


def test_each_chunk_is_one_read_with_lists(reads):
    cells, ds, calls = reads
    np.testing.assert_array_equal(ds.t.values, cells)
    assert sorted(calls) == [("read", "t", [y, 0], [min(100, 250 - y), 4]) for y in (0, 100, 200)]


def test_only_the_chunks_asked_for_are_read(reads):
    cells, ds, calls = reads
    np.testing.assert_array_equal(ds["t"][0:100].compute(), cells[:100])
    assert calls == [("read", "t", [0, 0], [100, 4])]
    calls.clear()
    np.testing.assert_array_equal(ds.t.isel(y=1, x=slice(210, 220)).values, cells[210:220, 1])
    assert calls == [("read", "t", [200, 0], [50, 4])]


def test_arithmetic_is_lazy_and_reads_each_chunk_once(reads):
    cells, ds, calls = reads
    result = ((ds.t - ds.t.mean()) * 2).map_blocks(lambda block: block + 1)
    assert calls == []
    np.testing.assert_allclose(result.compute(scheduler="synchronous"), (cells - cells.mean()) * 2 + 1, rtol=1e-5)
    assert len(calls) <= 6


def test_a_million_chunks_cost_one_layer():
    view = Ones()
    array = lazy(view, (1000, 1000, 3), (1, 1, 3))
    assert array.npartitions == 1_000_000
    assert len(array.dask.layers) == 1
    assert not next(iter(array.dask.layers.values())).is_materialized()
    assert len(pickle.dumps(array)) < 20_000
    assert array[5, 7].compute(scheduler="synchronous").tolist() == [1, 1, 1]
    assert view.calls == [([5, 7, 0], [1, 1, 3])]


def test_names_depend_on_what_is_read_and_nothing_else():
    name = lazy(Ones(), (4,), (2,)).name
    assert lazy(Ones(), (4,), (2,)).name == name
    assert lazy(Ones(), (4,), (2,), array="u").name != name
    assert lazy(Ones(), (4,), (1,)).name != name
    times = lazy_array(Ones(), "t", (4,), (2,), token="ones:t", dtype=np.dtype("m8[s]"), xarray_dtype="timedelta64[s]")
    assert times.name != name
    assert times.dtype == "m8[s]"


def test_equal_reads_are_shared():
    view = Ones()
    a, b = lazy(view, (4,), (2,)), lazy(view, (4,), (2,))
    assert (a + b).sum().compute(scheduler="synchronous") == 8
    assert len(view.calls) == 2


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_local_scheduler_computes_it(reads, scheduler):
    cells, ds, _ = reads
    np.testing.assert_array_equal(ds.t.compute(scheduler=scheduler), cells)


@pytest.mark.filterwarnings("default")
def test_a_cluster_of_processes_computes_it(reads, tmp_path):
    distributed = pytest.importorskip("distributed")
    cells, ds, _ = reads
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster),
    ):
        np.testing.assert_array_equal(ds.t.values, cells)
        assert ds.t[0:100].sum().compute() == cells[:100].sum()


def test_it_pickles(reads):
    cells, ds, _ = reads
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).t.values, cells)


def test_an_array_deleted_meanwhile_is_an_error(store, reads):
    _, ds, _ = reads
    store.open_dataset("a").delete_array("t")
    with pytest.raises(ArrayNotFoundError, match="'t'"):
        ds.t.compute()


REDECLARED = {
    "another dtype": ("int32", ["x", "y"], [250, 4], [100, 4]),
    "another axis order": ("float32", ["y", "x"], [250, 4], [100, 4]),
    "another shape": ("float32", ["x", "y"], [300, 4], [100, 4]),
    "fewer cells": ("float32", ["x", "y"], [10, 4], [10, 4]),
    "fewer axes": ("float32", ["x"], [250], [100]),
}


@pytest.mark.parametrize("how", REDECLARED)
@pytest.mark.parametrize("by", ["this handle", "another"])
def test_an_array_that_was_declared_anew_is_an_error_and_never_other_cells(store, reads, how, by):
    _, ds, _ = reads
    writer = store if by == "this handle" else Atlas.open(store.describe().location)
    writer["a"].delete_array("t")
    writer["a"].define_array("t", *REDECLARED[how])
    writer["a"]["t"][...] = 1
    writer.flush()
    store.refresh()
    with pytest.raises(StaleHandleError, match=r"'t'.*'a'.*to_xarray again"):
        ds.t.compute()


def test_cells_that_were_written_since_are_read_as_long_as_the_declaration_stays(store, reads):
    _, ds, _ = reads
    store["a"]["t"][0] = -1
    assert (ds.t[0].compute() == -1).all()
