"""Encodes whole blocks, one after the other, in one compiled pass, and chooses their filter.

Refuses blocks outside the bytes given, and codecs, filters and item sizes that no reader knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import LZ4, NONE, SHUFFLED, TRANSPOSED, ZSTD, compress, compress_python, workspace
from atlas.kernels.integer_encoding import IntegerFilter, is_promising
from atlas.kernels.integers import HEAD_BYTES, LARGEST, integers_room, write_head
from atlas.kernels.jit import ZERO, kernel
from atlas.kernels.layouts import (
    BIT,
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_SOURCE,
    BLOCK_STORED,
    BYTE,
    DECIMAL,
    DECIMAL_DELTA,
    DELTA,
    FLOAT_SIZES,
    I64,
    INTEGER_SIZES,
    PLAIN,
    U8,
    U64,
    as_column,
    as_source,
)
from atlas.kernels.memcpy import copy_bytes
from atlas.kernels.planes import (
    LENGTH_BYTES,
    MAX_PLANES,
    SIZES,
    compress_planes,
    compress_planes_python,
    set_shuffled_sizes,
)
from atlas.kernels.shuffle import TRANSPOSE_SCRATCH, shuffle_block
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from atlas.kernels.jit import Int

__all__ = ["LEAST_TRIED", "choose_filter", "encode_blocks", "suitable_filter"]

Memory: TypeAlias = tuple[U8, I64, U8, U64, I64]
"""Memory of the thread: `shuffled`, uint8 of as much as the largest block takes, and `sizes`, int64 (257,), the planes
of a block; `scratch`, uint8, and the same as `words`, uint64, see `shuffle_block`; and `count`, int64 (256,), see
`compress_planes`."""

_KNOWN = (PLAIN, BYTE, BIT, DECIMAL, DELTA, DECIMAL_DELTA)


@kernel
def _encode(raw: U8, start: I64, level: Int, context: Int, memory: Memory, table: I64, out: U8, at: Int) -> Int:
    """Encode the blocks that begin at `start`, int64 (blocks,), of `raw` back to back to `out[at:]`, both 1-D uint8.

    `table`, int64 (8, blocks), holds what is wished and is left holding what was done. `context` is the address of a
    zstd compression context. The planes of a block with a filter of integers are in `memory`, its head at `out[at:]`.
    Returns where the bytes written end.
    """
    shuffled, sizes, scratch, words, count = memory
    for row in range(start.size):
        begin, length, codec = start[row], table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        size = ZERO
        filter_, itemsize = table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if codec != NONE and filter_ == PLAIN:
            size = compress(raw, begin, length, codec, level, context, out, at, length - 1)
        elif codec != NONE and length > LENGTH_BYTES * itemsize:
            if filter_ < DECIMAL:
                set_shuffled_sizes(length, filter_, itemsize, sizes)
                shuffle_block(raw, begin, length, filter_, itemsize, shuffled, ZERO, scratch, words)
            # Read-only as `raw` is, by its type: so Numba compiles what compresses them once.
            planes = raw if filter_ == PLAIN else shuffled
            lead = HEAD_BYTES if filter_ >= DECIMAL else ZERO
            last = at + length - 1
            # Integers that are all equal take no plane, and so no bytes.
            size = compress_planes(planes, sizes, codec, level, context, count, out, at + lead, last)
            size = size + lead if size >= 0 else ZERO
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


def _encode_python(raw: U8, start: I64, level: int, memory: Memory, table: I64, out: U8, at: int) -> int:
    """Without the C functions: `_encode`."""
    shuffled, sizes, scratch, words, _ = memory
    for row, (begin, length, codec, filter_, itemsize) in enumerate(
        zip(start.tolist(), *table[BLOCK_RAW : BLOCK_ITEMSIZE + 1].tolist(), strict=True)
    ):
        data = b""
        if codec != NONE and filter_ == PLAIN:
            data = compress_python(raw[begin : begin + length], codec, level)
        elif codec != NONE and length > LENGTH_BYTES * itemsize:
            if filter_ < DECIMAL:
                set_shuffled_sizes(length, filter_, itemsize, sizes)
                shuffle_block(raw, begin, length, filter_, itemsize, shuffled, 0, scratch, words)
            data = compress_planes_python(shuffled, sizes, codec, level)
            if filter_ >= DECIMAL:
                data = out[at : at + HEAD_BYTES].tobytes() + data
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
    fill: bytes | None = None,
) -> tuple[U8, I64]:
    """Encode the blocks `raw[start:start + length]`.

    `raw` is 1-D uint8; `start` and `length` are int64, one entry a block. `level` is zstd's and ignored by LZ4. `fill`
    is the cell that means missing, `itemsize` bytes: the filters of integers keep such cells apart. A block of floats
    that are no decimals, or of more bytes than `LARGEST`, is byte-shuffled in place of filters 3 to 5, and a block that
    would not shrink is stored as it is, with codec and filter 0. Returns the stored bytes back to back and their table,
    (8, blocks), with offsets from their beginning.

    Raises:
        ValueError: a block outside `raw`, an unknown codec or filter, an item size outside 1 to 255 or, of a filter of
            integers, other than 4 or 8 (filter 4: 1, 2, 4 or 8), or a fill of another size.

    """
    integers = filter >= DECIMAL
    widths = INTEGER_SIZES if filter == DELTA else FLOAT_SIZES if integers else range(1, MAX_PLANES + 1)
    if codec not in (NONE, ZSTD, LZ4) or filter not in _KNOWN or itemsize not in widths:
        message = f"no codec {codec} with filter {filter} for items of {itemsize} bytes"
        raise ValueError(message)
    if fill is not None and len(fill) != itemsize:
        message = f"a fill of {len(fill)} bytes is no item of {itemsize} bytes"
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
    largest = int(length.max(initial=0))
    scratch = workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * itemsize)
    room = int(integers_room(largest, itemsize)) if integers else largest
    shuffled, sizes = workspace.scratch(SHUFFLED, room), np.empty(SIZES, np.int64)
    memory = shuffled, sizes, scratch, scratch.view(np.uint64), np.empty(256, np.int64)

    def encode(rows: slice, at: int) -> int:
        some = np.ascontiguousarray(table[:, rows])
        if NATIVE_CODECS:
            end = int(_encode(source, start[rows], level, workspace.encoder, memory, some, out, at))
        else:
            end = _encode_python(source, start[rows], level, memory, some, out, at)
        table[:, rows] = some
        return end

    size = 0
    if codec != NONE and integers:
        # Block by block: so filters of integers are compiled by themselves, and only where there are integers.
        chosen = IntegerFilter(filter, itemsize, fill, largest)
        for row, (begin, raw_length) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
            if HEAD_BYTES < raw_length <= LARGEST and chosen.apply(source[begin : begin + raw_length], shuffled, sizes):
                write_head(chosen.head, out[size : size + HEAD_BYTES])
            else:
                table[BLOCK_FILTER, row] = BYTE
            size = encode(slice(row, row + 1), size)
    else:
        size = encode(slice(None), 0)
    # Shrinking in place gives the unused tail back without copying what was written.
    out.resize(size, refcheck=False)
    return out, table


_SAMPLES = 4
_SAMPLE_BYTES = 131072  # LZ4 works otherwise, and better, on inputs below 64 KiB
LEAST_TRIED = 512
"""Bytes below which no filter is tried: planes of them hardly shrink, and a trial takes longer than all else."""
_NEARLY_ALL = 0.9
_SLOWER = 1.02
"""What a filter must save, in bytes, for each that decodes faster."""


def choose_filter(
    raw: U8, start: I64, length: I64, *, codec: int, dtype: np.dtype[Any], level: int, fill: bytes | None = None
) -> int:
    """The filter that suits the blocks `raw[start:start + length]` of cells of `dtype`.

    Tries those that its kind has on the beginnings of a few blocks spread over them. The smallest product of the stored
    bytes and 1.02 to the power of the filter's place wins, where places go by speed of decoding: a filter has to save
    2 % for each that decodes faster. A filter of integers that is not for nearly all of the bytes tried is not for the
    rest. What does not shrink, or has less than 512 bytes, has no filter, 0.

    Raises:
        ValueError: as `encode_blocks` does.

    """
    start, length = as_column(start), as_column(length)
    if codec == NONE or length.sum() < LEAST_TRIED:
        return PLAIN
    rows = np.unique(np.linspace(0, start.size - 1, _SAMPLES).astype(np.int64))
    starts, lengths = start[rows], np.minimum(length[rows], _SAMPLE_BYTES)
    best, smallest = PLAIN, float(lengths.sum())
    tried = _filters_of(dtype)
    promising = max(tried) >= DECIMAL and is_promising(raw, starts, lengths, dtype, fill)
    for place, filter_ in enumerate(tried):
        if filter_ >= DECIMAL and not promising:
            continue
        stored, table = encode_blocks(
            raw, starts, lengths, codec=codec, filter=filter_, itemsize=dtype.itemsize, level=level, fill=fill
        )
        taken = table[BLOCK_RAW, table[BLOCK_FILTER] == filter_].sum()
        if taken <= (_NEARLY_ALL * lengths.sum() if filter_ >= DECIMAL else 0):
            continue
        cost = stored.size * _SLOWER**place
        if cost < smallest:
            best, smallest = filter_, cost
    return best


def suitable_filter(filter: int, dtype: np.dtype[Any]) -> int:  # noqa: A002  # the name of the thing
    """That filter, or byte-shuffle where it is one of integers that cells of `dtype` do not have."""
    return filter if filter < DECIMAL or filter in _filters_of(dtype) else BYTE


def _filters_of(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The filters that are tried for cells of `dtype`, the fastest to decode first."""
    # zstd level 1 ran at 0.3 to 0.6 GB/s plain; where the two shuffles were within 2 % of each other in size, bit was
    # the faster for 4-byte items (2.3 GB/s to 0.4 and 1.5), byte for 8-byte ones (2.9 to 1.1).
    faster, slower = (BYTE, BIT) if dtype.itemsize >= 8 else (BIT, BYTE)
    if dtype.kind == "f" and dtype.itemsize in FLOAT_SIZES:
        return faster, DECIMAL, slower, DECIMAL_DELTA, PLAIN
    if dtype.kind in "iumM":
        return (PLAIN, BIT, DELTA) if dtype.itemsize == 1 else (faster, slower, DELTA, PLAIN)
    return (PLAIN, BIT) if dtype.itemsize == 1 else (faster, slower, PLAIN)
