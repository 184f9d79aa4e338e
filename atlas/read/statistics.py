"""Statistics of every array of one name, added up once from the rows of all its chunks.

Programs ask for one dataset after the other; a chain of small NumPy calls for each took eight times as long as the
look-up here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from atlas.chunking.regions import chunk_cells
from atlas.format.dtypes import EXTREME_DTYPES
from atlas.read.array_runs import ArrayRuns
from atlas.read.text_extremes import TextExtremes

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.schema import ArraySchema
    from atlas.read.block_cache import BlockCache

__all__ = ["ArrayStatistics", "DetailedStatistics", "Statistics"]


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
        self.runs = ArrayRuns(index.rows)
        """Its rows, array by array."""
        first = self.runs.begin
        self.nulls, self.nans = (
            np.add.reduceat(self.runs.sorted(column), first) if len(first) else first
            for column in (index.rows.nulls, index.rows.nans)
        )
        self._extremes: dict[np.dtype[Any], tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]] = {}
        self.texts = TextExtremes(index, self.runs)
        """The extremes of its arrays of strings and bytes."""

    def find(
        self, identity: int, generation: int, schema: ArraySchema, cache: BlockCache
    ) -> tuple[ArrayStatistics, int] | None:
        """Return the statistics of an array and its number of NaN and not-a-time, None where it was never written.

        Long strings that are extremes are read from their blocks, through `cache`. Raises `CorruptStoreError` where
        such a block is damaged.
        """
        at = self.runs.find(identity, generation)
        if at < 0:
            return None
        nulls, nans = self.nulls.item(at), self.nans.item(at)
        if self.runs.count.item(at) < schema.chunks:
            # Cells of chunks that were never written read as the fill value, and count as nulls like it.
            unwritten = schema.size - int(chunk_cells(schema, self.index.rows.chunk[self.runs.rows(at)]).sum())
            nulls += unwritten
            nans += unwritten if schema.fill_is_nan else 0
        if schema.nan_is_missing and not schema.fill_is_nan:
            nulls += nans
        low: bool | int | float | str | bytes | None
        high: bool | int | float | str | bytes | None
        if schema.datatype.cell is None:
            low, high = self.texts.find(at, schema, cache)
        else:
            lows, highs, valid = self.extremes_as(EXTREME_DTYPES[schema.datatype.kind])
            low, high = (lows.item(at), highs.item(at)) if valid.item(at) else (None, None)
            if schema.datatype.kind == "bool" and valid.item(at):
                low, high = bool(low), bool(high)
        return {"row_count": schema.size, "null_count": nulls, "min": low, "max": high}, nans

    def extremes_as(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Return minimum and maximum of each array, read as `dtype`, and whether it has any: (arrays,) each."""
        known = self._extremes.get(dtype)
        if known is None:
            lows, highs = (
                self.runs.sorted(column).view(dtype) for column in (self.index.rows.minimum, self.index.rows.maximum)
            )
            valid = lows <= highs
            least, most = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            known = self._extremes[dtype] = (
                np.minimum.reduceat(np.where(valid, lows, dtype.type(most)), self.runs.begin),
                np.maximum.reduceat(np.where(valid, highs, dtype.type(least)), self.runs.begin),
                np.logical_or.reduceat(valid, self.runs.begin),
            )
        return known
