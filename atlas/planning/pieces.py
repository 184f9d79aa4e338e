"""From found rows of a chunk table to the pieces to copy, and to batches of blocks that bound memory. Pure; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels import Pieces
from atlas.planning.packing import SPAN, WHOLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.planning.regions import Region

__all__ = ["Batch", "Ranges", "coalesce", "plan_batches", "plan_pieces"]

_BATCH = 1 << 20
"""Stored bytes of one batch: large enough to hide its Python, small enough to stay in a core's cache."""
_SHARE = 128 << 10
"""Stored bytes below which splitting work further is not worth a thread."""
_GAP = 32 << 10
"""Bytes between two wanted ranges that are read along: cheaper than another request to the kernel."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Stretches of a file to read, and where each wanted range lies in the buffer they are read into."""

    offset: NDArray[np.int64]
    """First byte of each stretch."""
    length: NDArray[np.int64]
    """Bytes of each stretch."""
    place: NDArray[np.int64]
    """Where each stretch begins in the buffer."""
    size: int
    """Bytes of the buffer."""
    within: NDArray[np.int64]
    """Where each wanted range begins in the buffer."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks of one source that are read and decoded together."""

    blocks: NDArray[np.int64]
    """Rows of the source's block table, ascending."""
    first: int
    """First piece …"""
    stop: int
    """… and the one after the last."""


def plan_pieces(
    region: Region,
    itemsize: int,
    block: NDArray[np.int64],
    place: NDArray[np.int64],
    chunk: NDArray[np.int64],
    target: NDArray[np.int64],
) -> Pieces:
    """Return the pieces of chunks that begin at `place` of `block`, ordered by block.

    `chunk` is the chunk's position in the region and `target` its row in the result. A chunk that was cut into
    several blocks gives a piece for each of them that the box touches.
    """
    count = region.cells[chunk]
    begin = np.zeros(len(block), np.int64)
    long = count * itemsize > WHOLE
    if long.any():
        step = SPAN // itemsize
        extent, first, part = region.geometry.extent, region.geometry.first, region.geometry.count
        low, high = np.zeros(len(extent), np.int64), np.zeros(len(extent), np.int64)
        for axis in range(extent.shape[1]):
            low = low * extent[:, axis] + first[:, axis]
            high = high * extent[:, axis] + first[:, axis] + part[:, axis] - 1
        lowest = np.where(long, low[chunk] // step, 0)
        pieces = np.where(long, high[chunk] // step, 0) - lowest + 1
        row = np.repeat(np.arange(len(block)), pieces)
        span = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + lowest[row]
        block, place, chunk, target = block[row] + span, place[row], chunk[row], target[row]
        begin = span * step
        count = np.where(long[row], np.minimum(step, count[row] - begin), count[row])
    if (block[1:] < block[:-1]).any():
        order = np.argsort(block, kind="stable")
        block, place, begin, count = block[order], place[order], begin[order], count[order]
        chunk, target = chunk[order], target[order]
    return Pieces(block, place, begin, count, chunk, target)


def plan_batches(pieces: Pieces, stored: NDArray[np.int64], threads: int) -> list[Batch]:
    """Return batches over `pieces`, whose blocks have `stored` bytes, for so many threads."""
    if not len(pieces.block):
        return []
    heads = np.flatnonzero(np.concatenate([[True], pieces.block[1:] != pieces.block[:-1]]))
    blocks = pieces.block[heads]
    ends = np.cumsum(stored[blocks])
    share = min(_BATCH, max(_SHARE, int(ends[-1]) // max(threads, 1) + 1))
    lot = (ends - 1).clip(0) // share
    cuts = np.flatnonzero(np.concatenate([[True], lot[1:] != lot[:-1]]))
    edges = np.append(heads, len(pieces.block))
    stops = np.append(cuts[1:], len(blocks))
    return [
        Batch(blocks[cut:stop], int(edges[cut]), int(edges[stop]))
        for cut, stop in zip(cuts.tolist(), stops.tolist(), strict=True)
    ]


def coalesce(offset: NDArray[np.int64], length: NDArray[np.int64]) -> Ranges:
    """Return the stretches to read for the ranges wanted; neighbours at most `_GAP` bytes apart are read as one.

    Ranges come in the order of their offsets where that pays; others are read one by one.
    """
    if not len(offset):
        return Ranges(offset, length, offset, 0, offset)
    end = offset + length
    gap = offset[1:] - end[:-1]
    apart = np.concatenate([[True], (gap < 0) | (gap > _GAP)])
    heads = np.flatnonzero(apart)
    stretch = np.cumsum(apart) - 1
    begin = offset[heads]
    last = np.append(heads[1:], len(offset)) - 1
    size = end[last] - begin
    place = np.cumsum(size) - size
    return Ranges(begin, size, place, int(size.sum()), place[stretch] + offset - begin[stretch])
