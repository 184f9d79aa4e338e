"""An open store as far as it is changed in memory: datasets, arrays, attributes and cells, under one lock."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.regions import Region, check_region, chunk_box, plan_region
from atlas.errors import (
    ArrayExistsError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidNameError,
    InvalidTypeError,
    InvalidValueError,
    MissingAttributeError,
)
from atlas.format.attributes import flatten_key
from atlas.format.names import check_name
from atlas.read.reader import Readable
from atlas.runtime.locks import Gate
from atlas.storage.keys import unique_name
from atlas.write.bulk_write import stage_stack
from atlas.write.coercion import coerce_cells
from atlas.write.splitting import chunk_runs, cut_chunks, divide_chunks, one_chunk
from atlas.write.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.datasets import DatasetState
    from atlas.commit.commit_writer import CommitWriter
    from atlas.format.attributes import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.write.encoding import PendingChunk

__all__ = ["Writable"]

_log = logging.getLogger(__name__)
_RAW_BUDGET = 32 << 20
"""Bytes of chunks that wait before they are encoded."""
_UNBOUNDED = 1 << 20
"""Bytes of chunks that are put before it is looked whether too many wait."""
_ENCODED_BUDGET = 8 << 20
"""Bytes of encoded blocks held in memory before they are spilled, which a flush would have to write and wait for."""


class Writable(Readable):
    """A store that is open, as far as it is read and changed in memory."""

    def __init__(self, journal: CommitWriter, catalog: Catalog) -> None:
        super().__init__(journal, catalog)
        self.building = Gate()
        """Passed by calls that build a dataset in many steps, so that no flush commits half of one."""
        self._serial = unique_name()
        self._unbounded = 0

    # Datasets

    def create_dataset(self, name: str) -> DatasetState:
        """Create a dataset."""
        with self.changing:
            return self.datasets.create(name)

    def create_datasets(self, names: Sequence[str]) -> None:
        """Create many datasets, all of them or none."""
        with self.changing:
            self.datasets.create_many(names)

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset and what is pending of it."""
        with self.changing:
            state = self.datasets.delete(name)
            for array in state.arrays:
                if array in self.staging:
                    self.staging[array].drop(state.identity)
            self.changed()

    def discard_dataset(self, name: str) -> None:
        """Forget a dataset that was created since the last flush, with what is pending of it."""
        with self.changing:
            if not self.datasets.state(name).new:
                raise DatasetExistsError(f"dataset {name!r} is flushed already; use delete_dataset")
            self.delete_dataset(name)

    def count_datasets(self) -> int:
        """Return the number of datasets."""
        with self.lock:
            return len(self.datasets)

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
        with self.changing:
            state = self.datasets.touch(dataset)
            state.attributes[_same_key(state, key)] = value

    def delete_attribute(self, dataset: str, key: str) -> None:
        """Remove an attribute."""
        with self.changing:
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
        with self.changing:
            self.datasets.define(dataset, array, schema)
            self.changed()

    def delete_array(self, dataset: str, array: str) -> None:
        """Remove an array from a dataset, with its own attributes and what is pending of it."""
        with self.changing:
            self.datasets.state(dataset).array(array)
            state = self.datasets.touch(dataset)
            del state.own_arrays()[array]
            state.attributes = {
                key: value
                for key, value in state.attributes.items()
                if not (isinstance(key, tuple) and len(key) == 2 and key[0] == array)
            }
            if array in self.staging:
                self.staging[array].drop(state.identity)
            self.changed()

    # Writing

    def _stage(self, array: str) -> Staging:
        staging = self.staging.get(array)
        if staging is None:
            staging = self.staging[array] = self.new_staging(array)
        return staging

    def new_staging(self, array: str) -> Staging:
        """Return an empty staging for an array name."""
        config, storage = self.journal.config, self.journal.storage
        return Staging(array, config.codec, config.filter, storage.spill_file, storage.hasten)

    def write_array(self, dataset: str, array: str, start: Sequence[int], data: object) -> None:
        """Write `data` with its corner at `start`."""
        with self.changing:
            state = self.datasets.state(dataset)
            entry = state.array(array)
            cells = coerce_cells(data, entry.schema, array)
            if start is None:
                raise InvalidTypeError("start is a sequence of whole numbers, one a dimension, not None")
            whole = one_chunk(cells, entry, start)
            if whole is None:
                self._write_region(array, state, entry, start, cells)
            else:
                self._put(self._stage(array), state.identity, 0, whole)
            self.changed()

    def _write_region(
        self, array: str, state: DatasetState, entry: ArrayEntry, start: Sequence[int], cells: NDArray[Any]
    ) -> None:
        region = plan_region(entry.schema, *check_region(entry.schema.shape, start, cells.shape))
        if cells.size == 0:
            return
        cut = divide_chunks(cells, region)
        present = partial(self._present, array, state, entry, region)
        staging = self._stage(array)
        # What nobody else can write to needs no note of which cells were written here.
        shared = not state.new and entry.generation != self.datasets.generation
        for chunk, pending in cut_chunks(cells, entry, region, cut, present, shared=shared):
            self._put(staging, state.identity, chunk, pending)
        staging.put_runs(chunk_runs(cells, entry, state.identity, region, cut.at_once), self._bound_memory)

    def _put(self, staging: Staging, identity: int, chunk: int, pending: PendingChunk) -> None:
        self._unbounded += staging.put(identity, chunk, pending)
        # Not at every chunk: a store may have thousands of array names to add up.
        if self._unbounded > _UNBOUNDED:
            self._unbounded = 0
            self._bound_memory()

    def write_stacked(self, array: str, names: Sequence[str], data: NDArray[Any], schema: ArraySchema) -> None:
        """Define an array in many datasets and write the rows of `data` to it, all of it or nothing."""
        with self.changing:
            check_name("array", array)
            cells = coerce_cells(data, schema, array)
            if len(set(names)) != len(names):
                raise InvalidValueError("dataset_names holds a name more than once")
            arrays = self.datasets.arrays(array, names)
            if (arrays.ids < 0).any():
                name = names[int(np.argmax(arrays.ids < 0))]
                raise DatasetNotFoundError(f"there is no dataset {name!r} in the store")
            if arrays.groups:
                name = names[int(np.argmax(arrays.entry >= 0))]
                raise ArrayExistsError(f"dataset {name!r} has an array {array!r} already; delete it first")
            by_generation = self.datasets.define_many(names, array, schema)
            if cells.size:
                staging = self._stage(array)
                for defined, some in by_generation:
                    rows = cells if len(some) == len(names) else cells[some]
                    stage_stack(
                        staging, defined, arrays.ids[some], rows, partial(self._put, staging), self._bound_memory
                    )
            self.changed()

    def _present(self, array: str, state: DatasetState, entry: ArrayEntry, region: Region, k: int) -> NDArray[Any]:
        """Return the present cells of the chunk in row `k` of the region."""
        corner, extent = chunk_box(entry.schema, int(region.chunk[k]))
        ids, generations = np.array([state.identity]), np.array([entry.generation])
        found = self.read_group(array, entry.schema, ids, generations, corner, extent)
        cell = entry.schema.datatype.cell
        return found.reshape(-1) if cell is None else found.reshape(-1).view(cell)

    def _bound_memory(self) -> None:
        if sum(staging.raw_bytes for staging in self.staging.values()) > _RAW_BUDGET:
            for staging in self.staging.values():
                staging.encode()
        excess = sum(staging.encoded_bytes for staging in self.staging.values()) - _ENCODED_BUDGET
        if excess > 0:
            # The largest first, so that few files are made.
            for staging in sorted(self.staging.values(), key=lambda staging: -staging.encoded_bytes):
                if excess > 0:
                    excess -= staging.encoded_bytes
                    staging.spill()


def _same_key(state: DatasetState, key: AttributeKey) -> AttributeKey:
    """Return the key under which the attribute that is shown like `key` is kept, `key` itself where there is none."""
    if key in state.attributes or isinstance(key, tuple):
        return key
    return next((known for known in state.attributes if flatten_key(known) == key), key)
