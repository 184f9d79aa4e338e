from __future__ import annotations

import pytest

from atlas.maintenance.tiering import segments_to_join, segments_to_rewrite


@pytest.mark.parametrize(
    ("sizes", "newest", "count"),
    [
        ([], 1000, 0),
        ([1000] * 3, 1000, 0),
        ([1000] * 4, 1000, 4),
        ([10**9, *[1000] * 4], 1000, 4),
        ([10**9, *[1000] * 4], 10**6, 4),
        ([200_000] * 3 + [50_000] * 4, 50_000, 7),
        ([200_000] * 2 + [50_000] * 4, 50_000, 4),
        ([50_000, 50_000, 10**6, 50_000, 50_000], 50_000, 0),
        ([2 << 20] * 9, 2 << 20, 0),
        ([1 << 20] * 9, 1 << 20, 4),
        ([100_000] * 4, 1000, 0),
    ],
)
def test_small_segments_are_joined_four_at_a_time(sizes, newest, count):
    assert segments_to_join(sizes, newest) == count


@pytest.mark.parametrize("size", [300, 20_000, 336_000, 5 << 20])
def test_many_flushes_leave_few_segments_and_write_each_byte_a_few_times(size):
    sizes, written = [], 0
    for _ in range(1000):
        count = segments_to_join(sizes, size)
        joined = sum(sizes[len(sizes) - count :])
        sizes = [*sizes[: len(sizes) - count], *([joined] if count else []), size]
        written += joined + size
        assert len(sizes) <= 20 + sum(sizes) // (1 << 20)
    assert sum(sizes) == 1000 * size
    assert written <= 12 * sum(sizes)


@pytest.mark.parametrize(
    ("sizes", "is_live", "chosen"),
    [
        ([], [], []),
        ([1000], [True], []),
        ([1000], [False], [0]),
        ([1000, 1000], [True, True], [0, 1]),
        ([10**9, 1000], [True, True], []),
        ([10**9, 1000], [False, True], [0, 1]),
        ([10**9, 1000], [True, False], [1]),
        ([10**9, 1000, 1000], [True, True, True], [1, 2]),
        ([1000, 10**9, 1000], [True, True, True], [0, 2]),
        ([10**9, 2 * 10**8, 10**8], [True, True, True], [0, 1, 2]),
        ([10**9, 10**8, 10**8], [True, True, True], [1, 2]),
        ([10**9, 10**8, 10**8], [True, False, True], [1, 2]),
        ([2 << 20] * 9, [True] * 9, [*range(9)]),
    ],
)
def test_a_compaction_leaves_large_segments_of_live_chunks(sizes, is_live, chosen):
    assert segments_to_rewrite(sizes, is_live) == chosen


@pytest.mark.parametrize("size", [20_000, 336_000, 5 << 20])
def test_many_compactions_leave_few_segments_and_write_each_byte_a_few_times(size):
    sizes, written = [], 0
    for _ in range(1000):
        sizes.append(size)
        chosen = segments_to_rewrite(sizes, [True] * len(sizes))
        joined = sum(sizes[at] for at in chosen)
        sizes = [bytes_ for at, bytes_ in enumerate(sizes) if at not in chosen] + ([joined] if chosen else [])
        written += joined
        assert len(sizes) <= 12
    assert sum(sizes) == 1000 * size
    assert written <= 1000 * (4 << 20) + 12 * sum(sizes)
