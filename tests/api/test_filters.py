"""Stores of decimals, times and integers with missing cells, under the filter that is chosen and under every other."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas import Atlas, Limits
from atlas.errors import CorruptStoreError
from atlas.format.block_types import FILTERS
from atlas.format.segment import FOOTER_SIZE, decode_footer, decode_index
from atlas.kernels.compiler import JIT
from tests.api.samples import DTYPES, make_cells, put
from tests.model import MEMORY, ModelArray, identical

NAT = np.iinfo("i8").min
ROWS = 160 if JIT else 60


def filters_of(place):
    """The filters of all blocks of a local store."""
    found = set()
    for path in place.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        try:
            footer = decode_footer(data[-FOOTER_SIZE:], len(data))
        except CorruptStoreError:
            continue  # no segment
        index = data[footer.index_offset : footer.index_offset + footer.index_length]
        found |= set(decode_index(index, footer).blocks.filter.tolist())
    return found


def sprinkled(cells, value, share=0.3):
    cells = cells.copy()
    cells[np.random.default_rng(2).random(cells.shape) < share] = value
    return cells


def decimals(dtype, seed=1):
    steps = np.random.default_rng(seed).integers(-20, 21, (ROWS, 40))
    return (steps.cumsum(axis=1) / 100 + 280).astype(dtype)


def times(seed=1):
    steps = np.random.default_rng(seed).integers(59 * 10**9, 61 * 10**9, ROWS * 40)
    return (steps.cumsum() + 1577836800 * 10**9).reshape(ROWS, 40).view("M8[ns]")


def levels(seed=1):
    return np.random.default_rng(seed).integers(-3, 4, ROWS * 40).cumsum().reshape(ROWS, 40).astype("i2")


FILLS = {"bool": True, "string": None, "bytes": None}
PAYLOAD = np.array(0x7FF8000000000ABC, "u8").view("f8")
STORES = {
    "float32, no fill": ("float32", None, decimals("f4"), {3, 5}),
    "float32, NaN": ("float32", np.nan, sprinkled(decimals("f4"), np.nan), {3, 5}),
    "float32, -9999": ("float32", -9999.0, sprinkled(decimals("f4"), -9999.0), {3, 5}),
    "float32, 1e20 that is no fill": ("float32", None, sprinkled(decimals("f4"), 1e20), {3, 5}),
    "float64, NaN": ("float64", np.nan, sprinkled(decimals("f8"), np.nan), {3, 5}),
    "float64, -9999 and NaN": ("float64", -9999.0, sprinkled(sprinkled(decimals("f8"), -9999.0), np.nan), {3, 5}),
    "float64, NaN of two kinds": ("float64", np.nan, sprinkled(sprinkled(decimals("f8"), np.nan), PAYLOAD), {3, 5}),
    "float64, -0.0": ("float64", 0.0, sprinkled(sprinkled(decimals("f8"), 0.0), -0.0), {3, 5}),
    "time": ("timestamp_nanoseconds", None, sprinkled(times(), np.datetime64("NaT", "ns")), {4}),
    "time, not-a-time": ("timestamp_nanoseconds", NAT, sprinkled(times(), np.datetime64("NaT", "ns")), {4}),
    "seconds": ("datetime64[s]", None, times().astype("M8[s]"), {4}),
    "int16": ("int16", -32768, sprinkled(levels(), -32768), {2, 4}),
}


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("name", STORES)
def test_written_appended_overwritten_and_compacted(place, name, codec):
    dtype, fill, cells, filters = STORES[name]
    # Chunks that are cut into several blocks, ones with blocks of their own, and ones that share a block.
    limits = Limits(own_block=4 << 10, shared_block=8 << 10)
    store = Atlas.create(place, codec, limits=limits)
    models = {}

    def define(dataset, chunk):
        view = store.create_dataset(dataset)
        models[dataset] = ModelArray(dtype, ("y", "x"), cells.shape, chunk, fill)
        view.define_array("t", dtype, ["y", "x"], cells.shape, chunk, fill)

    def write(dataset, start, part):
        store[dataset].write_array("t", list(start), part)
        models[dataset].write(start, part)

    def compare():
        found = Atlas.open(place)
        for dataset, model in models.items():
            view = found[dataset]
            assert identical(view.read_array("t"), model.cells)
            for start, shape in (((0, 0), (1, 1)), ((3, 2), (17, 9)), ((ROWS - 5, 0), (5, 40)), ((7, 39), (30, 1))):
                assert identical(view.read_array("t", list(start), list(shape)), model.read(start, shape))
            assert repr(view.array_stats("t")) == repr(model.stats())
        names = [*models] * 2
        stacked = found.read_array_across_stacked("t", names, [5, 3], [20, 30])
        assert identical(stacked, np.stack([models[dataset].read((5, 3), (20, 30)) for dataset in names]))
        assert atlas.verify(place).ok

    define("whole", cells.shape)
    write("whole", (0, 0), cells)
    store.flush()
    assert set() < filters_of(place) <= filters
    compare()
    define("tiles", (50, 11))
    write("tiles", (0, 0), cells[: ROWS // 2])
    store.flush()
    compare()
    write("tiles", (ROWS // 2, 0), cells[ROWS // 2 :][::-1])
    write("whole", (9, 4), cells[: ROWS // 4, 1:30])
    write("tiles", (1, 1), cells[1:2, 3:4])
    store.flush()
    compare()
    store.compact(keep_versions=1, keep_days=0)
    assert filters_of(place) & filters
    compare()


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("chosen", FILTERS)
def test_every_filter_stores_every_dtype(place, chosen, codec):
    store = Atlas.create(place, codec, filter=chosen)
    view = store.create_dataset("d")
    arrays = {}
    for seed, dtype in enumerate(DTYPES):
        kind, fill = MEMORY[dtype].kind, FILLS.get(dtype, 3)
        arrays[dtype] = make_cells(dtype, (13, 9), seed)
        put(view, dtype, arrays[dtype], dtype, (5, 4), fill)
        if kind in "iumMf":
            steps = (np.arange(700) % 120).reshape(70, 10)
            cells = (steps / 4 if kind == "f" else steps).astype(MEMORY[dtype])
            arrays[f"{dtype} in steps"] = cells
            put(view, f"{dtype} in steps", cells, dtype, None, fill)
    store.flush()
    found = Atlas.open(place).open_dataset("d")
    for name, cells in arrays.items():
        assert identical(found.read_array(name), cells)
        assert identical(found.read_array(name, [2, 3], [9, 5]), cells[2:11, 3:8].copy())
    assert atlas.verify(place).ok
    if codec != "none":
        assert FILTERS[chosen] in filters_of(place)
        # Cells that have no filter of integers are shuffled; a block that would not shrink is stored as it is.
        assert filters_of(place) <= {0, 1, FILTERS[chosen]}
    else:
        assert filters_of(place) == {0}
