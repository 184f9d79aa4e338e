"""Caches decoded chunks that are read again and again, box by box, from the second read on.

A program that reads each chunk of a large array once would otherwise fill the cache with chunks that it never reads
again, and pay for one more copy of each. Bulk reads do not use this cache.
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
    """The decoded chunks of arrays that are read one by one. Many threads may use it at once."""

    def __init__(self, cache: BlockCache, limits: Limits) -> None:
        self._cache = cache
        self._limits = limits
        self._seen: set[tuple[str, int, int]] = set()

    def read(
        self, key: tuple[str, int], schema: ArraySchema, region: Region, load: Callable[[int], NDArray[Any]]
    ) -> NDArray[Any] | None:
        """Return the box of `region`, put together from cached chunks; None where the caller must read it itself.

        That is so for strings, for large reads, and where a chunk is read for the first time. `key` names the array
        and its state, and never names other cells. `load` reads a whole chunk by its position in the chunk grid.
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
        boxes = (geometry.first.tolist(), geometry.part.tolist(), geometry.target.tolist())
        for chunk, first, count, target in zip(keys, *boxes, strict=True):
            cells = self._cache.get(chunk)
            if cells is None:
                cells = load(chunk[-1])
                self._cache.put(chunk, cells)
            out[box_slices(target, count)] = cells[box_slices(first, count)]
        return out
