"""The datasets of a handle: those of the committed catalog, and on top what was created, changed and deleted since.

Metadata only, no cells and no I/O. Not locked: the session's lock guards every call.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas.catalog.dataset_state import DatasetState, check_array_name
from atlas.catalog.declarations import Declarations
from atlas.catalog.meaning import AttributeGroups, check_one_meaning, differ
from atlas.catalog.selection import DatasetSelection, SelectionCache
from atlas.errors import (
    ArrayExistsError,
    DatasetExistsError,
    DatasetNotFoundError,
    InvalidTypeError,
    InvalidValueError,
)
from atlas.format.attribute_codec import encoded_text
from atlas.format.attribute_keys import array_keys, flatten_key, is_hidden, own_keys
from atlas.format.names import check_each, check_name, check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.id_shift import IdShift
    from atlas.catalog.selection import ArraySelection
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry, Layout, RowBatch
    from atlas.format.schema import ArraySchema

__all__ = ["Datasets"]

_T = TypeVar("_T")

_NO_ARRAYS: dict[str, ArrayEntry] = {}
"""Arrays of a new dataset. Shared, so that datasets that get the same arrays go on sharing them."""
_FEW_DATASETS = 8
"""Datasets that are looked at first: an attribute that differs at all mostly differs among these already."""


class Datasets:
    """All datasets of a handle."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        """What is committed."""
        self.edited: dict[str, DatasetState] = {}
        """Datasets that were created or changed since the last flush."""
        self.deleted: dict[str, int] = {}
        """Committed datasets that were deleted since the last flush: name and id."""
        self._next_id = catalog.next_id
        self._drafts: dict[str, DatasetState] = {}  # what is to replace datasets, by names that no dataset may have
        self._declarations = Declarations()
        self._selections = SelectionCache()

    @property
    def generation(self) -> int:
        """Generation of arrays that are declared in committed datasets before the next flush."""
        return self._declarations.generation

    @property
    def pending(self) -> bool:
        """Whether anything was created, changed or deleted since the last flush, or is about to be replaced."""
        return bool(self.edited or self.deleted or self._drafts)

    # Looking up

    def _row(self, name: str) -> int | None:
        return None if name in self.deleted else self.catalog.row_by_name.get(name)

    def exists(self, name: str) -> bool:
        """Return whether there is a dataset of a name; there is none of what is no str."""
        return isinstance(name, str) and (name in self.edited or self._row(name) is not None)

    def is_known(self, name: str) -> bool:
        """Return whether `find` would find a dataset."""
        return name in self.edited or (name in self.catalog.known_rows and name not in self.deleted)

    def find(self, name: str) -> tuple[int, dict[str, ArrayEntry]] | None:
        """Return the id of a dataset and its arrays, which must not be changed; None where there is none of that name.

        Needs no lock where `ChangeCount` tells that nothing changed meanwhile. None also where the names of the catalog
        were not mapped yet: `state` does that.
        """
        state = self.edited.get(name)
        if state is not None:
            return state.identity, state.arrays
        return None if name in self.deleted else self.catalog.find(name)

    def shown_attributes(self, name: str, show: Callable[[Any], _T]) -> dict[str, _T] | None:
        """Return what `show` returns for each attribute that is not hidden, by the text that its key is shown by.

        None where `find` returns None, and with as much care.
        """
        state = self.edited.get(name)
        if state is not None:
            encoded = state.attributes_now()
            return {flatten_key(key): show(value) for key, value in encoded.items() if not is_hidden(key)}
        return None if name in self.deleted else self.catalog.shown_attributes(name, show)

    def find_attributes(self, name: str) -> dict[AttributeKey, Any] | None:
        """Return the encoded attributes of a dataset, as a new dictionary.

        None where `find` returns None, and with as much care.
        """
        state = self.edited.get(name)
        if state is not None:
            return state.attributes_now()
        return None if name in self.deleted else self.catalog.find_attributes(name)

    def state(self, name: str) -> DatasetState:
        """Return a dataset. The caller must not change it: `edit` returns one to change.

        Raises `DatasetNotFoundError`.
        """
        if not isinstance(name, str):
            raise InvalidTypeError(
                f"a dataset name is a str, not {type(name).__name__} {name!r}; list_datasets() returns the names"
            )
        state = self.edited.get(name) or self._drafts.get(name)
        if state is not None:
            return state
        row = self._row(name)
        if row is None:
            raise DatasetNotFoundError(
                f"there is no dataset {name!r} in the store; list_datasets() returns those that exist, and "
                "create_dataset() creates one"
            )
        catalog = self.catalog
        return DatasetState(catalog.ids.item(row), name, catalog.arrays(row), catalog.attribute_loader(row), new=False)

    def edit(self, name: str) -> DatasetState:
        """Return a dataset for the caller to change."""
        self._selections.clear()
        state = self.edited.get(name) or self._drafts.get(name)
        if state is None:
            state = self.edited[name] = self.state(name)
        return state

    def names(self) -> list[str]:
        """Return the names of all datasets, in the order they were created."""
        names, _ = self.catalog.live_names(self.deleted.values())
        return names + [name for name, state in self.edited.items() if state.new]

    def __len__(self) -> int:
        """Return the number of datasets."""
        return len(self.catalog) - len(self.deleted) + sum(state.new for state in self.edited.values())

    def array_names(self) -> list[str]:
        """Return the distinct array names over all datasets, sorted."""
        catalog = self.catalog
        if self.deleted or any(not state.new for state in self.edited.values()):
            by_name = catalog.row_by_name
            hidden = [by_name[name] for name in self.deleted.keys() | self.edited.keys() if name in by_name]
            layouts = np.delete(catalog.layouts, hidden)
            used = [catalog.layout_table[index] for index in np.unique(layouts[layouts >= 0]).tolist()]
        else:
            used = catalog.live_layouts()
        names = {entry.name for layout in used for entry in layout}
        return sorted(names.union(*(state.arrays for state in self.edited.values())))

    def arrays(self, array: str, names: object) -> ArraySelection:
        """Look up one array in the datasets that the sequence `names` names; some of them may not exist.

        Raises `InvalidTypeError` where `names` is not a sequence of str, or `array` no str.
        """
        check_array_name(array)
        return self.select(names).arrays(self.catalog.index_of(array))

    def layouts(self, names: Sequence[str]) -> list[dict[str, ArrayEntry]]:
        """Return the distinct lists of arrays of datasets, that of the first dataset first.

        Raises `DatasetNotFoundError`, which names the first that does not exist.
        """
        selection = self.select(names)
        missing = selection.ids < 0
        if missing.any():
            self.state(names[int(np.argmax(missing))])
        return [
            {entry.name: entry for entry in layout} for layout in selection.distinct_layouts(self.catalog.layout_table)
        ]

    def array_attributes(self, selection: ArraySelection) -> AttributeGroups:
        """Return the distinct attributes of arrays, and those that are reserved, over datasets that all exist.

        Looked up once for a selection of datasets.
        """
        if "attributes" not in selection.shared:
            rows, pending = self._rows_of(selection), self._pending_of(selection)
            committed = np.flatnonzero(rows >= 0) if pending else slice(None)
            distinct, of = self.catalog.array_attributes(rows[committed])
            all_of = of
            if pending:
                all_of = np.empty(len(rows), np.int64)
                all_of[committed] = of
            for at, state in pending:
                all_of[at] = len(distinct)
                attributes = state.attributes_now()
                distinct.append({key: attributes[key] for key in array_keys(attributes)})
            first = np.zeros(1, np.int64)
            if len(distinct) > 1:
                # Of several tables, and of what is pending, equal ones are found only by their values.
                numbers: dict[str, int] = {}
                number_of = np.array(
                    [numbers.setdefault(encoded_text(found), at) for at, found in enumerate(distinct)], np.int64
                )
                used, first, all_of = np.unique(number_of[all_of], return_index=True, return_inverse=True)
                distinct = [distinct[number] for number in used.tolist()]
            selection.shared["attributes"] = AttributeGroups(distinct, first, all_of)
        found: AttributeGroups = selection.shared["attributes"]
        return found

    def own_attributes(self, selection: ArraySelection) -> dict[AttributeKey, list[Any]]:
        """Return the distinct encoded values of each attribute that can be of no array, over datasets that all exist.

        In the order of the first dataset. Of an attribute that means different things in the first few datasets, only
        their values are returned. Looked up once for a selection of datasets.
        """
        if "own" not in selection.shared:
            rows, pending = self._rows_of(selection), self._pending_of(selection)
            few = [
                self.catalog.encoded_attributes(row) if row >= 0 else self.state(name).attributes_now()
                for name, row in zip(selection.names[:_FEW_DATASETS], rows[:_FEW_DATASETS].tolist(), strict=True)
            ]
            edited = [state.attributes_now() for _, state in pending]
            first = _by_text([(key, [some[key]]) for some in few for key in own_keys(some)])
            differing = {text: part for text, part in first.items() if differ(part[1])}
            parts = [
                *((key, []) for key in own_keys(few[0])),
                *differing.values(),
                *self.catalog.attributes_by_key(rows[rows >= 0], differing),
                *((key, [some[key]]) for some in edited for key in own_keys(some)),
            ]
            selection.shared["own"] = dict(_by_text(parts).values())
        shared: dict[AttributeKey, list[Any]] = selection.shared["own"]
        return shared

    def _rows_of(self, selection: ArraySelection) -> NDArray[np.int64]:
        """Return the rows of a selection, which another thread may have moved the handle away from.

        Raises `DatasetNotFoundError` where one of its datasets is gone since.
        """
        if selection.numbering is self.catalog.numbering:
            return selection.rows
        now = self._look_up(selection.names)
        if (now.ids < 0).any():
            self.state(selection.names[int(np.argmax(now.ids < 0))])
        return now.rows

    def _pending_of(self, selection: ArraySelection) -> list[tuple[int, DatasetState]]:
        """Return the positions and states of those datasets of a selection that are pending."""
        if not self.edited:
            return []
        return [(at, self.edited[name]) for at, name in enumerate(selection.names) if name in self.edited]

    def check_one_meaning(self, selection: ArraySelection) -> None:
        """Raise `InvalidValueError` where the arrays of a selection mean different things. See `catalog.meaning`."""
        if selection.array not in selection.shared.setdefault("alike", set()):
            check_one_meaning(selection, self.array_attributes(selection))
            selection.shared["alike"].add(selection.array)

    def select(self, names: object) -> DatasetSelection:
        """Look up the datasets that the sequence `names` names; some of them may not exist.

        Raises `InvalidTypeError` where `names` is not a sequence of str.
        """
        wanted = names if type(names) is list else check_names("dataset_names", names)
        selection = self._selections.find(wanted)
        if selection is None:
            # The caller may change its list later: the selection keeps a copy.
            selection = self._look_up(check_names("dataset_names", wanted))
            self._selections.add(selection)
        return selection

    def _look_up(self, names: list[str]) -> DatasetSelection:
        catalog = self.catalog
        rows = catalog.find_rows(names, self.deleted.values())
        missing = rows < 0
        if len(catalog.ids):
            layouts = catalog.layouts[rows].astype(np.int64)
            # Rows of deleted datasets have no layout. A handle may hold such rows where another writer has committed.
            missing |= layouts < 0
            ids = np.where(missing, -1, catalog.ids[rows])
            layouts[missing] = rows[missing] = -1
        else:
            ids, layouts = rows.copy(), rows.copy()
        pending: list[Layout] = []
        if self.edited and not self.edited.keys().isdisjoint(names):
            found = list(map(self.edited.get, names))
            at = [position for position, state in enumerate(found) if state is not None]
            states = [state for state in found if state is not None]
            distinct = {id(state.arrays): state.arrays for state in states}
            numbers = {key: len(catalog.layout_table) + number for number, key in enumerate(distinct)}
            pending = [tuple(arrays.values()) for arrays in distinct.values()]
            ids[at], rows[at] = [state.identity for state in states], -1
            layouts[at] = [numbers[id(state.arrays)] for state in states]
        return DatasetSelection(names, ids, rows, layouts, pending, catalog.numbering)

    def name_of(self, identity: int) -> str:
        """Return the name of the dataset with an id, for messages."""
        for state in self.edited.values():
            if state.identity == identity:
                return state.name
        return self.catalog.name_of(identity)

    # Changing

    def create(self, name: str) -> DatasetState:
        """Create a dataset, or raise `DatasetExistsError` or `InvalidNameError`."""
        self._check_new(name)
        return self._add(name)

    def _check_new(self, name: str) -> None:
        check_name("dataset", name)
        if name in self.edited or self._row(name) is not None:
            raise DatasetExistsError(
                f"there is a dataset {name!r} already; open it with open_dataset(), put another in its place with "
                "replace_dataset(), or call delete_dataset() first"
            )

    def _add(self, name: str) -> DatasetState:
        self._selections.clear()
        state = self.edited[name] = DatasetState(self._next_id, name, _NO_ARRAYS, {}, new=True)
        self._next_id += 1
        return state

    def create_many(self, names: Sequence[str]) -> None:
        """Create many datasets, or raise as `create` does and create none."""
        check_each("dataset", list(names))
        if not (self.edited.keys().isdisjoint(names) and self.catalog.row_by_name.keys().isdisjoint(names)):
            for name in names:
                self._check_new(name)
        if len(set(names)) != len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InvalidValueError(f"names holds {twice!r} more than once; name each dataset once")
        for name in names:
            self._add(name)

    def delete(self, name: str) -> DatasetState:
        """Delete a dataset and return its last state, or raise `DatasetNotFoundError`."""
        state = self.state(name)
        self._selections.clear()
        self.edited.pop(name, None)
        if not state.new:
            self.deleted[name] = state.identity
        return state

    def begin_draft(self, name: str) -> str:
        """Begin what is to replace a dataset, and return the name that `state` and `edit` know it by.

        Nothing else shows it. Raises `DatasetNotFoundError`.
        """
        self.state(name)
        draft = f"/{self._next_id}"
        self._drafts[draft] = DatasetState(self._next_id, name, _NO_ARRAYS, {}, new=True)
        self._next_id += 1
        return draft

    def pop_draft(self, draft: str) -> DatasetState | None:
        """Forget a draft and return it; None where it has replaced its dataset."""
        return self._drafts.pop(draft, None)

    def pop_drafts(self) -> list[DatasetState]:
        """Forget all drafts and return them."""
        drafts, self._drafts = list(self._drafts.values()), {}
        return drafts

    def replace(self, name: str, draft: str) -> tuple[DatasetState, DatasetState, DatasetState]:
        """Let a draft take the place of a dataset; return that dataset, the draft and what the dataset is now.

        The dataset keeps its id, which is its place among the others. Raises `DatasetNotFoundError`, and keeps the
        draft then.
        """
        before = self.state(name)
        made = self._drafts.pop(draft)
        arrays = made.arrays if before.new else self._declarations.anew(made.arrays, before.arrays)
        after = DatasetState(before.identity, name, arrays, made.attributes_now(), new=before.new)
        after.replaced, after.coordinates = not before.new, made.coordinates
        self._selections.clear()
        self.edited[name] = after
        return before, made, after

    def restore(self, name: str) -> DatasetState:
        """Forget how a committed dataset was changed, and return its last state."""
        self._selections.clear()
        return self.edited.pop(name)

    def set_attribute(self, dataset: str, key: AttributeKey, value: object) -> None:
        """Set an attribute, in the position of the one that is shown alike, if there is one."""
        state = self.edited.get(dataset) or self.edit(dataset)
        state.set_attribute(key, value)
        self._selections.clear()

    def set_attributes(self, dataset: str, values: Mapping[AttributeKey, object]) -> None:
        """Set many attributes likewise. Raises `DatasetNotFoundError`."""
        self.edit(dataset).set_attributes(values)

    def define(self, dataset: str, schemas: Mapping[str, ArraySchema]) -> None:
        """Add arrays to a dataset, all of them or none. Raises `ArrayExistsError` or `InvalidNameError`."""
        state = self.state(dataset)
        for array in schemas:
            check_name("array", array)
            if array in state.arrays:
                raise ArrayExistsError(f"dataset {dataset!r} has an array {array!r} already; call delete_array() first")
        arrays = self.edit(dataset).own_arrays()
        for array, schema in schemas.items():
            arrays[array] = self._declarations.entry(array, schema, new=state.new)

    def entries_of(
        self, selection: ArraySelection, array: str, schema: ArraySchema
    ) -> list[tuple[ArrayEntry, NDArray[np.int64]]]:
        """Return the entries that `define_many` would add to a selection, each with the positions of its datasets."""
        new = selection.ids >= self.catalog.next_id
        return [
            (self._declarations.entry(array, schema, new=kind), np.flatnonzero(new == kind))
            for kind in np.unique(new).tolist()
        ]

    def define_many(self, names: Sequence[str], array: str, schema: ArraySchema) -> None:
        """Add an array to many datasets, which must exist and must not have it."""
        check_name("array", array)
        # Datasets that were created together share a dictionary of arrays. They share the new one too.
        extended: dict[tuple[int, bool], tuple[dict[str, ArrayEntry], dict[str, ArrayEntry]]] = {}
        before, new, after = None, False, _NO_ARRAYS
        for name in names:
            state = self.edited.get(name) or self.edit(name)
            if state.arrays is not before or state.new is not new:
                before, new = state.arrays, state.new
                key = (id(before), new)
                if key not in extended:
                    extended[key] = before, before | {array: self._declarations.entry(array, schema, new=new)}
                after = extended[key][1]
            state.arrays, state.shared = after, True
        self._selections.clear()

    # Flushing

    @property
    def next_id(self) -> int:
        """Id that the next new dataset gets."""
        return self._next_id

    def rebase_on_own_commit(self, catalog: Catalog, created: Iterable[RowBatch], shift: IdShift) -> None:
        """Keep what is pending on top of a commit that holds all that was pending when it was made.

        `catalog` is the version of that commit. `created` are its new datasets, under the ids that `shift` gave
        them.
        """
        self.shift_ids(shift)
        for state in self.edited.values():
            state.new = catalog.row_by_id(state.identity) is None
        deleted = {name: id_ for name, id_ in self.deleted.items() if catalog.row_by_id(id_) is not None}
        for rows in created:
            for name, identity in zip(rows.names, rows.ids.tolist(), strict=True):
                now = self.edited.get(name)
                if identity >= shift.first + shift.by and (now is None or now.identity != identity):  # deleted since
                    deleted[name] = identity
        self.move_to(catalog, self.edited.values(), deleted)
        self._declarations.renew()  # other writers can write to the arrays that were declared so far

    def renew_generation(self) -> tuple[int, int]:
        """Give arrays that were declared in committed datasets another generation; return the old and the new one."""
        before = self.generation
        self._declarations.renew()
        for state in self.edited.values():
            if not state.new and any(entry.generation == before for entry in state.arrays.values()):
                state.arrays, state.shared = self._declarations.renewed(state.arrays, before), False
        self._selections.clear()
        return before, self.generation

    def shift_ids(self, shift: IdShift) -> None:
        """Raise the ids of new datasets."""
        for state in self.edited.values():
            state.identity = shift.apply_one(state.identity)

    def move_to(self, catalog: Catalog, edited: Iterable[DatasetState], deleted: dict[str, int]) -> None:
        """Show another version, with `edited` and `deleted` as what is pending on top of it."""
        self.catalog, self.deleted = catalog, deleted
        self.edited = {state.name: state for state in edited}
        self._selections.clear()
        self._next_id = max([catalog.next_id, *(state.identity + 1 for state in self.edited.values())])
        if self.edited:
            self._declarations.forget_entries()
        else:
            self._declarations.renew()


def _by_text(parts: Iterable[tuple[AttributeKey, list[Any]]]) -> dict[str, tuple[AttributeKey, list[Any]]]:
    """Return the values of each attribute by its text, with its first key.

    One attribute may have been set by two calls, which keep its name differently.
    """
    found: dict[str, tuple[AttributeKey, list[Any]]] = {}
    for key, values in parts:
        found.setdefault(flatten_key(key), (key, []))[1].extend(values)
    return found
