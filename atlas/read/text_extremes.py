"""The smallest and largest cell of arrays of strings and bytes.

Short ones stand in tables of the segments. Long ones stand in cells, which are read from their blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas import kernels
from atlas.chunking.batches import equal_groups, first_alike
from atlas.chunking.regions import chunk_cells
from atlas.errors import CorruptStoreError
from atlas.format.strings import IN_CELL, NO_EXTREME, decode_cells
from atlas.read.strings import find_overflow, strings_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.format.schema import ArraySchema
    from atlas.read.array_runs import ArrayRuns
    from atlas.read.block_cache import BlockCache

    _Load: TypeAlias = Callable[[Source, int], NDArray[np.uint8]]
    """Returns a decoded block by source and number."""
    _Text: TypeAlias = str | bytes | None
    """An extreme, None where every cell is null."""

__all__ = ["TextExtremes"]

_FEW_CHUNKS, _FEW_CELLS = 8, 1 << 16
"""Of so few it takes less time to read them than to look first whether their blocks can hold them."""
_PAGE = 1024
"""Neighbouring arrays whose extremes are looked up together once two have been asked for one after the other."""
_MOST_CHUNKS = 8 * _PAGE
"""Chunks of so many arrays beyond which a program may wait longer for them than it saves."""


@dataclass(frozen=True, slots=True)
class _Page:
    """The extremes of neighbouring arrays that the tables hold."""

    number: int
    """Which page it is."""
    kind: str
    """Kind of the dtype that they were decoded as."""
    lows: list[_Text]
    """The smallest cell of each array."""
    highs: list[_Text]
    """The largest one."""
    apart: list[bool]
    """Whether the array has extremes that are not in a table."""


class TextExtremes:
    """The extremes of the arrays of one name, as of one chunk index. An array is a run of rows, named by its number."""

    def __init__(self, index: ChunkIndex, runs: ArrayRuns) -> None:
        self._index = index
        self._runs = runs
        self._last = -2
        self._page = _Page(-1, "", [], [], [])

    def find(self, number: int, schema: ArraySchema, cache: BlockCache) -> tuple[_Text, _Text]:
        """Return the smallest and the largest cell of an array, None where all are null.

        Long ones are read through `cache`. Raises `CorruptStoreError` where their block is damaged.
        """
        (page, at), follows = divmod(number, _PAGE), number == self._last + 1
        self._last, known = number, self._page
        if follows and known.number != page:
            known = self._look_up(page, schema.datatype.kind)
        if (
            known.number != page
            or known.kind != schema.datatype.kind
            or known.apart[at]
            or self._runs.count.item(number) > schema.chunks
        ):
            return self._of_rows(self._runs.rows(number), schema, _one_block_at_a_time(cache))
        return known.lows[at], known.highs[at]

    def _look_up(self, page: int, kind: str) -> _Page:
        """Return a page, and keep it; the last one where the arrays of this one have many chunks."""
        numbers = np.arange(page * _PAGE, min((page + 1) * _PAGE, len(self._runs)))
        if self._runs.count[numbers].sum() <= _MOST_CHUNKS:
            lows, highs, apart = self._short(numbers, kind)
            self._page = _Page(page, kind, lows.tolist(), highs.tolist(), apart.tolist())
        return self._page

    def find_many(
        self,
        numbers: NDArray[np.int64],
        schemas: Sequence[ArraySchema],
        schema: NDArray[np.int64],
        cache: BlockCache,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the smallest and the largest cell of N arrays of one dtype, (N,) of objects, None where all are null.

        `schema` (N,) tells which of `schemas` each has. Raises `CorruptStoreError` as `find` does.
        """
        # Python's integers: of an array without cells the grid may have more chunks than an int64 counts.
        chunks = np.array([min(one.chunks, 2**63 - 1) for one in schemas], np.int64)[schema]
        lows, highs, apart = self._short(numbers, schemas[int(schema[0])].datatype.kind)
        apart |= self._runs.count[numbers] > chunks
        others = np.flatnonzero(apart)
        rows, first = self._runs.rows_of(numbers[others])
        block, source = self._index.rows.block[rows[first]], self._index.source[rows[first]]
        load = _one_block_at_a_time(cache)
        for at in others[np.lexsort((block, source))].tolist():
            mine = self._runs.rows(int(numbers[at]))
            lows[at], highs[at] = self._of_rows(mine, schemas[int(schema[at])], load)
        return lows, highs

    def _short(self, numbers: NDArray[np.int64], kind: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Return the extremes of arrays (N,) that the tables hold, and which arrays have others: (N,) each.

        `kind` is that of the dtype, "string" or "bytes".
        """
        rows, first = self._runs.rows_of(numbers)
        of = np.repeat(np.arange(len(numbers)), np.diff(np.append(first, len(rows))))
        low, high = self._index.rows.minimum[rows], self._index.rows.maximum[rows]
        some = (low != NO_EXTREME) & (high != NO_EXTREME)
        # What no table holds stands in a cell, or is damage, or of an array of numbers that has the same name.
        lengths = np.array([len(source.texts) for source in self._index.sources], np.uint64)
        apart = np.zeros(len(numbers), np.bool_)
        apart[of[some & (np.maximum(low, high) >= lengths[self._index.source[rows]])]] = True
        short = np.flatnonzero(some & ~apart[of])
        lows, highs = np.empty(len(numbers), object), np.empty(len(numbers), object)
        if len(short):
            of = of[short]
            begin = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
            try:
                # The order of text is that of its UTF-8.
                texts = self._short_texts(rows[short], low[short], high[short], kind)
                lows[of[begin]], highs[of[begin]] = _reduced(texts, begin)
            except UnicodeDecodeError:
                texts = self._short_texts(rows[short], low[short], high[short], "bytes")
                for column, found in zip((lows, highs), _reduced(texts, begin), strict=True):
                    column[of[begin]] = [_decoded(text) for text in found.tolist()]
        return lows, highs, apart

    def _short_texts(
        self, rows: NDArray[np.int64], low: NDArray[np.uint64], high: NDArray[np.uint64], kind: str
    ) -> NDArray[Any]:
        """Return the texts that the rows (N,) name by `low` and `high`: (2, N) of objects. Each is decoded once.

        The tables must hold them.

        Raises `UnicodeDecodeError` where a text is not UTF-8 and `kind` is "string".
        """
        out = np.empty((2, len(rows)), object)
        source = self._index.source[rows]
        for group in equal_groups(source):
            texts = self._index.sources[int(source[group[0]])].texts
            named = np.stack([low[group], high[group]])
            used, of = np.unique(named, return_inverse=True)
            ends = texts.ends[used]
            begins = np.where(used > 0, texts.ends[used.astype(np.int64) - 1], 0)
            data, bounds = kernels.gather_strings(texts.data, begins, ends)
            cells = decode_cells(data, bounds, np.zeros(len(used), np.uint8), kind, "strict")
            out[:, group] = cells[of].reshape(named.shape)
        return out

    def _short_text(self, row: int, position: int) -> bytes:
        source = self._index.sources[self._index.source.item(row)]
        if position >= len(source.texts):
            raise CorruptStoreError(
                f"{source.name} is damaged: statistics of a string chunk name text {position} of {len(source.texts)}; "
                "restore the file from a copy",
                key=source.name,
            )
        return source.texts[position]

    def _of_rows(self, at: NDArray[np.int64], schema: ArraySchema, load: _Load) -> tuple[_Text, _Text]:
        """Return the smallest and the largest string of the chunks in the rows `at` (N,), None where all are null."""
        rows = self._index.rows
        if len(at) > schema.chunks:  # rows outside of the chunk grid belong to no chunk
            at = at[rows.chunk[at] < schema.chunks]
        texts = []
        long = []
        for row in at.tolist():
            named = [rows.minimum.item(row), rows.maximum.item(row)]
            if NO_EXTREME in named:
                continue
            if max(named) >= IN_CELL:
                long.append(row)
            else:
                texts += [self._short_text(row, position) for position in named]
        if long:
            texts += self._long_texts(np.array(long), schema, load)
        if not texts:
            return None, None
        # The order of UTF-8 is that of code points.
        low, high = min(texts), max(texts)
        return (low, high) if schema.datatype.kind == "bytes" else (_decoded(low), _decoded(high))

    def _long_texts(self, at: NDArray[np.int64], schema: ArraySchema, load: _Load) -> list[bytes]:
        """Return both extremes of each chunk in the rows `at` (N,), of which at least one stands in a cell."""
        rows = self._index.rows
        found = []
        if schema.chunks == len(at) == 1:
            counts = np.array([schema.size])
        else:
            counts = chunk_cells(schema, rows.chunk[at])
            if len(at) > _FEW_CHUNKS or schema.size > _FEW_CELLS:
                at, counts = self._by_block(at, counts)
        for row, cells in zip(at.tolist(), counts.tolist(), strict=True):
            for named in (rows.minimum.item(row), rows.maximum.item(row)):
                if named < IN_CELL:
                    found.append(self._short_text(row, named))
                elif rows.block.item(row) < 0:
                    found.append(schema.fill_bits)
                else:
                    found += strings_at(self._index, row, cells, [named - IN_CELL], load)
        return found

    def _by_block(
        self, at: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows `at` (N,) of string chunks and their cells `counts` (N,) in the order of their blocks.

        Of rows that share a chunk one is returned. Raises `CorruptStoreError` where a block is too short for the cells
        of its chunks.
        """
        index = self._index
        block = np.where(index.rows.block[at] < 0, -1, index.base[index.source[at]] + index.rows.block[at])
        order = np.argsort(block, kind="stable")
        at, counts, block = at[order], counts[order], block[order]
        first, _ = first_alike(block, index.rows.offset[at].view(np.int64), counts)
        at, counts, block = at[first], counts[first], block[first]
        stored = np.flatnonzero(block >= 0)
        blocks, offset = block[stored], index.rows.offset[at[stored]].astype(np.int64)
        overflow = find_overflow(blocks, index.blocks[kernels.BLOCK_RAW, blocks], offset, counts[stored])
        if overflow is not None:
            name = index.source_of(int(blocks[overflow])).name
            raise CorruptStoreError(
                f"{name} is damaged (offset): the string chunks of a block exceed it; restore the file from a copy",
                key=name,
            )
        return at, counts


def _reduced(texts: NDArray[Any], begin: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the smallest and the largest text of each run of columns of `texts` (2, N), which begin at `begin`."""
    low, high = np.minimum(*texts), np.maximum(*texts)
    if len(begin) == len(low):
        return low, high
    return np.minimum.reduceat(low, begin), np.maximum.reduceat(high, begin)


def _one_block_at_a_time(cache: BlockCache) -> _Load:
    """Return what decodes blocks through `cache`, and keeps the last one.

    The cache keeps no large blocks. Rows come in the order of their blocks, so one block at a time is enough.
    """
    held: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def load(source: Source, block: int) -> NDArray[np.uint8]:
        key = (source.name, block)
        if key not in held:
            held.clear()
            held[key] = cache.load(source, block)
        return held[key]

    return load


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")
