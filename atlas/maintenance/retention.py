"""Chooses the versions that a compaction keeps. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

__all__ = ["oldest_kept"]


def oldest_kept(first: int, times: Sequence[dt.datetime], keep_versions: int, since: dt.datetime) -> int:
    """Return the oldest version to keep: all of the last `keep_versions`, and those that were the latest after `since`.

    `first` is the oldest version that exists; `times` are when each version after it was made, in order.
    """
    oldest = max(first, first + len(times) + 1 - keep_versions)
    # A version is the latest, which readers open, until the next is made.
    outdated = next((at for at, time in enumerate(times) if time > since), len(times))
    return min(oldest, first + outdated)
