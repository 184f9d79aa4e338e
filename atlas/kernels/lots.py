"""Cuts pieces, ordered by block, into lots that are read and decoded together, and finds the stretches to read.

Neighbouring blocks are read in one stretch. Numbers only: nothing here touches stored bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.faults import ARGUMENT, raise_status
from atlas.kernels.policy import ZERO, kernel
from atlas.kernels.tables import BLOCK_OFFSET, BLOCK_SOURCE, BLOCK_STORED, as_column, as_table

if TYPE_CHECKING:
    from atlas.kernels.policy import Int
    from atlas.kernels.tables import I64

__all__ = [
    "CUT_BLOCK",
    "CUT_SIZE",
    "CUT_STRETCH",
    "LOT_BLOCK",
    "LOT_EDGE",
    "LOT_WITHIN",
    "STRETCH_LENGTH",
    "STRETCH_OFFSET",
    "STRETCH_PLACE",
    "STRETCH_SOURCE",
    "plan_lots",
]

LOT_BLOCK = 0
"""Tables of wanted blocks, (3, blocks + 1), the last row for its edge alone: row in the block table."""
LOT_WITHIN = 1
"""Where the block's stored bytes begin in the buffer that its lot is read into."""
LOT_EDGE = 2
"""The block's first piece; the next row's is the one after its last."""

CUT_BLOCK = 0
"""Tables of lots, (3, lots + 1), the last row for its edges alone: the lot's first wanted block."""
CUT_STRETCH = 1
"""The lot's first stretch."""
CUT_SIZE = 2
"""Bytes of the buffer that the lot is read into."""

STRETCH_OFFSET = 0
"""Tables of stretches, (4, stretches), each read in one go: first byte in its source."""
STRETCH_LENGTH = 1
"""Bytes."""
STRETCH_PLACE = 2
"""Where it begins in the buffer."""
STRETCH_SOURCE = 3
"""Its source; within a lot they ascend as blocks do."""

_LOT = 2 << 20
"""Stored bytes of one lot: enough to hide its Python, few enough to stay in the processor's cache."""
_SHARE = 128 << 10
"""Stored bytes below which splitting work further is not worth a thread."""


@kernel
def _plan(
    block: I64, table: I64, threads: Int, largest: Int, smallest: Int, most_gap: Int, wanted: I64, cuts: I64,
    stretches: I64,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """(blocks, lots, stretches), or (piece, -1, 0) where a piece names a block that is not there or before the last."""
    blocks = total = ZERO
    for piece in range(block.size):
        row = block[piece]
        if blocks == 0 or row != wanted[LOT_BLOCK, blocks - 1]:
            if row < 0 or row >= table.shape[1] or (blocks > 0 and row < wanted[LOT_BLOCK, blocks - 1]):
                return piece, -1, 0
            wanted[LOT_BLOCK, blocks] = row
            wanted[LOT_EDGE, blocks] = piece
            total += table[BLOCK_STORED, row]
            blocks += 1
    wanted[LOT_EDGE, blocks] = block.size
    # As many for each thread, so that none waits for the last.
    count = (total // (largest * threads) + 1) * threads
    share = max(smallest, total // count + 1)
    lots = stretch = size = inside = end = ZERO
    for at in range(blocks):
        row = wanted[LOT_BLOCK, at]
        offset, stored, source = table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], table[BLOCK_SOURCE, row]
        if at == 0 or inside >= share:
            lots += 1
            cuts[CUT_BLOCK, lots - 1], cuts[CUT_STRETCH, lots - 1] = at, stretch
            size = inside = ZERO
            end = np.int64(-1)
        gap = offset - end
        if end < 0 or gap < 0 or gap > most_gap or source != stretches[STRETCH_SOURCE, stretch - 1]:
            stretches[STRETCH_OFFSET, stretch], stretches[STRETCH_LENGTH, stretch] = offset, 0
            stretches[STRETCH_PLACE, stretch], stretches[STRETCH_SOURCE, stretch] = size, source
            stretch += 1
            gap = ZERO
        wanted[LOT_WITHIN, at] = size + gap
        stretches[STRETCH_LENGTH, stretch - 1] += gap + stored
        size += gap + stored
        inside += stored
        end = offset + stored
        cuts[CUT_SIZE, lots - 1] = size
    cuts[CUT_BLOCK, lots], cuts[CUT_STRETCH, lots] = blocks, stretch
    return blocks, lots, stretch


def plan_lots(block: I64, table: I64, threads: int, gap: int) -> tuple[I64, I64, I64]:
    """Cut the pieces that lie in the blocks `block`, ascending, row numbers of `table`, into lots for so many threads.

    Blocks at most `gap` bytes apart in their source are read in one stretch, with the bytes between them.

    Returns three int64 tables: the wanted blocks, (3, blocks + 1), rows `LOT_BLOCK` and after it; the lots,
    (3, lots + 1), rows `CUT_BLOCK` and after it; and the stretches to read, (4, stretches), rows `STRETCH_OFFSET` and
    after it.

    Raises:
        ValueError: a block that is not there, or one after another that comes before it.

    """
    block, table = as_column(block), as_table(table)
    most = min(block.size, table.shape[1]) + 1
    wanted, cuts, stretches = (np.empty((rows, most), np.int64) for rows in (3, 3, 4))
    blocks, lots, count = _plan(block, table, threads, _LOT, _SHARE, gap, wanted, cuts, stretches)
    if lots < 0:
        raise_status(ARGUMENT, blocks)
    return wanted[:, : blocks + 1].copy(), cuts[:, : lots + 1], stretches[:, :count].copy()
