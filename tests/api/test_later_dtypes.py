"""Bools, halves and times of s, ms, us and ns, from declaration to compaction; samples.py takes them elsewhere too."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas import Atlas
from tests.api.samples import make_cells
from tests.model import MEMORY, ModelArray, identical

NAT = -(2**63)
TIMES = [name for name, dtype in MEMORY.items() if dtype.kind in "mM"]
LATER = ["bool", "float16", *(name for name in TIMES if name != "timestamp_nanoseconds")]
FILLS = {"bool": [False, True], "float16": [float("nan"), -0.0, 6e-8]}


def fills(dtype):
    return [None, *FILLS.get(dtype, [NAT, 7])]


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("dtype", LATER)
def test_partial_writes_slices_statistics_and_compaction(place, dtype, codec):
    names = [f"fill {fill}" for fill in fills(dtype)]
    models = [ModelArray(dtype, ("y", "x"), (7, 9), (3, 4), fill) for fill in fills(dtype)]
    cells = make_cells(dtype, (7, 9), 3)
    extra = {
        "bool": [True, False],
        "float16": [np.nan, -0.0, 0.0, 6e-8, -6e-8, 65504, np.inf, -np.inf],
    }.get(dtype, np.array([NAT, NAT + 1, 2**63 - 1, 7, 0]).view(MEMORY.get(dtype)))
    cells.reshape(-1)[: len(extra)] = extra
    writes = [((0, 0), cells[:4, :5]), ((3, 2), cells[3:, 2:]), ((6, 0), cells[:1, :9]), ((1, 1), cells[4:5, 4:5])]
    store = Atlas.create(place, codec)
    for name, model in zip(names, models, strict=True):
        store.create_dataset(name).define_array("t", dtype, model.dims, model.shape, model.chunk_shape, model.fill)
    for start, part in writes:
        for name, model in zip(names, models, strict=True):
            store[name].write_array("t", list(start), part)
            model.write(start, part)
            assert identical(store[name].read_array("t"), model.cells)
        store.flush()
        store = Atlas.open(place)
        for name, model in zip(names, models, strict=True):
            view = store[name]
            assert identical(view.read_array("t"), model.cells)
            assert identical(view.read_array("t", [2, 3], [4, 5]), model.read((2, 3), (4, 5)))
            assert identical(view["t"][::-2, [8, 0, 3]], np.ascontiguousarray(model.cells[::-2, [8, 0, 3]]))
            assert repr(view.array_stats("t")) == repr(model.stats())
            assert repr(view.array_fill_value("t")) == repr(model.fill)
        for name, model in zip(names, models, strict=True):
            stacked = store.read_array_across_stacked("t", [name, name], [1, 1], [5, 7])
            assert identical(stacked, np.stack([model.read((1, 1), (5, 7))] * 2))
    assert atlas.verify(place).ok
    store.compact(keep_versions=1, keep_days=0)
    for name, model in zip(names, models, strict=True):
        assert identical(Atlas.open(place)[name].read_array("t"), model.cells)
        assert repr(store[name].array_stats("t")) == repr(model.stats())
    assert atlas.verify(place).ok


@pytest.mark.parametrize("dtype", LATER)
def test_masked_cells_become_the_fill_value(store, dtype):
    fill = fills(dtype)[-1]
    view = store.create_dataset("d")
    view.define_array("t", dtype, ["x"], [4], [3], fill)
    cells = make_cells(dtype, (4,), 1)
    view.write_array("t", [0], np.ma.MaskedArray(cells, [False, True, False, True]))
    blank = ModelArray(dtype, ("x",), (4,), (3,), fill).cells
    expected = np.where([False, True, False, True], blank, cells)
    assert identical(view.read_array("t"), expected)
    view["t"][:] = np.ma.MaskedArray(cells[::-1], [True, False, True, False])
    assert identical(view.read_array("t"), np.where([True, False, True, False], blank, cells[::-1]))


@pytest.mark.parametrize("dtype", LATER)
def test_the_fill_value_of_a_handle_is_a_scalar_of_the_dtype(store, dtype):
    view = store.create_dataset("d")
    for at, fill in enumerate(fills(dtype)[1:]):
        view.define_array(f"t{at}", dtype, ["x"], [4], None, fill)
        found = view[f"t{at}"].fill_value
        assert type(found) is MEMORY[dtype].type
        assert identical(np.full(4, found, MEMORY[dtype]), view.read_array(f"t{at}"))
        assert view[f"t{at}"].dtype == MEMORY[dtype]


def test_statistics_leave_out_nan_and_not_a_time(store):
    view = store.create_dataset("d")
    halves = np.array([np.nan, -0.0, 6e-8, -65504], "f2")
    times = np.array(["NaT", "9999-12-31", "0001-01-01", "NaT"], "M8[s]")
    for name, cells, fill in (("half", halves, None), ("time", times, None), ("null", times, NAT)):
        view.define_array(name, cells.dtype, ["x"], [4], None, fill)
        view.write_array(name, [0], cells)
    store.flush()
    assert view.array_stats("half") == {
        "row_count": 4,
        "null_count": 0,
        "min": -65504.0,
        "max": float(np.float16(6e-8)),
    }
    ends = {"min": int(times[2].view("i8")), "max": int(times[1].view("i8"))}
    assert view.array_stats("time") == {"row_count": 4, "null_count": 0, **ends}
    assert view.array_stats("null") == {"row_count": 4, "null_count": 2, **ends}


@pytest.mark.parametrize("dtype", TIMES)
def test_times_are_taken_as_ticks_too(store, dtype):
    view = store.create_dataset("d")
    ticks = np.array([NAT, NAT + 1, 2**63 - 1, 5])
    view.define_array("t", MEMORY[dtype], ["x"], [4])
    assert view.array_meta("t")["dtype"] == dtype
    view.write_array("t", [0], ticks.astype(">i8"))
    assert identical(view.read_array("t"), ticks.view(MEMORY[dtype]))
    view.write_array("t", [0], ticks[::-1].copy().view(MEMORY[dtype]).astype(MEMORY[dtype].newbyteorder(">")))
    assert identical(view.read_array("t"), ticks[::-1].copy().view(MEMORY[dtype]))


def test_a_dtype_is_taken_from_numpy_where_an_array_is_written_across(store):
    store.create_datasets(["a", "b"])
    for dtype in LATER:
        cells = make_cells(dtype, (2, 5), 9)
        store.write_array_across_stacked(dtype, ["a", "b"], cells)
        assert store["a"].array_meta(dtype)["dtype"] == dtype
        assert identical(store.read_array_across_stacked(dtype, ["b", "a"]), cells[::-1].copy())
