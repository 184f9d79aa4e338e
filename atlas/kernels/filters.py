"""Opens the planes of a filtered block and undoes its filter, for all of it or a range: the block table names it.

Offsets are trusted, bytes are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.kernels.integers import (
    CORRECTIONS,
    HEAD_BYTES,
    WIDTH,
    check_exceptions,
    integers_room,
    read_head,
    undo_integers,
)
from atlas.kernels.jit import ZERO, inner, kernel
from atlas.kernels.layouts import DECIMAL
from atlas.kernels.planes import PLANES, decompress_planes, decompress_planes_python, set_shuffled_sizes
from atlas.kernels.shuffle import unshuffle_range
from atlas.kernels.status import OK

if TYPE_CHECKING:
    from atlas.kernels.integers import Integers
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, U64

__all__ = ["open_planes", "open_planes_python", "planes_room", "undo_filter"]


@kernel
def planes_room(raw: Int, filter_: Int, itemsize: Int) -> Int:
    """The most bytes that the planes and the tail of a block of `raw` bytes take in memory."""
    return integers_room(raw, itemsize) if filter_ >= DECIMAL else raw


@inner
def open_planes(
    source: U8, begin: Int, stored: Int, raw: Int, codec: Int, filter_: Int, itemsize: Int, context: Int, shuffled: U8,
    stored_at: I64, sizes: I64, integers: Integers | None,
) -> Int:  # fmt: skip
    """Decompress the planes of a checked, filtered block to `shuffled`, and fill `sizes`; returns a status.

    `source` is 1-D uint8, `stored` bytes of it from `begin` on; the rest is as for `decompress_planes`.
    """
    end = begin + stored
    if integers is not None:  # noqa: SIM102  # Numba leaves out what stands under a test for None alone
        if filter_ >= DECIMAL:
            head = integers[0]
            status = read_head(source, begin, stored, raw, filter_, itemsize, head, sizes)
            if status == OK:
                status = decompress_planes(
                    source,
                    begin + HEAD_BYTES,
                    end,
                    codec,
                    context,
                    sizes,
                    head[WIDTH] + head[CORRECTIONS],
                    shuffled,
                    stored_at,
                )
            return check_exceptions(shuffled, raw // itemsize, itemsize, head) if status == OK else status
    set_shuffled_sizes(raw, filter_, itemsize, sizes)
    return decompress_planes(source, begin, end, codec, context, sizes, sizes[PLANES], shuffled, stored_at)


def open_planes_python(
    source: U8, begin: int, stored: int, raw: int, codec: int, filter_: int, itemsize: int, sizes: I64,
    integers: Integers | None,
) -> tuple[int, U8]:  # fmt: skip
    """Without the C functions: `open_planes`; a status, and the planes and the tail."""
    end = begin + stored
    if integers is None or filter_ < DECIMAL:
        set_shuffled_sizes(raw, filter_, itemsize, sizes)
        return decompress_planes_python(source, begin, end, codec, sizes)
    head = integers[0]
    status = int(read_head(source, begin, stored, raw, filter_, itemsize, head, sizes))
    if status != OK:
        return status, source
    status, planes = decompress_planes_python(source, begin + HEAD_BYTES, end, codec, sizes)
    if status == OK:
        status = int(check_exceptions(planes, raw // itemsize, itemsize, head))
    return status, planes


@kernel
def undo_filter(
    data: U8, length: Int, filter_: Int, itemsize: Int, begin: Int, end: Int, out: U8, out_at: Int, scratch: U8,
    words: U64, integers: Integers | None,
) -> None:  # fmt: skip
    """Undo a filter for the bytes `begin` to `end` of a block of `length` bytes, whose planes and tail are in `data`.

    Byte b of the block goes to `out[out_at + b]`; other bytes of the block, never what is outside of it, may be written
    too. `data` and `out` are 1-D uint8, `scratch` and `words` are as for `unshuffle_range`; `integers` holds the head
    that `open_planes` has read.
    """
    if integers is not None:  # noqa: SIM102  # Numba leaves out what stands under a test for None alone
        if filter_ >= DECIMAL:
            first, last = begin // itemsize, min(end + itemsize - 1, length) // itemsize
            undo_integers(data, length // itemsize, filter_, itemsize, first, last, out, out_at, integers)
            return
    unshuffle_range(data, ZERO, length, filter_, itemsize, begin, end, out, out_at, scratch, words)
