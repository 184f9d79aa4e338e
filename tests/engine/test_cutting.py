from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine import cutting
from atlas.engine.cutting import cut_chunks
from atlas.format.registry import ArrayEntry
from atlas.format.schema import make_schema
from atlas.planning.regions import plan_region


def cut(cells, schema, start):
    region = plan_region(schema, start, cells.shape)
    geometry = region.geometry
    part = np.flatnonzero((geometry.extent != geometry.count).any(axis=1)).tolist()
    fill = "" if cells.dtype == object else 99
    bases = {k: np.full(int(region.cells[k]), fill, cells.dtype) for k in part}
    return dict(cut_chunks(cells, ArrayEntry("t", schema, 4), region, bases))


@given(st.data(), st.sampled_from(["int8", "int16", "float64", "string"]), st.sampled_from(["C", "F", "reversed"]))
def test_chunks_hold_what_was_written_and_what_was_there(data, dtype, order):
    axes = data.draw(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), max_size=3))
    shape, chunks = [n for n, _ in axes], [c for _, c in axes]
    schema = make_schema(dtype, ["d"] * len(shape), shape, chunks)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    count = tuple(data.draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True))
    kind = schema.datatype.cell or object
    cells = np.arange(int(np.prod(count))).reshape(count).astype(str if dtype == "string" else kind).astype(kind)
    if order == "F" and cells.ndim:
        cells = np.asfortranarray(cells)
    elif order == "reversed" and cells.ndim:
        cells = cells[::-1]
    expected = np.full(shape, "" if dtype == "string" else 99, kind)
    expected[tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))] = cells if cells.ndim else cells[()]
    found = cut(cells, schema, start)
    whole = plan_region(schema, (0,) * len(shape), tuple(shape))
    for k, chunk in enumerate(whole.chunk.tolist()):
        if chunk in found:
            pending = found.pop(chunk)
            place = tuple(
                slice(t, t + n) for t, n in zip(whole.geometry.target[k], whole.geometry.count[k], strict=True)
            )
            assert pending.cells.tolist() == expected[(*place, ...)].ravel().tolist()
            assert (pending.schema, pending.generation, pending.cells.dtype) == (schema, 4, np.dtype(kind))
    assert found == {}


def test_chunks_do_not_share_memory_with_what_was_written():
    schema = make_schema("int32", ["x", "y"], [4, 6], [2, 3])
    cells = np.arange(24, dtype="i4").reshape(4, 6)
    whole = make_schema("int32", ["x", "y"], [4, 6])
    for found in (cut(cells, schema, (0, 0)), cut(cells, whole, (0, 0))):
        assert not any(np.shares_memory(pending.cells, cells) for pending in found.values())


def test_a_single_huge_chunk_is_borrowed(monkeypatch):
    monkeypatch.setattr(cutting, "RAW_BUDGET", 100)
    cells = np.arange(30, dtype="i4")
    (pending,) = cut(cells, make_schema("int32", ["x"], [30]), (0,)).values()
    assert np.shares_memory(pending.cells, cells)
    (pending,) = cut(cells[::-1], make_schema("int32", ["x"], [30]), (0,)).values()
    assert pending.cells.tolist() == list(range(29, -1, -1))


@pytest.mark.parametrize("lot", [1, 50, 10**9])
def test_lots_change_nothing(lot, monkeypatch):
    monkeypatch.setattr(cutting, "_LOT", lot)
    cells = np.arange(100, dtype="i4")
    found = cut(cells, make_schema("int32", ["x"], [100], [7]), (0,))
    assert np.concatenate([found[at].cells for at in range(15)]).tolist() == cells.tolist()
