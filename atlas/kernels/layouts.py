"""The tables that kernels take, and the casts that make any array what they were compiled for.

A table is one int64 matrix whose rows are its columns, named by the constants here: a kernel then takes one argument
for it, and Numba compiles in half the time that a tuple of columns needs. Arrays are cast, never trusted: a read-only
or oddly typed one would otherwise make Numba compile a kernel anew for each mixture. No arithmetic on data here.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BIT",
    "BLOCK_CHECKSUM",
    "BLOCK_CODEC",
    "BLOCK_FILTER",
    "BLOCK_ITEMSIZE",
    "BLOCK_OFFSET",
    "BLOCK_RAW",
    "BLOCK_SOURCE",
    "BLOCK_STORED",
    "BOX_COUNT",
    "BOX_EXTENT",
    "BOX_FIRST",
    "BOX_TARGET",
    "BYTE",
    "DECIMAL",
    "DECIMAL_DELTA",
    "DELTA",
    "FLOAT_SIZES",
    "I64",
    "INTEGER_SIZES",
    "PIECE_BEGIN",
    "PIECE_BLOCK",
    "PIECE_CELLS",
    "PIECE_CHUNK",
    "PIECE_OFFSET",
    "PIECE_TARGET",
    "PLAIN",
    "U8",
    "U64",
    "Geometry",
    "as_bytes",
    "as_column",
    "as_geometry",
    "as_source",
    "as_table",
]

U8: TypeAlias = NDArray[np.uint8]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

BLOCK_OFFSET = 0
"""Block tables, (8, blocks): where the stored bytes begin in the source."""
BLOCK_STORED = 1
"""Stored length in bytes."""
BLOCK_RAW = 2
"""Decoded length in bytes."""
BLOCK_CODEC = 3
"""0 none, 1 zstd, 2 lz4."""
BLOCK_FILTER = 4
"""One of `PLAIN` to `DECIMAL_DELTA`."""
BLOCK_ITEMSIZE = 5
"""Item size of the filter, 1 to 255; of no meaning without one."""
BLOCK_CHECKSUM = 6
"""Bits of the XXH3 (64 bits, seed 0) of the stored bytes."""
BLOCK_SOURCE = 7
"""Number of the source that the stored bytes are in; only `plan_read_batches` looks at it."""
_BLOCK_COLUMNS = 8

PLAIN, BYTE, BIT, DECIMAL, DELTA, DECIMAL_DELTA = range(6)
"""Filters: none, byte-shuffle, bit-shuffle; floats as decimals, integers as differences, decimals as differences."""
FLOAT_SIZES, INTEGER_SIZES = (4, 8), (1, 2, 4, 8)
"""Item sizes of the decimal filters, and of `DELTA`."""

PIECE_BLOCK = 0
"""Tables of pieces, (6, pieces), a piece for each (chunk, block) to copy, ordered by block: row in the block table."""
PIECE_OFFSET = 1
"""Byte in the decoded block where the piece's first element lies."""
PIECE_BEGIN = 2
"""Index (C order, within the chunk) of the piece's first element: 0 unless the chunk spans blocks."""
PIECE_CELLS = 3
"""Number of the chunk's elements in this piece."""
PIECE_CHUNK = 4
"""Row in the geometry."""
PIECE_TARGET = 5
"""Row along the first axis of the result."""

BOX_EXTENT = 0
"""Boxes of a geometry, (4, chunks, ndim): the chunk's shape, clipped at the array's edge."""
BOX_FIRST = 1
"""Where the wanted box begins inside the chunk."""
BOX_COUNT = 2
"""The wanted box's shape inside the chunk."""
BOX_TARGET = 3
"""Where that part begins inside the result box."""


class Geometry(NamedTuple):
    """The chunks of a grid that meet a wanted box."""

    boxes: I64
    """(4, chunks, ndim); what the four are is said by `BOX_EXTENT` and those after it."""
    box: I64
    """Shape of the result box, (ndim,)."""

    @property
    def extent(self) -> I64:
        """The chunks' shapes, (chunks, ndim)."""
        found: I64 = self.boxes[BOX_EXTENT]
        return found

    @property
    def first(self) -> I64:
        """Where the wanted box begins inside each, (chunks, ndim)."""
        found: I64 = self.boxes[BOX_FIRST]
        return found

    @property
    def part(self) -> I64:
        """The wanted box's shape inside each, (chunks, ndim)."""
        found: I64 = self.boxes[BOX_COUNT]
        return found

    @property
    def target(self) -> I64:
        """Where that part begins inside the result box, (chunks, ndim)."""
        found: I64 = self.boxes[BOX_TARGET]
        return found


def _own(values: Any, dtype: type[np.generic]) -> NDArray[Any]:
    array = np.asarray(values, dtype)
    flags = array.flags
    return array if flags.c_contiguous and flags.writeable and flags.aligned else array.copy(order="C")


def as_column(values: Any, dtype: type[np.generic] = np.int64) -> NDArray[Any]:
    """A 1-D writable C-contiguous column of that dtype; copies only where it must.

    Raises:
        ValueError: not one-dimensional.

    """
    array = _own(values, dtype)
    if array.ndim != 1:
        message = f"a column has one dimension; this one has {array.ndim}"
        raise ValueError(message)
    return array


def as_source(source: U8) -> U8:
    """The stored bytes as a read-only view, so that bytes, memory maps and arrays share one compiled kernel.

    Raises:
        ValueError: not one-dimensional, contiguous bytes.

    """
    if source.dtype != np.uint8 or source.ndim != 1 or not source.flags.c_contiguous:
        message = f"stored bytes are a contiguous 1-D uint8 array, not {source.dtype} of shape {source.shape}"
        raise ValueError(message)
    if source.flags.writeable:
        source = source.view()
        source.flags.writeable = False
    return source


def as_bytes(array: NDArray[Any]) -> U8:
    """The memory of a writable C-contiguous array of any shape and fixed-width dtype as 1-D uint8.

    Raises:
        ValueError: not writable or not C-contiguous.

    """
    if not (array.flags.c_contiguous and array.flags.writeable):
        message = "the result array must be writable and C-contiguous"
        raise ValueError(message)
    return array.reshape(-1).view(np.uint8)


def as_table(table: I64, columns: int = _BLOCK_COLUMNS) -> I64:
    """A matrix of so many columns as kernels take it.

    Raises:
        ValueError: another shape.

    """
    cast = _own(table, np.int64)
    if cast.ndim != 2 or cast.shape[0] != columns:
        message = f"this table is a matrix of {columns} columns, not of shape {cast.shape}"
        raise ValueError(message)
    return cast


def as_geometry(geometry: Geometry) -> Geometry:
    """The geometry as kernels take it; that its boxes lie in their chunks is theirs to check.

    Raises:
        ValueError: shapes that do not belong together.

    """
    boxes, box = _own(geometry.boxes, np.int64), as_column(geometry.box)
    if boxes.ndim != 3 or boxes.shape[0] != 4 or boxes.shape[2] != box.size:
        message = f"the boxes of a geometry are of shape (4, chunks, {box.size}), not {boxes.shape}"
        raise ValueError(message)
    return Geometry(boxes, box)
