"""Datasets as a handle sees them: the committed catalog with what was created, changed and deleted since.

Metadata only, no arrays. Not locked: the store's lock guards every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.catalog import RowBuilder
from atlas.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidTypeError,
    InvalidValueError,
)
from atlas.format.names import check_name
from atlas.format.registry import ArrayEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.catalog import Catalog
    from atlas.format.attributes import AttributeKey
    from atlas.format.registry import RowBatch
    from atlas.format.schema import ArraySchema

__all__ = ["Arrays", "DatasetState", "Datasets"]


class DatasetState:
    """One dataset."""

    __slots__ = ("arrays", "attributes", "identity", "name", "new")

    def __init__(
        self, identity: int, name: str, arrays: dict[str, ArrayEntry], attributes: dict[AttributeKey, Any], *, new: bool
    ) -> None:
        self.identity = identity
        """Its id, which no other dataset ever has."""
        self.name = name
        """Its name."""
        self.arrays = arrays
        """Its arrays in their order."""
        self.attributes = attributes
        """Its attributes in their order, as encoded values."""
        self.new = new
        """Whether it was created since the last flush."""

    def array(self, name: str) -> ArrayEntry:
        """Return one of its arrays, or raise `ArrayNotFoundError`."""
        entry = self.arrays.get(name)
        if entry is None:
            raise ArrayNotFoundError(
                f"dataset {self.name!r} has no array {name!r}; it has {', '.join(map(repr, self.arrays)) or 'none'}"
            )
        return entry


@dataclass(frozen=True, slots=True)
class Arrays:
    """One array name in many datasets, in columns."""

    ids: NDArray[np.int64]
    """Dataset id of each name asked for, -1 where there is no such dataset."""
    entry: NDArray[np.int64]
    """Index in `entries` of each, -1 where the dataset or its array is missing."""
    entries: list[ArrayEntry]
    """The distinct entries."""

    def groups(self) -> Iterator[tuple[ArraySchema, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each distinct schema with the positions of its arrays and their generations."""
        at = np.flatnonzero(self.entry >= 0)
        if not len(at):
            return
        schemas: dict[ArraySchema, int] = {}
        schema = np.array([schemas.setdefault(entry.schema, len(schemas)) for entry in self.entries], np.int64)
        generation = np.array([entry.generation for entry in self.entries], np.int64)
        entry = self.entry[at]
        group = schema[entry]
        # Sorted once: fleets of profiles may have as many schemas as datasets.
        order = np.argsort(group, kind="stable") if (group != group[0]).any() else np.arange(len(at))
        cuts = np.flatnonzero(np.diff(group[order])) + 1
        distinct = list(schemas)
        for some in np.split(order, cuts):
            yield distinct[int(group[some[0]])], at[some], generation[entry[some]]


