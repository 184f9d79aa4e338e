"""The attributes of each row of a catalog: a position in the attribute table of the document that the row came from.

Nothing is decoded or merged when a document is applied: opening a store of a million datasets keeps the tables as they
are. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.append_column import AppendColumn

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import AttributeTable, RowBatch

__all__ = ["AttributeColumn"]


class AttributeColumn:
    """A column of attribute sets, kept as the number of a table and a position in it."""

    def __init__(self) -> None:
        self._table = AppendColumn(np.empty(0, np.int32))
        self._set = AppendColumn(np.empty(0, np.int32))
        self._tables: list[AttributeTable] = []

    def copy(self) -> AttributeColumn:
        """Return a column that can be changed without changing this one."""
        copied = AttributeColumn()
        copied._table, copied._set = AppendColumn(self._table.values), AppendColumn(self._set.values)
        copied._tables = self._tables.copy()
        return copied

    def append(self, rows: RowBatch) -> None:
        """Add the attributes of `rows` at the end."""
        self._table.append(np.full(len(rows), len(self._tables)))
        self._set.append(rows.attributes)
        self._tables.append(rows.attribute_table)

    def replace(self, at: NDArray[np.int64], rows: RowBatch, of: NDArray[np.bool_]) -> None:
        """Put the attributes of the rows that the mask `of` picks from `rows` at the rows `at`."""
        self._table = self._table.replaced(at, len(self._tables))
        self._set = self._set.replaced(at, rows.attributes[of])
        self._tables.append(rows.attribute_table)

    def encoded(self, row: int) -> dict[AttributeKey, Any]:
        """Return the attributes at `row` as encoded values."""
        return self._tables[int(self._table.values[row])].encoded(int(self._set.values[row]))

    def distinct(self, at: NDArray[np.int64]) -> tuple[list[dict[AttributeKey, Any]], NDArray[np.int64]]:
        """Return the distinct sets at the rows `at` as encoded values, and for each row the position of its set."""
        # Most datasets share their attributes with others: each set is looked up once, not once a row.
        origin = self._table.values[at].astype(np.int64) << 32 | self._set.values[at]
        origins, set_of = np.unique(origin, return_inverse=True)
        return [self._tables[key >> 32].encoded(key & 0xFFFFFFFF) for key in origins.tolist()], set_of
