"""Rewriting segments of one array, all of them or some, into a single one that holds live chunks only."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.regions import chunk_box, plan_region
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.datasets import Datasets
    from atlas.format.schema import ArraySchema
    from atlas.format.segment import SegmentRef
    from atlas.write.staging import Staging

__all__ = ["bound_staging", "chunk_lots", "compact_array", "join_segments", "live_rows"]

_LOT = 16 << 20
"""Bytes of chunks that are decoded at a time."""
_WAITING = 32 << 20
"""Bytes of chunks that wait before they are encoded, and encoded bytes that wait before they are spilled."""


def compact_array(
    array: str, refs: Sequence[SegmentRef], table: ChunkIndex, datasets: Datasets, staging: Staging
) -> bool:
    """Gather the live chunks of `array` in `staging`; return False where its one segment holds nothing else.

    Raises `CorruptStoreError` where a live chunk cannot be read: nothing is dropped then.
    """
    catalog = datasets.catalog
    names = [catalog.names[row] for row in catalog.live_rows().tolist()]
    targets = _targets(array, names, datasets)
    if len(refs) == 1 and sum(len(live_rows(table, some)) for some in targets) == refs[0].footer.chunks:
        return False
    for some in targets:
        _gather(table, some, staging)
    return True


def join_segments(array: str, table: ChunkIndex, datasets: Datasets, staging: Staging) -> None:
    """Gather the live chunks of some of the segments of `array`, those of `table`, in `staging`.

    Costs nothing for datasets of which they hold nothing. Raises `CorruptStoreError` where a live chunk cannot be read.
    """
    catalog = datasets.catalog
    ids = np.unique(table.rows.dataset)
    rows = find_sorted(catalog.ids, ids)
    names = [catalog.names[row] for row in rows[rows >= 0].tolist()]
    for some in _targets(array, names, datasets) if names else ():
        _gather(table, some, staging)


def _targets(array: str, names: Sequence[str], datasets: Datasets) -> list[Targets]:
    """Return the arrays of that name in the datasets `names`, by schema."""
    return [
        Targets(array, group.schema, group.ids, group.generations, datasets.name_of)
        for group in datasets.arrays(array, names).groups
    ]


def _gather(table: ChunkIndex, targets: Targets, staging: Staging) -> None:
    """Put the live chunks of arrays of one schema into `staging`."""
    rows = live_rows(table, targets)
    schema = targets.schema
    for chunk, lot in chunk_lots(table, rows, schema):
        dataset = table.rows.dataset[lot]
        part = Targets(targets.array, schema, dataset, table.rows.generation[lot], targets.name_of)
        boxes = read_boxes([table], part, plan_region(schema, *chunk_box(schema, chunk)))
        cells = boxes.reshape(len(lot), -1).view(schema.datatype.cell or object)
        if schema.datatype.cell is not None:
            keys = ChunkKeys(dataset, part.generations, np.full(len(lot), chunk))
            count = np.full(len(lot), cells.shape[1])
            staging.put_runs([ChunkRun(schema, keys, count, partial(cells.reshape, -1))], lambda: None)
        else:
            for identity, generation, own in zip(dataset.tolist(), part.generations.tolist(), cells, strict=True):
                staging.put(identity, chunk, PendingChunk(schema, generation, own))
        bound_staging(staging)


def bound_staging(staging: Staging) -> None:
    """Encode and spill what waits once it is much."""
    if staging.raw_bytes > _WAITING:
        staging.encode()
    if staging.encoded_bytes > _WAITING:
        staging.spill()


def live_rows(table: ChunkIndex, targets: Targets) -> NDArray[np.int64]:
    """Return the rows of the table that belong to the targets."""
    order = np.argsort(targets.ids)
    at = find_sorted(targets.ids[order], table.rows.dataset)
    if not len(order):
        return np.empty(0, np.int64)
    live = (at >= 0) & (targets.generations[order][at] == table.rows.generation)
    # A row outside of the grid is of no chunk: no read shows it.
    return np.flatnonzero(live & (table.rows.chunk < targets.schema.chunks))


def chunk_lots(
    table: ChunkIndex, rows: NDArray[np.int64], schema: ArraySchema
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield chunk positions with rows at that position, of bounded bytes, so that neighbours in a file stay near."""
    chunk_bytes = max(schema.datatype.itemsize, 16 if schema.datatype.cell is None else 1)
    for n, c in zip(schema.shape, schema.chunk_shape, strict=True):
        chunk_bytes *= min(n, c)
    step = max(1, _LOT // max(chunk_bytes, 1))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        chunk = table.rows.chunk[some]
        order = np.argsort(chunk, kind="stable")
        edges = [0, *(np.flatnonzero(np.diff(chunk[order])) + 1).tolist(), len(some)]
        for begin, end in pairwise(edges):
            yield int(chunk[order[begin]]), some[order[begin:end]]
