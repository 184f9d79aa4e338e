"""XXH64 with seed 0 of a run of bytes. No tables, no other hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xxhash

from atlas.kernels.policy import JIT, kernel
from atlas.kernels.runs import read_half, read_word

if TYPE_CHECKING:
    from atlas.kernels.policy import Int
    from atlas.kernels.tables import U8

__all__ = ["hash_bytes"]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_FIRST_LANE = np.uint64((0x9E3779B185EBCA87 + 0xC2B2AE3D27D4EB4F) % 2**64)
_LAST_LANE = np.uint64(2**64 - 0x9E3779B185EBCA87)
_U0 = np.uint64(0)
_U64 = np.uint64(64)


@kernel
def _turn(value: np.uint64, left: np.uint64) -> np.uint64:
    return (value << left) | (value >> (_U64 - left))


@kernel
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _turn(lane + word * _P2, np.uint64(31)) * _P1


@kernel
def _merge(total: np.uint64, lane: np.uint64) -> np.uint64:
    return (total ^ _round(_U0, lane)) * _P1 + _P4


@kernel
def _hash_compiled(data: U8, begin: Int, end: Int) -> np.uint64:
    length = end - begin
    at = begin
    if length >= 32:
        a, b, c, d = _FIRST_LANE, _P2, _U0, _LAST_LANE
        stop = end - 31
        while at < stop:
            a = _round(a, read_word(data, at))
            b = _round(b, read_word(data, at + 8))
            c = _round(c, read_word(data, at + 16))
            d = _round(d, read_word(data, at + 24))
            at += 32
        total = _turn(a, np.uint64(1)) + _turn(b, np.uint64(7)) + _turn(c, np.uint64(12)) + _turn(d, np.uint64(18))
        total = _merge(_merge(_merge(_merge(total, a), b), c), d)
    else:
        total = _P5
    total += np.uint64(length)
    while at + 8 <= end:
        total = _turn(total ^ _round(_U0, read_word(data, at)), np.uint64(27)) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        total = _turn(total ^ (np.uint64(read_half(data, at)) * _P1), np.uint64(23)) * _P2 + _P3
        at += 4
    for i in range(at, end):
        total = _turn(total ^ (np.uint64(data[i]) * _P5), np.uint64(11)) * _P1
    total = (total ^ (total >> np.uint64(33))) * _P2
    total = (total ^ (total >> np.uint64(29))) * _P3
    return total ^ (total >> np.uint64(32))


def _hash_package(data: U8, begin: Int, end: Int) -> np.uint64:
    return np.uint64(xxhash.xxh64_intdigest(data[begin:end].data))


hash_bytes = _hash_compiled if JIT else _hash_package
"""XXH64 of `data[begin:end]` (uint8, 1-D, bounds trusted); callable from kernels and from Python."""
