from __future__ import annotations

import pytest

from atlas.planning.schedule import PAGE_ROWS, checkpoint_is_due, pages_are_due, rows_go_to_page


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
