"""The columns of a document, built of datasets: each distinct layout, list of keys and value once. Pure; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.format.attribute_codec import encoded_text
from atlas.format.dataset_columns import AttributeTable, RowBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import Layout

__all__ = ["build_rows"]


class _AttributeSets:
    """The attribute table of a document while it is built."""

    def __init__(self) -> None:
        self._keyset_of: dict[tuple[AttributeKey, ...], int] = {}
        self._value_of: dict[object, int] = {}
        self._values: list[Any] = []
        self._set_of: dict[tuple[int, ...], int] = {}

    def _value(self, value: Any) -> int:
        # Python counts True, 1 and 1.0 as equal, and 0.0 and -0.0. As attributes they differ.
        key = (type(value), encoded_text(value) if isinstance(value, float | dict | list) else value)
        index = self._value_of.setdefault(key, len(self._values))
        if index == len(self._values):
            self._values.append(value)
        return index

    def add(self, attributes: Mapping[AttributeKey, Any]) -> int:
        """Add a set of encoded attributes unless it is there, and return its position."""
        keys = tuple(attributes)
        row = (self._keyset_of.setdefault(keys, len(self._keyset_of)), *map(self._value, attributes.values()))
        return self._set_of.setdefault(row, len(self._set_of))

    def table(self) -> AttributeTable:
        """Return the table of all sets that were added."""
        return AttributeTable(list(self._keyset_of), self._values, [list(row) for row in self._set_of])


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
    kept = np.array([numbers.setdefault(layout, len(numbers)) for layout in layouts], np.int64)
    sets = _AttributeSets()
    kept_sets = np.array([sets.add(some) for some in attributes], np.int64)
    return RowBatch(ids, names, kept[layout_of], kept_sets[set_of], list(numbers), sets.table())
