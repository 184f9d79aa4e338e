"""Copies live chunks of one array name into a staging, which encodes them anew: for compaction and export.

Reads through a chunk index, so that only the newest row of each chunk counts. Memory is bounded by the batches here
and by what the staging holds before it spills. Never commits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.batches import equal_runs, first_alike, slices_by_bytes
from atlas.chunking.ragged import FlatBoxes, check_boxes, take_boxes
from atlas.chunking.regions import chunk_box, plan_region
from atlas.format.digests import content_of
from atlas.format.segment import NO_DIGEST
from atlas.read.gather import read_boxes, read_flat
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.schema import ArraySchema
    from atlas.read.fetch import Targets
    from atlas.runtime.limits import Limits
    from atlas.write.staging import Staging

__all__ = ["chunk_batches", "copy_chunks", "find_live_chunks", "gather_few"]

_FEW_CHUNKS = 512
"""Chunks of a schema up to which they are copied with those of others."""
_STRING = 16
"""Bytes that a string is taken to have."""


def copy_chunks(
    index: ChunkIndex,
    targets: Targets,
    staging: Staging,
    ids: NDArray[np.int64],
    generations: NDArray[np.int64],
) -> None:
    """Copy the live chunks that `index` has of the N `targets` into `staging`, under other ids and generations.

    `ids` and `generations` (N,) are those that the chunks of each target get. A chunk that several datasets share is
    copied once. Targets of several schemas are those of `gather_few`.

    Raises `CorruptStoreError` where a chunk cannot be read; other chunks may have been copied by then.
    """
    rows, owner = find_live_chunks(index, targets)
    if targets.number is not None:
        _copy_few(index, targets, staging, ids, generations, owner)
        return
    keys = ChunkKeys(ids[owner], generations[owner], index.rows.chunk[rows])
    is_coordinate = index.rows.digest[rows] != NO_DIGEST
    is_coordinate |= targets.schema.dims == (targets.array,)
    some = np.flatnonzero(~is_coordinate)
    for batch, cells in _read_batches(index, targets, rows[some], owner[some], staging.limits):
        _put(staging, targets.schema, keys.take(some[batch]), cells)
        _bound_memory(staging)
    some, begin = _by_location(index, rows, np.flatnonzero(is_coordinate))
    first = some[begin[:-1]]
    for batch, cells in _read_batches(index, targets, rows[first], owner[first], staging.limits):
        _put(staging, targets.schema, keys.take(first[batch]), cells, coordinate=True)
        for own, at in zip(cells, batch.tolist(), strict=True):
            _put_copies(staging, targets.schema, keys.take(some[begin[at] + 1 : begin[at + 1]]), own)
        _bound_memory(staging)


def gather_few(groups: Iterable[Targets], index: ChunkIndex) -> Iterator[Targets]:
    """Yield targets of one schema each, and those of one chunk whose schemas have few targets together.

    A ragged fleet has tens of schemas, and each takes a pass. What datasets share stays as it is.
    """
    together: dict[object, list[Targets]] = {}
    has_shared = bool((index.rows.digest != NO_DIGEST).any())
    for group in groups:
        schema = group.schema
        is_small = schema.chunks == 1 and len(schema.shape) > 0 and schema.datatype.cell is not None
        if has_shared or not is_small or schema.dims == (group.array,) or len(group.ids) > _FEW_CHUNKS:
            yield group
        else:
            together.setdefault((schema.datatype.name, schema.shape[1:]), []).append(group)
    for some in together.values():
        count = [len(group.ids) for group in some]
        yield replace(
            some[0],
            ids=np.concatenate([group.ids for group in some]),
            generations=np.concatenate([group.generations for group in some]),
            schemas=[group.schema for group in some],
            number=np.repeat(np.arange(len(some)), count),
        )


def _copy_few(
    index: ChunkIndex,
    targets: Targets,
    staging: Staging,
    ids: NDArray[np.int64],
    generations: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> None:
    """Copy the chunks of the targets `owner` (M,), which have several schemas and one chunk each."""
    assert targets.number is not None
    schemas, datatype = targets.schemas, targets.schema.datatype
    shapes = check_boxes(schemas, None, None)
    nbytes = shapes.extent.prod(axis=1) * datatype.itemsize
    for batch in slices_by_bytes(nbytes[targets.number[owner]], staging.limits.copied_bytes):
        at = owner[batch]
        number = targets.number[at]
        flat = FlatBoxes(take_boxes(shapes, number))
        cells = read_flat([index], targets.take(at), flat, staging.limits)
        keys = zip(
            ids[at].tolist(), generations[at].tolist(), number.tolist(), pairwise(flat.offsets.tolist()), strict=True
        )
        for dataset, generation, schema, (first, stop) in keys:
            own = cells[first:stop].reshape(-1).view(datatype.cell or object)
            staging.put(dataset, 0, PendingChunk(schemas[schema], generation, own))
        _bound_memory(staging)


def _by_location(
    index: ChunkIndex, rows: NDArray[np.int64], some: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group those of `rows` at the positions `some` (N,) that are one chunk in one place.

    Returns the positions by group, and where each of the K groups begins, with the end of the last, (K + 1,).
    """
    at, block = rows[some], index.rows.block[rows[some]]
    source = np.where(block >= 0, index.source[at], -1)
    _, of = first_alike(index.rows.chunk[at], source, block, index.rows.offset[at].view(np.int64))
    return some[np.argsort(of, kind="stable")], np.append(0, np.cumsum(np.bincount(of)))


