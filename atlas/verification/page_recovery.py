"""What is still known of datasets whose page is damaged: those that were changed later lie whole in later documents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.column_builder import build_rows
from atlas.format.dataset_columns import RowBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.format.changes import Changes, PageRef

__all__ = ["salvage_page", "without_ids"]


def salvage_page(page: PageRef, documents: Iterable[Changes]) -> RowBatch:
    """Return the last rows that `documents`, in their order, have of the datasets of a page."""
    found: dict[int, tuple[RowBatch, int]] = {}
    for changes in documents:
        for at in np.flatnonzero(_within(changes.rows.ids, [page])).tolist():
            found[int(changes.rows.ids[at])] = changes.rows, at
        for identity in changes.deleted.tolist():
            found.pop(identity, None)
    entries = [found[identity] for identity in sorted(found)]
    numbers = np.arange(len(entries))
    return build_rows(
        np.array(sorted(found), np.int64),
        [rows.names[at] for rows, at in entries],
        [rows.layout_table[int(rows.layouts[at])] for rows, at in entries],
        numbers,
        [rows.attribute_table.encoded(int(rows.attributes[at])) for rows, at in entries],
        numbers,
    )


def without_ids(changes: Changes, pages: Sequence[PageRef]) -> Changes:
    """Return `changes` without what they say of the datasets of pages."""
    rows, kept = changes.rows, ~_within(changes.rows.ids, pages)
    names = [name for name, keep in zip(rows.names, kept.tolist(), strict=True) if keep]
    return replace(
        changes,
        deleted=changes.deleted[~_within(changes.deleted, pages)],
        rows=RowBatch(
            rows.ids[kept], names, rows.layouts[kept], rows.attributes[kept], rows.layout_table, rows.attribute_table
        ),
    )


def _within(ids: NDArray[np.int64], pages: Sequence[PageRef]) -> NDArray[np.bool_]:
    inside = np.zeros(len(ids), bool)
    for page in pages:
        inside |= (ids >= page.first) & (ids <= page.last)
    return inside
