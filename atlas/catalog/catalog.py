"""The committed registry in memory: columns over all datasets, to which commits are added up.

No I/O: pages are handed in as rows. Not locked: the store's lock guards every change, and a column is only ever
appended to or replaced, so that readers who took their rows before a change go on undisturbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.catalog.column_builder import build_rows
from atlas.catalog.paging import pages_are_due, rows_go_to_page
from atlas.catalog.selection import ArrayIndex
from atlas.errors import CorruptStoreError
from atlas.format.changes import Changes
from atlas.format.dataset_columns import EMPTY_ROWS, AttributeTable, RowBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey
    from atlas.format.changes import PageRef
    from atlas.format.dataset_columns import ArrayEntry, Layout
    from atlas.format.segment import SegmentRef

__all__ = ["Catalog"]

_DEAD = -1
_WRITERS = 64
"""Commits whose writers are remembered, so that a writer can tell whether it was one of them."""
_MOST_DICTS = 4096
"""Layouts of which a dictionary is kept."""


class Catalog:
    """All datasets of one version of a store."""

    def __init__(self) -> None:
        self.version = -1
        """Version of the store; -1 before the first document is applied."""
        self.next_id = 0
        """Id that the next new dataset gets."""
        self.writers: tuple[tuple[int, str], ...] = ()
        """Version and writer of the last commits, ascending."""
        self._forget()

    def _forget(self) -> None:
        """Hold no datasets."""
        self.names: list[str] = []
        """Name of each row, dead rows included."""
        self.layout_table: list[Layout] = []
        """Every layout met, each once."""
        self.segments: dict[str, list[SegmentRef]] = {}
        """Segments of each array name, oldest first."""
        self._keys: set[str] = set()  # of all segments
        self.pages: tuple[PageRef, ...] = ()
        """Pages that hold rows, in the order of their ids."""
        self._ids = AppendColumn(np.empty(0, np.int64))
        self._layouts = AppendColumn(np.empty(0, np.int32))
        self._row_of: dict[str, int] | None = None
        self._live = 0
        self._layout_index: dict[Layout, int] = {}
        self._indexes: dict[str, ArrayIndex] = {}
        self._arrays: dict[int, dict[str, ArrayEntry]] = {}
        self._table = AppendColumn(np.empty(0, np.int32))
        self._set = AppendColumn(np.empty(0, np.int32))
        self._tables: list[AttributeTable] = []
        self._edited: set[int] = set()  # ids of paged rows that changed since
        self._loose: list[int] = []  # ids of rows that lie in no page, ascending

    def copy(self) -> Catalog:
        """Return a catalog to which changes may be applied without changing this one."""
        twin = Catalog()
        twin.__dict__.update(self.__dict__)
        twin.names, twin.layout_table, twin._tables = self.names.copy(), self.layout_table.copy(), self._tables.copy()
        twin._ids, twin._layouts = AppendColumn(self.ids), AppendColumn(self.layouts)
        twin._table, twin._set = AppendColumn(self._table.values), AppendColumn(self._set.values)
        twin._row_of = None if self._row_of is None else self._row_of.copy()
        twin._layout_index, twin._arrays = self._layout_index.copy(), self._arrays.copy()
        twin._indexes = {array: index.copy() for array, index in self._indexes.items()}
        twin._edited, twin._loose = self._edited.copy(), self._loose.copy()
        return twin

    @property
    def ids(self) -> NDArray[np.int64]:
        """Id of each row, ascending."""
        return self._ids.values

    @property
    def layouts(self) -> NDArray[np.int32]:
        """Index of each row's layout in `layout_table`, -1 for a dead row."""
        return self._layouts.values

    # Adding up

    def apply(self, changes: Changes, page_rows: Sequence[RowBatch]) -> None:
        """Add the changes of a commit or checkpoint; `page_rows` are the contents of its pages.

        Raises `CorruptStoreError` where they contradict what is known.
        """
        if self.version >= 0 and changes.version != self.version + 1:
            raise CorruptStoreError(f"the commit after version {self.version} is of version {changes.version}")
        if changes.reset:
            self._forget()
        for page, rows in zip(changes.pages, page_rows, strict=True):
            if len(self.ids) and page.first <= int(self.ids[-1]):
                raise CorruptStoreError(f"page {page.key} begins with id {page.first}, which is taken", key=page.key)
            self._append(rows)
        self.pages += changes.pages
        self._delete(changes.deleted)
        self._upsert(changes.rows)
        self._swap_segments(changes.dropped, changes.segments)
        if changes.next_id < self.next_id or (len(self.ids) and int(self.ids[-1]) >= changes.next_id):
            raise CorruptStoreError(f"next_id {changes.next_id} is taken already")
        self.version, self.next_id = changes.version, changes.next_id
        self.writers = (*self.writers, *changes.writers)[-_WRITERS:]

    def _intern(self, layouts: Iterable[Layout]) -> NDArray[np.int32]:
        indices = []
        for layout in layouts:
            index = self._layout_index.setdefault(layout, len(self.layout_table))
            if index == len(self.layout_table):
                self.layout_table.append(layout)
            indices.append(index)
        return np.array(indices, np.int32)

    def _append(self, rows: RowBatch) -> None:
        if not len(rows):
            return
        first = len(self.names)
        self.names.extend(rows.names)
        self._ids.append(rows.ids)
        self._layouts.append(self._intern(rows.layout_table)[rows.layouts])
        self._live += len(rows)
        if self._row_of is not None:
            self._row_of.update(zip(rows.names, range(first, len(self.names)), strict=True))
        self._table.append(np.full(len(rows), len(self._tables)))
        self._set.append(rows.attributes)
        self._tables.append(rows.attribute_table)

    def _page_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each id the position of the last page that begins at or below it, -1 for none."""
        return np.searchsorted(np.array([page.first for page in self.pages], np.int64), ids, side="right") - 1

    def _paged(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        # Rows of a small flush between two large ones lie between the pages of these, in none.
        last = np.array([page.last for page in self.pages] or [-1], np.int64)
        at = self._page_of(ids)
        return (at >= 0) & (ids <= last[at])

    def _delete(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        rows = self._rows_of_ids(ids)
        dead = self.layouts[rows] == _DEAD
        if dead.any():
            raise CorruptStoreError(f"dataset id {int(ids[np.argmax(dead)])} is deleted twice")
        layouts = self.layouts.copy()
        layouts[rows] = _DEAD
        self._layouts = AppendColumn(layouts)
        self._live -= len(rows)
        if self._row_of is not None:
            for row in rows.tolist():
                if self._row_of.get(self.names[row]) == row:
                    del self._row_of[self.names[row]]
        self._edited.update(ids[self._paged(ids)].tolist())

    def _upsert(self, rows: RowBatch) -> None:
        known = self._known(rows.ids)
        if known.any():
            at = self._rows_of_ids(rows.ids[known])
            for row, name in zip(at.tolist(), np.array(rows.names, object)[known].tolist(), strict=True):
                if self.names[row] != name or self.layouts[row] == _DEAD:
                    raise CorruptStoreError(f"dataset id {int(self.ids[row])} is not the live dataset {name!r}")
            self._layouts = self._replaced(self._layouts, at, self._intern(rows.layout_table)[rows.layouts[known]])
            self._table = self._replaced(self._table, at, len(self._tables))
            self._set = self._replaced(self._set, at, rows.attributes[known])
            self._tables.append(rows.attribute_table)
            self._edited.update(rows.ids[known & self._paged(rows.ids)].tolist())
        new = ~known
        if new.any():
            if len(self.ids) and int(rows.ids[new][0]) <= int(self.ids[-1]):
                raise CorruptStoreError(f"dataset id {int(rows.ids[new][0])} is below ids that are taken")
            names = rows.names if new.all() else np.array(rows.names, object)[new].tolist()
            self._loose.extend(rows.ids[new].tolist())
            columns = (rows.ids[new], names, rows.layouts[new], rows.attributes[new])
            self._append(RowBatch(*columns, rows.layout_table, rows.attribute_table))

    def _swap_segments(self, dropped: Sequence[str], added: Sequence[SegmentRef]) -> None:
        segments = {name: list(refs) for name, refs in self.segments.items()}
        gone = set(dropped)
        if gone:
            segments = {
                name: kept for name, refs in segments.items() if (kept := [ref for ref in refs if ref.key not in gone])
            }
        keys = self._keys - gone
        for ref in added:
            if ref.key in keys:
                raise CorruptStoreError(f"segment {ref.key} is named twice", key=ref.key)
            keys.add(ref.key)
            segments.setdefault(ref.array, []).append(ref)
        self.segments, self._keys = segments, keys

    # Looking up

    @staticmethod
    def _replaced(column: AppendColumn, at: NDArray[np.int64], values: NDArray[Any] | int) -> AppendColumn:
        """Return a copy of a column with other values at the rows `at`."""
        copied = column.values.copy()
        copied[at] = values
        return AppendColumn(copied)

    def _known(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each id whether it has a row."""
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        rows = np.searchsorted(self.ids, ids)
        found: NDArray[np.bool_] = self.ids[np.minimum(rows, len(self.ids) - 1)] == ids
        return found

    def _rows_of_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self._known(ids).all():
            raise CorruptStoreError("a document names dataset ids that are not known")
        return np.searchsorted(self.ids, ids)

    def __len__(self) -> int:
        """Return the number of live datasets."""
        return self._live

    @property
    def row_of(self) -> dict[str, int]:
        """Row of each live dataset, made when first asked for: a million names take longer to map than to read.

        Raises `CorruptStoreError` where two have the same name.
        """
        row_of = self._row_of
        while row_of is None:
            layouts = self.layouts
            rows = np.flatnonzero(layouts != _DEAD).tolist()
            names = self.names[: len(layouts)] if len(rows) == len(layouts) else [self.names[row] for row in rows]
            row_of = dict(zip(names, rows, strict=True))
            if len(row_of) != len(rows):
                raise CorruptStoreError("the store is damaged: two of its datasets have the same name")
            self._row_of = row_of
            if self.layouts is not layouts:  # a commit was added meanwhile, which may have missed this map
                row_of = self._row_of = None
        return row_of

    def row_with(self, identity: int) -> int | None:
        """Return the row of the live dataset with that id, None where there is none."""
        row = int(np.searchsorted(self.ids, identity))
        return row if row < len(self.ids) and self.ids[row] == identity and self.layouts[row] != _DEAD else None

    def live_rows(self) -> NDArray[np.int64]:
        """Return the rows of live datasets, in insertion order."""
        return np.flatnonzero(self.layouts != _DEAD)

    def layout(self, row: int) -> Layout:
        """Return the arrays of the dataset at `row`."""
        return self.layout_table[int(self.layouts[row])]

    def arrays(self, row: int) -> dict[str, ArrayEntry]:
        """Return the arrays of the dataset at `row` by name; datasets that look alike share what is returned."""
        number = int(self.layouts[row])
        arrays = self._arrays.get(number)
        if arrays is None:
            if len(self._arrays) >= _MOST_DICTS:
                self._arrays.clear()
            arrays = self._arrays[number] = {entry.name: entry for entry in self.layout_table[number]}
        return arrays

    def encoded_attributes(self, row: int) -> dict[AttributeKey, Any]:
        """Return the attributes of the dataset at `row` as encoded values."""
        return self._tables[int(self._table.values[row])].encoded(int(self._set.values[row]))

    def live_layouts(self) -> list[Layout]:
        """Return the layouts that live datasets have."""
        used = np.unique(self.layouts)
        return [self.layout_table[index] for index in used.tolist() if index != _DEAD]

    def rows_of(self, names: list[str]) -> NDArray[np.int64]:
        """Return the row of each live dataset named, -1 where there is none."""
        if len(names) == len(self.names) == len(self) and names == self.names:
            return np.arange(len(names))
        if not len(self):
            return np.full(len(names), -1)
        try:
            return np.fromiter(map(self.row_of.__getitem__, names), np.int64, len(names))
        except KeyError:
            return np.array([self.row_of.get(name, -1) for name in names], np.int64)

    def index_of(self, array: str) -> ArrayIndex:
        """Return the entries of `array` in all layouts."""
        index = self._indexes.get(array)
        if index is None or len(index.entry) < len(self.layout_table):
            # A reader may be using the one there is, and another thread be doing the same.
            index = ArrayIndex(array) if index is None else index.copy()
            index.extend(self.layout_table[len(index.entry) :])
            self._indexes[array] = index
        return index

    # Writing down

    def rows(self, at: NDArray[np.int64]) -> RowBatch:
        """Return the datasets at the rows `at`, ascending."""
        layouts, layout_of = np.unique(self.layouts[at], return_inverse=True)
        # Fleets share most attribute sets: each is taken apart once, not once a dataset.
        origin = self._table.values[at].astype(np.int64) << 32 | self._set.values[at]
        origins, set_of = np.unique(origin, return_inverse=True)
        return build_rows(
            self.ids[at],
            [self.names[row] for row in at.tolist()],
            [self.layout_table[index] for index in layouts.tolist()],
            layout_of,
            [self._tables[key >> 32].encoded(key & 0xFFFFFFFF) for key in origins.tolist()],
            set_of,
        )

    def pages_to_seal(self) -> tuple[bool, list[NDArray[np.int64]]]:
        """Return the rows of each page that ought to be written, and whether these replace all pages there are.

        Pages keep the order of the ids, so rows between two pages become a page too, however few they are; only those
        after the last page may stay outside.
        """
        if pages_are_due(len(self._edited), sum(page.rows for page in self.pages)):
            live = self.live_rows()
            return True, [live] if len(live) else []
        outside = self._rows_outside()
        before = self._page_of(self.ids[outside])
        runs = [outside[before == page] for page in np.unique(before).tolist()]
        if runs and before[-1] == len(self.pages) - 1 and not rows_go_to_page(len(runs[-1])):
            runs.pop()
        return False, runs

    def seal(self, pages: Sequence[PageRef], *, replace: bool) -> None:
        """Note that rows now lie in `pages`, in place of all pages before where `replace`."""
        if replace:
            self.pages, self._edited = (), set()
        self.pages = tuple(sorted((*self.pages, *pages), key=lambda page: page.first))
        loose = np.array(self._loose, np.int64)
        self._loose = loose[~self._paged(loose)].tolist()

    def _rows_outside(self) -> NDArray[np.int64]:
        """Return the live rows that lie in no page, ascending."""
        rows = self._rows_of_ids(np.array(self._loose, np.int64))
        alive: NDArray[np.int64] = rows[self.layouts[rows] != _DEAD]
        return alive

    def checkpoint(self) -> Changes:
        """Return the sum of all that was applied: the pages, and the rows and deletions that they lack."""
        edited = np.array(sorted(self._edited), np.int64)
        edited_rows = self._rows_of_ids(edited) if len(edited) else edited
        alive = self.layouts[edited_rows] != _DEAD
        inline = np.concatenate([edited_rows[alive], self._rows_outside()])
        return Changes(
            self.version,
            self.next_id,
            self.pages,
            edited[~alive],
            self.rows(inline) if len(inline) else EMPTY_ROWS,
            (),
            tuple(ref for refs in self.segments.values() for ref in refs),
            self.writers,
        )
