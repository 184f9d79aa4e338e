"""The datasets that a bulk read names, looked up once: reads of several arrays often name the same datasets.

No I/O. Not locked: the session's lock guards every call. What was returned does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.batches import equal_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.layout_table import ArrayIndex
    from atlas.format.dataset_columns import ArrayEntry, Layout
    from atlas.format.schema import ArraySchema

__all__ = ["ArraySelection", "DatasetSelection", "SchemaGroup", "SelectionCache"]

_MOST_SELECTIONS = 4
"""Selections that are kept."""


@dataclass(frozen=True, slots=True)
class SchemaGroup:
    """The arrays of a selection that have one schema."""

    schema: ArraySchema
    """The schema."""
    at: NDArray[np.int64]
    """Position of each dataset in the selection, ascending."""
    ids: NDArray[np.int64]
    """Its id."""
    generations: NDArray[np.int64]
    """Generation of its array."""


@dataclass(frozen=True, slots=True)
class ArraySelection:
    """One array of the datasets of a selection."""

    array: str
    """Array name."""
    names: list[str]
    """Dataset names, in the order of the read."""
    ids: NDArray[np.int64]
    """Id of each, -1 where there is no such dataset."""
    rows: NDArray[np.int64]
    """Its row in the catalog, -1 where that is not what the handle shows: what is pending has no row."""
    entry: NDArray[np.int64]
    """Index in `entries` of each, -1 where the dataset or its array is missing."""
    entries: list[ArrayEntry]
    """Entries of the array in all layouts."""
    groups: list[SchemaGroup]
    """The datasets that have the array, by schema."""
    complete: bool
    """Whether all datasets have the array."""
    shared: dict[str, Any]
    """What was looked up of the datasets, for the next read of any of their arrays."""


class DatasetSelection:
    """The datasets that a read names, in its order."""

    def __init__(
        self,
        names: list[str],
        ids: NDArray[np.int64],
        rows: NDArray[np.int64],
        layouts: NDArray[np.int64],
        pending: list[Layout],
    ) -> None:
        self.names = names
        """Names of the datasets."""
        self.ids = ids
        """Id of each, -1 where there is none of that name."""
        self.rows = rows
        """Its row in the catalog, -1 where it has none or is pending."""
        self._layouts = layouts
        self._pending = pending
        self._alike = bool((layouts == layouts[0]).all()) if len(layouts) else False
        self._arrays: dict[str, ArraySelection] = {}
        self._positions: NDArray[np.int64] | None = None
        self._generations: dict[int, NDArray[np.int64]] = {}
        self._shared: dict[str, Any] = {}

    def distinct_layouts(self, committed: Sequence[Layout]) -> list[Layout]:
        """Return the distinct layouts of the datasets, which must all exist, in the order of their first dataset."""
        if self._alike:
            numbers = self._layouts[:1].tolist()
        else:
            _, first = np.unique(self._layouts, return_index=True)
            numbers = self._layouts[np.sort(first)].tolist()
        count = len(committed)
        return [committed[number] if number < count else self._pending[number - count] for number in numbers]

    def layout_groups(self, committed: Sequence[Layout]) -> list[tuple[Layout, NDArray[np.int64]]]:
        """Return each distinct layout of the datasets that exist, with the positions of those that have it."""
        exist = np.flatnonzero(self._layouts >= 0)
        count = len(committed)
        found = []
        for group in equal_groups(self._layouts[exist]):
            at = exist[group]
            number = int(self._layouts[at[0]])
            found.append((committed[number] if number < count else self._pending[number - count], at))
        return found

    def arrays(self, committed: ArrayIndex) -> ArraySelection:
        """Return one array of the datasets. `committed` is the array's index over all committed layouts.

        The layouts of the datasets are positions in the committed layouts followed by the pending ones, -1 for a
        dataset that does not exist.
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
            # All datasets have one layout, as in most reads: one group holds them all.
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
        about = (self.names, self.ids, self.rows)
        return ArraySelection(index.array, *about, entry, index.entries, groups, complete, self._shared)

    def _all(self) -> NDArray[np.int64]:
        """Return every position. All arrays of the selection share it, and `_same`: a million positions take 8 MB."""
        if self._positions is None:
            self._positions = np.arange(len(self.names))
        return self._positions

    def _same(self, generation: int) -> NDArray[np.int64]:
        """Return a generation for every dataset."""
        if generation not in self._generations:
            self._generations[generation] = np.full(len(self.names), generation)
        return self._generations[generation]

    def _groups(self, index: ArrayIndex, entry: NDArray[np.int64]) -> Iterable[SchemaGroup]:
        at = np.flatnonzero(entry >= 0)
        if not len(at):
            return
        group = index.schema[entry[at]]
        # Sorted once: there may be as many schemas as datasets.
        order = np.argsort(group, kind="stable")
        cuts = np.flatnonzero(np.diff(group[order])) + 1
        for some in np.split(order, cuts):
            mine = at[some]
            yield SchemaGroup(index.schemas[int(group[some[0]])], mine, self.ids[mine], index.generation[entry[mine]])


class SelectionCache:
    """The last selections, found by their names."""

    def __init__(self) -> None:
        self._selections: list[DatasetSelection] = []

    def find(self, names: list[str]) -> DatasetSelection | None:
        """Return the selection of these names."""
        # Comparing two lists of names takes a hundredth of the time of looking the names up.
        return next((known for known in self._selections if names == known.names), None)

    def add(self, selection: DatasetSelection) -> None:
        """Keep a selection in place of the oldest."""
        self._selections = [selection, *self._selections[: _MOST_SELECTIONS - 1]]

    def clear(self) -> None:
        """Forget all selections: a dataset that they name may have changed."""
        self._selections = []
