"""Decodes whole blocks, one after the other, in one compiled pass.

A block is checked against its row, its bytes against their checksum and the decompressor's result against the
length, in that order, before anything is written beyond the block's own place. No chunks, no boxes.

The byte planes of a filtered block are compressed each by itself, and those that do not shrink lie as they are: of
these a reader copies just the range it wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import (
    LZ4,
    NONE,
    PACKED,
    TURNED,
    ZSTD,
    decompress,
    decompress_python,
    new_bytes,
    workspace,
)
from atlas.kernels.faults import (
    ARGUMENT,
    BOUNDS,
    CHECKSUM,
    CODEC,
    FINE,
    LENGTH,
    PLACE,
    BlockFault,
    raise_status,
)
from atlas.kernels.policy import ONE, ZERO, inner, kernel
from atlas.kernels.runs import copy_bytes, freeze, read_half
from atlas.kernels.shuffle import BIT, BYTE, PLAIN, TURN, plane_length, unshuffle_range
from atlas.kernels.symbols import NATIVE_CODECS
from atlas.kernels.tables import (
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

if TYPE_CHECKING:
    from atlas.kernels.policy import Int
    from atlas.kernels.tables import I64, U8

__all__ = [
    "LENGTH_BYTES",
    "MOST_PLANES",
    "admit_block",
    "decode_block",
    "decode_blocks",
    "fetch_planes",
    "open_block",
    "unpack_block",
]

# The most that a stored byte can become, by the formats: a zstd RLE block is 128 KiB from 4 bytes, an LZ4 length byte
# adds 255. A declared length beyond it is a lie, found before anything of that length is allocated.
_ZSTD_GROWTH = 32768
_LZ4_GROWTH = 255
_LZ4_LARGEST = 2**31 - 1

LENGTH_BYTES = 4
"""Bytes of the length of a plane, in front of the planes."""
MOST_PLANES = 255
"""Planes of a block: an item size is one byte."""


@kernel
def admit_block(size: Int, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int) -> Int:
    """Whether such a block can lie at `begin` of `size` stored bytes; returns a status."""
    if stored < 0 or stored > size or begin < 0 or begin > size - stored:
        return BOUNDS
    if codec < NONE or codec > LZ4 or filter_ < PLAIN or filter_ > BIT:
        return CODEC
    if filter_ != PLAIN and (itemsize < 1 or itemsize > MOST_PLANES or codec == NONE):
        return CODEC
    if filter_ != PLAIN and stored < LENGTH_BYTES * itemsize:
        return LENGTH
    if codec == NONE:
        return FINE if raw == stored else LENGTH
    limit = stored * (_ZSTD_GROWTH if codec == ZSTD else _LZ4_GROWTH)
    if raw < 1 or raw > limit or (codec == LZ4 and max(raw, stored) > _LZ4_LARGEST):
        return LENGTH
    return FINE


@kernel
def _admit_places(size: Int, table: I64, out_size: Int, place: I64) -> tuple[Int, Int, Int, Int]:
    """(status, row, largest length to unfilter, widest item) of a whole table."""
    largest = ZERO
    widest = ONE
    for row in range(place.size):
        raw = table[BLOCK_RAW, row]
        status = admit_block(
            size, table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], raw, table[BLOCK_CODEC, row],
            table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row],
        )  # fmt: skip
        if status == FINE and (place[row] < 0 or place[row] > out_size - raw):
            status = PLACE
        if status != FINE:
            return status, row, largest, widest
        if table[BLOCK_FILTER, row] != PLAIN:
            largest = max(largest, raw)
            widest = max(widest, table[BLOCK_ITEMSIZE, row])
    return FINE, 0, largest, widest


@inner
def _open_planes(
    source: U8, begin: Int, stored: Int, raw: Int, codec: Int, itemsize: Int, length: Int, context: Int,
    packed: U8, home: I64,
) -> Int:  # fmt: skip
    """Decompress the planes, each of `length` bytes, of an admitted, filtered block: plane j to `packed[j * length:]`.

    A plane that is stored as it is is not moved: `home[j]` is where it lies in `source`, or -1. The bytes after the
    planes are copied. Returns a status.
    """
    end = begin + stored
    at = begin + LENGTH_BYTES * itemsize
    for j in range(itemsize):
        size = np.int64(read_half(source, begin + LENGTH_BYTES * j))
        if size > length or size > end - at:
            return LENGTH
        home[j] = at
        if size < length:
            status = decompress(source, at, size, codec, context, packed, j * length, length)
            if status != FINE:
                return status
            home[j] = -1
        at += size
    rest = raw - length * itemsize
    if end - at != rest:
        return LENGTH
    copy_bytes(packed, length * itemsize, source, at, rest)
    return FINE


@inner
def open_block(
    source: U8, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int, checksum: np.uint64,
    context: Int, packed: U8, home: I64, plain: U8,
) -> Int:  # fmt: skip
    """Check an admitted block and decompress it; returns a status.

    It goes to `packed` where it is filtered (see `_open_planes`), else to `plain` unless it lies as it is in `source`.
    Without the C functions there is nothing left to do after `unpack_block`; Numba then leaves out what calls them.
    """
    if NATIVE_CODECS:
        if hash_bytes(source, begin, begin + stored) != checksum:
            return CHECKSUM
        if filter_ != PLAIN:
            length = plane_length(raw, filter_, itemsize)
            return _open_planes(source, begin, stored, raw, codec, itemsize, length, context, packed, home)
        if codec != NONE:
            return decompress(source, begin, stored, codec, context, plain, ZERO, raw)
    return FINE


@inner
def fetch_planes(
    source: U8, home: I64, filter_: Int, itemsize: Int, length: Int, begin: Int, end: Int, packed: U8
) -> None:
    """Copy what the block's bytes `begin` to `end` need of the planes that `_open_planes` has not moved.

    `length` is that of a plane.
    """
    if filter_ == BYTE:
        parts, item = ONE, np.int64(itemsize)
    else:
        parts, item = np.int64(8), 8 * np.int64(itemsize)
    stretch = length // parts
    first, last = min(begin // item, stretch), min((end + item - 1) // item, stretch)
    if first == 0 and last == stretch:
        parts, last = ONE, length
    for j in range(itemsize):
        if home[j] >= 0:
            for part in range(parts):
                at = part * stretch + first
                copy_bytes(packed, j * length + at, source, home[j] + at, last - first)


@kernel
def _decode(
    source: U8, table: I64, place: I64, context: Int, packed: U8, home: I64, turn: U8, out: U8
) -> tuple[Int, Int]:
    for row in range(place.size):
        begin, stored, raw = table[BLOCK_OFFSET, row], table[BLOCK_STORED, row], table[BLOCK_RAW, row]
        if hash_bytes(source, begin, begin + stored) != np.uint64(table[BLOCK_CHECKSUM, row]):
            return CHECKSUM, row
        codec, filter_, itemsize = table[BLOCK_CODEC, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if filter_ == PLAIN:
            status = decompress(source, begin, stored, codec, context, out, place[row], raw)
        else:
            length = plane_length(raw, filter_, itemsize)
            status = _open_planes(source, begin, stored, raw, codec, itemsize, length, context, packed, home)
            if status == FINE:
                fetch_planes(source, home, filter_, itemsize, length, ZERO, raw, packed)
                unshuffle_range(freeze(packed), ZERO, raw, filter_, itemsize, ZERO, raw, out, place[row], turn)
        if status != FINE:
            return status, row
    return FINE, 0


def _unpack_planes(source: U8, begin: int, stored: int, codec: int, length: int, itemsize: int) -> tuple[int, U8]:
    """Without the C functions: the planes of a block and what follows them; a status and the still filtered bytes."""
    head = LENGTH_BYTES * itemsize
    sizes = source[begin : begin + head].view("<u4").tolist()
    at, end = begin + head, begin + stored
    parts = []
    for size in sizes:
        if size > min(length, end - at):
            return LENGTH, source
        status, plane = decompress_python(source, at, size, NONE if size == length else codec, length)
        if status != FINE:
            return status, source
        parts.append(plane)
        at += size
    return FINE, np.concatenate([*parts, source[at:end]])


def unpack_block(source: U8, begin: int, block: I64) -> tuple[int, U8]:
    """Without the C functions: check an admitted block and decompress it; a status and the still filtered bytes.

    `block` is its column of the table; its bytes begin at `begin`.
    """
    _, stored, raw, codec, filter_, itemsize, *_ = block.tolist()
    if hash_bytes(source, begin, begin + stored) != block.view(np.uint64)[BLOCK_CHECKSUM]:
        return CHECKSUM, source
    if filter_ == PLAIN:
        return decompress_python(source, begin, stored, codec, raw)
    status, packed = _unpack_planes(source, begin, stored, codec, int(plane_length(raw, filter_, itemsize)), itemsize)
    return (status, packed) if status != FINE or packed.size == raw else (LENGTH, source)


def decode_blocks(source: U8, table: I64, out: U8, place: I64) -> None:
    """Decode block i of the table into `out[place[i]:place[i] + raw[i]]`.

    `source` and `out` are 1-D uint8, `out` writable; `table` is (8, blocks) with offsets in `source`; `place` is int64,
    one entry a block.

    Raises:
        BlockFault: a block is damaged, or would leave `out` (reason "place"); `out` may then be partly written.
        ValueError: arrays of the wrong shape or dtype.

    """
    source, table, place, target = as_source(source), as_table(table), as_column(place), as_bytes(out)
    if place.size != table.shape[1]:
        message = f"{table.shape[1]} blocks need as many places, not {place.size}"
        raise ValueError(message)
    status, row, largest, widest = _admit_places(source.size, table, target.size, place)
    raise_status(status, row)
    turn = workspace.scratch(TURNED, TURN * widest)
    if NATIVE_CODECS:
        packed, home = workspace.scratch(PACKED, largest), np.empty(MOST_PLANES, np.int64)
        raise_status(*_decode(source, table, place, workspace.decoder, packed, home, turn, target))
        return
    for row, (begin, _, raw, _, filter_, itemsize, *_) in enumerate(table.T.tolist()):
        status, packed = unpack_block(source, begin, table[:, row].copy())
        raise_status(status, row)
        at, width = int(place[row]), max(1, itemsize)
        unshuffle_range(as_source(packed), 0, raw, filter_, width, 0, raw, target, at, turn)


def decode_block(source: U8, table: I64, row: int) -> U8:
    """The decoded bytes of one block, fresh and writable, as many as the table says.

    Raises:
        BlockFault: the block is damaged.
        ValueError: no such row.

    """
    table = as_table(table)
    if not 0 <= row < table.shape[1]:
        raise_status(ARGUMENT, row)
    one = table[:, row : row + 1].copy()
    begin, stored, raw, codec, filter_, itemsize, *_ = one[:, 0].tolist()
    raise_status(admit_block(source.size, begin, stored, raw, codec, filter_, itemsize), row)
    out = new_bytes(raw)
    try:
        decode_blocks(source, one, out, np.zeros(1, np.int64))
    except BlockFault as fault:
        raise BlockFault(row, fault.reason) from None
    return out
