"""Three-way merge of partially written chunks: the cells of the tip, and over them the cells written here.

Writes nothing. A chunk that was written whole needs no merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_chunk_index
from atlas.chunking.regions import chunk_box, plan_region
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes
from atlas.write.encoding import PendingChunk

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.datasets import Datasets
    from atlas.chunking.regions import Region
    from atlas.commit.tip import Tip
    from atlas.write.pending import PendingWrites
    from atlas.write.staging import Staging

__all__ = ["merge_partial_chunks"]


def merge_partial_chunks(
    datasets: Datasets, writes: PendingWrites, tip: Tip
) -> list[tuple[str, int, int, PendingChunk]]:
    """Return array name, dataset id, chunk and merged cells of the partially written chunks that `tip` has changed.

    Raises `CorruptStoreError` where a chunk of the tip cannot be read.
    """
    merged = []
    for array, staging in writes.by_array.items():
        parts = staging.parts
        if not parts:
            continue
        if tip.comparable is None:
            keys = list(parts)
        else:
            theirs = {
                (dataset, chunk) for _, keys in tip.written_chunks(array) for dataset, _, chunk in keys.T.tolist()
            }
            keys = [key for key in parts if key in theirs]
        index = load_chunk_index(tip.log.storage, tip.catalog.segments.get(array, [])) if keys else None
        for dataset, chunk in keys:
            assert index is not None
            merged.append((array, dataset, chunk, _merge_chunk(datasets, staging, index, array, dataset, chunk)))
    return merged


def _merge_chunk(
    datasets: Datasets, staging: Staging, index: ChunkIndex, array: str, dataset: int, chunk: int
) -> PendingChunk:
    """Return one chunk with the cells of the tip, whose chunk index is `index`, and over them those staged here."""
    entry = datasets.state(datasets.name_of(dataset)).array(array)
    ids, generations = np.array([dataset]), np.array([entry.generation])
    targets = Targets(array, entry.schema, ids, generations, datasets.name_of)
    region = plan_region(entry.schema, *chunk_box(entry.schema, chunk))
    theirs = _flat(read_boxes([index], targets, region, staging.limits), entry.schema.datatype.cell)
    mine = _flat(_read_staged(staging, targets, region), entry.schema.datatype.cell)
    written = np.unpackbits(staging.parts[dataset, chunk], count=len(mine)).astype(bool)
    theirs[written] = mine[written]
    return PendingChunk(entry.schema, entry.generation, theirs, written)


def _read_staged(staging: Staging, targets: Targets, region: Region) -> NDArray[Any]:
    """Return the box of each target as staged: (N, *box); cells that are not staged have the fill value."""
    overlay, encoded = staging.overlay_of(targets.ids.tolist()), staging.encoded_index()
    out = read_boxes([] if encoded is None else [encoded], targets, region, staging.limits)
    overlay(out, targets.ids.tolist(), region)
    return out


def _flat(box: NDArray[Any], cell: np.dtype[Any] | None) -> NDArray[Any]:
    """Return the cells of a box, (cells,), in their stored dtype `cell`; None for strings."""
    return box.reshape(-1) if cell is None else box.reshape(-1).view(cell)
