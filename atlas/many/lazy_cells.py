"""Variables of many datasets as xarray indexes them lazily, without dask: every selection becomes one read in bulk.

The first axis is that of the datasets, or of their rows one after another. A selection along it is turned into the
datasets that it needs, and of each the cells; along the other axes the smallest box is read that holds the selection.
Nothing is read twice. The arrays belong to one version of the store, pickle with it, and many threads may read one.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.core import indexing

from atlas.errors import InvalidIndexError, InvalidValueError
from atlas.many.combining import common_cells
from atlas.many.part_cells import decode_part, filler
from atlas.xarray.backend_array import ThreadedArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.many.pinned_reads import PinnedReads
    from atlas.many.plans import Part, Plan
    from atlas.read.reader import Reader

__all__ = ["FlatCells", "LazyCells", "StackedCells"]

_LARGEST = np.iinfo(np.int64).max


class LazyCells(ThreadedArray):
    """A variable of N datasets."""

    def __init__(
        self, reads: PinnedReads, names: list[str], plan: Plan, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._reads, self._names, self._plan = reads, names, plan
        self._part = np.full(len(names), -1)
        for number, part in enumerate(plan.reads):
            self._part[part.at] = number

    @property
    def token(self) -> tuple[object, ...]:
        """What distinguishes its cells from those of others."""
        return type(self).__name__, self._reads.token, self._plan.name, self._names, self.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read what an indexer of xarray takes, or a tuple of slices, one for each axis."""
        if isinstance(key, indexing.VectorizedIndexer):
            found: NDArray[Any] = indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.OUTER, self._take
            )
            return found
        return self._take(key.tuple if isinstance(key, indexing.ExplicitIndexer) else key)

    def _take(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return what an index takes whose entries, one for each axis, each index their own axis."""
        wanted = [_positions(entry, length) for entry, length in zip(key, self.shape, strict=True)]
        first, *others = wanted
        if any(not len(positions) for positions in wanted):
            cells = np.empty(tuple(map(len, wanted)), self.dtype)
        else:
            corner = [_least(positions) for positions in others]
            extent = [_most(positions) + 1 - begin for positions, begin in zip(others, corner, strict=True)]
            cells = self._read(first, corner, extent)
            for axis, (positions, begin, length) in enumerate(zip(others, corner, extent, strict=True), 1):
                if not (isinstance(positions, range) and positions.step == 1 and len(positions) == length):
                    cells = np.take(cells, np.asarray(positions) - begin, axis)
        return cells[tuple(0 if isinstance(entry, int | np.integer) else slice(None) for entry in key)]

    @abstractmethod
    def _read(self, first: range | NDArray[np.int64], corner: list[int], extent: list[int]) -> NDArray[Any]:
        """Return the cells at the positions `first` along the first axis, and in a box of the others."""

    def _box_of(self, part: Part, corner: Sequence[int], extent: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return a box of the variable's axes in the order of those of a part."""
        if part.array.dims == self._plan.dims:  # of which one may occur twice
            return list(corner), list(extent)
        dims = self._plan.dims[-len(corner) :] if corner else ()
        box = dict(zip(dims, zip(corner, extent, strict=True), strict=True))
        pairs = [box[dim] for dim in part.array.dims if dim in box]
        return [begin for begin, _ in pairs], [length for _, length in pairs]

    def _joined(self, pieces: list[tuple[NDArray[Any], NDArray[Any]]], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return one array of pieces: positions along the first axis, and their cells; the rest is filled."""
        none = np.empty(0, self.dtype)
        # Exactly or not at all: when the variable was opened, only dtypes were known.
        cast = [(at, common_cells(self._plan.name, [cells, none])[0]) for at, cells in pieces]
        for _, cells in cast:
            if cells.dtype != self.dtype:
                raise InvalidValueError(
                    f"variable {self._plan.name!r} was opened as {self.dtype}, and cells of it are {cells.dtype}; read "
                    "it with to_xarray_many() or read_array_across()"
                )
        if len(cast) == 1 and cast[0][1].shape == shape:
            return cast[0][1]
        out = np.empty(shape, self.dtype)
        if sum(len(cells) for _, cells in cast) < shape[0]:
            out[...] = filler(self._plan, self.dtype)
        for at, cells in cast:
            out[at] = cells
        return out


class StackedCells(LazyCells):
    """A variable whose first axis is that of the datasets."""

    def _read(self, first: range | NDArray[np.int64], corner: list[int], extent: list[int]) -> NDArray[Any]:
        """Read the datasets wanted, each once, with one read for each part."""
        wanted, at = np.unique(np.asarray(first, np.int64), return_inverse=True)
        pieces = []
        for number, part in enumerate(self._plan.reads):
            mine = np.flatnonzero(self._part[wanted] == number)
            if not len(mine):
                continue
            begin, length = self._box_of(part, corner, extent)
            names = [self._names[dataset] for dataset in wanted[mine].tolist()]
            cells = self._reads.read(partial(_read_stacked, self._plan.name, names, begin, length))
            pieces.append((mine, decode_part(self._plan, part, cells, leads=True, widens=False)[0]))
        found = self._joined(pieces, (len(wanted), *extent))
        return found if np.array_equal(at, np.arange(len(wanted))) else found[at]


class FlatCells(LazyCells):
    """A variable whose first axis is that of the cells of all datasets, one after another."""

    def __init__(
        self,
        reads: PinnedReads,
        names: list[str],
        plan: Plan,
        offsets: NDArray[np.int64],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(reads, names, plan, shape, dtype)
        self.offsets = offsets
        """Where the cells of each dataset begin and, last, where they end: (N + 1,)."""

    def _read(self, first: range | NDArray[np.int64], corner: list[int], extent: list[int]) -> NDArray[Any]:
        """Read of each row wanted the cells from the first one wanted to the last, with one read for each part."""
        offsets = self.offsets
        if isinstance(first, range) and first.step == 1:
            rows = np.arange(
                np.searchsorted(offsets, first.start, "right") - 1, np.searchsorted(offsets, first.stop, "left")
            )
            begin = np.maximum(offsets[rows], first.start) - offsets[rows]
            stop = np.minimum(offsets[rows + 1], first.stop) - offsets[rows]
            some = stop > begin
            rows, begin, stop, at = rows[some], begin[some], stop[some], None
        else:
            cells = np.asarray(first, np.int64)
            of = np.searchsorted(offsets, cells, "right") - 1
            rows, number = np.unique(of, return_inverse=True)
            within = cells - offsets[of]
            begin, stop = np.full(len(rows), _LARGEST), np.zeros(len(rows), np.int64)
            np.minimum.at(begin, number, within)
            np.maximum.at(stop, number, within + 1)
            edges = np.cumsum(stop - begin) - (stop - begin)
            at = edges[number] + within - begin[number]
        found = self._read_rows(rows, begin, stop - begin, corner, extent)
        return found if at is None else found[at]

    def _read_rows(
        self,
        rows: NDArray[np.int64],
        begin: NDArray[np.int64],
        count: NDArray[np.int64],
        corner: list[int],
        extent: list[int],
    ) -> NDArray[Any]:
        """Return `count` cells of each row from the cell `begin` on, one after another."""
        total, pieces = int(count.sum()), []
        for number, part in enumerate(self._plan.reads):
            mine = self._part[rows] == number
            if not mine.any():
                continue
            own, length = self._box_of(part, corner, extent)
            names = [self._names[row] for row in rows[mine].tolist()]
            spans = np.stack([begin[mine], count[mine]], axis=1)
            found = self._reads.read(partial(_read_flat, self._plan.name, names, own, length, spans))
            cells = decode_part(self._plan, part, found, leads=False, widens=False)[0]
            at = np.arange(total) if mine.all() else np.flatnonzero(np.repeat(mine, count))
            pieces.append((at, cells))
        return self._joined(pieces, (total, *extent))


def _read_stacked(array: str, names: list[str], start: list[int], shape: list[int], reader: Reader) -> NDArray[Any]:
    return reader.read_stacked(array, names, start, shape)


def _read_flat(
    array: str, names: list[str], start: list[int], shape: list[int], spans: NDArray[np.int64], reader: Reader
) -> NDArray[Any]:
    return reader.read_ragged(array, names, [0, *start], [_LARGEST, *shape], spans).values


def _positions(entry: Any, length: int) -> range | NDArray[np.int64]:
    """Return the positions along an axis that an entry of an index takes."""
    if isinstance(entry, slice):
        return range(length)[entry]
    positions = np.atleast_1d(np.asarray(entry, np.int64))
    positions = np.where(positions < 0, positions + length, positions)
    if len(positions) and not (positions.min() >= 0 and positions.max() < length):
        raise InvalidIndexError(f"index {entry} is out of bounds for an axis of {length} cells")
    return positions


def _least(positions: range | NDArray[np.int64]) -> int:
    return min(positions[0], positions[-1]) if isinstance(positions, range) else int(positions.min())


def _most(positions: range | NDArray[np.int64]) -> int:
    return max(positions[0], positions[-1]) if isinstance(positions, range) else int(positions.max())
