"""Finds the decoded blocks that one handle keeps in memory, for every way of reading.

Blocks are named by their segment and their number in it. Segments are written once, so nothing that is kept is ever
stale. What is kept, and for how long, is for the pool (`cache_pool`). Blocks come in here only decoded and compared
with their checksum.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.read.cache_pool import Slab, UseCounts
from atlas.read.fetch import load_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.read.cache_pool import CachePool

__all__ = ["BlockCache", "FoundBlocks"]

_owners = count()
_BEGINNING = np.zeros(1, np.int64)
_MOST_COUNTED = 1 << 20
"""Blocks whose uses one handle counts: 25 bytes for each."""


@dataclass(frozen=True, slots=True)
class FoundBlocks:
    """Which of the N blocks that a read wants are in memory."""

    held: list[tuple[int, int, Slab]]
    """Runs of blocks that one slab holds: the first, the one after the last, and the slab."""
    offset: NDArray[np.int64]
    """Where each of these blocks begins in its slab, (N,); any number for others."""
    missing: NDArray[np.bool_]
    """Whether each block is missing, (N,)."""
    uses: NDArray[np.int64]
    """How often each missing block was asked for, with this time, (N,); 0 at the first."""


class BlockCache:
    """The decoded blocks of one handle. Many threads may use it at once. Given up with the last reference to it."""

    def __init__(self, pool: CachePool) -> None:
        self.pool = pool
        """The memory that it shares with other handles, or has alone."""
        self._owner = next(_owners)
        self._counts: OrderedDict[str, UseCounts] = OrderedDict()
        self._counted = 0
        weakref.finalize(self, pool.release, self._owner).atexit = False

    def clear(self) -> None:
        """Give back the memory of all blocks."""
        self.pool.release(self._owner)

    def find(self, index: ChunkIndex, rows: NDArray[np.int64]) -> FoundBlocks:
        """Return which blocks are in memory of those in `rows` (N,), ascending rows of `index.blocks`.

        Counts that they were asked for.
        """
        pool = self.pool
        number, offset, uses = np.zeros((3, len(rows)), np.int64)
        held: list[tuple[int, int, Slab]] = []
        if not pool.budget:
            return FoundBlocks(held, offset, number == 0, uses)
        parts = _by_source(index, rows)
        with pool.lock:
            pool.ask(int(index.blocks[kernels.BLOCK_RAW, rows].sum()))
            counted = [self._counts_of(index.sources[source]) for source, _, _ in parts]
            for counts, (_, span, blocks) in zip(counted, parts, strict=True):
                number[span], offset[span] = counts.slab[blocks], counts.offset[blocks]
            if number.max() < 0:
                for counts, (_, span, blocks) in zip(counted, parts, strict=True):
                    uses[span] = counts.count(blocks, pool.tick)
                return FoundBlocks(held, offset, number < 0, uses)
            for begin, end in pairwise([0, *(np.flatnonzero(number[1:] != number[:-1]) + 1).tolist(), len(number)]):
                at = number.item(begin)
                slab = None if at < 0 else pool.use(at)
                if slab is None:
                    number[begin:end] = -1
                else:
                    held.append((begin, end, slab))
            missing = number < 0
            if held and not missing.any():
                return FoundBlocks(held, offset, missing, uses)
            for counts, (_, span, blocks) in zip(counted, parts, strict=True):
                uses[span][missing[span]] = counts.count(blocks[missing[span]], pool.tick)
        return FoundBlocks(held, offset, missing, uses)

    def admits(self, nbytes: int, uses: NDArray[np.int64], *, short: bool) -> bool:
        """Return whether blocks of `nbytes` bytes that were asked for `uses` (N,) times would be kept, as one slab.

        At least half of them must have been asked for before.
        """
        if 2 * np.count_nonzero(uses) < len(uses):
            return False
        with self.pool.lock:
            return self.pool.admits(nbytes, _mean(uses), short=short)

    def keep(
        self,
        source: Source,
        blocks: NDArray[np.int64],
        data: NDArray[np.uint8],
        offset: NDArray[np.int64],
        uses: NDArray[np.int64],
        *,
        short: bool,
    ) -> None:
        """Keep decoded blocks as one slab if the pool admits them. From now on nobody may write to `data`.

        `blocks` (N,) are their numbers in `source`, ascending, `offset` (N,) is where each begins in `data`.
        """
        with self.pool.lock:
            slab = Slab(self._owner, self._counts_of(source), blocks, data)
            self.pool.add(slab, offset, _mean(uses), short=short)

    def get(self, source: Source, block: int) -> NDArray[np.uint8] | None:
        """Return block number `block` of a source, 1-D uint8 that must not be written to; None if it is not kept."""
        number, begin = self.location(source, block)
        slab = self.use(number)
        return None if slab is None else slab.data[begin : begin + source.blocks.raw.item(block)]

    def location(self, source: Source, block: int) -> tuple[int, int]:
        """Return the number of the slab that held a block last, -1 before the first, and where it begins in that."""
        with self.pool.lock:
            counts = self._counts.get(source.name)
            return (-1, 0) if counts is None else (counts.slab.item(block), counts.offset.item(block))

    def use(self, number: int) -> Slab | None:
        """Return the slab of that number, None where it is gone. Takes the lock once a tick: small reads take 8 us."""
        pool = self.pool
        slab = pool.slabs.get(number)
        if slab is not None and slab.last != pool.tick:
            with pool.lock:
                pool.use(number)
        return slab

    def span(self, source: Source, first: int, last: int, distance: int) -> tuple[NDArray[np.uint8], int] | None:
        """Return bytes in which the blocks `first` to `last` of a source lie side by side, and where `first` begins.

        The last one begins `distance` bytes after the first. None where they do not lie so in memory. The bytes, 1-D,
        must not be written to.
        """
        with self.pool.lock:
            counts = self._counts.get(source.name)
            if counts is None:
                return None
            number, begin = counts.slab.item(first), counts.offset.item(first)
            if counts.slab.item(last) != number or counts.offset.item(last) - begin != distance:
                return None
            slab = self.pool.use(number)
            return None if slab is None else (slab.data, begin)

    def load(self, source: Source, block: int) -> NDArray[np.uint8]:
        """Return the block number `block` of a source, decoded: 1-D uint8 that must not be written to.

        A block that is not kept is read, decoded and kept for a while at least, as chunks beside one that is read
        singly are often read next.

        Raises `BlockError` where it is damaged.
        """
        raw = self.get(source, block)
        if raw is not None:
            return raw
        one = np.array([block])
        buffer, table = load_blocks(source, one)
        raw = kernels.decode_block(buffer, table, 0)
        pool = self.pool
        if pool.budget:
            with pool.lock:
                pool.ask(raw.nbytes)
                counts = self._counts_of(source)
                uses = counts.count(one, pool.tick).item()
                pool.add(Slab(self._owner, counts, one, raw), _BEGINNING, uses, short=True)
        raw.flags.writeable = False
        return raw

    def _counts_of(self, source: Source) -> UseCounts:
        """Return the counts of a file. The pool's lock is held."""
        counts = self._counts.get(source.name)
        if counts is None:
            counts = self._counts[source.name] = UseCounts(len(source.blocks), self.pool.halvings)
            self._counted += len(source.blocks)
            while self._counted > _MOST_COUNTED and len(self._counts) > 1:
                _, oldest = self._counts.popitem(last=False)
                self._counted -= len(oldest.slab)
                self.pool.forget(number for number, slab in self.pool.slabs.items() if slab.counts is oldest)
            return counts
        self._counts.move_to_end(source.name)
        counts.halve(self.pool.halvings)
        return counts


def _by_source(index: ChunkIndex, rows: NDArray[np.int64]) -> list[tuple[int, slice, NDArray[np.int64]]]:
    """Return the sources of the blocks in `rows` (N,), ascending: number, span of `rows`, and their numbers there."""
    if len(index.sources) == 1:
        return [(0, slice(0, len(rows)), rows)]
    source = index.blocks[kernels.BLOCK_SOURCE, rows]
    edges = [0, *(np.flatnonzero(source[1:] != source[:-1]) + 1).tolist(), len(rows)]
    return [
        (source.item(begin), slice(begin, end), rows[begin:end] - index.base[source[begin]])
        for begin, end in pairwise(edges)
    ]


def _mean(uses: NDArray[np.int64]) -> int:
    return int(uses.sum()) // len(uses)
