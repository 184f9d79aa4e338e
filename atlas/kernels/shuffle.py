"""Byte-shuffle and bit-shuffle, and their undoing for all of a block or for a range of it.

Of n items of s bytes, byte-shuffle keeps plane after plane: byte 0 of every item, then byte 1, ...; the bytes after
n * s follow as they are. Bit-shuffle does so with single bits, of the first n - n % 8 items, least significant bit
first. Lengths and offsets are trusted; nothing here compresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.memcpy import as_readonly, copy_bytes
from atlas.kernels.simd_transpose import (
    TILE,
    join_bits,
    join_bytes_2,
    join_bytes_4,
    join_bytes_8,
    split_bits,
    split_bytes_2,
    split_bytes_4,
    split_bytes_8,
)

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = ["BIT", "BYTE", "PLAIN", "TRANSPOSE_SCRATCH", "plane_length", "shuffle_block", "unshuffle_range"]

PLAIN, BYTE, BIT = 0, 1, 2

# Groups of 8 items whose bit planes are turned to byte planes, in a scratch that stays in the nearest cache, before
# bytes are joined to items. It reads 8 planes at a time: 32, a power of two apart, would evict each other.
_WINDOW = 256
TRANSPOSE_SCRATCH = (_WINDOW + TILE) * 8
"""Bytes of that scratch for each byte of an item."""

_MASK_1 = np.uint64(0x00AA00AA00AA00AA)
_MASK_2 = np.uint64(0x0000CCCC0000CCCC)
_MASK_4 = np.uint64(0x00000000F0F0F0F0)
_SEVEN, _FOURTEEN, _TWENTY_EIGHT = np.uint64(7), np.uint64(14), np.uint64(28)


@inner
def _transpose_8x8(word: np.uint64) -> np.uint64:
    """Transpose 8 x 8 bits: bit i of byte k becomes bit k of byte i."""
    swap = (word ^ (word >> _SEVEN)) & _MASK_1
    word = word ^ swap ^ (swap << _SEVEN)
    swap = (word ^ (word >> _FOURTEEN)) & _MASK_2
    word = word ^ swap ^ (swap << _FOURTEEN)
    swap = (word ^ (word >> _TWENTY_EIGHT)) & _MASK_4
    return word ^ swap ^ (swap << _TWENTY_EIGHT)


@inner
def _transpose_group(data: U8, at: Int, step: Int, out: U8, out_at: Int, out_step: Int) -> None:
    """Transpose the bits of 8 bytes, `step` apart, into 8 others."""
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(data[at + k * step]) << np.uint64(8 * k)
    word = _transpose_8x8(word)
    for i in range(8):
        out[out_at + i * out_step] = np.uint8((word >> np.uint64(8 * i)) & np.uint64(255))


# The last tile of a range is moved back to end with the block's items: it does some items twice and needs no remainder
# loop. Blocks of less than a tile, and other item sizes, go byte by byte.


@inner
def _unshuffle_bytes(
    data: U8, at: Int, stride: Int, itemsize: Int, items: Int, begin: Int, end: Int, out: U8, out_at: Int
) -> None:
    """Items `begin` to `end` of planes `stride` bytes apart, each to its own offset in `out`."""
    last = items - TILE
    if last >= 0 and itemsize == 4:
        for item in range(begin, end, TILE):
            here = min(item, last)
            join_bytes_4(data, at + here, stride, out, out_at + here * 4)
    elif last >= 0 and itemsize == 8:
        for item in range(begin, end, TILE):
            here = min(item, last)
            join_bytes_8(data, at + here, stride, out, out_at + here * 8)
    elif last >= 0 and itemsize == 2:
        for item in range(begin, end, TILE):
            here = min(item, last)
            join_bytes_2(data, at + here, stride, out, out_at + here * 2)
    elif itemsize == 1:
        copy_bytes(out, out_at + begin, data, at + begin, end - begin)
    else:
        for item in range(begin, end):
            for j in range(itemsize):
                out[out_at + item * itemsize + j] = data[at + j * stride + item]


@inner
def _shuffle_bytes(data: U8, at: Int, itemsize: Int, items: Int, out: U8, out_at: Int, stride: Int) -> None:
    last = items - TILE
    if last >= 0 and itemsize == 4:
        for item in range(0, items, TILE):
            here = min(item, last)
            split_bytes_4(data, at + here * 4, stride, out, out_at + here)
    elif last >= 0 and itemsize == 8:
        for item in range(0, items, TILE):
            here = min(item, last)
            split_bytes_8(data, at + here * 8, stride, out, out_at + here)
    elif last >= 0 and itemsize == 2:
        for item in range(0, items, TILE):
            here = min(item, last)
            split_bytes_2(data, at + here * 2, stride, out, out_at + here)
    elif itemsize == 1:
        copy_bytes(out, out_at, data, at, items)
    else:
        for item in range(items):
            for j in range(itemsize):
                out[out_at + j * stride + item] = data[at + item * itemsize + j]


@inner
def _unshuffle_bits(
    data: U8, at: Int, itemsize: Int, stride: Int, begin: Int, end: Int, out: U8, out_at: Int, scratch: U8
) -> None:
    """Groups of 8 items `begin` to `end` of `stride`, each to its own offset in `out`."""
    window = min(_WINDOW, (end - begin + TILE - 1) // TILE * TILE)
    room = window + TILE
    planes = as_readonly(scratch)
    for group in range(begin, end, window):
        # A tile never reaches past the planes: near their end it begins earlier, by less than a tile.
        first = max(0, min(group, stride - TILE))
        groups = min(end, group + window) - first
        for j in range(itemsize):
            here, there = at + j * 8 * stride + first, j * 8 * room
            if stride >= TILE:
                for tile in range(0, groups, TILE):
                    step = min(tile, stride - TILE - first)
                    join_bits(data, here + step, stride, scratch, there + step * 8)
            else:
                for k in range(groups):
                    _transpose_group(data, here + k, stride, scratch, there + k * 8, ONE)
        _unshuffle_bytes(
            planes, ZERO, 8 * room, itemsize, 8 * groups, ZERO, 8 * groups, out, out_at + first * 8 * itemsize
        )


@inner
def _shuffle_bits(data: U8, at: Int, itemsize: Int, stride: Int, out: U8, out_at: Int, scratch: U8) -> None:
    window = min(_WINDOW, stride)
    planes = as_readonly(scratch)
    for group in range(0, stride, max(1, window)):
        first = min(group, stride - window)
        _shuffle_bytes(data, at + first * 8 * itemsize, itemsize, 8 * window, scratch, ZERO, 8 * window)
        for j in range(itemsize):
            here, there = j * 8 * window, out_at + j * 8 * stride + first
            if window >= TILE:
                for tile in range(0, window, TILE):
                    step = min(tile, window - TILE)
                    split_bits(planes, here + step * 8, stride, out, there + step)
            else:
                for k in range(window):
                    _transpose_group(planes, here + k * 8, ONE, out, there + k, stride)


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
) -> None:
    """Undo a filter for the bytes `begin` to `end` of a block of `length` bytes that lies filtered at `data[at:]`.

    Byte b of the block goes to `out[out_at + b]`; other bytes of the block, never what is outside of it, may be written
    too. `itemsize` is at least 1. `scratch` is scratch of `TRANSPOSE_SCRATCH * itemsize` bytes.
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
            last = (stop + itemsize - 1) // itemsize
            _unshuffle_bytes(data, at, items, itemsize, items, begin // itemsize, last, out, out_at)
        else:
            group = 8 * itemsize
            last = (stop + group - 1) // group
            _unshuffle_bits(data, at, itemsize, items // 8, begin // group, last, out, out_at, scratch)
    if end > whole:
        copy_bytes(out, out_at + whole, data, at + whole, length - whole)


@kernel
def shuffle_block(
    data: U8, at: Int, length: Int, filter_: Int, itemsize: Int, out: U8, out_at: Int, scratch: U8
) -> None:
    """Filter the block `data[at:at + length]` into `out[out_at:][:length]`; `scratch` as for `unshuffle_range`."""
    items = plane_length(length, filter_, itemsize)
    whole = items * itemsize
    if filter_ == PLAIN:
        copy_bytes(out, out_at, data, at, whole)
    elif filter_ == BYTE:
        _shuffle_bytes(data, at, itemsize, items, out, out_at, items)
    else:
        _shuffle_bits(data, at, itemsize, items // 8, out, out_at, scratch)
    copy_bytes(out, out_at + whole, data, at + whole, length - whole)
