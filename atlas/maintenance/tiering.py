"""Size-tiered joins: chooses the small segments that a flush rewrites as one. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["segments_to_join"]


def segments_to_join(sizes: Sequence[int], newest: int, limits: Limits = DEFAULT) -> int:
    """Return how many of an array's last segments a flush joins when it adds one of `newest` bytes.

    `sizes` are the bytes of the segments, oldest first. Four segments of similar size are joined, and the result with
    three more of its size, up to a few MiB. So each byte is written once more for every fourfold growth, and any number
    of small flushes leaves few files. Larger segments are left: they take longer to read than to find.
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
