"""Rewrites segments of one array name, all or some of them, as a single one with live chunks only. Never commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.maintenance.chunk_copy import copy_chunks, find_live_chunks
from atlas.read.fetch import Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.datasets import Datasets
    from atlas.format.segment import SegmentRef
    from atlas.write.staging import Staging

__all__ = ["compact_array", "join_segments"]


def compact_array(
    array: str, refs: Sequence[SegmentRef], index: ChunkIndex, datasets: Datasets, staging: Staging
) -> bool:
    """Copy the live chunks of `array` into `staging`; return False where its one segment holds nothing else.

    `refs` are all its segments, `index` their chunk index. Raises `CorruptStoreError` where a live chunk cannot be
    read.
    """
    catalog = datasets.catalog
    names = [catalog.names[row] for row in catalog.live_rows().tolist()]
    targets = _targets(array, names, datasets)
    if len(refs) == 1 and sum(len(find_live_chunks(index, group)[0]) for group in targets) == refs[0].footer.chunks:
        return False
    for group in targets:
        copy_chunks(index, group, staging, group.ids, group.generations)
    return True


def join_segments(array: str, index: ChunkIndex, datasets: Datasets, staging: Staging) -> None:
    """Copy the live chunks of some segments of `array`, whose chunk index is `index`, into `staging`.

    Datasets that have no chunk in them cost nothing. Raises `CorruptStoreError` where a live chunk cannot be read.
    """
    catalog = datasets.catalog
    ids = np.unique(index.rows.dataset)
    rows = find_sorted(catalog.ids, ids)
    names = [catalog.names[row] for row in rows[rows >= 0].tolist()]
    for group in _targets(array, names, datasets) if names else ():
        copy_chunks(index, group, staging, group.ids, group.generations)


def _targets(array: str, names: Sequence[str], datasets: Datasets) -> list[Targets]:
    """Return the arrays called `array` of the datasets `names`, one `Targets` for each schema."""
    return [
        Targets(array, group.schema, group.ids, group.generations, datasets.name_of)
        for group in datasets.arrays(array, names).groups
    ]
