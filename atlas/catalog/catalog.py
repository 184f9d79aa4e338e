"""The catalog: all datasets of one version of a store, in columns, to which commits are applied.

No I/O: the caller reads pages and passes their rows. Not locked: the session's lock guards every change. A column is
only ever appended to or replaced, so readers who took a column before a change can go on using it.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.catalog.attribute_set_column import AttributeSetColumn
from atlas.catalog.layout_table import LayoutTable
from atlas.catalog.paged_rows import PagedRows
from atlas.catalog.sorted_search import find_sorted
from atlas.errors import CorruptStoreError
from atlas.format.changes import Changes
from atlas.format.dataset_columns import EMPTY_ROWS, RowBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.attribute_set_column import AttributePart
    from atlas.catalog.layout_table import ArrayIndex
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.changes import PageRef
    from atlas.format.dataset_columns import ArrayEntry, Layout
    from atlas.format.segment import SegmentRef

__all__ = ["Catalog"]

_T = TypeVar("_T")

_DELETED = -1
"""Layout of a row whose dataset was deleted."""
_MOST_DEAD = 1024
"""Rows of deleted datasets that are kept, however few live ones there are."""
_WRITERS = 64
"""Commits whose writers are kept, so that a writer can tell whether it made one of them."""


class Catalog:
    """All datasets of one version of a store."""

    def __init__(self) -> None:
        self.version = -1
        """Version of the store; -1 before the first document is applied."""
        self.next_id = 0
        """Id that the next new dataset gets."""
        self.writers: tuple[tuple[int, str], ...] = ()
        """Version and writer of the last commits, ascending."""
        self._clear()

    def _clear(self) -> None:
        """Drop all datasets and segments."""
        self.names: list[str] = []
        """Name of each row, also of deleted ones that have not been dropped."""
        self.segments: dict[str, list[SegmentRef]] = {}
        """Segments of each array name, oldest first."""
        self._segment_keys: set[str] = set()
        self._ids = AppendColumn(np.empty(0, np.int64))
        self._layouts = AppendColumn(np.empty(0, np.int32))
        self._attributes = AttributeSetColumn()
        self._layout_table = LayoutTable()
        self._paged = PagedRows()
        self.numbering: object = object()
        """Another object whenever rows get other numbers."""
        self.known_rows: dict[str, int] = {}
        """What `row_by_name` has made; empty before."""
        self._live = 0

    def copy(self) -> Catalog:
        """Return a catalog to which changes can be applied without changing this one."""
        copied = Catalog()
        copied.__dict__.update(self.__dict__)
        copied.names = self.names.copy()
        copied._ids, copied._layouts = AppendColumn(self.ids), AppendColumn(self.layouts)
        copied._attributes, copied._layout_table = self._attributes.copy(), self._layout_table.copy()
        copied._paged = self._paged.copy()
        copied.known_rows = self.known_rows.copy()
        return copied

    @property
    def ids(self) -> NDArray[np.int64]:
        """Id of each row, ascending."""
        return self._ids.values

    @property
    def layouts(self) -> NDArray[np.int32]:
        """Position of each row's layout in `layout_table`, -1 for a deleted row."""
        return self._layouts.values

    @property
    def layout_table(self) -> list[Layout]:
        """Every layout that a row has had, each once."""
        return self._layout_table.layouts

    @property
    def pages(self) -> tuple[PageRef, ...]:
        """Pages that hold rows, in the order of their ids."""
        return self._paged.pages

    # Applying changes

    def apply(self, changes: Changes, page_rows: Sequence[RowBatch]) -> None:
        """Apply a commit or checkpoint; `page_rows` are the rows of its pages.

        Raises `CorruptStoreError` where the changes contradict the catalog, which must not be used then. The caller
        knows the document, and adds its key and the remedy.
        """
        if self.version >= 0 and changes.version != self.version + 1:
            raise CorruptStoreError(f"the commit after version {self.version} is of version {changes.version}")
        if changes.reset:
            self._clear()
        for page, rows in zip(changes.pages, page_rows, strict=True):
            if len(self.ids) and page.first <= int(self.ids[-1]):
                raise CorruptStoreError(
                    f"its page {page.key} begins with id {page.first}, which is not above every id before", key=page.key
                )
            self._append(rows)
        self._paged.append(changes.pages)
        self._delete(changes.deleted)
        self._upsert(changes.rows)
        self._replace_segments(changes.dropped, changes.segments)
        if changes.next_id < self.next_id or (len(self.ids) and int(self.ids[-1]) >= changes.next_id):
            raise CorruptStoreError(f"its next_id {changes.next_id} is not above every id before")
        self._drop_dead()
        self.version, self.next_id = changes.version, changes.next_id
        self.writers = (*self.writers, *changes.writers)[-_WRITERS:]

    def _append(self, rows: RowBatch) -> None:
        if not len(rows):
            return
        first = len(self.names)
        self.names.extend(rows.names)
        self._ids.append(rows.ids)
        self._layouts.append(self._layout_table.add(rows.layout_table)[rows.layouts])
        self._live += len(rows)
        if self.known_rows:
            self.known_rows.update(zip(rows.names, range(first, len(self.names)), strict=True))
        self._attributes.append(rows)

    def _delete(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        rows = self._rows_of_ids(ids)
        deleted = self.layouts[rows] == _DELETED
        if deleted.any():
            raise CorruptStoreError(f"dataset id {int(ids[np.argmax(deleted)])} is deleted twice")
        self._layouts = self._layouts.replaced(rows, _DELETED)
        self._live -= len(rows)
        if self.known_rows:
            for row in rows.tolist():
                if self.known_rows.get(self.names[row]) == row:
                    del self.known_rows[self.names[row]]
        self._paged.note_changed(ids)

    def _upsert(self, rows: RowBatch) -> None:
        found = find_sorted(self.ids, rows.ids)
        known = found >= 0
        if known.any():
            at = found[known]
            for row, name in zip(at.tolist(), np.array(rows.names, object)[known].tolist(), strict=True):
                if self.names[row] != name or self.layouts[row] == _DELETED:
                    raise CorruptStoreError(
                        f"it changes dataset id {int(self.ids[row])}, which is not the live dataset {name!r}"
                    )
            numbers = self._layout_table.add(rows.layout_table)[rows.layouts[known]]
            self._layouts = self._layouts.replaced(at, numbers)
            self._attributes.replace(at, rows.picked(known))
            self._paged.note_changed(rows.ids[known])
        new = ~known
        if new.any():
            if len(self.ids) and int(rows.ids[new][0]) <= int(self.ids[-1]):
                raise CorruptStoreError(
                    f"it adds dataset id {int(rows.ids[new][0])}, which is not above every id before"
                )
            self._paged.note_unpaged(rows.ids[new])
            self._append(rows.picked(new))

    def _replace_segments(self, dropped: Sequence[str], added: Sequence[SegmentRef]) -> None:
        segments = {name: list(refs) for name, refs in self.segments.items()}
        removed = set(dropped)
        if removed:
            kept = {name: [ref for ref in refs if ref.key not in removed] for name, refs in segments.items()}
            segments = {name: refs for name, refs in kept.items() if refs}
        keys = self._segment_keys - removed
        for ref in added:
            if ref.key in keys:
                raise CorruptStoreError(f"segment {ref.key} is named twice", key=ref.key)
            keys.add(ref.key)
            segments.setdefault(ref.array, []).append(ref)
        self.segments, self._segment_keys = segments, keys

    def _drop_dead(self) -> None:
        """Drop the rows of deleted datasets where they are many, and attributes that no row has.

        A handle that creates and deletes for months then holds no more than one that opens the store.
        """
        if len(self.names) - self._live > max(_MOST_DEAD, self._live):
            kept = self.layouts != _DELETED
            self._paged.forget_unpaged(self.ids[~kept])
            self.names = list(compress(self.names, kept.tolist()))
            self._ids, self._layouts = AppendColumn(self.ids[kept]), AppendColumn(self.layouts[kept])
            self._attributes = self._attributes.picked(kept)
            self.known_rows, self.numbering = {}, object()
        if self._attributes.is_scattered:
            self._attributes.tidy(self.layouts != _DELETED)

    # Looking up

    def _rows_of_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = find_sorted(self.ids, ids)
        if (rows < 0).any():
            unknown = int(ids[np.argmax(rows < 0)])
            raise CorruptStoreError(f"it names dataset id {unknown}, which is not known")
        return rows

    def __len__(self) -> int:
        """Return the number of live datasets."""
        return self._live

    @property
    def row_by_name(self) -> dict[str, int]:
        """Row of each live dataset, made on first use: mapping a million names takes longer than reading them.

        Raises `CorruptStoreError` where two have the same name.
        """
        by_name = self.known_rows
        while not by_name and self._live:
            layouts = self.layouts
            rows = np.flatnonzero(layouts != _DELETED).tolist()
            live = self.names[: len(layouts)]
            names = live if len(rows) == len(layouts) else list(compress(live, (layouts != _DELETED).tolist()))
            by_name = dict(zip(names, rows, strict=True))
            if len(by_name) != len(rows):
                name = next(name for name, row in zip(names, rows, strict=True) if by_name[name] != row)
                raise CorruptStoreError(
                    f"the store is damaged: two of its datasets have the same name, {name!r}; restore its commits and "
                    "checkpoint from a copy",
                    dataset=name,
                )
            self.known_rows = by_name
            if self.layouts is not layouts:  # a commit was applied meanwhile, and may have missed this map
                by_name = self.known_rows = {}
        return by_name

    def find(self, name: str) -> tuple[int, dict[str, ArrayEntry]] | None:
        """Return the id and the arrays of a live dataset; None also where `known_rows` is still empty.

        Needs no lock where the caller finds out whether a commit was applied meanwhile.
        """
        try:
            row = self.known_rows[name]
            number = self._layouts.values.item(row)
            return None if number == _DELETED else (self._ids.values.item(row), self._layout_table.arrays(number))
        except (KeyError, IndexError):  # of a name that there is not, or of columns that are being replaced
            return None

    def shown_attributes(self, name: str, show: Callable[[Any], _T]) -> dict[str, _T] | None:
        """Return what `show` returns for each shown attribute of a live dataset; None as `find` does, and like it."""
        try:
            return self._attributes.shown(self.known_rows[name], show)
        except (KeyError, IndexError):
            return None

    def find_attributes(self, name: str) -> dict[AttributeKey, Any] | None:
        """Return the encoded attributes of a live dataset, as a new dictionary; None as `find` does, and like it."""
        try:
            return self.encoded_attributes(self.known_rows[name])
        except (KeyError, IndexError):
            return None

    def row_by_id(self, identity: int) -> int | None:
        """Return the row of the live dataset with an id, None where there is none."""
        row = int(np.searchsorted(self.ids, identity))
        return row if row < len(self.ids) and self.ids[row] == identity and self.layouts[row] != _DELETED else None

    def name_of(self, identity: int) -> str:
        """Return the name of the dataset with that id, `"id N"` where there is none; for messages."""
        row = int(np.searchsorted(self.ids, identity))
        return self.names[row] if row < len(self.ids) and self.ids[row] == identity else f"id {identity}"

    def live_rows(self) -> NDArray[np.int64]:
        """Return the rows of live datasets, ascending."""
        return np.flatnonzero(self.layouts != _DELETED)

    def layout(self, row: int) -> Layout:
        """Return the arrays of the dataset at `row`."""
        return self.layout_table[int(self.layouts[row])]

    def arrays(self, row: int) -> dict[str, ArrayEntry]:
        """Return the arrays of the dataset at `row` by name; rows of one layout share the dictionary."""
        return self._layout_table.arrays(int(self.layouts[row]))

    def array_attributes(self, rows: NDArray[np.int64]) -> tuple[list[dict[AttributeKey, Any]], NDArray[np.int64]]:
        """Return the distinct attributes that may be of arrays of the datasets at `rows`. See `AttributeSetColumn`."""
        return self._attributes.groups(rows)

    def attributes_by_key(
        self, rows: NDArray[np.int64], skipped: Collection[str]
    ) -> Iterator[tuple[AttributeKey, list[Any]]]:
        """Yield the distinct values of attributes that can be of no array. See `AttributeSetColumn.by_key`."""
        return self._attributes.by_key(rows, skipped)

    def attribute_parts(self, rows: NDArray[np.int64]) -> list[AttributePart]:
        """Return the attribute sets of the datasets at `rows`, by table. See `AttributeSetColumn.parts`."""
        return self._attributes.parts(rows)

    def encoded_attributes(self, row: int) -> dict[AttributeKey, Any]:
        """Return the attributes of the dataset at `row` as encoded values."""
        return self._attributes.encoded(row)

    def attribute_loader(self, row: int) -> Callable[[], dict[AttributeKey, Any]]:
        """Return what looks up the attributes of the dataset at `row`, as they are now, whatever becomes of the row."""
        return self._attributes.loader(row)

    def live_layouts(self) -> list[Layout]:
        """Return the layouts that live datasets have."""
        layout_table, used = self.layout_table, np.unique(self.layouts)
        return [layout_table[index] for index in used.tolist() if index != _DELETED]

    def live_names(self, hidden: Collection[int] = ()) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of live datasets and their rows, (N,), without those of the ids `hidden`.

        The list must not be changed.
        """
        kept = self.layouts != _DELETED
        if hidden:
            kept[self._rows_of_ids(np.array(sorted(hidden), np.int64))] = False
        rows = np.flatnonzero(kept)
        return self.names if len(rows) == len(self.names) else list(compress(self.names, kept.tolist())), rows

    def find_rows(self, names: list[str], hidden: Collection[int] = ()) -> NDArray[np.int64]:
        """Return the row of the live dataset of each name; -1 where there is none, and for the ids `hidden`."""
        if len(names) == len(self) - len(hidden):
            # Comparing a million names takes a tenth of the time of looking each up.
            live, at = self.live_names(hidden)
            if names == live:
                return at
        rows = self._look_up(names)
        if hidden:
            rows[np.isin(self.ids[rows], list(hidden))] = -1
        return rows

    def _look_up(self, names: list[str]) -> NDArray[np.int64]:
        if not len(self):
            return np.full(len(names), -1)
        try:
            return np.fromiter(map(self.row_by_name.__getitem__, names), np.int64, len(names))
        except KeyError:
            return np.array([self.row_by_name.get(name, -1) for name in names], np.int64)

    def index_of(self, array: str) -> ArrayIndex:
        """Return the entries of `array` in all layouts."""
        return self._layout_table.index_of(array)

    # Writing documents

    def rows(self, at: NDArray[np.int64]) -> RowBatch:
        """Return the datasets at the rows `at`, ascending."""
        layout_table = self.layout_table
        layouts, layout_of = np.unique(self.layouts[at], return_inverse=True)
        own, of_arrays, table = self._attributes.rows(at)
        names = [self.names[row] for row in at.tolist()]
        used = [layout_table[index] for index in layouts.tolist()]
        return RowBatch(self.ids[at], names, layout_of, own, of_arrays, used, table)

    def plan_pages(self, page_rows: int, *, anew: bool = False) -> tuple[bool, list[NDArray[np.int64]]]:
        """Return the rows of each page to write, and whether these pages replace all others.

        `page_rows` is the number of rows up to which they stay in a document; `anew` replaces all pages in any case.
        """
        if anew or self._paged.rewrite_is_due(page_rows):
            live = self.live_rows()
            return True, [live] if len(live) else []
        rows = self._live_unpaged()
        return False, [rows[group] for group in self._paged.plan(self.ids[rows], page_rows)]

    def record_pages(self, pages: Sequence[PageRef], *, replace: bool) -> None:
        """Note that the planned pages were written, in place of all others where `replace`."""
        self._paged.record(pages, replace=replace)

    def _live_unpaged(self) -> NDArray[np.int64]:
        """Return the live rows that lie in no page, ascending."""
        rows = self._rows_of_ids(self._paged.unpaged)
        live: NDArray[np.int64] = rows[self.layouts[rows] != _DELETED]
        return live

    def checkpoint(self) -> Changes:
        """Return the sum of all changes: the pages, and the rows and deletions that differ from them."""
        changed = self._paged.changed
        rows = find_sorted(self.ids, changed)
        live = rows >= 0
        live[live] = self.layouts[rows[live]] != _DELETED
        inline = np.concatenate([rows[live], self._live_unpaged()])
        return Changes(
            self.version,
            self.next_id,
            self.pages,
            changed[~live],
            self.rows(inline) if len(inline) else EMPTY_ROWS,
            (),
            tuple(ref for refs in self.segments.values() for ref in refs),
            self.writers,
        )
