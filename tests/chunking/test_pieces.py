from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.packing import block_counts, number_items, pack_chunks
from atlas.chunking.pieces import cut_pieces, has_cut_chunks, wanted_blocks
from atlas.chunking.regions import plan_region
from atlas.format.schema import make_schema
from atlas.runtime.limits import DEFAULT


def chunks(*rows):
    """Pieces that are whole chunks: (block, place, cells, chunk, target)."""
    table = np.array([(block, place, 0, cells, chunk, target) for block, place, cells, chunk, target in rows], np.int64)
    return table.reshape(-1, 6).T.copy()


def pieces_of(region, itemsize, found):
    return cut_pieces(found, itemsize, *wanted_blocks(region, itemsize, found))


def test_items_are_numbered_within_their_owners():
    owner, number = number_items(np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert number.tolist() == [0, 1, 0, 1, 2]


def test_whole_chunks_are_one_piece_each():
    region = plan_region(make_schema("int32", ["x"], [100], [30]), (10,), (90,))
    found = chunks((2, 120, 30, 1, 8), (5, 0, 30, 0, 7), (5, 120, 10, 3, 9))
    assert not has_cut_chunks(region, 4)
    assert pieces_of(region, 4, found).tolist() == found.tolist()


def test_nothing_found_is_nothing_to_do():
    region = plan_region(make_schema("int32", ["x"], [100], [30]), (10,), (80,))
    assert pieces_of(region, 4, chunks()).shape == (6, 0)


def test_a_box_without_cells_has_no_chunks():
    region = plan_region(make_schema("int32", ["x"], [100], [30]), (10,), (0,))
    assert not has_cut_chunks(region, 4)


def test_a_read_of_a_chunk_of_petabytes_wants_blocks_without_room_for_them():
    side = 2**30
    region = plan_region(make_schema("int32", ["y", "x"], [side, side], [side, side]), (0, 0), (2**20, 1))
    assert has_cut_chunks(region, 4)
    first, last = wanted_blocks(region, 4, chunks((0, 0, side**2, 0, 0)))
    assert (first.tolist(), last.tolist()) == ([0], [(2**20 - 1) * side * 4 // DEFAULT.cut_into])


@given(st.lists(st.integers(1, 3 * DEFAULT.cut_over), min_size=1, max_size=8))
def test_blocks_are_counted_as_chunks_are_packed(nbytes):
    for size, count in zip(nbytes, block_counts(np.array(nbytes, np.int64)).tolist(), strict=True):
        assert len(pack_chunks(np.array([size])).start) == count


def test_pieces_of_a_cut_chunk_and_its_clipped_neighbour_come_by_block():
    schema = make_schema("int64", ["x"], [DEFAULT.cut_over // 8 + 5_001], [DEFAULT.cut_over // 8 + 5_000])
    region = plan_region(schema, (0,), schema.shape)
    cells = region.cells.tolist()
    pieces = pieces_of(region, 8, chunks((4, 8, cells[1], 1, 0), (7, 0, cells[0], 0, 1), (5, 0, cells[0], 0, 0)))
    step = DEFAULT.cut_into // 8
    assert pieces.T.tolist() == [
        [4, 8, 0, 1, 1, 0],
        [5, 0, 0, step, 0, 0],
        [6, 0, step, step, 0, 0],
        [7, 0, 0, step, 0, 1],
        [7, 0, 2 * step, cells[0] - 2 * step, 0, 0],
        [8, 0, step, step, 0, 1],
        [9, 0, 2 * step, cells[0] - 2 * step, 0, 1],
    ]


@st.composite
def cut_reads(draw):
    itemsize = draw(st.sampled_from([1, 2, 4, 8]))
    rows = draw(st.integers(2, 40))
    width = (DEFAULT.cut_over // itemsize) // rows + draw(st.integers(1, 20_000))
    start = (draw(st.integers(0, rows - 1)), draw(st.integers(0, width - 1)))
    count = tuple(draw(st.integers(1, n - s)) for n, s in zip((rows, width), start, strict=True))
    return itemsize, (rows, width), start, count


@given(cut_reads())
def test_a_cut_chunk_gives_the_pieces_that_the_box_touches(read):
    itemsize, shape, start, count = read
    region = plan_region(make_schema(f"int{8 * itemsize}", ["y", "x"], shape), start, count)
    nbytes = shape[0] * shape[1] * itemsize
    assert nbytes > DEFAULT.cut_over
    packing = pack_chunks(np.array([nbytes]))
    assert has_cut_chunks(region, itemsize)
    block, place, begins, counts, _, target = pieces_of(region, itemsize, chunks((10, 0, shape[0] * shape[1], 0, 3)))
    box = np.zeros(shape, bool)
    box[start[0] : start[0] + count[0], start[1] : start[1] + count[1]] = True
    touched = np.flatnonzero(box) * itemsize // DEFAULT.cut_into
    # Every block with a wanted cell, and none outside the first and the last of them.
    assert set(touched) <= set((block - 10).tolist())
    assert block.tolist() == list(range(10 + touched.min(), 11 + touched.max()))
    for at, begin, cells in zip(block.tolist(), begins.tolist(), counts.tolist(), strict=True):
        assert begin * itemsize == packing.start[at - 10]
        assert cells * itemsize == packing.length[at - 10]
    assert set(place.tolist()) == {0}
    assert set(target.tolist()) == {3}