class Datasets:
    """All datasets of a handle."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        """What is committed."""
        self.touched: dict[str, DatasetState] = {}
        """Datasets created or changed since the last flush."""
        self.deleted: dict[str, int] = {}
        """Committed datasets that were deleted since the last flush: name and id."""
        self._next_id = catalog.next_id
        self._known: dict[str, DatasetState] = {}
        self._entries: dict[tuple[str, ArraySchema, int], ArrayEntry] = {}

    @property
    def pending(self) -> bool:
        """Whether anything was created, changed or deleted since the last flush."""
        return bool(self.touched or self.deleted)

    # Looking up

    def _row(self, name: str) -> int | None:
        return None if name in self.deleted else self.catalog.row_of.get(name)

    def exists(self, name: str) -> bool:
        """Return whether there is a dataset of that name."""
        return name in self.touched or self._row(name) is not None

    def state(self, name: str) -> DatasetState:
        """Return a dataset; what is returned must not be changed unless `touch` returned it.

        Raises `DatasetNotFoundError`.
        """
        if not isinstance(name, str):
            raise InvalidTypeError(f"a dataset name is text, not {type(name).__name__}: {name!r}")
        state = self.touched.get(name) or self._known.get(name)
        if state is not None:
            return state
        row = self._row(name)
        if row is None:
            raise DatasetNotFoundError(f"there is no dataset {name!r} in the store")
        catalog = self.catalog
        arrays = {entry.name: entry for entry in catalog.layout(row)}
        state = DatasetState(int(catalog.ids[row]), name, arrays, catalog.encoded_attributes(row), new=False)
        if len(self._known) >= 4096:
            self._known.clear()
        self._known[name] = state
        return state

    def touch(self, name: str) -> DatasetState:
        """Return a dataset that is about to be changed."""
        state = self.touched.get(name)
        if state is None:
            state = self.state(name)
            self._known.pop(name, None)
            state = DatasetState(state.identity, name, dict(state.arrays), dict(state.attributes), new=False)
            self.touched[name] = state
        return state

    def names(self) -> list[str]:
        """Return the names of all datasets, in the order they were created."""
        catalog = self.catalog
        if len(catalog.row_of) == len(catalog.names):
            names = catalog.names.copy()
        else:
            names = [catalog.names[row] for row in catalog.live_rows().tolist()]
        if self.deleted:
            names = [name for name in names if name not in self.deleted]
        return names + [name for name, state in self.touched.items() if state.new]

    def __len__(self) -> int:
        """Return the number of datasets."""
        return len(self.catalog) - len(self.deleted) + sum(state.new for state in self.touched.values())

    def array_names(self) -> list[str]:
        """Return the distinct array names over all datasets, sorted."""
        catalog = self.catalog
        if self.deleted or any(not state.new for state in self.touched.values()):
            hidden = [
                catalog.row_of[name] for name in self.deleted.keys() | self.touched.keys() if name in catalog.row_of
            ]
            layouts = np.delete(catalog.layouts, hidden)
            used = [catalog.layout_table[index] for index in np.unique(layouts[layouts >= 0]).tolist()]
        else:
            used = catalog.live_layouts()
        names = {entry.name for layout in used for entry in layout}
        return sorted(names.union(*(state.arrays for state in self.touched.values())))

    def arrays(self, array: str, names: Sequence[str]) -> Arrays:
        """Look one array up in many datasets."""
        catalog = self.catalog
        row_of = catalog.row_of
        try:
            rows = np.fromiter(map(row_of.__getitem__, names), np.int64, len(names))
        except KeyError:
            rows = np.array([row_of.get(name, -1) for name in names], np.int64)
        index, entries = catalog.entries_of(array)
        missing = rows < 0
        if len(catalog.ids):
            layouts = catalog.layouts[rows]
            # A handle that was beaten to a commit may hold rows of datasets that are gone; they have no layout.
            missing |= layouts < 0
            ids = np.where(missing, -1, catalog.ids[rows])
            entry = np.where(missing, -1, index[layouts]).astype(np.int64)
        else:
            ids, entry = rows.copy(), rows.copy()
        if self.pending:
            entries = list(entries)
            slots: dict[int, int] = {}
            for at, name in enumerate(names):
                state = self.touched.get(name)
                if state is None:
                    if name in self.deleted:
                        ids[at] = entry[at] = -1
                    continue
                ids[at], mine = state.identity, state.arrays.get(array)
                entry[at] = -1
                if mine is not None:
                    if id(mine) not in slots:
                        slots[id(mine)] = len(entries)
                        entries.append(mine)
                    entry[at] = slots[id(mine)]
        return Arrays(ids, entry, entries)

    def name_of(self, identity: int) -> str:
        """Return the name of the dataset with that id, for messages."""
        for state in self.touched.values():
            if state.identity == identity:
                return state.name
        row = int(np.searchsorted(self.catalog.ids, identity))
        return self.catalog.names[row] if row < len(self.catalog.names) else f"id {identity}"

    # Changing

    def create(self, name: str) -> DatasetState:
        """Create a dataset, or raise `DatasetExistsError` or `InvalidNameError`."""
        self._check_new(name)
        return self._add(name)

    def _check_new(self, name: str) -> None:
        check_name("dataset", name)
        if self.exists(name):
            raise DatasetExistsError(f"there is a dataset {name!r} already; open it, or delete it first")

    def _add(self, name: str) -> DatasetState:
        state = DatasetState(self._next_id, name, {}, {}, new=True)
        self._next_id += 1
        self.touched[name] = state
        return state

    def create_many(self, names: Sequence[str]) -> None:
        """Create many datasets, or raise as `create` does and create none."""
        for name in names:
            self._check_new(name)
        if len(set(names)) != len(names):
            raise InvalidValueError("names holds a name more than once")
        for name in names:
            self._add(name)

    def delete(self, name: str) -> DatasetState:
        """Delete a dataset and return what it was, or raise `DatasetNotFoundError`."""
        state = self.state(name)
        self.touched.pop(name, None)
        self._known.pop(name, None)
        if not state.new:
            self.deleted[name] = state.identity
        return state

    def define(self, dataset: str, array: str, schema: ArraySchema) -> ArrayEntry:
        """Add an array to a dataset and return it, or raise `ArrayExistsError` or `InvalidNameError`."""
        state = self.state(dataset)
        check_name("array", array)
        if array in state.arrays:
            raise ArrayExistsError(f"dataset {dataset!r} has an array {array!r} already; delete it first")
        key = (array, schema, 0 if state.new else self.catalog.version)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = ArrayEntry(*key)
        self.touch(dataset).arrays[array] = entry
        return entry

    # Flushing

    def row_batches(self) -> tuple[RowBatch, RowBatch]:
        """Return the rows of datasets that changed and of those that are new, each by ascending id."""
        changed, created = RowBuilder(), RowBuilder()
        for state in sorted(self.touched.values(), key=lambda state: state.identity):
            builder = created if state.new else changed
            builder.add(state.identity, state.name, tuple(state.arrays.values()), state.attributes)
        return changed.build(), created.build()

    @property
    def next_id(self) -> int:
        """Id that the next new dataset gets."""
        return self._next_id

    def settle(self) -> None:
        """Note that all that is pending has been committed, but keep it as pending."""
        for state in self.touched.values():
            state.new = state.new and state.name not in self.catalog.row_of
        self.deleted = {
            name: identity
            for name, identity in self.deleted.items()
            if name in self.catalog.row_of and int(self.catalog.ids[self.catalog.row_of[name]]) == identity
        }

    def committed(self) -> None:
        """Forget what was pending: the catalog has it now."""
        self.touched, self.deleted, self._known = {}, {}, {}
        self._next_id = self.catalog.next_id
