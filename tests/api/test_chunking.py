"""Any shape in any chunks, written in any order and read in any box, over several flushes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.storage.memory import MemoryStorage
from tests.api.samples import DTYPES, FIXED, make_cells, put
from tests.model import ModelArray, identical


@st.composite
def scripts(draw):
    """An array, and what happens to it."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 30), min_size=0, max_size=4).filter(lambda s: np.prod(s) < 4000)))
    chunk = tuple(draw(st.integers(min(n, 1), n + 3)) for n in shape)
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        start = tuple(draw(st.integers(0, n)) for n in shape)
        size = tuple(draw(st.integers(0, n - s)) for s, n in zip(start, shape, strict=True))
        steps.append((draw(st.sampled_from(["write", "read", "flush", "compact", "reopen"])), start, size))
    return dtype, shape, chunk, steps


@given(scripts(), st.sampled_from(["zstd", "lz4", "none"]))
def test_boxes_over_chunks(script, codec):
    dtype, shape, chunk, steps = script
    storage = MemoryStorage()
    store = Atlas.create(storage, codec)
    view = store.create_dataset("d")
    dims = [f"d{axis}" for axis in range(len(shape))]
    view.define_array("t", dtype, dims, shape, chunk)
    model = ModelArray(dtype, tuple(dims), shape, chunk, None)
    for seed, (step, start, size) in enumerate(steps):
        if step == "write":
            cells = make_cells(dtype, size, seed)
            view.write_array("t", start, cells)
            model.write(start, cells)
        elif step == "read":
            assert identical(view.read_array("t", start, size), model.read(start, size))
        elif step == "flush":
            store.flush()
        elif step == "compact":
            store.compact(keep_versions=1, keep_days=0)
        else:
            store.flush()
            store = Atlas.open(storage)
            view = store.open_dataset("d")
        assert identical(view.read_array("t"), model.cells)
    store.flush()
    assert identical(Atlas.open(storage).open_dataset("d").read_array("t"), model.cells)


@pytest.mark.bulky
@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("dtype", FIXED)
def test_a_chunk_of_several_blocks(store, place, dtype, codec):
    store = Atlas.create(place, codec, overwrite=True)
    rows = 700_000 // make_cells(dtype, (1,)).itemsize
    cells = make_cells(dtype, (rows, 3))
    put(store.create_dataset("d"), "t", cells, dtype)
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert identical(view.read_array("t"), cells)
    for start, size in [
        ((0, 0), (1, 1)),
        ((rows - 1, 2), (1, 1)),
        ((rows // 2 - 9, 1), (18, 1)),
        ((5, 0), (rows - 5, 2)),
    ]:
        assert identical(view.read_array("t", start, size), np.ascontiguousarray(cells[ModelArray.box(start, size)]))


@pytest.mark.bulky
def test_cut_chunks_are_read_across_and_overwritten(store, place):
    cells = {name: make_cells("float64", (300, 401), seed) for seed, name in enumerate("abc")}
    for name, values in cells.items():
        put(store.create_dataset(name), "t", values, "float64", (200, 401))
    store.flush()
    cells["b"][150:260, 5:7] = -1.0
    store.open_dataset("b").write_array("t", [150, 5], np.full((110, 2), -1.0))
    for _ in range(3):
        stacked = store.read_array_across_stacked("t", ["a", "b", "c"], [100, 3], [180, 398])
        assert identical(stacked, np.stack([values[100:280, 3:401] for values in cells.values()]))
        assert store.open_dataset("b").read_array("t", [199, 5], [2, 2]).tolist() == [[-1.0, -1.0]] * 2
        store.compact(keep_versions=1, keep_days=0)
        store = Atlas.open(place)


def test_long_strings_make_blocks_larger_than_a_span(store, place):
    cells = np.array(["é" * 300_000, "", "x" * 900_000, "end"], object)
    put(store.create_dataset("d"), "t", cells, "string")
    put(store.create_dataset("e"), "t", cells[::-1].copy(), "string", [1])
    store.flush()
    store = Atlas.open(place)
    assert store.open_dataset("d").read_array("t").tolist() == cells.tolist()
    assert store.open_dataset("d").read_array("t", [3]).tolist() == ["end"]
    assert store.read_array_across_stacked("t", ["d", "e"]).tolist() == [cells.tolist(), cells[::-1].tolist()]


def test_a_partial_write_over_flushes_keeps_every_other_cell(store, place):
    expected = make_cells("int32", (20, 20))
    put(store.create_dataset("d"), "t", expected, "int32", (7, 7))
    for step in range(12):
        corner = (step * 3 % 17, step * 5 % 16)
        patch = make_cells("int32", (3, 4), step + 1)
        store.open_dataset("d").write_array("t", corner, patch)
        expected[corner[0] : corner[0] + 3, corner[1] : corner[1] + 4] = patch
        assert identical(store.open_dataset("d").read_array("t"), expected)
        if step % 3 == 0:
            store.flush()
        if step % 4 == 3:
            store.flush()
            store = Atlas.open(place)
    store.compact(keep_versions=1, keep_days=0)
    assert identical(Atlas.open(place).open_dataset("d").read_array("t"), expected)


def test_a_chunk_may_be_larger_than_the_array(store, place):
    cells = make_cells("int16", (3, 5))
    put(store.create_dataset("d"), "t", cells, "int16", (100, 2**40))
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert view.array_meta("t")["chunk_shape"] == [100, 2**40]
    assert identical(view.read_array("t", [1, 1]), cells[1:, 1:].copy())
    assert view.array_stats("t")["row_count"] == 15


def test_axes_may_be_as_long_as_63_bits_hold(store, place):
    view = store.create_dataset("d")
    view.define_array("t", "int8", ["x"], [2**63 - 1], [1000], 7)
    view.define_array("p", "float64", ["x", "y"], [2**40, 2**19], [64, 64])
    for corner in (0, 2**32 - 2, 2**53, 2**63 - 5):
        view.write_array("t", [corner], np.array([1, 2, 3], "i1"))
    view.write_array("p", [2**40 - 2, 2**19 - 3], np.arange(6.0).reshape(2, 3))
    for _ in range(2):
        for corner in (0, 2**32 - 2, 2**53, 2**63 - 5):
            assert view.read_array("t", [corner], [4]).tolist() == [1, 2, 3, 7]
        assert view.read_array("p", [2**40 - 3, 2**19 - 3]).tolist() == [[0, 0, 0], [0, 1, 2], [3, 4, 5]]
        store.flush()
        view = Atlas.open(place).open_dataset("d")
    assert view.array_stats("t") == {"row_count": 2**63 - 1, "null_count": 2**63 - 1 - 12, "min": 1, "max": 3}


def test_many_small_chunks_are_written_and_read(store, place):
    cells = make_cells("int16", (300, 300))
    put(store.create_dataset("d"), "t", cells, "int16", (2, 3))
    assert identical(store.open_dataset("d").read_array("t"), cells)
    store.flush()
    assert identical(Atlas.open(place).open_dataset("d").read_array("t"), cells)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2), (1,), (1, 1, 1, 1, 1, 1)])
def test_scalars_and_axes_of_length_zero(store, place, dtype, shape):
    cells = make_cells(dtype, shape)
    put(store.create_dataset("d"), "t", cells, dtype)
    assert identical(store.open_dataset("d").read_array("t"), cells)
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert identical(view.read_array("t"), cells)
    assert view.array_meta("t")["shape"] == list(shape)
    store.compact(keep_versions=1, keep_days=0)
    assert identical(Atlas.open(place).open_dataset("d").read_array("t"), cells)
