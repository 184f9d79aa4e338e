"""Writes what is whole of a damaged store to a new one: whole datasets, and the whole arrays of the others.

Never writes a chunk that cannot be read as fill: its array is left out, and named. Never writes to the damaged store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_chunk_index
from atlas.catalog.sorted_search import find_sorted
from atlas.chunking.batches import equal_runs
from atlas.format.attribute_keys import ArrayPrefixes, flatten_key
from atlas.format.dataset_columns import ArrayEntry
from atlas.maintenance.chunk_copy import copy_chunks, gather_few
from atlas.read.fetch import Targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.session import Session
    from atlas.storage import Storage

__all__ = ["export_whole"]


def export_whole(
    storage: Storage, catalog: Catalog, broken: Mapping[str, AbstractSet[int]], lost: AbstractSet[str], target: Session
) -> list[tuple[str, str]]:
    """Write the datasets of `catalog` to the empty store `target`, in one version, and return what was left out.

    `broken` has, by array name, the ids of the datasets in which that array is damaged; `lost` has the keys of the
    segments whose indexes cannot be read. Each array left out is returned as (dataset, array).

    Raises `CorruptStoreError` where anything else cannot be read; then nothing is written.
    """
    rows = catalog.live_rows()
    new_ids, left_out = _create_datasets(catalog, rows, broken, target)
    for array, refs in catalog.segments.items():
        # Rows that share a chunk of a lost segment are of arrays that are broken.
        table = load_chunk_index(storage, [ref for ref in refs if ref.key not in lost], lost={})
        staging = target.writes.by_array[array] = target.writes.new_staging(array)
        for targets in gather_few(_whole_arrays(catalog, array, rows, broken.get(array, frozenset())), table):
            ids = new_ids[find_sorted(catalog.ids[rows], targets.ids)]
            copy_chunks(table, targets, staging, ids, np.zeros(len(ids), np.int64))
    target.view.changed()
    target.flush()
    return left_out


def _create_datasets(
    catalog: Catalog, rows: NDArray[np.int64], broken: Mapping[str, AbstractSet[int]], target: Session
) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Create the datasets at `rows` (N,) of `catalog` with their whole arrays and the attributes of these.

    Returns the new ids (N,), and the arrays that were left out, each as (dataset, array).
    """
    names = [catalog.names[row] for row in rows.tolist()]
    target.writer.create_datasets(names)
    damaged: dict[int, list[str]] = {}
    for array in sorted(broken):
        for identity in broken[array]:
            damaged.setdefault(identity, []).append(array)
    # Datasets that lack the same arrays of one layout share what they have, as they did.
    shared: dict[tuple[int, tuple[str, ...]], dict[str, ArrayEntry]] = {}
    ids: list[int] = []
    left_out: list[tuple[str, str]] = []
    for row, name in zip(rows.tolist(), names, strict=True):
        without = tuple(damaged.get(int(catalog.ids[row]), ()))
        kind = int(catalog.layouts[row]), without
        if kind not in shared:
            kept = [entry for entry in catalog.layout(row) if entry.name not in without]
            shared[kind] = {entry.name: ArrayEntry(entry.name, entry.schema, 0) for entry in kept}
        state = target.view.datasets.edit(name)
        state.arrays, state.shared = shared[kind], True
        prefixes = ArrayPrefixes(entry.name for entry in catalog.layout(row)) if without else None
        state.attributes = {
            key: value
            for key, value in catalog.encoded_attributes(row).items()
            if prefixes is None or prefixes.split(flatten_key(key))[0] not in without
        }
        ids.append(state.identity)
        left_out += [(state.name, array) for array in without]
    return np.array(ids, np.int64), left_out


def _whole_arrays(catalog: Catalog, array: str, rows: NDArray[np.int64], broken: AbstractSet[int]) -> Iterator[Targets]:
    """Yield the arrays of one name in the datasets at `rows` but those with ids in `broken`, one schema at a time."""
    index = catalog.index_of(array)
    if not len(index.entries):
        return
    entry = index.entry[catalog.layouts[rows]]
    kept = (entry >= 0) & ~np.isin(catalog.ids[rows], np.array(sorted(broken), np.int64))
    rows, entry = rows[kept], entry[kept]
    order = np.argsort(index.schema[entry], kind="stable")
    schema = index.schema[entry[order]]
    for run in equal_runs(schema):
        at = order[run]
        found = index.schemas[int(schema[run.start])]
        yield Targets(array, found, catalog.ids[rows[at]], index.generation[entry[at]], catalog.name_of)
