"""Compresses and decompresses one block: in kernels through the C functions, or through the Python packages.

Filters and checksums are not known here. Each thread has contexts and scratch of its own, made on first use and kept
between calls; a forked child's copies are its own as well.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

import lz4.block
import numpy as np
import zstandard
from numba import types

from atlas.errors import TooLargeError
from atlas.kernels.jit import inner
from atlas.kernels.memcpy import copy_bytes
from atlas.kernels.status import CODEC, LENGTH, OK
from atlas.kernels.symbols import call_symbol, external
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = [
    "DECODED",
    "LZ4",
    "LZ4_GROWTH",
    "NONE",
    "SHUFFLED",
    "STORED",
    "TRANSPOSED",
    "ZSTD",
    "ZSTD_GROWTH",
    "compress",
    "compress_python",
    "decompress",
    "decompress_python",
    "new_bytes",
    "stored_buffer",
    "workspace",
]

NONE, ZSTD, LZ4 = 0, 1, 2

ZSTD_GROWTH, LZ4_GROWTH = 32768, 255
"""The most that a stored byte can become, by the formats: a zstd RLE block is 128 KiB from 4 bytes, an LZ4 length byte
adds 255. Integers that are all equal take no plane, so they get the larger of the two. A declared length beyond it is a
lie, found before anything of that length is allocated."""

_LZ4_LARGEST = 0x7E000000  # LZ4_MAX_INPUT_SIZE

_zstd_compress = external(
    "ZSTD_compressCCtx",
    types.intp, types.intp, types.intp, types.intp, types.intp, types.intp, types.int32,
)  # fmt: skip
_zstd_decompress = external(
    "ZSTD_decompressDCtx", types.intp, types.intp, types.intp, types.intp, types.intp, types.intp
)
_zstd_content_size = external("ZSTD_getFrameContentSize", types.int64, types.intp, types.intp)
_zstd_frame_size = external("ZSTD_findFrameCompressedSize", types.intp, types.intp, types.intp)
_lz4_compress = external("LZ4_compress_default", types.int32, types.intp, types.intp, types.int32, types.int32)
_lz4_decompress = external("LZ4_decompress_safe", types.int32, types.intp, types.intp, types.int32, types.int32)

SHUFFLED, DECODED, TRANSPOSED, STORED = range(4)
"""The scratches of a thread: for the planes of a block, its bytes, a window of it, and stored bytes."""

_KEPT = 4 * 2**20  # scratch beyond this many bytes is not kept for the thread's life


def _free(name: str, address: int, process: int) -> None:
    # A fork may have caught another thread half-way through a call: its copy of that context is left alone.
    if process == os.getpid():
        call_symbol(name, address)


class _Context:
    """One zstd context; freed with its thread, by the process that made it."""

    def __init__(self, create: str, free: str) -> None:
        self.address = call_symbol(create)
        if self.address == 0:
            message = f"{create} could not allocate a context"
            raise MemoryError(message)
        finalizer = weakref.finalize(self, _free, free, self.address, os.getpid())
        finalizer.atexit = False


def new_bytes(size: int) -> U8:
    """Memory for bytes that blocks claim to decode to, contents arbitrary.

    Raises:
        TooLargeError: there is not so much memory at hand.

    """
    what = "a block that is decoded"
    remedy = "read less at a time; where it is a single block, the file is damaged or made for a larger machine"
    check_room(size, what, remedy)
    try:
        return np.empty(size, np.uint8)
    except MemoryError as error:  # another thread was faster
        message = f"{what} takes {size} bytes, which cannot be had; {remedy}"
        raise TooLargeError(message, asked=size) from error


class _Workspace(threading.local):
    """What one thread keeps between calls."""

    def __init__(self) -> None:
        self._decoder: _Context | None = None
        self._encoder: _Context | None = None
        self._scratch = [np.empty(0, np.uint8)] * 4

    @property
    def decoder(self) -> int:
        """Address of the thread's decompression context."""
        if self._decoder is None:
            self._decoder = _Context("ZSTD_createDCtx", "ZSTD_freeDCtx")
        return self._decoder.address

    @property
    def encoder(self) -> int:
        """Address of the thread's compression context."""
        if self._encoder is None:
            self._encoder = _Context("ZSTD_createCCtx", "ZSTD_freeCCtx")
        return self._encoder.address

    def scratch(self, which: int, size: Int) -> U8:
        """At least `size` bytes of scratch number `which`, contents arbitrary."""
        kept = self._scratch[which]
        if kept.size < size:
            kept = new_bytes(max(int(size), min(2 * kept.size, _KEPT)))
            if kept.size <= _KEPT:
                self._scratch[which] = kept
        return kept


