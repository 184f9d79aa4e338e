"""Size-tiered compaction: which small segments a flush joins to one. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["segments_to_join"]

_JOINED_AT_ONCE = 4
_SMALLEST_CLASS = 4 << 10
_LARGEST_JOINED = 4 << 20


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
