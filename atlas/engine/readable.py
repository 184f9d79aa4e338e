"""Reads of one open store: arrays by name, one or many, and their statistics.

Reads of committed data take what they need under the lock and then run without it, beside writes and flushes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.across import read_across, read_stacked
from atlas.engine.cache import BlockCache
from atlas.engine.fetching import Targets
from atlas.engine.lone import LoneChunks, is_lone
from atlas.engine.reading import read_boxes
from atlas.engine.repeats import RepeatedChunks
from atlas.engine.state import State
from atlas.engine.statistics import Statistics
from atlas.errors import ArrayNotFoundError, CorruptStoreError, InvalidValueError, StaleHandleError
from atlas.planning.regions import box_slices, check_region, chunk_box, plan_region

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.catalog import Catalog
    from atlas.engine.journal import Journal
    from atlas.engine.rosters import Arrays
    from atlas.format.registry import ArrayEntry, Changes
    from atlas.format.schema import ArraySchema

__all__ = ["Readable"]


class Readable(State):
    """A store that is open, as far as it is read."""

    def __init__(self, journal: Journal, catalog: Catalog) -> None:
        super().__init__(journal, catalog)
        self._blocks = BlockCache()
        self._lone = LoneChunks(self._blocks)
        self._repeats = RepeatedChunks(self._blocks)
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
        """Read one box of arrays that have one schema: (N, *count)."""
        region = plan_region(schema, start, count)
        targets = Targets(array, schema, ids, generations, self.datasets.name_of)
        while True:
            with self.lock:
                compactions = self.compactions
                # Datasets that are new have nothing committed: they stay readable whatever happens to the files.
                new = self.datasets.pending and int(ids.min(initial=self.catalog.next_id)) >= self.catalog.next_id
                committed = [] if new else [self.table(array)]
                staging = self.staging.get(array)
                if staging is not None:
                    # What is pending may be encoded or flushed by another thread: read it before that can happen.
                    encoded = staging.table()
                    out = read_boxes(committed if encoded is None else [encoded, *committed], targets, region)
                    staging.overlay(out, targets.ids.tolist(), region)
                    return out
            try:
                with self.telling_stale():
                    return read_boxes(committed, targets, region)
            except (CorruptStoreError, StaleHandleError):
                # Files that another thread has just compacted away are no damage: the new ones hold the same.
                if compactions == self.compactions:
                    raise

    def _find_lone(self, array: str, identity: int, entry: ArrayEntry) -> NDArray[Any] | None:
        """Return the whole of a small committed array as a view of its cached block, None where that is not the way."""
        if array in self.staging:
            return None
        known = self._lone.known(array, identity, entry)
        if known is not None or not is_lone(entry):
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
        return self._read_one(array, state.identity, entry, start, shape)

    def _read_one(
        self, array: str, identity: int, entry: ArrayEntry, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read a box of one array."""
        with self.lock:
            lone = self._find_lone(array, identity, entry)
            change, pending = self.change, array in self.staging
        schema = entry.schema
        if lone is not None and start is None and shape is None:
            return lone.copy()
        corner, count = check_region(schema.shape, start, shape)
        if lone is not None:
            return lone[box_slices(corner, count)].copy()
        ids, generations = np.array([identity]), np.array([entry.generation])

        def load(chunk: int) -> NDArray[Any]:
            first, extent = chunk_box(schema, chunk)
            return self.read_group(array, schema, ids, generations, first, extent).reshape(extent)

        if not pending:
            region = plan_region(schema, corner, count)
            out = self._repeats.read((f"{array}@{change}", identity), schema, region, load)
            # Chunks are loaded one by one: only while nothing has changed are they of one state.
            if out is not None and change == self.change:
                return out
        return self.read_group(array, schema, ids, generations, corner, count).reshape(count)

    def _look_up(self, array: str, names: Sequence[str]) -> Arrays:
        with self.lock:
            arrays = self.datasets.arrays(array, names)
            if not arrays.names:
                raise InvalidValueError("dataset_names is empty; name at least one dataset")
            if not arrays.groups and array not in self.datasets.array_names():
                raise ArrayNotFoundError(f"no dataset of the store has an array {array!r}")
        return arrays

    def read_across(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> list[NDArray[Any] | None]:
        """Read the same box of one array from many datasets, None where one lacks it."""
        return read_across(self._look_up(array, names), start, shape, self.read_group, self._read_one)

    def read_stacked(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read the same box of one array from many datasets as one array (N, *box)."""
        return read_stacked(self._look_up(array, names), start, shape, self.read_group)

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
