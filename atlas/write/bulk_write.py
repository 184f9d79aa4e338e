"""One array of many datasets, written as one: its chunks in runs over the datasets, not one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.batches import slices_by_bytes
from atlas.chunking.ragged import FlatBoxes, check_boxes
from atlas.chunking.regions import plan_region
from atlas.kernels import Boxes
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk
from atlas.write.splitting import gather_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.runtime.limits import Limits
    from atlas.write.staging import Staging

__all__ = ["Rows", "stage_rows", "stage_stack"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Arrays of one name, dtype and fill value in N datasets, to which nothing was written before."""

    entries: Sequence[ArrayEntry]
    """Their distinct entries."""
    number: NDArray[np.int64]
    """Which of these each has, (N,)."""
    ids: NDArray[np.int64]
    """Id of each dataset, (N,)."""
    generations: NDArray[np.int64]
    """Generation of each array, (N,)."""


def stage_stack(
    staging: Staging,
    entry: ArrayEntry,
    ids: NDArray[np.int64],
    data: NDArray[Any],
    put: Callable[[int, int, PendingChunk], None],
    bound_memory: Callable[[], None],
) -> None:
    """Stage `data` (N, *shape), of the stored dtype, as the arrays `entry` of the datasets `ids`.

    Nothing may have been written to these arrays before. Chunks of strings go to `put`, one by one; `bound_memory` is
    called now and then for others.
    """
    coordinate = entry.schema.dims == (entry.name,)
    if data.dtype != object:
        staging.put_runs(_runs(entry, ids, data, staging.limits.run_bytes, coordinate=coordinate), bound_memory)
        return
    for chunk, box in _boxes(entry):
        for identity, cells in zip(ids.tolist(), data[(slice(None), *box)], strict=True):
            own = np.array(cells, object, order="C").reshape(-1)
            put(identity, chunk, PendingChunk(entry.schema, entry.generation, own, coordinate=coordinate))


def stage_rows(
    staging: Staging,
    rows: Rows,
    values: NDArray[Any],
    put: Callable[[int, int, PendingChunk], None],
    bound_memory: Callable[[], None],
) -> None:
    """Stage `values`, of the stored dtype, one array after another along the first axis. See `stage_stack`."""
    schemas = [entry.schema for entry in rows.entries]
    name, main = rows.entries[0].name, schemas[0]
    coordinate = main.dims == (name,)
    flat = FlatBoxes(Boxes(*(column[rows.number] for column in check_boxes(schemas, None, None))))
    for first, stop in flat.parts(staging.limits.lookup_chunks):
        region = flat.plan(first, stop)
        assert region.edges is not None
        of = np.repeat(np.arange(first, stop), np.diff(region.edges))
        if values.dtype != object:
            keys = ChunkKeys(rows.ids[of], rows.generations[of], region.chunk)
            runs = _flat_runs(main, keys, values, region, staging.limits, coordinate=coordinate)
            staging.put_runs(runs, bound_memory)
            continue
        for k, at in enumerate(of.tolist()):
            own = np.array(values[region.in_box(k)], object, order="C").reshape(-1)
            pending = PendingChunk(schemas[rows.number[at]], rows.generations.item(at), own, coordinate=coordinate)
            put(rows.ids.item(at), region.chunk.item(k), pending)


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


def _runs(
    entry: ArrayEntry, ids: NDArray[np.int64], data: NDArray[Any], run_bytes: int, *, coordinate: bool
) -> Iterator[ChunkRun]:
    for chunk, box in _boxes(entry):
        count = data[(slice(0, 1), *box)].size
        step = max(1, run_bytes // (count * data.dtype.itemsize))
        for begin in range(0, len(ids), step):
            some = slice(begin, begin + step)
            dataset = ids[some]
            keys = ChunkKeys(dataset, np.full(len(dataset), entry.generation), np.full(len(dataset), chunk))
            load = partial(_flat, data, (some, *box))
            yield ChunkRun(entry.schema, keys, np.full(len(dataset), count), load, coordinate)


def _flat(data: NDArray[Any], box: tuple[slice, ...]) -> NDArray[Any]:
    # Encoded before the call returns, so that contiguous data need no copy.
    return np.ascontiguousarray(data[box]).reshape(-1)
