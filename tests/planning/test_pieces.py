from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.format.schema import make_schema
from atlas.planning import pieces as module
from atlas.planning.packing import SPAN, WHOLE, pack_chunks
from atlas.planning.pieces import coalesce, plan_batches, plan_pieces
from atlas.planning.regions import plan_region


def columns(*values):
    return [np.array(column, np.int64) for column in values]


def test_whole_chunks_are_one_piece_each_by_block():
    region = plan_region(make_schema("int32", ["x"], [100], [30]), (10,), (90,))
    pieces = plan_pieces(region, 4, *columns([5, 2, 5], [0, 120, 120], [0, 1, 3], [7, 8, 9]))
    assert pieces.block.tolist() == [2, 5, 5]
    assert pieces.place.tolist() == [120, 0, 120]
    assert pieces.begin.tolist() == [0, 0, 0]
    assert pieces.count.tolist() == [30, 30, 10]
    assert (pieces.chunk.tolist(), pieces.target.tolist()) == ([1, 0, 3], [8, 7, 9])


def test_nothing_found_is_nothing_to_do():
    region = plan_region(make_schema("int32", ["x"], [100], [30]), (10,), (80,))
    pieces = plan_pieces(region, 4, *columns([], [], [], []))
    assert len(pieces.block) == 0
    assert plan_batches(pieces, np.empty(0, np.int64), 4) == []


@st.composite
def cut_reads(draw):
    itemsize = draw(st.sampled_from([1, 2, 4, 8]))
    rows = draw(st.integers(2, 40))
    width = (WHOLE // itemsize) // rows + draw(st.integers(1, 20_000))
    start = (draw(st.integers(0, rows - 1)), draw(st.integers(0, width - 1)))
    count = tuple(draw(st.integers(1, n - s)) for n, s in zip((rows, width), start, strict=True))
    return itemsize, (rows, width), start, count


@given(cut_reads())
def test_a_cut_chunk_gives_the_pieces_that_the_box_touches(read):
    itemsize, shape, start, count = read
    region = plan_region(make_schema(f"int{8 * itemsize}", ["y", "x"], shape), start, count)
    nbytes = shape[0] * shape[1] * itemsize
    assert nbytes > WHOLE
    packing = pack_chunks(np.array([nbytes]))
    pieces = plan_pieces(region, itemsize, *columns([10], [0], [0], [3]))
    box = np.zeros(shape, bool)
    box[start[0] : start[0] + count[0], start[1] : start[1] + count[1]] = True
    touched = np.flatnonzero(box) * itemsize // SPAN
    # Every block with a wanted cell, and none outside the first and the last of them.
    assert set(touched) <= set((pieces.block - 10).tolist())
    assert pieces.block.tolist() == list(range(10 + touched.min(), 11 + touched.max()))
    for block, begin, cells in zip(pieces.block.tolist(), pieces.begin.tolist(), pieces.count.tolist(), strict=True):
        assert begin * itemsize == packing.start[block - 10]
        assert cells * itemsize == packing.length[block - 10]
    assert set(pieces.place.tolist()) == {0}
    assert set(pieces.target.tolist()) == {3}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300_000)), min_size=1, max_size=60), st.integers(0, 9))
def test_batches_cover_the_pieces_in_order_and_split_no_block(rows, threads):
    region = plan_region(make_schema("int8", ["x"], [1]), (0,), (1,))
    block = np.array([b for b, _ in rows], np.int64)
    zeros = np.zeros(len(rows), np.int64)
    pieces = plan_pieces(region, 1, block, zeros, zeros, np.arange(len(rows)))
    stored = np.array([n for _, n in rows] + [5] * 31, np.int64)[:31]
    batches = plan_batches(pieces, stored, threads)
    assert [batch.first for batch in batches] == [0, *(batch.stop for batch in batches[:-1])]
    assert batches[-1].stop == len(rows)
    seen = np.concatenate([batch.blocks for batch in batches])
    assert (np.diff(seen) > 0).all()
    for batch in batches:
        assert set(pieces.block[batch.first : batch.stop].tolist()) == set(batch.blocks.tolist())
        most = max(stored[batch.blocks].max(), 0)
        assert stored[batch.blocks].sum() <= module._BATCH + most


def test_small_work_is_not_split_and_large_work_is():
    region = plan_region(make_schema("int8", ["x"], [1]), (0,), (1,))
    zeros = np.zeros(64, np.int64)
    pieces = plan_pieces(region, 1, np.arange(64), zeros, zeros, zeros)
    assert len(plan_batches(pieces, np.full(64, 1000), 8)) == 1
    assert len(plan_batches(pieces, np.full(64, 50_000), 8)) >= 8
    assert len(plan_batches(pieces, np.full(64, 1 << 20), 1)) == 64


@given(st.lists(st.tuples(st.integers(-5_000, 80_000), st.integers(0, 9_000)), max_size=40))
def test_coalesced_ranges_hold_every_wanted_byte(gaps):
    at, ranges = 10_000, []
    for gap, length in gaps:
        at = max(at + gap, 0)
        ranges.append((at, length))
        at += length
    offset, length = columns([o for o, _ in ranges], [n for _, n in ranges])
    found = coalesce(offset, length)
    assert len(found.within) == len(ranges)
    assert found.size == int(found.length.sum())
    np.testing.assert_array_equal(found.place, np.cumsum(found.length) - found.length)
    buffer = np.full(found.size, -1, np.int64)
    for begin, size, place in zip(found.offset.tolist(), found.length.tolist(), found.place.tolist(), strict=True):
        buffer[place : place + size] = np.arange(begin, begin + size)
    for o, n, within in zip(offset.tolist(), length.tolist(), found.within.tolist(), strict=True):
        np.testing.assert_array_equal(buffer[within : within + n], np.arange(o, o + n))
    assert found.size <= int(length.sum()) + module._GAP * max(len(ranges) - 1, 0)


def test_neighbours_are_read_as_one_and_distant_ranges_apart():
    found = coalesce(*columns([16, 20, 30, 1_000_000], [4, 10, 5, 7]))
    assert (found.offset.tolist(), found.length.tolist(), found.within.tolist()) == (
        [16, 1_000_000],
        [19, 7],
        [0, 4, 14, 19],
    )
    assert len(coalesce(*columns([500, 16], [4, 4])).offset) == 2
