"""Recovers datasets of a damaged page: those that were changed later are in later documents, complete.

Pure: takes changes that were read, returns rows and changes. Datasets that no later document holds stay lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.column_builder import build_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.format.changes import Changes, PageRef
    from atlas.format.dataset_columns import RowBatch

__all__ = ["recover_page", "without_pages"]


def recover_page(page: PageRef, documents: Iterable[Changes]) -> RowBatch:
    """Return the latest rows that `documents`, oldest first, hold of the datasets of `page`."""
    found: dict[int, tuple[RowBatch, int]] = {}
    for changes in documents:
        for row in np.flatnonzero(_in_pages(changes.rows.ids, [page])).tolist():
            found[int(changes.rows.ids[row])] = changes.rows, row
        for identity in changes.deleted.tolist():
            found.pop(identity, None)
    entries = [found[identity] for identity in sorted(found)]
    numbers = np.arange(len(entries))
    return build_rows(
        np.array(sorted(found), np.int64),
        [rows.names[row] for rows, row in entries],
        [rows.layout_table[int(rows.layouts[row])] for rows, row in entries],
        numbers,
        [rows.encoded_attributes(row) for rows, row in entries],
        numbers,
    )


def without_pages(changes: Changes, pages: Sequence[PageRef]) -> Changes:
    """Return `changes` without the datasets of `pages`."""
    rows = changes.rows
    return replace(
        changes,
        deleted=changes.deleted[~_in_pages(changes.deleted, pages)],
        rows=rows.picked(~_in_pages(rows.ids, pages)),
    )


def _in_pages(ids: NDArray[np.int64], pages: Sequence[PageRef]) -> NDArray[np.bool_]:
    """Return for each id whether the range of ids of one of `pages` includes it."""
    inside = np.zeros(len(ids), bool)
    for page in pages:
        inside |= (ids >= page.first) & (ids <= page.last)
    return inside
