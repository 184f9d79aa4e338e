"""One array name as a handle shows it at one moment: other threads may write, flush and refresh meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from atlas.chunking.regions import plan_region
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes, read_flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.view import StoreView
    from atlas.chunking.ragged import FlatBoxes
    from atlas.chunking.regions import Region
    from atlas.format.schema import ArraySchema
    from atlas.read.block_cache import BlockCache

__all__ = ["ReadSnapshot", "StagedCells", "take_snapshot"]

_MOST_CHUNKS = 16
"""Chunks of a read that are looked for one by one among those that are staged."""


class StagedCells(Protocol):
    """Cells that are written and not flushed, as reads see them."""

    @property
    def by_array(self) -> Mapping[str, object]:
        """What is staged, by array name."""

    def may_hold(self, array: str, dataset: int, chunk: int) -> bool:
        """Return whether a chunk is staged; True also where only `encoded_index` could tell. Needs no lock."""

    def find_waiting(self, array: str, dataset: int) -> NDArray[Any] | None:
        """Return an array of one chunk that is not encoded yet, in its memory dtype; None for any other. Needs no lock.

        It must not be written to.
        """

    def encoded_index(self, array: str) -> ChunkIndex | None:
        """Return the index of the encoded chunks of an array name, None where there are none."""

    def overlay_of(self, array: str, ids: Iterable[int]) -> Callable[[NDArray[Any], Iterable[int], Region], None]:
        """Return what copies the cells of chunks that are not encoded yet into a box.

        It takes the box, (N, *box), the N datasets that are its rows, and the region; for a region whose arrays have
        rows of their own the box is (1, *box). To be asked for before `encoded_index`.
        """


@dataclass(frozen=True, slots=True)
class ReadSnapshot:
    """What reads of one array name need."""

    array: str
    """Array name."""
    indexes: tuple[ChunkIndex, ...]
    """Chunk indexes to search, newest first."""
    overlay: Callable[[NDArray[Any], Iterable[int], Region], None] | None
    """Copies staged cells over what the indexes lead to; None where nothing is staged."""
    view: StoreView
    """For names and errors."""
    cache: BlockCache
    """The blocks that the handle keeps decoded."""

    def read(
        self,
        schema: ArraySchema,
        ids: NDArray[np.int64],
        generations: NDArray[np.int64],
        start: tuple[int, ...],
        count: tuple[int, ...],
    ) -> NDArray[Any]:
        """Return one box of the arrays of N datasets that have one schema, in its memory dtype: (N, *count).

        `ids` and `generations` (N,) name the arrays. The caller must have checked that the array contains the box.
        Raises what `read_boxes` raises, and `StaleHandleError` where the version is no longer kept.
        """
        return self.read_region(schema, ids, generations, plan_region(schema, start, count))

    def read_region(
        self, schema: ArraySchema, ids: NDArray[np.int64], generations: NDArray[np.int64], region: Region
    ) -> NDArray[Any]:
        """Return the box of one region of the arrays of N datasets that have one schema: (N, *box). See `read`.

        Cells of the box that belong to no chunk of the region are not set.
        """
        targets = Targets(self.array, schema, ids, generations, self.view.datasets.name_of)
        with self.view.stale_check():
            out = read_boxes(self.indexes, targets, region, self.view.limits, self.cache)
        if self.overlay is not None:
            self.overlay(out, ids.tolist(), region)
        return out

    def read_flat(
        self,
        schemas: Sequence[ArraySchema],
        number: NDArray[np.int64],
        ids: NDArray[np.int64],
        generations: NDArray[np.int64],
        flat: FlatBoxes,
    ) -> NDArray[Any]:
        """Return boxes of the arrays of N datasets of one dtype, one after another, of shape `flat.shape`. See `read`.

        `number` (N,) tells which of `schemas` each array has.
        """
        targets = Targets(
            self.array, schemas[0], ids, generations, self.view.datasets.name_of, schemas=schemas, number=number
        )
        limits = self.view.limits
        with self.view.stale_check():
            out = read_flat(self.indexes, targets, flat, limits, self.cache)
        if self.overlay is not None and out.size:
            for first, stop in flat.parts(limits.lookup_chunks):
                self.overlay(out[None], ids[first:stop].tolist(), flat.plan(first, stop))
        return out


def take_snapshot(
    view: StoreView,
    staged: StagedCells,
    cache: BlockCache,
    array: str,
    ids: NDArray[np.int64],
    region: Region | None = None,
) -> ReadSnapshot:
    """Return a snapshot of one array name for reads of the datasets `ids` (N,). The caller must hold the view's lock.

    Of one dataset, `region` may tell what is read of it: what is staged of other chunks does not count then. The
    snapshot is read without the lock: what it leads to never changes. Raises what `StoreView.chunk_index` raises.
    """
    # New datasets have no committed chunks: they stay readable even where files of the version are gone.
    next_id = view.catalog.next_id
    new = view.datasets.pending and int(ids.min(initial=next_id)) >= next_id
    indexes = () if new else (view.chunk_index(array),)
    if array not in staged.by_array:
        return ReadSnapshot(array, indexes, None, view, cache)
    overlay, encoded = staged.overlay_of(array, ids.tolist()), staged.encoded_index(array)
    if region is not None and len(region.chunk) <= _MOST_CHUNKS:
        (identity,) = ids.tolist()
        if not any(staged.may_hold(array, identity, chunk) for chunk in region.chunk.tolist()):
            return ReadSnapshot(array, indexes, None, view, cache)
    return ReadSnapshot(array, indexes if encoded is None else (encoded, *indexes), overlay, view, cache)
