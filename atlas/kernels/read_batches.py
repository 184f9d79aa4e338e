"""Plans reads: groups wanted blocks into batches, one a thread at a time, and finds the byte ranges to read.

Numbers only: nothing here touches stored bytes. Refuses pieces that are out of order or name a block that the table
does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import ZERO, kernel
from atlas.kernels.layouts import BLOCK_OFFSET, BLOCK_SOURCE, BLOCK_STORED, as_column, as_table
from atlas.kernels.status import ARGUMENT, raise_status

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64

__all__ = [
    "BATCH_BLOCK",
    "BATCH_BYTES",
    "BATCH_RANGE",
    "BATCH_SIZE",
    "RANGE_LENGTH",
    "RANGE_OFFSET",
    "RANGE_SOURCE",
    "RANGE_TARGET",
    "THREAD_BYTES",
    "WANTED_BLOCK",
    "WANTED_OFFSET",
    "WANTED_PIECE",
    "plan_read_batches",
]

WANTED_BLOCK = 0
"""Tables of wanted blocks, (3, blocks + 1), the last column for its end alone: row in the block table."""
WANTED_OFFSET = 1
"""Where the block's stored bytes begin in the buffer that its batch is read into."""
WANTED_PIECE = 2
"""The block's first piece; the next column has the one after its last."""

BATCH_BLOCK = 0
"""Tables of batches, (3, batches + 1), the last column for its ends alone: the batch's first wanted block."""
BATCH_RANGE = 1
"""The batch's first range."""
BATCH_SIZE = 2
"""Bytes of the buffer that the batch is read into."""

RANGE_OFFSET = 0
"""Tables of ranges, (4, ranges), each read in one request: first byte in its source."""
RANGE_LENGTH = 1
"""Bytes."""
RANGE_TARGET = 2
"""Where it begins in the batch's buffer."""
RANGE_SOURCE = 3
"""Its source; within a batch they ascend as blocks do."""

BATCH_BYTES = 2 << 20
"""Most stored bytes of a batch, a last block aside: enough to hide its Python, few enough to stay in the cache."""
THREAD_BYTES = 128 << 10
"""Stored bytes below which splitting work further is not worth a thread."""


def plan_read_batches(
    block: I64, table: I64, threads: int, gap: int, batch_bytes: int = BATCH_BYTES, thread_bytes: int = THREAD_BYTES
) -> tuple[I64, I64, I64]:
    """Group pieces into batches for `threads` threads; `block`, int64 (pieces,), is the ascending block of each.

    `table` is the block table, int64 (8, blocks). `gap` is the most unwanted bytes that a range reads through between
    two wanted blocks, rather than to end there: what suits the storage.

    Returns three int64 tables: the wanted blocks, (3, blocks + 1), see `WANTED_BLOCK`; the batches, (3, batches + 1),
    see `BATCH_BLOCK`; and the ranges to read, (4, ranges), see `RANGE_OFFSET`.

    Raises:
        ValueError: a block that is not in the table, or one that comes before its predecessor; a negative gap.

    """
    if gap < 0:
        message = f"the gap that a range reads through is a number of bytes, not {gap}"
        raise ValueError(message)
    block, table = as_column(block), as_table(table)
    most = min(block.size, table.shape[1]) + 1
    wanted, batches, ranges = (np.empty((rows, most), np.int64) for rows in (3, 3, 4))
    blocks, batch_count, range_count = _plan(
        block, table, threads, batch_bytes, thread_bytes, gap, wanted, batches, ranges
    )
    if batch_count < 0:
        raise_status(ARGUMENT, blocks)
    return wanted[:, : blocks + 1].copy(), batches[:, : batch_count + 1], ranges[:, :range_count].copy()


@kernel
def _plan(
    block: I64, table: I64, threads: Int, batch_bytes: Int, thread_bytes: Int, gap: Int, wanted: I64, batches: I64,
    ranges: I64,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """Fill `wanted`, (3, blocks + 1), `batches`, (3, batches + 1), and `ranges`, (4, ranges), all of ample room.

    Returns the three counts, or (piece, -1, 0) where a piece names a block that is not in the table or before the last.
    """
    blocks = total = ZERO
    for piece in range(block.size):
        row = block[piece]
        if blocks == 0 or row != wanted[WANTED_BLOCK, blocks - 1]:
            if row < 0 or row >= table.shape[1] or (blocks > 0 and row < wanted[WANTED_BLOCK, blocks - 1]):
                return piece, -1, 0
            wanted[WANTED_BLOCK, blocks] = row
            wanted[WANTED_PIECE, blocks] = piece
            total += table[BLOCK_STORED, row]
            blocks += 1
    wanted[WANTED_PIECE, blocks] = block.size
    # As many for each thread, so that none waits for the last.
    count = (total // (batch_bytes * threads) + 1) * threads
    share = max(thread_bytes, total // count + 1)
    batch_count = range_count = size = inside = end = ZERO
    for at in range(blocks):
        row = wanted[WANTED_BLOCK, at]
        offset, stored, source = table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], table[BLOCK_SOURCE, row]
        if at == 0 or inside >= share:
            batches[BATCH_BLOCK, batch_count], batches[BATCH_RANGE, batch_count] = at, range_count
            batch_count += 1
            size = inside = ZERO
            end = np.int64(-1)
        skipped = offset - end
        if end < 0 or skipped < 0 or skipped > gap or source != ranges[RANGE_SOURCE, range_count - 1]:
            ranges[RANGE_OFFSET, range_count], ranges[RANGE_LENGTH, range_count] = offset, 0
            ranges[RANGE_TARGET, range_count], ranges[RANGE_SOURCE, range_count] = size, source
            range_count += 1
            skipped = ZERO
        wanted[WANTED_OFFSET, at] = size + skipped
        ranges[RANGE_LENGTH, range_count - 1] += skipped + stored
        size += skipped + stored
        inside += stored
        end = offset + stored
        batches[BATCH_SIZE, batch_count - 1] = size
    batches[BATCH_BLOCK, batch_count], batches[BATCH_RANGE, batch_count] = blocks, range_count
    return blocks, batch_count, range_count
