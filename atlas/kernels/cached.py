"""Copies the wanted boxes of many chunks out of blocks that lie decoded in memory: a cache keeps them.

The twin of `gather` for blocks that were decoded before: reads no stored bytes, compares no checksum. A piece outside
its block is a `BlockError` all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.kernels.copy_plan import make_plan
from atlas.kernels.gather import as_request, check_pieces, copy_pieces
from atlas.kernels.jit import kernel
from atlas.kernels.layouts import BLOCK_RAW, as_bytes, as_source
from atlas.kernels.read_batches import WANTED_BLOCK, WANTED_OFFSET, WANTED_PIECE
from atlas.kernels.status import ARGUMENT, BOUNDS, OK, raise_status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.gather import Request
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, Geometry

__all__ = ["copy_boxes"]


def copy_boxes(
    decoded: U8, table: I64, wanted: I64, begin: int, end: int, pieces: I64, geometry: Geometry, out: NDArray[Any]
) -> None:
    """Copy the wanted boxes of many chunks out of the decoded blocks that columns `begin` to `end` of `wanted` name.

    `decoded` is 1-D uint8, in which the decoded bytes of each block begin at its `WANTED_OFFSET`. All else is as for
    `gather_boxes`: `table` is int64 (8, blocks), `wanted` int64 (3, wanted + 1), `pieces` int64 (6, pieces), `out`
    writable, C-contiguous, of shape (N, *geometry.box). Cells that no piece covers are left as they are.

    Raises:
        BlockError: a block lies outside of `decoded` (reason "bounds"), or a piece outside of its block ("offset").
            Nothing has been copied. Its `block` is the row of `table`.
        ValueError: shapes that do not fit together, or a row that the request names and that is not there.

    """
    decoded, request = as_source(decoded), as_request(table, wanted, begin, end, pieces, geometry, out)
    plan = make_plan(out.ndim - 1)
    raise_status(*_copy(decoded, request, begin, end, out.shape[0], out.itemsize, plan, as_bytes(out)))


@kernel
def _copy(
    decoded: U8, request: Request, begin: Int, end: Int, targets: Int, cell: Int, plan: I64, out: U8
) -> tuple[Int, Int]:
    """Check the wanted blocks `begin` to `end` of `request`, and copy their pieces if all are right.

    `decoded` is 1-D uint8, the decoded bytes; there are `targets` rows of the result and `cell` bytes to a cell; `plan`
    is of `make_plan`; `out` 1-D uint8, rows of as many bytes as the result's box has, in C order. Returns a status and
    the row that it is about: of a block, or of a piece where the request is wrong.
    """
    table, wanted, _, _, box = request
    row_bytes = np.int64(cell)
    for axis in range(box.size):
        row_bytes *= box[axis]
    for at in range(begin, end):
        row, offset = wanted[WANTED_BLOCK, at], wanted[WANTED_OFFSET, at]
        if row < 0 or row >= table.shape[1]:
            return ARGUMENT, wanted[WANTED_PIECE, at]
        raw = table[BLOCK_RAW, row]
        if raw < 0 or offset < 0 or raw > decoded.size or offset > decoded.size - raw:
            return BOUNDS, row
        status, stray = check_pieces(request, at, raw, targets, cell)
        if status != OK:
            return status, stray
    for at in range(begin, end):
        piece, last, offset = wanted[WANTED_PIECE, at], wanted[WANTED_PIECE, at + 1], wanted[WANTED_OFFSET, at]
        while piece < last:
            piece = copy_pieces(decoded, offset, request, piece, last, cell, row_bytes, plan, out)
    return OK, 0
