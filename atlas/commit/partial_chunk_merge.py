"""Chunks of which some cells were written here and others by somebody else since: theirs with ours laid over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_chunk_index
from atlas.chunking.regions import chunk_box, plan_region
from atlas.commit.rebase import theirs_by_chunk
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.write.encoding import PendingChunk

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.chunking.regions import Region
    from atlas.commit.rebase import Pending, Tip
    from atlas.write.staging import Staging

__all__ = ["merged_chunks"]


def merged_chunks(pending: Pending, ahead: Tip) -> list[tuple[str, int, int, PendingChunk]]:
    """Return array, dataset, chunk and cells of the chunks that were written in part and have changed in `ahead`.

    Reads only; a chunk that was written whole is nobody else's any more.
    """
    merged = []
    for array, staging in pending.staging.items():
        parts = staging.parts
        if not parts:
            continue
        if ahead.changes is None:
            keys = list(parts)
        else:
            theirs = {
                (dataset, chunk) for _, keys in theirs_by_chunk(ahead, array) for dataset, _, chunk in keys.T.tolist()
            }
            keys = [key for key in parts if key in theirs]
        table = load_chunk_index(ahead.journal.storage, ahead.catalog.segments.get(array, [])) if keys else None
        for dataset, chunk in keys:
            assert table is not None
            merged.append((array, dataset, chunk, _merged(pending, staging, table, array, dataset, chunk)))
    return merged


def _merged(
    pending: Pending, staging: Staging, table: ChunkIndex, array: str, dataset: int, chunk: int
) -> PendingChunk:
    datasets = pending.datasets
    entry = datasets.state(datasets.name_of(dataset)).array(array)
    ids, generations = np.array([dataset]), np.array([entry.generation])
    targets = Targets(array, entry.schema, ids, generations, datasets.name_of)
    region = plan_region(entry.schema, *chunk_box(entry.schema, chunk))
    theirs = _flat(read_boxes([table], targets, region), entry.schema.datatype.cell)
    mine = _flat(_read_staged(staging, targets, region), entry.schema.datatype.cell)
    written = np.unpackbits(staging.parts[dataset, chunk], count=len(mine)).astype(bool)
    theirs[written] = mine[written]
    return PendingChunk(entry.schema, entry.generation, theirs, written)


def _read_staged(staging: Staging, targets: Targets, region: Region) -> NDArray[Any]:
    encoded = staging.table()
    out = read_boxes([] if encoded is None else [encoded], targets, region)
    staging.overlay(out, targets.ids.tolist(), region)
    return out


def _flat(box: NDArray[Any], cell: np.dtype[Any] | None) -> NDArray[Any]:
    return box.reshape(-1) if cell is None else box.reshape(-1).view(cell)
