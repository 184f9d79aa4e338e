"""Reading chunks of numbers: blocks are copied from memory where a cache has them, and otherwise read and decoded.

Threads run tasks of about a mebibyte each, without the GIL. `gather` finds the chunks; nothing here knows staged cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.chunking.pieces import cut_pieces, has_cut_chunks, wanted_blocks
from atlas.kernels import BlockError
from atlas.read.fetch import ReadBatches
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.chunking.regions import Region
    from atlas.kernels import Geometry
    from atlas.read.block_cache import BlockCache
    from atlas.read.cache_pool import Slab
    from atlas.read.fetch import Targets
    from atlas.runtime.limits import Limits

    Task = Callable[[], None]

__all__ = ["read_numbers"]

_TASK_BYTES = 1 << 20
"""Decoded bytes that a thread copies from memory at a time."""


def read_numbers(
    index: ChunkIndex,
    chunks: NDArray[np.int64],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
    cache: BlockCache | None = None,
) -> None:
    """Copy the boxes of chunks of numbers, pieces (6, C) that are whole chunks ordered by block, into `out` (N, *box).

    Without a `cache` every block is read and compared with its checksum.

    Raises `CorruptStoreError` where a block is damaged or missing.
    """
    pieces = chunks
    if has_cut_chunks(region, out.dtype.itemsize, limits):
        first, last = wanted_blocks(region, out.dtype.itemsize, chunks, limits)
        _check_blocks(index, chunks, last, targets, region)
        pieces = cut_pieces(chunks, out.dtype.itemsize, first, last, limits)
    copy = _Copy(index, pieces, region.geometry, out)
    tasks = copy.tasks(limits) if cache is None else _cached_tasks(copy, limits, cache)

    def run(task: Task) -> None:
        try:
            task()
        except BlockError as error:
            piece = pieces[:, np.argmax(pieces[kernels.PIECE_BLOCK] == error.block)]
            raise targets.damage(index.source_of(error.block), error.reason, region.array_of(piece)) from error

    run_all(run, tasks)


@dataclass(frozen=True, slots=True)
class _Copy:
    """Pieces to copy out of their blocks. Threads copy side by side, each out of other blocks.

    Methods raise `BlockError`, whose `block` is a row of the index, where a block is damaged.
    """

    index: ChunkIndex
    """Where the blocks are."""
    pieces: NDArray[np.int64]
    """The pieces, (6, P), ordered by block: see `kernels.PIECE_BLOCK`."""
    geometry: Geometry
    """Their chunks, and the box of each that is wanted."""
    out: NDArray[Any]
    """The result, (N, *box)."""

    def tasks(self, limits: Limits) -> list[Task]:
        """Return a task for each read batch that keeps nothing."""
        batches = ReadBatches(self.index, self.pieces, limits)
        return [partial(self.read, batches, batch) for batch in range(len(batches))]

    def read(self, batches: ReadBatches, batch: int) -> None:
        """Read the blocks of a batch, decode them and copy their pieces, block by block."""
        kernels.gather_boxes(
            batches.load(batch), self.index.blocks, batches.wanted, *batches.blocks(batch), self.pieces,
            self.geometry, self.out,
        )  # fmt: skip

    def copy(self, decoded: NDArray[np.uint8], wanted: NDArray[np.int64], begin: int, end: int) -> None:
        """Copy the pieces of the blocks `begin` to `end` of `wanted` out of `decoded`: see `kernels.copy_boxes`."""
        kernels.copy_boxes(decoded, self.index.blocks, wanted, begin, end, self.pieces, self.geometry, self.out)

    def decode(
        self, stored: NDArray[np.uint8], wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the blocks that `wanted` (3, N + 1) names, decoded back to back, and where each begins, (N,)."""
        rows = wanted[kernels.WANTED_BLOCK, :-1]
        blocks = self.index.blocks[:, rows]
        blocks[kernels.BLOCK_OFFSET] = wanted[kernels.WANTED_OFFSET, :-1]
        raw = blocks[kernels.BLOCK_RAW]
        offset = np.cumsum(raw) - raw
        decoded = kernels.new_bytes(int(raw.sum()))
        try:
            kernels.decode_blocks(stored, blocks, decoded, offset)
        except BlockError as error:
            raise BlockError(rows.item(error.block), error.reason) from None
        return decoded, offset


