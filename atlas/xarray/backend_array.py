"""One stored array as xarray indexes it lazily, without dask: every selection becomes one read.

A box is one `read_array`, any other selection one NumPy index of the array. The store plans either as a whole: it reads
no chunk without a cell that is wanted, and none twice, however far apart the cells are. Arrays pickle with their
dataset, and many threads may read one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from atlas.errors import InvalidIndexError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.xarray.array_reads import ArrayReads

__all__ = ["StoredBackendArray"]


class StoredBackendArray(BackendArray):
    """One stored array. Wrap it in `LazilyIndexedArray`."""

    __slots__ = ("_reads", "dtype", "shape")

    def __init__(self, reads: ArrayReads, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._reads = reads
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Read what an indexer of xarray takes: basic, outer or vectorized."""
        take = self._take_points if isinstance(key, indexing.VectorizedIndexer) else self._take_outer
        cells: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.VECTORIZED, take
        )
        return cells

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Read the same in a thread of the running event loop, which bounds how many reads run side by side."""
        return await asyncio.to_thread(self.__getitem__, key)

    def _take_outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return what an index takes whose entries, one for each axis, each index their own axis."""
        entries: list[Any] = []
        lists = [axis for axis, entry in enumerate(key) if isinstance(entry, np.ndarray)]
        for entry, length in zip(key, self.shape, strict=True):
            if isinstance(entry, np.ndarray):
                # An open mesh, which the store plans axis by axis.
                before = len([have for have in entries if isinstance(have, np.ndarray)])
                entries.append(entry.reshape((-1,) + (1,) * (len(lists) - 1 - before)))
            elif isinstance(entry, slice):
                entries.append(slice(*entry.indices(length)))  # the adapter has made its step positive
            else:
                at = entry + length if entry < 0 else entry
                if not 0 <= at < length:
                    raise InvalidIndexError(f"index {entry} is out of bounds for an axis of {length} cells")
                entries.append(slice(at, at + 1, 1))
        if not lists and all(entry.step == 1 for entry in entries):
            start = [entry.start for entry in entries]
            cells = self._reads.read_box(start, [max(entry.stop - entry.start, 0) for entry in entries])
        else:
            cells = self._reads.read_index(tuple(entries))
            if lists and lists[-1] - lists[0] >= len(lists):  # then NumPy puts the axes of the lists first
                cells = np.moveaxis(cells, range(len(lists)), lists)
        return cells[*[slice(None) if isinstance(entry, np.ndarray | slice) else 0 for entry in key], ...]

    def _take_points(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return what arrays take that broadcast against each other; axes of slices come after theirs."""
        slices = [entry for entry in key if isinstance(entry, slice)]
        ndim = max(entry.ndim for entry in key if isinstance(entry, np.ndarray))
        entries, rest = [], len(slices)
        for entry, length in zip(key, self.shape, strict=True):
            if isinstance(entry, slice):
                rest -= 1
                entries.append(np.arange(length)[entry].reshape((-1,) + (1,) * rest))
            else:
                entries.append(entry.reshape((1,) * (ndim - entry.ndim) + entry.shape + (1,) * len(slices)))
        return self._reads.read_index(tuple(entries))
