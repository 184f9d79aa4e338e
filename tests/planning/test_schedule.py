from __future__ import annotations

import pytest

from atlas.planning.schedule import PAGE_ROWS, checkpoint_is_due, pages_are_due, rows_go_to_page, segments_to_join


def test_rows_go_to_a_page_past_a_number():
    assert [rows_go_to_page(rows) for rows in (0, 1, PAGE_ROWS, PAGE_ROWS + 1)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("edited", "paged", "due"),
    [
        (0, 0, False),
        (PAGE_ROWS, 0, False),
        (PAGE_ROWS + 1, 0, True),
        (PAGE_ROWS + 1, 10**6, False),
        (250_001, 10**6, True),
    ],
)
def test_pages_are_rewritten_once_much_has_changed(edited, paged, due):
    assert pages_are_due(edited, paged) is due


@pytest.mark.parametrize(
    ("size", "commits", "added", "due"),
    [
        (300, 1, 100, False),
        (60_000, 7, 10**6, False),
        (60_000, 8, 100, True),
        (10**6, 1, 100, False),
        (10**6, 31, 100, False),
        (10**6, 32, 100, True),
        (10**6, 2, 250_000, True),
    ],
)
def test_checkpoints_are_rewritten_in_proportion(size, commits, added, due):
    assert checkpoint_is_due(size, commits, added) is due


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
