"""The datasets that a bulk read names, looked up once: several variables of one fleet are read in a row.

Not locked: the store's lock guards every call; what was returned does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from atlas.format.dataset_columns import ArrayEntry, Layout
    from atlas.format.schema import ArraySchema

__all__ = ["ArrayIndex", "ArraySelection", "DatasetSelection", "SchemaGroup"]


class ArrayIndex:
    """The entries that one array name has in a list of layouts, which may grow at its end."""

    def __init__(self, array: str) -> None:
        self.array = array
        """The array name."""
        self.entry = np.empty(0, np.int64)
        """Index in `entries` for each layout, -1 where it lacks the array."""
        self.entries: list[ArrayEntry] = []
        """One for each layout that has the array."""
        self.schema = np.empty(0, np.int64)
        """Index in `schemas` of each entry's schema."""
        self.generation = np.empty(0, np.int64)
        """Generation of each entry."""
        self.schemas: list[ArraySchema] = []
        """The distinct schemas."""
        self._number: dict[ArraySchema, int] = {}

    def extend(self, layouts: Iterable[Layout]) -> None:
        """Add layouts."""
        first = len(self.entries)
        at, schema = [], []
        for layout in layouts:
            entry = next((entry for entry in layout if entry.name == self.array), None)
            if entry is None:
                at.append(-1)
                continue
            at.append(len(self.entries))
            self.entries.append(entry)
            number = self._number.setdefault(entry.schema, len(self.schemas))
            if number == len(self.schemas):
                self.schemas.append(entry.schema)
            schema.append(number)
        generation = [entry.generation for entry in self.entries[first:]]
        self.entry = np.concatenate([self.entry, np.array(at, np.int64)])
        self.schema = np.concatenate([self.schema, np.array(schema, np.int64)])
        self.generation = np.concatenate([self.generation, np.array(generation, np.int64)])

    def copy(self) -> ArrayIndex:
        """Return an index that may be extended without changing this one."""
        twin = ArrayIndex(self.array)
        twin.entry, twin.schema, twin.generation = self.entry, self.schema, self.generation
        twin.entries, twin.schemas, twin._number = self.entries.copy(), self.schemas.copy(), self._number.copy()
        return twin


@dataclass(frozen=True, slots=True)
class SchemaGroup:
    """Arrays of one schema."""

    schema: ArraySchema
    """The schema."""
    at: NDArray[np.int64]
    """Position of each dataset in the roster, ascending."""
    ids: NDArray[np.int64]
    """Its id."""
    generations: NDArray[np.int64]
    """Generation of its array."""


@dataclass(frozen=True, slots=True)
class ArraySelection:
    """One array of the datasets of a roster."""

    array: str
    """Array name."""
    names: list[str]
    """Dataset names, in the order asked for."""
    ids: NDArray[np.int64]
    """Dataset id of each, -1 where there is no such dataset."""
    entry: NDArray[np.int64]
    """Index in `entries` of each, -1 where the dataset or its array is missing."""
    entries: list[ArrayEntry]
    """Entries of the array in the store."""
    groups: list[SchemaGroup]
    """Those that are there, by schema."""
    complete: bool
    """Whether all are there."""


class DatasetSelection:
    """Datasets in the order a read names them."""

    def __init__(
        self, names: list[str], ids: NDArray[np.int64], layouts: NDArray[np.int64], pending: list[Layout]
    ) -> None:
        self.names = names
        """Their names."""
        self.ids = ids
        """Id of each, -1 where there is none of that name."""
        self._layouts = layouts
        self._pending = pending
        self._alike = bool((layouts == layouts[0]).all()) if len(layouts) else False
        self._arrays: dict[str, ArraySelection] = {}
        self._positions: NDArray[np.int64] | None = None
        self._generations: dict[int, NDArray[np.int64]] = {}

    def arrays(self, committed: ArrayIndex) -> ArraySelection:
        """Look one array up.

        `layouts` number the layouts of `committed`, and on from these the pending ones; -1 stands for no dataset.
        """
        known = self._arrays.get(committed.array)
        if known is None:
            index = committed
            if self._pending:
                index = committed.copy()
                index.extend(self._pending)
            known = self._arrays[committed.array] = self._found(index)
        return known

    def _found(self, index: ArrayIndex) -> ArraySelection:
        layouts = self._layouts
        if self._alike and layouts[0] >= 0:
            # A fleet whose datasets have the same arrays, which is what most reads ask for: one group of all.
            only = int(index.entry[layouts[0]])
            entry = np.broadcast_to(np.int64(only), len(layouts))
            groups = []
            if only >= 0:
                found = index.entries[only]
                groups.append(SchemaGroup(found.schema, self._all(), self.ids, self._same(found.generation)))
        else:
            entry = np.where(layouts < 0, -1, index.entry[layouts]) if len(index.entry) else layouts
            groups = list(self._groups(index, entry))
        complete = sum(len(group.at) for group in groups) == len(layouts)
        return ArraySelection(index.array, self.names, self.ids, entry, index.entries, groups, complete)

    def _all(self) -> NDArray[np.int64]:
        """Return every position. One for all arrays of the roster, like `_same`: a million take 8 MB each."""
        if self._positions is None:
            self._positions = np.arange(len(self.names))
        return self._positions

    def _same(self, generation: int) -> NDArray[np.int64]:
        """Return a generation as often as there are datasets."""
        if generation not in self._generations:
            self._generations[generation] = np.full(len(self.names), generation)
        return self._generations[generation]

    def _groups(self, index: ArrayIndex, entry: NDArray[np.int64]) -> Iterable[SchemaGroup]:
        at = np.flatnonzero(entry >= 0)
        if not len(at):
            return
        group = index.schema[entry[at]]
        # Sorted once: fleets of profiles may have as many schemas as datasets.
        order = np.argsort(group, kind="stable")
        cuts = np.flatnonzero(np.diff(group[order])) + 1
        for some in np.split(order, cuts):
            mine = at[some]
            yield SchemaGroup(index.schemas[int(group[some[0]])], mine, self.ids[mine], index.generation[entry[mine]])
