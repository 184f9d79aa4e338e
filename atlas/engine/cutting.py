"""Written arrays to whole chunks: the kernel cuts those that are filled, the others keep what is not written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.engine.encoding import PendingChunk
from atlas.kernels import Geometry
from atlas.planning.regions import box_slices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.registry import ArrayEntry
    from atlas.planning.regions import Region

__all__ = ["RAW_BUDGET", "cut_chunks"]

_LOT = 16 << 20
"""Bytes of chunks that are cut at a time."""
RAW_BUDGET = 32 << 20
"""Bytes of chunks that may wait before they are encoded. A single chunk of more is encoded before the write returns,
and so need not be copied."""


def cut_chunks(
    cells: NDArray[Any], entry: ArrayEntry, region: Region, bases: dict[int, NDArray[Any]]
) -> Iterator[tuple[int, PendingChunk]]:
    """Yield grid position and cells of every chunk of `region`, which `cells` covers.

    `bases` holds the present cells of the chunks covered only in part, by row of the region; they are written to.
    """
    if len(region.chunk) == 1 and not bases:
        borrowed = cells.nbytes > RAW_BUDGET and cells.flags.c_contiguous
        own = cells.reshape(-1) if borrowed else np.array(cells, order="C", subok=False).reshape(-1)
        yield int(region.chunk[0]), PendingChunk(entry.schema, entry.generation, own)
        return
    geometry = region.geometry
    fixed = cells.dtype != object and cells.flags.c_contiguous
    whole = [k for k in range(len(region.chunk)) if k not in bases]
    for k in bases if fixed else range(len(region.chunk)):
        extent = tuple(geometry.extent[k].tolist())
        part = cells[box_slices(geometry.target[k].tolist(), geometry.count[k].tolist())]
        if k in bases:
            own = bases[k]
            own.reshape(extent)[box_slices(geometry.first[k].tolist(), geometry.count[k].tolist())] = part
        else:
            own = np.array(part, order="C", subok=False).reshape(-1)
        yield int(region.chunk[k]), PendingChunk(entry.schema, entry.generation, own)
    if fixed:
        yield from _scattered(cells, entry, region, np.array(whole, np.int64))


def _scattered(
    cells: NDArray[Any], entry: ArrayEntry, region: Region, rows: NDArray[np.int64]
) -> Iterator[tuple[int, PendingChunk]]:
    sizes = region.cells[rows] * cells.dtype.itemsize
    lots = np.flatnonzero(np.diff((np.cumsum(sizes) - 1) // _LOT)) + 1
    for lot in np.split(rows, lots) if len(rows) else []:
        nbytes = region.cells[lot] * cells.dtype.itemsize
        place = np.cumsum(nbytes) - nbytes
        buffer = np.empty(int(nbytes.sum()), np.uint8)
        extent, first, count, target, box = region.geometry
        geometry = Geometry(extent[lot], first[lot], count[lot], target[lot], box)
        kernels.scatter(cells, geometry, buffer, place)
        for chunk, begin, length in zip(region.chunk[lot].tolist(), place.tolist(), nbytes.tolist(), strict=True):
            own = buffer[begin : begin + length].view(cells.dtype)
            yield chunk, PendingChunk(entry.schema, entry.generation, own)
