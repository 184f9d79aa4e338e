"""Blocks of decimals and differences: cells as small integers in byte planes, back to the bit, whole or for a range.

Instruments write k / 10 ** e for integers k. Such floats are stored as the integers, and those, like the integers and
times of other arrays, as the differences of neighbours where that is smaller. Where floats were computed, as those of
packed files are, they may be a unit in the last place beside the decimal: a plane of corrections has how many. A cell
that is no decimal repeats the integer of its neighbour; its own bits are kept apart, in a mask of all the cells that
have these bits, or by position. So are cells of the fill value.

The idea is that of ALP: A. Afroozeh, L. Kuffo, P. Boncz, "ALP: Adaptive Lossless floating-Point Compression", SIGMOD
2024.

Arithmetic is that of int64, which wraps; of an item of s bytes the lowest s count. A block begins with a head of 24
bytes, which is checked; in memory it is `head`, int64 (12,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from atlas.kernels.codec import ZSTD_GROWTH
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import DECIMAL, DELTA, I64, U8
from atlas.kernels.memcpy import copy_bytes, read_uint32, read_uint64
from atlas.kernels.planes import FIRST, INTERVAL, LENGTH_BYTES, PLANES, TAIL
from atlas.kernels.status import LENGTH, OK

if TYPE_CHECKING:
    from atlas.kernels.jit import Int

__all__ = [
    "BASE",
    "CORRECTIONS",
    "EXCEPTIONS",
    "EXPONENT",
    "FIELDS",
    "HEAD_BYTES",
    "INTERVALS",
    "LARGEST",
    "MASKS",
    "MASKS_AT",
    "MAX_MASKS",
    "POWER",
    "RARE",
    "STARTS",
    "STARTS_AT",
    "START_BASE",
    "TAIL_AT",
    "WIDTH",
    "Integers",
    "Views",
    "check_exceptions",
    "integers_memory",
    "integers_room",
    "make_floats",
    "read_head",
    "set_integer_sizes",
    "undo_integers",
    "views_of",
    "write_head",
]

HEAD_BYTES = 24
"""Bytes of the head, in front of the lengths of the planes."""
LARGEST = ZSTD_GROWTH * HEAD_BYTES
"""The largest block: of equal integers only the head is stored, which must not become more than it may."""
WIDTH = 0
"""Planes of integers: bytes of the largest."""
EXPONENT = 1
"""An integer k stands for k / 10 ** exponent."""
CORRECTIONS = 2
"""1 where a plane after those of the integers has what is added to the bits of each float, -128 to 127; else 0."""
MASKS = 3
"""Masks, a bit an item, after that: how many."""
STARTS = 4
"""Planes of the integers before each interval, after those."""
EXCEPTIONS = 5
"""Items in the tail."""
BASE = 6
"""What is added to the integers of the planes."""
START_BASE = 7
"""What is added to those before each interval."""
MASKS_AT, STARTS_AT, TAIL_AT = 8, 9, 10
"""Where the masks, the starts and the tail begin among the planes in memory: `set_integer_sizes` finds out."""
INTERVALS = 11
"""Intervals: bytes of a plane of starts."""
FIELDS = 12
"""Fields of a head in memory."""

MAX_MASKS = 4
"""Values that a block may keep in masks."""
RARE = 16
"""At most one item in so many is an exception."""
_MOST_STARTS, _MOST_EXPONENT = 8, 22

Views: TypeAlias = tuple[I64, NDArray[np.float64], NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint16], U8]
"""One piece of memory as items of each kind: int64, float64, float32, uint32, uint16 and uint8."""
Integers: TypeAlias = tuple[I64, I64, Views]
"""Memory of a thread for blocks of integers: `head`, int64 (12,), `integers`, int64 (256,), and views of 256 items."""

POWER: Final[NDArray[np.float64]] = np.array([float(f"1e{e}") for e in range(_MOST_EXPONENT + 1)])
"""10 ** e, all exact."""
_INVERSE: Final[NDArray[np.float64]] = 1 / POWER

_8 = np.uint64(8)


def views_of(size: int) -> Views:
    """New memory for that many items of 8 bytes."""
    memory = np.empty(size, np.int64)
    kinds = (np.float64, np.float32, np.uint32, np.uint16, np.uint8)
    return memory, *(memory.view(kind) for kind in kinds)  # type: ignore[return-value]  # mypy counts no star


def integers_memory(highest: Int) -> Integers | None:
    """The memory that blocks need whose filters are at most `highest`; None where none of them is one of integers.

    Kernels take either, of which Numba makes two: so what undoes these filters is compiled where a block has one.
    """
    if highest < DECIMAL:
        return None
    return np.empty(FIELDS, np.int64), np.empty(INTERVAL, np.int64), views_of(INTERVAL)


@kernel
def integers_room(raw: Int, itemsize: Int) -> Int:
    """The most bytes that the planes and the tail of a block of `raw` bytes take in memory."""
    # Corrections take a byte an item, masks half, starts 8 in 256, exceptions at most 12 in 16.
    return raw + 3 * (raw // itemsize) + 8 * (MAX_MASKS + _MOST_STARTS)


@kernel
def set_integer_sizes(items: Int, itemsize: Int, head: I64, sizes: I64) -> None:
    """Fill `sizes`, see `planes`, for a block of that many items with that head."""
    whole = head[WIDTH] + head[CORRECTIONS]
    sizes[PLANES] = whole + head[MASKS] + head[STARTS]
    sizes[TAIL] = head[MASKS] * itemsize + head[EXCEPTIONS] * (LENGTH_BYTES + itemsize)
    head[INTERVALS] = (items + INTERVAL - 1) // INTERVAL
    at = ZERO
    for j in range(sizes[PLANES]):
        length = items if j < whole else (items + 7) // 8 if j < whole + head[MASKS] else head[INTERVALS]
        sizes[FIRST + j] = length
        at += length
    head[MASKS_AT] = whole * items
    head[STARTS_AT], head[TAIL_AT] = at - head[STARTS] * head[INTERVALS], at


@kernel
def read_head(source: U8, begin: Int, stored: Int, raw: Int, filter_: Int, itemsize: Int, head: I64, sizes: I64) -> Int:
    """Fill `head` and `sizes` for the checked block of `raw` bytes that is stored at `source[begin:begin + stored]`.

    Returns a status.
    """
    items = raw // itemsize
    word = read_uint64(source, begin)
    head[WIDTH], head[EXPONENT], head[CORRECTIONS] = word & 255, word >> 8 & 255, word >> 16 & 255
    head[MASKS], head[STARTS], head[EXCEPTIONS] = word >> 24 & 255, word >> 32 & 255, word >> 40 & 0xFFFFFF
    head[BASE], head[START_BASE] = read_uint64(source, begin + 8), read_uint64(source, begin + 16)
    if head[WIDTH] > itemsize or head[MASKS] > MAX_MASKS or head[EXCEPTIONS] > items // RARE:
        return LENGTH
    if head[STARTS] > (_MOST_STARTS if filter_ >= DELTA else 0):
        return LENGTH
    if head[EXPONENT] > (0 if filter_ == DELTA else _MOST_EXPONENT) or head[CORRECTIONS] > (filter_ != DELTA):
        return LENGTH
    set_integer_sizes(items, itemsize, head, sizes)
    return OK if stored >= HEAD_BYTES + LENGTH_BYTES * sizes[PLANES] + sizes[TAIL] else LENGTH


def write_head(head: I64, out: U8) -> None:
    """Write a head to `out`, uint8 of `HEAD_BYTES`."""
    out[:5] = head[WIDTH : STARTS + 1]
    out[5:8] = np.array(head[EXCEPTIONS], "<i8").reshape(1).view(np.uint8)[:3]
    out[8:] = head[BASE : START_BASE + 1].astype("<i8").view(np.uint8)


@kernel
def check_exceptions(shuffled: U8, items: Int, itemsize: Int, head: I64) -> Int:
    """Whether the positions of the exceptions in the tail ascend and are less than `items`; returns a status."""
    last = -ONE
    first = head[TAIL_AT] + head[MASKS] * itemsize
    for i in range(head[EXCEPTIONS]):
        position = read_uint32(shuffled, first + LENGTH_BYTES * i)
        if position <= last or position >= items:
            return LENGTH
        last = position
    return OK


@inner
def undo_integers(
    data: U8, items: Int, filter_: Int, itemsize: Int, first: Int, last: Int, out: U8, out_at: Int, memory: Integers
) -> None:
    """Write the items `first` to `last` of a block of `items`, whose planes and tail are in `data`, to their places.

    Item i goes to `out[out_at + i * itemsize]`. `data` and `out` are 1-D uint8; `memory` holds the block's head.
    """
    head, integers, views = memory
    cells, _, _, fours, _, ones = views
    for begin in range(first - first % INTERVAL, last, INTERVAL):
        low = begin if filter_ >= DELTA else max(begin, first - first % 8)
        count = np.uint64(min(begin + INTERVAL, last) - low)
        _join_planes(data, items, low, head, count, integers)
        if filter_ >= DELTA:
            total = _start_of(data, head, begin // INTERVAL)
            for i in range(count):
                total += integers[i]
                integers[i] = total
        if filter_ == DELTA:
            _undo_masks(data, items, itemsize, head, low, count, integers)
            _narrow(integers, count, itemsize, views)
        else:
            make_floats(integers, count, itemsize, head[EXPONENT], views)
            if itemsize == 4:
                _correct(data, items, low, head, count, fours)
                _undo_masks(data, items, itemsize, head, low, count, fours)
            else:
                _correct(data, items, low, head, count, cells)
                _undo_masks(data, items, itemsize, head, low, count, cells)
        if head[EXCEPTIONS] > 0:
            _undo_exceptions(data, itemsize, head, low, np.int64(count), ones)
        here, end = max(low, first), low + np.int64(count)
        copy_bytes(out, out_at + here * itemsize, ones, (here - low) * itemsize, (end - here) * itemsize)


@inner
def make_floats(integers: I64, count: Any, itemsize: Int, exponent: Int, views: Views) -> None:
    """Write the decimals `integers[:count]` of an exponent as floats of 4 or 8 bytes to `views`; `count` is uint64."""
    _, doubles, singles, _, _, _ = views
    if itemsize == 4:
        inverse = _INVERSE[exponent]
        for i in range(count):
            singles[i] = np.float32(np.float64(integers[i]) * inverse)
    else:
        power = POWER[exponent]
        for i in range(count):
            doubles[i] = np.float64(integers[i]) / power


@inner
def _narrow(integers: I64, count: Any, itemsize: Int, views: Views) -> None:
    """Write the lowest bytes of `integers[:count]` as items to `views`; `count` is uint64."""
    cells, _, _, fours, twos, ones = views
    if itemsize == 8:
        for i in range(count):
            cells[i] = integers[i]
    elif itemsize == 4:
        for i in range(count):
            fours[i] = np.uint32(integers[i])
    elif itemsize == 2:
        for i in range(count):
            twos[i] = np.uint16(integers[i])
    else:
        for i in range(count):
            ones[i] = np.uint8(integers[i])


@inner
def _join_planes(data: U8, items: Int, at: Int, head: I64, count: Any, integers: I64) -> None:
    """Join the bytes from `at` on of the planes of integers, lowest first, and add the base; `count` is uint64."""
    base = head[BASE]
    if head[WIDTH] == 0:
        for i in range(count):
            integers[i] = base
        return
    plane = np.uint64(at)
    for i in range(count):
        integers[i] = base + data[plane + i]
    for j in range(1, head[WIDTH]):
        plane, shift = np.uint64(at + j * items), 8 * j
        for i in range(count):
            integers[i] += np.int64(data[plane + i]) << shift


@inner
def _correct(data: U8, items: Int, at: Int, head: I64, count: Any, cells: NDArray[Any]) -> None:
    """Add the corrections from item `at` on to the bits of `cells[:count]`, uint32 or int64; `count` is uint64."""
    if head[CORRECTIONS] > 0:
        plane = np.uint64(head[WIDTH] * items + at)
        for i in range(count):
            cells[i] += np.int8(data[plane + i])


@inner
def _start_of(data: U8, head: I64, interval: Int) -> Int:
    """The integer before an interval, from the planes of starts."""
    start: Int = head[START_BASE]
    place = head[STARTS_AT] + interval
    for j in range(head[STARTS]):
        start += np.int64(data[place + j * head[INTERVALS]]) << (8 * j)
    return start


@inner
def _undo_masks(data: U8, items: Int, itemsize: Int, head: I64, low: Int, count: Any, cells: NDArray[Any]) -> None:
    """Give the items from `low`, a multiple of 8, on, which are in `cells[:count]`, the values of their masks.

    `cells` is uint32 or int64, and has room for 256; `count` is uint64.
    """
    for mask in range(head[MASKS]):
        value = ZERO
        for j in range(itemsize):
            value |= np.int64(data[head[TAIL_AT] + mask * itemsize + j]) << (8 * j)
        bits = np.uint64(head[MASKS_AT] + mask * ((items + 7) // 8) + low // 8)
        for group in range((count + np.uint64(7)) // _8):
            byte, at = np.int64(data[bits + group]), _8 * group
            if byte == 255:
                for i in range(_8):
                    cells[at + i] = value
            elif byte != 0:
                for i in range(8):
                    marked, place = -(byte >> i & 1), at + np.uint64(i)
                    cells[place] = cells[place] & ~marked | value & marked


@inner
def _undo_exceptions(data: U8, itemsize: Int, head: I64, low: Int, count: Int, cells: U8) -> None:
    """Give the items from `low` on, which lie in `cells`, the bits of those that are exceptions."""
    positions = head[TAIL_AT] + head[MASKS] * itemsize
    values = positions + LENGTH_BYTES * head[EXCEPTIONS]
    here, stop = ZERO, head[EXCEPTIONS]
    while here < stop:
        middle = (here + stop) // 2
        if read_uint32(data, positions + LENGTH_BYTES * middle) < low:
            here = middle + 1
        else:
            stop = middle
    while here < head[EXCEPTIONS]:
        item = read_uint32(data, positions + LENGTH_BYTES * here) - low
        if item >= count:
            return
        copy_bytes(cells, item * itemsize, data, values + here * itemsize, itemsize)
        here += 1
