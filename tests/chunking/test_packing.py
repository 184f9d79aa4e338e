from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.packing import pack_chunks
from atlas.runtime.limits import DEFAULT

lengths = st.lists(
    st.integers(0, 200)
    | st.integers(0, DEFAULT.own_block + 9)
    | st.sampled_from(
        [
            DEFAULT.own_block - 1,
            DEFAULT.own_block,
            DEFAULT.cut_over,
            DEFAULT.cut_over + 1,
            3 * DEFAULT.cut_into,
            3 * DEFAULT.cut_into + 1,
        ]
    ),
    max_size=40,
)


@given(lengths, st.booleans())
def test_packings_keep_their_promises(sizes, cut):
    packing = pack_chunks(np.array(sizes, np.int64), cut=cut)
    ends = np.cumsum(np.array(sizes, np.int64))
    total = int(ends[-1]) if sizes else 0
    # Blocks cover the buffer, one after the other.
    np.testing.assert_array_equal(packing.start, np.cumsum(packing.length) - packing.length)
    assert int(packing.length.sum()) == total
    assert len(packing.block) == len(packing.offset) == len(sizes)
    for size, end, block, place in zip(
        sizes, ends.tolist(), packing.block.tolist(), packing.offset.tolist(), strict=True
    ):
        assert packing.start[block] + place == end - size
        if cut and size > DEFAULT.cut_over:
            count = -(-size // DEFAULT.cut_into)
            assert place == 0
            assert packing.length[block : block + count].tolist()[:-1] == [DEFAULT.cut_into] * (count - 1)
            assert packing.length[block : block + count].sum() == size
        else:
            assert place + size <= packing.length[block]
            if size >= DEFAULT.own_block:
                assert (place, size) == (0, packing.length[block])
    shared = [int(length) for at, length in enumerate(packing.length) if sum(packing.block == at) > 1]
    assert all(length < DEFAULT.shared_block + DEFAULT.own_block for length in shared)


def test_small_chunks_fill_blocks_of_about_the_shared_size():
    packing = pack_chunks(np.full(10_000, 80, np.int64))
    assert len(packing.length) == -(-800_000 // DEFAULT.shared_block)
    assert (np.abs(packing.length[:-1] - DEFAULT.shared_block) <= 80).all()


def test_a_run_of_small_chunks_is_cut_alike_wherever_it_lies():
    small = np.full(4000, 100, np.int64)
    alone = pack_chunks(small)
    behind = pack_chunks(np.concatenate([[DEFAULT.own_block + 12_345], small]))
    np.testing.assert_array_equal(behind.length[1:], alone.length)


@pytest.mark.parametrize(
    ("nbytes", "blocks"),
    [
        (0, 1),
        (1, 1),
        (DEFAULT.cut_into, 1),
        (DEFAULT.cut_into + 1, 1),
        (DEFAULT.cut_over, 1),
        (DEFAULT.cut_over + 1, 3),
        (3 * DEFAULT.cut_into, 3),
        (3 * DEFAULT.cut_into + 1, 4),
    ],
)
def test_the_blocks_of_a_chunk(nbytes, blocks):
    assert len(pack_chunks(np.array([nbytes])).length) == blocks


def test_the_sizes_of_the_format():
    assert (DEFAULT.cut_over, DEFAULT.cut_into) == (131_072, 65_536)
