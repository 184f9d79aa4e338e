"""The columns that doors take, and the casts that make any of them what kernels were compiled for.

Columns are cast, never trusted: a read-only or oddly typed column would otherwise make Numba compile a kernel anew
for each mixture. No arithmetic on data here.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "I64",
    "U8",
    "U64",
    "BlockTable",
    "Geometry",
    "Pieces",
    "as_bytes",
    "as_column",
    "as_geometry",
    "as_pieces",
    "as_source",
    "as_table",
]

U8: TypeAlias = NDArray[np.uint8]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]


class BlockTable(NamedTuple):
    """One row a block; columns 1-D, C-contiguous, of one length."""

    offset: I64
    """Where the stored bytes begin in the source."""
    stored: I64
    """Stored length in bytes."""
    raw: I64
    """Decoded length in bytes."""
    codec: U8
    """0 none, 1 zstd, 2 lz4."""
    filter: U8
    """0 none, 1 byte-shuffle, 2 bit-shuffle."""
    itemsize: U8
    """Item size of the filter; of no meaning without one."""
    checksum: U64
    """XXH3 (64 bits, seed 0) of the stored bytes."""


class Pieces(NamedTuple):
    """One row for each (chunk, block) to copy, ordered by block; columns 1-D, of one length."""

    block: I64
    """Row in the block table."""
    place: I64
    """Byte in the decoded block where the piece's first element lies."""
    begin: I64
    """Index (C order, within the chunk) of the piece's first element: 0 unless the chunk spans blocks."""
    count: I64  # type: ignore[assignment]  # hides tuple.count, which nobody needs of a table
    """Number of the chunk's elements in this piece."""
    chunk: I64
    """Row in the geometry."""
    target: I64
    """Row along the first axis of the result."""


class Geometry(NamedTuple):
    """One row for each chunk of the grid that meets the wanted box; shape (chunks, ndim) but for `box`."""

    extent: I64
    """The chunk's shape, clipped at the array's edge."""
    first: I64
    """Where the wanted box begins inside the chunk."""
    count: I64  # type: ignore[assignment]  # hides tuple.count, which nobody needs of a table
    """The wanted box's shape inside the chunk."""
    target: I64
    """Where that part begins inside the result box."""
    box: I64
    """Shape of the result box, (ndim,)."""


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


def _one_length(*columns: NDArray[Any]) -> None:
    if len({column.size for column in columns}) > 1:
        message = f"columns of one table differ in length: {[column.size for column in columns]}"
        raise ValueError(message)


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


def as_table(table: BlockTable) -> BlockTable:
    """The table in the dtypes that kernels take.

    Raises:
        ValueError: columns of different lengths.

    """
    cast = BlockTable(
        as_column(table.offset),
        as_column(table.stored),
        as_column(table.raw),
        as_column(table.codec, np.uint8),
        as_column(table.filter, np.uint8),
        as_column(table.itemsize, np.uint8),
        as_column(table.checksum, np.uint64),
    )
    _one_length(*cast)
    return cast


def as_pieces(pieces: Pieces) -> Pieces:
    """The pieces in the dtypes that kernels take.

    Raises:
        ValueError: columns of different lengths.

    """
    cast = Pieces(*(as_column(column) for column in pieces))
    _one_length(*cast)
    return cast


def as_geometry(geometry: Geometry) -> Geometry:
    """The geometry in the dtypes that kernels take.

    Raises:
        ValueError: shapes that do not belong together, or a box that leaves its chunk or the result.

    """
    box = as_column(geometry.box)
    rows = [_own(column, np.int64) for column in geometry[:4]]
    shape = rows[0].shape
    if len(shape) != 2 or shape[1] != box.size or any(row.shape != shape for row in rows):
        message = f"geometry columns must all be (chunks, {box.size}), not {[row.shape for row in rows]}"
        raise ValueError(message)
    extent, first, count, target = rows
    inside = (first >= 0) & (count >= 0) & (target >= 0) & (first <= extent - count) & (target <= box - count)
    if not inside.all():
        message = f"geometry row {int(np.argmin(inside.all(axis=1)))} leaves its chunk or the result box"
        raise ValueError(message)
    return Geometry(extent, first, count, target, box)
