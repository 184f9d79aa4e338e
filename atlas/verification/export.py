"""Writing what is whole of a store to a new one: whole datasets, and of damaged ones every array that is whole.

A chunk that cannot be read is never written as fill: its array is left out, and named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_chunk_index
from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.regions import chunk_box, plan_region
from atlas.format.dataset_columns import ArrayEntry
from atlas.maintenance.compaction import bound_staging, chunk_lots, live_rows
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk
from atlas.write.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.session import Session
    from atlas.storage import Storage

__all__ = ["export_whole"]


def export_whole(
    storage: Storage, catalog: Catalog, broken: Mapping[str, AbstractSet[int]], lost: AbstractSet[str], target: Session
) -> list[tuple[str, str | None]]:
    """Write the datasets of `catalog` to the empty store `target`, in one version, and return what was left out.

    `broken` has by array name the ids of datasets in which that array is not whole, `lost` the segments whose indexes
    cannot be read. Raises `CorruptStoreError` where something else cannot be read: then nothing is written.
    """
    left_out: list[tuple[str, str | None]] = []
    rows = catalog.live_rows()
    names = [catalog.names[row] for row in rows.tolist()]
    target.writer.create_datasets(names)
    states = [target.view.datasets.edit(name) for name in names]
    shared: dict[tuple[int, tuple[str, ...]], dict[str, ArrayEntry]] = {}
    damaged: dict[int, list[str]] = {}
    for array, ids in broken.items():
        for identity in ids:
            damaged.setdefault(identity, []).append(array)
    for row, state in zip(rows.tolist(), states, strict=True):
        without = tuple(sorted(damaged.get(int(catalog.ids[row]), ())))
        key = int(catalog.layouts[row]), without
        if key not in shared:
            kept = [entry for entry in catalog.layout(row) if entry.name not in without]
            shared[key] = {entry.name: ArrayEntry(entry.name, entry.schema, 0) for entry in kept}
        state.arrays, state.shared = shared[key], True
        state.attributes = {
            name: value
            for name, value in catalog.encoded_attributes(row).items()
            if not (isinstance(name, tuple) and len(name) == 2 and name[0] in without)
        }
        left_out += [(state.name, array) for array in without]
    identities = np.array([state.identity for state in states], np.int64)
    config, place = target.log.config, target.log.storage
    for array, refs in catalog.segments.items():
        table = load_chunk_index(storage, [ref for ref in refs if ref.key not in lost])
        staging = Staging(array, config.codec, config.filter, place.spill_file)
        target.writes.by_array[array] = staging
        for targets in _whole(catalog, array, rows, broken.get(array, frozenset())):
            _copy(table, targets, catalog.ids[rows], identities, staging)
    target.view.changed()
    target.flush()
    return left_out


def _whole(catalog: Catalog, array: str, rows: NDArray[np.int64], broken: AbstractSet[int]) -> Iterator[Targets]:
    """Yield the arrays of that name that are whole, by schema."""
    index = catalog.index_of(array)
    if not len(index.entries):
        return
    entry = index.entry[catalog.layouts[rows]]
    kept = (entry >= 0) & ~np.isin(catalog.ids[rows], np.array(sorted(broken), np.int64))
    rows, entry = rows[kept], entry[kept]
    order = np.argsort(index.schema[entry], kind="stable")
    schema = index.schema[entry][order]
    for some in np.split(order, np.flatnonzero(np.diff(schema)) + 1) if len(order) else ():
        ids, generations = catalog.ids[rows[some]], index.generation[entry[some]]
        yield Targets(array, index.schemas[int(index.schema[entry[some[0]]])], ids, generations, catalog.name_of)


def _copy(
    table: ChunkIndex, targets: Targets, ids: NDArray[np.int64], identities: NDArray[np.int64], staging: Staging
) -> None:
    """Put the chunks of arrays of one schema into `staging`, under the ids that datasets have there."""
    schema = targets.schema
    for chunk, lot in chunk_lots(table, live_rows(table, targets), schema):
        dataset = table.rows.dataset[lot]
        part = Targets(targets.array, schema, dataset, table.rows.generation[lot], targets.name_of)
        boxes = read_boxes([table], part, plan_region(schema, *chunk_box(schema, chunk)))
        cells = boxes.reshape(len(lot), -1).view(schema.datatype.cell or object)
        there = identities[find_sorted(ids, dataset)]
        if schema.datatype.cell is not None:
            keys = ChunkKeys(there, np.zeros(len(lot), np.int64), np.full(len(lot), chunk))
            count = np.full(len(lot), cells.shape[1])
            staging.put_runs([ChunkRun(schema, keys, count, partial(cells.reshape, -1))], lambda: None)
        else:
            for identity, own in zip(there.tolist(), cells, strict=True):
                staging.put(identity, chunk, PendingChunk(schema, 0, own))
        bound_staging(staging)
