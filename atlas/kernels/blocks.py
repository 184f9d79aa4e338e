"""Decodes whole blocks, one after the other, in one compiled pass. Knows no chunks and no boxes.

Refuses, in this order, a block that does not fit its row in the table, bytes that do not match their checksum, and
bytes that decompress to another length; nothing is written outside the block's own range of the result.

The byte planes of a filtered block are compressed each by itself, and those that do not shrink are stored uncompressed:
of these a reader copies just the range it wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import (
    LZ4,
    NONE,
    SHUFFLED,
    TRANSPOSED,
    ZSTD,
    decompress,
    decompress_python,
    new_bytes,
    workspace,
)
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import (
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_STORED,
    as_bytes,
    as_column,
    as_source,
    as_table,
)
from atlas.kernels.memcpy import copy_bytes, read_uint32
from atlas.kernels.shuffle import BIT, BYTE, PLAIN, TRANSPOSE_SCRATCH, plane_length, unshuffle_range
from atlas.kernels.status import (
    ARGUMENT,
    BOUNDS,
    CHECKSUM,
    CODEC,
    LENGTH,
    OFFSET,
    OK,
    BlockError,
    raise_status,
)
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, U64

__all__ = [
    "LENGTH_BYTES",
    "MAX_PLANES",
    "check_block",
    "copy_stored_planes",
    "decode_block",
    "decode_blocks",
    "decompress_block",
    "decompress_block_python",
]

# The most that a stored byte can become, by the formats: a zstd RLE block is 128 KiB from 4 bytes, an LZ4 length byte
# adds 255. A declared length beyond it is a lie, found before anything of that length is allocated.
_ZSTD_GROWTH = 32768
_LZ4_GROWTH = 255
_LZ4_LARGEST = 2**31 - 1

LENGTH_BYTES = 4
"""Bytes of the length of a plane, in front of the planes."""
MAX_PLANES = 255
"""Planes of a block: an item size is one byte."""


@kernel
def check_block(size: Int, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int) -> Int:
    """Whether a block of such columns can lie at `begin` of `size` stored bytes; returns a status.

    `stored` and `raw` are bytes, `codec`, `filter_` and `itemsize` numbers of the block table.
    """
    if stored < 0 or stored > size or begin < 0 or begin > size - stored:
        return BOUNDS
    if codec < NONE or codec > LZ4 or filter_ < PLAIN or filter_ > BIT:
        return CODEC
    if filter_ != PLAIN and (itemsize < 1 or itemsize > MAX_PLANES or codec == NONE):
        return CODEC
    if filter_ != PLAIN and stored < LENGTH_BYTES * itemsize:
        return LENGTH
    if codec == NONE:
        return OK if raw == stored else LENGTH
    limit = stored * (_ZSTD_GROWTH if codec == ZSTD else _LZ4_GROWTH)
    if raw < 1 or raw > limit or (codec == LZ4 and max(raw, stored) > _LZ4_LARGEST):
        return LENGTH
    return OK


@kernel
def _check_blocks(size: Int, table: I64, out_size: Int, offset: I64) -> tuple[Int, Int, Int, Int]:
    """Check the blocks of `table`, (8, blocks), in `size` stored bytes, and their `offset`, (blocks,), in the result.

    `out_size` is the bytes of the result. Returns (status, row, largest raw length to unshuffle, widest item).
    """
    largest = ZERO
    widest = ONE
    for row in range(offset.size):
        raw = table[BLOCK_RAW, row]
        status = check_block(
            size, table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], raw, table[BLOCK_CODEC, row],
            table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row],
        )  # fmt: skip
        if status == OK and (offset[row] < 0 or offset[row] > out_size - raw):
            status = OFFSET
        if status != OK:
            return status, row, largest, widest
        if table[BLOCK_FILTER, row] != PLAIN:
            largest = max(largest, raw)
            widest = max(widest, table[BLOCK_ITEMSIZE, row])
    return OK, 0, largest, widest


@inner
def _decompress_planes(
    source: U8, begin: Int, stored: Int, raw: Int, codec: Int, itemsize: Int, length: Int, context: Int,
    shuffled: U8, stored_at: I64,
) -> Int:  # fmt: skip
    """Decompress the planes, each of `length` bytes, of a checked, filtered block: plane j to `shuffled[j * length:]`.

    A plane that is stored uncompressed is not moved: `stored_at[j]` is its offset in `source`, else -1. The bytes after
    the planes are copied. Returns a status.

    `source` is 1-D uint8, `stored` bytes of it from `begin` on; `shuffled` uint8 of at least `raw` bytes; `stored_at`
    int64 (255,); `context` the address of a zstd decompression context.
    """
    end = begin + stored
    at = begin + LENGTH_BYTES * itemsize
    for j in range(itemsize):
        size = np.int64(read_uint32(source, begin + LENGTH_BYTES * j))
        if size > length or size > end - at:
            return LENGTH
        stored_at[j] = at
        if size < length:
            status = decompress(source, at, size, codec, context, shuffled, j * length, length)
            if status != OK:
                return status
            stored_at[j] = -1
        at += size
    rest = raw - length * itemsize
    if end - at != rest:
        return LENGTH
    copy_bytes(shuffled, length * itemsize, source, at, rest)
    return OK


@inner
def decompress_block(
    source: U8, begin: Int, table: I64, row: Int, context: Int, shuffled: U8, stored_at: I64, decoded: U8
) -> Int:
    """Compare the checksum of block `row` of `table`, checked before, and decompress it; returns a status.

    Its stored bytes begin at `source[begin]`, 1-D uint8; `table` is int64 (8, blocks). It goes to `shuffled` where it
    is filtered (see `_decompress_planes`), else to `decoded` unless it is not compressed. Without the C functions
    `decompress_block_python` has done all this, and Numba leaves out what calls them.
    """
    if NATIVE_CODECS:
        stored, raw, codec = table[BLOCK_STORED, row], table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        if hash_bytes(source, begin, begin + stored) != np.uint64(table[BLOCK_CHECKSUM, row]):
            return CHECKSUM
        if table[BLOCK_FILTER, row] != PLAIN:
            itemsize = table[BLOCK_ITEMSIZE, row]
            length = plane_length(raw, table[BLOCK_FILTER, row], itemsize)
            return _decompress_planes(source, begin, stored, raw, codec, itemsize, length, context, shuffled, stored_at)
        if codec != NONE:
            return decompress(source, begin, stored, codec, context, decoded, ZERO, raw)
    return OK


@inner
def copy_stored_planes(
    source: U8, stored_at: I64, filter_: Int, itemsize: Int, length: Int, begin: Int, end: Int, shuffled: U8
) -> None:
    """Copy what the block's bytes `begin` to `end` need of the planes that `_decompress_planes` has not moved.

    `source` and `shuffled` are 1-D uint8; `stored_at`, int64 (255,), is the offset of each plane in `source`, -1 for
    one that is in `shuffled`; `length` the bytes of a plane.
    """
    if filter_ == BYTE:
        parts, item = ONE, np.int64(itemsize)
    else:
        parts, item = np.int64(8), 8 * np.int64(itemsize)
    part_length = length // parts
    first, last = min(begin // item, part_length), min((end + item - 1) // item, part_length)
    if first == 0 and last == part_length:
        parts, last = ONE, length
    for j in range(itemsize):
        if stored_at[j] >= 0:
            for part in range(parts):
                at = part * part_length + first
                copy_bytes(shuffled, j * length + at, source, stored_at[j] + at, last - first)


@kernel
def _decode(
    source: U8, table: I64, offset: I64, context: Int, shuffled: U8, stored_at: I64, scratch: U8, words: U64, out: U8
) -> tuple[Int, Int]:
    """Decode the blocks of `table`, int64 (8, blocks), which `_check_blocks` has admitted, to `offset` of `out`.

    `offset` is int64 (blocks,); `source` and `out` are 1-D uint8. The rest is as for `_decompress_planes` and
    `unshuffle_range`. Returns a status and the row that it is about.
    """
    for row in range(offset.size):
        begin, stored, raw = table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], table[BLOCK_RAW, row]
        if hash_bytes(source, begin, begin + stored) != np.uint64(table[BLOCK_CHECKSUM, row]):
            return CHECKSUM, row
        codec, filter_, itemsize = table[BLOCK_CODEC, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if filter_ == PLAIN:
            status = decompress(source, begin, stored, codec, context, out, offset[row], raw)
        else:
            length = plane_length(raw, filter_, itemsize)
            status = _decompress_planes(
                source, begin, stored, raw, codec, itemsize, length, context, shuffled, stored_at
            )
            if status == OK:
                copy_stored_planes(source, stored_at, filter_, itemsize, length, ZERO, raw, shuffled)
                unshuffle_range(shuffled, ZERO, raw, filter_, itemsize, ZERO, raw, out, offset[row], scratch, words)
        if status != OK:
            return status, row
    return OK, 0


def _decompress_planes_python(
    source: U8, begin: int, stored: int, codec: int, length: int, itemsize: int
) -> tuple[int, U8]:
    """Without the C functions: the planes of a block and the bytes after them; a status and the shuffled bytes."""
    head = LENGTH_BYTES * itemsize
    sizes = source[begin : begin + head].view("<u4").tolist()
    at, end = begin + head, begin + stored
    parts = []
    for size in sizes:
        if size > min(length, end - at):
            return LENGTH, source
        status, plane = decompress_python(source, at, size, NONE if size == length else codec, length)
        if status != OK:
            return status, source
        parts.append(plane)
        at += size
    return OK, np.concatenate([*parts, source[at:end]])


def decompress_block_python(source: U8, begin: int, block: I64) -> tuple[int, U8]:
    """Without the C functions: compare a block's checksum and decompress it; a status and the still shuffled bytes.

    `block` is its column of the table; its bytes begin at `begin`.
    """
    _, stored, raw, codec, filter_, itemsize, *_ = block.tolist()
    if hash_bytes(source, begin, begin + stored) != block.view(np.uint64)[BLOCK_CHECKSUM]:
        return CHECKSUM, source
    if filter_ == PLAIN:
        return decompress_python(source, begin, stored, codec, raw)
    status, shuffled = _decompress_planes_python(
        source, begin, stored, codec, int(plane_length(raw, filter_, itemsize)), itemsize
    )
    return (status, shuffled) if status != OK or shuffled.size == raw else (LENGTH, source)


def decode_blocks(source: U8, table: I64, out: U8, offset: I64) -> None:
    """Decode block i of the table into `out[offset[i]:offset[i] + raw[i]]`.

    `source` and `out` are 1-D uint8, `out` writable; `table` is (8, blocks) with offsets in `source`; `offset` is
    int64, one entry a block.

    Raises:
        BlockError: a block is damaged, or would leave `out` (reason "offset"); `out` may then be partly written.
        ValueError: arrays of the wrong shape or dtype.

    """
    source, table, offset, target = as_source(source), as_table(table), as_column(offset), as_bytes(out)
    if offset.size != table.shape[1]:
        message = f"{table.shape[1]} blocks need as many offsets, not {offset.size}"
        raise ValueError(message)
    status, row, largest, widest = _check_blocks(source.size, table, target.size, offset)
    raise_status(status, row)
    scratch = workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * widest)
    words = scratch.view(np.uint64)
    if NATIVE_CODECS:
        shuffled, stored_at = workspace.scratch(SHUFFLED, largest), np.empty(MAX_PLANES, np.int64)
        raise_status(*_decode(source, table, offset, workspace.decoder, shuffled, stored_at, scratch, words, target))
        return
    for row, (begin, _, raw, _, filter_, itemsize, *_) in enumerate(table.T.tolist()):
        status, shuffled = decompress_block_python(source, begin, table[:, row].copy())
        raise_status(status, row)
        at, width = int(offset[row]), max(1, itemsize)
        unshuffle_range(as_source(shuffled), 0, raw, filter_, width, 0, raw, target, at, scratch, words)


def decode_block(source: U8, table: I64, row: int) -> U8:
    """The decoded bytes of one block, fresh and writable, as many as the table says.

    Raises:
        BlockError: the block is damaged.
        ValueError: no such row.

    """
    table = as_table(table)
    if not 0 <= row < table.shape[1]:
        raise_status(ARGUMENT, row)
    one = table[:, row : row + 1].copy()
    begin, stored, raw, codec, filter_, itemsize, *_ = one[:, 0].tolist()
    raise_status(check_block(source.size, begin, stored, raw, codec, filter_, itemsize), row)
    out = new_bytes(raw)
    try:
        decode_blocks(source, one, out, np.zeros(1, np.int64))
    except BlockError as fault:
        raise BlockError(row, fault.reason) from None
    return out
