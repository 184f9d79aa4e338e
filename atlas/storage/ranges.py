"""Checks, joins and cuts of byte ranges: arrays in, arrays out.

A range is `length` bytes at `offset` of an object, wanted at `out_offset` of a buffer. Pure; no I/O. Joins no ranges
over a gap: the planner of a read does that, see `Storage.coalesce_gap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Int64Array",
    "Uint8Array",
    "check_range",
    "check_ranges",
    "cut_ranges",
    "join_adjacent",
    "short_read",
]

Int64Array: TypeAlias = "NDArray[np.int64]"
Uint8Array: TypeAlias = "NDArray[np.uint8]"

_LARGEST = np.iinfo(np.int64).max


def check_range(offset: int, length: int) -> None:
    """Raise `InvalidValueError` unless both are zero or more and their sum fits an int64."""
    if offset < 0 or length < 0 or offset + length > _LARGEST:
        raise InvalidValueError(f"no range of bytes has offset {offset} and length {length}")


def check_ranges(offsets: Int64Array, lengths: Int64Array, out: Uint8Array, out_offsets: Int64Array) -> None:
    """Check the arguments of `Storage.read_into`, so that no byte can land outside `out`.

    Raises `InvalidTypeError` for a wrong dtype, rank or layout, `InvalidValueError` for unequal lengths, negative
    numbers and ranges that end outside `out`.
    """
    for name, array in (("offsets", offsets), ("lengths", lengths), ("out_offsets", out_offsets)):
        if array.dtype != np.int64 or array.ndim != 1:
            raise InvalidTypeError(f"{name} is an int64 array of rank 1, not {array.dtype} of rank {array.ndim}")
    if out.dtype != np.uint8 or out.ndim != 1 or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidTypeError("out is a writable, contiguous uint8 array of rank 1")
    if not offsets.size == lengths.size == out_offsets.size:
        raise InvalidValueError(
            "offsets, lengths and out_offsets have one entry per range: "
            f"{offsets.size}, {lengths.size}, {out_offsets.size}"
        )
    room = out.size
    # Python integers: ranges are few, and each is a system call or a request.
    for offset, length, out_offset in zip(offsets.tolist(), lengths.tolist(), out_offsets.tolist(), strict=True):
        if offset < 0 or length < 0 or out_offset < 0:
            raise InvalidValueError("offsets, lengths and out_offsets are zero or more")
        if offset + length > _LARGEST:
            raise InvalidValueError("the end of a range is past the largest int64")
        if out_offset + length > room:
            raise InvalidValueError(f"a range would end outside the buffer of {room} bytes")


def short_read(key: str, offset: int, length: int, size: int) -> CorruptStoreError:
    """Return the error for a range that ends outside its object of `size` bytes."""
    return CorruptStoreError(
        f"{key!r}: wanted {length} bytes at offset {offset}, but they cannot all be had from its {size} bytes; "
        "the file is cut short or what names this range is damaged",
        key=key,
    )


def join_adjacent(
    offsets: Int64Array, lengths: Int64Array, out_offsets: Int64Array
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Drop empty ranges, and join each range to the next where that follows both in the object and in the buffer."""
    if offsets.size == 1 and lengths[0] > 0:
        return offsets, lengths, out_offsets
    if not lengths.all():
        filled = lengths > 0
        offsets, lengths, out_offsets = offsets[filled], lengths[filled], out_offsets[filled]
    if offsets.size < 2:
        return offsets, lengths, out_offsets
    continues = (offsets[1:] == offsets[:-1] + lengths[:-1]) & (out_offsets[1:] == out_offsets[:-1] + lengths[:-1])
    heads = np.flatnonzero(np.concatenate(([True], ~continues)))
    return offsets[heads], np.add.reduceat(lengths, heads), out_offsets[heads]


def cut_ranges(
    offsets: Int64Array, lengths: Int64Array, out_offsets: Int64Array, largest: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Cut ranges, none of them empty, into several where they exceed `largest` bytes."""
    counts = -(-lengths // largest)
    if (counts == 1).all():
        return offsets, lengths, out_offsets
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = number * largest
    return (
        np.repeat(offsets, counts) + begin,
        np.minimum(np.repeat(lengths, counts) - begin, largest),
        np.repeat(out_offsets, counts) + begin,
    )
