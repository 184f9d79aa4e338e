from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.storage.ranges import join_adjacent, plan_requests
from tests.storage.contract import int64

ranges = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=30)


@given(ranges, st.integers(0, 20), st.integers(1, 64))
def test_requests_cover_every_wanted_byte_once(pairs, gap, limit):
    pairs = sorted(pairs)
    offsets = np.array([offset for offset, _ in pairs], np.int64)
    lengths = np.array([length for _, length in pairs], np.int64)
    requests = plan_requests(offsets, lengths, gap, limit)
    asked = np.zeros(400, np.int64)
    given_to = np.zeros((len(pairs), 400), np.int64)
    for request in requests:
        assert 0 < request.end - request.start <= limit
        asked[request.start : request.end] += 1
        for number in range(request.first, request.last):
            offset, length = pairs[number]
            given_to[number, max(offset, request.start) : min(offset + length, request.end)] += 1
    assert asked.max(initial=0) <= 1
    wanted = np.zeros(400, bool)
    for number, (offset, length) in enumerate(pairs):
        wanted[offset : offset + length] = True
        assert (given_to[number, offset : offset + length] == 1).all()
    # What is read without being wanted lies in gaps that were allowed.
    unwanted = np.flatnonzero((asked == 1) & ~wanted)
    runs = np.split(unwanted, np.flatnonzero(np.diff(unwanted) > 1) + 1)
    assert max(map(len, runs)) <= gap


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_joined_ranges_move_the_same_bytes(triples):
    columns = [np.array(column, np.int64) for column in zip(*triples, strict=True)] or [int64()] * 3

    def moves(offsets, lengths, places):
        return [
            (offset + step, place + step)
            for offset, length, place in zip(offsets.tolist(), lengths.tolist(), places.tolist(), strict=True)
            for step in range(length)
        ]

    joined = join_adjacent(*columns)
    assert moves(*joined) == moves(*columns)
    assert (joined[1] > 0).all()


def test_neighbours_become_one_range():
    offsets, lengths, places = join_adjacent(int64(10, 15, 15, 20, 40), int64(5, 0, 5, 20, 1), int64(0, 9, 5, 10, 31))
    assert offsets.tolist() == [10, 40]
    assert lengths.tolist() == [30, 1]
    assert places.tolist() == [0, 31]
