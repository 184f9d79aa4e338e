"""Chunks that are read again and again, box by box: kept decoded, from the second time on.

Not from the first: whoever reads each chunk of a large array once would fill the cache with what is never asked for
again, and pay for a copy more. Bulk reads do not come by here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.regions import box_slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.format.schema import ArraySchema
    from atlas.read.block_cache import BlockCache
    from atlas.runtime.limits import Limits

__all__ = ["ChunkCache"]


class ChunkCache:
    """The decoded chunks of arrays that are read one by one; safe from many threads."""

    def __init__(self, cache: BlockCache, limits: Limits) -> None:
        self._cache = cache
        self._limits = limits
        self._seen: set[tuple[str, int, int]] = set()

    def read(
        self, key: tuple[str, int], schema: ArraySchema, region: Region, load: Callable[[int], NDArray[Any]]
    ) -> NDArray[Any] | None:
        """Return the box of `region`, put together from whole chunks; None where that is not the way.

        `key` names the array and its state and is never used again for other cells. `load` reads the whole chunk at a
        position of the grid.
        """
        if schema.datatype.cell is None or len(region.chunk) > self._limits.cached_chunks:
            return None
        if int(region.cells.sum()) * schema.datatype.itemsize > self._limits.cache_bytes // 4:
            return None
        keys = [(*key, chunk) for chunk in region.chunk.tolist()]
        if not self._seen.issuperset(keys):
            if len(self._seen) + len(keys) > self._limits.seen_chunks:
                self._seen = set()
            self._seen.update(keys)
            return None
        geometry = region.geometry
        out: NDArray[Any] = np.empty(geometry.box.tolist(), schema.memory_dtype)
        places = (geometry.first.tolist(), geometry.part.tolist(), geometry.target.tolist())
        for chunk, first, count, target in zip(keys, *places, strict=True):
            cells = self._cache.get(chunk)
            if cells is None:
                cells = load(chunk[-1])
                self._cache.put(chunk, cells)
            out[box_slices(target, count)] = cells[box_slices(first, count)]
        return out
