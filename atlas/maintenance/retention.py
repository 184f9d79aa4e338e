"""Which versions a compaction keeps. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

__all__ = ["oldest_kept"]


def oldest_kept(first: int, times: Sequence[dt.datetime], keep_versions: int, since: dt.datetime) -> int:
    """Return the oldest version to keep: one of the last `keep_versions`, and whatever was the latest after `since`.

    `first` is the oldest version there is, `times` say when each one after it was made.
    """
    oldest = max(first, first + len(times) + 1 - keep_versions)
    # A version is what readers open until the next is made.
    outdated = next((at for at, time in enumerate(times) if time > since), len(times))
    return min(oldest, first + outdated)
