"""The attributes of each row of a catalog: positions in the attribute tables of the document that the row came from.

Nothing is decoded or merged when a document is applied: opening a store of a million datasets keeps the tables as they
are. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.catalog.column_builder import AttributeSets
from atlas.chunking.batches import equal_groups
from atlas.format.attribute_keys import array_keys, flatten_key, own_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import AttributeTable, RowBatch

__all__ = ["AttributePart", "AttributeSetColumn"]

_T = TypeVar("_T")

_POSITION = 0xFFFFFFFF
"""The part of an origin, table << 32 | position, that is the position of a set in its table."""
_FEW_ROWS = 16
"""Rows of one table of which it takes longer to look at them apart than to put them in a table with others."""
_TIER = 16
"""Tables of one tier that are merged. Each row is merged once a tier, and there are few tables of a tier."""


@dataclass(frozen=True, slots=True)
class AttributePart:
    """The attribute sets of those of N datasets whose sets one table holds."""

    at: NDArray[np.int64]
    """Which of the N datasets they are, (M,), ascending."""
    table: AttributeTable
    """The table."""
    own: NDArray[np.int64]
    """Where each has its own attributes in `table.sets`, (M,)."""
    of_arrays: NDArray[np.int64]
    """Where each has the others in `table.array_sets`, (M,)."""


class AttributeSetColumn:
    """A column of attribute sets, kept as the number of a table and two positions in it."""

    def __init__(self) -> None:
        self._table = AppendColumn(np.empty(0, np.int32))
        self._set = AppendColumn(np.empty(0, np.int32))
        self._array_set = AppendColumn(np.empty(0, np.int32))
        self._tables: list[AttributeTable] = []

    def copy(self) -> AttributeSetColumn:
        """Return a column that can be changed without changing this one."""
        copied = AttributeSetColumn()
        copied._table, copied._set = AppendColumn(self._table.values), AppendColumn(self._set.values)
        copied._array_set = AppendColumn(self._array_set.values)
        copied._tables = self._tables.copy()
        return copied

    def append(self, rows: RowBatch) -> None:
        """Add the attributes of `rows` at the end."""
        self._table.append(np.full(len(rows), len(self._tables)))
        self._set.append(rows.attributes)
        self._array_set.append(rows.array_attributes)
        self._tables.append(rows.attribute_table)

    def replace(self, at: NDArray[np.int64], rows: RowBatch) -> None:
        """Put the attributes of `rows` at the rows `at`."""
        self._table = self._table.replaced(at, len(self._tables))
        self._set = self._set.replaced(at, rows.attributes)
        self._array_set = self._array_set.replaced(at, rows.array_attributes)
        self._tables.append(rows.attribute_table)

    def picked(self, mask: NDArray[np.bool_]) -> AttributeSetColumn:
        """Return the rows that the mask picks, with the same tables."""
        picked = AttributeSetColumn()
        picked._table, picked._set = AppendColumn(self._table.values[mask]), AppendColumn(self._set.values[mask])
        picked._array_set = AppendColumn(self._array_set.values[mask])
        picked._tables = self._tables.copy()
        return picked

    @property
    def is_scattered(self) -> bool:
        """Whether `tidy` would do anything."""
        return len(self._mergeable()) == _TIER

    def tidy(self, is_live: NDArray[np.bool_]) -> None:
        """Merge small tables, and drop what no row needs that `is_live`, (N,); other rows must not be looked at again.

        Otherwise a handle that flushes often would keep one table for each flush, and all that it has replaced since.
        """
        while len(merged := self._mergeable()) == _TIER:
            table = self._table.values
            used = np.zeros(len(self._tables), bool)
            used[np.unique(table[is_live])] = True
            at = np.flatnonzero(is_live & (table >= merged.start))
            used[merged.start :] = False
            number = (np.cumsum(used) - 1).astype(np.int32)[table]
            tables = [kept for kept, is_used in zip(self._tables, used.tolist(), strict=True) if is_used]
            if len(at):
                own, of_arrays, joined = self.rows(at)
                self._set, self._array_set = self._set.replaced(at, own), self._array_set.replaced(at, of_arrays)
                number[at] = len(tables)
                tables.append(joined)
            self._table, self._tables = AppendColumn(number), tables

    def _mergeable(self) -> range:
        """Return the last tables that are of one tier or of smaller ones; of `_TIER` of them a larger one is made."""
        tiers = [_tier(table) for table in self._tables[-_TIER:]]
        first = len(tiers)
        while first and tiers[first - 1] <= tiers[-1]:
            first -= 1
        return range(len(self._tables) - len(tiers) + first, len(self._tables))

    def encoded(self, row: int) -> dict[AttributeKey, Any]:
        """Return the attributes at `row` as encoded values, in the order they were set."""
        return self.loader(row)()

    def loader(self, row: int) -> Callable[[], dict[AttributeKey, Any]]:
        """Return what looks up the attributes that `row` has now: tables never change."""
        table: AttributeTable = self._tables[self._table.values.item(row)]
        return partial(table.encoded, self._set.values.item(row), self._array_set.values.item(row))

    def shown(self, row: int, show: Callable[[Any], _T]) -> dict[str, _T]:
        """Return what `show` returns for those at `row` that are not hidden, by the text that each key is shown by."""
        table: AttributeTable = self._tables[self._table.values.item(row)]
        return table.shown(self._set.values.item(row), self._array_set.values.item(row), show)

    def groups(self, at: NDArray[np.int64]) -> tuple[list[dict[AttributeKey, Any]], NDArray[np.int64]]:
        """Return the distinct encoded attributes that may be of arrays at the rows `at` (N,), and which each has.

        Only positions in tables are compared: two of those returned may be equal.
        """
        origins, group_of = self._distinct(self._array_set, at)
        found = []
        for origin in origins.tolist():
            table = self._tables[origin >> 32]
            keys, values = table.resolve(table.array_sets[origin & _POSITION])
            found.append(dict(zip(array_keys(keys), values, strict=True)))
        return found, group_of

    def by_key(self, at: NDArray[np.int64], skipped: Collection[str]) -> Iterator[tuple[AttributeKey, list[Any]]]:
        """Yield each attribute that can be of no array with its distinct encoded values at the rows `at` (N,).

        `skipped` are the texts of those to leave out. A key may come several times, and with values that are equal.
        """
        # The sets of arrays name the same lists of keys as the own ones, and most datasets share them.
        origins, group_of = self._distinct(self._array_set, at)
        keysets: dict[tuple[int, int], list[int]] = {}
        for group, origin in enumerate(origins.tolist()):
            number = origin >> 32
            keysets.setdefault((number, self._tables[number].array_sets[origin & _POSITION][0]), []).append(group)
        for (number, keyset), groups in sorted(keysets.items()):
            table = self._tables[number]
            keys = [
                (place, key)
                for place, key in enumerate(own_keys(table.keysets[keyset]), 1)
                if flatten_key(key) not in skipped
            ]
            if keys:
                rows = at if len(groups) == len(origins) else at[np.isin(group_of, groups)]
                own, _ = self._distinct(self._set, rows)
                sets = [table.sets[position] for position in (own & _POSITION).tolist()]
                for place, key in keys:
                    yield key, [table.values[position] for position in sorted({row[place] for row in sets})]

    def parts(self, at: NDArray[np.int64]) -> list[AttributePart]:
        """Return the sets of the rows `at` (N,) by table; those of tables with few of the rows in one made of them."""
        groups = equal_groups(self._table.values[at])
        few = [where for where in groups if len(where) < _FEW_ROWS]
        parts = []
        if len(few) > 1:  # a handle that commits one dataset after the other has a table for each
            where = np.sort(np.concatenate(few))
            own, of_arrays, table = self.rows(at[where])
            parts.append(AttributePart(where, table, own, of_arrays))
            groups = [where for where in groups if len(where) >= _FEW_ROWS]
        for where in groups:
            rows = at[where]
            table = self._tables[int(self._table.values[rows[0]])]
            parts.append(AttributePart(where, table, self._set.values[rows], self._array_set.values[rows]))
        return parts

    def rows(self, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], AttributeTable]:
        """Return where the rows `at` (N,) have their own attributes and the others in one table, which comes last."""
        own, own_of = self._distinct(self._set, at)
        others, other_of = self._distinct(self._array_set, at)
        made = AttributeSets()
        kept = [made.add_own(self._tables[origin >> 32], origin & _POSITION) for origin in own.tolist()]
        kept_others = [made.add_of_arrays(self._tables[origin >> 32], origin & _POSITION) for origin in others.tolist()]
        return np.array(kept, np.int64)[own_of], np.array(kept_others, np.int64)[other_of], made.table()

    def _distinct(self, column: AppendColumn, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct sets of `column` at the rows `at`, as table << 32 | position, and which each has."""
        # Most datasets share their attributes with others, or each has its own in the order of the rows.
        if len(at) and len(self._tables) == 1 and (column.values == column.values[0]).all():
            return column.values[:1].astype(np.int64), np.zeros(len(at), np.int64)
        origin = self._table.values[at].astype(np.int64) << 32 | column.values[at]
        if len(origin) and (origin == origin[0]).all():
            return origin[:1], np.zeros(len(origin), np.int64)
        if (origin[1:] > origin[:-1]).all():
            return origin, np.arange(len(origin))
        return np.unique(origin, return_inverse=True)


def _tier(table: AttributeTable) -> int:
    sets = len(table.sets) + len(table.array_sets)
    return sets.bit_length() // _TIER.bit_length()
