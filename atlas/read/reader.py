"""Reads of one open store: arrays by name, one or many, and their statistics.

A read takes a snapshot under the view's lock and runs without the lock, beside writes and flushes.
Changes nothing but its caches.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas import kernels
from atlas.catalog.view import IndexNotLoadedError
from atlas.chunking.indexing import divide_index, parse_index, plan_index
from atlas.chunking.regions import box_slices, check_region, plan_region
from atlas.errors import ArrayNotFoundError, AtlasError, CorruptStoreError, StaleHandleError
from atlas.read.allocation import allocate_result
from atlas.read.block_cache import BlockCache
from atlas.read.bulk_read import check_complete, read_across, read_ragged, read_stacked
from atlas.read.cached_chunks import CachedChunks
from atlas.read.fetch import Targets
from atlas.read.single_chunk import SingleChunks, is_single_chunk
from atlas.read.snapshot import take_snapshot
from atlas.read.statistics import Statistics
from atlas.read.statistics_columns import statistics_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.selection import ArraySelection
    from atlas.catalog.view import StoreView
    from atlas.chunking.indexing import CellIndex
    from atlas.chunking.regions import Region
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.read.cache_pool import CachePool
    from atlas.read.ragged_array import RaggedArray
    from atlas.read.snapshot import ReadSnapshot, StagedCells
    from atlas.read.statistics import ArrayStatistics
    from atlas.read.statistics_columns import ArrayStatsColumns

__all__ = ["Reader"]

_T = TypeVar("_T")


class Reader:
    """Every read of one open store. Many threads may read at once."""

    def __init__(self, view: StoreView, staged: StagedCells, pool: CachePool) -> None:
        self._view = view
        self._locks = view.locks
        self._changes = view.locks.changes
        self._datasets = view.datasets
        self._staged = staged
        self.cache = BlockCache(pool)
        """The blocks that the handle keeps decoded."""
        self._single_chunks = SingleChunks(self.cache)
        self._chunks = CachedChunks(self.cache, view.limits)
        self._moves = view.moves
        self._statistics: dict[str, Statistics] = {}

    # One array

    def read_array(
        self, dataset: str, array: str, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any] | None:
        """Return a box of one array, None where the dataset lacks the array. See `DatasetView.read_array`."""
        ended = self._changes.ended
        cells = self._find_kept(dataset, array, start, shape)
        if cells is None and self._changes.begun != ended:  # beside a change: look again beside none
            with self._locks.state:
                cells = self._find_kept(dataset, array, start, shape)
        return self._read_array(dataset, array, start, shape) if cells is None else cells

    def _find_kept(
        self, dataset: str, array: str, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any] | None:
        """Return a box of one array if it is part of one chunk that the handle keeps decoded, else None.

        The method takes no lock. It relies on locations of chunks, which hold for one chunk index, and on
        `ChangeCount`, which tells whether it has found the dataset, the index and the staged cells at one moment.
        """
        changes = self._changes
        ended = changes.ended
        found = self._datasets.find(dataset)
        if found is None or not isinstance(array, str):
            return None
        identity, arrays = found
        entry, index = arrays.get(array), self._view.indexes.get(array)
        if entry is None:
            return None
        if array in self._staged.by_array and entry.schema.chunks == 1:
            waiting = self._staged.find_waiting(array, identity)
            if waiting is not None:
                return _box_of(waiting, entry.schema, start, shape) if changes.begun == ended else None
        if index is None:
            return None
        chunk, cells = 0, self._single_chunks.known(index, identity, entry)
        whole = cells is not None
        if cells is None:
            part = self._chunks.find(index, identity, entry, start, shape)
            if part is None:
                return None
            chunk, cells = part
        if self._staged.may_hold(array, identity, chunk) or changes.begun != ended:
            return None
        return _box_of(cells, entry.schema, start, shape) if whole else entry.schema.datatype.in_memory(cells.copy())

    def _read_array(
        self, dataset: str, array: str, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any] | None:
        def read() -> NDArray[Any] | None:
            self._load_index(array)
            with self._locks.state:
                state = self._datasets.state(dataset)
                entry = state.find(array)
                if entry is None:
                    return None
                region = None
                if array in self._staged.by_array:
                    region = plan_region(entry.schema, *check_region(entry.schema.shape, start, shape))
                snapshot = self._take_snapshot(array, state.identity, region)
            return self._read_one(snapshot, state.identity, entry, start, shape)

        return self.repeat_if_moved(read)

    def _take_snapshot(self, array: str, identity: int, region: Region | None) -> ReadSnapshot:
        """Return a snapshot for the read of a region of one array. The caller must hold the view's lock."""
        return take_snapshot(self._view, self._staged, self.cache, array, np.array([identity]), region)

    def _load_index(self, array: str) -> None:
        """Read the chunk index of an array name before a read takes the lock, if it has segments."""
        view = self._view
        if self._moves != view.moves:
            self._moves, indexes = view.moves, view.indexes
            self._single_chunks.keep_only(indexes)
            self._chunks.keep_only(indexes)
        if isinstance(array, str) and array not in view.indexes and array in view.catalog.segments:
            try:
                self.repeat_if_moved(partial(view.load_index, array))
            except AtlasError:
                if not view.datasets.pending:  # new datasets stay readable: the read fails if it needs the index
                    raise

    def _read_one(
        self,
        snapshot: ReadSnapshot,
        identity: int,
        entry: ArrayEntry,
        start: Sequence[int] | None,
        shape: Sequence[int] | None,
    ) -> NDArray[Any]:
        """Return a box of one array as the snapshot has it."""
        single = self._find_single_chunk(snapshot, identity, entry)
        if single is not None:
            return _box_of(single, entry.schema, start, shape)
        box = check_region(entry.schema.shape, start, shape)
        return self._read_region(snapshot, identity, entry, plan_region(entry.schema, *box))

    def _read_region(self, snapshot: ReadSnapshot, identity: int, entry: ArrayEntry, region: Region) -> NDArray[Any]:
        """Return the box of a region of one array as the snapshot has it."""
        cached = self._chunks.read(snapshot, identity, entry, region)
        if cached is not None:
            return cached
        out = snapshot.read_region(entry.schema, np.array([identity]), np.array([entry.generation]), region)
        return out.reshape(out.shape[1:])

    def read_index(self, dataset: str, array: str, key: object) -> Any:
        """Return what the NumPy index `key` takes of one array: an array, or a scalar. See `ArrayView`."""
        entry = self._view.array(dataset, array)
        index = parse_index(key, entry.schema)

        def read() -> Any:
            self._load_index(array)
            with self._locks.state:
                state = self._datasets.state(dataset)
                now, identity, region = state.array(array), state.identity, None
                current = index if now.schema == entry.schema else parse_index(key, now.schema)
                if current.box is not None and array in self._staged.by_array:
                    region = plan_region(now.schema, *current.box)
                snapshot = self._take_snapshot(array, identity, region)
            return self._read_index(snapshot, identity, now, current)

        return self.repeat_if_moved(read)

    def _read_index(self, snapshot: ReadSnapshot, identity: int, entry: ArrayEntry, index: CellIndex) -> Any:
        """Return what an index takes of one array as the snapshot has it, as new cells."""
        schema = entry.schema
        single = self._find_single_chunk(snapshot, identity, entry)
        if single is not None:
            return index.take(single)
        if 0 in index.shape:
            return np.empty(index.shape, schema.memory_dtype)
        parts = list(divide_index(index, schema, self._view.limits.index_bytes // schema.memory_dtype.itemsize))
        if len(parts) == 1:
            cells = self._read_part(snapshot, identity, entry, index)
        else:
            cells = allocate_result(index.shape, schema.memory_dtype, snapshot.array)
            for part, into in parts:
                cells[into] = self._read_part(snapshot, identity, entry, part)
        return cells[()] if index.scalar else np.require(cells, requirements="C")

    def _read_part(self, snapshot: ReadSnapshot, identity: int, entry: ArrayEntry, index: CellIndex) -> NDArray[Any]:
        """Return what an index takes, at least one cell, through one box; it may share memory with that."""
        if index.box is not None:
            if snapshot.overlay is None and snapshot.indexes:
                found = self._chunks.find(snapshot.indexes[0], identity, entry, *index.box)
                if found is not None:
                    cells: NDArray[Any] = entry.schema.datatype.in_memory(found[1].copy())[index.in_box]
                    return cells
            region, within = plan_region(entry.schema, *index.box), index.in_box
        else:
            region, within = plan_index(index, entry.schema)
        taken: NDArray[Any] = self._read_region(snapshot, identity, entry, region)[within]
        return taken

    def _find_single_chunk(self, snapshot: ReadSnapshot, identity: int, entry: ArrayEntry) -> NDArray[Any] | None:
        """Return a whole array of one small chunk, which must not be written to; None for any other array."""
        view = self._view
        if snapshot.overlay is not None or not snapshot.indexes or not is_single_chunk(entry, view.limits):
            return None
        (index,) = snapshot.indexes
        known = self._single_chunks.known(index, identity, entry)
        if known is not None:
            return known
        ids, generations = np.array([identity]), np.array([entry.generation])
        targets = Targets(entry.name, entry.schema, ids, generations, view.datasets.name_of)
        with view.stale_check():
            return self._single_chunks.find(index, targets)

    # Many datasets

    def read_across(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> list[NDArray[Any] | None]:
        """Return the same box of one array from many datasets, None where one lacks it."""

        def read(selection: ArraySelection, snapshot: ReadSnapshot) -> list[NDArray[Any] | None]:
            return read_across(selection, start, shape, snapshot)

        return self._read_selection(array, names, read)

    def read_stacked(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Return the same box of one array from N datasets as one array, (N, *box)."""

        def check(selection: ArraySelection) -> None:
            check_complete(selection)
            self._datasets.check_one_meaning(selection)

        def read(selection: ArraySelection, snapshot: ReadSnapshot) -> NDArray[Any]:
            return read_stacked(selection, start, shape, snapshot)

        return self._read_selection(array, names, read, check)

    def read_ragged(
        self,
        array: str,
        names: Sequence[str],
        start: Sequence[int] | None,
        shape: Sequence[int] | None,
        spans: NDArray[np.int64] | None = None,
    ) -> RaggedArray:
        """Return the same box of one array from N datasets, clipped along the first axis, one after another.

        `spans` (N, 2) gives each row its own first cell and length along the first axis, within its array.
        """

        def check(selection: ArraySelection) -> None:
            if not len(selection.present):
                raise ArrayNotFoundError(
                    f"none of the datasets named has an array {array!r}, whose dtype is not known therefore; name at "
                    "least one that has it"
                )
            if not selection.complete:
                selection = self._datasets.arrays(array, [selection.names[at] for at in selection.present.tolist()])
            self._datasets.check_one_meaning(selection)

        def read(selection: ArraySelection, snapshot: ReadSnapshot) -> RaggedArray:
            return read_ragged(selection, start, shape, snapshot, spans)

        return self._read_selection(array, names, read, check)

    def are_known_equal(self, array: str, names: Sequence[str]) -> bool:
        """Return whether one array is known to have the same cells in N datasets, without reading any block.

        Where that is not known it may still be so.
        """
        view = self._view

        def look_up() -> tuple[ArraySelection, ChunkIndex | None]:
            self._load_index(array)
            with view.locks.state:
                selection = view.datasets.arrays(array, names)
                if not selection.complete or len(selection.groups) != 1 or array in self._staged.by_array:
                    return selection, None
                return selection, view.chunk_index(array)

        selection, index = self.repeat_if_moved(look_up)
        if index is None:
            return False
        (group,) = selection.groups
        if group.schema.chunks > view.limits.lookup_chunks:
            return False
        every = np.arange(group.schema.chunks)
        apart = kernels.find_first_apart(index.index, index.base, group.ids, group.generations, every)
        return apart == len(group.ids)

    def _read_selection(
        self,
        array: str,
        names: Sequence[str],
        read: Callable[[ArraySelection, ReadSnapshot], _T],
        check: Callable[[ArraySelection], None] = lambda _: None,
    ) -> _T:
        """Return what `read` returns for the selection of one array of many datasets and a snapshot of it.

        `check` is called with the selection before, and holds the view's lock.
        """
        view = self._view

        def read_now() -> _T:
            self._load_index(array)
            with view.locks.state:
                selection = view.select_of_any(array, view.wanted_names(names))
                check(selection)
                snapshot = take_snapshot(view, self._staged, self.cache, array, selection.ids[selection.present])
            return read(selection, snapshot)

        return self.repeat_if_moved(read_now)

    def repeat_if_moved(self, read: Callable[[], _T]) -> _T:
        """Return what `read` returns; repeat it where it fails while another thread moves the handle to a new version.

        The version that was being read may no longer be kept, so a missing file is no damage then. The caller must not
        hold `state`, so that a chunk index that `read` needs can be read before it is called again.
        """
        view = self._view
        while True:
            moves = view.moves
            try:
                try:
                    return read()
                except IndexNotLoadedError as missing:
                    view.load_index(missing.array)
            except (CorruptStoreError, StaleHandleError):
                with view.locks.state:  # a thread that is moving the handle has finished once this is free
                    if moves == view.moves:
                        raise

    # Statistics

    def array_stats(self, dataset: str, array: str) -> tuple[ArrayStatistics, int] | None:
        """Return the statistics of an array as of the last flush, and its `nan_count`. See `ArrayView.stats`."""
        view = self._view

        def read() -> tuple[ArrayStatistics, int] | None:
            self._load_index(array)
            with view.locks.state:
                state = view.datasets.state(dataset)
                entry = state.find(array)
                if entry is None or state.new:
                    return None
                identity, statistics = state.identity, self._statistics_of(array)
            try:
                return statistics.find(identity, entry.generation, entry.schema, self.cache)
            except CorruptStoreError:
                with view.stale_check():  # entered here only, as it takes longer than the statistics of most arrays
                    raise

        return self.repeat_if_moved(read)

    def array_stats_across(self, array: str, names: Sequence[str] | None) -> ArrayStatsColumns:
        """Return the statistics of one array of many datasets, None for all. See `Atlas.array_stats_across`."""
        view = self._view

        def read() -> ArrayStatsColumns:
            self._load_index(array)
            with view.locks.state:
                selection = view.select_of_any(array, view.names_or_all(names))
                # What is new has no statistics: it stays readable even where files of the version are gone.
                flushed = (selection.schema >= 0) & (selection.ids < view.catalog.next_id)
                statistics = self._statistics_of(array) if flushed.any() else None
            with view.stale_check():
                return statistics_columns(selection, flushed, statistics, self.cache)

        return self.repeat_if_moved(read)

    def _statistics_of(self, array: str) -> Statistics:
        """Return the statistics of an array name as of the version shown. The caller must hold the view's lock."""
        index = self._view.chunk_index(array)
        statistics = self._statistics.get(array)
        if statistics is None or statistics.index is not index:
            statistics = self._statistics[array] = Statistics(index)
        return statistics


def _box_of(
    cells: NDArray[Any], schema: ArraySchema, start: Sequence[int] | None, shape: Sequence[int] | None
) -> NDArray[Any]:
    """Return a copy of a box of the whole array `cells`."""
    if start is None and shape is None:
        return cells.copy()
    box = box_slices(*check_region(schema.shape, start, shape))
    return cells[box].copy() if box else cells.copy()  # an empty index of an array without axes would give a scalar
