"""Which rows a checkpoint repeats follows from the pages and from what changed since."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.catalog.paged_rows import PagedRows
from atlas.format.changes import PageRef


def _page(first: int, last: int) -> PageRef:
    return PageRef(f"pages/{first}", last - first + 1, first, last)


@pytest.fixture
def paged() -> PagedRows:
    """Two pages, and the rows 20 to 22 between them in none."""
    paged = PagedRows()
    paged.append((_page(0, 9), _page(30, 39)))
    paged.note_unpaged(np.array([20, 21, 22]))
    return paged


def test_rows_between_pages_lie_in_none(paged: PagedRows) -> None:
    assert paged.contains(np.array([0, 9, 10, 20, 29, 30, 39, 40])).tolist() == [1, 1, 0, 0, 0, 1, 1, 0]
    assert PagedRows().contains(np.array([0, 5])).tolist() == [False, False]


def test_changes_count_only_for_rows_in_pages(paged: PagedRows) -> None:
    paged.note_changed(np.array([30, 20, 5]))
    assert (paged.changed.tolist(), paged.unpaged.tolist()) == ([5, 30], [20, 21, 22])


def test_rows_between_pages_become_a_page_and_few_after_the_last_do_not(paged: PagedRows) -> None:
    ids = np.array([20, 21, 22, 40, 41])
    assert [ids[group].tolist() for group in paged.plan(ids, 2)] == [[20, 21, 22]]
    more = np.array([20, 21, 22, 40, 41, 42])
    assert [more[group].tolist() for group in paged.plan(more, 2)] == [[20, 21, 22], [40, 41, 42]]
    assert paged.plan(np.empty(0, np.int64), 2) == []


def test_pages_that_were_written_hold_their_rows(paged: PagedRows) -> None:
    paged.record([_page(20, 21)], replace=False)
    assert ([page.first for page in paged.pages], paged.unpaged.tolist()) == ([0, 20, 30], [22])
    paged.note_changed(np.array([21]))
    paged.record([_page(0, 39)], replace=True)
    assert (len(paged.pages), paged.changed.tolist(), paged.unpaged.tolist()) == (1, [], [])


def test_pages_are_rewritten_once_much_of_them_changed(paged: PagedRows) -> None:
    paged.note_changed(np.arange(5))
    assert not paged.rewrite_is_due(2)
    twin = paged.copy()
    twin.note_changed(np.array([5]))
    assert (twin.rewrite_is_due(2), paged.rewrite_is_due(2)) == (True, False)
