"""When dataset rows move from a commit or the checkpoint to a page. Pure policy; no I/O."""

from __future__ import annotations

__all__ = ["pages_are_due"]


def pages_are_due(changed: int, paged: int, page_rows: int) -> bool:
    """Return whether the pages are rewritten: once a quarter of their rows, and more than a page, has changed."""
    return changed > max(page_rows, paged // 4)
