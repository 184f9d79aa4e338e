"""Transposes tiles of bytes and bits with vector instructions written out, since LLVM does not find them in loops.

A byte tile is 32 items of 2, 4 or 8 bytes, a bit tile 32 groups of 8 bytes. Vectors are 32 bytes, worked on in two
lanes of 16, which is one instruction a step under AVX2 and two under SSE or NEON. Without the compiler NumPy does the
same. Places are trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from atlas.kernels.jit import JIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = [
    "TILE",
    "join_bits",
    "join_bytes_2",
    "join_bytes_4",
    "join_bytes_8",
    "split_bits",
    "split_bytes_2",
    "split_bytes_4",
    "split_bytes_8",
]

TILE = 32
"""Items in a byte tile, groups of 8 items in a bit tile."""

_BYTES = ir.VectorType(ir.IntType(8), 32)
_WORDS = ir.VectorType(ir.IntType(64), 4)
_LOW, _HIGH = range(16), range(16, 32)


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Bytes of `a` (0 to 31) and `b` (32 to 63) by number."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def _zip(builder: Any, a: Any, b: Any) -> list[Any]:
    """Interleave two vectors lane by lane: the first halves of the lanes, then the second halves."""
    return [
        _pick(builder, a, b, [k for lane in (0, 16) for i in range(8) for k in (lane + half + i, lane + half + i + 32)])
        for half in (0, 8)
    ]


def _unzip(builder: Any, a: Any, b: Any) -> list[Any]:
    """Undo `_zip`: the even bytes of the lanes of both, then the odd ones."""
    return [
        _pick(builder, a, b, [v + lane + 2 * i + odd for lane in (0, 16) for v in (0, 32) for i in range(8)])
        for odd in (0, 1)
    ]


def _interleave(builder: Any, streams: list[list[Any]]) -> list[Any]:
    """One stream of vectors from 2**k: byte 0 of each, byte 1 of each, ... within lanes."""
    if len(streams) == 1:
        return streams[0]
    even, odd = _interleave(builder, streams[::2]), _interleave(builder, streams[1::2])
    return [half for a, b in zip(even, odd, strict=True) for half in _zip(builder, a, b)]


def _separate(builder: Any, stream: list[Any], parts: int) -> list[list[Any]]:
    """Undo `_interleave`."""
    if parts == 1:
        return [stream]
    pairs = [_unzip(builder, a, b) for a, b in zip(stream[::2], stream[1::2], strict=True)]
    even = _separate(builder, [pair[0] for pair in pairs], parts // 2)
    odd = _separate(builder, [pair[1] for pair in pairs], parts // 2)
    return [half for pair in zip(even, odd, strict=True) for half in pair]


def _order_lanes(builder: Any, stream: list[Any]) -> list[Any]:
    """From vectors whose first lanes are the first half of the bytes to vectors in order."""
    if len(stream) == 1:
        return stream
    pairs = list(zip(stream[::2], stream[1::2], strict=True))
    return [_pick(builder, a, b, [*half, *(k + 32 for k in half)]) for half in (_LOW, _HIGH) for a, b in pairs]


def _part_lanes(builder: Any, stream: list[Any]) -> list[Any]:
    """Undo `_order_lanes`."""
    if len(stream) == 1:
        return stream
    middle = len(stream) // 2
    return [
        _pick(builder, a, b, [*half, *(k + 32 for k in half)])
        for a, b in zip(stream[:middle], stream[middle:], strict=True)
        for half in (_LOW, _HIGH)
    ]


def _transpose_bits(builder: Any, rows: list[Any]) -> list[Any]:
    """Of 8 vectors, exchange number and bit: bit i of byte g of vector k becomes bit k of byte g of vector i."""
    words = [builder.bitcast(row, _WORDS) for row in rows]
    for distance, mask in ((1, 0x55), (2, 0x33), (4, 0x0F)):
        keep = ir.Constant(_WORDS, [int.from_bytes([mask] * 8, "little")] * 4)
        step = ir.Constant(_WORDS, [distance] * 4)
        for k in range(8):
            if not k & distance:
                a, b = words[k], words[k + distance]
                swap = builder.and_(builder.xor(builder.lshr(a, step), b), keep)
                words[k] = builder.xor(a, builder.shl(swap, step))
                words[k + distance] = builder.xor(b, swap)
    return [builder.bitcast(word, _BYTES) for word in words]


class _Memory:
    """Unaligned vectors at byte places of one array."""

    def __init__(self, builder: Any, pointer: Any, at: Any) -> None:
        self.builder = builder
        self.base = builder.gep(pointer, [at])

    def _place(self, offset: Any) -> Any:
        offset = offset if isinstance(offset, ir.Value) else ir.Constant(ir.IntType(64), offset)
        return self.builder.bitcast(self.builder.gep(self.base, [offset]), _BYTES.as_pointer())

    def load(self, offset: Any) -> Any:
        return self.builder.load(self._place(offset), align=1)

    def store(self, vector: Any, offset: Any) -> None:
        self.builder.store(vector, self._place(offset), align=1)


def _strides(builder: Any, stride: Any, count: int) -> list[Any]:
    return [builder.mul(stride, ir.Constant(ir.IntType(64), k)) for k in range(count)]


def _emit_join_bytes(builder: Any, data: _Memory, stride: Any, out: _Memory, itemsize: int) -> None:
    planes = [[data.load(offset)] for offset in _strides(builder, stride, itemsize)]
    for k, vector in enumerate(_order_lanes(builder, _interleave(builder, planes))):
        out.store(vector, 32 * k)


def _emit_split_bytes(builder: Any, data: _Memory, stride: Any, out: _Memory, itemsize: int) -> None:
    items = _part_lanes(builder, [data.load(32 * k) for k in range(itemsize)])
    planes = _separate(builder, items, itemsize)
    for offset, plane in zip(_strides(builder, stride, itemsize), planes, strict=True):
        out.store(plane[0], offset)


def _emit_join_bits(builder: Any, data: _Memory, stride: Any, out: _Memory, _itemsize: int) -> None:
    rows = _transpose_bits(builder, [data.load(offset) for offset in _strides(builder, stride, 8)])
    for k, vector in enumerate(_order_lanes(builder, _interleave(builder, [[row] for row in rows]))):
        out.store(vector, 32 * k)


def _emit_split_bits(builder: Any, data: _Memory, stride: Any, out: _Memory, _itemsize: int) -> None:
    plane = _part_lanes(builder, [data.load(32 * k) for k in range(8)])
    rows = _transpose_bits(builder, [row[0] for row in _separate(builder, plane, 8)])
    for offset, row in zip(_strides(builder, stride, 8), rows, strict=True):
        out.store(row, offset)


def _join_bytes_plainly(data: U8, at: Int, stride: Int, out: U8, out_at: Int, itemsize: int) -> None:
    tile = out[out_at : out_at + TILE * itemsize].reshape(TILE, itemsize)
    for j in range(itemsize):
        tile[:, j] = data[at + j * stride : at + j * stride + TILE]


def _split_bytes_plainly(data: U8, at: Int, stride: Int, out: U8, out_at: Int, itemsize: int) -> None:
    tile = data[at : at + TILE * itemsize].reshape(TILE, itemsize)
    for j in range(itemsize):
        out[out_at + j * stride : out_at + j * stride + TILE] = tile[:, j]


def _join_bits_plainly(data: U8, at: Int, stride: Int, out: U8, out_at: Int, _itemsize: int) -> None:
    rows = np.stack([data[at + k * stride : at + k * stride + TILE] for k in range(8)])
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    out[out_at : out_at + 8 * TILE] = np.packbits(bits, axis=0, bitorder="little").reshape(-1)


def _split_bits_plainly(data: U8, at: Int, stride: Int, out: U8, out_at: Int, _itemsize: int) -> None:
    bits = np.unpackbits(data[at : at + 8 * TILE].reshape(1, -1), axis=0, bitorder="little")
    for k, row in enumerate(np.packbits(bits, axis=1, bitorder="little")):
        out[out_at + k * stride : out_at + k * stride + TILE] = row


def _tile(itemsize: int, emit: Callable[..., None], plainly: Callable[..., None]) -> Callable[..., None]:
    """A tile function (data, at, stride, out, out_at) for kernels."""

    def typed(_context: Any, data: Any, _at: Any, _stride: Any, out: Any, _out_at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data, at, stride, out, out_at = arguments
            source = context.make_array(signature.args[0])(context, builder, data).data
            target = context.make_array(signature.args[3])(context, builder, out).data
            emit(builder, _Memory(builder, source, at), stride, _Memory(builder, target, out_at), itemsize)
            return context.get_dummy_value()

        return types.void(data, types.intp, types.intp, out, types.intp), generate

    def plain(data: U8, at: Int, stride: Int, out: U8, out_at: Int) -> None:
        plainly(data, at, stride, out, out_at, itemsize)

    compiled: Any = intrinsic(typed)
    return compiled if JIT else plain


join_bytes_2, join_bytes_4, join_bytes_8 = (_tile(s, _emit_join_bytes, _join_bytes_plainly) for s in (2, 4, 8))
"""Planes `stride` bytes apart at `data[at:]` to 32 items at `out[out_at:]`."""
split_bytes_2, split_bytes_4, split_bytes_8 = (_tile(s, _emit_split_bytes, _split_bytes_plainly) for s in (2, 4, 8))
"""32 items at `data[at:]` to planes `stride` bytes apart at `out[out_at:]`."""
join_bits = _tile(1, _emit_join_bits, _join_bits_plainly)
"""Eight bit planes `stride` bytes apart at `data[at:]` to one byte plane, 256 bytes at `out[out_at:]`."""
split_bits = _tile(1, _emit_split_bits, _split_bits_plainly)
"""256 bytes at `data[at:]` to their eight bit planes `stride` bytes apart at `out[out_at:]`."""
