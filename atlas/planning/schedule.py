"""When metadata and small segments are gathered: pure policy, so that a flush costs what it changed, and not more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

__all__ = ["PAGE_ROWS", "checkpoint_is_due", "oldest_kept", "pages_are_due", "rows_go_to_page", "segments_to_join"]

PAGE_ROWS = 4096
"""Rows that a commit or checkpoint holds itself; more move to a page, which neither repeats."""
_SMALL = 64 << 10
_FEW_COMMITS = 8
_MOST_COMMITS = 32
_JOINED_AT_ONCE = 4
_SMALLEST_CLASS = 4 << 10
_LARGEST_JOINED = 4 << 20


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


def segments_to_join(sizes: Sequence[int], newest: int) -> int:
    """Return how many of an array's last segments a flush that adds one of `newest` bytes joins to one.

    `sizes` are the bytes of its segments, oldest first. Four that are alike in size are joined, and what comes of it
    with three more of that size, up to a few MiB: so each byte is written once more for every fourfold growth, and what
    any number of small flushes wrote is read from few files. A larger segment takes longer to read than to find.
    """
    joined = total = alike = 0
    largest = max(newest, _SMALLEST_CLASS)
    at = len(sizes)
    while True:
        while at and sizes[at - 1] <= 2 * largest and total + sizes[at - 1] <= _LARGEST_JOINED:
            at -= 1
            total += sizes[at]
            alike += 1
        if alike < _JOINED_AT_ONCE:
            return joined
        joined, alike, largest = len(sizes) - at, 1, max(largest, total)


def oldest_kept(first: int, times: Sequence[dt.datetime], keep_versions: int, since: dt.datetime) -> int:
    """Return the oldest version to keep: one of the last `keep_versions`, and whatever was the latest after `since`.

    `first` is the oldest version there is, `times` say when each one after it was made.
    """
    oldest = max(first, first + len(times) + 1 - keep_versions)
    # A version is what readers open until the next is made.
    outdated = next((at for at, time in enumerate(times) if time > since), len(times))
    return min(oldest, first + outdated)
