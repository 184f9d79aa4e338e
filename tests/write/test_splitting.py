from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.regions import plan_region
from atlas.format.dataset_columns import ArrayEntry
from atlas.format.schema import make_schema
from atlas.runtime.limits import DEFAULT, Limits
from atlas.write.splitting import chunk_runs, divide_chunks, merged_part, one_chunk, whole_chunks


def cut(cells, schema, start, limits=DEFAULT):
    """Return the cells of each chunk by its position, and which of them are encoded at once."""
    region = plan_region(schema, start, cells.shape)
    fill = "" if cells.dtype == object else 99
    entry = ArrayEntry("t", schema, 4)
    parts = divide_chunks(cells, region, limits)
    found = {}
    for k in parts.part.tolist():
        own = np.full(int(region.cells[k]), fill, cells.dtype)
        assert merged_part(cells, region, k, own, shared=False) is None
        found[int(region.chunk[k])] = own
    for k, own in whole_chunks(cells, region, parts.whole):
        assert not np.shares_memory(own, cells)
        found[int(region.chunk[k])] = own
    at_once = []
    for run in chunk_runs(cells, entry, 7, region, parts.at_once, limits=limits):
        loaded = run.load()
        assert run.nbytes == loaded.nbytes
        assert set(run.keys.dataset) == {7}
        assert set(run.keys.generation) == {4}
        at_once += run.keys.chunk.tolist()
        found |= zip(run.keys.chunk.tolist(), np.split(loaded, np.cumsum(run.count)[:-1]), strict=True)
    return found, at_once


@given(
    st.data(),
    st.sampled_from(["int8", "int16", "float64", "string"]),
    st.sampled_from(["C", "F", "reversed"]),
    st.sampled_from([0, 20, 10**9]),
)
def test_chunks_hold_what_was_written_and_what_was_there(data, dtype, order, threshold):
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
    found, at_once = cut(cells, schema, start, Limits(direct_bytes=threshold, run_bytes=50, partial_bytes=50))
    if dtype == "string" or threshold > cells.nbytes:
        assert at_once == []
    whole = plan_region(schema, (0,) * len(shape), tuple(shape))
    for k, chunk in enumerate(whole.chunk.tolist()):
        if chunk in found:
            own = found.pop(chunk)
            place = tuple(
                slice(t, t + n) for t, n in zip(whole.geometry.target[k], whole.geometry.part[k], strict=True)
            )
            assert own.tolist() == expected[(*place, ...)].ravel().tolist()
            assert own.dtype == np.dtype(kind)
    assert found == {}


def test_what_is_encoded_at_once_is_borrowed_where_it_lies_as_it_should():
    cells = np.arange(500_000, dtype="i4")
    region = plan_region(schema := make_schema("int32", ["x"], [500_000]), (0,), cells.shape)
    entry = ArrayEntry("t", schema, 0)
    (run,) = chunk_runs(cells, entry, 0, region, divide_chunks(cells, region).at_once)
    assert np.shares_memory(run.load(), cells)
    (run,) = chunk_runs(cells[::-1], entry, 0, region, divide_chunks(cells, region).at_once)
    assert (run.load() == cells[::-1]).all()


def test_what_was_written_of_a_chunk_is_told_where_others_write_to_it():
    schema = make_schema("int64", ["x"], [10], [4])
    region = plan_region(schema, (3,), (4,))
    written = []
    for k in (0, 1):
        present = np.zeros(4, "i8")
        written.append(merged_part(np.arange(1, 5), region, k, present, shared=True).tolist())
        assert present.tolist() == [[0, 0, 0, 1], [2, 3, 4, 0]][k]
    assert written == [[False, False, False, True], [True, True, True, False]]
    taken = np.array([True, False, True, False])
    assert merged_part(np.ones(4, "i8"), region, 1, np.zeros(4, "i8"), taken, shared=True).tolist() == [
        False, True, False, False
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "string"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_a_small_array_written_whole_is_one_chunk(dtype, shape):
    schema = make_schema(dtype, ["d"] * len(shape), shape)
    cells = np.arange(int(np.prod(shape))).reshape(shape).astype(schema.datatype.cell or str)
    cells = cells if dtype == "int32" else cells.astype(object)
    zeros = [0] * len(shape)
    for given_start, given_cells in ((zeros, cells), (tuple(zeros), np.array(cells, order="F"))):
        chunk = one_chunk(given_cells, schema, given_start)
        assert chunk is not None
        assert chunk.dtype == cells.dtype
        assert chunk.tolist() == cells.ravel().tolist()
        assert not np.shares_memory(chunk, given_cells)


@pytest.mark.parametrize("start", [[0], [0, 0, 0], [0, 1], [0, False], [0, 0.0], [0, None], np.zeros(2, int), "00", 0])
def test_where_it_begins_elsewhere_or_nowhere_a_region_tells(start):
    schema = make_schema("int32", ["x", "y"], [2, 3])
    assert one_chunk(np.zeros((2, 3), "i4"), schema, start) is None


@pytest.mark.parametrize(("shape", "chunk"), [((2, 3), (2, 2)), ((3, 3), (3, 3)), ((0, 3), (1, 3))])
def test_arrays_of_more_chunks_or_written_in_part_are_none(shape, chunk):
    schema = make_schema("int32", ["x", "y"], shape, chunk)
    assert one_chunk(np.zeros((2, 3) if shape[0] else shape, "i4"), schema, [0, 0]) is None
