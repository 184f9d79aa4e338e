"""Changes of one open store in memory: datasets, arrays, attributes and cells. Nothing here reaches the store.

Every call takes the handle's locks, and none that small calls need while it encodes or the storage works. A call that
raises has changed nothing.
"""

from __future__ import annotations

import math
from itertools import chain, starmap
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.batches import equal_runs
from atlas.chunking.indexing import parse_index, plan_index
from atlas.chunking.regions import check_region, plan_region
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
from atlas.write.bulk_write import Rows, row_chunks, row_runs, stack_chunks, stack_runs
from atlas.write.coercion import broadcast_cells, cast_cells, coerce_cells
from atlas.write.encoding import PendingChunk
from atlas.write.region_write import RegionWrite
from atlas.write.splitting import one_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.dataset_state import DatasetState
    from atlas.catalog.selection import ArraySelection
    from atlas.catalog.view import StoreView
    from atlas.chunking.regions import Region
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.schema import ArraySchema
    from atlas.write.bulk_write import Chunk
    from atlas.write.encoding import ChunkRun
    from atlas.write.pending import PendingWrites
    from atlas.write.region_write import TakeReader
    from atlas.write.staging import EncodedRows

__all__ = ["Writer"]


class Writer:
    """Every change of one open store."""

    def __init__(self, view: StoreView, pending: PendingWrites, take_reader: TakeReader) -> None:
        self._view = view
        self._pending = pending
        self._take_reader = take_reader

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
        """Forget that a dataset was created or replaced since the last flush, with what is pending of it."""
        view = self._view
        with view.locks.changing:
            state = view.datasets.state(name)
            if state.new:
                self.delete_dataset(name)
                return
            if not state.replaced:
                raise DatasetExistsError(f"dataset {name!r} is flushed already; use delete_dataset")
            view.datasets.restore(name)
            self._pending.drop(state.identity, state.arrays)
            view.changed()

    def begin_replacement(self, name: str) -> str:
        """Begin what is to replace a dataset, and return the name to define, write and set attributes by.

        The caller must pass the gate `building` until `replace_dataset` or `discard_replacement` has returned.
        """
        with self._view.locks.changing:
            return self._view.datasets.begin_draft(name)

    def replace_dataset(self, name: str, draft: str) -> None:
        """Let what `begin_replacement` began take the place of a dataset and of what is pending of it."""
        view = self._view
        with view.locks.changing:
            before, made, after = view.datasets.replace(name, draft)
            self._pending.drop(before.identity, before.arrays)
            self._pending.move(made.identity, after.identity, after.arrays)
            view.changed()

    def discard_replacement(self, draft: str) -> None:
        """Forget what `begin_replacement` began, where it has replaced nothing yet."""
        with self._view.locks.changing:
            made = self._view.datasets.pop_draft(draft)
            if made is not None:
                self._pending.drop(made.identity, made.arrays)

    def renew(self) -> None:
        """Forget what threads of the parent were about to put in the place of datasets, in a forked child."""
        for made in self._view.datasets.pop_drafts():
            self._pending.drop(made.identity, made.arrays)

    # Attributes

    def set_attribute(self, dataset: str, key: AttributeKey, value: object) -> None:
        """Set an attribute to an encoded value, in the position of the one that is shown alike, if there is one.

        The key must have been checked.
        """
        view = self._view
        locks = view.locks
        if locks.read_only:
            locks.check_writable()
        # A lookup without a lock finds the attributes before or after, so this is no change that `ChangeCount` counts.
        # `acquire` takes half the time of a `with`, and datasets have tens of attributes.
        writing, state = locks.writing, locks.state
        writing.acquire()
        state.acquire()
        try:
            view.datasets.set_attribute(dataset, key, value)
        finally:
            state.release()
            writing.release()

    def set_attributes(self, dataset: str, values: Mapping[AttributeKey, object]) -> None:
        """Set many attributes, all of them or none; see `set_attribute`."""
        with self._view.locks.changing:
            self._view.datasets.set_attributes(dataset, values)

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

    def define_array(self, dataset: str, array: str, schema: ArraySchema) -> None:
        """Add an array to a dataset."""
        with self._view.locks.changing:
            self._view.datasets.define(dataset, {array: schema})
            self._view.changed()

    def define_arrays(self, dataset: str, schemas: Mapping[str, ArraySchema], coordinates: frozenset[str]) -> None:
        """Add arrays to a dataset that was created since the last flush.

        Many datasets are likely to have the same cells in `coordinates`.
        """
        datasets = self._view.datasets
        with self._view.locks.changing:
            datasets.define(dataset, schemas)
            datasets.edit(dataset).coordinates |= coordinates
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
        view, locks = self._view, self._view.locks
        locks.check_writable()
        while True:
            schema = view.array(dataset, array).schema
            cells = coerce_cells(data, schema, array)  # without a lock, as `data` may be read from anywhere
            if start is None:
                raise InvalidTypeError("start is a sequence of whole numbers, one a dimension, not None")
            whole = one_chunk(cells, schema, start, view.limits)
            if whole is not None:
                with locks.changing:
                    is_put = self._put_whole(view.datasets.state(dataset), array, schema, whole)
                    view.changed()
                if is_put:
                    break
                continue
            region = plan_region(schema, *check_region(schema.shape, start, cells.shape))
            if not cells.size or self._region_write((dataset, array), schema, region, cells).run():
                break
        self._bound_memory()

    def write_arrays(self, dataset: str, data: Mapping[str, NDArray[Any]]) -> None:
        """Write all cells of arrays; of small ones with one look at the dataset."""
        view = self._view
        view.locks.check_writable()
        whole: dict[str, tuple[ArraySchema, NDArray[Any]]] = {}
        left: list[str] = []
        for array, own in data.items():
            schema = view.array(dataset, array).schema
            cells = one_chunk(coerce_cells(own, schema, array), schema, [0] * own.ndim, view.limits)
            if cells is None:
                left.append(array)
            else:
                whole[array] = schema, cells
        with view.locks.changing:
            state = view.datasets.state(dataset)
            left += [array for array, made in whole.items() if not self._put_whole(state, array, *made)]
            view.changed()
        self._bound_memory()
        for array in left:
            self.write_array(dataset, array, [0] * data[array].ndim, data[array])

    def _put_whole(self, state: DatasetState, array: str, schema: ArraySchema, cells: NDArray[Any]) -> bool:
        """Stage an array of one chunk; False where it has got another schema, for which `cells` were not made.

        The caller must hold `changing`.
        """
        entry = state.array(array)
        if entry.schema is not schema and entry.schema != schema:
            return False
        chunk = PendingChunk(schema, entry.generation, cells, None, state.is_coordinate(entry))
        self._pending.put(array, state.identity, 0, chunk)
        return True

    def write_index(self, dataset: str, array: str, key: object, value: object) -> None:
        """Write `value`, broadcast as NumPy does, to the cells that the NumPy index `key` takes. See `ArrayView`."""
        view, name = self._view, (dataset, array)
        view.locks.check_writable()
        while True:
            schema = view.array(dataset, array).schema
            index = parse_index(key, schema)
            cells = broadcast_cells(cast_cells(value, schema, array), index.shape, array)
            if 0 in index.shape:
                return
            if index.box is not None:
                start, count = index.box
                data = _empty_box(count, cells.dtype, array)
                data[index.in_box] = cells
                region = plan_region(schema, *check_region(schema.shape, start, data.shape))
                write = self._region_write(name, schema, region, data)
            else:
                region, within = plan_index(index, schema)
                data = _empty_box(tuple(region.geometry.box.tolist()), cells.dtype, array)
                taken = np.zeros(data.shape, np.bool_)
                data[within], taken[within] = cells, True
                write = self._region_write(name, schema, region, data, taken)
            if write.run():
                break
        self._bound_memory()

    def _region_write(
        self,
        key: tuple[str, str],
        schema: ArraySchema,
        region: Region,
        cells: NDArray[Any],
        taken: NDArray[np.bool_] | None = None,
    ) -> RegionWrite:
        return RegionWrite(self._view, self._pending, self._take_reader, key, schema, region, cells, taken)

    def _bound_memory(self) -> None:
        """Encode and spill what waits where it is too much. The caller must hold no lock but the gate."""
        locks = self._view.locks
        if self._pending.is_full(locks.state):
            with locks.building.passing(), locks.encoding:
                self._pending.bound_memory(locks.state)

    def write_stacked(self, array: str, names: Sequence[str], data: NDArray[Any], schema: ArraySchema) -> None:
        """Define an array in many datasets and write the rows of `data` to it, all of it or nothing."""
        datasets, limits = self._view.datasets, self._view.limits

        def prepare(cells: NDArray[Any], selection: ArraySelection) -> tuple[Iterable[ChunkRun], Iterable[Chunk]]:
            parts = datasets.entries_of(selection, array, schema)
            every = [(entry, selection.ids[rows], cells if len(parts) == 1 else cells[rows]) for entry, rows in parts]
            if cells.dtype == object:
                return (), chain.from_iterable(starmap(stack_chunks, every))
            return chain.from_iterable(stack_runs(*part, limits) for part in every), ()

        def define() -> None:
            datasets.define_many(names, array, schema)

        self._write_bulk(array, names, data, schema, prepare, define)

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
        view = self._view

        def prepare(cells: NDArray[Any], selection: ArraySelection) -> tuple[Iterable[ChunkRun], Iterable[Chunk]]:
            generations = np.empty(len(names), np.int64)
            for entry, rows in view.datasets.entries_of(selection, array, schemas[0]):
                generations[rows] = entry.generation
            rows_of = Rows(array, schemas, number, selection.ids, generations)
            if cells.dtype == object:
                return (), row_chunks(rows_of, cells, view.limits)
            return row_runs(rows_of, cells, view.limits), ()

        def define() -> None:
            order = np.argsort(number, kind="stable")
            for some, schema in zip(equal_runs(number[order]), schemas, strict=False):  # no datasets: a schema of none
                view.datasets.define_many([names[at] for at in order[some].tolist()], array, schema)

        self._write_bulk(array, names, values, schemas[0], prepare, define)

    def _write_bulk(
        self,
        array: str,
        names: Sequence[str],
        data: NDArray[Any],
        schema: ArraySchema,
        prepare: Callable[[NDArray[Any], ArraySelection], tuple[Iterable[ChunkRun], Iterable[Chunk]]],
        define: Callable[[], None],
    ) -> None:
        """Encode what `prepare` makes of the cells and the selection, then call `define` and show all at once.

        `prepare` returns runs to encode, and chunks to stage.
        """
        view, locks, pending = self._view, self._view.locks, self._pending
        locks.check_writable()
        check_name("array", array)
        cells = coerce_cells(data, schema, array)
        ids: NDArray[np.int64] | None = None
        encoded: list[EncodedRows] = []
        chunks: list[Chunk] = []
        with locks.building.passing(), locks.encoding:
            while True:
                with locks.changing:
                    selection = self._select_bulk(array, names)
                    if ids is not None and np.array_equal(ids, selection.ids):
                        define()
                        if cells.size:
                            pending.staging(array).replace(encoded)
                            for dataset, chunk, cells_of in chunks:
                                pending.put(array, dataset, chunk, cells_of)
                        view.changed()
                        break
                    ids, staging = selection.ids, pending.staging(array)
                    runs, some = prepare(cells, selection)
                if cells.size:
                    encoded = list(staging.encode_runs(runs, pending.spill_excess))
                    chunks = list(some)
        self._bound_memory()

    def _select_bulk(self, array: str, names: Sequence[str]) -> ArraySelection:
        """Return the datasets of a bulk write, which must exist and lack the array. The caller must hold `state`."""
        if len(set(names)) != len(names):
            raise InvalidValueError("dataset_names holds a name more than once")
        selection = self._view.datasets.arrays(array, names)
        if (selection.ids < 0).any():
            name = names[int(np.argmax(selection.ids < 0))]
            raise DatasetNotFoundError(f"there is no dataset {name!r} in the store")
        if len(selection.present):
            name = names[int(selection.present[0])]
            raise ArrayExistsError(f"dataset {name!r} has an array {array!r} already; delete it first")
        return selection


def _empty_box(shape: tuple[int, ...], dtype: np.dtype[Any], array: str) -> NDArray[Any]:
    """Return a box to assign to, or raise `TooLargeError`."""
    what = f"what is assigned to array {array!r}, of shape {list(shape)},"
    check_room(math.prod(shape) * (dtype.itemsize + 1), what, "assign fewer cells at a time")
    return np.empty(shape, dtype)
