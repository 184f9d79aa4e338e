"""Splits written arrays into chunks: many whole ones in runs that are encoded at once, others to be staged."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas import kernels
from atlas.chunking.batches import slices_by_bytes
from atlas.kernels import Geometry
from atlas.runtime.limits import DEFAULT, Limits
from atlas.write.encoding import ChunkKeys, ChunkRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema

__all__ = ["Cut", "chunk_runs", "divide_chunks", "gather_cells", "merged_part", "one_chunk", "whole_chunks"]


def one_chunk(
    cells: NDArray[Any], schema: ArraySchema, start: Sequence[int], limits: Limits = DEFAULT
) -> NDArray[Any] | None:
    """Return a copy of `cells`, 1-D, that are a small array of one chunk; None where a region has to be planned.

    Fleets are written like this, array by array, in a tenth of the time that a plan takes.
    """
    if cells.shape != schema.shape or schema.chunks != 1 or cells.nbytes >= limits.direct_bytes:
        return None
    if not isinstance(start, (list, tuple)) or len(start) != cells.ndim:
        return None
    for first in start:
        if first or type(first) is not int:
            return None
    return np.asarray(cells).flatten()


class Cut(NamedTuple):
    """The chunks of a region, by row."""

    at_once: NDArray[np.int64]
    """To be encoded at once: whole, and of enough bytes together."""
    whole: NDArray[np.int64]
    """The other whole ones."""
    part: NDArray[np.int64]
    """Covered only in part."""


def divide_chunks(
    cells: NDArray[Any], region: Region, limits: Limits = DEFAULT, *, taken: NDArray[np.bool_] | None = None
) -> Cut:
    """Return what becomes of the chunks of `region`, which `cells` covers, or has the cells of that are `taken`."""
    none, rows = np.empty(0, np.int64), np.arange(len(region.chunk))
    if taken is not None:
        return Cut(none, none, rows)
    covered = np.ones(len(rows), bool)
    if not region.whole:
        covered = (region.geometry.extent == region.geometry.part).all(axis=1)
    whole, part = rows[covered], rows[~covered]
    if cells.dtype == object or int(region.cells[whole].sum()) * cells.dtype.itemsize < limits.direct_bytes:
        return Cut(none, whole, part)
    return Cut(whole, none, part)


def chunk_runs(
    cells: NDArray[Any],
    entry: ArrayEntry,
    dataset: int,
    region: Region,
    rows: NDArray[np.int64],
    *,
    coordinate: bool = False,
    limits: Limits = DEFAULT,
) -> Iterator[ChunkRun]:
    """Yield the whole chunks `rows` of `region` in runs; they borrow from `cells`, which must not change."""
    nbytes = region.cells[rows] * cells.dtype.itemsize
    for some in (rows[batch] for batch in slices_by_bytes(nbytes, limits.run_bytes)):
        keys = ChunkKeys(np.full(len(some), dataset), np.full(len(some), entry.generation), region.chunk[some])
        load = partial(gather_cells, cells, region, some)
        yield ChunkRun(entry.schema, keys, region.cells[some], load, coordinate)


def merged_part(
    cells: NDArray[Any],
    region: Region,
    k: int,
    present: NDArray[Any],
    taken: NDArray[np.bool_] | None = None,
    *,
    shared: bool,
) -> NDArray[np.bool_] | None:
    """Write `cells` to those that the chunk of row `k` has now: where `taken` is True, or all of the box without it.

    Of a `shared` array, which other handles may write to as well, returns which cells of the chunk were written.
    """
    extent, source = region.geometry.extent[k], _source(region, k)
    here = True if taken is None else taken[source]
    np.copyto(present.reshape(extent)[_within(region, k)], cells[source], where=here)
    if not shared:
        return None
    written = np.zeros(extent, bool)
    written[region.in_chunk(k)] = here
    return written.reshape(-1)


def whole_chunks(cells: NDArray[Any], region: Region, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[Any]]]:
    """Return the rows of whole chunks with a copy of the cells of each, 1-D."""
    return [(k, np.array(cells[_source(region, k)], order="C", subok=False).reshape(-1)) for k in rows.tolist()]


def _source(region: Region, k: int) -> tuple[Any, ...]:
    """Return the index of the chunk of row `k` in what is written; an array without axes stays an array."""
    return *region.in_box(k), ...


def _within(region: Region, k: int) -> tuple[Any, ...]:
    """Return the index of the box in the chunk of row `k`, likewise."""
    return *region.in_chunk(k), ...


def gather_cells(cells: NDArray[Any], region: Region, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the cells of whole chunks, `rows` of `region`, chunk after chunk, which lie in `cells`, (*box)."""
    if int(region.cells[rows[0]]) == cells.size:
        return np.ascontiguousarray(cells).reshape(-1)
    nbytes = region.cells[rows] * cells.dtype.itemsize
    offset = np.cumsum(nbytes) - nbytes
    buffer = np.empty(int(nbytes.sum()), np.uint8)
    if cells.flags.c_contiguous:
        geometry = Geometry(region.geometry.boxes[:, rows], region.geometry.box)
        kernels.scatter_boxes(cells, geometry, buffer, offset)
    else:
        for k, begin, length in zip(rows.tolist(), offset.tolist(), nbytes.tolist(), strict=True):
            own = buffer[begin : begin + length].view(cells.dtype).reshape(region.geometry.extent[k])
            own[...] = cells[_source(region, k)]
    return buffer.view(cells.dtype)
