"""Cells of every stored dtype, for tests that go over all of them."""

from __future__ import annotations

import math

import numpy as np

from atlas import Atlas
from tests.model import MEMORY

DTYPES = list(MEMORY)
FIXED = [name for name, dtype in MEMORY.items() if dtype.kind != "O"]


def make_cells(dtype, shape, seed=0):
    """Varied cells of a dtype: NaN, extremes, empty, missing and non-ASCII text among them."""
    rng = np.random.default_rng(seed)
    count = math.prod(shape)
    memory = MEMORY[dtype]
    if dtype == "string":
        out = np.empty(count, object)
        out[:] = [["", "a", "zürich", "日本語", "x" * 40, None, str(i)][int(rng.integers(7))] for i in range(count)]
        return out.reshape(shape)
    if dtype == "bytes":
        out = np.empty(count, object)
        out[:] = [[b"", b"a", b"\xff\0", b"x" * 40, None, b"%d" % i][int(rng.integers(6))] for i in range(count)]
        return out.reshape(shape)
    if memory.kind in "mM":
        return rng.integers(-(2**62), 2**62, count).reshape(shape).view(memory)
    if memory.kind == "b":
        return rng.integers(0, 2, count).reshape(shape).astype(bool)
    if memory.kind == "f":
        cells = rng.normal(size=count).astype(memory)
        cells[:: max(count // 5, 1)] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0][seed % 6]
        return cells.reshape(shape)
    info = np.iinfo(memory)
    return rng.integers(info.min, info.max, count, memory, endpoint=True).reshape(shape)


def settle(store, place, state):
    """Leave a store flushed, reopened, compacted or as it is, as `state` says; returns the handle to go on with."""
    if state in {"flushed", "reopened"}:
        store.flush()
    if state == "compacted":
        store.compact(keep_versions=1, keep_days=0)
    return Atlas.open(place) if state == "reopened" else store


def put(view, name, cells, dtype, chunk_shape=None, fill_value=None):
    """Define an array and write all of it."""
    dims = [f"d{axis}" for axis in range(cells.ndim)]
    view.define_array(name, dtype, dims, cells.shape, chunk_shape, fill_value)
    view.write_array(name, [0] * cells.ndim, cells)
