"""One array of many datasets, written as one: its chunks in runs over the datasets, not one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.batches import slices_by_bytes
from atlas.chunking.ragged import FlatBoxes, check_boxes, take_boxes
from atlas.chunking.regions import plan_region
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk
from atlas.write.splitting import gather_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.runtime.limits import Limits

    Chunk = tuple[int, int, PendingChunk]
    """Dataset id, position in the grid and cells."""

__all__ = ["Rows", "row_chunks", "row_runs", "stack_chunks", "stack_runs"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Arrays of one name, dtype and fill value in N datasets, to which nothing was written before."""

    array: str
    """Their name."""
    schemas: Sequence[ArraySchema]
    """Their distinct schemas."""
    number: NDArray[np.int64]
    """Which of these each has, (N,)."""
    ids: NDArray[np.int64]
    """Id of each dataset, (N,)."""
    generations: NDArray[np.int64]
    """Generation of each array, (N,)."""


def stack_runs(entry: ArrayEntry, ids: NDArray[np.int64], data: NDArray[Any], limits: Limits) -> Iterator[ChunkRun]:
    """Yield `data` (N, *shape), numbers of the stored dtype, as the arrays `entry` of the datasets `ids`, in runs."""
    coordinate = entry.schema.dims == (entry.name,)
    for chunk, box in _boxes(entry):
        count = data[(slice(0, 1), *box)].size
        step = max(1, limits.run_bytes // (count * data.dtype.itemsize))
        for begin in range(0, len(ids), step):
            some = slice(begin, begin + step)
            dataset = ids[some]
            keys = ChunkKeys(dataset, np.full(len(dataset), entry.generation), np.full(len(dataset), chunk))
            load = partial(_flat, data, (some, *box))
            yield ChunkRun(entry.schema, keys, np.full(len(dataset), count), load, coordinate)


def stack_chunks(entry: ArrayEntry, ids: NDArray[np.int64], data: NDArray[Any]) -> Iterator[Chunk]:
    """Yield `data` (N, *shape), strings or bytes, as the arrays `entry` of the datasets `ids`, chunk by chunk."""
    coordinate = entry.schema.dims == (entry.name,)
    for chunk, box in _boxes(entry):
        for identity, cells in zip(ids.tolist(), data[(slice(None), *box)], strict=True):
            own = np.array(cells, object, order="C").reshape(-1)
            yield identity, chunk, PendingChunk(entry.schema, entry.generation, own, coordinate=coordinate)


def row_runs(rows: Rows, values: NDArray[Any], limits: Limits) -> Iterator[ChunkRun]:
    """Yield `values`, numbers of the stored dtype, one array after another along the first axis, in runs."""
    for of, region in _planned(rows, limits):
        keys = ChunkKeys(rows.ids[of], rows.generations[of], region.chunk)
        yield from _flat_runs(rows.schemas[0], keys, values, region, limits, coordinate=_is_coordinate(rows))


def row_chunks(rows: Rows, values: NDArray[Any], limits: Limits) -> Iterator[Chunk]:
    """Yield `values`, strings or bytes, one array after another along the first axis, chunk by chunk."""
    for of, region in _planned(rows, limits):
        for k, at in enumerate(of.tolist()):
            own = np.array(values[region.in_box(k)], object, order="C").reshape(-1)
            schema, generation = rows.schemas[rows.number[at]], rows.generations.item(at)
            chunk = PendingChunk(schema, generation, own, coordinate=_is_coordinate(rows))
            yield rows.ids.item(at), region.chunk.item(k), chunk


def _is_coordinate(rows: Rows) -> bool:
    return rows.schemas[0].dims == (rows.array,)


def _planned(rows: Rows, limits: Limits) -> Iterator[tuple[NDArray[np.int64], Region]]:
    """Yield regions of a bounded number of chunks, and which array each chunk is of."""
    flat = FlatBoxes(take_boxes(check_boxes(rows.schemas, None, None), rows.number))
    for first, stop in flat.parts(limits.lookup_chunks):
        region = flat.plan(first, stop)
        assert region.edges is not None
        yield np.repeat(np.arange(first, stop), np.diff(region.edges)), region


def _flat_runs(
    schema: ArraySchema, keys: ChunkKeys, values: NDArray[Any], region: Region, limits: Limits, *, coordinate: bool
) -> Iterator[ChunkRun]:
    for some in slices_by_bytes(region.cells * values.dtype.itemsize, limits.run_bytes):
        rows = np.arange(some.start, some.stop)
        load = partial(gather_cells, values, region, rows)
        yield ChunkRun(schema, keys.take(rows), region.cells[rows], load, coordinate)


def _boxes(entry: ArrayEntry) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield the position of each chunk in the grid, and its box in the array."""
    schema = entry.schema
    region = plan_region(schema, (0,) * len(schema.shape), schema.shape)
    for k, chunk in enumerate(region.chunk.tolist()):
        yield chunk, region.in_box(k)


def _flat(data: NDArray[Any], box: tuple[slice, ...]) -> NDArray[Any]:
    # Encoded before the call returns, so that contiguous data need no copy.
    return np.ascontiguousarray(data[box]).reshape(-1)
