"""Reads of one open store: arrays by name, one or many, and their statistics.

Reads of committed data take what they need under the lock and then run without it, beside writes and flushes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from atlas.chunking.regions import box_slices, check_region, chunk_box, plan_region
from atlas.errors import ArrayNotFoundError, CorruptStoreError, InvalidValueError, StaleHandleError
from atlas.read.block_cache import BlockCache
from atlas.read.bulk_read import ReadGroup, read_across, read_stacked
from atlas.read.chunk_cache import ChunkCache
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.read.single_chunk import SingleChunks, is_single_chunk
from atlas.read.statistics import Statistics
from atlas.session_state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.selection import ArraySelection
    from atlas.commit.commit_writer import CommitWriter
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.registry import Changes
    from atlas.format.schema import ArraySchema

__all__ = ["Readable"]


_T = TypeVar("_T")


class ReadSnapshot(NamedTuple):
    """An array name as a handle shows it at one moment, whatever other threads do to the handle meanwhile."""

    change: int
    """State of the handle."""
    pending: bool
    """Whether some of it is pending, which can only be read while the lock is held."""
    read_group: ReadGroup
    """Reads boxes of it."""


def _box_of(
    cells: NDArray[Any], schema: ArraySchema, start: Sequence[int] | None, shape: Sequence[int] | None
) -> NDArray[Any]:
    """Return a copy of a box of the whole array `cells`."""
    if start is None and shape is None:
        return cells.copy()
    box = box_slices(*check_region(schema.shape, start, shape))
    return cells[box].copy() if box else cells.copy()  # of an array without axes an index is a cell


class Readable(State):
    """A store that is open, as far as it is read."""

    def __init__(self, journal: CommitWriter, catalog: Catalog) -> None:
        super().__init__(journal, catalog)
        self._blocks = BlockCache()
        self._lone = SingleChunks(self._blocks)
        self._repeats = ChunkCache(self._blocks)
        self._statistics: dict[str, Statistics] = {}

    def changed(self) -> None:
        """Note that what a read returns may have changed."""
        super().changed()
        self._lone.forget()

    def extend_tables(self, changes: Changes) -> None:
        """Add segments that were just committed to the tables that were read already."""
        super().extend_tables(changes)
        for ref in changes.segments:
            self._statistics.pop(ref.array, None)

    def forget_tables(self) -> None:
        """Forget all tables: the files they lead to are about to go."""
        super().forget_tables()
        self._statistics = {}

    def read_group(
        self,
        array: str,
        schema: ArraySchema,
        ids: NDArray[np.int64],
        generations: NDArray[np.int64],
        start: tuple[int, ...],
        count: tuple[int, ...],
    ) -> NDArray[Any]:
        """Read one box of arrays that have one schema: (N, *count). The store's lock is held."""
        targets = Targets(array, schema, ids, generations, self.datasets.name_of)
        region = plan_region(schema, start, count)
        # Datasets that are new have nothing committed: they stay readable whatever happens to the files.
        new = self.datasets.pending and int(ids.min(initial=self.catalog.next_id)) >= self.catalog.next_id
        committed = [] if new else [self.table(array)]
        staging = self.staging.get(array)
        encoded = None if staging is None else staging.table()
        with self.telling_stale():
            out = read_boxes(committed if encoded is None else [encoded, *committed], targets, region)
        if staging is not None:
            staging.overlay(out, targets.ids.tolist(), region)
        return out

    def _moment(self, array: str, ids: NDArray[np.int64]) -> ReadSnapshot:
        """Return what reads the array of the datasets `ids` as it is now; the store's lock is held.

        What is pending may be encoded or flushed by another thread: where there is some the lock is held on to until
        it has been read.
        """
        if array in self.staging:
            return ReadSnapshot(self.change, True, self.read_group)
        # Datasets that are new have nothing committed: they stay readable whatever happens to the files.
        new = self.datasets.pending and int(ids.min(initial=self.catalog.next_id)) >= self.catalog.next_id
        tables, name_of = [] if new else [self.table(array)], self.datasets.name_of

        def read_committed(
            array: str,
            schema: ArraySchema,
            ids: NDArray[np.int64],
            generations: NDArray[np.int64],
            start: tuple[int, ...],
            count: tuple[int, ...],
        ) -> NDArray[Any]:
            targets = Targets(array, schema, ids, generations, name_of)
            with self.telling_stale():
                return read_boxes(tables, targets, plan_region(schema, start, count))

        return ReadSnapshot(self.change, False, read_committed)

    def _again(self, read: Callable[[], _T]) -> _T:
        """Return what `read` does, and do it again where another thread has moved the handle on meanwhile.

        The version that was being read may then be one that nobody keeps any more, which is no damage.
        """
        while True:
            moves = self.moves
            try:
                return read()
            except (CorruptStoreError, StaleHandleError):
                with self.lock:  # whoever is moving the handle has done so then
                    if moves == self.moves:
                        raise

    def _find_single_chunk(self, array: str, identity: int, entry: ArrayEntry) -> NDArray[Any] | None:
        """Return the whole of a small committed array as a view of its cached block, None where that is not the way."""
        if array in self.staging:
            return None
        known = self._lone.known(array, identity, entry)
        if known is not None or not is_single_chunk(entry):
            return known
        ids, generations = np.array([identity]), np.array([entry.generation])
        targets = Targets(array, entry.schema, ids, generations, self.datasets.name_of)
        with self.telling_stale():
            return self._lone.find(self.table(array), targets)

    def read_array(
        self, dataset: str, array: str, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any] | None:
        """Read a box of one array, None where the dataset lacks it."""
        with self.lock:
            state = self.datasets.state(dataset)
            entry = state.arrays.get(array)
            if entry is None:
                return None
            lone = self._find_single_chunk(array, state.identity, entry)
        if lone is not None:
            return _box_of(lone, entry.schema, start, shape)

        def read() -> NDArray[Any] | None:
            with self.lock:
                state = self.datasets.state(dataset)
                entry = state.arrays.get(array)
                if entry is None:
                    return None
                moment = self._moment(array, np.array([state.identity]))
                if moment.pending:
                    return self._read_one(moment, array, state.identity, entry, start, shape)
            return self._read_one(moment, array, state.identity, entry, start, shape)

        return self._again(read)

    def _read_one(
        self,
        moment: ReadSnapshot,
        array: str,
        identity: int,
        entry: ArrayEntry,
        start: Sequence[int] | None,
        shape: Sequence[int] | None,
    ) -> NDArray[Any]:
        """Read a box of one array as it was at a moment."""
        schema = entry.schema
        with self.lock:
            lone = self._find_single_chunk(array, identity, entry) if self.change == moment.change else None
        if lone is not None:
            return _box_of(lone, schema, start, shape)
        corner, count = check_region(schema.shape, start, shape)
        ids, generations = np.array([identity]), np.array([entry.generation])

        def load(chunk: int) -> NDArray[Any]:
            first, extent = chunk_box(schema, chunk)
            return moment.read_group(array, schema, ids, generations, first, extent).reshape(extent)

        if not moment.pending:
            region = plan_region(schema, corner, count)
            out = self._repeats.read((f"{array}@{moment.change}", identity), schema, region, load)
            if out is not None:
                return out
        return moment.read_group(array, schema, ids, generations, corner, count).reshape(count)

    def _at_one_moment(
        self, array: str, names: Sequence[str], read: Callable[[ArraySelection, ReadSnapshot], _T]
    ) -> _T:
        """Return what `read` makes of one array of many datasets, looked up and read as they are at one moment."""

        def read_now() -> _T:
            with self.lock:
                arrays = self.datasets.arrays(array, names)
                if not arrays.names:
                    raise InvalidValueError("dataset_names is empty; name at least one dataset")
                if not arrays.groups and array not in self.datasets.array_names():
                    raise ArrayNotFoundError(f"no dataset of the store has an array {array!r}")
                moment = self._moment(array, arrays.ids[arrays.entry >= 0])
                if moment.pending:
                    return read(arrays, moment)
            return read(arrays, moment)

        return self._again(read_now)

    def read_across(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> list[NDArray[Any] | None]:
        """Read the same box of one array from many datasets, None where one lacks it."""

        def read(arrays: ArraySelection, moment: ReadSnapshot) -> list[NDArray[Any] | None]:
            return read_across(arrays, start, shape, moment.read_group, partial(self._read_one, moment))

        return self._at_one_moment(array, names, read)

    def read_stacked(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read the same box of one array from many datasets as one array (N, *box)."""

        def read(arrays: ArraySelection, moment: ReadSnapshot) -> NDArray[Any]:
            return read_stacked(arrays, start, shape, moment.read_group)

        return self._at_one_moment(array, names, read)

    def array_stats(self, dataset: str, array: str) -> dict[str, Any] | None:
        """Return the statistics of an array as of the last flush."""
        with self.lock:
            state = self.datasets.state(dataset)
            entry = state.arrays.get(array)
            if entry is None or state.new:
                return None
            statistics = self._statistics.get(array)
            if statistics is None:
                statistics = self._statistics[array] = Statistics(self.table(array))
            # Under the lock, as those of strings read blocks, which a compaction by another thread would remove.
            with self.telling_stale():
                return statistics.find(state.identity, entry.generation, entry.schema, self._blocks)
