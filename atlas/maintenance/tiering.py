"""Size-tiered rewriting: chooses the segments that a flush or a compaction rewrites as one. Pure policy; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["segments_to_join", "segments_to_rewrite"]

_LARGER = 4
"""A segment of so many times the bytes of those that are rewritten is left as it is."""


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


def segments_to_rewrite(sizes: Sequence[int], is_live: Sequence[bool], limits: Limits = DEFAULT) -> list[int]:
    """Return which segments of an array a compaction rewrites as one, by position, ascending.

    `sizes` are their bytes; `is_live` says which hold live chunks alone. Those with dead ones are rewritten, and the
    small others. A large one is rewritten once the others have grown to a quarter of it: so each byte is rewritten a
    few times, however often an array that grows is compacted, and each segment that is left is several times larger
    than the next.
    """
    chosen = [at for at, live in enumerate(is_live) if not live]
    total = sum(sizes[at] for at in chosen)
    for at in sorted((at for at, live in enumerate(is_live) if live), key=sizes.__getitem__):
        if total and sizes[at] > max(limits.largest_joined, _LARGER * total):
            break
        chosen.append(at)
        total += sizes[at]
    return sorted(chosen) if len(chosen) > 1 or not all(is_live) else []
