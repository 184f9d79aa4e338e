from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.packing import pack_chunks
from atlas.errors import TooLargeError
from atlas.runtime import memory
from atlas.runtime.limits import DEFAULT
from atlas.verification.chunk_pieces import StoredChunks, plan_pieces

BASE = np.array([0, 4])


def chunks(*columns):
    """Chunks, each (source, block, offset, cells, itemsize), in rows 10, 11, ...; cells of no bytes are strings."""
    source, block, offset, cells, itemsize = np.array(columns, np.int64).reshape(-1, 5).T
    is_string, rows = itemsize == 0, np.arange(10, 10 + len(source))
    return StoredChunks(rows, rows % 2, source, block, offset, cells, np.where(is_string, 4, itemsize), is_string)


def plan(raw, *columns):
    pieces, misplaced = plan_pieces(chunks(*columns), BASE, np.array(raw, np.int64))
    found = zip(pieces.row, pieces.block, pieces.offset, pieces.cells, pieces.kind, strict=True)
    return [tuple(map(int, piece)) for piece in found], misplaced.tolist()


def test_pieces_come_by_block_and_a_cut_chunk_has_one_in_each_of_its_blocks():
    raw = [DEFAULT.cut_into, DEFAULT.cut_into, 8, 100, 60]
    cells = (2 * DEFAULT.cut_into + 8) // 8
    found, misplaced = plan(raw, (1, 0, 20, 10, 4), (0, 3, 0, 25, 4), (0, 0, 0, cells, 8))
    assert misplaced == []
    assert found == [
        (12, 0, 0, DEFAULT.cut_into // 8, 0),
        (12, 1, 0, DEFAULT.cut_into // 8, 0),
        (12, 2, 0, 1, 0),
        (11, 3, 0, 25, 1),
        (10, 4, 20, 10, 0),
    ]


@pytest.mark.parametrize(
    "chunk",
    [
        (0, 3, 60, 11, 4),  # its last byte is the first after the block
        (0, 3, 104, 1, 4),  # it begins after the block
        (0, 3, 2**62, 1, 4),
        (0, 4, 0, 1, 4),  # its block is the first one of the next source
        (0, 0, 8, (2 * DEFAULT.cut_into + 8) // 8, 8),  # cut, and not at the beginning of its block
        (0, 0, 0, (2 * DEFAULT.cut_into + 16) // 8, 8),  # its last block is shorter than that
        (0, 1, 0, (3 * DEFAULT.cut_into) // 8, 8),  # it would need a block of the next source
        (0, 0, 0, 2**60, 8),
        (0, 3, 0, 26, 0),  # the lengths of its strings take more than its block
        (0, 3, 0, 2**62, 0),  # so many that their bytes exceed 64 bits
        (0, 3, 0, 2**63 - 1, 0),
    ],
)
def test_a_chunk_whose_cells_do_not_fit_its_blocks_is_misplaced_and_no_other_is(chunk):
    found, misplaced = plan([DEFAULT.cut_into, DEFAULT.cut_into, 8, 100, 60], (0, 3, 0, 5, 4), chunk, (1, 0, 0, 15, 0))
    assert misplaced == [11]
    assert found == [(10, 3, 0, 5, 0), (12, 4, 0, 15, 0)]


def test_no_chunks_have_no_pieces():
    assert plan([]) == ([], [])
    assert plan([DEFAULT.cut_into] * 5) == ([], [])


def test_pieces_that_exceed_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "FREE", 0)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(TooLargeError, match="verify"):
        plan([DEFAULT.cut_into] * 200, *[(1, 0, 0, 4 * DEFAULT.cut_into, 1)] * 50)


@given(st.lists(st.integers(1, 3 * DEFAULT.cut_over), max_size=30))
def test_chunks_lie_where_packing_puts_them(nbytes):
    sizes = np.array(nbytes, np.int64)
    packing = pack_chunks(sizes)
    columns = [(0, int(packing.block[at]), int(packing.offset[at]), nbytes[at], 1) for at in range(len(nbytes))]
    pieces, misplaced = plan_pieces(chunks(*columns), np.array([0]), packing.length)
    assert misplaced.tolist() == []
    assert np.bincount(pieces.row - 10, pieces.cells, len(nbytes)).tolist() == nbytes
    begin = packing.start[pieces.block] + pieces.offset
    covered = np.sort(
        np.concatenate([np.arange(a, a + n) for a, n in zip(begin, pieces.cells, strict=True)] or [sizes])
    )
    assert np.array_equal(covered, np.arange(sizes.sum()))
