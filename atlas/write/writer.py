"""Changes of one open store in memory: datasets, arrays, attributes and cells. Nothing here reaches the store.

Every call takes the handle's locks. A call that raises has changed nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.batches import equal_runs
from atlas.chunking.indexing import parse_index, plan_index
from atlas.chunking.regions import check_region, chunk_box, plan_region
from atlas.errors import (
    ArrayExistsError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    MissingAttributeError,
)
from atlas.format.attribute_keys import ArrayPrefixes, check_key, find_key, flatten_key
from atlas.format.names import check_name
from atlas.runtime.memory import check_room
from atlas.write.bulk_write import Rows
from atlas.write.coercion import broadcast_cells, cast_cells, coerce_cells
from atlas.write.splitting import one_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.dataset_state import DatasetState
    from atlas.catalog.selection import ArraySelection
    from atlas.catalog.view import StoreView
    from atlas.chunking.regions import Region
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.write.pending import PendingWrites

    ReadBox = Callable[[ArrayEntry, int, tuple[int, ...], tuple[int, ...]], NDArray[Any]]

__all__ = ["Writer"]


class Writer:
    """Every change of one open store."""

    def __init__(self, view: StoreView, pending: PendingWrites, read_box: ReadBox) -> None:
        self._view = view
        self._pending = pending
        self._read_box = read_box

    # Datasets

    def create_dataset(self, name: str) -> DatasetState:
        """Create a dataset."""
        with self._view.locks.changing:
            return self._view.datasets.create(name)

    def create_datasets(self, names: Sequence[str]) -> None:
        """Create many datasets, all of them or none."""
        with self._view.locks.changing:
            self._view.datasets.create_many(names)

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset and what is pending of it."""
        view = self._view
        with view.locks.changing:
            state = view.datasets.delete(name)
            self._pending.drop(state.identity, state.arrays)
            view.changed()

    def discard_dataset(self, name: str) -> None:
        """Forget a dataset that was created since the last flush, with what is pending of it."""
        with self._view.locks.changing:
            if not self._view.datasets.state(name).new:
                raise DatasetExistsError(f"dataset {name!r} is flushed already; use delete_dataset")
            self.delete_dataset(name)

    # Attributes

    def set_attribute(self, dataset: str, key: AttributeKey, value: object) -> None:
        """Set an attribute to an encoded value, in the position of the one that is shown alike, if there is one.

        The key must have been checked.
        """
        view = self._view
        # Replacing a value leaves the size of a dictionary, so another thread may iterate over it meanwhile. A lookup
        # without a lock finds the old or the new value, so this is no change that `ChangeCount` counts. `acquire` takes
        # half the time of a `with`, and datasets have tens of attributes.
        writing = view.locks.writing
        writing.acquire()
        try:
            if not view.datasets.replace_attribute(dataset, key, value):
                view.locks.check_writable()
                with view.locks.state:
                    view.datasets.set_attribute(dataset, key, value)
        finally:
            writing.release()

    def set_attributes(self, dataset: str, values: Mapping[AttributeKey, object]) -> None:
        """Set many attributes, all of them or none; see `set_attribute`."""
        with self._view.locks.changing:
            self._view.datasets.state(dataset)
            for key, value in values.items():
                self._view.datasets.set_attribute(dataset, key, value)

    def delete_attribute(self, dataset: str, key: AttributeKey) -> None:
        """Remove the attribute that is shown like `key`."""
        check_key(key)
        datasets = self._view.datasets
        with self._view.locks.changing:
            found = find_key(datasets.state(dataset).attributes, flatten_key(key))
            if found is None:
                raise MissingAttributeError(f"dataset {dataset!r} has no attribute {flatten_key(key)!r}")
            del datasets.edit(dataset).attributes[found]

    # Arrays

    def define_array(self, dataset: str, array: str, schema: ArraySchema, *, coordinate: bool = False) -> None:
        """Add an array to a dataset; `coordinate` says that many datasets are likely to have the same cells."""
        with self._view.locks.changing:
            self._view.datasets.define(dataset, array, schema)
            if coordinate:
                self._view.datasets.edit(dataset).coordinates |= {array}
            self._view.changed()

    def delete_array(self, dataset: str, array: str) -> None:
        """Remove an array from a dataset, with its attributes and what is pending of it."""
        view = self._view
        with view.locks.changing:
            view.datasets.state(dataset).array(array)
            state = view.datasets.edit(dataset)
            prefixes = ArrayPrefixes(state.arrays)
            state.attributes = {
                key: value for key, value in state.attributes.items() if prefixes.split(flatten_key(key))[0] != array
            }
            del state.own_arrays()[array]
            self._pending.drop(state.identity, [array])
            view.changed()

    def write_array(self, dataset: str, array: str, start: Sequence[int], data: object) -> None:
        """Write `data` with its corner at `start`."""
        view = self._view
        with view.locks.changing:
            state = view.datasets.state(dataset)
            entry = state.array(array)
            cells = coerce_cells(data, entry.schema, array)
            if start is None:
                raise InvalidTypeError("start is a sequence of whole numbers, one a dimension, not None")
            whole = one_chunk(cells, entry, start, view.limits, coordinate=state.is_coordinate(entry))
            if whole is None:
                self._write_region(state, entry, start, cells)
            else:
                self._pending.put(array, state.identity, 0, whole)
            view.changed()

    def write_index(self, dataset: str, array: str, key: object, value: object) -> None:
        """Write `value`, broadcast as NumPy does, to the cells that the NumPy index `key` takes. See `ArrayView`."""
        view = self._view
        with view.locks.changing:
            state = view.datasets.state(dataset)
            entry = state.array(array)
            index = parse_index(key, entry.schema)
            cells = broadcast_cells(cast_cells(value, entry.schema, array), index.shape, array)
            if 0 in index.shape:
                return
            if index.box is not None:
                start, count = index.box
                data = _empty_box(count, cells.dtype, array)
                data[index.in_box] = cells
                self._write_region(state, entry, start, data)
            else:
                region, within = plan_index(index, entry.schema)
                data = _empty_box(tuple(region.geometry.box.tolist()), cells.dtype, array)
                taken = np.zeros(data.shape, np.bool_)
                data[within], taken[within] = cells, True
                self._put_region(state, entry, region, data, taken)
            view.changed()

    def _write_region(self, state: DatasetState, entry: ArrayEntry, start: Sequence[int], cells: NDArray[Any]) -> None:
        region = plan_region(entry.schema, *check_region(entry.schema.shape, start, cells.shape))
        if cells.size:
            self._put_region(state, entry, region, cells)

    def _put_region(
        self,
        state: DatasetState,
        entry: ArrayEntry,
        region: Region,
        cells: NDArray[Any],
        taken: NDArray[np.bool_] | None = None,
    ) -> None:
        """Stage the cells of a box, (*box), where `taken`, (*box), says so; all where it is None."""
        cell = entry.schema.datatype.cell

        def read_chunk(row: int) -> NDArray[Any]:
            corner, extent = chunk_box(entry.schema, int(region.chunk[row]))
            found = self._read_box(entry, state.identity, corner, extent).reshape(-1)
            return found if cell is None else found.view(cell)

        # An array that no other handle can write to needs no note of which cells were written here.
        shared = not state.new and entry.generation != self._view.datasets.generation
        coordinate = state.is_coordinate(entry)
        self._pending.put_region(
            entry, state.identity, region, cells, read_chunk, shared=shared, coordinate=coordinate, taken=taken
        )

    def write_stacked(self, array: str, names: Sequence[str], data: NDArray[Any], schema: ArraySchema) -> None:
        """Define an array in many datasets and write the rows of `data` to it, all of it or nothing."""
        with self._view.locks.changing:
            cells, selection = self._check_bulk(array, names, data, schema)
            for entry, rows in self._view.datasets.define_many(names, array, schema):
                if cells.size:
                    every = len(rows) == len(names)
                    self._pending.put_stack(entry, selection.ids[rows], cells if every else cells[rows])
            self._view.changed()

    def write_ragged(
        self,
        array: str,
        names: Sequence[str],
        values: NDArray[Any],
        schemas: Sequence[ArraySchema],
        number: NDArray[np.int64],
    ) -> None:
        """Define an array in N datasets and write `values` to them, one after another, all of it or nothing.

        `number` (N,) tells which of `schemas`, which differ in the length of the first axis, each array gets.
        """
        with self._view.locks.changing:
            cells, selection = self._check_bulk(array, names, values, schemas[0])
            generations = np.empty(len(names), np.int64)
            entries: list[ArrayEntry] = []
            order = np.argsort(number, kind="stable")
            for some in equal_runs(number[order]):
                mine = order[some]
                own, schema = [names[at] for at in mine.tolist()], schemas[len(entries)]
                defined = self._view.datasets.define_many(own, array, schema)
                entries.append(defined[0][0])
                for entry, rows in defined:
                    generations[mine[rows]] = entry.generation
            if cells.size:
                self._pending.put_rows(Rows(entries, number, selection.ids, generations), cells)
            self._view.changed()

    def _check_bulk(
        self, array: str, names: Sequence[str], data: NDArray[Any], schema: ArraySchema
    ) -> tuple[NDArray[Any], ArraySelection]:
        """Return `data` as cells of the stored dtype, and the datasets, which must exist and lack the array."""
        check_name("array", array)
        cells = coerce_cells(data, schema, array)
        if len(set(names)) != len(names):
            raise InvalidValueError("dataset_names holds a name more than once")
        selection = self._view.datasets.arrays(array, names)
        if (selection.ids < 0).any():
            name = names[int(np.argmax(selection.ids < 0))]
            raise DatasetNotFoundError(f"there is no dataset {name!r} in the store")
        if len(selection.present):
            name = names[int(selection.present[0])]
            raise ArrayExistsError(f"dataset {name!r} has an array {array!r} already; delete it first")
        return cells, selection


def _empty_box(shape: tuple[int, ...], dtype: np.dtype[Any], array: str) -> NDArray[Any]:
    """Return a box to assign to, or raise `TooLargeError`."""
    what = f"what is assigned to array {array!r}, of shape {list(shape)},"
    check_room(math.prod(shape) * (dtype.itemsize + 1), what, "assign fewer cells at a time")
    return np.empty(shape, dtype)
