"""Rewrites segments of one array name as a single one with live chunks only. Never commits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import EMPTY
from atlas.catalog.sorted_search import find_sorted
from atlas.format.segment import NO_DIGEST
from atlas.maintenance.chunk_copy import copy_chunks, find_live_chunks, gather_few
from atlas.maintenance.tiering import segments_to_rewrite
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
) -> list[SegmentRef]:
    """Copy the live chunks of some segments of `array` into `staging`, and return these segments.

    `refs` are all its segments, `index` their chunk index. Left as they are, so that a compaction costs what was added
    and what it removes, are segments of live chunks alone that are much larger than the others together. Raises
    `CorruptStoreError` where a live chunk cannot be read.
    """
    catalog = datasets.catalog
    names = [catalog.names[row] for row in catalog.live_rows().tolist()]
    targets = _targets(array, names, datasets)
    live = [find_live_chunks(index, group)[0] for group in targets]
    count = np.bincount(index.source[np.concatenate([EMPTY, *live])], minlength=len(refs)).tolist()
    is_live = [ref.footer.chunks == chunks for ref, chunks in zip(refs, count, strict=True)]
    if (index.rows.digest != NO_DIGEST).any():
        # Segments of a coordinate may rely on each other for the chunks that they share.
        chosen = [] if len(refs) == 1 and is_live[0] else list(range(len(refs)))
    else:
        chosen = segments_to_rewrite([ref.size for ref in refs], is_live, staging.limits)
    if 0 < len(chosen) < len(refs):
        rows = np.flatnonzero(np.isin(index.source, chosen))
        index = replace(index, rows=index.rows.take(rows), source=index.source[rows], columns=())
    for group in gather_few(targets, index) if chosen else ():
        copy_chunks(index, group, staging, group.ids, group.generations)
    return [refs[at] for at in chosen]


def join_segments(array: str, index: ChunkIndex, datasets: Datasets, staging: Staging) -> None:
    """Copy the live chunks of some segments of `array`, whose chunk index is `index`, into `staging`.

    Datasets that have no chunk in them cost nothing. Raises `CorruptStoreError` where a live chunk cannot be read.
    """
    catalog = datasets.catalog
    ids = np.unique(index.rows.dataset)
    rows = find_sorted(catalog.ids, ids)
    names = [catalog.names[row] for row in rows[rows >= 0].tolist()]
    for group in gather_few(_targets(array, names, datasets), index) if names else ():
        copy_chunks(index, group, staging, group.ids, group.generations)


def _targets(array: str, names: Sequence[str], datasets: Datasets) -> list[Targets]:
    """Return the arrays called `array` of the datasets `names`, one `Targets` for each schema."""
    return [
        Targets(array, group.schema, group.ids, group.generations, datasets.name_of)
        for group in datasets.arrays(array, names).groups
    ]
