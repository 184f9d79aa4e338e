"""Checks, joins and cuts of byte ranges: arrays in, arrays out.

Pure; no I/O. Joins no ranges over a gap: who plans a read does that, see `Storage.coalesce_gap`.
A range is `length` bytes at `offset` of an object, wanted at `place` of a buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Integers",
    "Octets",
    "check_range",
    "check_ranges",
    "cut_ranges",
    "join_adjacent",
    "short_read",
]

Integers: TypeAlias = "NDArray[np.int64]"
Octets: TypeAlias = "NDArray[np.uint8]"

_LARGEST = np.iinfo(np.int64).max


def check_range(offset: int, length: int) -> None:
    """Raise `InvalidValueError` unless both are zero or more and their sum is an int64."""
    if offset < 0 or length < 0 or offset + length > _LARGEST:
        raise InvalidValueError(f"no range of bytes has offset {offset} and length {length}")


def check_ranges(offsets: Integers, lengths: Integers, out: Octets, places: Integers) -> None:
    """Check the arguments of `Storage.read_into`, so that no byte can land outside `out`.

    Raises `InvalidTypeError` for a wrong dtype, rank or layout, `InvalidValueError` for unequal lengths, negative
    numbers and places outside `out`.
    """
    for name, array in (("offsets", offsets), ("lengths", lengths), ("places", places)):
        if array.dtype != np.int64 or array.ndim != 1:
            raise InvalidTypeError(f"{name} is an int64 array of rank 1, not {array.dtype} of rank {array.ndim}")
    if out.dtype != np.uint8 or out.ndim != 1 or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidTypeError("out is a writable, contiguous uint8 array of rank 1")
    if not offsets.size == lengths.size == places.size:
        raise InvalidValueError(
            f"offsets, lengths and places have one entry a range: {offsets.size}, {lengths.size}, {places.size}"
        )
    room = out.size
    # Whole numbers of Python: ranges are few, and each is a system call or a request.
    for offset, length, place in zip(offsets.tolist(), lengths.tolist(), places.tolist(), strict=True):
        if offset < 0 or length < 0 or place < 0:
            raise InvalidValueError("offsets, lengths and places are zero or more")
        if offset + length > _LARGEST:
            raise InvalidValueError("the end of a range is past the largest int64")
        if place + length > room:
            raise InvalidValueError(f"a range would end outside the buffer of {room} bytes")


def short_read(key: str, offset: int, length: int, size: int) -> CorruptStoreError:
    """Make the error for a range that the object, of `size` bytes in truth, did not give in full."""
    return CorruptStoreError(
        f"{key!r}: wanted {length} bytes at offset {offset}, but they cannot all be had from its {size} bytes; "
        "the file is cut short or what names this range is damaged",
        key=key,
    )


def join_adjacent(offsets: Integers, lengths: Integers, places: Integers) -> tuple[Integers, Integers, Integers]:
    """Leave out empty ranges and join each range to the next where both the bytes and their places go on."""
    if offsets.size == 1 and lengths[0] > 0:
        return offsets, lengths, places
    if not lengths.all():
        filled = lengths > 0
        offsets, lengths, places = offsets[filled], lengths[filled], places[filled]
    if offsets.size < 2:
        return offsets, lengths, places
    goes_on = (offsets[1:] == offsets[:-1] + lengths[:-1]) & (places[1:] == places[:-1] + lengths[:-1])
    heads = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    return offsets[heads], np.add.reduceat(lengths, heads), places[heads]


def cut_ranges(
    offsets: Integers, lengths: Integers, places: Integers, largest: int
) -> tuple[Integers, Integers, Integers]:
    """Cut ranges, none of them empty, into several where they exceed `largest` bytes."""
    counts = -(-lengths // largest)
    if (counts == 1).all():
        return offsets, lengths, places
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = number * largest
    return (
        np.repeat(offsets, counts) + begin,
        np.minimum(np.repeat(lengths, counts) - begin, largest),
        np.repeat(places, counts) + begin,
    )
