"""The attributes of each row of a catalog: a position in the attribute table of the document that the row came from.

Nothing is decoded or merged when a document is applied: opening a store of a million datasets keeps the tables as they
are. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.format.attribute_keys import flatten_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

    def groups(
        self, at: NDArray[np.int64], wanted: Callable[[str], bool]
    ) -> tuple[list[dict[AttributeKey, Any]], NDArray[np.int64]]:
        """Return the distinct encoded attributes that are `wanted` by text at the rows `at` (N,), and which each has.

        Only positions in tables are compared: two of those returned may be equal.
        """
        found: list[dict[AttributeKey, Any]] = []
        group_of = np.empty(len(at), np.int64)
        for table, keys, matrix, rows in self._by_keyset(at):
            where = [(place, key) for place, key in enumerate(keys) if wanted(flatten_key(key))]
            columns = matrix[:, [place for place, _ in where]]
            if (columns == columns[0]).all():
                first, of = np.zeros(1, np.int64), np.zeros(len(columns), np.int64)
            else:
                _, first, of = np.unique(columns, axis=0, return_index=True, return_inverse=True)
            group_of[rows] = len(found) + of.reshape(-1)
            found += [
                {
                    key: table.values[position]
                    for (_, key), position in zip(where, columns[at_first].tolist(), strict=True)
                }
                for at_first in first.tolist()
            ]
        return found, group_of

    def by_key(self, at: NDArray[np.int64], wanted: Callable[[str], bool]) -> Iterator[tuple[AttributeKey, list[Any]]]:
        """Yield each attribute that is `wanted` by text with its distinct encoded values, at least at one of `at` (N,).

        A key may come several times, and with values that are equal.
        """
        for table, keys, matrix, _ in self._by_keyset(at):
            for place, key in enumerate(keys):
                if wanted(flatten_key(key)):
                    column = matrix[:, place]
                    positions = column[:1] if (column == column[0]).all() else np.unique(column)
                    yield key, [table.values[position] for position in positions.tolist()]

    def _by_keyset(
        self, at: NDArray[np.int64]
    ) -> Iterator[tuple[AttributeTable, tuple[AttributeKey, ...], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the rows `at` (N,) in groups of one list of keys: its table, the keys, positions of values, and rows.

        The positions are (M, keys) for M of the N rows, whose numbers are (M,).
        """
        origins, set_of = self._sets(at)
        tables = origins >> 32
        for number in np.unique(tables).tolist():
            table, mine = self._tables[number], np.flatnonzero(tables == number)
            sets = [table.sets[position] for position in (origins[mine] & 0xFFFFFFFF).tolist()]
            keysets = np.array([row[0] for row in sets])
            for keyset in np.unique(keysets).tolist():
                some = np.flatnonzero(keysets == keyset)
                matrix = np.array([sets[position] for position in some.tolist()], np.int64)[:, 1:]
                place = np.full(len(origins), -1, np.int64)
                place[mine[some]] = np.arange(len(some))
                rows = np.flatnonzero(place[set_of] >= 0)
                yield table, table.keysets[keyset], matrix[place[set_of[rows]]], rows

    def distinct(self, at: NDArray[np.int64]) -> tuple[list[dict[AttributeKey, Any]], NDArray[np.int64]]:
        """Return the distinct sets at the rows `at` as encoded values, and for each row the position of its set."""
        origins, set_of = self._sets(at)
        return [self._tables[key >> 32].encoded(key & 0xFFFFFFFF) for key in origins.tolist()], set_of

    def _sets(self, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct sets at the rows `at`, as table << 32 | position in it, and which each row has."""
        # Most datasets share their attributes with others: each set is looked up once, not once a row.
        origin = self._table.values[at].astype(np.int64) << 32 | self._set.values[at]
        if len(origin) and (origin == origin[0]).all():
            return origin[:1], np.zeros(len(origin), np.int64)
        return np.unique(origin, return_inverse=True)
