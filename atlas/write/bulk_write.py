"""One array of many datasets, written as one: its chunks in runs over the datasets, not one by one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.regions import plan_region
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.dataset_columns import ArrayEntry
    from atlas.write.staging import Staging

__all__ = ["stage_stack"]


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
