"""Reading chunks of text and bytes. Kernels gather the bytes of cells; only the making of objects holds the GIL.

Imports no `write`; `format.strings` describes the bytes of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.chunking.batches import first_alike
from atlas.errors import CorruptStoreError
from atlas.format.strings import LENGTH_BYTES, decode_cells
from atlas.kernels import BlockError
from atlas.read.fetch import ReadBatches
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.chunking.regions import Region
    from atlas.read.block_cache import BlockCache
    from atlas.read.fetch import Targets
    from atlas.runtime.limits import Limits

__all__ = [
    "cell_bounds",
    "chunk_strings",
    "find_overflow",
    "read_strings",
    "strings_at",
]


_THREAD_FACTOR = 4
"""Times `Limits.thread_bytes` below which a read is not split further: one thread at a time makes objects, and threads
that waited for each other took a third of the time of a read of 12,000 cells."""


def read_strings(
    index: ChunkIndex,
    pieces: NDArray[np.int64],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
    cache: BlockCache | None = None,
) -> None:
    """Copy the boxes of string chunks into `out`, (N, *box) of objects, which has a row for each of N `targets`.

    `pieces` (6, P) are whole chunks, ordered by block: see `kernels.PIECE_BLOCK`. Other cells are left as they are.
    Without a `cache` every block is read and compared with its checksum.

    Raises `CorruptStoreError`, which names file, dataset and array, where a block is damaged or is too short for the
    cells that its chunks declare.
    """
    flat = out.reshape(-1)
    location = pieces[[kernels.PIECE_BLOCK, kernels.PIECE_OFFSET, kernels.PIECE_CHUNK]]
    every, first, of = pieces, *first_alike(*location)
    if len(first) < len(of):
        pieces = every[:, first]
    _check_declared_cells(index, pieces, targets, region)
    reader = _StringReader(index, pieces, targets, region, limits, cache)
    for cells in run_all(reader.read_batch, range(len(reader.batches))):
        reader.copy_cells(cells, flat)
    if len(first) < len(of):
        reader.copy_to_others(every, first[of], flat)


def _check_declared_cells(index: ChunkIndex, pieces: NDArray[np.int64], targets: Targets, region: Region) -> None:
    """Raise `CorruptStoreError` where a block is too short for the cells that its chunks declare."""
    chunk, block = pieces[kernels.PIECE_CHUNK], pieces[kernels.PIECE_BLOCK]
    raw_length = index.blocks[kernels.BLOCK_RAW, block]
    at = find_overflow(block, raw_length, pieces[kernels.PIECE_OFFSET], region.cells[chunk])
    if at is not None:
        raise targets.damage(index.source_of(int(block[at])), "offset", region.array_of(pieces[:, at]))


@dataclass(frozen=True, slots=True)
class _BoxCells:
    """The cells of one read batch that lie in the box, not decoded: chunk after chunk."""

    into: NDArray[np.int64]
    """Where each belongs in the result, in C order: (cells,)."""
    data: NDArray[np.uint8]
    """The bytes of the distinct cells, back to back."""
    offsets: NDArray[np.int64]
    """Offset in `data` of each distinct cell and, last, the end: (D + 1,)."""
    of: NDArray[np.int64] | None
    """Which distinct cell each cell is, (cells,); None where each is one of its own."""
    missing: NDArray[np.uint8]
    """1 for each missing cell: (cells,)."""

    def decode(self, kind: str) -> NDArray[Any]:
        """Return the cells as objects, (cells,). Equal ones are one object."""
        if self.of is None:
            return decode_cells(self.data, self.offsets, self.missing, kind)
        cells = decode_cells(self.data, self.offsets, np.zeros(len(self.offsets) - 1, np.uint8), kind)[self.of]
        if self.missing.any():
            cells[self.missing.view(np.bool_)] = None
        return cells


class _StringReader:
    """One read of string chunks. Threads run `read_batch` side by side, which changes nothing here."""

    def __init__(
        self,
        index: ChunkIndex,
        pieces: NDArray[np.int64],
        targets: Targets,
        region: Region,
        limits: Limits,
        cache: BlockCache | None,
    ) -> None:
        self.batches = ReadBatches(index, pieces, replace(limits, thread_bytes=_THREAD_FACTOR * limits.thread_bytes))
        """The read batches."""
        self._index = index
        self._pieces = pieces
        self._targets = targets
        self._region = region
        self._cells = region.cells
        self._cache = cache

    def read_batch(self, batch: int) -> _BoxCells:
        """Read and decode the blocks of a batch and gather the cells of its chunks that lie in the box.

        Raises `CorruptStoreError` where a block is damaged.
        """
        first, stop = self.batches.blocks(batch)
        raw, begin, end = self._decode_blocks(batch)
        edges = self.batches.wanted[kernels.WANTED_PIECE, first : stop + 1]
        columns = slice(int(edges[0]), int(edges[-1]))
        block = np.repeat(np.arange(stop - first), np.diff(edges))
        offset = begin[block] + self._pieces[kernels.PIECE_OFFSET, columns]
        chunk = self._pieces[kernels.PIECE_CHUNK, columns]
        # Chunks that lie in one place are at several positions of the grid.
        once, of = first_alike(offset, self._cells[chunk])
        try:
            bounds, missing, starts = cell_bounds(raw, offset[once], self._cells[chunk[once]], end[block[once]])
        except BlockError as error:  # its `block` is the number of the chunk
            raise self._damage(first + int(block[once[error.block]]), error.reason) from error
        inside, into, count = self._located(self._pieces[:, columns])
        wanted = np.repeat(starts[of], count) + inside
        begin_of, end_of = bounds[wanted], bounds[wanted + 1]
        distinct, of_distinct = kernels.find_distinct(raw, begin_of, end_of) or (slice(None), None)
        data, offsets = kernels.gather_strings(raw, begin_of[distinct], end_of[distinct])
        return _BoxCells(into, data, offsets, of_distinct, missing[wanted])

    def _located(self, pieces: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return where the cells of `pieces` (6, P) lie: see `kernels.locate_cells`."""
        chunk, target = pieces[[kernels.PIECE_CHUNK, kernels.PIECE_TARGET]]
        return kernels.locate_cells(self._region.geometry, chunk, target)

    def _decode_blocks(self, batch: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """Return bytes with the decoded blocks of a batch, and the offset where each begins and ends, (blocks,).

        Raises `CorruptStoreError` where one is damaged.
        """
        first, stop = self.batches.blocks(batch)
        rows, stored_offset, _ = self.batches.wanted[:, first:stop]
        blocks = self._index.blocks[:, rows]
        length, source = blocks[[kernels.BLOCK_RAW, kernels.BLOCK_SOURCE]]
        found = None if self._cache is None else self._cache.find(self._index, rows)
        if found is not None and found.held and not found.missing.any():
            if len(found.held) == 1:
                return found.held[0][2].data, found.offset, found.offset + length
            end = np.cumsum(length)
            blocks_of = [
                (slab.data, at) for first, stop, slab in found.held for at in found.offset[first:stop].tolist()
            ]
            parts = [data[at : at + size] for (data, at), size in zip(blocks_of, length.tolist(), strict=True)]
            return np.concatenate(parts), end - length, end
        blocks[kernels.BLOCK_OFFSET] = stored_offset
        end = np.cumsum(length)
        begin = end - length
        try:
            raw = kernels.new_bytes(int(length.sum()))
            kernels.decode_blocks(self.batches.load(batch), blocks, raw, begin)
        except BlockError as error:
            raise self._damage(first + error.block, error.reason) from error
        if self._cache is not None and found is not None and source[0] == source[-1]:
            missing, at = found.missing, source.item(0)
            uses, short = found.uses[missing], raw.nbytes <= self._cache.pool.short_bytes
            # Those that another slab holds take memory twice.
            if 2 * len(uses) >= len(missing) and self._cache.admits(raw.nbytes, uses, short=short):
                numbers = rows[missing] - self._index.base[at]
                self._cache.keep(self._index.sources[at], numbers, raw, begin[missing], uses, short=short)
        return raw, begin, end

    def _damage(self, wanted: int, reason: str) -> CorruptStoreError:
        """Return the error for damage of a block, by its column in `batches.wanted`; it names the first dataset."""
        row, _, piece = self.batches.wanted[:, wanted].tolist()
        number = self._region.array_of(self._pieces[:, piece])
        return self._targets.damage(self._index.source_of(row), reason, number)

    def copy_cells(self, cells: _BoxCells, out: NDArray[Any]) -> None:
        """Decode the cells of a batch and copy them into the result, `out`, as 1-D objects."""
        out[cells.into] = cells.decode(self._targets.schema.datatype.kind)

    def copy_to_others(self, pieces: NDArray[np.int64], like: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy the cells of chunks that have been read to all `pieces` (6, P) that share them.

        Piece p has the cells of piece `like[p]`; `out` is as in `copy_cells`.
        """
        others = np.flatnonzero(like != np.arange(len(like)))
        out[self._located(pieces[:, others])[1]] = out[self._located(pieces[:, like[others]])[1]]


def cell_bounds(
    raw: NDArray[np.uint8], offset: NDArray[np.int64], cells: NDArray[np.int64], block_end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bounds of the cells of N string chunks, which cells are missing, and the entry of each first bound.

    Bounds are offsets in the decoded bytes `raw`. `offset` (N,) is each chunk's first byte there, `cells` (N,) its
    number of cells, `block_end` (N,) the offset where its block ends. Cell k of chunk n lies between entries
    `starts[n] + k` and `starts[n] + k + 1` of the bounds, (sum of cells + N,); `starts` is (N,). The second result has
    an entry for each bound, 1 where the cell that begins there is missing.

    Raises `BlockError`, whose `block` is the number of the chunk, where cells reach out of their block.
    """
    starts = np.cumsum(cells + 1) - cells - 1
    bounds = np.empty(int((cells + 1).sum()), np.int64)
    missing = np.zeros(len(bounds), np.uint8)
    kernels.string_offsets(raw, offset, cells, bounds, missing, starts)
    overflow = bounds[starts + cells] > block_end
    if overflow.any():
        raise BlockError(int(np.argmax(overflow)), "offset")
    return bounds, missing, starts


def find_overflow(
    block: NDArray[np.int64], raw: NDArray[np.int64], offset: NDArray[np.int64], cells: NDArray[np.int64]
) -> int | None:
    """Return the first of N string chunks whose cells cannot all lie in its block; None where all can.

    Of each chunk `block` (N,) is the row of its block, in ascending order, `raw` (N,) the decoded bytes of that block,
    `offset` (N,) the chunk's first byte in it, and `cells` (N,) its number of cells. Chunks of one block must lie side
    by side or be shared, at one offset, or a small block could declare any number of large chunks.

    Checked before memory or time is spent on the cells, whose number is what a schema declares.
    """
    short = cells > (raw - offset) // LENGTH_BYTES
    if short.any():
        return int(np.argmax(short))
    overflow = _first_overflow(block, raw, cells)
    if overflow is None:
        return None
    # The longest of those at one offset stands for all of them.
    order = np.lexsort((cells, offset, block))
    last = np.append((block[order][1:] != block[order][:-1]) | (offset[order][1:] != offset[order][:-1]), True)
    distinct = order[last]
    overflow = _first_overflow(block[distinct], raw[distinct], cells[distinct])
    return None if overflow is None else int(distinct[overflow])


def _first_overflow(block: NDArray[np.int64], raw: NDArray[np.int64], cells: NDArray[np.int64]) -> int | None:
    """Return the first of the chunks of the first block that is too short for all its chunks, None where none is."""
    first = np.flatnonzero(np.concatenate([[len(block) > 0], block[1:] != block[:-1]]))
    # In float64, as a sum of declared sizes may exceed int64.
    taken = np.add.reduceat(cells.astype(np.float64), first) * LENGTH_BYTES if len(first) else first
    overflow = taken > raw[first]
    return int(first[np.argmax(overflow)]) if overflow.any() else None


def chunk_strings(raw: NDArray[np.uint8], offset: int, cells: int, kind: str) -> NDArray[Any]:
    """Return the `cells` cells, (cells,) of objects, of the chunk that begins at `offset` of a decoded block.

    `kind` is "string" or "bytes". Raises `BlockError` where the cells reach out of the block.
    """
    bounds, missing = _chunk_bounds(raw, offset, cells)
    return decode_cells(raw[bounds[0] : bounds[-1]], bounds - bounds[0], missing[:-1], kind)


def _chunk_bounds(raw: NDArray[np.uint8], offset: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the bounds of each cell of one chunk in its decoded block `raw`, and which are missing, (cells + 1,)."""
    if not 0 <= offset <= len(raw) or cells > (len(raw) - offset) // LENGTH_BYTES:
        raise BlockError(0, "offset")
    bounds, missing = np.empty(cells + 1, np.int64), np.zeros(cells + 1, np.uint8)
    kernels.string_offsets(raw, np.array([offset]), np.array([cells]), bounds, missing, np.zeros(1, np.int64))
    return bounds, missing


def strings_at(
    index: ChunkIndex, row: int, cells: int, positions: Sequence[int], load: Callable[[Source, int], NDArray[np.uint8]]
) -> list[bytes]:
    """Return the bytes of the cells at `positions`, C-order numbers, of the chunk in that row, which has `cells` cells.

    `load` returns a decoded block by source and number. Raises `CorruptStoreError` where the block is damaged or the
    chunk has no such cell.
    """
    source = index.sources[index.source.item(row)]
    try:
        raw = load(source, index.rows.block.item(row))
        bounds, _ = _chunk_bounds(raw, index.rows.offset.item(row), cells)
    except BlockError as error:
        raise CorruptStoreError(
            f"{source.name} is damaged ({error.reason}): a string chunk cannot be read; restore the file from a copy",
            key=source.name,
        ) from error
    if max(positions) >= cells:
        raise CorruptStoreError(
            f"{source.name} is damaged: statistics of a string chunk name cell {max(positions)} and the chunk has "
            f"{cells} cells; restore the file from a copy",
            key=source.name,
        )
    return [raw[bounds[at] : bounds[at + 1]].tobytes() for at in positions]
