"""One array of many datasets, handed over as one: its chunks go to the staging in columns, not one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.encoding import ChunkKeys, PendingChunk
from atlas.planning.packing import ALONE
from atlas.planning.regions import box_slices, plan_region

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.staging import Staging
    from atlas.format.registry import ArrayEntry

__all__ = ["stage_stack"]

_LOT = 16 << 20
"""Bytes of chunks that are copied out of the data at a time."""


def stage_stack(
    staging: Staging, entry: ArrayEntry, ids: NDArray[np.int64], data: NDArray[Any], bound_memory: Callable[[], None]
) -> None:
    """Stage `data` (N, *shape), of the stored dtype, as the arrays `entry` of the datasets `ids`.

    Nothing may have been written to these arrays before. `bound_memory` is called after each lot.
    """
    schema = entry.schema
    region = plan_region(schema, (0,) * len(schema.shape), schema.shape)
    geometry = region.geometry
    for k, chunk in enumerate(region.chunk.tolist()):
        box = box_slices(geometry.target[k].tolist(), geometry.count[k].tolist())
        nbytes = int(region.cells[k]) * data.dtype.itemsize
        step = max(1, _LOT // nbytes)
        for begin in range(0, len(ids), step):
            some = slice(begin, begin + step)
            # Always a copy: what is pending must not change with the caller's data.
            cells = np.array(data[(some, *box)], order="C", subok=False).reshape(len(ids[some]), -1)
            if data.dtype != object and nbytes < ALONE:
                generation, position = np.full(len(cells), entry.generation), np.full(len(cells), chunk)
                staging.put_stack(schema, ChunkKeys(ids[some], generation, position), cells)
            else:
                for identity, own in zip(ids[some].tolist(), cells, strict=True):
                    staging.put(identity, chunk, PendingChunk(schema, entry.generation, own))
            bound_memory()
