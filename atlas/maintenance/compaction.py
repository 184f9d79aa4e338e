"""Rewriting segments of one array, all of them or some, into a single one that holds live chunks only."""

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
    array: str, refs: Sequence[SegmentRef], table: ChunkIndex, datasets: Datasets, staging: Staging
) -> bool:
    """Gather the live chunks of `array` in `staging`; return False where its one segment holds nothing else.

    Raises `CorruptStoreError` where a live chunk cannot be read: nothing is dropped then.
    """
    catalog = datasets.catalog
    names = [catalog.names[row] for row in catalog.live_rows().tolist()]
    targets = _targets(array, names, datasets)
    if len(refs) == 1 and sum(len(find_live_chunks(table, some)[0]) for some in targets) == refs[0].footer.chunks:
        return False
    for some in targets:
        copy_chunks(table, some, staging, some.ids, some.generations)
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
        copy_chunks(table, some, staging, some.ids, some.generations)


def _targets(array: str, names: Sequence[str], datasets: Datasets) -> list[Targets]:
    """Return the arrays of that name in the datasets `names`, by schema."""
    return [
        Targets(array, group.schema, group.ids, group.generations, datasets.name_of)
        for group in datasets.arrays(array, names).groups
    ]
