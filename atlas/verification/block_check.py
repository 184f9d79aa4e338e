"""Decodes every block of an array and computes the statistics of its pieces anew, in bounded batches, by threads.

A fault is a fact about a block or a piece, never an exception. Where a batch cannot be read or decoded at once, its
blocks are taken one by one, so that a bad sector hides nothing beside it. Numbers are not compared here; strings are,
because their statistics name cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.chunking.batches import first_alike, slices_by_bytes
from atlas.errors import AtlasError
from atlas.format.strings import IN_CELL, NO_EXTREME, cell_bytes, decode_cells, string_statistics
from atlas.kernels import BlockError
from atlas.read.strings import cell_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.schema import ArraySchema
    from atlas.format.strings import Cell, TextTable
    from atlas.kernels import ChunkStatistics
    from atlas.verification.chunk_pieces import Pieces

__all__ = ["ODD_BOOL", "WRONG_STATISTICS", "BlockCheck", "cell_statistics", "check_strings", "holds_odd_bools"]

_BATCH = 4 << 20
"""Stored or decoded bytes of a batch, whichever are more."""
_ALIGNMENT = 64
"""Decoded blocks begin at multiples of this, so that their cells are aligned."""
_REASONS = {
    "checksum": "its bytes do not match their checksum",
    "codec": "it cannot be decompressed",
    "length": "it does not decode to the length that the index says",
    "bounds": "it lies outside the file",
    "offset": "it decodes to more bytes than it may",
}
WRONG_STATISTICS = "its statistics are not those of its cells"
ODD_BOOL = "it holds a byte that is neither 0 nor 1, which is no bool"


@dataclass(slots=True)
class BlockCheck:
    """The statistics of pieces as their cells give them, and what is wrong with blocks and pieces.

    Batches may be checked by several threads: each writes to entries of its own.
    """

    table: ChunkIndex
    """The rows and blocks of the array."""
    pieces: Pieces
    """The pieces (M,) of its live chunks."""
    kinds: Sequence[ArraySchema]
    """A schema for each dtype and fill; `pieces.kind` counts them."""
    nulls: NDArray[np.int64] = field(init=False)
    """Cells equal to the fill, of each piece of fixed-width cells."""
    nans: NDArray[np.int64] = field(init=False)
    """Cells of it that are NaN or not-a-time."""
    low: NDArray[np.uint64] = field(init=False)
    """Bits of the smallest of its other cells."""
    high: NDArray[np.uint64] = field(init=False)
    """Bits of the largest of its other cells."""
    bad_blocks: dict[int, str] = field(default_factory=dict)
    """What is wrong with a block, by its number over all sources."""
    bad_pieces: dict[int, str] = field(default_factory=dict)
    """What is wrong with a piece whose block is undamaged, by the number of the piece."""
    missing: set[str] = field(default_factory=set)
    """Keys of files that do not exist any more."""

    def __post_init__(self) -> None:
        """Allocate the statistics."""
        count = len(self.pieces.row)
        self.nulls, self.nans = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.low, self.high = np.zeros(count, np.uint64), np.zeros(count, np.uint64)

    def batches(self) -> list[slice]:
        """Return the batches of blocks to check, each of one source."""
        blocks = self.table.blocks
        nbytes = np.maximum(blocks[kernels.BLOCK_STORED], blocks[kernels.BLOCK_RAW])
        return slices_by_bytes(nbytes, _BATCH, blocks[kernels.BLOCK_SOURCE])

    def check_batch(self, batch: slice) -> int:
        """Read and decode the blocks of a batch, count the cells of their pieces, and return the stored bytes."""
        table = self.table.blocks[:, batch].copy()
        stored, bad = self._read_blocks(batch, table)
        raw, begins = _decode_blocks(stored, table, bad)
        self.bad_blocks.update({batch.start + block: reason for block, reason in bad.items()})
        pieces = self._readable_pieces(batch, bad)
        block = self.pieces.block[pieces] - batch.start
        offset, end = begins[block] + self.pieces.offset[pieces], (begins + table[kernels.BLOCK_RAW])[block]
        kinds = self.pieces.kind[pieces]
        for number in np.unique(kinds).tolist():
            kind, mine = self.kinds[number], kinds == number
            if kind.datatype.cell is None:
                self._check_strings(kind, raw, pieces[mine], offset[mine], end[mine])
            else:
                self._count_cells(kind, kind.datatype.cell, raw, pieces[mine], offset[mine])
        return int(table[kernels.BLOCK_STORED].sum())

    def _read_blocks(self, batch: slice, table: NDArray[np.int64]) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Return the stored bytes of the blocks `table` (8, B), and by block why it could not be read.

        Sets the offsets in `table` to those in the bytes returned.
        """
        source = self.table.source_of(batch.start)
        offset, stored = table[kernels.BLOCK_OFFSET].copy(), table[kernels.BLOCK_STORED]
        target = np.cumsum(stored) - stored
        table[kernels.BLOCK_OFFSET] = target
        buffer = kernels.stored_buffer(int(stored.sum()))
        try:
            source.read_into(offset, stored, buffer, target)
        except AtlasError:
            unread = {}
            for block in range(len(offset)):
                one = slice(block, block + 1)
                try:
                    source.read_into(offset[one], stored[one], buffer, target[one])
                except AtlasError as error:
                    unread[block] = f"it cannot be read: {error}"
                    if isinstance(error.__cause__, FileNotFoundError):
                        self.missing.add(source.name)
            return buffer, unread
        return buffer, {}

    def _readable_pieces(self, batch: slice, bad: dict[int, str]) -> NDArray[np.int64]:
        """Return the numbers of the pieces in the blocks of a batch but the `bad` ones, counted within the batch."""
        first, end = np.searchsorted(self.pieces.block, [batch.start, batch.stop])
        is_bad = np.zeros(batch.stop - batch.start, bool)
        is_bad[list(bad)] = True
        good: NDArray[np.bool_] = ~is_bad[self.pieces.block[first:end] - batch.start]
        return np.flatnonzero(good) + int(first)

    def _count_cells(
        self,
        kind: ArraySchema,
        dtype: np.dtype[Any],
        raw: NDArray[np.uint8],
        pieces: NDArray[np.int64],
        offset: NDArray[np.int64],
    ) -> None:
        """Compute the statistics of `pieces` (N,), which begin at the bytes `offset` (N,) of `raw`."""
        # A chunk that many rows share is counted once.
        first, of = first_alike(offset, self.pieces.cells[pieces])
        offset, cells = offset[first], self.pieces.cells[pieces[first]]
        if (offset % dtype.itemsize != 0).any():  # other writers need not align chunks
            nbytes = cells * dtype.itemsize
            raw = np.concatenate([raw[a : a + n] for a, n in zip(offset.tolist(), nbytes.tolist(), strict=True)])
            offset = np.cumsum(nbytes) - nbytes
        values = raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)
        found = cell_statistics(kind, values, offset // dtype.itemsize, cells)
        self.nulls[pieces], self.nans[pieces] = found.nulls[of], found.nans[of]
        self.low[pieces], self.high[pieces] = found.minimum[of], found.maximum[of]
        self.bad_pieces.update(dict.fromkeys(pieces[holds_odd_bools(kind, found)[of]].tolist(), ODD_BOOL))

    def _check_strings(
        self,
        kind: ArraySchema,
        raw: NDArray[np.uint8],
        pieces: NDArray[np.int64],
        offset: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> None:
        """Note what is wrong with the string chunks `pieces` (N,), at `offset` (N,) of `raw`, before `end` (N,)."""
        cells = self.pieces.cells[pieces]
        # A chunk that many rows share is decoded once.
        first, of = first_alike(offset, cells)
        shared = np.split(pieces[np.argsort(of, kind="stable")], np.cumsum(np.bincount(of))[:-1])
        self._check_places(kind, raw, shared, (offset[first], cells[first], end[first]))

    def _check_places(
        self,
        kind: ArraySchema,
        raw: NDArray[np.uint8],
        shared: Sequence[NDArray[np.int64]],
        places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    ) -> None:
        """Note what is wrong with string chunks in N places of `raw`; `shared` has the pieces in each.

        `places` are the offsets, the cells of a chunk and the ends of the blocks, (N,) each.
        """
        try:
            bounds, missing, starts = cell_bounds(raw, *places)
        except BlockError:
            if len(shared) == 1:
                reason = "the lengths of its strings lead out of its block"
                self.bad_pieces.update(dict.fromkeys(shared[0].tolist(), reason))
                return
            for at in range(len(shared)):
                offset, cells, end = (column[at : at + 1] for column in places)
                self._check_places(kind, raw, shared[at : at + 1], (offset, cells, end))
            return
        fill = None if kind.fill is None else kind.fill_text
        for mine, start, count in zip(shared, starts.tolist(), places[1].tolist(), strict=True):
            edges, gone = bounds[start : start + count + 1], missing[start : start + count]
            data, own = raw[edges[0] : edges[-1]], edges - edges[0]
            try:
                strings = decode_cells(data, own, gone, kind.datatype.kind, "strict").tolist()
            except UnicodeDecodeError:
                self.bad_pieces.update(dict.fromkeys(mine.tolist(), "its strings are not UTF-8"))
                continue
            found, row = string_statistics(strings, fill), self.pieces.row[mine]
            wrong = [not self._states(at, strings, found) for at in row.tolist()]
            self.bad_pieces.update(dict.fromkeys(mine[wrong].tolist(), WRONG_STATISTICS))

    def _states(self, row: int, strings: Sequence[Cell], found: tuple[int, int, int]) -> bool:
        """Return whether the row of a string chunk has the statistics `found` of its `strings`."""
        rows, texts = self.table.rows, self.table.sources[self.table.source.item(row)].texts
        stated = rows.nulls.item(row), rows.minimum.item(row), rows.maximum.item(row)
        return not rows.nans.item(row) and check_strings(strings, found, stated, texts)


def _decode_blocks(
    stored: NDArray[np.uint8], table: NDArray[np.int64], bad: dict[int, str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the decoded bytes of the blocks `table` (8, B), and where in them each block begins (B,).

    Blocks in `bad` are not decoded; those that cannot be are added to it with the reason.
    """
    length = table[kernels.BLOCK_RAW]
    room = -(-length // _ALIGNMENT) * _ALIGNMENT
    begins = np.cumsum(room) - room
    raw = np.empty(int(room.sum()), np.uint8)
    try:
        if not bad:
            kernels.decode_blocks(stored, table, raw, begins)
            return raw, begins
    except BlockError:
        pass
    for block in set(range(len(begins))) - set(bad):
        one = slice(block, block + 1)
        try:
            kernels.decode_blocks(stored, table[:, one], raw, begins[one])
        except BlockError as fault:
            bad[block] = _REASONS[fault.reason]
    return raw, begins


def cell_statistics(
    schema: ArraySchema, values: NDArray[Any], start: NDArray[np.int64], count: NDArray[np.int64]
) -> ChunkStatistics:
    """Return the statistics of N runs of `values`: of `count` (N,) cells each, from the cell `start` (N,) on."""
    return kernels.chunk_statistics(values, start, count, schema.fill, missing_minimum=schema.datatype.has_nat)


def holds_odd_bools(schema: ArraySchema, found: ChunkStatistics) -> NDArray[np.bool_]:
    """Return which of N runs of cells hold bytes other than 0 and 1 in an array of bools (N,)."""
    return (found.maximum > 1) & (schema.datatype.kind == "bool")


def check_strings(
    strings: Sequence[Cell],
    found: tuple[int, int, int],
    stated: tuple[int, int, int],
    texts: Sequence[bytes] | TextTable,
) -> bool:
    """Return whether `stated` has the nulls of a string chunk, and its smallest and largest string, as `found` has.

    An extreme is a position in `texts` or, from `IN_CELL` on, any cell that holds it; `NO_EXTREME` must be where all
    cells are null.
    """
    nulls, *ends = found
    if nulls != stated[0]:
        return False
    for end, named in zip(ends, stated[1:], strict=True):
        if NO_EXTREME in {end, named}:
            if end != named:
                return False
        elif named >= IN_CELL:
            if named - IN_CELL >= len(strings) or strings[named - IN_CELL] != strings[end]:
                return False
        elif named >= len(texts) or texts[named] != cell_bytes(strings[end]):
            return False
    return True
