"""Statistics of every array of one name, added up once from the rows of all its chunks.

Programs ask for one dataset after the other; a chain of small NumPy calls for each took eight times as long as the
look-up here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from atlas import kernels
from atlas.chunking.batches import first_alike
from atlas.chunking.regions import chunk_cells
from atlas.errors import CorruptStoreError
from atlas.format.dtypes import EXTREME_DTYPES
from atlas.format.strings import IN_CELL, NO_EXTREME
from atlas.read.strings import find_overflow, strings_at

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.format.schema import ArraySchema
    from atlas.read.block_cache import BlockCache

__all__ = ["ArrayStatistics", "DetailedStatistics", "Statistics"]

_FEW_CHUNKS, _FEW_CELLS = 8, 1 << 16
"""Of so few it takes less time to read them than to look first whether their blocks can hold them."""


class ArrayStatistics(TypedDict):
    """Statistics of one array, see `DatasetView.array_stats`."""

    row_count: int
    """Number of cells: the product of the shape."""
    null_count: int
    """Number of missing cells: those that equal the fill value or were never written, missing text and bytes, and NaN
    and not-a-time where xarray made them of missing values in a file."""
    min: bool | int | float | str | bytes | None
    """Smallest cell that is neither null nor NaN, times as int of their unit; None where there is none."""
    max: bool | int | float | str | bytes | None
    """Largest such cell."""


class DetailedStatistics(ArrayStatistics):
    """Statistics of one array, see `ArrayView.stats`."""

    nan_count: int
    """Number of cells that are NaN or not-a-time, whether they count as null or not."""


class Statistics:
    """The statistics of all arrays of one name, as of one chunk index."""

    def __init__(self, index: ChunkIndex) -> None:
        self.index = index
        """The chunk index that they were added up from."""
        dataset, generation = index.rows.dataset, index.rows.generation
        self._order: NDArray[np.int64] | None = None
        apart = dataset[1:] != dataset[:-1]
        split = generation[1:] != generation[:-1]
        if (split & ~apart).any():  # chunks of a deleted array lie among those of the one declared after it
            self._order = np.lexsort((generation, dataset))
            dataset, generation = dataset[self._order], generation[self._order]
            apart, split = dataset[1:] != dataset[:-1], generation[1:] != generation[:-1]
        first = np.flatnonzero(np.concatenate([[len(dataset) > 0], apart | split]))
        self._begin, self._stop = first, np.append(first[1:], len(dataset))
        self._dataset, self._generation = dataset[first], generation[first]
        self._nulls, self._nans = (
            np.add.reduceat(self._sorted(column), first) if len(first) else first
            for column in (index.rows.nulls, index.rows.nans)
        )
        self._extremes: dict[np.dtype[Any], tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]] = {}

    def _sorted(self, column: NDArray[Any]) -> NDArray[Any]:
        return column if self._order is None else column[self._order]

    def find(
        self, identity: int, generation: int, schema: ArraySchema, cache: BlockCache
    ) -> tuple[ArrayStatistics, int] | None:
        """Return the statistics of an array and its number of NaN and not-a-time, None where it was never written.

        Long strings that are extremes are read from their blocks, through `cache`. Raises `CorruptStoreError` where
        such a block is damaged.
        """
        at = int(self._dataset.searchsorted(identity))
        end = len(self._dataset)
        while at < end and self._dataset.item(at) == identity and self._generation.item(at) != generation:
            at += 1
        if at >= end or self._dataset.item(at) != identity:
            return None
        nulls, nans = self._nulls.item(at), self._nans.item(at)
        if self._stop.item(at) - self._begin.item(at) < schema.chunks:
            # Cells of chunks that were never written read as the fill value, and count as nulls like it.
            unwritten = schema.size - int(chunk_cells(schema, self.index.rows.chunk[self._rows(at)]).sum())
            nulls += unwritten
            nans += unwritten if schema.fill_is_nan else 0
        if schema.nan_is_missing and not schema.fill_is_nan:
            nulls += nans
        low: bool | int | float | str | bytes | None
        high: bool | int | float | str | bytes | None
        if schema.datatype.cell is None:
            low, high = self._string_extremes(self._rows(at), schema, cache)
        else:
            lows, highs, valid = self._extremes_as(EXTREME_DTYPES[schema.datatype.kind])
            low, high = (lows.item(at), highs.item(at)) if valid.item(at) else (None, None)
            if schema.datatype.kind == "bool" and valid.item(at):
                low, high = bool(low), bool(high)
        return {"row_count": schema.size, "null_count": nulls, "min": low, "max": high}, nans

    def _rows(self, at: int) -> NDArray[np.int64]:
        """Return the rows of the chunk index that were added up as the array number `at`, (chunks,)."""
        rows = np.arange(self._begin[at], self._stop[at])
        return rows if self._order is None else self._order[rows]

    def _extremes_as(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Return minimum and maximum of each array, read as `dtype`, and whether it has any: (arrays,) each."""
        known = self._extremes.get(dtype)
        if known is None:
            lows, highs = (
                self._sorted(column).view(dtype) for column in (self.index.rows.minimum, self.index.rows.maximum)
            )
            valid = lows <= highs
            least, most = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            known = self._extremes[dtype] = (
                np.minimum.reduceat(np.where(valid, lows, dtype.type(most)), self._begin),
                np.maximum.reduceat(np.where(valid, highs, dtype.type(least)), self._begin),
                np.logical_or.reduceat(valid, self._begin),
            )
        return known

    def _by_block(
        self, at: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows `at` (N,) of string chunks and their cells `counts` (N,) in the order of their blocks.

        Of rows that share a chunk one is returned. Raises `CorruptStoreError` where a block is too short for the cells
        of its chunks.
        """
        index = self.index
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

    def _string_extremes(
        self, at: NDArray[np.int64], schema: ArraySchema, cache: BlockCache
    ) -> tuple[str | bytes | None, str | bytes | None]:
        """Return the smallest and the largest string of the chunks in the rows `at` (N,), None where all are null."""
        rows = self.index.rows
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
            texts += self._long_texts(np.array(long), schema, cache)
        if not texts:
            return None, None
        # The order of UTF-8 is that of code points.
        low, high = min(texts), max(texts)
        return (low, high) if schema.datatype.kind == "bytes" else (_decoded(low), _decoded(high))

    def _short_text(self, row: int, position: int) -> bytes:
        source = self.index.sources[self.index.source.item(row)]
        if position >= len(source.texts):
            raise CorruptStoreError(
                f"{source.name} is damaged: statistics of a string chunk name text {position} of {len(source.texts)}; "
                "restore the file from a copy",
                key=source.name,
            )
        return source.texts[position]

    def _long_texts(self, at: NDArray[np.int64], schema: ArraySchema, cache: BlockCache) -> list[bytes]:
        """Return both extremes of each chunk in the rows `at` (N,), of which at least one stands in a cell."""
        rows = self.index.rows
        found = []
        held: dict[tuple[str, int], NDArray[np.uint8]] = {}

        def load(source: Source, block: int) -> NDArray[np.uint8]:
            # The cache keeps no large blocks. Rows come in the order of their blocks, so one block at a time is enough.
            key = (source.name, block)
            if key not in held:
                held.clear()
                held[key] = cache.load(source, block)
            return held[key]

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
                    found += strings_at(self.index, row, cells, [named - IN_CELL], load)
        return found


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")
