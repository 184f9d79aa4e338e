"""Byte-shuffle and bit-shuffle, and their undoing for all of a block or for a range of it.

Of n items of s bytes, byte-shuffle keeps plane after plane: byte 0 of every item, then byte 1, ...; the bytes after
n * s follow as they are. Bit-shuffle does so with single bits, of the first n - n % 8 items, least significant bit
first. Lengths and places are trusted; nothing here compresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.policy import kernel
from atlas.kernels.runs import copy_bytes

if TYPE_CHECKING:
    from atlas.kernels.policy import Int
    from atlas.kernels.tables import U8, U64

__all__ = ["BIT", "BYTE", "PLAIN", "shuffle_block", "unshuffle_range"]

PLAIN, BYTE, BIT = 0, 1, 2

_TILE = 8192  # bytes of planes worked on at once: with its source and target, a tile stays in a 32 KiB cache

_MASK_1 = np.uint64(0x00AA00AA00AA00AA)
_MASK_2 = np.uint64(0x0000CCCC0000CCCC)
_MASK_4 = np.uint64(0x00000000F0F0F0F0)
_SEVEN, _FOURTEEN, _TWENTY_EIGHT = np.uint64(7), np.uint64(14), np.uint64(28)


@kernel
def _turn_bits(word: np.uint64) -> np.uint64:
    """Transpose 8 x 8 bits: bit i of byte k becomes bit k of byte i."""
    swap = (word ^ (word >> _SEVEN)) & _MASK_1
    word = word ^ swap ^ (swap << _SEVEN)
    swap = (word ^ (word >> _FOURTEEN)) & _MASK_2
    word = word ^ swap ^ (swap << _FOURTEEN)
    swap = (word ^ (word >> _TWENTY_EIGHT)) & _MASK_4
    return word ^ swap ^ (swap << _TWENTY_EIGHT)


@kernel
def _join_planes(data: U8, at: Int, stride: Int, itemsize: Int, items: Int, out: U8, out_at: Int) -> None:
    """Byte j of item i is `data[at + j * stride + i]`; items go to `out` from `out_at` on."""
    if itemsize == 2:
        a, b = data[at : at + items], data[at + stride : at + stride + items]
        halves = out[out_at : out_at + items * 2].view(np.uint16)
        for i in range(items):
            halves[i] = np.uint16(a[i]) | (np.uint16(b[i]) << np.uint16(8))
    elif itemsize == 4:
        a, b = data[at : at + items], data[at + stride : at + stride + items]
        c = data[at + 2 * stride : at + 2 * stride + items]
        d = data[at + 3 * stride : at + 3 * stride + items]
        words = out[out_at : out_at + items * 4].view(np.uint32)
        for i in range(items):
            low = np.uint32(a[i]) | (np.uint32(b[i]) << np.uint32(8))
            words[i] = low | (np.uint32(c[i]) << np.uint32(16)) | (np.uint32(d[i]) << np.uint32(24))
    elif itemsize == 8:
        longs = out[out_at : out_at + items * 8].view(np.uint64)
        for i in range(items):
            here = at + i
            value = np.uint64(0)
            for j in range(8):
                value |= np.uint64(data[here + j * stride]) << np.uint64(8 * j)
            longs[i] = value
    else:
        for j in range(itemsize):
            plane = data[at + j * stride : at + j * stride + items]
            for i in range(items):
                out[out_at + i * itemsize + j] = plane[i]


@kernel
def _split_planes(data: U8, at: Int, itemsize: Int, items: Int, out: U8, out_at: Int, stride: Int) -> None:
    """The other way: byte j of item i goes to `out[out_at + j * stride + i]`."""
    if itemsize == 2:
        halves = data[at : at + items * 2].view(np.uint16)
        for j in range(2):
            plane = out[out_at + j * stride : out_at + j * stride + items]
            for i in range(items):
                plane[i] = np.uint8((halves[i] >> np.uint16(8 * j)) & np.uint16(255))
    elif itemsize == 4:
        words = data[at : at + items * 4].view(np.uint32)
        for j in range(4):
            plane = out[out_at + j * stride : out_at + j * stride + items]
            for i in range(items):
                plane[i] = np.uint8((words[i] >> np.uint32(8 * j)) & np.uint32(255))
    elif itemsize == 8:
        longs = data[at : at + items * 8].view(np.uint64)
        for j in range(8):
            plane = out[out_at + j * stride : out_at + j * stride + items]
            for i in range(items):
                plane[i] = np.uint8((longs[i] >> np.uint64(8 * j)) & np.uint64(255))
    else:
        for j in range(itemsize):
            plane = out[out_at + j * stride : out_at + j * stride + items]
            for i in range(items):
                plane[i] = data[at + i * itemsize + j]


@kernel
def _join_bits(data: U8, at: Int, stride: Int, groups: Int, words: U64, word_at: Int) -> None:
    """Eight bit planes, `stride` bytes apart, to one byte plane: a word for each group of 8 items."""
    for group in range(groups):
        word = np.uint64(0)
        for bit in range(8):
            word |= np.uint64(data[at + bit * stride + group]) << np.uint64(8 * bit)
        words[word_at + group] = _turn_bits(word)


@kernel
def _split_bits(words: U64, word_at: Int, groups: Int, out: U8, at: Int, stride: Int) -> None:
    """One byte plane to its eight bit planes."""
    for group in range(groups):
        word = _turn_bits(words[word_at + group])
        for bit in range(8):
            out[at + bit * stride + group] = np.uint8((word >> np.uint64(8 * bit)) & np.uint64(255))


@kernel
def _tile_groups(itemsize: Int) -> Int:
    return max(32, _TILE // (8 * itemsize) // 32 * 32)


@kernel
def _unshuffle_bits(data: U8, at: Int, itemsize: Int, items: Int, begin: Int, end: Int, out: U8, out_at: Int) -> None:
    """Groups of 8 items `begin` to `end`, each to its own place in `out`."""
    stride = items // 8
    tile = min(_tile_groups(itemsize), end - begin)
    words = np.empty(tile * itemsize, np.uint64)
    planes = words.view(np.uint8)
    for group in range(begin, end, tile):
        groups = min(tile, end - group)
        for j in range(itemsize):
            _join_bits(data, at + j * 8 * stride + group, stride, groups, words, j * tile)
        _join_planes(planes, 0, tile * 8, itemsize, groups * 8, out, out_at + group * 8 * itemsize)


@kernel
def _shuffle_bits(data: U8, at: Int, itemsize: Int, items: Int, out: U8, out_at: Int) -> None:
    stride = items // 8
    tile = min(_tile_groups(itemsize), stride)
    words = np.empty(tile * itemsize, np.uint64)
    planes = words.view(np.uint8)
    for group in range(0, stride, tile):
        groups = min(tile, stride - group)
        _split_planes(data, at + group * 8 * itemsize, itemsize, groups * 8, planes, 0, tile * 8)
        for j in range(itemsize):
            _split_bits(words, j * tile, groups, out, out_at + j * 8 * stride + group, stride)


@kernel
def unshuffle_range(
    data: U8, at: Int, length: Int, filter_: Int, itemsize: Int, begin: Int, end: Int, out: U8, out_at: Int
) -> None:
    """Undo a filter for the bytes `begin` to `end` of a block of `length` bytes that lies filtered at `data[at:]`.

    Byte b of the block goes to `out[out_at + b]`; bytes next to the range, never outside the block, may be written
    too. `itemsize` is at least 1.
    """
    if begin >= end:
        return
    items = length // itemsize
    if filter_ == BIT:
        items -= items % 8
    whole = items * itemsize
    if begin < whole:
        stop = min(end, whole)
        if filter_ == PLAIN or (filter_ == BYTE and itemsize == 1):
            copy_bytes(out, out_at + begin, data, at + begin, stop - begin)
        elif filter_ == BYTE:
            first = begin // itemsize
            last = (stop + itemsize - 1) // itemsize
            _join_planes(data, at + first, items, itemsize, last - first, out, out_at + first * itemsize)
        else:
            group = 8 * itemsize
            _unshuffle_bits(data, at, itemsize, items, begin // group, (stop + group - 1) // group, out, out_at)
    if end > whole:
        copy_bytes(out, out_at + whole, data, at + whole, length - whole)


@kernel
def shuffle_block(data: U8, at: Int, length: Int, filter_: Int, itemsize: Int, out: U8, out_at: Int) -> None:
    """Filter the block `data[at:at + length]` into `out[out_at:out_at + length]`."""
    items = length // itemsize
    if filter_ == BIT:
        items -= items % 8
    whole = items * itemsize
    if filter_ == PLAIN or (filter_ == BYTE and itemsize == 1):
        copy_bytes(out, out_at, data, at, whole)
    elif filter_ == BYTE:
        _split_planes(data, at, itemsize, items, out, out_at, items)
    elif items > 0:
        _shuffle_bits(data, at, itemsize, items, out, out_at)
    copy_bytes(out, out_at + whole, data, at + whole, length - whole)
