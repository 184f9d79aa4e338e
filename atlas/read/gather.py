"""Reading one box of one array from many datasets: the plan's pieces are read, decoded and copied by threads.

Damage is found here and named with its file, dataset and array. What was not flushed is laid over by `staging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.chunking.pieces import cut_pieces, has_cut_chunks, wanted_blocks
from atlas.errors import TooLargeError
from atlas.kernels import BlockError
from atlas.read.allocation import allocate_result
from atlas.read.fetch import ReadBatches
from atlas.read.strings import read_text
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.chunking.regions import Region
    from atlas.format.schema import ArraySchema
    from atlas.read.fetch import Targets

__all__ = ["read_boxes"]

_NONE = np.empty(0, np.int64)


def read_boxes(
    tables: Sequence[ChunkIndex], targets: Targets, region: Region, limits: Limits = DEFAULT
) -> NDArray[Any]:
    """Return the box of `region` from every target: (N, *box) in the schema's memory dtype.

    `tables` come newest first; a chunk is taken from the first that has it, and reads as fill where none has.
    """
    schema = targets.schema
    box = tuple(region.geometry.box.tolist())
    dtype = schema.datatype.cell or np.dtype(object)
    out = allocate_result((len(targets.ids), *box), dtype, targets.array)
    if out.size == 0:
        return out.view(schema.memory_dtype)
    # What is found takes memory: of a million datasets it would take more than the result.
    step = max(1, limits.lookup_chunks // len(region.chunk))
    try:
        for first in range(0, len(out), step):
            _read_some(tables, targets.some(first, first + step), region, out[first : first + step], limits)
    except MemoryError as error:  # the result took almost all there was
        if isinstance(error, TooLargeError):
            raise
        raise TooLargeError(
            f"reading array {targets.array!r} takes more memory than there is: {error}; read a smaller box"
        ) from error
    return out.view(schema.memory_dtype)


def _read_some(
    tables: Sequence[ChunkIndex], targets: Targets, region: Region, out: NDArray[Any], limits: Limits
) -> None:
    text = out.dtype == object
    chunks = len(targets.ids) * len(region.chunk)
    taken = np.zeros(chunks, np.uint8) if len(tables) > 1 else None
    found = [
        kernels.find_chunks(
            table.index, table.base, targets.ids, targets.generations, region.chunk, region.cells, taken
        )
        for table in tables
    ]
    if sum(part.pieces.shape[1] + part.constant.shape[1] for part in found) < chunks:
        fill = targets.schema.fill_bits
        out[...] = fill.decode() if text else np.frombuffer(fill, out.dtype)[0]
    for table, part in zip(tables, found, strict=True):
        if part.constant.shape[1]:
            _fill_constant(out, part.constant, targets.schema, region)
        if part.pieces.shape[1]:
            (read_text if text else _read_pieces)(table, part.pieces, targets, region, out, limits)


def _fill_constant(out: NDArray[Any], constant: NDArray[np.int64], schema: ArraySchema, region: Region) -> None:
    """Write constant chunks."""
    bits, chunk, target = constant[[kernels.PIECE_OFFSET, kernels.PIECE_CHUNK, kernels.PIECE_TARGET]]
    if out.dtype != object:
        kernels.fill_boxes(out, bits.view(np.uint64), chunk, target, region.geometry)
        return
    fill = schema.fill_bits.decode()
    for k, n in zip(chunk.tolist(), target.tolist(), strict=True):
        index: tuple[int | slice, ...] = (n, *region.in_box(k))
        out[index] = fill


def _read_pieces(
    table: ChunkIndex,
    chunks: NDArray[np.int64],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
) -> None:
    blocks, pieces = table.blocks, chunks
    if has_cut_chunks(region, out.dtype.itemsize, limits):
        first, last = wanted_blocks(region, out.dtype.itemsize, chunks, limits)
        _check_blocks(table, chunks, last, targets)
        pieces = cut_pieces(chunks, out.dtype.itemsize, first, last, limits)
    lots = ReadBatches(table, pieces, limits)

    def read(lot: int) -> None:
        try:
            kernels.gather_boxes(lots.load(lot), blocks, lots.wanted, *lots.blocks(lot), pieces, region.geometry, out)
        except BlockError as fault:
            target = int(pieces[kernels.PIECE_TARGET, np.argmax(pieces[kernels.PIECE_BLOCK] == fault.block)])
            raise targets.damage(table.source_of(fault.block), fault.reason, target) from fault

    run_all(read, range(len(lots)))


def _check_blocks(table: ChunkIndex, chunks: NDArray[np.int64], last: NDArray[np.int64], targets: Targets) -> None:
    """Check that the source of each chunk has the block number `last` (N,), counted from the chunk's first.

    `chunks` (6, N) name the first block of each. A source's blocks are consecutive in the table, so a chunk whose first
    and last wanted blocks lie in one source has all between. Checked before pieces are made: a chunk has as many blocks
    as its shape declares, which may be any number.

    Raises `CorruptStoreError`, naming the file and the first dataset concerned.
    """
    first, source = chunks[kernels.PIECE_BLOCK], table.blocks[kernels.BLOCK_SOURCE]
    block = first + last
    missing = block >= len(source)
    missing |= source[np.minimum(block, len(source) - 1)] != source[first]
    if missing.any():
        at = int(np.argmax(missing))
        target = int(chunks[kernels.PIECE_TARGET, at])
        raise targets.damage(table.source_of(int(first[at])), "a chunk's blocks are missing", target)
