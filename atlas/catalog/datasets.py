"""Datasets as a handle sees them: the committed catalog with what was created, changed and deleted since.

Metadata only, no arrays. Not locked: the store's lock guards every call.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.column_builder import build_rows
from atlas.catalog.selection import DatasetSelection
from atlas.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidTypeError,
    InvalidValueError,
)
from atlas.format.dataset_columns import ArrayEntry
from atlas.format.names import check_each, check_name, check_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.id_shift import IdShift
    from atlas.catalog.selection import ArraySelection
    from atlas.format.attributes import AttributeKey
    from atlas.format.dataset_columns import Layout, RowBatch
    from atlas.format.schema import ArraySchema

__all__ = ["DatasetState", "Datasets", "state_rows"]

_NO_ARRAYS: dict[str, ArrayEntry] = {}
"""What new datasets begin with; shared, so that those which are built alike go on sharing."""
_ROSTERS = 4
"""Lists of names whose datasets are remembered."""


class DatasetState:
    """One dataset."""

    __slots__ = ("arrays", "attributes", "identity", "name", "new", "shared")

    def __init__(
        self, identity: int, name: str, arrays: dict[str, ArrayEntry], attributes: dict[AttributeKey, Any], *, new: bool
    ) -> None:
        self.identity = identity
        """Its id, which no other dataset ever has."""
        self.name = name
        """Its name."""
        self.arrays = arrays
        """Its arrays in their order; to change them, take `own_arrays`."""
        self.shared = True
        """Whether other datasets have the same dictionary of arrays."""
        self.attributes = attributes
        """Its attributes in their order, as encoded values."""
        self.new = new
        """Whether it was created since the last flush."""

    def own_arrays(self) -> dict[str, ArrayEntry]:
        """Return its arrays, from now on in a dictionary of its own."""
        if self.shared:
            self.arrays, self.shared = dict(self.arrays), False
        return self.arrays

    def array(self, name: str) -> ArrayEntry:
        """Return one of its arrays, or raise `ArrayNotFoundError`."""
        entry = self.arrays.get(name)
        if entry is None:
            raise ArrayNotFoundError(
                f"dataset {self.name!r} has no array {name!r}; it has {', '.join(map(repr, self.arrays)) or 'none'}"
            )
        return entry


class Datasets:
    """All datasets of a handle."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        """What is committed."""
        self.touched: dict[str, DatasetState] = {}
        """Datasets created or changed since the last flush."""
        self.deleted: dict[str, int] = {}
        """Committed datasets that were deleted since the last flush: name and id."""
        self.generation = _new_generation()
        """Generation of arrays that are declared in committed datasets before the next flush."""
        self._next_id = catalog.next_id
        self._known: dict[str, DatasetState] = {}
        self._entries: dict[tuple[str, ArraySchema, int], ArrayEntry] = {}
        self._rosters: list[DatasetSelection] = []

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
        identity, attributes = int(catalog.ids[row]), catalog.encoded_attributes(row)
        state = DatasetState(identity, name, catalog.arrays(row), attributes, new=False)
        if len(self._known) >= 4096:
            self._known.clear()
        self._known[name] = state
        return state

    def touch(self, name: str) -> DatasetState:
        """Return a dataset that is about to be changed."""
        self._rosters = []
        state = self.touched.get(name)
        if state is None:
            state = self.state(name)
            self._known.pop(name, None)
            state = DatasetState(state.identity, name, state.arrays, dict(state.attributes), new=False)
            self.touched[name] = state
        return state

    def names(self) -> list[str]:
        """Return the names of all datasets, in the order they were created."""
        catalog = self.catalog
        if len(catalog) == len(catalog.names):
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

    def arrays(self, array: str, names: object) -> ArraySelection:
        """Look one array up in the datasets whose names are the sequence `names`; some may be missing.

        Raises `InvalidTypeError` where `names` is no sequence of texts.
        """
        return self._roster(names).arrays(self.catalog.index_of(array))

    def _roster(self, names: object) -> DatasetSelection:
        wanted = names if type(names) is list else check_names("dataset_names", names)
        # Comparing a list with one that was looked up costs a hundredth of looking its names up.
        for known in self._rosters:
            if wanted == known.names:
                return known
        # A list of the caller's may change later: what is remembered is a copy.
        roster = self._look_up(check_names("dataset_names", wanted))
        self._rosters = [roster, *self._rosters[: _ROSTERS - 1]]
        return roster

    def _look_up(self, names: list[str]) -> DatasetSelection:
        catalog = self.catalog
        rows = catalog.rows_of(names)
        missing = rows < 0
        if len(catalog.ids):
            layouts = catalog.layouts[rows].astype(np.int64)
            # A handle that was beaten to a commit may hold rows of datasets that are gone; they have no layout.
            missing |= layouts < 0
            ids = np.where(missing, -1, catalog.ids[rows])
            layouts[missing] = -1
        else:
            ids, layouts = rows, rows.copy()
        if self.deleted and not self.deleted.keys().isdisjoint(names):
            gone = [at for at, name in enumerate(names) if name in self.deleted]
            ids[gone] = layouts[gone] = -1
        pending: list[Layout] = []
        if self.touched and not self.touched.keys().isdisjoint(names):
            found = list(map(self.touched.get, names))
            at = [position for position, state in enumerate(found) if state is not None]
            states = [state for state in found if state is not None]
            distinct = {id(state.arrays): state.arrays for state in states}
            numbers = {key: len(catalog.layout_table) + number for number, key in enumerate(distinct)}
            pending = [tuple(arrays.values()) for arrays in distinct.values()]
            ids[at] = [state.identity for state in states]
            layouts[at] = [numbers[id(state.arrays)] for state in states]
        return DatasetSelection(names, ids, layouts, pending)

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
        self._rosters = []
        state = DatasetState(self._next_id, name, _NO_ARRAYS, {}, new=True)
        self._next_id += 1
        self.touched[name] = state
        return state

    def create_many(self, names: Sequence[str]) -> None:
        """Create many datasets, or raise as `create` does and create none."""
        check_each("dataset", list(names))
        if not (self.touched.keys().isdisjoint(names) and self.catalog.row_of.keys().isdisjoint(names)):
            for name in names:
                self._check_new(name)
        if len(set(names)) != len(names):
            raise InvalidValueError("names holds a name more than once")
        for name in names:
            self._add(name)

    def delete(self, name: str) -> DatasetState:
        """Delete a dataset and return what it was, or raise `DatasetNotFoundError`."""
        state = self.state(name)
        self._rosters = []
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
        entry = self._entry(array, schema, state)
        self.touch(dataset).own_arrays()[array] = entry
        return entry

    def _entry(self, array: str, schema: ArraySchema, state: DatasetState) -> ArrayEntry:
        key = (array, schema, 0 if state.new else self.generation)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = ArrayEntry(*key)
        return entry

    def define_many(self, names: Sequence[str], array: str, schema: ArraySchema) -> list[tuple[ArrayEntry, list[int]]]:
        """Add an array to many datasets, which must be there and lack it.

        Returns the entries they got, each with the positions of the datasets that did.
        """
        check_name("array", array)
        defined: dict[bool, tuple[ArrayEntry, list[int]]] = {}
        # Datasets that were made together share a dictionary of arrays, and share the one that takes its place.
        grown: dict[tuple[int, bool], tuple[dict[str, ArrayEntry], dict[str, ArrayEntry]]] = {}
        before, new, after, positions = None, False, _NO_ARRAYS, list[int]()
        for at, name in enumerate(names):
            state = self.touched.get(name) or self.touch(name)
            if state.arrays is not before or state.new is not new:
                before, new = state.arrays, state.new
                if new not in defined:
                    defined[new] = self._entry(array, schema, state), []
                entry, positions = defined[new]
                key = (id(before), new)
                if key not in grown:
                    grown[key] = before, before | {array: entry}
                after = grown[key][1]
            positions.append(at)
            state.arrays, state.shared = after, True
        self._rosters = []
        return list(defined.values())

    # Flushing

    @property
    def next_id(self) -> int:
        """Id that the next new dataset gets."""
        return self._next_id

    def note_committed(self, catalog: Catalog, created: Iterable[RowBatch], shift: IdShift) -> None:
        """Note that all that was pending at some moment has been committed, but keep it as pending.

        `catalog` has it. `created` are the datasets that were new, under the ids that `shift` gave them.
        """
        self.shift(shift)
        for state in self.touched.values():
            state.new = catalog.row_with(state.identity) is None
        deleted = {name: id_ for name, id_ in self.deleted.items() if catalog.row_with(id_) is not None}
        for rows in created:
            for name, identity in zip(rows.names, rows.ids.tolist(), strict=True):
                now = self.touched.get(name)
                if identity >= shift.first + shift.by and (now is None or now.identity != identity):  # deleted since
                    deleted[name] = identity
        self.move_to(catalog, self.touched.values(), deleted)
        self.generation = _new_generation()  # others can write to what was declared so far

    def redeclare(self) -> tuple[int, int]:
        """Declare anew what was declared in committed datasets; return the generation it had and the one it has."""
        before, self.generation = self.generation, _new_generation()
        for state in self.touched.values():
            if not state.new and any(entry.generation == before for entry in state.arrays.values()):
                state.arrays, state.shared = (
                    {
                        name: replace(entry, generation=self.generation) if entry.generation == before else entry
                        for name, entry in state.arrays.items()
                    },
                    False,
                )
        self._rosters, self._entries = [], {}
        return before, self.generation

    def shift(self, shift: IdShift) -> None:
        """Raise the ids of new datasets."""
        for state in self.touched.values():
            state.identity = shift.apply_one(state.identity)

    def move_to(self, catalog: Catalog, touched: Iterable[DatasetState], deleted: dict[str, int]) -> None:
        """Show another version, with `touched` and `deleted` as what is pending on top of it."""
        self.catalog, self.deleted = catalog, deleted
        self.touched = {state.name: state for state in touched}
        self._known, self._rosters, self._entries = {}, [], {}
        self._next_id = max([catalog.next_id, *(state.identity + 1 for state in self.touched.values())])
        if not self.touched:
            self.generation = _new_generation()


def _new_generation() -> int:
    """Return a number that no other declaration of an array has had, whoever made it: 62 random bits."""
    return secrets.randbits(62) | 1


def state_rows(states: list[DatasetState]) -> RowBatch:
    """Return datasets as rows."""
    states = sorted(states, key=lambda state: state.identity)
    # Equal dictionaries may come more than once; it is shared and empty ones coming once that saves time.
    arrays = {id(state.arrays): state.arrays for state in states}
    attributes = {id(state.attributes) if state.attributes else 0: state.attributes for state in states}
    layout_of, set_of = ({key: at for at, key in enumerate(distinct)} for distinct in (arrays, attributes))
    return build_rows(
        np.array([state.identity for state in states], np.int64),
        [state.name for state in states],
        [tuple(some.values()) for some in arrays.values()],
        np.array([layout_of[id(state.arrays)] for state in states], np.int64),
        list(attributes.values()),
        np.array([set_of[id(state.attributes) if state.attributes else 0] for state in states], np.int64),
    )
