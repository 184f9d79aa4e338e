"""The statistics of one array of many datasets as columns: what `Statistics.find` returns for each, for all at once.

Reads no blocks but those of long texts that are extremes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.chunking.batches import equal_groups
from atlas.chunking.regions import chunk_cells
from atlas.format.dtypes import EXTREME_DTYPES, blank_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.catalog.selection import ArraySelection
    from atlas.format.dtypes import DataType
    from atlas.format.schema import ArraySchema
    from atlas.read.block_cache import BlockCache
    from atlas.read.statistics import Statistics

__all__ = ["ArrayStatsColumns", "statistics_columns"]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStatsColumns:
    """Statistics of one array of N datasets, see `Atlas.array_stats_across`."""

    names: list[str]
    """Names of the datasets."""
    present: NDArray[np.bool_]
    """Whether there are statistics, (N,): False where `DatasetView.array_stats` returns None."""
    row_count: NDArray[np.int64]
    """Number of cells, (N,); 0 where not present, as in the next two."""
    null_count: NDArray[np.int64]
    """Number of missing cells, (N,)."""
    nan_count: NDArray[np.int64]
    """Number of cells that are NaN or not-a-time, whether they count as null or not, (N,)."""
    has_extremes: NDArray[np.bool_]
    """Whether any cell is neither null nor NaN, (N,): False where `min` and `max` of `array_stats` are None."""
    min: NDArray[Any]
    """Smallest such cell, (N,): bool, int64, uint64, float64, datetime64 or timedelta64 of the arrays' unit, objects of
    str or bytes; objects of all these where arrays differ in that. Without extremes: False, 0, NaN, NaT or None."""
    max: NDArray[Any]
    """Largest such cell, (N,)."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The M arrays of a selection that have statistics."""

    at: NDArray[np.int64]
    """Position of each in the selection, (M,)."""
    number: NDArray[np.int64]
    """Its number in the `Statistics`, (M,)."""
    schemas: list[ArraySchema]
    """Their distinct schemas."""
    schema: NDArray[np.int64]
    """Which of these each has, (M,)."""

    def each(self, values: Sequence[Any], dtype: type) -> NDArray[Any]:
        """Return what is given for each of `schemas` for each array, (M,)."""
        if len(values) == 1:
            return np.broadcast_to(np.array(values[0], dtype), len(self.at))
        column: NDArray[Any] = np.array(values, dtype)[self.schema]
        return column


def statistics_columns(
    selection: ArraySelection, flushed: NDArray[np.bool_], statistics: Statistics | None, cache: BlockCache
) -> ArrayStatsColumns:
    """Return the statistics of a selection of N arrays.

    `flushed` (N,) tells which of them may have chunks in the index of `statistics`, which is None where none may.
    Raises `CorruptStoreError` where the block of a long text that is an extreme is damaged.
    """
    count = len(selection.names)
    dtypes = {_column_dtype(schema.datatype) for schema in selection.distinct_schemas.schemas}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(object)
    nothing = np.zeros(count, np.bool_)
    out = ArrayStatsColumns(
        names=selection.names.copy(),
        present=nothing,
        row_count=np.zeros(count, np.int64),
        null_count=np.zeros(count, np.int64),
        nan_count=np.zeros(count, np.int64),
        has_extremes=nothing.copy(),
        min=blank_column(count, dtype),
        max=blank_column(count, dtype),
    )
    if statistics is not None:
        found = _find(selection, flushed, statistics)
        out.present[found.at] = True
        _set_counts(out, found, statistics)
        for some, datatype in _by_datatype(found):
            lows, highs, valid = _extremes(found, some, datatype, statistics, cache)
            at = found.at[some[valid]]
            out.has_extremes[at] = True
            for column, values in ((out.min, lows[valid]), (out.max, highs[valid])):
                # NumPy would turn times into integers or dates of Python.
                column[at] = values if column.dtype.kind != "O" or values.dtype.kind == "O" else _scalars(values)
    return out


