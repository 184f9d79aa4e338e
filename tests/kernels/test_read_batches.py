"""Grouping pieces into batches, and the ranges of the file that are read for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import (
    BATCH_BLOCK,
    BATCH_RANGE,
    BATCH_SIZE,
    BLOCK_SOURCE,
    WANTED_BLOCK,
    WANTED_OFFSET,
    WANTED_PIECE,
    plan_read_batches,
    read_batches,
)
from tests.reference import table_of

GAP = 32 << 10


def table(ranges):
    return table_of([(offset, stored, 0, 0, 0, 1, 0) for offset, stored in ranges])


@given(
    st.lists(st.tuples(st.integers(-5_000, 80_000), st.integers(0, 300_000)), min_size=1, max_size=40),
    st.lists(st.integers(0, 39), max_size=120),
    st.integers(1, 9),
    st.sampled_from([0, 8, GAP, 1 << 20]),
)
def test_batches_hold_every_wanted_byte_and_split_no_block(gaps, rows, threads, gap):
    at, ranges = 10_000, []
    for skipped, length in gaps:
        at = max(at + skipped, 0)
        ranges.append((at, length))
        at += length
    block = np.sort(np.array([row % len(ranges) for row in rows], np.int64))
    wanted, batches, reads = plan_read_batches(block, table(ranges), threads, gap)
    assert wanted[WANTED_BLOCK, :-1].tolist() == np.unique(block).tolist()
    edges = wanted[WANTED_PIECE].tolist()
    for row, begin, end in zip(wanted[WANTED_BLOCK].tolist(), edges, edges[1:], strict=False):
        assert set(block[begin:end].tolist()) == {row}
    assert edges[-1] == len(block)
    assert batches[BATCH_BLOCK, -1] == wanted.shape[1] - 1
    assert batches[BATCH_RANGE, -1] == reads.shape[1]
    for batch in range(batches.shape[1] - 1):
        first, stop = batches[BATCH_BLOCK, batch : batch + 2].tolist()
        buffer = np.full(int(batches[BATCH_SIZE, batch]), -1, np.int64)
        mine = reads[:, batches[BATCH_RANGE, batch] : batches[BATCH_RANGE, batch + 1]]
        for offset, length, target, _ in mine.T.tolist():
            assert 0 <= target <= len(buffer) - length
            buffer[target : target + length] = np.arange(offset, offset + length)
        mine = [ranges[row] for row in wanted[WANTED_BLOCK, first:stop].tolist()]
        for (offset, stored), within in zip(mine, wanted[WANTED_OFFSET, first:stop].tolist(), strict=True):
            assert buffer[within : within + stored].tolist() == list(range(offset, offset + stored))
        stored = [n for _, n in mine]
        assert stop > first
        assert sum(stored[:-1]) < read_batches.BATCH_BYTES
        assert len(buffer) <= sum(stored) + gap * (len(mine) - 1)


def test_small_work_is_not_split_and_large_work_is():
    def cut(stored, threads):
        offset = np.arange(64) * stored
        return plan_read_batches(np.arange(64), table([(int(o), stored) for o in offset]), threads, GAP)[1].shape[1] - 1

    assert cut(1000, 8) == 1
    assert cut(50_000, 8) >= 8
    assert cut(2 << 20, 1) == 64


def test_neighbours_are_read_as_one_and_distant_blocks_apart():
    ranges = table([(16, 4), (20, 10), (30, 5), (1_000_000, 7)])
    wanted, _, reads = plan_read_batches(np.array([0, 1, 1, 2, 3]), ranges, 2, GAP)
    assert reads.T.tolist() == [[16, 19, 0, 0], [1_000_000, 7, 19, 0]]
    assert wanted[WANTED_OFFSET, :-1].tolist() == [0, 4, 14, 19]
    assert plan_read_batches(np.array([0, 1]), table([(500, 4), (16, 4)]), 1, GAP)[2].shape[1] == 2


def test_ranges_end_with_their_source():
    ranges = table([(16, 4), (20, 10), (30, 5), (35, 7)])
    ranges[BLOCK_SOURCE] = [0, 0, 1, 4]
    wanted, batches, reads = plan_read_batches(np.arange(4), ranges, 1, GAP)
    assert reads.T.tolist() == [[16, 14, 0, 0], [30, 5, 14, 1], [35, 7, 19, 4]]
    assert wanted[WANTED_OFFSET, :-1].tolist() == [0, 4, 14, 19]
    assert batches[BATCH_RANGE].tolist() == [0, 3]


def test_blocks_that_are_not_there():
    for row in (-1, 1):
        with pytest.raises(ValueError):
            plan_read_batches(np.array([0, row]), table([(0, 1)]), 1, GAP)


def test_blocks_out_of_order():
    with pytest.raises(ValueError):
        plan_read_batches(np.array([0, 1, 0, 1, 0, 1]), table([(0, 1), (1, 1)]), 1, GAP)


def test_the_gap_says_what_is_read_through():
    ranges = table([(0, 4), (14, 4), (1014, 4)])
    for gap, count in ((0, 3), (9, 3), (10, 2), (995, 2), (996, 1)):
        assert plan_read_batches(np.arange(3), ranges, 1, gap)[2].shape[1] == count
    with pytest.raises(ValueError):
        plan_read_batches(np.arange(3), ranges, 1, -1)
