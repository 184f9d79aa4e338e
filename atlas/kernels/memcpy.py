"""Copies and reads bytes at any offset of 1-D uint8 arrays. Trusts bounds, and that source and target never overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import inner, kernel

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = ["copy_bytes", "copy_rows", "read_uint32", "read_uint64", "write_uint"]

_1, _2, _3, _4, _5, _6, _7 = (np.uint64(k) for k in range(1, 8))


@kernel
def copy_bytes(out: U8, at: Int, data: U8, begin: Int, size: Int) -> None:
    """`out[at:at + size] = data[begin:begin + size]`."""
    # At unsigned indices, so that LLVM need not check for ones that count from the end: it moves vectors then.
    target, source = np.uint64(at), np.uint64(begin)
    for i in range(np.uint64(size)):
        out[target + i] = data[source + i]


@kernel
def copy_rows(out: U8, at: Int, out_step: Int, data: U8, begin: Int, step: Int, rows: Int, size: Int) -> None:
    """Copy `rows` rows of `size` bytes, `step` bytes apart in `data` and `out_step` apart in `out`."""
    # One cell a row is the usual case of a slice along the last axis: all its bytes are loaded before the first is
    # stored, which LLVM turns into one move. Rows without gaps are the usual case of small chunks wanted whole.
    if step == size and out_step == size:
        copy_bytes(out, at, data, begin, rows * size)
    elif size == 4:
        for row in range(rows):
            target, source = np.uint64(at + row * out_step), np.uint64(begin + row * step)
            a, b, c, d = data[source], data[source + _1], data[source + _2], data[source + _3]
            out[target], out[target + _1], out[target + _2], out[target + _3] = a, b, c, d
    elif size == 8:
        for row in range(rows):
            target, source = np.uint64(at + row * out_step), np.uint64(begin + row * step)
            a, b, c, d = data[source], data[source + _1], data[source + _2], data[source + _3]
            e, f, g, h = data[source + _4], data[source + _5], data[source + _6], data[source + _7]
            out[target], out[target + _1], out[target + _2], out[target + _3] = a, b, c, d
            out[target + _4], out[target + _5], out[target + _6], out[target + _7] = e, f, g, h
    elif size == 2:
        for row in range(rows):
            target, source = np.uint64(at + row * out_step), np.uint64(begin + row * step)
            a, b = data[source], data[source + _1]
            out[target], out[target + _1] = a, b
    else:
        for row in range(rows):
            copy_bytes(out, at + row * out_step, data, begin + row * step, size)


@inner
def read_uint32(data: U8, at: Int) -> Int:
    """The little-endian uint32 at `data[at:]`."""
    i = np.uint64(at)
    return np.int64(data[i]) | np.int64(data[i + _1]) << 8 | np.int64(data[i + _2]) << 16 | np.int64(data[i + _3]) << 24


@inner
def read_uint64(data: U8, at: Int) -> Int:
    """The little-endian uint64 at `data[at:]`, as the int64 of the same bits."""
    return read_uint32(data, at) | read_uint32(data, at + 4) << 32


@inner
def write_uint(data: U8, at: Int, value: Int, size: Int) -> None:
    """Write the lowest `size` bytes of an int64 to `data[at:]`, the lowest first."""
    for byte in range(size):
        data[np.uint64(at + byte)] = np.uint8((value >> (8 * byte)) & 255)
