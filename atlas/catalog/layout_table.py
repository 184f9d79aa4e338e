"""The distinct layouts of a catalog, each kept once, and the arrays in them. Pure values; no I/O.

Layouts are only ever added at the end, so that a number stands for the same layout for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from atlas.format.dataset_columns import ArrayEntry, Layout
    from atlas.format.schema import ArraySchema

__all__ = ["ArrayIndex", "LayoutTable"]

_MOST_DICTS = 4096
"""Layouts of which a dictionary is kept."""


class LayoutTable:
    """Layouts by number."""

    def __init__(self) -> None:
        self.layouts: list[Layout] = []
        """Every layout that was added, each once."""
        self._number: dict[Layout, int] = {}
        self._dicts: dict[int, dict[str, ArrayEntry]] = {}
        self._indexes: dict[str, ArrayIndex] = {}

    def copy(self) -> LayoutTable:
        """Return a table to which layouts can be added without changing this one."""
        copied = LayoutTable()
        copied.layouts, copied._number, copied._dicts = self.layouts.copy(), self._number.copy(), self._dicts.copy()
        copied._indexes = {array: index.copy() for array, index in self._indexes.items()}
        return copied

    def add(self, layouts: Iterable[Layout]) -> NDArray[np.int32]:
        """Return the number of each layout; those not seen before are added."""
        numbers = []
        for layout in layouts:
            number = self._number.setdefault(layout, len(self.layouts))
            if number == len(self.layouts):
                self.layouts.append(layout)
            numbers.append(number)
        return np.array(numbers, np.int32)

    def arrays(self, number: int) -> dict[str, ArrayEntry]:
        """Return the arrays of a layout by name. The dictionary is shared and must not be changed."""
        arrays = self._dicts.get(number)
        if arrays is None:
            if len(self._dicts) >= _MOST_DICTS:
                self._dicts.clear()
            arrays = self._dicts[number] = {entry.name: entry for entry in self.layouts[number]}
        return arrays

    def index_of(self, array: str) -> ArrayIndex:
        """Return the entries of `array` in all layouts."""
        index = self._indexes.get(array)
        if index is None or len(index.entry) < len(self.layouts):
            # Readers may use the present index, and another thread may extend it at the same time: extend a copy.
            index = ArrayIndex(array) if index is None else index.copy()
            index.extend(self.layouts[len(index.entry) :])
            self._indexes[array] = index
        return index


class ArrayIndex:
    """The entries of one array name in a list of layouts, which may grow at its end."""

    def __init__(self, array: str) -> None:
        self.array = array
        """The array name."""
        self.entry = np.empty(0, np.int64)
        """Position in `entries` for each layout, -1 where it lacks the array."""
        self.entries: list[ArrayEntry] = []
        """The entry of each layout that has the array."""
        self.schema = np.empty(0, np.int64)
        """Position in `schemas` of each entry's schema."""
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
        copied = ArrayIndex(self.array)
        copied.entry, copied.schema, copied.generation = self.entry, self.schema, self.generation
        copied.entries, copied.schemas, copied._number = self.entries.copy(), self.schemas.copy(), self._number.copy()
        return copied
