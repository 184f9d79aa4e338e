"""Which rows of a catalog lie in pages, and which of these have changed since. Knows ids only; no I/O.

A checkpoint names the pages and repeats only the rows that no page holds as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.paging import pages_are_due

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.format.changes import PageRef

__all__ = ["PagedRows"]


class PagedRows:
    """The pages of a catalog, and the ids that differ from them."""

    def __init__(self) -> None:
        self.pages: tuple[PageRef, ...] = ()
        """The pages, in the order of their ids."""
        self._changed: set[int] = set()
        self._unpaged: list[int] = []

    def copy(self) -> PagedRows:
        """Return an object that can be changed without changing this one."""
        copied = PagedRows()
        copied.pages, copied._changed, copied._unpaged = self.pages, self._changed.copy(), self._unpaged.copy()
        return copied

    @property
    def changed(self) -> NDArray[np.int64]:
        """Ids of rows in pages that were changed or deleted since, ascending."""
        return np.array(sorted(self._changed), np.int64)

    @property
    def unpaged(self) -> NDArray[np.int64]:
        """Ids of rows in no page, deleted ones included, ascending."""
        return np.array(self._unpaged, np.int64)

    def contains(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each id whether a page has its row."""
        # The ids of a small flush between two large ones are between the ranges of their pages.
        last = np.array([page.last for page in self.pages] or [-1], np.int64)
        at = self._page_before(ids)
        return (at >= 0) & (ids <= last[at])

    def _page_before(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each id the position of the last page that begins at or below it, -1 for none."""
        return np.searchsorted(np.array([page.first for page in self.pages], np.int64), ids, side="right") - 1

    def append(self, pages: tuple[PageRef, ...]) -> None:
        """Add the pages of a commit, whose ids are above all others."""
        self.pages += pages

    def note_changed(self, ids: NDArray[np.int64]) -> None:
        """Note that rows were changed or deleted."""
        self._changed.update(ids[self.contains(ids)].tolist())

    def note_unpaged(self, ids: NDArray[np.int64]) -> None:
        """Note new rows that lie in no page; their ids are above all others."""
        self._unpaged.extend(ids.tolist())

    def forget_unpaged(self, ids: NDArray[np.int64]) -> None:
        """Forget rows, deleted ones, that lie in no page."""
        self._unpaged = self.unpaged[~np.isin(self.unpaged, ids)].tolist()

    def rewrite_is_due(self, page_rows: int) -> bool:
        """Return whether so much has changed that all pages are worth rewriting."""
        return pages_are_due(len(self._changed), sum(page.rows for page in self.pages), page_rows)

    def plan(self, ids: NDArray[np.int64], page_rows: int) -> list[NDArray[np.bool_]]:
        """Return a mask for each page to write of `ids`, which ascend and lie in no page.

        Pages keep the order of the ids, so rows between two pages become a page, however few they are. Rows after the
        last page become one only where they are more than `page_rows`.
        """
        before = self._page_before(ids)
        groups = [before == page for page in np.unique(before).tolist()]
        if groups and before[-1] == len(self.pages) - 1 and int(groups[-1].sum()) <= page_rows:
            groups.pop()
        return groups

    def record(self, pages: Sequence[PageRef], *, replace: bool) -> None:
        """Note that pages were written, in place of all others where `replace`."""
        if replace:
            self.pages, self._changed = (), set()
        self.pages = tuple(sorted((*self.pages, *pages), key=lambda page: page.first))
        self._unpaged = self.unpaged[~self.contains(self.unpaged)].tolist()
