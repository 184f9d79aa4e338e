from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.storage.ranges import cut_ranges, join_adjacent
from tests.storage.contract import int64


def moves(offsets, lengths, out_offsets):
    """Each byte that is read: where it is in the object, and where it goes."""
    return [
        (offset + step, begin + step)
        for offset, length, begin in zip(offsets.tolist(), lengths.tolist(), out_offsets.tolist(), strict=True)
        for step in range(length)
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_joined_ranges_move_the_same_bytes(triples):
    columns = [np.array(column, np.int64) for column in zip(*triples, strict=True)] or [int64()] * 3
    joined = join_adjacent(*columns)
    assert moves(*joined) == moves(*columns)
    assert (joined[1] > 0).all()


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40), st.integers(0, 300)), max_size=20), st.integers(1, 50)
)
def test_cut_ranges_move_the_same_bytes_and_are_as_few_as_can_be(triples, largest):
    columns = [np.array(column, np.int64) for column in zip(*triples, strict=True)] or [int64()] * 3
    cut = cut_ranges(*columns, largest)
    assert moves(*cut) == moves(*columns)
    assert cut[1].max(initial=0) <= largest
    assert cut[1].size == sum(-(-length // largest) for _, length, _ in triples)


def test_neighbours_become_one_range():
    offsets, lengths, out_offsets = join_adjacent(
        int64(10, 15, 15, 20, 40), int64(5, 0, 5, 20, 1), int64(0, 9, 5, 10, 31)
    )
    assert offsets.tolist() == [10, 40]
    assert lengths.tolist() == [30, 1]
    assert out_offsets.tolist() == [0, 31]
