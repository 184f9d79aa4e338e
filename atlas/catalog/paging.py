"""When rows of datasets move from a commit or the checkpoint to a page, and when pages are rewritten. Pure; no I/O."""

from __future__ import annotations

__all__ = ["PAGE_ROWS", "pages_are_due", "rows_go_to_page"]

PAGE_ROWS = 4096
"""Most rows that a commit or checkpoint holds itself. More go to a page, which later checkpoints only name."""


def rows_go_to_page(rows: int) -> bool:
    """Return whether so many rows go to a page of their own."""
    return rows > PAGE_ROWS


def pages_are_due(changed: int, paged: int) -> bool:
    """Return whether pages of `paged` rows are rewritten: more than a quarter of the rows, and `PAGE_ROWS`, changed."""
    return changed > max(PAGE_ROWS, paged // 4)
