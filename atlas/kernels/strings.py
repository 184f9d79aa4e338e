"""Chunks of text and bytes: where each cell's bytes lie, which cells are equal, and gathering. Nothing is decoded here.

Refuses chunks and cells that leave the bytes given.

A chunk of n cells is n little-endian uint32 byte lengths, then the bytes of the cells back to back. A missing cell has
the largest length, `MISSING_LENGTH`, and no bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import ZERO, inner, kernel
from atlas.kernels.layouts import as_column, as_source
from atlas.kernels.memcpy import copy_bytes, read_uint32, read_uint64
from atlas.kernels.status import ARGUMENT, OFFSET, OK, raise_status

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8

__all__ = ["find_distinct", "gather_strings", "string_offsets"]

MISSING_LENGTH = 2**32 - 1
"""The length that stands for a missing cell."""
_MOST_PROBES = 16
"""Slots of the table that are looked at for one cell: a forged file may hold any number of cells of one hash."""
_SAMPLE, _MOST_DISTINCT = 1024, 768
"""Where more of the first cells differ, looking for equal ones takes longer than decoding each cell."""
_FACTOR, _SHIFT, _LARGEST = np.int64(0x2127599BF4325C37), np.int64(32), 2**63 - 1


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
    source, begin, end = _as_cells(raw, begin, end)
    offsets = np.zeros(begin.size + 1, np.int64)
    np.cumsum(end - begin, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _gather_cells(source, begin, offsets, out)
    return out, offsets


def _as_cells(raw: U8, begin: I64, end: I64) -> tuple[U8, I64, I64]:
    """The arguments of `gather_strings` as kernels take them; a ValueError as it says."""
    source, begin, end = as_source(raw), as_column(begin), as_column(end)
    if begin.size != end.size:
        message = f"{begin.size} beginnings and {end.size} ends"
        raise ValueError(message)
    bad = (begin < 0) | (end < begin) | (end > source.size)
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    return source, begin, end


@inner
def _last_bytes(raw: U8, begin: Int, end: Int) -> Int:
    """The last 8 bytes of `raw[begin:end]`, or all where it has fewer, as a number that differs where these do."""
    size = end - begin
    if size >= 8:
        return read_uint64(raw, end - 8)
    if size >= 4:
        return read_uint32(raw, begin) | read_uint32(raw, end - 4) << 32
    bits = ZERO
    for i in range(begin, end):
        bits = bits << 8 | np.int64(raw[np.uint64(i)])
    return bits


@inner
def _hash(raw: U8, begin: Int, end: Int) -> Int:
    """A number, at least 0, that equal bytes `raw[begin:end]` share."""
    bits = np.int64(end - begin) * _FACTOR
    at = np.int64(begin)
    while at + 8 < end:
        bits = (bits ^ np.int64(read_uint64(raw, at))) * _FACTOR
        bits ^= bits >> _SHIFT
        at += 8
    bits = (bits ^ np.int64(_last_bytes(raw, begin, end))) * _FACTOR
    bits = (bits ^ bits >> _SHIFT) * _FACTOR  # a product's low bits depend on low ones alone
    return (bits ^ bits >> _SHIFT) & np.int64(_LARGEST)


@inner
def _are_equal(raw: U8, one: Int, other: Int, size: Int) -> bool:
    """Whether the `size` bytes at `one` and at `other` are the same."""
    at = ZERO
    while at + 8 < size:
        if read_uint64(raw, one + at) != read_uint64(raw, other + at):
            return False
        at += 8
    same: bool = _last_bytes(raw, one, one + size) == _last_bytes(raw, other, other + size)
    return same


@kernel
def _distinct(raw: U8, begin: I64, end: I64, table: I64, first: I64, of: I64) -> Int:
    """`find_distinct`: fill `first` and `of`, int64 (cells,), and return the number of distinct cells, -1 for too many.

    `table`, int64, is -1 in each of its slots, whose number is a power of two above that of the cells.
    """
    found, mask = ZERO, table.size - 1
    for i in range(begin.size):
        size, slot, equal = end[i] - begin[i], _hash(raw, begin[i], end[i]) & mask, False
        for _ in range(_MOST_PROBES):
            one = table[slot]
            if one < 0:
                table[slot] = found
                break
            j = first[one]
            equal = end[j] - begin[j] == size and _are_equal(raw, begin[i], begin[j], size)
            if equal:
                of[i] = one
                break
            slot = (slot + 1) & mask
        if not equal:
            first[found], of[i] = i, found
            found += 1
        if i == _SAMPLE - 1 and found > _MOST_DISTINCT:
            return np.int64(-1)
    return found


def find_distinct(raw: U8, begin: I64, end: I64) -> tuple[I64, I64] | None:
    """The first of each group of equal cells among the cells `raw[begin:end]`, (D,), and which of them each is, (N,).

    A few equal cells may count as different. None where so many differ that it takes longer to look than it saves.

    Raises:
        ValueError: what `gather_strings` raises.

    """
    source, begin, end = _as_cells(raw, begin, end)
    table = np.full(1 << int(2 * begin.size).bit_length(), -1, np.int64)
    first, of = np.empty((2, begin.size), np.int64)
    found = int(_distinct(source, begin, end, table, first, of))
    return None if found < 0 else (first[:found], of)
