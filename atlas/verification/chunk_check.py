"""Compares every live chunk of one array with its row in the index: where its cells lie, and what statistics they have.

Damage is noted by dataset and chunk, and never raised. A chunk is live where the version has its array and no newer
segment has the same chunk; others are not looked at, though their blocks are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.catalog.shared_chunks import DigestedChunks, digests_of
from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.batches import equal_runs, first_alike
from atlas.chunking.regions import chunk_cells
from atlas.commit.stored_chunks import holds_digests
from atlas.format.dtypes import EXTREME_DTYPES
from atlas.format.segment import NO_DIGEST
from atlas.format.strings import IN_CELL, LENGTH_BYTES, string_statistics
from atlas.runtime.threads import run_all, thread_count
from atlas.verification.block_check import (
    ODD_BOOL,
    WRONG_STATISTICS,
    BlockCheck,
    cell_statistics,
    check_strings,
    holds_odd_bools,
)
from atlas.verification.chunk_pieces import StoredChunks, plan_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.layout_table import ArrayIndex
    from atlas.format.schema import ArraySchema
    from atlas.format.segment import ChunkRows
    from atlas.verification.findings import Findings

__all__ = ["ChunkCheck"]

_BATCHES_A_THREAD = 4
"""Batches that a thread takes between two reports of progress."""
_LARGEST = 2**63 - 1
_WRONG_DIGEST = "its digest is not that of its cells"
_LOST_CHUNK = "it shares a chunk that no readable segment of the array has"


class ChunkCheck:
    """The chunks of one array, over all its readable segments."""

    def __init__(self, catalog: Catalog, array: str, table: ChunkIndex, findings: Findings) -> None:
        self._catalog, self._array, self._table, self._findings = catalog, array, table, findings
        self._index = catalog.index_of(array)
        self._chunk_counts = np.array([min(one.chunks, _LARGEST) for one in self._index.schemas] or [0], np.int64)
        # Columns over the rows of the table. Of rows that are not live only the schema, -1, means anything.
        self._schema = _live_schemas(catalog, self._index, table.rows)
        self._drop_rows_outside()
        self._kinds, kind_of = _group_by_kind(self._index.schemas)
        self._kind = kind_of[self._schema]
        self._is_string = np.array([kind.datatype.cell is None for kind in self._kinds] or [False])[self._kind]
        self._cells = self._count_cells()
        self._faults: dict[int, str] = {}  # what is wrong with the chunk in a row

    def _drop_rows_outside(self) -> None:
        """Note rows of chunks outside of their array's grid, and count them as not live."""
        rows = self._table.rows
        outside = (self._schema >= 0) & (rows.chunk >= self._chunk_counts[self._schema])
        for row in np.flatnonzero(outside).tolist():
            what = f"its index has a chunk number {int(rows.chunk[row])}, which is outside of the array's grid"
            self._findings.add(self._source_name(row), what, array=self._array, dataset=int(rows.dataset[row]))
        self._schema[outside] = -1

    def _count_cells(self) -> NDArray[np.int64]:
        """Return the number of cells of each live chunk."""
        schemas = self._index.schemas
        cells = np.array([schema.size for schema in schemas] or [0], np.int64)[self._schema]
        rows = np.flatnonzero((self._schema >= 0) & (self._chunk_counts[self._schema] > 1))
        rows = rows[np.argsort(self._schema[rows], kind="stable")]
        for run in equal_runs(self._schema[rows]):
            at = rows[run]
            cells[at] = chunk_cells(schemas[int(self._schema[at[0]])], self._table.rows.chunk[at])
        return cells

    def run(self) -> None:
        """Decode every block, compare every live chunk with its row, and note what is damaged."""
        live = np.flatnonzero(self._schema >= 0)
        self._findings.chunks += len(live)
        is_constant, is_string = self._table.rows.block[live] < 0, self._is_string[live]
        self._check_constant_numbers(live[is_constant & ~is_string])
        self._check_constant_strings(live[is_constant & is_string])
        checked = self._check_blocks(live[~is_constant])
        self._take_faults(checked)
        self._compare_statistics(checked)
        self._compare_digests(live)
        self._note_unused_blocks(checked)
        for row in sorted(self._faults):
            self._note_chunk(row, self._faults[row])

    # Chunks in blocks

    def _check_blocks(self, rows: NDArray[np.int64]) -> BlockCheck:
        """Decode every block of the array, and count the cells of the chunks in `rows` (N,), which lie in blocks."""
        table = self._table
        itemsize = np.array([kind.datatype.itemsize for kind in self._kinds] or [1], np.int64)[self._kind[rows]]
        chunks = StoredChunks(
            row=rows,
            kind=self._kind[rows],
            source=table.source[rows],
            block=table.rows.block[rows],
            offset=table.rows.offset[rows].astype(np.int64),
            cells=self._cells[rows],
            itemsize=np.where(self._is_string[rows], LENGTH_BYTES, itemsize),
            is_string=self._is_string[rows],
        )
        pieces, misplaced = plan_pieces(chunks, table.base, table.blocks[kernels.BLOCK_RAW], self._findings.limits)
        self._faults.update(dict.fromkeys(misplaced.tolist(), "its cells do not lie in its blocks"))
        check = BlockCheck(table, pieces, self._kinds)
        batches = check.batches()
        step = _BATCHES_A_THREAD * thread_count()
        for first in range(0, len(batches), step):
            self._findings.advance(sum(run_all(check.check_batch, batches[first : first + step])))
        self._findings.blocks += table.blocks.shape[1]
        self._findings.missing |= check.missing
        return check

    def _take_faults(self, checked: BlockCheck) -> None:
        """Take the faults of blocks and pieces as those of the chunks that need them; the first of a chunk counts."""
        pieces = checked.pieces
        for piece in np.flatnonzero(np.isin(pieces.block, list(checked.bad_blocks))).tolist():
            block = int(pieces.block[piece])
            reason = f"block {self._own_number(block)}: {checked.bad_blocks[block]}"
            self._faults.setdefault(int(pieces.row[piece]), reason)
        for piece, reason in checked.bad_pieces.items():
            self._faults.setdefault(int(pieces.row[piece]), reason)

    def _compare_statistics(self, checked: BlockCheck) -> None:
        """Add the statistics of pieces up to those of their chunks, and note rows that have others; not of strings."""
        rows, pieces = self._table.rows, checked.pieces
        order = np.flatnonzero(~self._is_string[pieces.row])
        order = order[np.argsort(pieces.row[order], kind="stable")]
        heads = np.flatnonzero(np.diff(pieces.row[order], prepend=-1))  # the first piece of each chunk, in that order
        if not len(heads):
            return
        row = pieces.row[order][heads]
        differs = np.add.reduceat(checked.nulls[order], heads) != rows.nulls[row]
        differs |= np.add.reduceat(checked.nans[order], heads) != rows.nans[row]
        for number, kind in enumerate(self._kinds):
            mine = self._kind[row] == number
            if kind.datatype.cell is None or not mine.any():
                continue
            dtype = EXTREME_DTYPES[kind.datatype.kind]
            low = np.minimum.reduceat(checked.low[order].view(dtype), heads).view(np.uint64)
            high = np.maximum.reduceat(checked.high[order].view(dtype), heads).view(np.uint64)
            differs |= mine & ((low != rows.minimum[row]) | (high != rows.maximum[row]))
        for bad in row[differs].tolist():
            self._faults.setdefault(bad, WRONG_STATISTICS)

    def _compare_digests(self, live: NDArray[np.int64]) -> None:
        """Compare the digests of the chunks in the rows `live` with their cells.

        Rows of one chunk are compared once, where they name it by one digest and read it alike.
        """
        table, rows = self._table, self._table.rows
        digested = live[(rows.digest[live] != NO_DIGEST) & (rows.block[live] >= 0)]
        digested = digested[~np.isin(digested, list(self._faults))]
        columns = (table.source, rows.block, rows.offset.view(np.int64), rows.digest, self._kind, self._cells)
        first, which = first_alike(*(column[digested] for column in columns))
        at = digested[first]
        own, source = rows.take(at), table.source[at]
        stored = DigestedChunks(digests_of(own, source, [some.digests for some in table.sources]), source, own)
        schemas = [self._index.schemas[schema] for schema in self._schema[at].tolist()]
        holds = holds_digests(table, self._array, stored, schemas, self._cells[at].tolist(), self._findings.limits)
        self._faults.update(dict.fromkeys(digested[~holds[which]].tolist(), _WRONG_DIGEST))

    # Constant chunks

    def _check_constant_numbers(self, at: NDArray[np.int64]) -> None:
        """Compare the statistics of the constant chunks in the rows `at`, which hold the bits of their only value."""
        rows = self._table.rows
        for number in np.unique(self._kind[at]).tolist():
            kind, mine = self._kinds[number], at[self._kind[at] == number]
            dtype = kind.datatype.cell
            assert dtype is not None
            values: NDArray[Any] = rows.offset[mine].astype(f"<u{dtype.itemsize}").view(dtype)
            found = cell_statistics(kind, values, np.arange(len(mine)), np.ones(len(mine), np.int64))
            differs = found.nulls * self._cells[mine] != rows.nulls[mine]
            differs |= found.nans * self._cells[mine] != rows.nans[mine]
            differs |= (found.minimum != rows.minimum[mine]) | (found.maximum != rows.maximum[mine])
            self._faults.update(dict.fromkeys(mine[differs].tolist(), WRONG_STATISTICS))
            self._faults.update(dict.fromkeys(mine[holds_odd_bools(kind, found)].tolist(), ODD_BOOL))

    def _check_constant_strings(self, at: NDArray[np.int64]) -> None:
        """Compare the statistics of the constant string chunks in the rows `at`, whose cells are all the fill value."""
        rows = self._table.rows
        for row in at.tolist():
            schema, cells, nulls = (
                self._index.schemas[int(self._schema[row])],
                self._cells.item(row),
                int(rows.nulls[row]),
            )
            # The cells are equal, so that one stands for all: whichever is named holds the extreme.
            low, high = (
                IN_CELL if IN_CELL <= end < IN_CELL + cells else end
                for end in (rows.minimum.item(row), rows.maximum.item(row))
            )
            cell = [schema.fill_text]
            found = string_statistics(cell, None if schema.fill is None else schema.fill_text)
            texts = self._table.sources[self._table.source.item(row)].texts
            if (
                nulls not in {0, cells}
                or rows.nans.item(row)
                or not check_strings(cell, found, (nulls // cells, low, high), texts)
            ):
                self._faults[row] = WRONG_STATISTICS

    # Noting damage

    def _source_name(self, row: int) -> str:
        return self._table.sources[int(self._table.source[row])].name

    def _own_number(self, block: int) -> int:
        """Return the number of a block within its source."""
        return block - int(self._table.base[self._table.blocks[kernels.BLOCK_SOURCE, block]])

    def _note_chunk(self, row: int, what: str) -> None:
        schema = self._index.schemas[int(self._schema[row])]
        self._note(self._source_name(row), what, schema, self._table.rows, row)

    def _note(self, key: str, what: str, schema: ArraySchema, rows: ChunkRows, row: int) -> None:
        grid = tuple(map(int, np.unravel_index(int(rows.chunk[row]), schema.grid))) if schema.grid else ()
        dataset = int(rows.dataset[row])
        self._findings.add(key, what, array=self._array, dataset=dataset, chunk=grid)

    def _note_unused_blocks(self, checked: BlockCheck) -> None:
        """Note damaged blocks that hold no live chunk."""
        used = set(checked.pieces.block.tolist()) if checked.bad_blocks else set()
        for block in sorted(checked.bad_blocks.keys() - used):
            reason = checked.bad_blocks[block]
            what = f"block {self._own_number(block)}, of which the version needs nothing: {reason}"
            self._findings.add(self._table.source_of(block).name, what, array=self._array)

    def note_lost_segment(self, key: str, reason: str, newer: ChunkRows) -> None:
        """Note a segment whose index cannot be read, with every dataset that it may have held chunks of.

        `newer` (N,) are the rows of the segments that are newer, of each chunk the newest one.
        """
        datasets = self._datasets_not_in(newer)
        for identity in datasets:
            what = f"{reason}: which chunks it held cannot be known"
            self._findings.add(key, what, array=self._array, dataset=identity)
        if not datasets:
            self._findings.add(key, f"{reason}; the version needs nothing of it", array=self._array)

    def note_lost_chunks(self, key: str, rows: ChunkRows) -> None:
        """Note the live chunks among `rows` (N,), of the segment `key`, which share chunks that no segment has."""
        schema = _live_schemas(self._catalog, self._index, rows)
        for row in np.flatnonzero((schema >= 0) & (rows.chunk < self._chunk_counts[schema])).tolist():
            self._note(key, _LOST_CHUNK, self._index.schemas[int(schema[row])], rows, row)

    def _datasets_not_in(self, newer: ChunkRows) -> list[int]:
        """Return the ids of the datasets with this array whose chunks are not all among the rows `newer` (N,)."""
        catalog, index = self._catalog, self._index
        live = catalog.live_rows()
        entry = index.entry[catalog.layouts[live]] if len(index.entry) else np.full(len(live), -1)
        ids, schema = catalog.ids[live][entry >= 0], index.schema[entry[entry >= 0]]
        own = _live_schemas(catalog, index, newer)
        is_safe = (own >= 0) & (newer.chunk < self._chunk_counts[own])
        dataset, count = np.unique(newer.dataset[is_safe], return_counts=True)
        held = np.zeros(len(ids), np.int64)
        held[find_sorted(ids, dataset)] = count
        found: list[int] = ids[held < self._chunk_counts[schema]].tolist()
        return found


def _live_schemas(catalog: Catalog, index: ArrayIndex, rows: ChunkRows) -> NDArray[np.int64]:
    """Return the number, in `index`, of the schema of each row's chunk (N,), -1 where the version has no such array."""
    if not len(catalog.ids) or not len(index.entries):
        return np.full(len(rows), -1, np.int64)
    at = find_sorted(catalog.ids, rows.dataset)
    layout = np.where(at >= 0, catalog.layouts[at], -1)
    entry = np.where(layout >= 0, index.entry[layout], -1)
    is_live = (entry >= 0) & (index.generation[entry] == rows.generation)
    return np.where(is_live, index.schema[entry], -1)


def _group_by_kind(schemas: Sequence[ArraySchema]) -> tuple[list[ArraySchema], NDArray[np.int64]]:
    """Return one schema for each dtype and fill, whose cells are counted alike, and the number of each schema's own."""
    numbers: dict[tuple[str, bytes | None], int] = {}
    kinds: list[ArraySchema] = []
    kind_of = []
    for schema in schemas:
        key = schema.datatype.name, None if schema.fill is None else schema.fill_bits
        if key not in numbers:
            numbers[key] = len(kinds)
            kinds.append(schema)
        kind_of.append(numbers[key])
    return kinds, np.array(kind_of or [0], np.int64)
