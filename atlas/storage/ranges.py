"""Checks and joins of byte ranges: arrays in, arrays or frozen plans out.

Pure; no I/O. A range is `length` bytes at `offset` of an object, wanted at `place` of a buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Integers",
    "Octets",
    "Request",
    "check_range",
    "check_ranges",
    "join_adjacent",
    "plan_requests",
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


@dataclass(frozen=True, slots=True)
class Request:
    """One run of bytes to ask for, and the ranges that it serves."""

    start: int
    """Offset of the first byte."""
    end: int
    """Offset after the last byte; greater than `start`."""
    first: int
    """First of the ranges, in order of offset, that may want some of these bytes."""
    last: int
    """One after the last of them."""


def plan_requests(offsets: Integers, lengths: Integers, gap: int, limit: int) -> list[Request]:
    """Cover ranges, none of them empty and sorted by offset, with requests that do not overlap.

    Ranges at most `gap` bytes apart share a request; one of more than `limit` bytes is cut into several, which may
    be asked for at once. Every wanted byte is in exactly one request.
    """
    if offsets.size == 0:
        return []
    reach = np.maximum.accumulate(offsets + lengths)
    heads = np.flatnonzero(np.concatenate(([True], offsets[1:] - reach[:-1] > gap)))
    tails = np.append(heads[1:], offsets.size) - 1
    requests: list[Request] = []
    for head, tail in zip(heads.tolist(), tails.tolist(), strict=True):
        group_end = int(reach[tail])
        for start in range(int(offsets[head]), group_end, limit):
            end = min(start + limit, group_end)
            first = int(np.searchsorted(reach, start, side="right"))
            last = int(np.searchsorted(offsets, end, side="left"))
            requests.append(Request(start, end, first, last))
    return requests