workspace = _Workspace()


def stored_buffer(size: int) -> U8:
    """Memory of this thread for `size` stored bytes, uint8; the next call in the thread lends it again."""
    return workspace.scratch(STORED, size)[:size]


@inner
def decompress(source: U8, begin: Int, stored: Int, codec: Int, context: Int, out: U8, at: Int, raw: Int) -> Int:
    """Decompress `source[begin:begin + stored]` to exactly `out[at:at + raw]`, both 1-D uint8; returns a status.

    `context` is the address of a zstd decompression context. The ranges are trusted, the bytes are not.
    """
    if codec == NONE:
        copy_bytes(out, at, source, begin, raw)
        return OK
    data = np.intp(source.ctypes.data) + np.intp(begin)
    target = np.intp(out.ctypes.data) + np.intp(at)
    if codec == LZ4:
        done = np.int64(_lz4_decompress(data, target, np.int32(stored), np.int32(raw)))
        return OK if done == raw else (CODEC if done < 0 else LENGTH)
    if _zstd_content_size(data, np.intp(stored)) != raw:
        return LENGTH
    if _zstd_frame_size(data, np.intp(stored)) != stored:
        return CODEC
    done = np.int64(_zstd_decompress(np.intp(context), target, np.intp(raw), data, np.intp(stored)))
    return OK if done == raw else CODEC


@inner
def compress(
    data: U8, begin: Int, length: Int, codec: Int, level: Int, context: Int, out: U8, at: Int, room: Int
) -> Int:
    """Compress `data[begin:begin + length]` into `room` bytes at `out[at:]`; the size, or 0 where it does not fit.

    `data` and `out` are 1-D uint8; `context` is the address of a zstd compression context.
    """
    source = np.intp(data.ctypes.data) + np.intp(begin)
    target = np.intp(out.ctypes.data) + np.intp(at)
    if codec == LZ4:
        if length > _LZ4_LARGEST:
            return 0
        return np.int64(_lz4_compress(source, target, np.int32(length), np.int32(room)))
    size = np.int64(_zstd_compress(np.intp(context), target, np.intp(room), source, np.intp(length), np.int32(level)))
    # zstd reports errors as small negative numbers; the one expected is "does not fit".
    return size if 0 < size <= room else 0


def decompress_python(source: U8, begin: int, stored: int, codec: int, raw: int) -> tuple[int, U8]:
    """Twin of `decompress`: a status and the bytes, which are `raw` where the status is fine."""
    data = source[begin : begin + stored]
    if codec == NONE:
        return OK, data
    try:
        if codec == ZSTD:
            # The package allocates what the frame declares, so that is compared first.
            if zstandard.frame_content_size(data.data) != raw:
                return LENGTH, data
            plain = zstandard.ZstdDecompressor().decompress(
                data.data, max_output_size=raw, read_across_frames=False, allow_extra_data=False
            )
        else:
            plain = lz4.block.decompress(data.data, uncompressed_size=raw)
    except (zstandard.ZstdError, lz4.block.LZ4BlockError, ValueError):
        return CODEC, data
    return (OK if len(plain) == raw else LENGTH), np.frombuffer(plain, np.uint8)


def compress_python(data: U8, codec: int, level: int) -> bytes:
    """Twin of `compress`: the compressed bytes, however long."""
    if codec == ZSTD:
        return zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True).compress(data.data)
    shuffled: bytes = lz4.block.compress(data.data, store_size=False)
    return shuffled
