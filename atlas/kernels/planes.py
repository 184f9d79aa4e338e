"""The planes of a filtered block, compressed one by one, and decompressed again.

Each filter leaves planes of bytes. The lower bytes of measured values are noise: such planes are recognised by a few of
their bytes and stored uncompressed, and of these a reader copies just the range it wants. Knows no values.

In memory the planes lie one after the other, and after them the tail, the bytes that no plane holds. `sizes`, int64
(257,), has the number of planes, the bytes of the tail, and the bytes of each plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.codec import NONE, ZSTD, compress, compress_python, decompress, decompress_python
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import BIT, DELTA
from atlas.kernels.memcpy import copy_bytes, read_uint32, write_uint
from atlas.kernels.shuffle import plane_length
from atlas.kernels.status import LENGTH, OK

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8

__all__ = [
    "FIRST",
    "INTERVAL",
    "LENGTH_BYTES",
    "MAX_PLANES",
    "PLANES",
    "SIZES",
    "TAIL",
    "compress_planes",
    "compress_planes_python",
    "copy_stored_planes",
    "decompress_planes",
    "decompress_planes_python",
    "set_shuffled_sizes",
]

LENGTH_BYTES = 4
"""Bytes of the length of a plane, in front of the planes."""
MAX_PLANES = 255
"""Planes of a block: an item size is one byte."""
INTERVAL = 256
"""Differences begin anew at every so many items, so that a range needs few others."""

PLANES = 0
"""In `sizes`: the number of planes."""
TAIL = 1
"""The bytes of the tail."""
FIRST = 2
"""The bytes of the first plane; those of the others follow."""
SIZES = FIRST + MAX_PLANES
"""How many numbers `sizes` has room for."""

_SAMPLE, _SAMPLED = 512, 8
"""Bytes of a plane that are counted at a time to tell whether it is noise, and how often."""
_UNEVEN = 1.12
"""How much more often two bytes are equal where counting them is worth while; 1 is noise."""
_GLANCE = -1
"""The zstd level at which repetitions are looked for."""
_LEAST_GAIN = 32
"""A plane is compressed where that saves one byte in so many; less is not worth its decompression."""


@kernel
def set_shuffled_sizes(raw: Int, filter_: Int, itemsize: Int, sizes: I64) -> None:
    """Fill `sizes` for a block of `raw` bytes that is shuffled: a plane a byte of an item."""
    length = plane_length(raw, filter_, itemsize)
    sizes[PLANES], sizes[TAIL] = itemsize, raw - length * itemsize
    for j in range(itemsize):
        sizes[FIRST + j] = length


@inner
def decompress_planes(
    source: U8, begin: Int, end: Int, codec: Int, context: Int, sizes: I64, kept: Int, shuffled: U8, stored_at: I64
) -> Int:
    """Decompress planes to `shuffled`, and copy the tail: lengths begin at `source[begin]`, the tail ends at `end`.

    Of the first `kept` planes, which are of equal size, one that is stored uncompressed is not moved: `stored_at[j]` is
    its offset in `source`, else -1. Returns a status.

    `source` and `shuffled` are 1-D uint8; `stored_at` is int64 (255,); `context` the address of a zstd decompression
    context.
    """
    at, to = begin + LENGTH_BYTES * sizes[PLANES], ZERO
    if at > end:
        return LENGTH
    for j in range(sizes[PLANES]):
        size, length = np.int64(read_uint32(source, begin + LENGTH_BYTES * j)), sizes[FIRST + j]
        if size > length or size > end - at:
            return LENGTH
        stored_at[j] = -1
        if size == length and j < kept:
            stored_at[j] = at
        else:
            status = decompress(source, at, size, NONE if size == length else codec, context, shuffled, to, length)
            if status != OK:
                return status
        at += size
        to += length
    if end - at != sizes[TAIL]:
        return LENGTH
    copy_bytes(shuffled, to, source, at, sizes[TAIL])
    return OK


@inner
def copy_stored_planes(
    source: U8, stored_at: I64, filter_: Int, itemsize: Int, sizes: I64, begin: Int, end: Int, shuffled: U8
) -> None:
    """Copy what the block's bytes `begin` to `end` need of the planes that `decompress_planes` has not moved.

    `source` and `shuffled` are 1-D uint8; `stored_at`, int64 (255,), is the offset of each plane in `source`, -1 for
    one that is in `shuffled`.
    """
    parts, item = ONE, np.int64(itemsize)
    if filter_ == BIT:
        parts, item = np.int64(8), 8 * np.int64(itemsize)
    length = sizes[FIRST]
    part_length = length // parts
    first, last = min(begin // item, part_length), min((end + item - 1) // item, part_length)
    if filter_ >= DELTA:
        first -= first % INTERVAL
    if first == 0 and last == part_length:
        parts, last = ONE, length
    for j in range(sizes[PLANES]):
        if stored_at[j] >= 0:
            for part in range(parts):
                at = part * part_length + first
                copy_bytes(shuffled, j * length + at, source, stored_at[j] + at, last - first)


def decompress_planes_python(source: U8, begin: int, end: int, codec: int, sizes: I64) -> tuple[int, U8]:
    """Without the C functions: `decompress_planes`; a status, and the planes and the tail."""
    count, tail = sizes[:FIRST].tolist()
    at = begin + LENGTH_BYTES * count
    if at > end:
        return LENGTH, source
    parts = []
    stored = source[begin:at].view("<u4").tolist()
    for size, length in zip(stored, sizes[FIRST : FIRST + count].tolist(), strict=True):
        if size > min(length, end - at):
            return LENGTH, source
        status, plane = decompress_python(source, at, size, NONE if size == length else codec, length)
        if status != OK:
            return status, source
        parts.append(plane)
        at += size
    return OK if end - at == tail else LENGTH, np.concatenate([*parts, source[at:end]])


@inner
def _is_noise(data: U8, begin: Int, length: Int, context: Int, count: I64, out: U8, at: Int, room: Int) -> bool:
    """Whether zstd would find nothing in the plane `data[begin:begin + length]`: even bytes, and no repetitions.

    `data` is 1-D uint8, `count` scratch, int64 (256,), as are the `room` bytes of `out` from `at` on.

    Measured on planes of 33 KB of noise: 6 us here against 42 us for level 1 to give up.
    """
    step = max(_SAMPLE, (length - _SAMPLE) // (_SAMPLED - 1))
    count[:] = 0
    for sample in range(begin, begin + length - _SAMPLE + 1, step):
        for i in range(sample, sample + _SAMPLE):
            count[data[i]] += 1
    seen = twins = ZERO
    for byte in range(256):
        seen += count[byte]
        twins += count[byte] * (count[byte] - 1)
    # Of evenly spread bytes one pair in 256 is equal.
    if seen == 0 or 256.0 * twins > _UNEVEN * seen * (seen - 1):
        return False
    return compress(data, begin, length, ZSTD, _GLANCE, context, out, at, room) == 0


@inner
def compress_planes(
    shuffled: U8, sizes: I64, codec: Int, level: Int, context: Int, count: I64, out: U8, at: Int, end: Int
) -> Int:
    """Compress planes to `out[at:end]`, lengths before them and the tail after; the size, or -1 where it does not fit.

    `shuffled` holds planes and tail, `out` takes them, both 1-D uint8; `count` is scratch, int64 (256,); `context` the
    address of a zstd compression context.
    """
    last = end - sizes[TAIL]
    here, begin = at + LENGTH_BYTES * sizes[PLANES], ZERO
    if here > last:
        return -1
    for j in range(sizes[PLANES]):
        length = sizes[FIRST + j]
        size = ZERO
        room = min(last - here, length - 1 - length // _LEAST_GAIN)
        if room > 0 and not (codec == ZSTD and _is_noise(shuffled, begin, length, context, count, out, here, room)):
            size = compress(shuffled, begin, length, codec, level, context, out, here, room)
        if size == 0:
            size = length
            if size > last - here:
                return -1
            copy_bytes(out, here, shuffled, begin, length)
        write_uint(out, at + LENGTH_BYTES * j, size, LENGTH_BYTES)
        here += size
        begin += length
    copy_bytes(out, here, shuffled, begin, sizes[TAIL])
    written: Int = here + sizes[TAIL] - at
    return written


def compress_planes_python(shuffled: U8, sizes: I64, codec: int, level: int) -> bytes:
    """Without the C functions: `compress_planes`, whatever the size."""
    count, tail = sizes[:FIRST].tolist()
    streams = []
    at = 0
    for length in sizes[FIRST : FIRST + count].tolist():
        plane = shuffled[at : at + length]
        stream = compress_python(plane, codec, level) if length else b""
        streams.append(stream if len(stream) <= length - 1 - length // _LEAST_GAIN else plane.tobytes())
        at += length
    lengths = np.array([len(stream) for stream in streams], "<u4").tobytes()
    return b"".join([lengths, *streams, shuffled[at : at + tail].tobytes()])
