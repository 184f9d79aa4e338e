"""Decodes and encodes whole blocks, one after the other, in one compiled pass.

A block is checked against its row, its bytes against their checksum and the decompressor's result against the
length, in that order, before anything is written beyond the block's own place. No chunks, no boxes.

The byte planes of a filtered block are compressed each by itself, and those that do not shrink lie as they are: the
lower bytes of measured values are noise, which then costs a reader a copy of just the range it wants.
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
    compress,
    compress_python,
    decompress,
    decompress_python,
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
from atlas.kernels.shuffle import BIT, BYTE, PLAIN, TURN, plane_length, shuffle_block, unshuffle_range
from atlas.kernels.symbols import NATIVE_CODECS
from atlas.kernels.tables import (
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_OFFSET,
    BLOCK_RAW,
    BLOCK_SOURCE,
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
    "MOST_PLANES",
    "admit_block",
    "choose_filter",
    "decode_block",
    "decode_blocks",
    "encode_blocks",
    "fetch_planes",
    "open_block",
    "unpack_block",
]

# The most that a stored byte can become, by the formats: a zstd RLE block is 128 KiB from 4 bytes, an LZ4 length byte
# adds 255. A declared length beyond it is a lie, found before anything of that length is allocated.
_ZSTD_GROWTH = 32768
_LZ4_GROWTH = 255
_LZ4_LARGEST = 2**31 - 1

_LENGTH_BYTES = 4
"""Bytes of the length of a plane, in front of the planes."""
MOST_PLANES = 255
"""Planes of a block: an item size is one byte."""
_SAMPLE, _STRETCHES = 512, 8
"""Bytes of a plane that are counted at a time to tell whether it is noise, and how often."""
_UNEVEN = 1.12
"""How much more often two bytes are equal where counting them is worth while; 1 is noise."""
_GLANCE = -1
"""The zstd level at which repetitions are looked for."""
_LEAST_GAIN = 32
"""A plane is compressed where that saves one byte in so many; less is not worth its decompression."""


@kernel
def admit_block(size: Int, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int) -> Int:
    """Whether such a block can lie at `begin` of `size` stored bytes; returns a status."""
    if stored < 0 or stored > size or begin < 0 or begin > size - stored:
        return BOUNDS
    if codec < NONE or codec > LZ4 or filter_ < PLAIN or filter_ > BIT:
        return CODEC
    if filter_ != PLAIN and (itemsize < 1 or itemsize > MOST_PLANES or codec == NONE):
        return CODEC
    if filter_ != PLAIN and stored < _LENGTH_BYTES * itemsize:
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
    at = begin + _LENGTH_BYTES * itemsize
    for j in range(itemsize):
        size = np.int64(read_half(source, begin + _LENGTH_BYTES * j))
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
    head = _LENGTH_BYTES * itemsize
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
    out = np.empty(raw, np.uint8)
    try:
        decode_blocks(source, one, out, np.zeros(1, np.int64))
    except BlockFault as fault:
        raise BlockFault(row, fault.reason) from None
    return out


@inner
def _is_noise(data: U8, begin: Int, length: Int, context: Int, count: I64, out: U8, at: Int, room: Int) -> bool:
    """Whether zstd would find nothing in a plane: bytes all about equally frequent, and no repetitions.

    Measured on planes of 33 KB of noise: 6 us here against 42 us for level 1 to give up.
    """
    step = max(_SAMPLE, (length - _SAMPLE) // (_STRETCHES - 1))
    count[:] = 0
    for stretch in range(begin, begin + length - _SAMPLE + 1, step):
        for i in range(stretch, stretch + _SAMPLE):
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
    packed: U8,
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
    """Compress the planes of a filtered block to `out[at:]`; the size, or 0 where that is not less than `raw`."""
    length = plane_length(raw, filter_, itemsize)
    rest = raw - length * itemsize
    end = at + raw - 1 - rest
    here = at + _LENGTH_BYTES * itemsize
    for j in range(itemsize):
        size = ZERO
        room = min(end - here, length - 1 - length // _LEAST_GAIN)
        data, begin = freeze(packed), j * length
        if room > 0 and not (codec == ZSTD and _is_noise(data, begin, length, context, count, out, here, room)):
            size = compress(data, begin, length, codec, level, context, out, here, room)
        if size == 0:
            size = length
            if size > end - here:
                return 0
            copy_bytes(out, here, data, begin, length)
        for byte in range(_LENGTH_BYTES):
            out[at + _LENGTH_BYTES * j + byte] = np.uint8((size >> (8 * byte)) & 255)
        here += size
    copy_bytes(out, here, freeze(packed), length * itemsize, rest)
    return here + rest - at


@kernel
def _encode(
    raw: U8, start: I64, level: Int, context: Int, packed: U8, turn: U8, count: I64, table: I64, out: U8
) -> Int:
    """Encode blocks back to back into `out`; `table` holds what is wished and is left holding what was done."""
    at = ZERO
    for row in range(start.size):
        begin, length, codec = start[row], table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        size = ZERO
        filter_, itemsize = table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        if codec != NONE and filter_ == PLAIN:
            size = compress(raw, begin, length, codec, level, context, out, at, length - 1)
        elif codec != NONE and length > _LENGTH_BYTES * itemsize:
            shuffle_block(raw, begin, length, filter_, itemsize, packed, ZERO, turn)
            size = _encode_planes(packed, length, codec, filter_, itemsize, level, context, count, out, at)
        if size == 0:
            size = length
            copy_bytes(out, at, raw, begin, size)
            table[BLOCK_CODEC, row] = NONE
            table[BLOCK_FILTER, row] = PLAIN
        table[BLOCK_OFFSET, row] = at
        table[BLOCK_STORED, row] = size
        table[BLOCK_CHECKSUM, row] = np.int64(hash_bytes(freeze(out), at, at + size))
        at += size
    return at


def _encode_planes_python(packed: U8, codec: int, filter_: int, itemsize: int, level: int) -> bytes:
    length = int(plane_length(packed.size, filter_, itemsize))
    streams = []
    for j in range(itemsize):
        plane = packed[j * length : (j + 1) * length]
        stream = compress_python(plane, codec, level) if length else b""
        streams.append(stream if len(stream) <= length - 1 - length // _LEAST_GAIN else plane.tobytes())
    sizes = np.array([len(stream) for stream in streams], "<u4").tobytes()
    return b"".join([sizes, *streams, packed[length * itemsize :].tobytes()])


def _encode_python(raw: U8, start: I64, level: int, packed: U8, turn: U8, table: I64, out: U8) -> int:
    at = 0
    for row, (begin, length, codec, filter_, itemsize) in enumerate(
        zip(start.tolist(), *table[BLOCK_RAW : BLOCK_ITEMSIZE + 1].tolist(), strict=True)
    ):
        data = b""
        if codec != NONE and filter_ == PLAIN:
            data = compress_python(raw[begin : begin + length], codec, level)
        elif codec != NONE and length > _LENGTH_BYTES * itemsize:
            shuffle_block(raw, begin, length, filter_, itemsize, packed, 0, turn)
            data = _encode_planes_python(packed[:length], codec, filter_, itemsize, level)
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
    packed = workspace.scratch(PACKED, int(length.max(initial=0)))
    turn = workspace.scratch(TURNED, TURN * itemsize)
    if NATIVE_CODECS:
        counts = np.empty(256, np.int64)
        size = int(_encode(source, start, level, workspace.encoder, packed, turn, counts, table, out))
    else:
        size = _encode_python(source, start, level, packed, turn, table, out)
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
