"""Byte-shuffle and bit-shuffle, and their undoing for all of a block or for a range of it. Compresses nothing.

Of n items of s bytes, byte-shuffle keeps plane after plane: byte 0 of every item, then byte 1, ...; the bytes after
n * s follow as they are. Bit-shuffle does so with single bits, of the first n - n % 8 items, least significant bit
first. Lengths and offsets are trusted.

Bits are transposed between two transposes of bytes: joined, the bytes of 8 bit planes are words of 8 x 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import ZERO, inner, kernel
from atlas.kernels.layouts import BIT, BYTE, PLAIN
from atlas.kernels.memcpy import copy_bytes
from atlas.kernels.transpose import join_bytes, split_bytes, transpose_bits

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8, U64

__all__ = ["TRANSPOSE_SCRATCH", "plane_length", "shuffle_block", "unshuffle_range"]

_EIGHT: Int = np.int64(8)

_WINDOW = 256
"""Groups of 8 items that are transposed at a time, in a scratch that stays in the nearest cache."""
TRANSPOSE_SCRATCH = 2 * 8 * _WINDOW
"""Bytes of that scratch for each byte of an item."""


@inner
def _unshuffle_bits(
    data: U8, at: Int, itemsize: Int, groups: Int, begin: Int, end: Int, out: U8, out_at: Int, scratch: U8, words: U64
) -> None:
    """Join groups of 8 items `begin` to `end` of a block of `groups` to `out[out_at:]`; see `unshuffle_range`."""
    for group in range(begin, end, _WINDOW):
        count = min(_WINDOW, end - group)
        for j in range(itemsize):
            join_bytes(data, at + j * 8 * groups + group, groups, _EIGHT, count, scratch, j * 8 * count)
        transpose_bits(words, itemsize * count)
        join_bytes(scratch, ZERO, 8 * count, itemsize, 8 * count, out, out_at + (group - begin) * 8 * itemsize)


@inner
def _shuffle_bits(data: U8, at: Int, itemsize: Int, groups: Int, out: U8, out_at: Int, scratch: U8, words: U64) -> None:
    """Split the `groups` of 8 items at `data[at:]` to bit planes at `out[out_at:]`; see `shuffle_block`."""
    # Read-only as `data` is, by its type: so Numba compiles what splits them once.
    planes = scratch if groups > 0 else data
    for group in range(0, groups, _WINDOW):
        count = min(_WINDOW, groups - group)
        split_bytes(data, at + group * 8 * itemsize, itemsize, 8 * count, scratch, ZERO, 8 * count)
        transpose_bits(words, itemsize * count)
        row = itemsize * 8 * count
        for j in range(itemsize):
            split_bytes(planes, j * 8 * count, _EIGHT, count, scratch, row, count)
            for k in range(8):
                copy_bytes(out, out_at + (j * 8 + k) * groups + group, planes, row + k * count, count)


@kernel
def plane_length(length: Int, filter_: Int, itemsize: Int) -> Int:
    """Bytes of each of the `itemsize` planes of a filtered block of `length` bytes: one an item that takes part."""
    items = length // itemsize
    return items - items % 8 if filter_ == BIT else items


@kernel
def unshuffle_range(
    data: U8,
    at: Int,
    length: Int,
    filter_: Int,
    itemsize: Int,
    begin: Int,
    end: Int,
    out: U8,
    out_at: Int,
    scratch: U8,
    words: U64,
) -> None:
    """Undo a filter for the bytes `begin` to `end` of a block of `length` bytes that lies filtered at `data[at:]`.

    Byte b of the block goes to `out[out_at + b]`; other bytes of the block, never what is outside of it, may be written
    too. `itemsize` is at least 1. `data` and `out` are 1-D uint8; `scratch` is uint8 of `TRANSPOSE_SCRATCH * itemsize`
    bytes, and `words` the same memory as uint64.
    """
    if begin >= end:
        return
    items = plane_length(length, filter_, itemsize)
    whole = items * itemsize
    if begin < whole:
        stop = min(end, whole)
        if filter_ == PLAIN:
            copy_bytes(out, out_at + begin, data, at + begin, stop - begin)
        elif filter_ == BYTE:
            first, last = begin // itemsize, (stop + itemsize - 1) // itemsize
            join_bytes(data, at + first, items, itemsize, last - first, out, out_at + first * itemsize)
        else:
            group = 8 * itemsize
            first, last = begin // group, (stop + group - 1) // group
            _unshuffle_bits(data, at, itemsize, items // 8, first, last, out, out_at + first * group, scratch, words)
    if end > whole:
        copy_bytes(out, out_at + whole, data, at + whole, length - whole)


@kernel
def shuffle_block(
    data: U8, at: Int, length: Int, filter_: Int, itemsize: Int, out: U8, out_at: Int, scratch: U8, words: U64
) -> None:
    """Filter the block `data[at:at + length]` into `out[out_at:][:length]`; `scratch` as for `unshuffle_range`."""
    items = plane_length(length, filter_, itemsize)
    whole = items * itemsize
    if filter_ == PLAIN:
        copy_bytes(out, out_at, data, at, whole)
    elif filter_ == BYTE:
        split_bytes(data, at, itemsize, items, out, out_at, items)
    else:
        _shuffle_bits(data, at, itemsize, items // 8, out, out_at, scratch, words)
    copy_bytes(out, out_at + whole, data, at + whole, length - whole)