def _column_dtype(datatype: DataType) -> np.dtype[Any]:
    """Return the dtype of the extremes of arrays of a dtype: the widest of its kind."""
    if datatype.cell is None or datatype.has_nat or datatype.kind == "bool":
        return datatype.memory
    return EXTREME_DTYPES[datatype.kind]


def _scalars(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as objects of Python, and times as objects of NumPy, which keep their unit."""
    out = np.empty(len(values), object)
    out[:] = list(values) if values.dtype.kind in "mM" else values.tolist()
    return out


def _find(selection: ArraySelection, flushed: NDArray[np.bool_], statistics: Statistics) -> _Found:
    at = np.flatnonzero(flushed)
    of = selection.schema[at]
    used, schema = (of[:1], np.zeros_like(of)) if (of == of[0]).all() else np.unique(of, return_inverse=True)
    number = statistics.runs.find_many(selection.ids[at], selection.generations[at])
    kept = number >= 0
    if not kept.all():
        at, number, schema = at[kept], number[kept], schema[kept]
    return _Found(at, number, [selection.schemas[position] for position in used.tolist()], schema)


def _set_counts(out: ArrayStatsColumns, found: _Found, statistics: Statistics) -> None:
    schemas = found.schemas
    nulls, nans = statistics.nulls[found.number], statistics.nans[found.number]
    size = found.each([schema.size for schema in schemas], np.int64)
    written = statistics.runs.count[found.number]
    # Of an array without cells the grid may have more chunks than an int64 counts.
    partly = np.flatnonzero(written < found.each([min(schema.chunks, 2**63 - 1) for schema in schemas], np.int64))
    if len(partly):
        # Cells of chunks that were never written read as the fill value, and count as nulls like it.
        unwritten = size[partly] - _written_cells(found, partly, statistics)
        nulls[partly] += unwritten
        nans[partly] += np.where(found.each([schema.fill_is_nan for schema in schemas], np.bool_)[partly], unwritten, 0)
    counted = [schema.nan_is_missing and not schema.fill_is_nan for schema in schemas]
    if any(counted):
        nulls += np.where(found.each(counted, np.bool_), nans, 0)
    out.row_count[found.at], out.null_count[found.at], out.nan_count[found.at] = size, nulls, nans


def _written_cells(found: _Found, some: NDArray[np.int64], statistics: Statistics) -> NDArray[np.int64]:
    """Return how many cells the chunks of each of `some` arrays have that were written."""
    cells = np.empty(len(some), np.int64)
    for group in equal_groups(found.schema[some]):
        mine = some[group]
        rows, first = statistics.runs.rows_of(found.number[mine])
        schema = found.schemas[int(found.schema[mine[0]])]
        cells[group] = np.add.reduceat(chunk_cells(schema, statistics.index.rows.chunk[rows]), first)
    return cells


def _by_datatype(found: _Found) -> list[tuple[NDArray[np.int64], DataType]]:
    """Return the arrays of each dtype, as positions in `found`."""
    datatypes = {schema.datatype.name: schema.datatype for schema in found.schemas}
    numbers = {name: number for number, name in enumerate(datatypes)}
    of = found.each([numbers[schema.datatype.name] for schema in found.schemas], np.int64)
    every = list(datatypes.values())
    return [(some, every[int(of[some[0]])]) for some in equal_groups(of)]


def _extremes(
    found: _Found, some: NDArray[np.int64], datatype: DataType, statistics: Statistics, cache: BlockCache
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return the extremes of `some` arrays, all of one dtype, and whether each has any."""
    numbers = found.number[some]
    if datatype.cell is None:
        low, high = statistics.texts.find_many(numbers, found.schemas, found.schema[some], cache)
        return low, high, np.array([text is not None for text in low.tolist()], np.bool_)
    lows, highs, valid = (column[numbers] for column in statistics.extremes_as(EXTREME_DTYPES[datatype.kind]))
    if datatype.kind == "bool":
        return lows != 0, highs != 0, valid
    if datatype.has_nat:
        return lows.view(datatype.memory), highs.view(datatype.memory), valid
    return lows, highs, valid
