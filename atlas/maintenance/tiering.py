"""Size-tiered compaction: which small segments a flush joins to one. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["segments_to_join"]


def segments_to_join(sizes: Sequence[int], newest: int, limits: Limits = DEFAULT) -> int:
    """Return how many of an array's last segments a flush that adds one of `newest` bytes joins to one.

    `sizes` are the bytes of its segments, oldest first. Four that are alike in size are joined, and what comes of it
    with three more of that size, up to a few MiB: so each byte is written once more for every fourfold growth, and what
    any number of small flushes wrote is read from few files. A larger segment takes longer to read than to find.
    """
    joined = total = alike = 0
    largest = max(newest, limits.smallest_tier)
    at = len(sizes)
    while True:
        while at and sizes[at - 1] <= 2 * largest and total + sizes[at - 1] <= limits.largest_joined:
            at -= 1
            total += sizes[at]
            alike += 1
        if alike < limits.joined_at_once:
            return joined
        joined, alike, largest = len(sizes) - at, 1, max(largest, total)
