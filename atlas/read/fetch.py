"""Which arrays a read names, and the stored bytes of the blocks that it needs, read in batches. Decodes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.errors import CorruptStoreError
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.format.schema import ArraySchema

__all__ = ["ReadBatches", "Targets", "load_blocks"]


@dataclass(frozen=True, slots=True)
class Targets:
    """The arrays that are read, all of one dtype, and of one schema where nothing else is said."""

    array: str
    """Array name, for messages."""
    schema: ArraySchema
    """Their schema, or one of those that they have."""
    ids: NDArray[np.int64]
    """Dataset id of each, (N,)."""
    generations: NDArray[np.int64]
    """Generation of each, (N,)."""
    name_of: Callable[[int], str]
    """Dataset name of an id, for messages."""
    schemas: Sequence[ArraySchema] = ()
    """Schemas of arrays that have several."""
    number: NDArray[np.int64] | None = None
    """Which of `schemas` each has, (N,); None where all have `schema`."""

    def some(self, first: int, stop: int) -> Targets:
        """Return the targets from number `first` up to `stop`, which is left out."""
        return self if first == 0 and stop >= len(self.ids) else self.take(slice(first, stop))

    def take(self, at: slice | NDArray[np.int64]) -> Targets:
        """Return the targets at positions."""
        number = None if self.number is None else self.number[at]
        return replace(self, ids=self.ids[at], generations=self.generations[at], number=number)

    def schemas_of(self, arrays: NDArray[np.int64]) -> tuple[Sequence[ArraySchema], NDArray[np.int64]]:
        """Return schemas, and which of them each of the arrays with the numbers `arrays` (C,) has, (C,)."""
        if self.number is None:
            return (self.schema,), np.zeros(len(arrays), np.int64)
        return self.schemas, self.number[arrays]

    def damage(self, source: Source, reason: str, target: int) -> CorruptStoreError:
        """Return the error for damage in a file that the array number `target` needs."""
        dataset = self.name_of(int(self.ids[target]))
        return CorruptStoreError(
            f"{source.name} is damaged ({reason}): array {self.array!r} of dataset {dataset!r} cannot be read; "
            "restore the file from a copy",
            key=source.name,
            dataset=dataset,
            array=self.array,
        )


class ReadBatches:
    """The read batches of a read: blocks that one thread reads, decodes and copies in one go."""

    def __init__(self, index: ChunkIndex, pieces: NDArray[np.int64], limits: Limits = DEFAULT) -> None:
        """Plan the batches for `pieces` (6, P), ordered by block: see `kernels.PIECE_BLOCK`."""
        self._sources = index.sources
        self.wanted, self._batches, self._ranges = _plan(index, pieces[kernels.PIECE_BLOCK], limits)
        """The blocks that the pieces lie in, (3, blocks + 1): see `kernels.WANTED_BLOCK`."""
        self._edges = self._batches[kernels.BATCH_BLOCK].tolist()

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._edges) - 1

    def blocks(self, batch: int) -> tuple[int, int]:
        """Return the columns of `wanted` that hold a batch's first block and the one after its last."""
        return self._edges[batch], self._edges[batch + 1]

    def load(self, batch: int) -> NDArray[np.uint8]:
        """Return the stored bytes of a batch, 1-D, in a buffer of this thread, which its next call overwrites.

        Raises `CorruptStoreError` where a file is missing or too short.
        """
        first, stop = self._batches[kernels.BATCH_RANGE, batch : batch + 2]
        buffer = kernels.stored_buffer(int(self._batches[kernels.BATCH_SIZE, batch]))
        ranges = self._ranges[:, first:stop]
        source = ranges[kernels.RANGE_SOURCE]
        edges = [0, *(np.flatnonzero(source[1:] != source[:-1]) + 1).tolist(), len(source)]
        for begin, end in pairwise(edges):
            offset, length, target = ranges[: kernels.RANGE_TARGET + 1, begin:end]
            self._sources[int(source[begin])].read_into(offset, length, buffer, target)
        return buffer


def _plan(index: ChunkIndex, block: NDArray[np.int64], limits: Limits) -> tuple[NDArray[np.int64], ...]:
    """Return what `kernels.plan_read_batches` does for the blocks `block` (P,), rows of `index.blocks`, ascending.

    Blocks that lie within the index's `coalesce_gap` are read in one range, as far as the buffer of a batch allows.
    """
    threads, gap, sizes = thread_count(), index.coalesce_gap, (limits.batch_bytes, limits.thread_bytes)
    planned = kernels.plan_read_batches(block, index.blocks, threads, gap, *sizes)
    batches = planned[1]
    if max(batches[kernels.BATCH_SIZE, :-1].tolist(), default=0) > limits.buffer_bytes:
        # Small blocks far apart: thousands of them make a batch, and the gaps between them would exceed its buffer.
        gap = min(gap, limits.buffer_bytes // int(np.diff(batches[kernels.BATCH_BLOCK]).max()))
        planned = kernels.plan_read_batches(block, index.blocks, threads, gap, *sizes)
    return planned


def load_blocks(source: Source, blocks: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the stored bytes of the blocks number `blocks` (N,), ascending, of a source, and a block table for them.

    The bytes, 1-D, hold one block after the other; the table, (8, N), gives offsets in them: see
    `kernels.BLOCK_OFFSET`.
    """
    table = source.blocks.take(blocks).matrix()
    offset, stored = table[kernels.BLOCK_OFFSET].copy(), table[kernels.BLOCK_STORED]
    target = table[kernels.BLOCK_OFFSET]
    target[:] = np.cumsum(stored) - stored
    buffer = np.empty(int(stored.sum()), np.uint8)
    source.read_into(offset, stored, buffer, target)
    return buffer, table
