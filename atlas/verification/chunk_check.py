"""Decoding every block of an array and counting its chunks anew, in lots of bounded memory, by threads.

Nothing is compared here but texts, whose statistics are positions: what was counted is handed back, and a fault is a
fact about a block or a piece, never an exception. A lot that cannot be read at once is read block by block, so that one
bad sector hides nothing beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.errors import AtlasError
from atlas.format.strings import NO_CELL, string_statistics
from atlas.kernels import BlockFault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.schema import ArraySchema

__all__ = ["Pieces", "Recount", "text_fault"]

_LOT = 4 << 20
"""Stored or decoded bytes of a lot, whichever are more."""
_ALIGNED = 64
"""Decoded blocks begin at multiples of this, so that cells lie where their dtype wants them."""
_REASONS = {
    "checksum": "its bytes do not match their checksum",
    "codec": "it cannot be decompressed",
    "length": "it does not decode to the length that is said of it",
    "bounds": "it lies outside the file",
    "place": "it decodes to more than it may",
}
NOT_COUNTED = "its statistics are not those of its cells"


@dataclass(frozen=True, slots=True)
class Pieces:
    """Chunks, or parts of chunks that were cut, in columns ordered by block."""

    row: NDArray[np.int64]
    """Row of the chunk in the table."""
    block: NDArray[np.int64]
    """Block, counted over all sources."""
    begin: NDArray[np.int64]
    """Byte in the decoded block where the piece begins."""
    cells: NDArray[np.int64]
    """Number of cells."""
    kind: NDArray[np.int64]
    """Index in the kinds, by which cells are counted."""


@dataclass(slots=True)
class Recount:
    """What was counted of each piece, and what could not be."""

    table: ChunkIndex
    """The rows and blocks."""
    pieces: Pieces
    """The pieces."""
    kinds: Sequence[ArraySchema]
    """Schemas that differ in dtype or fill."""
    nulls: NDArray[np.int64] = field(init=False)
    """Cells equal to the fill, of each piece of fixed-width cells."""
    low: NDArray[np.uint64] = field(init=False)
    """Bits of the smallest of the others."""
    high: NDArray[np.uint64] = field(init=False)
    """Bits of the largest of the others."""
    bad_blocks: dict[int, str] = field(default_factory=dict)
    """What is wrong with a block."""
    bad_pieces: dict[int, str] = field(default_factory=dict)
    """What is wrong with a piece although its block is whole."""
    missing: set[str] = field(default_factory=set)
    """Files that are there no more."""

    def __post_init__(self) -> None:
        """Make room for what is counted."""
        count = len(self.pieces.row)
        self.nulls, self.low, self.high = np.zeros(count, np.int64), np.zeros(count, np.uint64), np.zeros(count, "u8")

    def lots(self) -> list[tuple[int, int]]:
        """Return the first block of each lot and the one after its last."""
        blocks = self.table.blocks
        if not blocks.shape[1]:
            return []
        size = np.maximum(blocks[kernels.BLOCK_STORED], blocks[kernels.BLOCK_RAW])
        lot, source = (np.cumsum(size) - 1) // _LOT, blocks[kernels.BLOCK_SOURCE]
        cuts = np.flatnonzero((lot[1:] != lot[:-1]) | (source[1:] != source[:-1])) + 1
        edges = [0, *cuts.tolist(), blocks.shape[1]]
        return list(pairwise(edges))

    def count(self, lot: tuple[int, int]) -> int:
        """Read, decode and count a lot; return its stored bytes. May run beside other lots."""
        first, stop = lot
        table = self.table.blocks[:, first:stop].copy()
        buffer, unread = self._read(first, table)
        whole, raw, places = _decode(buffer, table, unread)
        self.bad_blocks.update({first + at: reason for at, reason in whole.items()})
        pieces = self.pieces
        begin, end = np.searchsorted(pieces.block, [first, stop])
        mine = np.arange(begin, end)
        if whole:
            bad = np.zeros(stop - first, bool)
            bad[list(whole)] = True
            mine = mine[~bad[pieces.block[mine] - first]]
        within = places[pieces.block[mine] - first]
        for number in np.unique(pieces.kind[mine]).tolist():
            some = pieces.kind[mine] == number
            at, place = mine[some], within[some] + pieces.begin[mine[some]]
            if self.kinds[number].datatype.cell is None:
                ends = (places + table[kernels.BLOCK_RAW])[pieces.block[at] - first]
                self._count_texts(self.kinds[number], raw, at, place, ends)
            else:
                self._count_cells(self.kinds[number], raw, at, place)
        return int(table[kernels.BLOCK_STORED].sum())

    def _read(self, first: int, table: NDArray[np.int64]) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Return the stored bytes of blocks, whose offsets are then in these, and why some could not be read."""
        source = self.table.source_of(first)
        offset, stored = table[kernels.BLOCK_OFFSET].copy(), table[kernels.BLOCK_STORED]
        within = np.cumsum(stored) - stored
        table[kernels.BLOCK_OFFSET] = within
        buffer = kernels.stored_buffer(int(stored.sum()))
        try:
            source.read_into(offset, stored, buffer, within)
        except AtlasError:
            unread = {}
            for at in range(len(offset)):
                one = slice(at, at + 1)
                try:
                    source.read_into(offset[one], stored[one], buffer, within[one])
                except AtlasError as error:
                    unread[at] = f"it cannot be read: {error}"
                    if isinstance(error.__cause__, FileNotFoundError):
                        self.missing.add(source.name)
            return buffer, unread
        return buffer, {}

    def _count_cells(
        self, kind: ArraySchema, raw: NDArray[np.uint8], at: NDArray[np.int64], place: NDArray[np.int64]
    ) -> None:
        dtype = kind.datatype.cell
        assert dtype is not None
        cells = self.pieces.cells[at]
        aside = place % dtype.itemsize != 0
        if aside.any():  # other writers may put cells anywhere
            lengths = cells * dtype.itemsize
            raw = np.concatenate([raw[p : p + n] for p, n in zip(place.tolist(), lengths.tolist(), strict=True)])
            place = np.cumsum(lengths) - lengths
        found = kernels.chunk_statistics(
            raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype),
            place // dtype.itemsize,
            cells,
            kind.fill,
            missing_minimum=kind.datatype.kind == "timestamp",
        )
        self.nulls[at], self.low[at], self.high[at] = found.nulls, found.minimum, found.maximum

    def _count_texts(
        self,
        kind: ArraySchema,
        raw: NDArray[np.uint8],
        at: NDArray[np.int64],
        place: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        cells = self.pieces.cells[at]
        starts = np.cumsum(cells + 1) - cells - 1
        bounds = np.empty(int((cells + 1).sum()), np.int64)
        good = np.ones(len(at), bool)
        try:
            kernels.text_bounds(raw, place, cells, bounds, starts)
        except BlockFault:
            for k in range(len(at)):
                one = slice(k, k + 1)
                try:
                    kernels.text_bounds(raw, place[one], cells[one], bounds, starts[one])
                except BlockFault:
                    good[k] = False
        good[good] = bounds[(starts + cells)[good]] <= ends[good]
        fill = None if kind.fill is None else kind.fill_bits.decode()
        rows = self.table.rows
        for k, (piece, start, count) in enumerate(zip(at.tolist(), starts.tolist(), cells.tolist(), strict=True)):
            reason: str | None = "the lengths of its texts lead out of its block"
            if good[k]:
                row = int(self.pieces.row[piece])
                says = int(rows.nulls[row]), int(rows.minimum[row]), int(rows.maximum[row])
                reason = text_fault(_texts(raw, bounds[start : start + count + 1]), fill, says)
            if reason is not None:
                self.bad_pieces[piece] = reason


def _decode(
    buffer: NDArray[np.uint8], table: NDArray[np.int64], unread: dict[int, str]
) -> tuple[dict[int, str], NDArray[np.uint8], NDArray[np.int64]]:
    """Return what is wrong with blocks, the bytes of the others, and where each of them begins."""
    length = table[kernels.BLOCK_RAW]
    room = -(-length // _ALIGNED) * _ALIGNED
    places = np.cumsum(room) - room
    raw = np.empty(int(room.sum()), np.uint8)
    bad = dict(unread)
    try:
        if not unread:
            kernels.decode_blocks(buffer, table, raw, places)
            return bad, raw, places
    except BlockFault:
        pass
    for at in set(range(len(places))) - set(unread):  # one by one, so that a bad one stops no other
        one = slice(at, at + 1)
        try:
            kernels.decode_blocks(buffer, table[:, one], raw, places[one])
        except BlockFault as fault:
            bad[at] = _REASONS[fault.reason]
    return bad, raw, places


def _texts(raw: NDArray[np.uint8], bounds: NDArray[np.int64]) -> list[str] | None:
    """Return the texts between `bounds`, None where one is not UTF-8."""
    data, edges = raw[bounds[0] : bounds[-1]].tobytes(), (bounds - bounds[0]).tolist()
    if data.isascii():
        text = data.decode("ascii")
        return [text[a:b] for a, b in pairwise(edges)]
    try:
        return [data[a:b].decode() for a, b in pairwise(edges)]
    except UnicodeDecodeError:
        return None


def text_fault(texts: list[str] | None, fill: str | None, says: tuple[int, int, int]) -> str | None:
    """Return what is wrong with a string chunk of which the index `says` nulls and the cells of the extremes."""
    if texts is None:
        return "its texts are not UTF-8"
    nulls, low, high = string_statistics(texts, fill)
    right: bool | Any = nulls == says[0]
    for found, said in ((low, says[1]), (high, says[2])):
        # Any cell that holds the extreme may be named.
        if NO_CELL in {found, said}:
            right = right and found == said
        else:
            right = right and said < len(texts) and texts[said] == texts[found]
    return None if right else NOT_COUNTED
