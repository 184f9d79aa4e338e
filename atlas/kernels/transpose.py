"""Transposes bytes and bits, in loops that LLVM turns into vector instructions.

Trusts offsets and lengths; `data` and `out` never overlap. LLVM vectorises the loop over items where it knows the item
size, for which the usual ones are passed as constants, and where indices are unsigned: signed ones may count from the
end. Item sizes that it does not know run at a tenth of the speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.kernels.jit import inner
from atlas.kernels.memcpy import copy_bytes

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8, U64

__all__ = ["join_bytes", "split_bytes", "transpose_bits"]

_2, _4, _8 = np.uint64(2), np.uint64(4), np.uint64(8)

_MASK_1 = np.uint64(0x00AA00AA00AA00AA)
_MASK_2 = np.uint64(0x0000CCCC0000CCCC)
_MASK_4 = np.uint64(0x00000000F0F0F0F0)
_SEVEN, _FOURTEEN, _TWENTY_EIGHT = np.uint64(7), np.uint64(14), np.uint64(28)


@inner
def join_bytes(data: U8, at: Int, stride: Int, itemsize: Int, count: Int, out: U8, out_at: Int) -> None:
    """Join `itemsize` planes, `stride` bytes apart from `data[at]` on, to `count` items at `out[out_at:]`.

    `data` and `out` are 1-D uint8.
    """
    if itemsize == 1:
        copy_bytes(out, out_at, data, at, count)
        return
    width, step, a, o, n = np.uint64(itemsize), np.uint64(stride), np.uint64(at), np.uint64(out_at), np.uint64(count)
    if itemsize == 4:
        _join(data, a, step, _4, n, out, o)
    elif itemsize == 8:
        _join(data, a, step, _8, n, out, o)
    elif itemsize == 2:
        _join(data, a, step, _2, n, out, o)
    else:
        _join(data, a, step, width, n, out, o)


@inner
def _join(data: U8, at: Any, stride: Any, width: Any, count: Any, out: U8, out_at: Any) -> None:
    """`join_bytes` for any item size; numbers are uint64."""
    for i in range(count):
        for j in range(width):
            out[out_at + i * width + j] = data[at + j * stride + i]


@inner
def split_bytes(data: U8, at: Int, itemsize: Int, count: Int, out: U8, out_at: Int, stride: Int) -> None:
    """Undo `join_bytes`: `count` items at `data[at:]` to planes `stride` bytes apart from `out[out_at]` on."""
    if itemsize == 1:
        copy_bytes(out, out_at, data, at, count)
        return
    width, step, a, o, n = np.uint64(itemsize), np.uint64(stride), np.uint64(at), np.uint64(out_at), np.uint64(count)
    if itemsize == 4:
        _split(data, a, _4, n, out, o, step)
    elif itemsize == 8:
        _split(data, a, _8, n, out, o, step)
    elif itemsize == 2:
        _split(data, a, _2, n, out, o, step)
    else:
        _split(data, a, width, n, out, o, step)


@inner
def _split(data: U8, at: Any, width: Any, count: Any, out: U8, out_at: Any, stride: Any) -> None:
    """`split_bytes` for any item size; numbers are uint64."""
    for i in range(count):
        for j in range(width):
            out[out_at + j * stride + i] = data[at + i * width + j]


@inner
def transpose_bits(words: U64, count: Int) -> None:
    """Transpose the bits of `words[:count]`, 1-D uint64, each 8 x 8 bits: bit i of byte k becomes bit k of byte i."""
    for i in range(np.uint64(count)):
        word = words[i]
        swap = (word ^ (word >> _SEVEN)) & _MASK_1
        word = word ^ swap ^ (swap << _SEVEN)
        swap = (word ^ (word >> _FOURTEEN)) & _MASK_2
        word = word ^ swap ^ (swap << _FOURTEEN)
        swap = (word ^ (word >> _TWENTY_EIGHT)) & _MASK_4
        words[i] = word ^ swap ^ (swap << _TWENTY_EIGHT)
