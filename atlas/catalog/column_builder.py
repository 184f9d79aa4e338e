"""The columns of a document, built of datasets: each distinct layout, list of keys and value once. Pure; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas.format.attribute_codec import encoded_text
from atlas.format.attribute_keys import may_be_of_array
from atlas.format.dataset_columns import AttributeTable, RowBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import Layout

__all__ = ["AttributeSets", "build_rows"]

_Item = TypeVar("_Item")
_BY_TEXT = (float, dict, list)
"""Types of encoded values whose equality in Python is not theirs, or that cannot be hashed."""


class AttributeSets:
    """The attribute table of a document while it is built."""

    def __init__(self) -> None:
        self._keyset_of: dict[tuple[AttributeKey, ...], int] = {}
        self._is_of_array: list[list[bool]] = []
        self._value_of: dict[object, int] = {}
        self._values: list[Any] = []
        self._own: dict[tuple[int, ...], int] = {}
        self._of_arrays: dict[tuple[int, ...], int] = {}

    def add(self, attributes: Mapping[AttributeKey, Any]) -> tuple[int, int]:
        """Add the encoded attributes of a dataset unless they are there.

        Returns the positions of its own ones and of those that may be of an array.
        """
        keyset = self._keyset(tuple(attributes))
        own, of_arrays = [keyset], [keyset]
        for value, is_of_array in zip(attributes.values(), self._is_of_array[keyset], strict=True):
            (of_arrays if is_of_array else own).append(self._value(value))
        return _numbered(self._own, tuple(own)), _numbered(self._of_arrays, tuple(of_arrays))

    def add_own(self, table: AttributeTable, position: int) -> int:
        """Add a set of own attributes of another table unless it is there, and return its position."""
        return _numbered(self._own, self._translated(*table.resolve(table.sets[position])))

    def add_of_arrays(self, table: AttributeTable, position: int) -> int:
        """Add a set of attributes that may be of an array, likewise."""
        return _numbered(self._of_arrays, self._translated(*table.resolve(table.array_sets[position])))

    def _translated(self, keys: tuple[AttributeKey, ...], values: list[Any]) -> tuple[int, ...]:
        return self._keyset(keys), *map(self._value, values)

    def _keyset(self, keys: tuple[AttributeKey, ...]) -> int:
        keyset = _numbered(self._keyset_of, keys)
        if keyset == len(self._is_of_array):
            self._is_of_array.append(list(map(may_be_of_array, keys)))
        return keyset

    def _value(self, value: Any) -> int:
        # Python counts True, 1 and 1.0 as equal, and 0.0 and -0.0. As attributes they differ.
        key = (type(value), encoded_text(value) if isinstance(value, _BY_TEXT) else value)
        index = _numbered(self._value_of, key)
        if index == len(self._values):
            self._values.append(value)
        return index

    def table(self) -> AttributeTable:
        """Return the table of all sets that were added."""
        return AttributeTable(
            list(self._keyset_of), self._values, list(map(list, self._own)), list(map(list, self._of_arrays))
        )


def _numbered(numbers: dict[_Item, int], item: _Item) -> int:
    """Return the number of an item, which is the next one if it is new."""
    return numbers.setdefault(item, len(numbers))


def build_rows(
    ids: NDArray[np.int64],
    names: list[str],
    layouts: Sequence[Layout],
    layout_of: NDArray[np.int64],
    attributes: Sequence[Mapping[AttributeKey, Any]],
    set_of: NDArray[np.int64],
) -> RowBatch:
    """Return the rows of the datasets `ids`, which ascend.

    `layout_of` and `set_of` give the position of each dataset's layout in `layouts`, and of its encoded attributes in
    `attributes`. Both may hold equal items, of which the first is kept.
    """
    numbers: dict[Layout, int] = {}
    kept = np.array([_numbered(numbers, layout) for layout in layouts], np.int64)
    sets = AttributeSets()
    own, of_arrays = np.array([sets.add(some) for some in attributes], np.int64).reshape(-1, 2).T
    return RowBatch(ids, names, kept[layout_of], own[set_of], of_arrays[set_of], list(numbers), sets.table())
