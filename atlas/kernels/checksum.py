"""XXH3 (64 bits, seed 0) of a run of bytes, by the C function of the xxhash wheel or by its Python call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xxhash
from numba import types

from atlas.kernels.jit import kernel
from atlas.kernels.symbols import NATIVE_CODECS, external

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import U8

__all__ = ["hash_bytes"]

_xxh3 = external("XXH3_64bits", types.uint64, types.intp, types.intp)


@kernel
def _hash_native(data: U8, begin: Int, end: Int) -> np.uint64:
    return np.uint64(_xxh3(np.intp(data.ctypes.data) + np.intp(begin), np.intp(end - begin)))


def _hash_package(data: U8, begin: Int, end: Int) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(data[begin:end].data))


hash_bytes = _hash_native if NATIVE_CODECS else _hash_package
"""XXH3 of `data[begin:end]` (uint8, 1-D, bounds trusted); callable from Python, and from kernels where
`NATIVE_CODECS`."""
