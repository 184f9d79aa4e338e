"""Copies live chunks of one array, decoded and encoded anew, into a staging: what compaction and export do.

Reads through a chunk index, so that only the newest row of each chunk counts. Memory is bounded by the batches here
and by what the staging holds before it spills. Never commits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.batches import equal_runs, slices_by_bytes
from atlas.chunking.regions import chunk_box, plan_region
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.schema import ArraySchema
    from atlas.write.staging import Staging

__all__ = ["chunk_batches", "copy_chunks", "find_live_chunks"]

_STRING = 16
"""Bytes that a string is taken to have."""


def copy_chunks(
    table: ChunkIndex,
    targets: Targets,
    staging: Staging,
    ids: NDArray[np.int64],
    generations: NDArray[np.int64],
) -> None:
    """Put the live chunks of `targets` in `table` into `staging`, under other ids and generations.

    `ids` and `generations` (N,) are those that the chunks of each of the N targets get.

    Raises `CorruptStoreError` where a chunk cannot be read; some may have been copied then.
    """
    schema = targets.schema
    rows, owner = find_live_chunks(table, targets)
    for chunk, batch in chunk_batches(table.rows.chunk[rows], schema, staging.limits.copied_bytes):
        at = owner[batch]
        part = Targets(targets.array, schema, targets.ids[at], targets.generations[at], targets.name_of)
        boxes = read_boxes([table], part, plan_region(schema, *chunk_box(schema, chunk)), staging.limits)
        cells = boxes.reshape(len(at), -1).view(schema.datatype.cell or object)
        if schema.datatype.cell is not None:
            keys = ChunkKeys(ids[at], generations[at], np.full(len(at), chunk))
            count = np.full(len(at), cells.shape[1])
            staging.put_runs([ChunkRun(schema, keys, count, partial(cells.reshape, -1))], lambda: None)
        else:
            for identity, generation, own in zip(ids[at].tolist(), generations[at].tolist(), cells, strict=True):
                staging.put(identity, chunk, PendingChunk(schema, generation, own))
        _bound_memory(staging)


def _bound_memory(staging: Staging) -> None:
    """Encode and spill what waits once it is much."""
    if staging.raw_bytes > staging.limits.waiting_bytes:
        staging.encode()
    if staging.encoded_bytes > staging.limits.waiting_bytes:
        staging.spill()


def find_live_chunks(table: ChunkIndex, targets: Targets) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of `table` that hold chunks of `targets`, ascending, and the target that each belongs to.

    Left out are rows of other generations, and rows outside of the grid, which no read shows.
    """
    order = np.argsort(targets.ids)
    at = find_sorted(targets.ids[order], table.rows.dataset)
    rows = np.flatnonzero((at >= 0) & (table.rows.chunk < targets.schema.chunks))
    owner = order[at[rows]]
    live = targets.generations[owner] == table.rows.generation[rows]
    return rows[live], owner[live]


def chunk_batches(chunk: NDArray[np.int64], schema: ArraySchema, limit: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the grid positions in `chunk` (N,), each with the indices (of `chunk`) that have it, in bounded batches.

    Indices are taken about `limit` bytes of chunks at a time, so that neighbours in a file are read together; a
    position may come in several batches.
    """
    nbytes = schema.datatype.itemsize if schema.datatype.cell is not None else _STRING
    for n, c in zip(schema.shape, schema.chunk_shape, strict=True):
        nbytes *= min(n, c)
    for batch in slices_by_bytes(np.full(len(chunk), min(nbytes, limit)), limit):
        order = np.argsort(chunk[batch], kind="stable") + batch.start
        for run in equal_runs(chunk[order]):
            yield int(chunk[order[run.start]]), order[run]
