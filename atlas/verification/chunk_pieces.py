"""Where the cells of chunks lie in decoded blocks, and which chunks cannot lie where the index says. Pure; no I/O.

The counterpart of `chunking.packing` for whole chunks over many sources; `chunking.pieces` serves reads of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.packing import block_counts, number_items
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pieces", "StoredChunks", "plan_pieces"]

_LARGEST = 2**63 - 1
_PIECE_BYTES = 120
"""Memory that a piece takes until its chunk is compared, about."""


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """Chunks that lie in blocks, in columns of shape (N,)."""

    row: NDArray[np.int64]
    """Row of the chunk in the chunk index."""
    kind: NDArray[np.int64]
    """Number of the dtype and fill that its cells are counted by."""
    source: NDArray[np.int64]
    """Number of the source that its blocks are in."""
    block: NDArray[np.int64]
    """Its first block, counted within the source."""
    offset: NDArray[np.int64]
    """Byte in the decoded block where it begins."""
    cells: NDArray[np.int64]
    """Its number of cells."""
    itemsize: NDArray[np.int64]
    """Bytes of a cell; of a string, the bytes of its length alone."""
    is_string: NDArray[np.bool_]
    """Whether its cells are strings: such a chunk is never cut."""

    def take(self, at: NDArray[np.bool_]) -> StoredChunks:
        """Return the chunks for which `at` (N,) is true."""
        return StoredChunks(*(getattr(self, column.name)[at] for column in fields(self)))


@dataclass(frozen=True, slots=True)
class Pieces:
    """Chunks, or the parts of chunks that were cut, ordered by block, in columns of shape (M,)."""

    row: NDArray[np.int64]
    """Row of the chunk in the chunk index."""
    block: NDArray[np.int64]
    """Block, counted over all sources."""
    offset: NDArray[np.int64]
    """Byte in the decoded block where the piece begins."""
    cells: NDArray[np.int64]
    """Its number of cells."""
    kind: NDArray[np.int64]
    """Number of the dtype and fill that its cells are counted by."""


def plan_pieces(
    chunks: StoredChunks, base: NDArray[np.int64], raw: NDArray[np.int64], limits: Limits = DEFAULT
) -> tuple[Pieces, NDArray[np.int64]]:
    """Return the pieces of `chunks`, and the rows of the chunks that cannot lie where the index says, which have none.

    `base` (S,) is the first block of each source, `raw` (B,) the decoded bytes of all blocks. A chunk of up to
    `limits.cut_over` bytes, or of strings, must lie within one block. A larger one must fill blocks of
    `limits.cut_into` bytes, the last one shorter, that are consecutive in its source.

    Raises `TooLargeError` where the pieces would take more memory than there is.
    """
    nbytes = np.where(chunks.cells > _LARGEST // chunks.itemsize, _LARGEST, chunks.cells * chunks.itemsize)
    counts = np.where(chunks.is_string, 1, block_counts(nbytes, limits))
    first = base[chunks.source] + chunks.block
    end = np.append(base[1:], len(raw))[chunks.source]
    # Decided before any piece is made: an index may claim chunks of petabytes.
    exist = counts <= end - first
    missing = chunks.row[~exist]
    chunks, nbytes, counts, first = chunks.take(exist), nbytes[exist], counts[exist], first[exist]
    room = int(counts.sum()) * _PIECE_BYTES
    check_room(room, "a plan to verify so many chunks", "verify the store on a larger machine")

    owner, number = number_items(counts)
    block, offset = first[owner] + number, chunks.offset[owner]
    is_cut = counts[owner] > 1
    piece_bytes = np.where(is_cut, np.minimum(limits.cut_into, nbytes[owner] - number * limits.cut_into), nbytes[owner])
    lies_within = (offset <= raw[block]) & (piece_bytes <= raw[block] - offset)
    fills = (offset == 0) & (piece_bytes == raw[block])
    misplaced = np.zeros(len(counts), bool)
    misplaced[owner[~np.where(is_cut, fills, lies_within)]] = True

    kept = np.flatnonzero(~misplaced[owner])
    kept = kept[np.argsort(block[kept], kind="stable")]
    owner = owner[kept]
    pieces = Pieces(
        row=chunks.row[owner],
        block=block[kept],
        offset=offset[kept],
        cells=piece_bytes[kept] // chunks.itemsize[owner],
        kind=chunks.kind[owner],
    )
    return pieces, np.concatenate([missing, chunks.row[misplaced]])
