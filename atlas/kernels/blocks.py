"""Decodes whole blocks, one after the other, in one compiled pass. Knows no chunks and no boxes.

Refuses, in this order, a block that does not fit its row in the table, bytes that do not match their checksum, and
bytes that decompress to another length; nothing is written outside the block's own range of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import (
    LZ4,
    LZ4_GROWTH,
    NONE,
    SHUFFLED,
    TRANSPOSED,
    ZSTD,
    ZSTD_GROWTH,
    decompress,
    decompress_python,
    new_bytes,
    workspace,
)
from atlas.kernels.filters import open_planes, open_planes_python, planes_room, undo_filter
from atlas.kernels.integers import HEAD_BYTES, integers_memory
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import (
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_STORED,
    DECIMAL,
    DECIMAL_DELTA,
    DELTA,
    FLOAT_SIZES,
    INTEGER_SIZES,
    PLAIN,
    as_bytes,
    as_column,
    as_source,
    as_table,
)
from atlas.kernels.planes import LENGTH_BYTES, MAX_PLANES, SIZES, copy_stored_planes
from atlas.kernels.shuffle import TRANSPOSE_SCRATCH
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
    from atlas.kernels.integers import Integers
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, U64

__all__ = [
    "check_block",
    "decode_block",
    "decode_blocks",
    "decompress_block",
    "decompress_block_python",
]

_LZ4_LARGEST = 2**31 - 1


@kernel
def check_block(size: Int, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int) -> Int:
    """Whether a block of such columns can lie at `begin` of `size` stored bytes; returns a status.

    `stored` and `raw` are bytes, `codec`, `filter_` and `itemsize` numbers of the block table.
    """
    if stored < 0 or stored > size or begin < 0 or begin > size - stored:
        return BOUNDS
    if codec < NONE or codec > LZ4 or filter_ < PLAIN or filter_ > DECIMAL_DELTA:
        return CODEC
    if filter_ != PLAIN and (itemsize < 1 or itemsize > MAX_PLANES or codec == NONE):
        return CODEC
    if filter_ >= DECIMAL and itemsize not in FLOAT_SIZES and (filter_ != DELTA or itemsize not in INTEGER_SIZES):
        return CODEC
    if filter_ >= DECIMAL and raw % itemsize != 0:
        return LENGTH
    if filter_ != PLAIN and stored < (HEAD_BYTES if filter_ >= DECIMAL else LENGTH_BYTES * itemsize):
        return LENGTH
    if codec == NONE:
        return OK if raw == stored else LENGTH
    limit = stored * (ZSTD_GROWTH if codec == ZSTD or filter_ >= DECIMAL else LZ4_GROWTH)
    if raw < 1 or raw > limit or (codec == LZ4 and max(raw, stored) > _LZ4_LARGEST):
        return LENGTH
    return OK


@kernel
def _check_blocks(size: Int, table: I64, out_size: Int, offset: I64) -> tuple[Int, Int, Int, Int, Int]:
    """Check the blocks of `table`, (8, blocks), in `size` stored bytes, and their `offset`, (blocks,), in the result.

    `out_size` is the bytes of the result. Returns (status, row, most bytes of planes, widest item, highest filter).
    """
    largest = highest = ZERO
    widest = ONE
    for row in range(offset.size):
        raw, filter_, itemsize = table[BLOCK_RAW, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        status = check_block(
            size, table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], raw, table[BLOCK_CODEC, row], filter_, itemsize
        )
        if status == OK and (offset[row] < 0 or offset[row] > out_size - raw):
            status = OFFSET
        if status != OK:
            return status, row, largest, widest, highest
        if filter_ != PLAIN:
            largest = max(largest, planes_room(raw, filter_, itemsize))
            widest, highest = max(widest, itemsize), max(highest, filter_)
    return OK, 0, largest, widest, highest


@inner
def decompress_block(
    source: U8, begin: Int, table: I64, row: Int, context: Int, shuffled: U8, stored_at: I64, sizes: I64,
    integers: Integers | None, decoded: U8,
) -> Int:  # fmt: skip
    """Compare the checksum of block `row` of `table`, checked before, and decompress it; returns a status.

    Its stored bytes begin at `source[begin]`, 1-D uint8; `table` is int64 (8, blocks). It goes to `shuffled` where it
    is filtered (see `open_planes`), else to `decoded` unless it is not compressed. Without the C functions
    `decompress_block_python` has done all this, and Numba leaves out what calls them.
    """
    if NATIVE_CODECS:
        stored, raw, codec = table[BLOCK_STORED, row], table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        if hash_bytes(source, begin, begin + stored) != np.uint64(table[BLOCK_CHECKSUM, row]):
            return CHECKSUM
        if table[BLOCK_FILTER, row] != PLAIN:
            return open_planes(
                source, begin, stored, raw, codec, table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row], context,
                shuffled, stored_at, sizes, integers,
            )  # fmt: skip
        if codec != NONE:
            return decompress(source, begin, stored, codec, context, decoded, ZERO, raw)
    return OK


@kernel
def _decode(
    source: U8, table: I64, offset: I64, context: Int, shuffled: U8, stored_at: I64, sizes: I64, scratch: U8,
    words: U64, integers: Integers | None, out: U8,
) -> tuple[Int, Int]:  # fmt: skip
    """Decode the blocks of `table`, int64 (8, blocks), which `_check_blocks` has admitted, to `offset` of `out`.

    `offset` is int64 (blocks,); `source` and `out` are 1-D uint8. The rest is as for `open_planes` and
    `undo_filter`. Returns a status and the row that it is about.
    """
    for row in range(offset.size):
        begin, stored, raw = table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], table[BLOCK_RAW, row]
        if hash_bytes(source, begin, begin + stored) != np.uint64(table[BLOCK_CHECKSUM, row]):
            return CHECKSUM, row
        codec, filter_, itemsize = table[BLOCK_CODEC, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if filter_ == PLAIN:
            status = decompress(source, begin, stored, codec, context, out, offset[row], raw)
        else:
            status = open_planes(
                source, begin, stored, raw, codec, filter_, itemsize, context, shuffled, stored_at, sizes, integers
            )
            if status == OK:
                copy_stored_planes(source, stored_at, filter_, itemsize, sizes, ZERO, raw, shuffled)
                undo_filter(shuffled, raw, filter_, itemsize, ZERO, raw, out, offset[row], scratch, words, integers)
        if status != OK:
            return status, row
    return OK, 0


def decompress_block_python(
    source: U8, begin: int, block: I64, sizes: I64, integers: Integers | None
) -> tuple[int, U8]:
    """Without the C functions: compare a block's checksum and decompress it; a status and the still filtered bytes.

    `block` is its column of the table; its bytes begin at `begin`.
    """
    _, stored, raw, codec, filter_, itemsize, *_ = block.tolist()
    if hash_bytes(source, begin, begin + stored) != block.view(np.uint64)[BLOCK_CHECKSUM]:
        return CHECKSUM, source
    if filter_ == PLAIN:
        return decompress_python(source, begin, stored, codec, raw)
    return open_planes_python(source, begin, stored, raw, codec, filter_, itemsize, sizes, integers)


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
    status, row, largest, widest, highest = _check_blocks(source.size, table, target.size, offset)
    raise_status(status, row)
    scratch = workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * widest)
    words = scratch.view(np.uint64)
    sizes, integers = np.empty(SIZES, np.int64), integers_memory(highest)
    if NATIVE_CODECS:
        shuffled, stored_at = workspace.scratch(SHUFFLED, largest), np.empty(MAX_PLANES, np.int64)
        decoder = workspace.decoder
        raise_status(
            *_decode(source, table, offset, decoder, shuffled, stored_at, sizes, scratch, words, integers, target)
        )
        return
    for row, (begin, _, raw, _, filter_, itemsize, *_) in enumerate(table.T.tolist()):
        status, found = decompress_block_python(source, begin, table[:, row].copy(), sizes, integers)
        raise_status(status, row)
        at = int(offset[row])
        if filter_ == PLAIN:
            target[at : at + raw] = found
        else:
            undo_filter(as_source(found), raw, filter_, itemsize, 0, raw, target, at, scratch, words, integers)


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
