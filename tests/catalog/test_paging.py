from __future__ import annotations

import pytest

from atlas.catalog.paging import PAGE_ROWS, pages_are_due, rows_go_to_page


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