def _cached_tasks(copy: _Copy, limits: Limits, cache: BlockCache) -> list[Task]:
    """Return tasks that copy pieces from memory where `cache` has their blocks, and read the other blocks."""
    block, raw = copy.pieces[kernels.PIECE_BLOCK], copy.index.blocks[kernels.BLOCK_RAW]
    heads = np.flatnonzero(block[1:] != block[:-1]) + 1
    rows = block if len(heads) + 1 == len(block) else np.append(block[0], block[heads])
    found = cache.find(copy.index, rows)
    if not found.held:
        # What is read for the first time goes straight to the result.
        return _Keeping(copy, rows, found.uses, limits, cache).tasks() if found.uses.any() else copy.tasks(limits)
    edges = np.array([0, *heads.tolist(), len(block)])
    tasks: list[Task] = []
    if found.missing.any():
        missing = replace(copy, pieces=copy.pieces[:, np.repeat(found.missing, np.diff(edges))])
        tasks = _Keeping(missing, rows[found.missing], found.uses[found.missing], limits, cache).tasks()
    wanted = np.array([np.append(rows, 0), np.append(found.offset, 0), edges])
    held: list[tuple[int, int, Slab]] = []
    nbytes = 0
    for begin, end, slab in found.held:
        held.append((begin, end, slab))
        nbytes += int(raw[rows[begin:end]].sum())
        if nbytes >= _TASK_BYTES:
            tasks.append(partial(_copy_held, copy, wanted, held))
            held, nbytes = [], 0
    if held:
        tasks.append(partial(_copy_held, copy, wanted, held))
    return tasks


def _copy_held(copy: _Copy, wanted: NDArray[np.int64], held: list[tuple[int, int, Slab]]) -> None:
    """Copy the pieces of blocks, columns of `wanted`, that slabs hold."""
    for begin, end, slab in held:
        copy.copy(slab.data, wanted, begin, end)


@lru_cache(maxsize=16)
def _for_one_thread(limits: Limits) -> Limits:
    """Return the limits with which one thread reads a whole batch."""
    return replace(limits, thread_bytes=max(limits.thread_bytes, limits.batch_bytes))


class _Keeping:
    """Reads missing blocks, and keeps those that the cache admits. Threads read its batches side by side."""

    def __init__(
        self, copy: _Copy, rows: NDArray[np.int64], uses: NDArray[np.int64], limits: Limits, cache: BlockCache
    ) -> None:
        """Plan the reads of the blocks `rows` (N,) of the pieces, which were asked for so many times: `uses` (N,)."""
        self._copy = copy
        self._uses = uses
        self._cache = cache
        self._raw = copy.index.blocks[kernels.BLOCK_RAW, rows]
        nbytes = int(self._raw.sum())
        self._short = nbytes <= cache.pool.short_bytes
        # The blocks of a chunk that make one slab are found side by side later, without a plan.
        one = nbytes <= cache.pool.slab_bytes
        self._batches = ReadBatches(copy.index, copy.pieces, _for_one_thread(limits) if one else limits)

    def tasks(self) -> list[Task]:
        """Return a task for each read batch."""
        return [partial(self._read, batch) for batch in range(len(self._batches))]

    def _read(self, batch: int) -> None:
        first, stop = self._batches.blocks(batch)
        nbytes = int(self._raw[first:stop].sum())
        nbytes = min(nbytes, self._cache.pool.slab_bytes)
        if not self._cache.admits(nbytes, self._uses[first:stop], short=self._short):
            self._copy.read(self._batches, batch)
            return
        stored = self._batches.load(batch)
        for begin, end in self._slabs(first, stop):
            wanted = self._batches.wanted[:, begin : end + 1].copy()
            decoded, offset = self._copy.decode(stored, wanted)
            wanted[kernels.WANTED_OFFSET, :-1] = offset
            self._copy.copy(decoded, wanted, 0, end - begin)
            index, rows = self._copy.index, wanted[kernels.WANTED_BLOCK, :-1]
            source = int(index.blocks[kernels.BLOCK_SOURCE, rows[0]])
            self._cache.keep(
                index.sources[source], rows - index.base[source], decoded, offset, self._uses[begin:end],
                short=self._short,
            )  # fmt: skip

    def _slabs(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the first block and the one after the last of each slab that the blocks `first` to `stop` make.

        The blocks of a slab have one source.
        """
        source = self._copy.index.blocks[kernels.BLOCK_SOURCE, self._batches.wanted[kernels.WANTED_BLOCK, first:stop]]
        part = (np.cumsum(self._raw[first:stop]) - 1) // self._cache.pool.slab_bytes
        edges = np.flatnonzero((source[1:] != source[:-1]) | (part[1:] != part[:-1])) + 1 + first
        yield from pairwise([first, *edges.tolist(), stop])


def _check_blocks(
    index: ChunkIndex, chunks: NDArray[np.int64], last: NDArray[np.int64], targets: Targets, region: Region
) -> None:
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
        raise targets.damage(source, "a chunk's blocks are missing", region.array_of(chunks[:, at]))
