"""Variables of many datasets as xarray indexes them lazily, without dask: every selection becomes one read in bulk.

The first axis is that of the datasets, or of their rows one after another. A selection along it is turned into the
datasets that it needs, and of each the cells; along the other axes the smallest box is read that holds the selection.
Nothing is read twice. The arrays belong to one version of the store, pickle with it, and many threads may read one.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xxhash
from xarray.core import indexing

from atlas.errors import InvalidIndexError, InvalidValueError
from atlas.many.combining import common_cells
from atlas.many.part_cells import decode_part, filler_of
from atlas.many.windows import Window
from atlas.xarray.backend_array import ThreadedArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.many.bulk_reads import Reads
    from atlas.many.plans import Part, Plan
    from atlas.read.reader import Reader

__all__ = ["FlatCells", "LazyCells", "StackedCells"]

_LARGEST = np.iinfo(np.int64).max
_Place: TypeAlias = "tuple[Any, ...]"
"""An index: where cells belong in a result."""


class LazyCells(ThreadedArray):
    """A variable of N datasets."""

    def __init__(
        self,
        reads: Reads,
        names: list[str],
        plan: Plan,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        widens: bool = False,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._reads, self._names, self._plan, self._widens = reads, names, plan, widens
        self._part = np.full(len(names), -1)
        for number, part in enumerate(plan.reads):
            self._part[part.at] = number
        # Along the first stored axis datasets that are read together may differ.
        self._begin, self._length = np.zeros(len(names), np.int64), np.ones(len(names), np.int64)
        self._stored_length = np.ones(len(names), np.int64)
        for part in plan.parts:
            if part.window.kept:
                self._begin[part.at] = part.window.begin[0]
                self._stored_length[part.at] = part.window.shape[0]
            if part.window.kept[:1] == (True,):
                self._length[part.at] = part.array.shape[0]

    @property
    def token(self) -> tuple[object, ...]:
        """What distinguishes its cells from others of the same version."""
        # dask would digest a list of names several times more slowly, name by name.
        names = xxhash.xxh3_128_hexdigest(repr(self._names).encode())
        windows = [(part.array.dims, part.window) for part in self._plan.reads]
        return type(self).__name__, self._plan.name, names, self.shape, self._begin, self._length, windows

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
        """Return a box of the variable's last axes in the order of those of a part."""
        if part.array.dims == self._plan.dims:  # of which one may occur twice
            return list(corner), list(extent)
        dims = self._plan.dims[len(self._plan.dims) - len(corner) :]
        box = dict(zip(dims, zip(corner, extent, strict=True), strict=True))
        pairs = [box[dim] for dim in part.array.dims if dim in box]
        return [begin for begin, _ in pairs], [length for _, length in pairs]

    def _read_stacked(
        self, part: Part, rows: NDArray[np.int64], corner: Sequence[int], extent: Sequence[int]
    ) -> NDArray[Any]:
        """Return a box of the datasets `rows` of a part, which have one shape, as (M, *box) in the variable's order."""
        start, shape = part.window.box(*self._box_of(part, corner, extent))
        names, leading = self._with_fill(rows)
        found = self._reads.read(partial(_read_stacked, self._plan.name, names, start, shape))[leading:]
        found = part.window.without_dropped(found, leads=True)
        return decode_part(self._plan, part, found, leads=True, widens=self._widens)[0]

    def _read_flat(
        self,
        part: Part,
        rows: NDArray[np.int64],
        spans: NDArray[np.int64],
        corner: Sequence[int],
        extent: Sequence[int],
    ) -> NDArray[Any]:
        """Return cells of the datasets `rows` of a part, one after another.

        `spans` (M, 2) are the first cell and the length of each along the first stored axis; the box is of the others.
        """
        kept = part.window.kept[0]
        begin, length = self._box_of(part, [0, *corner] if kept else corner, [1, *extent] if kept else extent)
        start, shape = part.window.box(begin, length)
        names, leading = self._with_fill(rows)
        spans = np.concatenate([np.zeros((leading, 2), np.int64), spans])
        start[0], shape[0] = 0, _LARGEST
        found = self._reads.read(partial(_read_flat, self._plan.name, names, start, shape, spans))
        rest = Window(part.window.shape[1:], part.window.begin[1:], part.window.kept[1:])
        found = rest.without_dropped(found, leads=True)
        return decode_part(self._plan, part, found, leads=not kept, widens=self._widens)[0]

    def _with_fill(self, rows: NDArray[np.int64]) -> tuple[list[str], int]:
        """Return the names of datasets to read, and how many come before those of `rows`.

        A read gives all datasets the fill value of its first one, which must be that of the variable.
        """
        names = self._names if len(rows) == len(self._names) else [self._names[row] for row in rows.tolist()]
        first = int(self._plan.parts[0].at[0])
        if self._plan.fills_differ and rows[0] != first:
            return [self._names[first], *names], 1
        return names, 0

    def _joined(self, pieces: list[tuple[_Place, NDArray[Any]]], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return one array of pieces: where their cells belong, and the cells; the rest is filled."""
        none = np.empty(0, self.dtype)
        if self._widens:
            cast = common_cells(self._plan.name, [none, *(cells for _, cells in pieces)])[1:]
        else:
            # Exactly or not at all: when the variable was opened, only dtypes were known.
            cast = [common_cells(self._plan.name, [cells, none])[0] for _, cells in pieces]
        for cells in cast:
            if cells.dtype != self.dtype and not self._widens:
                raise InvalidValueError(
                    f"variable {self._plan.name!r} was opened as {self.dtype}, and cells of it are {cells.dtype}; read "
                    "it with to_xarray_many() or read_array_across()"
                )
        if len(cast) == 1 and cast[0].shape == shape:
            return cast[0]
        out = np.empty(shape, cast[0].dtype if cast else self.dtype)
        if sum(cells.size for cells in cast) < out.size:
            out[...] = filler_of(self._plan, self.dtype)
        for (place, _), cells in zip(pieces, cast, strict=True):
            out[place] = cells
        return out


class StackedCells(LazyCells):
    """A variable whose first axis is that of the datasets. What shorter ones lack at the end of an axis is filled."""

    def _read(self, first: range | NDArray[np.int64], corner: list[int], extent: list[int]) -> NDArray[Any]:
        """Read the datasets wanted, each once, with one read for each part."""
        if isinstance(first, range) and first.step == 1:
            wanted, at = np.arange(first.start, first.stop), None
        else:
            wanted, at = np.unique(np.asarray(first, np.int64), return_inverse=True)
        pieces: list[tuple[_Place, NDArray[Any]]] = []
        of = self._part[wanted]
        for number, part in enumerate(self._plan.reads):
            mine = np.flatnonzero(of == number)
            if len(mine):
                pieces += self._read_part(part, mine, wanted[mine], corner, extent, len(wanted))
        found = self._joined(pieces, (len(wanted), *extent))
        return found if at is None else found[at]

    def _read_part(
        self,
        part: Part,
        mine: NDArray[np.int64],
        rows: NDArray[np.int64],
        corner: list[int],
        extent: list[int],
        total: int,
    ) -> list[tuple[_Place, NDArray[Any]]]:
        """Read the datasets `rows` of a part, whose place among the `total` of the result is `mine`."""
        if len(self._plan.parts) == 1:
            return self._read_alike(part, mine, rows, corner, extent)
        begin, length, stored = self._begin[rows], self._length[rows], self._stored_length[rows]
        alike = (begin == begin[0]) & (length == length[0]) & (stored == stored[0])
        if alike.all() or part.array.dims != self._plan.dims:
            of_first = _with_first_axis(part, int(begin[0]), int(length[0]))
            others = [] if alike.all() else self._read_part(part, mine[~alike], rows[~alike], corner, extent, total)
            return [*self._read_alike(of_first, mine[alike], rows[alike], corner, extent), *others]
        if not part.window.kept[0]:
            spans = np.stack([begin, np.ones_like(begin)], axis=1)
            return [((mine,), self._read_flat(part, rows, spans, corner, extent))]
        counts = np.clip(length - corner[0], 0, extent[0])
        spans = np.stack([begin + np.minimum(corner[0], length), counts], axis=1)
        own = self._clipped(part, corner, extent)[1:]
        if 0 in own or not counts.any():
            return []
        cells = self._read_flat(part, rows, spans, corner[1:], own)
        known = np.zeros((total, extent[0]), bool)
        known[mine] = np.arange(extent[0]) < counts[:, None]
        return [((known, *map(slice, own)), cells)]

    def _clipped(self, part: Part, corner: list[int], extent: list[int]) -> list[int]:
        """Return the extent of a box within a part, 0 along an axis that the part ends before."""
        lengths = self._plan.shape_of(part)
        return [max(min(n, length - c), 0) for c, n, length in zip(corner, extent, lengths, strict=True)]

    def _read_alike(
        self, part: Part, mine: NDArray[np.int64], rows: NDArray[np.int64], corner: list[int], extent: list[int]
    ) -> list[tuple[_Place, NDArray[Any]]]:
        """Read datasets of one shape, as `_read_part` does."""
        own = self._clipped(part, corner, extent)
        if 0 in own:
            return []
        return [((mine, *map(slice, own)), self._read_stacked(part, rows, corner, own))]


class FlatCells(LazyCells):
    """A variable whose first axis is that of the cells of all datasets, one after another."""

    def __init__(
        self,
        reads: Reads,
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
        total = int(count.sum())
        spans = np.stack([self._begin[rows] + begin, count], axis=1)
        of = self._part[rows]
        pieces: list[tuple[_Place, NDArray[Any]]] = []
        for number, part in enumerate(self._plan.reads):
            mine = of == number
            if mine.any():
                cells = self._read_flat(part, rows[mine], spans[mine], corner, extent)
                at = slice(None) if mine.all() else np.flatnonzero(np.repeat(mine, count))
                pieces.append(((at,), cells))
        return self._joined(pieces, (total, *extent))


def _with_first_axis(part: Part, begin: int, length: int) -> Part:
    """Return a part that begins at some cell of its first stored axis, and has some length along it."""
    window, array = part.window, part.array
    if not window.kept or (window.begin[0] == begin and (not window.kept[0] or array.shape[0] == length)):
        return part
    window = replace(window, begin=(begin, *window.begin[1:]))
    if window.kept[0]:
        array = replace(array, shape=(length, *array.shape[1:]))
    return replace(part, window=window, array=array)


def _read_stacked(array: str, names: list[str], start: list[int], shape: list[int], reader: Reader) -> NDArray[Any]:
    return reader.read_stacked(array, names, start, shape)


def _read_flat(
    array: str, names: list[str], start: list[int], shape: list[int], spans: NDArray[np.int64], reader: Reader
) -> NDArray[Any]:
    return reader.read_ragged(array, names, start, shape, spans).values


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
