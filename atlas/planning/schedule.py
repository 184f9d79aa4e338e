"""When metadata is gathered: pure policy over counts, so that a flush costs in proportion to what it changed."""

from __future__ import annotations

__all__ = ["PAGE_ROWS", "checkpoint_is_due", "pages_are_due", "rows_go_to_page"]

PAGE_ROWS = 4096
"""Rows that a commit or checkpoint holds itself; more move to a page, which neither repeats."""
_SMALL = 64 << 10
_FEW_COMMITS = 8
_MOST_COMMITS = 32


def rows_go_to_page(rows: int) -> bool:
    """Return whether so many rows deserve a page of their own."""
    return rows > PAGE_ROWS


def pages_are_due(edited: int, paged: int) -> bool:
    """Return whether the pages are rewritten: once a quarter of their rows has changed since."""
    return edited > max(PAGE_ROWS, paged // 4)


def checkpoint_is_due(last_size: int, commits_since: int, bytes_since: int) -> bool:
    """Return whether the checkpoint is rewritten after a commit.

    A small one waits for a few commits, because it must be synchronised, which costs a small flush as much as its
    commit does, and a reader takes a few commits in two or three requests. A large one waits until they are many, or
    together a quarter of its size: then what it costs is spread over what made it necessary.
    """
    if last_size <= _SMALL:
        return commits_since >= _FEW_COMMITS
    return commits_since >= _MOST_COMMITS or bytes_since * 4 >= last_size
