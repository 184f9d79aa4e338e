"""One stored array as xarray indexes it lazily, without dask: every selection becomes one read.

A box is one `read_array`, any other selection one NumPy index of the array. The store plans either as a whole: it reads
no chunk without a cell that is wanted, and none twice, however far apart the cells are. Arrays pickle with their
dataset, and many threads may read one.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from atlas.errors import InvalidIndexError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.xarray.array_reads import ArrayReads

__all__ = ["StoredBackendArray", "ThreadedArray"]


class ThreadedArray(BackendArray):
    """An array that an event loop reads in its threads. Wrap it in `LazilyIndexedArray`."""

    __slots__ = ()

    @abstractmethod
    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Read what an indexer of xarray takes."""

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what `__getitem__` reads, in a thread of the running loop, which bounds how many run side by side."""
        return await asyncio.to_thread(self.__getitem__, key)


class StoredBackendArray(ThreadedArray):
    """One stored array."""

    __slots__ = ("_reads", "dtype", "shape")

    def __init__(self, reads: ArrayReads, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._reads = reads
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Read what an indexer of xarray takes: basic, outer or vectorized."""
        # Not through xarray's `explicit_indexing_adapter`: there is nothing to adapt, and it fails on empty slices of a
        # negative step.
        take = self._take_points if isinstance(key, indexing.VectorizedIndexer) else self._take_outer
        return take(key.tuple)

    def _take_outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return what an index takes whose entries, one for each axis, each index their own axis."""
        entries: list[Any] = []
        lists = [axis for axis, entry in enumerate(key) if isinstance(entry, np.ndarray)]
        for axis, (entry, length) in enumerate(zip(key, self.shape, strict=True)):
            if isinstance(entry, np.ndarray):
                # An open mesh, which the store plans axis by axis.
                entries.append(entry.reshape((-1,) + (1,) * (len(lists) - 1 - lists.index(axis))))
            elif isinstance(entry, slice):
                entries.append(entry)
            else:
                at = entry + length if entry < 0 else entry
                if not 0 <= at < length:
                    raise InvalidIndexError(f"index {entry} is out of bounds for an axis of {length} cells")
                entries.append(slice(at, at + 1))
        if not lists and all(entry.step in (None, 1) for entry in entries):
            spans = [range(length)[entry] for entry, length in zip(entries, self.shape, strict=True)]
            cells = self._reads.read_box([span.start for span in spans], [len(span) for span in spans])
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
                entries.append(np.arange(*entry.indices(length)).reshape((-1,) + (1,) * rest))
            else:
                entries.append(entry.reshape((1,) * (ndim - entry.ndim) + entry.shape + (1,) * len(slices)))
        return self._reads.read_index(tuple(entries))
