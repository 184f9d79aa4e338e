"""The datasets that a bulk read names, looked up once: reads of several arrays often name the same datasets.

No I/O. Not locked: the session's lock guards every call. What was returned does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.chunking.batches import equal_groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.layout_table import ArrayIndex
    from atlas.format.dataset_columns import Layout
    from atlas.format.schema import ArraySchema

__all__ = ["ArraySelection", "DatasetSelection", "DistinctSchemas", "SchemaGroup", "SelectionCache"]

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


class DistinctSchemas(NamedTuple):
    """The S distinct schemas of the M datasets of a selection that have an array."""

    schemas: list[ArraySchema]
    """The schemas."""
    first: NDArray[np.int64]
    """Position in the selection of the first dataset that has each, (S,)."""
    of: NDArray[np.int64]
    """Which of them each dataset has, (M,)."""


@dataclass(frozen=True)
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
    numbering: object
    """`Catalog.numbering` of these rows: after a move of the handle, other rows may have their numbers."""
    schema: NDArray[np.int64]
    """Index in `schemas` of each, -1 where the dataset or its array is missing."""
    schemas: list[ArraySchema]
    """Distinct schemas of the array in all layouts."""
    generations: NDArray[np.int64]
    """Generation of the array of each, -1 where the dataset or its array is missing."""
    complete: bool
    """Whether all datasets have the array."""
    shared: dict[str, Any]
    """What was looked up of the datasets, for the next read of any of their arrays."""

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """Positions of the datasets that have the array, ascending."""
        return np.flatnonzero(self.schema >= 0)

    @cached_property
    def distinct_schemas(self) -> DistinctSchemas:
        """The schemas of the datasets that have the array."""
        used, first, of = np.unique(self.schema[self.present], return_index=True, return_inverse=True)
        return DistinctSchemas([self.schemas[at] for at in used.tolist()], self.present[first], of)

    @cached_property
    def groups(self) -> list[SchemaGroup]:
        """The datasets that have the array, by schema."""
        at = self.present
        if not len(at):
            return []
        of_all = self.schema[at]
        groups = []
        for some in equal_groups(of_all):  # sorted once: there may be as many schemas as datasets
            schema, mine = self.schemas[int(of_all[some[0]])], at[some]
            groups.append(SchemaGroup(schema, mine, self.ids[mine], self.generations[mine]))
        return groups


class DatasetSelection:
    """The datasets that a read names, in its order."""

    def __init__(
        self,
        names: list[str],
        ids: NDArray[np.int64],
        rows: NDArray[np.int64],
        layouts: NDArray[np.int64],
        pending: list[Layout],
        numbering: object,
    ) -> None:
        self.names = names
        """Names of the datasets."""
        self.ids = ids
        """Id of each, -1 where there is none of that name."""
        self.rows = rows
        """Its row in the catalog, -1 where it has none or is pending."""
        self.numbering = numbering
        """`Catalog.numbering` of these rows."""
        self._layouts = layouts
        self._pending = pending
        self._alike = bool((layouts == layouts[0]).all()) if len(layouts) else False
        self._arrays: dict[str, ArraySelection] = {}
        self._numbers: dict[int, NDArray[np.int64]] = {}
        self._shared: dict[str, Any] = {}

    def distinct_layouts(self, committed: Sequence[Layout]) -> list[Layout]:
        """Return the distinct layouts of the datasets, which must all exist, in the order of their first dataset."""
        count = len(committed)
        numbers = self._distinct_numbers
        return [committed[number] if number < count else self._pending[number - count] for number in numbers]

    @cached_property
    def _distinct_numbers(self) -> list[int]:
        """Numbers of the distinct layouts, in the order of their first dataset."""
        if self._alike:
            return [int(self._layouts[0])]
        _, first = np.unique(self._layouts, return_index=True)
        numbers: list[int] = self._layouts[np.sort(first)].tolist()
        return numbers

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
            # All datasets have one layout, as in most reads.
            only = int(index.entry[layouts[0]])
            complete = only >= 0
            schema, generation = (int(index.schema[only]), int(index.generation[only])) if complete else (-1, -1)
            schemas, generations = self._same(schema), self._same(generation)
        else:
            entry = np.where(layouts < 0, -1, index.entry[layouts]) if len(index.entry) else layouts
            found = entry >= 0
            complete = bool(found.all())
            at = entry if complete else entry[found]
            schemas, generations = _spread(index.schema[at], found), _spread(index.generation[at], found)
        about = (self.names, self.ids, self.rows, self.numbering)
        return ArraySelection(index.array, *about, schemas, index.schemas, generations, complete, self._shared)

    def _same(self, number: int) -> NDArray[np.int64]:
        """Return a number for every dataset. Arrays of the selection share it: a million take 8 MB."""
        if number not in self._numbers:
            self._numbers[number] = np.full(len(self.names), number)
        return self._numbers[number]


def _spread(values: NDArray[np.int64], found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the values of the datasets that have an array for all of them, -1 where one lacks it."""
    if len(values) == len(found):
        return values
    spread = np.full(len(found), -1)
    spread[found] = values
    return spread


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
