"""One stored array as a dask array whose blocks are the stored chunks.

Building costs the chunk tuples and one layer, never a task per chunk, and reads nothing. Computing a block is one
`read_array(name, start=[...], shape=[...])` on the view, in whatever thread or process the scheduler chose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.blockwise import BlockwiseDep, blockwise
from dask.highlevelgraph import HighLevelGraph

from atlas.errors import ArrayNotFoundError
from atlas.runtime.memory import check_room
from atlas.xarray.times import restored_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.xarray.protocols import ViewLike

__all__ = ["grid_chunks", "lazy_array"]

_TASK_BYTES = 256
"""Bytes that dask takes for a chunk, at the least, once it is computed."""


class _Boxes(BlockwiseDep):
    """Start and shape of the chunk at each place of the grid, worked out when a task is made."""

    produces_tasks = False

    def __init__(self, shape: tuple[int, ...], chunk_shape: tuple[int, ...], numblocks: tuple[int, ...]) -> None:
        self.shape = shape
        self.chunk_shape = chunk_shape
        self.numblocks = numblocks

    def __getitem__(self, idx: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Return the start and the length along each axis."""
        return tuple(
            (i * chunk, min(chunk, length - i * chunk))
            for i, chunk, length in zip(idx, self.chunk_shape, self.shape, strict=True)
        )

    def __dask_tokenize__(self) -> object:
        """Return what tells two grids apart."""
        return type(self).__name__, self.shape, self.chunk_shape


@dataclass(frozen=True, slots=True)
class _ReadChunk:
    """Reads one chunk; pickles with its view."""

    view: ViewLike
    """The dataset."""
    array: str
    """Name of the array."""
    marker: str | None
    """How to restore times (see `times`), None for cells as stored."""

    def __call__(self, box: tuple[tuple[int, int], ...]) -> NDArray[Any]:
        """Read the chunk in `box`."""
        cells = self.view.read_array(self.array, start=[start for start, _ in box], shape=[length for _, length in box])
        if cells is None:
            raise ArrayNotFoundError(f"dataset {self.view.name!r} has no array {self.array!r} any more")
        return cells if self.marker is None else restored_times(self.array, cells, self.marker)


def grid_chunks(shape: Sequence[int], chunk_shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Lengths of the chunks along each axis, the last one clipped at the edge; (0,) for an empty axis."""
    chunks = []
    for length, chunk in zip(shape, chunk_shape, strict=True):
        whole, rest = divmod(length, chunk) if chunk else (0, 0)
        chunks.append((chunk,) * whole + ((rest,) if rest or not whole else ()))
    return tuple(chunks)


def lazy_array(
    view: ViewLike,
    array: str,
    shape: Sequence[int],
    chunk_shape: Sequence[int],
    *,
    dtype: np.dtype[Any],
    marker: str | None = None,
) -> da.Array:
    """The array `array` of `view`, of at least one axis, as a dask array.

    `dtype` is that of its cells, after they were restored where there is a `marker`. The name of the dask array
    depends on nothing but the stored data, so that equal reads are shared.
    """
    # An empty axis counts as well: dask has a chunk there, and all those of the other axes.
    along = [max(-(-length // max(chunk, 1)), 1) for length, chunk in zip(shape, chunk_shape, strict=True)]
    blocks = math.prod(along)
    check_room(
        blocks * _TASK_BYTES,
        f"a dask array of {blocks} chunks, which array {array!r} of dataset {view.name!r} declares,",
        "read boxes of it with read_array",
    )
    name = f"atlas-{tokenize(view.token(array), tuple(shape), tuple(chunk_shape), marker)}"
    chunks = grid_chunks(shape, chunk_shape)
    axes = tuple(range(len(chunks)))
    boxes = _Boxes(tuple(shape), tuple(chunk_shape), tuple(map(len, chunks)))
    read = _ReadChunk(view, array, marker)
    layer = blockwise(read, name, axes, boxes, axes, numblocks={})  # type: ignore[no-untyped-call]
    graph = HighLevelGraph.from_collections(name, layer)
    meta = np.empty((0,) * len(chunks), dtype)
    return da.Array(graph, name, chunks, meta=meta)  # type: ignore[no-untyped-call]
