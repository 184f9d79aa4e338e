"""The status numbers that kernels return, and the exception that doors raise for them.

Knows blocks by their row in a table, not files, datasets or arrays: the rooms above add those to the error users see.
"""

from __future__ import annotations

from typing import SupportsInt

__all__ = ["ARGUMENT", "BOUNDS", "CHECKSUM", "CODEC", "LENGTH", "OFFSET", "OK", "BlockError", "raise_status"]

OK = 0
CHECKSUM = 1
CODEC = 2
LENGTH = 3
OFFSET = 4
BOUNDS = 5
ARGUMENT = 6

_REASONS = {CHECKSUM: "checksum", CODEC: "codec", LENGTH: "length", OFFSET: "offset", BOUNDS: "bounds"}


class BlockError(Exception):
    """A stored block, or an offset in one, that no writer can have written."""

    def __init__(self, block: int, reason: str) -> None:
        super().__init__(block, reason)
        self.block = block
        """Row of the block in the table given."""
        self.reason = reason
        """`"checksum"`: the stored bytes do not match it. `"codec"`: an unknown codec, filter or item size, or bytes
        the decompressor refuses. `"length"`: the sizes of the table do not fit the codec or the data. `"offset"`: a
        piece or a cell reaches out of the block or of the result. `"bounds"`: the block reaches out of the source."""

    def __str__(self) -> str:
        return f"block {self.block}: {self.reason}"


def raise_status(status: SupportsInt, row: SupportsInt) -> None:
    """Raise what a kernel reported.

    Raises:
        BlockError: the block in that row of the table is damaged.
        ValueError: the request itself is wrong in that row: a row number, a box or a length out of range.

    """
    if int(status) == ARGUMENT:
        message = f"row {int(row)} of the request names a block, chunk, cell or byte range that is not there"
        raise ValueError(message)
    if int(status) != OK:
        raise BlockError(int(row), _REASONS[int(status)])
