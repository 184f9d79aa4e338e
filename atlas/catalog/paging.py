"""When dataset rows move from a commit or the checkpoint to a page. Pure policy; no I/O."""

from __future__ import annotations

__all__ = ["PAGE_ROWS", "pages_are_due", "rows_go_to_page"]

PAGE_ROWS = 4096
"""Rows that a commit or checkpoint holds itself; more move to a page, which neither repeats."""


def rows_go_to_page(rows: int) -> bool:
    """Return whether so many rows deserve a page of their own."""
    return rows > PAGE_ROWS


def pages_are_due(edited: int, paged: int) -> bool:
    """Return whether the pages are rewritten: once a quarter of their rows has changed since."""
    return edited > max(PAGE_ROWS, paged // 4)
