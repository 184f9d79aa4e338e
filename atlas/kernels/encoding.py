"""Encodes whole blocks, one after the other, in one compiled pass, and chooses their filter.

Refuses blocks outside the bytes given, and codecs, filters and item sizes that no reader knows.

The byte planes of a filtered block are compressed each by itself. The lower bytes of measured values are noise: such
planes are recognised by a few of their bytes and stored as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.blocks import LENGTH_BYTES
from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import LZ4, NONE, SHUFFLED, TRANSPOSED, ZSTD, compress, compress_python, workspace
from atlas.kernels.jit import ZERO, inner, kernel
from atlas.kernels.layouts import (
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_SOURCE,
    BLOCK_STORED,
    as_column,
    as_source,
)
from atlas.kernels.memcpy import copy_bytes
from atlas.kernels.shuffle import BIT, BYTE, PLAIN, TRANSPOSE_SCRATCH, plane_length, shuffle_block
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, U64

__all__ = ["choose_filter", "encode_blocks"]

_SAMPLE, _SAMPLED = 512, 8
"""Bytes of a plane that are counted at a time to tell whether it is noise, and how often."""
_UNEVEN = 1.12
"""How much more often two bytes are equal where counting them is worth while; 1 is noise."""
_GLANCE = -1
"""The zstd level at which repetitions are looked for."""
_LEAST_GAIN = 32
"""A plane is compressed where that saves one byte in so many; less is not worth its decompression."""


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
def _encode_planes(
    shuffled: U8,
    raw: Int,
    codec: Int,
    filter_: Int,
    itemsize: Int,
    level: Int,
    context: Int,
    count: I64,
    out: U8,
    at: Int,
) -> Int:
    """Compress the planes of a shuffled block to `out[at:]`; the size, or 0 where that is not less than `raw`.

    `shuffled` and `out` are 1-D uint8, of which the block has `raw` bytes; `count` is scratch, int64 (256,); `context`
    the address of a zstd compression context.
    """
    length = plane_length(raw, filter_, itemsize)
    rest = raw - length * itemsize
    end = at + raw - 1 - rest
    here = at + LENGTH_BYTES * itemsize
    for j in range(itemsize):
        size = ZERO
        room = min(end - here, length - 1 - length // _LEAST_GAIN)
        data, begin = shuffled, j * length
        if room > 0 and not (codec == ZSTD and _is_noise(data, begin, length, context, count, out, here, room)):
            size = compress(data, begin, length, codec, level, context, out, here, room)
        if size == 0:
            size = length
            if size > end - here:
                return 0
            copy_bytes(out, here, data, begin, length)
        for byte in range(LENGTH_BYTES):
            out[at + LENGTH_BYTES * j + byte] = np.uint8((size >> (8 * byte)) & 255)
        here += size
    copy_bytes(out, here, shuffled, length * itemsize, rest)
    return here + rest - at


@kernel
def _encode(
    raw: U8,
    start: I64,
    level: Int,
    context: Int,
    shuffled: U8,
    scratch: U8,
    words: U64,
    count: I64,
    table: I64,
    out: U8,
) -> Int:
    """Encode the blocks that begin at `start`, int64 (blocks,), of `raw` back to back into `out`, both 1-D uint8.

    `table`, int64 (8, blocks), holds what is wished and is left holding what was done. `shuffled` is scratch of the
    largest block's bytes; `scratch` and `words` are as for `shuffle_block`, `context` and `count` as for
    `_encode_planes`. Returns the bytes written.
    """
    at = ZERO
    for row in range(start.size):
        begin, length, codec = start[row], table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        size = ZERO
        filter_, itemsize = table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if codec != NONE and filter_ == PLAIN:
            size = compress(raw, begin, length, codec, level, context, out, at, length - 1)
        elif codec != NONE and length > LENGTH_BYTES * itemsize:
            shuffle_block(raw, begin, length, filter_, itemsize, shuffled, ZERO, scratch, words)
            # Read-only as `raw` is, by its type: so Numba compiles what compresses them once.
            planes = raw if filter_ == PLAIN else shuffled
            size = _encode_planes(planes, length, codec, filter_, itemsize, level, context, count, out, at)
        if size == 0:
            size = length
            copy_bytes(out, at, raw, begin, size)
            table[BLOCK_CODEC, row] = NONE
            table[BLOCK_FILTER, row] = PLAIN
        table[BLOCK_OFFSET, row] = at
        table[BLOCK_STORED, row] = size
        table[BLOCK_CHECKSUM, row] = np.int64(hash_bytes(out, at, at + size))
        at += size
    return at


def _encode_planes_python(shuffled: U8, codec: int, filter_: int, itemsize: int, level: int) -> bytes:
    """Without the C functions: `_encode_planes`, whatever the size."""
    length = int(plane_length(shuffled.size, filter_, itemsize))
    streams = []
    for j in range(itemsize):
        plane = shuffled[j * length : (j + 1) * length]
        stream = compress_python(plane, codec, level) if length else b""
        streams.append(stream if len(stream) <= length - 1 - length // _LEAST_GAIN else plane.tobytes())
    sizes = np.array([len(stream) for stream in streams], "<u4").tobytes()
    return b"".join([sizes, *streams, shuffled[length * itemsize :].tobytes()])


def _encode_python(raw: U8, start: I64, level: int, shuffled: U8, scratch: U8, words: U64, table: I64, out: U8) -> int:
    """Without the C functions: `_encode`."""
    at = 0
    for row, (begin, length, codec, filter_, itemsize) in enumerate(
        zip(start.tolist(), *table[BLOCK_RAW : BLOCK_ITEMSIZE + 1].tolist(), strict=True)
    ):
        data = b""
        if codec != NONE and filter_ == PLAIN:
            data = compress_python(raw[begin : begin + length], codec, level)
        elif codec != NONE and length > LENGTH_BYTES * itemsize:
            shuffle_block(raw, begin, length, filter_, itemsize, shuffled, 0, scratch, words)
            data = _encode_planes_python(shuffled[:length], codec, filter_, itemsize, level)
        if not 0 < len(data) < length:
            data = raw[begin : begin + length].tobytes()
            table[BLOCK_CODEC, row], table[BLOCK_FILTER, row] = NONE, PLAIN
        size = len(data)
        out[at : at + size] = np.frombuffer(data, np.uint8)
        table[BLOCK_OFFSET, row], table[BLOCK_STORED, row] = at, size
        table.view(np.uint64)[BLOCK_CHECKSUM, row] = hash_bytes(out, at, at + size)
        at += size
    return at


def encode_blocks(
    raw: U8,
    start: I64,
    length: I64,
    *,
    codec: int,
    filter: int,  # noqa: A002  # the name of the thing
    itemsize: int,
    level: int,
) -> tuple[U8, I64]:
    """Encode the blocks `raw[start:start + length]`.

    `raw` is 1-D uint8; `start` and `length` are int64, one entry a block. `level` is zstd's and ignored by LZ4. A
    block that would not shrink is stored as it is, with codec and filter 0. Returns the stored bytes back to back and
    their table, (8, blocks), with offsets from their beginning.

    Raises:
        ValueError: a block outside `raw`, an unknown codec or filter, or an item size outside 1 to 255.

    """
    if codec not in (NONE, ZSTD, LZ4) or filter not in (PLAIN, BYTE, BIT) or not 1 <= itemsize <= 255:
        message = f"no codec {codec} with filter {filter} for items of {itemsize} bytes"
        raise ValueError(message)
    source, start, length = as_source(raw), as_column(start), as_column(length)
    count = start.size
    if length.size != count or ((start < 0) | (length < 0) | (start > source.size - length)).any():
        message = f"{count} blocks must each lie within the {source.size} bytes given"
        raise ValueError(message)

    table = np.zeros((BLOCK_SOURCE + 1, count), np.int64)
    table[BLOCK_RAW] = length
    table[BLOCK_CODEC], table[BLOCK_FILTER] = codec, PLAIN if codec == NONE else filter
    table[BLOCK_ITEMSIZE] = itemsize
    out = np.empty(int(length.sum()), np.uint8)
    shuffled = workspace.scratch(SHUFFLED, int(length.max(initial=0)))
    scratch = workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * itemsize)
    words = scratch.view(np.uint64)
    if NATIVE_CODECS:
        counts = np.empty(256, np.int64)
        size = int(_encode(source, start, level, workspace.encoder, shuffled, scratch, words, counts, table, out))
    else:
        size = _encode_python(source, start, level, shuffled, scratch, words, table, out)
    # Shrinking in place gives the unused tail back without copying what was written.
    out.resize(size, refcheck=False)
    return out, table


_SAMPLES = 4
_SAMPLE_BYTES = 131072  # LZ4 works otherwise, and better, on inputs below 64 KiB
_MARGIN = 0.98


def choose_filter(raw: U8, start: I64, length: I64, *, codec: int, itemsize: int, level: int) -> int:
    """The filter (0 none, 1 byte-shuffle, 2 bit-shuffle) that suits the blocks `raw[start:start + length]`.

    Tries each on the beginnings of a few blocks spread over them; the smallest stored size wins, but a filter that
    decodes slower has to save more than 2 %.

    Raises:
        ValueError: as `encode_blocks` does.

    """
    start, length = as_column(start), as_column(length)
    if codec == NONE or start.size == 0:
        return PLAIN
    rows = np.unique(np.linspace(0, start.size - 1, _SAMPLES).astype(np.int64))
    starts, lengths = start[rows], np.minimum(length[rows], _SAMPLE_BYTES)
    # Fastest to decode first: zstd level 1 ran at 0.3 to 0.6 GB/s plain; where the two shuffles were within 2 % of each
    # other in size, bit was the faster for 4-byte items (2.3 GB/s to 0.4 and 1.5), byte for 8-byte ones (2.9 to 1.1).
    order = (PLAIN, BIT) if itemsize == 1 else (BYTE, BIT, PLAIN) if itemsize >= 8 else (BIT, BYTE, PLAIN)
    # What does not shrink is stored as it is, whatever the filter.
    best, smallest = PLAIN, float(lengths.sum())
    for filter_ in order:
        stored, _ = encode_blocks(raw, starts, lengths, codec=codec, filter=filter_, itemsize=itemsize, level=level)
        if stored.size < smallest * _MARGIN:
            best, smallest = filter_, stored.size
    return best
