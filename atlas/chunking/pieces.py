"""The pieces that chunks give which were cut into several blocks. Pure; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.packing import SPAN, WHOLE
from atlas.kernels import PIECE_BEGIN, PIECE_BLOCK, PIECE_CELLS, PIECE_CHUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.chunking.regions import Region

__all__ = ["cut_pieces", "first_blocks"]


def cut_pieces(region: Region, itemsize: int, pieces: NDArray[np.int64], blocks: int) -> NDArray[np.int64]:
    """Return pieces (6, pieces), ordered by block, for `pieces` that are whole chunks and name their first block.

    A chunk that was cut into several blocks gives a piece for each of them that the box touches.

    Raises `IndexError`, with the number of the piece, where one would reach past the last of so many `blocks`: how many
    pieces a chunk gives is as its shape declares.
    """
    if not len(region.cells) or int(region.cells.max()) * itemsize <= WHOLE:
        return pieces
    chunk = pieces[PIECE_CHUNK]
    long = pieces[PIECE_CELLS] * itemsize > WHOLE
    step = SPAN // itemsize
    geometry = region.geometry
    extent, first, part = geometry.extent, geometry.first, geometry.part
    low, high = np.zeros(len(extent), np.int64), np.zeros(len(extent), np.int64)
    for axis in range(extent.shape[1]):
        low = low * extent[:, axis] + first[:, axis]
        high = high * extent[:, axis] + first[:, axis] + part[:, axis] - 1
    lowest = np.where(long, low[chunk] // step, 0)
    count = np.where(long, high[chunk] // step, 0) - lowest + 1
    beyond = pieces[PIECE_BLOCK] + lowest + (count - 1) >= blocks
    if beyond.any():
        raise IndexError(int(np.argmax(beyond)))
    row = np.repeat(np.arange(len(chunk)), count)
    span = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + lowest[row]
    cut = pieces[:, row]
    cut[PIECE_BLOCK] += span
    cut[PIECE_BEGIN] = span * step
    cut[PIECE_CELLS] = np.where(long[row], np.minimum(step, cut[PIECE_CELLS] - cut[PIECE_BEGIN]), cut[PIECE_CELLS])
    if (cut[PIECE_BLOCK, 1:] < cut[PIECE_BLOCK, :-1]).any():
        cut = cut[:, np.argsort(cut[PIECE_BLOCK], kind="stable")]
    return cut


def first_blocks(pieces: NDArray[np.int64], itemsize: int) -> NDArray[np.int64]:
    """Return the block in which the chunk of each piece begins."""
    first: NDArray[np.int64] = pieces[PIECE_BLOCK] - pieces[PIECE_BEGIN] * itemsize // SPAN
    return first
