"""What a read asks for and finds, and the stored bytes of the blocks it needs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.errors import CorruptStoreError
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.format.schema import ArraySchema

__all__ = ["ReadBatches", "Targets", "load_blocks"]


@dataclass(frozen=True, slots=True)
class Targets:
    """The arrays that are read, all of one schema."""

    array: str
    """Array name, for messages."""
    schema: ArraySchema
    """Their schema."""
    ids: NDArray[np.int64]
    """Dataset id of each."""
    generations: NDArray[np.int64]
    """Generation of each."""
    name_of: Callable[[int], str]
    """Dataset name of an id, for messages."""

    def some(self, first: int, stop: int) -> Targets:
        """Return the targets `first` to `stop`."""
        if first == 0 and stop >= len(self.ids):
            return self
        mine = slice(first, stop)
        return Targets(self.array, self.schema, self.ids[mine], self.generations[mine], self.name_of)

    def damage(self, source: Source, reason: str, target: int) -> CorruptStoreError:
        """Return the error for damage met while reading the array number `target`."""
        dataset = self.name_of(int(self.ids[target]))
        return CorruptStoreError(
            f"{source.name} is damaged ({reason}): array {self.array!r} of dataset {dataset!r} cannot be read; "
            "restore the file from a copy",
            key=source.name,
            dataset=dataset,
            array=self.array,
        )


class ReadBatches:
    """Pieces cut into lots that are read and decoded together, each by one thread."""

    def __init__(self, table: ChunkIndex, pieces: NDArray[np.int64], limits: Limits = DEFAULT) -> None:
        self._sources = table.sources
        self.wanted, self._cuts, self._stretches = _plan(table, pieces[kernels.PIECE_BLOCK], limits)
        """The blocks they lie in, (3, blocks + 1): see `kernels.WANTED_BLOCK`."""
        self._edges = self._cuts[kernels.BATCH_BLOCK].tolist()

    def __len__(self) -> int:
        """Return the number of lots."""
        return len(self._edges) - 1

    def blocks(self, lot: int) -> tuple[int, int]:
        """Return the first of a lot's blocks and the one after its last, in `wanted`."""
        return self._edges[lot], self._edges[lot + 1]

    def load(self, lot: int) -> NDArray[np.uint8]:
        """Read the stored bytes of a lot into memory of this thread, which the next call in it lends again."""
        cuts = self._cuts
        first, stop = cuts[kernels.BATCH_RANGE, lot], cuts[kernels.BATCH_RANGE, lot + 1]
        buffer = kernels.stored_buffer(int(cuts[kernels.BATCH_SIZE, lot]))
        stretches = self._stretches[:, first:stop]
        source = stretches[kernels.RANGE_SOURCE]
        edges = [0, *(np.flatnonzero(source[1:] != source[:-1]) + 1).tolist(), len(source)]
        for begin, end in pairwise(edges):
            offset, length, place = stretches[: kernels.RANGE_TARGET + 1, begin:end]
            self._sources[int(source[begin])].read_into(offset, length, buffer, place)
        return buffer


def _plan(table: ChunkIndex, block: NDArray[np.int64], limits: Limits) -> tuple[NDArray[np.int64], ...]:
    """Plan reads of the blocks, ascending, that join what lies within `coalesce_gap`, as far as memory allows."""
    threads, gap, sizes = thread_count(), table.coalesce_gap, (limits.batch_bytes, limits.thread_bytes)
    planned = kernels.plan_read_batches(block, table.blocks, threads, gap, *sizes)
    cuts = planned[1]
    if int(cuts[kernels.BATCH_SIZE, :-1].max(initial=0)) > limits.buffer_bytes:
        # Small blocks far apart: thousands of them make a batch, and so many gaps are more than a buffer should hold.
        gap = min(gap, limits.buffer_bytes // int(np.diff(cuts[kernels.BATCH_BLOCK]).max()))
        planned = kernels.plan_read_batches(block, table.blocks, threads, gap, *sizes)
    return planned


def load_blocks(source: Source, blocks: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the stored bytes of `blocks` (ascending) one after the other, and return them with their table there."""
    table = source.blocks.take(blocks).matrix()
    offset, stored = table[kernels.BLOCK_OFFSET].copy(), table[kernels.BLOCK_STORED]
    within = table[kernels.BLOCK_OFFSET]
    within[:] = np.cumsum(stored) - stored
    buffer = np.empty(int(stored.sum()), np.uint8)
    source.read_into(offset, stored, buffer, within)
    return buffer, table
