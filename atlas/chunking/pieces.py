"""Which blocks hold what a read wants of large chunks, and the piece that each of them gives. Pure; no I/O.

A chunk of more than `Limits.cut_over` bytes is cut into blocks of `cut_into` bytes, the last one shorter. They are
consecutive in the block table: the chunk's row in the index names the first. Every other chunk is in one block, whole.
Whether the blocks exist is for the caller to check, between `wanted_blocks` and `cut_pieces`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.packing import number_items
from atlas.kernels import PIECE_BEGIN, PIECE_BLOCK, PIECE_CELLS, PIECE_CHUNK
from atlas.runtime.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.kernels import Geometry

__all__ = ["cut_pieces", "has_cut_chunks", "wanted_blocks"]


def has_cut_chunks(region: Region, itemsize: int, limits: Limits = DEFAULT) -> bool:
    """Return whether any chunk of `region`, of cells of `itemsize` bytes, was cut into several blocks."""
    return len(region.cells) > 0 and int(region.cells.max()) * itemsize > limits.cut_over


def wanted_blocks(
    region: Region, itemsize: int, chunks: NDArray[np.int64], limits: Limits = DEFAULT
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last block that a read of `region` needs of each of `chunks`.

    `chunks` (6, N) are pieces that are whole chunks, whose `PIECE_BLOCK` is the chunk's first block. Blocks are counted
    from that one, so that a chunk which was not cut gives 0 and 0. Both results are of shape (N,).
    """
    cells_per_block = limits.cut_into // itemsize
    low, high = _cell_range(region.geometry)
    row = chunks[PIECE_CHUNK]
    cut = chunks[PIECE_CELLS] * itemsize > limits.cut_over
    return np.where(cut, low[row] // cells_per_block, 0), np.where(cut, high[row] // cells_per_block, 0)


def _cell_range(geometry: Geometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the C-order number, within its chunk, of the first and the last cell that the box takes of each chunk."""
    low, high = np.zeros((2, len(geometry.extent)), np.int64)
    for axis in range(geometry.extent.shape[1]):
        extent, first, count = geometry.extent[:, axis], geometry.first[:, axis], geometry.part[:, axis]
        low = low * extent + first
        high = high * extent + first + count - 1
    return low, high


def cut_pieces(
    chunks: NDArray[np.int64],
    itemsize: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    limits: Limits = DEFAULT,
) -> NDArray[np.int64]:
    """Return the pieces (6, M), ordered by block, that the blocks `first` to `last` of each of `chunks` (6, N) give.

    `first` and `last` (N,) are what `wanted_blocks` returns. A piece has the cells of its chunk that lie in its block;
    a chunk that was not cut is one piece, as it came.
    """
    cells_per_block = limits.cut_into // itemsize
    chunk, number = number_items(last - first + 1)
    number += first[chunk]
    pieces = chunks[:, chunk]
    cells = pieces[PIECE_CELLS]
    cut = cells * itemsize > limits.cut_over
    begin = number * cells_per_block
    pieces[PIECE_BLOCK] += number
    pieces[PIECE_BEGIN] = begin
    pieces[PIECE_CELLS] = np.where(cut, np.minimum(cells_per_block, cells - begin), cells)
    # A dataset that is named twice gives the same blocks twice.
    if (pieces[PIECE_BLOCK, 1:] < pieces[PIECE_BLOCK, :-1]).any():
        pieces = pieces[:, np.argsort(pieces[PIECE_BLOCK], kind="stable")]
    return pieces
