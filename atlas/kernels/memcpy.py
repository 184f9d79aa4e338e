"""Moves and reads runs of bytes in 1-D uint8 arrays at any offset. Bounds are trusted, ranges never overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from atlas.kernels.jit import JIT, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = ["as_readonly", "copy_bytes", "copy_rows", "read_uint32"]


def _emit_copy(_context: Any, out: Any, _at: Any, data: Any, _begin: Any, _size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, data, begin, size = arguments
        target = context.make_array(signature.args[0])(context, builder, out).data
        source = context.make_array(signature.args[2])(context, builder, data).data
        # LLVM's memcpy: a call of libc for a length known late, one or two instructions for a constant one.
        copy: Any = cgutils.raw_memcpy
        copy(builder, builder.gep(target, [at]), builder.gep(source, [begin]), size, 1)
        return context.get_dummy_value()

    return types.void(out, types.intp, data, types.intp, types.intp), generate


def _copy_plainly(out: U8, at: Int, data: U8, begin: Int, size: Int) -> None:
    out[at : at + size] = data[begin : begin + size]


_emitted: Any = intrinsic(_emit_copy)

_move: Callable[[U8, Int, U8, Int, Int], None] = _emitted if JIT else _copy_plainly

# On Zen 3 the C library's memcpy falls from 36 to 3 GB/s for lengths above 4 KiB where the target lies a few bytes
# after the source, modulo a page: it then uses an instruction that the processor is bad at. Shorter moves never do.
_MOVE = 2048


@kernel
def copy_bytes(out: U8, at: Int, data: U8, begin: Int, size: Int) -> None:
    """`out[at:at + size] = data[begin:begin + size]`."""
    for done in range(0, size, _MOVE):
        _move(out, at + done, data, begin + done, min(_MOVE, size - done))


def _emit_freeze(_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        borrowed: Any = impl_ret_borrowed
        return borrowed(context, builder, signature.return_type, arguments[0])

    return array.copy(readonly=True)(array), generate


def _freeze_plainly(array: U8) -> U8:
    return array


_frozen: Any = intrinsic(_emit_freeze)

as_readonly: Callable[[U8], U8] = _frozen if JIT else _freeze_plainly
"""The same memory typed as read-only, from within kernels: all that kernels read is, so they are compiled once."""


def _emit_half(_context: Any, data: Any, _at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at = arguments
        pointer = builder.gep(context.make_array(signature.args[0])(context, builder, data).data, [at])
        return builder.load(builder.bitcast(pointer, ir.IntType(32).as_pointer()), align=1)

    return types.uint32(data, types.intp), generate


def _read_plainly(data: U8, at: Int) -> Any:
    return data[at : at + 4].view("<u4")[0]


_emitted_half: Any = intrinsic(_emit_half)

read_uint32: Callable[[U8, Int], Any] = _emitted_half if JIT else _read_plainly
"""The little-endian uint32 at `data[at:]`, from within kernels."""


@kernel
def copy_rows(out: U8, at: Int, out_step: Int, data: U8, begin: Int, step: Int, rows: Int, size: Int) -> None:
    """Copy `rows` runs of `size` bytes, `step` bytes apart in `data` and `out_step` apart in `out`."""
    # One cell a row is the usual case of a slice along the last axis: a constant length becomes a plain move.
    if size == 4:
        for row in range(rows):
            _move(out, at + row * out_step, data, begin + row * step, 4)
    elif size == 8:
        for row in range(rows):
            _move(out, at + row * out_step, data, begin + row * step, 8)
    elif size == 2:
        for row in range(rows):
            _move(out, at + row * out_step, data, begin + row * step, 2)
    elif size == 1:
        for row in range(rows):
            _move(out, at + row * out_step, data, begin + row * step, 1)
    else:
        for row in range(rows):
            copy_bytes(out, at + row * out_step, data, begin + row * step, size)
