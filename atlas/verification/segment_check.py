"""One array of a store, byte for byte: its files, what their indexes say, every block, and every chunk of the version.

Damage is noted and never raised: a file that is missing, short or unreadable is damage too. It is named by dataset and
chunk where the index can be read; where it cannot, by every dataset whose chunks may have been in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas import kernels
from atlas.catalog.chunk_index import ChunkIndex, load_segment
from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.packing import SPAN, WHOLE
from atlas.chunking.regions import chunk_cells
from atlas.errors import AtlasError, CorruptStoreError
from atlas.format.dtypes import EXTREME_DTYPES
from atlas.format.segment import FOOTER_SIZE, HEADER, decode_footer
from atlas.runtime.memory import check_room
from atlas.runtime.threads import run_all, thread_count
from atlas.verification.chunk_check import NOT_COUNTED, Pieces, Recount, text_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import Source
    from atlas.catalog.layout_table import ArrayIndex
    from atlas.format.schema import ArraySchema
    from atlas.format.segment import ChunkRows, SegmentRef
    from atlas.storage import Storage
    from atlas.verification.findings import Findings

__all__ = ["check_array"]

_MISSING = "it is missing"
_AT_ONCE = 4
"""Lots that a thread takes before progress is told."""
_PIECE = 120
"""Bytes that a piece takes until it is counted, about."""


class _Opened(NamedTuple):
    """A segment whose file was looked at."""

    ref: SegmentRef
    faults: list[str]
    """What is wrong with the file beside its blocks and index."""
    part: tuple[Source, ChunkRows] | None
    """Its tables, None where they cannot be read."""
    lost: str
    """Why they cannot."""


def check_array(storage: Storage, catalog: Catalog, array: str, refs: Sequence[SegmentRef], findings: Findings) -> None:
    """Read the segments `refs` of an array, oldest first, and note what is damaged."""
    opened = run_all(lambda ref: _open(storage, ref), refs)
    for segment in opened:
        findings.files += 1
        for fault in segment.faults:
            findings.add(segment.ref.key, fault, array=array)
        tail = segment.ref.size - segment.ref.footer.index_offset
        findings.advance(len(HEADER) + tail if segment.part is not None else segment.ref.size)
    readable = [segment for segment in opened if segment.part is not None]
    table = ChunkIndex.of([segment.part for segment in readable if segment.part is not None])
    checked = _Checked(catalog, array, table, findings)
    checked.check_blocks()
    age = {segment.ref.key: at for at, segment in enumerate(readable)}
    newer = 0
    for segment in opened:
        if segment.part is not None:
            newer = age[segment.ref.key] + 1
        else:
            findings.lost.add(segment.ref.key)
            findings.missing.update([segment.ref.key] * (segment.lost == _MISSING))
            checked.note_lost(segment.ref.key, segment.lost, newer)


def _open(storage: Storage, ref: SegmentRef) -> _Opened:
    faults = []
    size = ref.size
    try:
        size = storage.size(ref.key)
        if size != ref.size:
            faults.append(f"it has {size:,} bytes, not the {ref.size:,} that the commit says")
        if storage.read_range(ref.key, 0, len(HEADER)) != HEADER:
            faults.append("its header is damaged; its data can be read all the same")
        footer = decode_footer(storage.read_range(ref.key, ref.size - FOOTER_SIZE, FOOTER_SIZE), ref.size)
        if footer != ref.footer:
            faults.append("its footer is not the one that the commit says")
    except FileNotFoundError:
        return _Opened(ref, [], None, _MISSING)
    except CorruptStoreError as error:
        if not faults:  # what is short has no footer
            faults.append(f"its footer is damaged ({error}); its data can be read all the same")
    except AtlasError as error:
        faults.append(f"it cannot be read: {error}")
    try:
        return _Opened(ref, faults, load_segment(storage, ref), "")
    except AtlasError as error:
        cause = error.__cause__ or error
        reason = _MISSING if isinstance(cause, FileNotFoundError) else f"its index cannot be read ({cause})"
        if size < ref.footer.index_offset + ref.footer.index_length:
            reason = "its index is cut off"
        return _Opened(ref, faults, None, reason)


class _Checked:
    """The chunks of one array in the version."""

    def __init__(self, catalog: Catalog, array: str, table: ChunkIndex, findings: Findings) -> None:
        self.catalog, self.array, self.table, self.findings = catalog, array, table, findings
        self.index: ArrayIndex = catalog.index_of(array)
        self.schema = _live_schemas(catalog, self.index, table.rows)  # of each row, -1 where it is of no live array
        self.kinds, self.kind_of = _kinds(self.index.schemas)
        self.faults: dict[int, str] = {}
        self.cells = self._count_cells()

    def _count_cells(self) -> NDArray[np.int64]:
        """Return the cells of each live chunk, and note those outside the grid, which are live no more."""
        rows, schemas = self.table.rows, self.index.schemas
        chunks = np.array([min(schema.chunks, 2**63 - 1) for schema in schemas] or [0], np.int64)
        outside = (self.schema >= 0) & (rows.chunk >= chunks[self.schema])
        cells = np.array([schema.size for schema in schemas] or [0], np.int64)[self.schema]
        many = np.flatnonzero((self.schema >= 0) & ~outside & (chunks[self.schema] > 1))
        many = many[np.argsort(self.schema[many], kind="stable")]
        for some in np.split(many, np.flatnonzero(np.diff(self.schema[many])) + 1) if len(many) else ():
            cells[some] = chunk_cells(schemas[int(self.schema[some[0]])], rows.chunk[some])
        for row in np.flatnonzero(outside).tolist():
            self.findings.add(
                self.table.sources[int(self.table.source[row])].name,
                f"a chunk number {int(rows.chunk[row])} is said to be there, outside the array's grid",
                array=self.array,
                dataset=int(rows.dataset[row]),
            )
        self.schema[outside] = -1
        return cells

    def check_blocks(self) -> None:
        """Decode every block, recount every live chunk, and note what differs."""
        live = np.flatnonzero(self.schema >= 0)
        rows, kind = self.table.rows, self.kind_of[self.schema]
        self.findings.chunks += len(live)
        text = np.array([schema.datatype.cell is None for schema in self.kinds] or [False])[kind]
        constant = rows.block < 0
        self._check_constant(live[constant[live] & ~text[live]], kind)
        self._check_constant_text(live[constant[live] & text[live]])
        order, pieces = self._pieces(live[~constant[live]], kind, text)
        recount = Recount(self.table, pieces, self.kinds)
        lots = recount.lots()
        self.findings.blocks += self.table.blocks.shape[1]
        step = _AT_ONCE * thread_count()
        for first in range(0, len(lots), step):
            self.findings.advance(sum(run_all(recount.count, lots[first : first + step])))
        self.findings.missing |= recount.missing
        self._compare(recount, order, kind, text)
        self._note_blocks(recount)
        for row in sorted(self.faults):
            self._note(row, self.faults[row])

    def _measured(
        self, at: NDArray[np.int64], kind: NDArray[np.int64], text: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return those of the rows `at` whose chunks have blocks enough in their files, and bytes a cell and in all."""
        table = self.table
        itemsize = np.array([schema.datatype.itemsize for schema in self.kinds] or [1], np.int64)[kind[at]]
        length = np.where(text[at], 4, itemsize) * self.cells[at]  # of texts what their lengths take
        source = table.source[at]
        blocks = np.append(table.base[1:], table.blocks.shape[1])[source] - table.base[source] - table.rows.block[at]
        # Looked at before anything is made of it: a row may claim chunks of petabytes.
        fits = text[at] | (length <= WHOLE) | (-(-length // SPAN) <= blocks)
        for bad in at[~fits].tolist():
            self.faults[bad] = "its cells do not lie in its blocks"
        return at[fits], itemsize[fits], length[fits]

    def _pieces(
        self, at: NDArray[np.int64], kind: NDArray[np.int64], text: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Pieces]:
        """Return the pieces of the chunks in the rows `at`, ordered by block, and the order they had by row."""
        table = self.table
        at, itemsize, length = self._measured(at, kind, text)
        cut = (length > WHOLE) & ~text[at]
        count = np.where(cut, -(-length // SPAN), 1)
        check_room(int(count.sum()) * _PIECE, "a plan to verify so many chunks", "verify the store on a larger machine")
        row = np.repeat(np.arange(len(at)), count)
        span = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        source = table.source[at][row]
        last = np.append(table.base[1:], table.blocks.shape[1])
        block = table.base[source] + table.rows.block[at][row] + span
        own = np.where(cut[row], np.minimum(SPAN, length[row] - span * SPAN), length[row])
        begin = table.rows.offset[at].astype(np.int64)[row]
        beyond = block >= last[source]
        raw = table.blocks[kernels.BLOCK_RAW][np.minimum(block, table.blocks.shape[1] - 1)] if len(row) else own
        beyond |= np.where(cut[row], (begin != 0) | (raw != own), (begin > raw) | (own > raw - begin))
        for bad in np.unique(at[row[beyond]]).tolist():
            self.faults[bad] = "its cells do not lie in its blocks"
        lost = np.zeros(len(at), bool)
        lost[row[beyond]] = True
        kept = np.flatnonzero(~lost[row])
        kept = kept[np.argsort(block[kept], kind="stable")]
        cells = np.where(text[at][row], self.cells[at][row], own // itemsize[row])
        back = np.argsort(row[kept], kind="stable")
        return back, Pieces(at[row[kept]], block[kept], begin[kept], cells[kept], kind[at][row[kept]])

    def _compare(
        self, recount: Recount, back: NDArray[np.int64], kind: NDArray[np.int64], text: NDArray[np.bool_]
    ) -> None:
        """Note chunks whose cells are not what their rows say; `back` orders pieces by row."""
        pieces, rows = recount.pieces, self.table.rows
        bad = np.isin(pieces.block, list(recount.bad_blocks))
        for piece in np.flatnonzero(bad).tolist():
            block = int(pieces.block[piece])
            reason = f"block {self._own_number(block)}: {recount.bad_blocks[block]}"
            self.faults.setdefault(int(pieces.row[piece]), reason)
        for piece, reason in recount.bad_pieces.items():
            self.faults.setdefault(int(pieces.row[piece]), reason)
        back = back[~text[pieces.row[back]]]
        heads = np.flatnonzero(np.diff(pieces.row[back], prepend=-1))
        if not len(heads):
            return
        row = pieces.row[back][heads]
        differs = np.add.reduceat(recount.nulls[back], heads) != rows.nulls[row]
        for number, schema in enumerate(self.kinds):
            some = kind[row] == number
            if schema.datatype.cell is None or not some.any():
                continue
            wide = EXTREME_DTYPES[schema.datatype.kind]
            low = np.minimum.reduceat(recount.low[back].view(wide), heads).view(np.uint64)
            high = np.maximum.reduceat(recount.high[back].view(wide), heads).view(np.uint64)
            differs |= some & ((low != rows.minimum[row]) | (high != rows.maximum[row]))
        for other in row[differs].tolist():
            self.faults.setdefault(other, NOT_COUNTED)

    def _check_constant(self, at: NDArray[np.int64], kind: NDArray[np.int64]) -> None:
        rows = self.table.rows
        for number in np.unique(kind[at]).tolist():
            some, schema = at[kind[at] == number], self.kinds[number]
            dtype = schema.datatype.cell
            assert dtype is not None
            cells: NDArray[Any] = rows.offset[some].astype(f"<u{dtype.itemsize}").view(dtype)
            found = kernels.chunk_statistics(
                cells,
                np.arange(len(some)),
                np.ones(len(some), np.int64),
                schema.fill,
                missing_minimum=schema.datatype.kind == "timestamp",
            )
            differs = found.nulls * self.cells[some] != rows.nulls[some]
            differs |= (found.minimum != rows.minimum[some]) | (found.maximum != rows.maximum[some])
            self.faults.update(dict.fromkeys(some[differs].tolist(), NOT_COUNTED))

    def _check_constant_text(self, at: NDArray[np.int64]) -> None:
        rows = self.table.rows
        for row in at.tolist():
            schema, cells = self.index.schemas[int(self.schema[row])], int(self.cells[row])
            # One cell stands for all: which of them is named as the smallest does not matter.
            low, high = (0 if int(column[row]) < cells else int(column[row]) for column in (rows.minimum, rows.maximum))
            fill = None if schema.fill is None else schema.fill_bits.decode()
            nulls = int(rows.nulls[row])
            fault = text_fault([schema.fill_bits.decode()], fill, (nulls // cells, low, high))
            if fault is not None or nulls not in {0, cells}:
                self.faults[row] = NOT_COUNTED

    # Naming

    def _own_number(self, block: int) -> int:
        return block - int(self.table.base[self.table.blocks[kernels.BLOCK_SOURCE, block]])

    def _note(self, row: int, what: str) -> None:
        rows, schema = self.table.rows, self.index.schemas[int(self.schema[row])]
        grid = tuple(map(int, np.unravel_index(int(rows.chunk[row]), schema.grid))) if schema.grid else ()
        source = self.table.sources[int(self.table.source[row])].name
        self.findings.add(source, what, array=self.array, dataset=int(rows.dataset[row]), chunk=grid)

    def _note_blocks(self, recount: Recount) -> None:
        """Note damaged blocks in which nothing of the version lies."""
        used = set(recount.pieces.block.tolist()) if recount.bad_blocks else set()
        for block in sorted(recount.bad_blocks.keys() - used):
            what = f"block {self._own_number(block)}, of which the version needs nothing: {recount.bad_blocks[block]}"
            self.findings.add(self.table.source_of(block).name, what, array=self.array)

    def note_lost(self, key: str, reason: str, newer: int) -> None:
        """Note that a segment's index cannot be read; `newer` is the first source that is newer than it."""
        concerned = False
        for identity in self._datasets_without(newer):
            concerned = True
            what = f"{reason}: which chunks it held cannot be known"
            self.findings.add(key, what, array=self.array, dataset=identity)
        if not concerned:
            self.findings.add(key, f"{reason}; the version needs nothing of it", array=self.array)

    def _datasets_without(self, newer: int) -> Iterator[int]:
        """Yield the ids of datasets of which not every chunk lies in the sources from `newer` on."""
        live = self.catalog.live_rows()
        layouts = self.catalog.layouts[live]
        entry = self.index.entry[layouts] if len(self.index.entry) else np.full(len(live), -1)
        ids, schema = self.catalog.ids[live][entry >= 0], self.index.schema[entry[entry >= 0]]
        safe = (self.schema >= 0) & (self.table.source >= newer)
        at, count = np.unique(self.table.rows.dataset[safe], return_counts=True)
        held = np.zeros(len(ids), np.int64)
        held[find_sorted(ids, at)] = count
        chunks = np.array([min(some.chunks, 2**63 - 1) for some in self.index.schemas] or [0], np.int64)
        yield from ids[held < chunks[schema]].tolist()


def _live_schemas(catalog: Catalog, index: ArrayIndex, rows: ChunkRows) -> NDArray[np.int64]:
    """Return the number of each row's schema in `index`, -1 where the version has no such array."""
    if not len(catalog.ids) or not len(index.entries):
        return np.full(len(rows), -1, np.int64)
    at = find_sorted(catalog.ids, rows.dataset)
    layout = np.where(at >= 0, catalog.layouts[at], -1)
    entry = np.where(layout >= 0, index.entry[layout], -1)
    alive = (entry >= 0) & (index.generation[entry] == rows.generation)
    return np.where(alive, index.schema[entry], -1)


def _kinds(schemas: Sequence[ArraySchema]) -> tuple[list[ArraySchema], NDArray[np.int64]]:
    """Return schemas that differ in dtype or fill, and for each schema the number of the one that is like it."""
    numbers: dict[tuple[str, bytes | None], int] = {}
    kinds: list[ArraySchema] = []
    of = []
    for schema in schemas:
        key = schema.datatype.name, None if schema.fill is None else schema.fill_bits
        if key not in numbers:
            numbers[key] = len(kinds)
            kinds.append(schema)
        of.append(numbers[key])
    return kinds, np.array(of or [0], np.int64)
