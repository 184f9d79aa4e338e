"""Chunks of text and bytes: where each cell's bytes lie, and gathering cells. Nothing is decoded here.

Refuses chunks and cells that leave the bytes given.

A chunk of n cells is n little-endian uint32 byte lengths, then the bytes of the cells back to back. A missing cell has
the largest length, `MISSING_LENGTH`, and no bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import kernel
from atlas.kernels.layouts import as_column, as_source
from atlas.kernels.memcpy import copy_bytes, read_uint32
from atlas.kernels.status import ARGUMENT, OFFSET, OK, raise_status

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8

__all__ = ["gather_strings", "string_offsets"]

MISSING_LENGTH = 2**32 - 1
"""The length that stands for a missing cell."""


@kernel
def _bound(raw: U8, offset: I64, cells: I64, out: I64, missing: U8, out_start: I64) -> tuple[Int, Int]:
    """`string_offsets`, whose arguments these are; a status and the chunk that it is about."""
    for row in range(offset.size):
        if cells[row] < 0 or out_start[row] < 0 or cells[row] > out.size - 1 - out_start[row]:
            return ARGUMENT, row
        if offset[row] < 0 or offset[row] > raw.size or cells[row] > (raw.size - offset[row]) // 4:
            return OFFSET, row
        first = offset[row]
        at = first + 4 * cells[row]
        base = out_start[row]
        out[base] = at
        for i in range(cells[row]):
            length = np.int64(read_uint32(raw, first + 4 * i))
            gone = length == MISSING_LENGTH
            at += np.int64(0) if gone else length
            out[base + i + 1] = at
            missing[base + i] = np.uint8(gone)
        # Lengths only add up, and 2**31 of them stay below 2**63: checking the last end checks all.
        if at > raw.size:
            return OFFSET, row
    return OK, 0


def string_offsets(raw: U8, offset: I64, cells: I64, out: I64, missing: U8, out_start: I64) -> None:
    """Write the offsets in `raw` between which each cell's bytes lie: n + 1 of them for a chunk of n cells.

    `raw` is 1-D uint8. Chunk i begins at `raw[offset[i]]`, has `cells[i]` cells, and its offsets go to
    `out[out_start[i]:]`, int64. They ascend and stay within `raw`. `missing` is uint8, as long as `out`; of the cell
    whose bytes begin at an entry of `out`, the same entry of it becomes 1 where the cell is missing, else 0.

    Raises:
        BlockError: a chunk leaves `raw` (reason "offset", `block` is the chunk's row); `out` and `missing` are then of
            no meaning.
        ValueError: columns of different lengths, or offsets that would leave `out`.

    """
    offset, cells, out_start = as_column(offset), as_column(cells), as_column(out_start)
    if not offset.size == cells.size == out_start.size or out.dtype != np.int64 or out.ndim != 1:
        message = f"{offset.size} offsets, {cells.size} counts and {out_start.size} starts do not fit together"
        raise ValueError(message)
    if missing.dtype != np.uint8 or missing.shape != out.shape:
        message = f"{out.size} offsets need as many uint8 of missing cells, not {missing.shape} of {missing.dtype}"
        raise ValueError(message)
    if not all(array.flags.c_contiguous and array.flags.writeable for array in (out, missing)):
        message = "the arrays that are written must be writable and C-contiguous"
        raise ValueError(message)
    raise_status(*_bound(as_source(raw), offset, cells, out, missing, out_start))


@kernel
def _gather_cells(raw: U8, begin: I64, offsets: I64, out: U8) -> None:
    """Copy cell i from `raw[begin[i]:]` to `out[offsets[i]:offsets[i + 1]]`; int64 (cells,) and (cells + 1,)."""
    for i in range(begin.size):
        copy_bytes(out, offsets[i], raw, begin[i], offsets[i + 1] - offsets[i])


def gather_strings(raw: U8, begin: I64, end: I64) -> tuple[U8, I64]:
    """The bytes of the cells `raw[begin:end]` back to back, and the n + 1 offsets between which each lies.

    Raises:
        ValueError: columns of different lengths, or a cell that leaves `raw`.

    """
    source, begin, end = as_source(raw), as_column(begin), as_column(end)
    if begin.size != end.size:
        message = f"{begin.size} beginnings and {end.size} ends"
        raise ValueError(message)
    bad = (begin < 0) | (end < begin) | (end > source.size)
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    offsets = np.zeros(begin.size + 1, np.int64)
    np.cumsum(end - begin, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _gather_cells(source, begin, offsets, out)
    return out, offsets
