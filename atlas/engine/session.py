"""One open store: what is committed, what is pending, and every operation on both, in order and under one lock.

Reads of committed data take what they need under the lock and then run without it, beside writes and flushes.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.across import Fleet, read_across, read_stacked
from atlas.engine.cache import BlockCache
from atlas.engine.committing import Committer
from atlas.engine.compaction import compact_array
from atlas.engine.cutting import RAW_BUDGET, cut_chunks
from atlas.engine.datasets import Datasets
from atlas.engine.fetching import Targets
from atlas.engine.incoming import as_cells
from atlas.engine.journal import Journal, unique_name
from atlas.engine.locks import Gate, renew_in_children
from atlas.engine.lone import LoneChunks, is_lone
from atlas.engine.reading import read_boxes
from atlas.engine.stacking import stage_stack
from atlas.engine.staging import Staging
from atlas.engine.statistics import array_statistics
from atlas.engine.tables import ChunkTable, load_segment, load_table
from atlas.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    AtlasError,
    CorruptStoreError,
    DatasetNotFoundError,
    InvalidNameError,
    InvalidTypeError,
    InvalidValueError,
    MissingAttributeError,
    StaleHandleError,
)
from atlas.format.attributes import flatten_key
from atlas.format.names import check_name, check_names
from atlas.planning.regions import Region, box_slices, check_region, chunk_box, plan_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.catalog import Catalog
    from atlas.engine.datasets import DatasetState
    from atlas.format.attributes import AttributeKey
    from atlas.format.registry import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.format.segment import SegmentRef

__all__ = ["Session"]

_log = logging.getLogger("atlas")

_log = logging.getLogger("atlas.engine")
_ENCODED_BUDGET = 64 << 20
"""Bytes of encoded blocks held in memory before they are spilled."""


class Session:
    """A store that is open."""

    def __init__(self, journal: Journal, catalog: Catalog) -> None:
        self.journal = journal
        """Its documents."""
        self.datasets = Datasets(catalog)
        """Its datasets."""
        self.renew()
        renew_in_children(self)
        self.building = Gate()
        """Passed by calls that build a dataset in many steps, so that no flush commits half of one."""
        self.change = 0
        """Number that grows with every change of what a read may return."""
        self._serial = unique_name()
        self._staging: dict[str, Staging] = {}
        self._tables: dict[str, ChunkTable] = {}
        self._lone = LoneChunks(BlockCache())
        self._compactions = 0
        self._committer = Committer(journal, self.datasets)

    def renew(self) -> None:
        """Make the lock anew; it guards everything but finished tables and the cache."""
        self.lock = threading.RLock()

    @property
    def catalog(self) -> Catalog:
        """What is committed."""
        return self.datasets.catalog

    def _changed(self) -> None:
        self._lone.forget()
        self.change += 1

    # Datasets

    def create_dataset(self, name: str) -> DatasetState:
        """Create a dataset."""
        with self.lock:
            return self.datasets.create(name)

    def create_datasets(self, names: Sequence[str]) -> None:
        """Create many datasets, all of them or none."""
        with self.lock:
            self.datasets.create_many(names)

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset and what is pending of it."""
        with self.lock:
            state = self.datasets.delete(name)
            for array in state.arrays:
                if array in self._staging:
                    self._staging[array].drop(state.identity)
            self._changed()

    def list_datasets(self) -> list[str]:
        """Return all dataset names in the order they were created."""
        with self.lock:
            return self.datasets.names()

    def list_arrays(self) -> list[str]:
        """Return all array names, sorted."""
        with self.lock:
            return self.datasets.array_names()

    def set_attribute(self, dataset: str, key: AttributeKey, value: object) -> None:
        """Set an attribute to an encoded value; a key that is shown alike keeps its place and scope."""
        if not isinstance(key, str | tuple):
            raise InvalidTypeError(f"an attribute key is text, not {type(key).__name__} {key!r}")
        try:
            flatten_key(key).encode()
        except UnicodeEncodeError as error:
            raise InvalidNameError(f"attribute key {key!r} holds a surrogate, which UTF-8 lacks") from error
        with self.lock:
            state = self.datasets.touch(dataset)
            state.attributes[_same_key(state, key)] = value

    def delete_attribute(self, dataset: str, key: str) -> None:
        """Remove an attribute."""
        with self.lock:
            state = self.datasets.state(dataset)
            found = _same_key(state, key)
            if found not in state.attributes:
                raise MissingAttributeError(f"dataset {dataset!r} has no attribute {key!r}")
            del self.datasets.touch(dataset).attributes[found]

    def token(self, dataset: str, array: str) -> str:
        """Return text that changes whenever what a read of the array returns may change."""
        with self.lock:
            state = self.datasets.state(dataset)
            entry = state.array(array)
            place = f"{self.journal.storage.token}@{self.catalog.version}"
            if self.pending:
                place += f"+{self._serial}.{self.change}"
            return f"{place}:{state.identity}:{array}:{entry.generation}:{entry.schema.key}"

    def define_array(self, dataset: str, array: str, schema: ArraySchema) -> None:
        """Add an array to a dataset."""
        with self.lock:
            self.datasets.define(dataset, array, schema)
            self._changed()

    def delete_array(self, dataset: str, array: str) -> None:
        """Remove an array from a dataset, with its own attributes and what is pending of it."""
        with self.lock:
            self.datasets.state(dataset).array(array)
            state = self.datasets.touch(dataset)
            del state.arrays[array]
            state.attributes = {
                key: value
                for key, value in state.attributes.items()
                if not (isinstance(key, tuple) and len(key) == 2 and key[0] == array)
            }
            if array in self._staging:
                self._staging[array].drop(state.identity)
            self._changed()

    # Writing

    def _stage(self, array: str) -> Staging:
        staging = self._staging.get(array)
        if staging is None:
            staging = self._staging[array] = self._new_staging(array)
        return staging

    def _new_staging(self, array: str) -> Staging:
        config = self.journal.config
        return Staging(array, config.codec, config.filter, self.journal.storage.spill_folder())

    def write_array(self, dataset: str, array: str, start: Sequence[int], data: object) -> None:
        """Write `data` with its corner at `start`."""
        with self.lock:
            state = self.datasets.state(dataset)
            entry = state.array(array)
            cells = as_cells(data, entry.schema, array)
            if start is None:
                raise InvalidTypeError("start is a sequence of whole numbers, one a dimension, not None")
            region = plan_region(entry.schema, *check_region(entry.schema.shape, start, cells.shape))
            if cells.size == 0:
                return
            bases = self._bases(array, state, entry, region)
            staging = self._stage(array)
            for chunk, pending in cut_chunks(cells, entry, region, bases):
                staging.put(state.identity, chunk, pending)
                self._bound_memory()
            self._changed()

    def write_stacked(self, array: str, names: Sequence[str], data: NDArray[Any], schema: ArraySchema) -> None:
        """Define an array in many datasets and write the rows of `data` to it, all of it or nothing."""
        with self.lock:
            check_name("array", array)
            cells = as_cells(data, schema, array)
            if len(set(names)) != len(names):
                raise InvalidValueError("dataset_names holds a name more than once")
            arrays = self.datasets.arrays(array, names)
            for name, identity, entry in zip(names, arrays.ids.tolist(), arrays.entry.tolist(), strict=True):
                if identity < 0:
                    raise DatasetNotFoundError(f"there is no dataset {name!r} in the store")
                if entry >= 0:
                    raise ArrayExistsError(f"dataset {name!r} has an array {array!r} already; delete it first")
            by_generation: dict[ArrayEntry, list[int]] = {}
            for at, name in enumerate(names):
                by_generation.setdefault(self.datasets.define(name, array, schema), []).append(at)
            if cells.size:
                staging = self._stage(array)
                for defined, some in by_generation.items():
                    rows = cells if len(some) == len(names) else cells[some]
                    stage_stack(staging, defined, arrays.ids[some], rows, self._bound_memory)
            self._changed()

    def _bases(self, array: str, state: DatasetState, entry: ArrayEntry, region: Region) -> dict[int, NDArray[Any]]:
        """Return the present cells of the chunks that the region takes only in part, by row of the region."""
        if region.whole:
            return {}
        geometry = region.geometry
        part = np.flatnonzero((geometry.extent != geometry.count).any(axis=1)).tolist()
        bases = {}
        for k in part:
            corner, extent = chunk_box(entry.schema, int(region.chunk[k]))
            found = self._read_group(array, entry.schema, [state.identity], [entry.generation], corner, extent)
            cell = entry.schema.datatype.cell
            bases[k] = found.reshape(-1) if cell is None else found.reshape(-1).view(cell)
        return bases

    def _bound_memory(self) -> None:
        if sum(staging.raw_bytes for staging in self._staging.values()) <= RAW_BUDGET:
            return
        for staging in self._staging.values():
            staging.encode()
        if sum(staging.encoded_bytes for staging in self._staging.values()) > _ENCODED_BUDGET:
            for staging in self._staging.values():
                staging.spill()

    # Reading

    def table(self, array: str) -> ChunkTable:
        """Return the committed chunk table of an array name, reading the indexes of its segments when first asked."""
        with self.lock:
            table = self._tables.get(array)
            if table is None:
                refs = self.catalog.segments.get(array, [])
                with self._telling_stale():
                    table = self._tables[array] = load_table(self.journal.storage, refs)
            return table

    @contextmanager
    def _telling_stale(self) -> Iterator[None]:
        """Raise `StaleHandleError` where a file is missing because the store was compacted or replaced by others."""
        try:
            yield
        except CorruptStoreError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            if not missing or not self.journal.has_moved_past(self.catalog.version):
                raise
            raise StaleHandleError(
                f"the store at {self.journal.storage.describe} was compacted or replaced since this handle was opened "
                f"at version {self.catalog.version}, whose data is no longer kept: open it again"
            ) from error

    def _read_group(
        self,
        array: str,
        schema: ArraySchema,
        ids: Sequence[int] | NDArray[np.int64],
        generations: Sequence[int] | NDArray[np.int64],
        start: tuple[int, ...],
        count: tuple[int, ...],
    ) -> NDArray[Any]:
        """Read one box of arrays that have one schema: (N, *count)."""
        region = plan_region(schema, start, count)
        targets = Targets(
            array, schema, np.asarray(ids, np.int64), np.asarray(generations, np.int64), self.datasets.name_of
        )
        while True:
            with self.lock:
                compactions = self._compactions
                # Datasets that are new have nothing committed: they stay readable whatever happens to the files.
                new = int(targets.ids.min(initial=self.catalog.next_id)) >= self.catalog.next_id
                committed = [] if new else [self.table(array)]
                staging = self._staging.get(array)
                if staging is not None:
                    # What is pending may be encoded or flushed by another thread: read it before that can happen.
                    encoded = staging.table()
                    out = read_boxes(committed if encoded is None else [encoded, *committed], targets, region)
                    staging.overlay(out, targets.ids.tolist(), region)
                    return out
            try:
                with self._telling_stale():
                    return read_boxes(committed, targets, region)
            except (CorruptStoreError, StaleHandleError):
                # Files that another thread has just compacted away are no damage: the new ones hold the same.
                if compactions == self._compactions:
                    raise

    def _find_lone(self, array: str, identity: int, entry: ArrayEntry) -> NDArray[Any] | None:
        """Return the whole of a small committed array as a view of its cached block, None where that is not the way."""
        if array in self._staging:
            return None
        known = self._lone.known(array, identity, entry)
        if known is not None or not is_lone(entry):
            return known
        ids, generations = np.array([identity]), np.array([entry.generation])
        targets = Targets(array, entry.schema, ids, generations, self.datasets.name_of)
        with self._telling_stale():
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
        if lone is None:
            corner, count = check_region(entry.schema.shape, start, shape)
            out = self._read_group(array, entry.schema, [identity], [entry.generation], corner, count)
            return out.reshape(count)
        if start is None and shape is None:
            return lone.copy()
        corner, count = check_region(lone.shape, start, shape)
        return lone[box_slices(corner, count)].copy()

    def _look_up(self, array: str, names: Sequence[str]) -> Fleet:
        wanted = check_names("dataset_names", names)
        if not wanted:
            raise InvalidValueError("dataset_names is empty; name at least one dataset")
        with self.lock:
            arrays = self.datasets.arrays(array, wanted)
            if (arrays.entry < 0).all() and array not in self.datasets.array_names():
                raise ArrayNotFoundError(f"no dataset of the store has an array {array!r}")
        return Fleet(array, wanted, arrays)

    def read_across(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> list[NDArray[Any] | None]:
        """Read the same box of one array from many datasets, None where one lacks it."""
        return read_across(self._look_up(array, names), start, shape, self._read_group, self._read_one)

    def read_stacked(
        self, array: str, names: Sequence[str], start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read the same box of one array from many datasets as one array (N, *box)."""
        return read_stacked(self._look_up(array, names), start, shape, self._read_group)

    def array_stats(self, dataset: str, array: str) -> dict[str, Any] | None:
        """Return the statistics of an array as of the last flush."""
        with self.lock:
            state = self.datasets.state(dataset)
            entry = state.arrays.get(array)
            if entry is None or state.new:
                return None
            # Under the lock, as those of strings read blocks, which a compaction by another thread would remove.
            with self._telling_stale():
                return array_statistics(self.table(array), state.identity, entry.generation, entry.schema)

    # Flushing

    @property
    def pending(self) -> bool:
        """Whether a flush would change anything."""
        return self.datasets.pending or bool(self._staging)

    def flush(self) -> None:
        """Commit everything that is pending.

        A flush that fails leaves the store on disk as it was and keeps what is pending.
        """
        with self.building.closed(), self.lock:
            self._extend_tables(self._committer.settle())
            drafts = {
                array: draft for array, staging in self._staging.items() if (draft := staging.draft()) is not None
            }
            if drafts or self.datasets.pending:
                written = self._committer.write_segments(drafts)
                self._committer.commit_pending(written)
                self._forget_pending()
                self._extend_tables(written)
                self.journal.checkpoint(self.catalog)
            else:
                self._forget_pending()

    def _forget_pending(self) -> None:
        for staging in self._staging.values():
            staging.close()
        self._staging = {}
        self.datasets.committed()
        self._changed()

    def _extend_tables(self, written: Sequence[SegmentRef]) -> None:
        for ref in written:
            if ref.array in self._tables:
                try:
                    self._tables[ref.array] = self._tables[ref.array].added(*load_segment(self.journal.storage, ref))
                except AtlasError:  # the commit stands; whoever reads the array next meets the error itself
                    del self._tables[ref.array]

    def compact(self) -> None:
        """Rewrite what lies in many segments or beside dead data, and remove the files that are no longer needed."""
        with self.building.closed(), self.lock:
            self.flush()
            dropped: list[str] = []
            stagings: dict[str, Staging] = {}
            for array, refs in self.catalog.segments.items():
                staging = self._new_staging(array)
                if compact_array(array, refs, self.table(array), self.datasets, staging):
                    dropped += [ref.key for ref in refs]
                    stagings[array] = staging
            if dropped:
                drafts = {array: draft for array, staging in stagings.items() if (draft := staging.draft()) is not None}
                self._committer.commit_swap(dropped, self._committer.write_segments(drafts))
            self._tables = {}
            self._compactions += 1
            self._changed()
            # Files may only go once the checkpoint no longer leads to them.
            if self.journal.checkpoint(self.catalog, force=True):
                reclaimed = self.journal.sweep(self.catalog)
                _log.info("%s is compacted: %d bytes reclaimed", self.journal.storage.describe, reclaimed)


def _same_key(state: DatasetState, key: AttributeKey) -> AttributeKey:
    """Return the key under which the attribute that is shown like `key` is kept, `key` itself where there is none."""
    if key in state.attributes or isinstance(key, tuple):
        return key
    return next((known for known in state.attributes if flatten_key(known) == key), key)
