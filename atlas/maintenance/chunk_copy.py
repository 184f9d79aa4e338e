"""Copies live chunks of one array name into a staging, which encodes them anew: for compaction and export.

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
    index: ChunkIndex,
    targets: Targets,
    staging: Staging,
    ids: NDArray[np.int64],
    generations: NDArray[np.int64],
) -> None:
    """Copy the live chunks that `index` has of the N `targets` into `staging`, under other ids and generations.

    `ids` and `generations` (N,) are those that the chunks of each target get.

    Raises `CorruptStoreError` where a chunk cannot be read; other chunks may have been copied by then.
    """
    schema = targets.schema
    rows, owner = find_live_chunks(index, targets)
    for chunk, batch in chunk_batches(index.rows.chunk[rows], schema, staging.limits.copied_bytes):
        at = owner[batch]
        part = Targets(targets.array, schema, targets.ids[at], targets.generations[at], targets.name_of)
        boxes = read_boxes([index], part, plan_region(schema, *chunk_box(schema, chunk)), staging.limits)
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