def _read_batches(
    index: ChunkIndex, targets: Targets, rows: NDArray[np.int64], owner: NDArray[np.int64], limits: Limits
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Yield the cells of the chunks in `rows` (M,), of the targets `owner` (M,), in batches.

    Each is given as positions in `rows` (N,) and the cells, (N, cells), of the stored dtype or objects. The chunks of a
    batch have one position in the grid.
    """
    schema = targets.schema
    for chunk, batch in chunk_batches(index.rows.chunk[rows], schema, limits.copied_bytes):
        part = targets.take(owner[batch])
        boxes = read_boxes([index], part, plan_region(schema, *chunk_box(schema, chunk)), limits)
        yield batch, boxes.reshape(len(batch), -1).view(schema.datatype.cell or object)


def _put(
    staging: Staging, schema: ArraySchema, keys: ChunkKeys, cells: NDArray[Any], *, coordinate: bool = False
) -> None:
    """Stage N chunks with `cells` (N, cells)."""
    if schema.datatype.cell is not None:
        count = np.full(len(cells), cells.shape[1])
        staging.put_runs([ChunkRun(schema, keys, count, partial(cells.reshape, -1), coordinate)], lambda: None)
        return
    for dataset, generation, chunk, own in zip(*(column.tolist() for column in keys), cells, strict=True):
        staging.put(dataset, chunk, PendingChunk(schema, generation, own, coordinate=coordinate))


def _put_copies(staging: Staging, schema: ArraySchema, keys: ChunkKeys, cells: NDArray[Any]) -> None:
    """Stage N chunks of a coordinate that all have `cells` (cells,), as a chunk that was staged has."""
    if schema.datatype.cell is None:
        _put(staging, schema, keys, np.broadcast_to(cells, (len(keys.chunk), len(cells))), coordinate=True)
    elif len(keys.chunk):
        staging.put_copies(keys, [content_of(schema, cells)] * len(keys.chunk))


def _bound_memory(staging: Staging) -> None:
    """Encode or spill the staged chunks once they exceed `Limits.waiting_bytes`."""
    if staging.raw_bytes > staging.limits.waiting_bytes:
        staging.encode()
    if staging.encoded_bytes > staging.limits.waiting_bytes:
        staging.spill()


def find_live_chunks(index: ChunkIndex, targets: Targets) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of `index` that hold chunks of `targets`, ascending, and the number of the target of each.

    Both are of shape (M,). Rows of other generations and rows outside of the chunk grid, which no read shows, are left
    out.
    """
    order = np.argsort(targets.ids)
    at = find_sorted(targets.ids[order], index.rows.dataset)
    rows = np.flatnonzero((at >= 0) & (index.rows.chunk < targets.schema.chunks))
    owner = order[at[rows]]
    live = targets.generations[owner] == index.rows.generation[rows]
    return rows[live], owner[live]


def chunk_batches(chunk: NDArray[np.int64], schema: ArraySchema, limit: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each grid position in `chunk` (N,) with the indices of `chunk` that have it, in bounded batches.

    A batch covers about `limit` bytes of chunks that follow each other, so that neighbours in a file are read
    together. A position may come in several batches.
    """
    nbytes = schema.datatype.itemsize if schema.datatype.cell is not None else _STRING
    for n, c in zip(schema.shape, schema.chunk_shape, strict=True):
        nbytes *= min(n, c)
    for batch in slices_by_bytes(np.full(len(chunk), min(nbytes, limit)), limit):
        order = np.argsort(chunk[batch], kind="stable") + batch.start
        for run in equal_runs(chunk[order]):
            yield int(chunk[order[run.start]]), order[run]
