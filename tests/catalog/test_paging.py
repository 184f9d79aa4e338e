from __future__ import annotations

import pytest

from atlas.catalog.paging import pages_are_due

PAGE_ROWS = 4096


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
    assert pages_are_due(edited, paged, PAGE_ROWS) is due
