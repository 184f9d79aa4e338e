"""Reads one box of one array from many datasets: threads read, decode and copy the pieces of the plan.

Finds damage and names its file, dataset and array. Knows no staged cells: `ReadSnapshot.read` copies those over.
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
from atlas.read.strings import read_strings
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
    indexes: Sequence[ChunkIndex], targets: Targets, region: Region, limits: Limits = DEFAULT
) -> NDArray[Any]:
    """Return the box of `region` from each of the N targets: (N, *box) in the schema's memory dtype.

    `indexes` come newest first: a chunk is taken from the first that has it. A chunk that none has reads as the fill
    value.

    Raises `CorruptStoreError`, which names file, dataset and array, for damage, and `TooLargeError` where the result
    and what its read takes exceed the available memory.
    """
    schema = targets.schema
    box = tuple(region.geometry.box.tolist())
    dtype = schema.datatype.cell or np.dtype(object)
    out = allocate_result((len(targets.ids), *box), dtype, targets.array)
    if out.size == 0:
        return schema.datatype.in_memory(out)
    # The rows of chunks that are found take memory too: those of a million datasets would exceed the result.
    step = max(1, limits.lookup_chunks // len(region.chunk))
    try:
        for first in range(0, len(out), step):
            _read_targets(indexes, targets.some(first, first + step), region, out[first : first + step], limits)
    except MemoryError as error:  # the result took almost all there was
        if isinstance(error, TooLargeError):
            raise
        raise TooLargeError(
            f"reading array {targets.array!r} takes more memory than there is: {error}; read a smaller box, or fewer "
            "datasets at a time"
        ) from error
    return schema.datatype.in_memory(out)


def _read_targets(
    indexes: Sequence[ChunkIndex], targets: Targets, region: Region, out: NDArray[Any], limits: Limits
) -> None:
    """Read the box of each target into `out` (N, *box), which is writable and C-contiguous."""
    strings = out.dtype == object
    chunks = len(targets.ids) * len(region.chunk)
    taken = np.zeros(chunks, np.uint8) if len(indexes) > 1 else None
    found = [
        kernels.find_chunks(
            index.index, index.base, targets.ids, targets.generations, region.chunk, region.cells, taken
        )
        for index in indexes
    ]
    if sum(part.pieces.shape[1] + part.constant.shape[1] for part in found) < chunks:
        schema = targets.schema
        out[...] = schema.fill_text if strings else np.frombuffer(schema.fill_bits, out.dtype)[0]
    for index, part in zip(indexes, found, strict=True):
        if part.constant.shape[1]:
            _fill_constant(out, part.constant, targets.schema, region)
        if part.pieces.shape[1]:
            (read_strings if strings else _read_numbers)(index, part.pieces, targets, region, out, limits)


def _fill_constant(out: NDArray[Any], constant: NDArray[np.int64], schema: ArraySchema, region: Region) -> None:
    """Write the boxes of constant chunks, (6, C), into `out` (N, *box)."""
    bits, chunk, target = constant[[kernels.PIECE_OFFSET, kernels.PIECE_CHUNK, kernels.PIECE_TARGET]]
    if out.dtype != object:
        kernels.fill_boxes(out, bits.view(np.uint64), chunk, target, region.geometry)
        return
    fill = schema.fill_text
    for k, n in zip(chunk.tolist(), target.tolist(), strict=True):
        cells: tuple[int | slice, ...] = (n, *region.in_box(k))
        out[cells] = fill


def _read_numbers(
    index: ChunkIndex,
    chunks: NDArray[np.int64],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
) -> None:
    """Copy the boxes of chunks of numbers, pieces (6, C) that are whole chunks ordered by block, into `out` (N, *box).

    Raises `CorruptStoreError` where a block is damaged or missing.
    """
    blocks, pieces = index.blocks, chunks
    if has_cut_chunks(region, out.dtype.itemsize, limits):
        first, last = wanted_blocks(region, out.dtype.itemsize, chunks, limits)
        _check_blocks(index, chunks, last, targets)
        pieces = cut_pieces(chunks, out.dtype.itemsize, first, last, limits)
    batches = ReadBatches(index, pieces, limits)

    def read(batch: int) -> None:
        try:
            kernels.gather_boxes(
                batches.load(batch), blocks, batches.wanted, *batches.blocks(batch), pieces, region.geometry, out
            )
        except BlockError as error:
            target = int(pieces[kernels.PIECE_TARGET, np.argmax(pieces[kernels.PIECE_BLOCK] == error.block)])
            raise targets.damage(index.source_of(error.block), error.reason, target) from error

    run_all(read, range(len(batches)))


def _check_blocks(index: ChunkIndex, chunks: NDArray[np.int64], last: NDArray[np.int64], targets: Targets) -> None:
    """Check that the source of each of C chunks has every block that the read wants of the chunk.

    `chunks` (6, C) give each chunk's first block, a row of `index.blocks`; `last` (C,) gives its last wanted block,
    counted from the first. The blocks of one source are consecutive rows, so all blocks between two rows of one source
    belong to it too: it is enough to compare the sources of the two.

    Runs before pieces are made of blocks: the number of a chunk's blocks follows from the shape that its schema
    declares, which in a damaged store may be any number.

    Raises `CorruptStoreError`, which names the file and the first dataset concerned.
    """
    source_of_row = index.blocks[kernels.BLOCK_SOURCE]
    first_row = chunks[kernels.PIECE_BLOCK]
    last_row = first_row + last
    missing = last_row >= len(source_of_row)
    missing |= source_of_row[np.minimum(last_row, len(source_of_row) - 1)] != source_of_row[first_row]
    if missing.any():
        at = int(np.argmax(missing))
        source = index.source_of(int(first_row[at]))
        raise targets.damage(source, "a chunk's blocks are missing", int(chunks[kernels.PIECE_TARGET, at]))
