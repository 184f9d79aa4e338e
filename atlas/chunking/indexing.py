"""From a NumPy index of an array to the chunks that hold its cells. Pure; no I/O.

A read takes a compact array, of the cells that the chunks in question have between the first and the last one needed,
and NumPy then indexes that: so a result has the shape and order that NumPy gives it. Neither chunks that an index steps
over nor those between its points are read.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atlas.chunking.regions import Intervals, check_plan, join_intervals
from atlas.errors import InvalidIndexError, InvalidValueError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from atlas.chunking.regions import Region
    from atlas.format.schema import ArraySchema

__all__ = ["CellIndex", "divide_index", "parse_index", "plan_index"]

_Entry: TypeAlias = "int | slice | NDArray[np.int64] | None"
"""One entry of an index: a position, a slice, positions, or None for a new axis."""


@dataclass(frozen=True, slots=True)
class CellIndex:
    """A NumPy index of an array, checked against its shape."""

    key: tuple[_Entry, ...]
    """The index itself: an entry for each axis in order, positions from 0 on, and None for each new axis."""
    shape: tuple[int, ...]
    """Shape of what the index takes."""
    scalar: bool
    """Whether NumPy returns a scalar for it, not an array."""

    @property
    def box(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """First corner and shape of the cells where they are a box whose order the index keeps, else None."""
        start, count = [], []
        for entry in self.key:
            if isinstance(entry, int):
                start.append(entry)
                count.append(1)
            elif isinstance(entry, slice):
                if entry.step != 1:
                    return None
                start.append(entry.start)
                count.append(max(entry.stop - entry.start, 0))
            elif entry is not None:
                return None
        return tuple(start), tuple(count)

    @property
    def in_box(self) -> tuple[Any, ...]:
        """The index of what it takes within the cells of `box`; with an Ellipsis, so that it gives an array."""
        within = [0 if isinstance(entry, int) else slice(None) if entry is not None else None for entry in self.key]
        return *within, ...

    def take(self, cells: NDArray[Any]) -> Any:
        """Return what the index takes of the whole array `cells`, as a new array or a scalar."""
        taken = cells[*self.key, ...]
        return taken[()] if self.scalar else taken.copy()


def parse_index(key: object, schema: ArraySchema) -> CellIndex:
    """Return what the NumPy index `key` of an array of `schema` means.

    Raises `InvalidIndexError` (IndexError), or `InvalidValueError` (ValueError) for a step of 0, as NumPy does.
    """
    shape = schema.shape
    entries = key if isinstance(key, tuple) else (key,)
    try:
        # An array of this shape that takes one byte: NumPy checks the index and finds the shape of the result.
        probe: Any = np.ndarray(shape, np.bool_, b"\0", 0, (0,) * len(shape))
        found = probe[key]
    except (IndexError, TypeError, OverflowError) as error:  # Overflow: a position beyond 64 bits
        raise InvalidIndexError(f"{error}; the array has shape {shape}") from error
    except MemoryError as error:
        raise TooLargeError(f"what the index takes exceeds the available memory: {error}; take fewer cells") from error
    except ValueError as error:
        raise InvalidValueError(f"{error}; the array has shape {shape}") from error
    parsed: list[_Entry] = []
    lengths = iter(shape)
    for entry in _expand(entries, len(shape)):
        if isinstance(entry, np.ndarray) and entry.dtype == np.bool_:
            parsed += [np.asarray(positions, np.int64) for positions in entry.nonzero()]
            for _ in range(entry.ndim):
                next(lengths)
        else:
            parsed.append(None if entry is None else _from_zero(entry, next(lengths)))
    return CellIndex(tuple(parsed), found.shape, not isinstance(found, np.ndarray))


def _expand(entries: tuple[object, ...], ndim: int) -> list[object]:
    """Return the entries with slices for the Ellipsis and for the axes that are not named."""
    arrays = [entry if entry is None or isinstance(entry, slice) else _array(entry) for entry in entries]
    taken = sum(1 if isinstance(entry, slice) else _axes(entry) for entry in arrays if entry is not None)
    rest: list[object] = [slice(None)] * (ndim - taken)
    for place, entry in enumerate(entries):
        if entry is Ellipsis:
            return [*arrays[:place], *rest, *arrays[place + 1 :]]
    return [*arrays, *rest]


def _array(entry: object) -> object:
    """Return an entry that is neither a slice nor None as an integer or an array, an Ellipsis as itself."""
    if entry is Ellipsis or type(entry) is int:
        return entry
    cells = np.asarray(entry)
    if cells.ndim == 0 and cells.dtype == np.bool_:
        raise InvalidIndexError(
            f"{entry!r} is no position along an axis; take a slice or a mask, such as view[view[...] > 5]"
        )
    if cells.size == 0 and not isinstance(entry, np.ndarray):
        cells = cells.astype(np.int64)  # as NumPy takes an empty list
    if cells.ndim == 0:
        return operator.index(entry)  # type: ignore[arg-type]  # NumPy has taken it as one
    return cells


def _axes(entry: object) -> int:
    """Return the number of axes that an entry indexes."""
    if entry is Ellipsis:
        return 0
    if isinstance(entry, np.ndarray) and entry.dtype == np.bool_:
        return entry.ndim
    return 1


def _from_zero(entry: object, length: int) -> int | slice | NDArray[np.int64]:
    """Return an entry of one axis of `length` cells with positions that count from 0."""
    if isinstance(entry, int):
        return entry + length if entry < 0 else entry
    if isinstance(entry, slice):
        return _slice_of(range(length)[entry])
    positions = np.asarray(entry).astype(np.int64)
    return np.where(positions < 0, positions + length, positions)


def _slice_of(taken: range) -> slice:
    """Return the slice that takes the cells of `taken`, whose positions count from 0."""
    if len(taken) < 2:
        return slice(taken[0], taken[0] + 1, 1) if taken else slice(0, 0, 1)
    stop = taken[-1] + (1 if taken.step > 0 else -1)
    return slice(taken[0], None if stop < 0 else stop, taken.step)


def divide_index(index: CellIndex, schema: ArraySchema, most: int) -> Iterator[tuple[CellIndex, tuple[slice, ...]]]:
    """Yield parts of `index`, each with the slices of the result that it fills.

    A step skips most cells of the box that is read for it. The box of each part has `most` cells at most, or the cells
    of one step. An index with lists is not divided: its box holds few cells that the index does not take.
    """
    axis = into = 0
    cells, widest, best = 1, 1.0, None
    for place, entry in enumerate(index.key):
        if isinstance(entry, np.ndarray):
            yield index, ()
            return
        if isinstance(entry, slice):
            taken = range(schema.shape[axis])[entry]
            extent = _extent(taken, schema.chunk_shape[axis])
            cells *= extent
            if extent / len(taken) > widest:
                widest, best = extent / len(taken), (place, into, taken)
        into += not isinstance(entry, int)
        axis += entry is not None
    if best is None or cells <= most:
        yield index, ()
        return
    place, into, taken = best
    at_once = max(1, len(taken) * most // cells)
    for begin in range(0, len(taken), at_once):
        part = taken[begin : begin + at_once]
        key = (*index.key[:place], _slice_of(part), *index.key[place + 1 :])
        shape = (*index.shape[:into], len(part), *index.shape[into + 1 :])
        yield CellIndex(key, shape, index.scalar), (*[slice(None)] * into, slice(begin, begin + len(part)))


def _extent(taken: range, chunk: int) -> int:
    """Return the length along one axis of the box that is read for a slice, at least one cell."""
    return len(taken) if abs(taken.step) > chunk else abs(taken[-1] - taken[0]) + 1


def plan_index(index: CellIndex, schema: ArraySchema) -> tuple[Region, tuple[Any, ...]]:
    """Return the chunks that hold what `index` takes, at least one cell, and the index of that within their box.

    That index ends with an Ellipsis, so that it gives an array. It takes no cell of the box that belongs to no chunk of
    the region.

    Raises `TooLargeError` where the plan exceeds the available memory.
    """
    box = [0] * len(schema.shape)
    factors: list[dict[int, Intervals]] = []
    key: list[Any] = []
    points: dict[int, NDArray[np.int64]] = {}
    axis = 0
    for entry in index.key:
        if entry is None:
            key.append(None)
            continue
        if isinstance(entry, np.ndarray):
            points[axis] = entry
            key.append(axis)  # replaced below, where all axes of the points are known
        else:
            intervals, box[axis], within = _plan_axis(entry, schema.shape[axis], schema.chunk_shape[axis], schema)
            factors.append({axis: intervals})
            key.append(within)
        axis += 1
    within_box: dict[int, NDArray[np.int64]] = {}
    for axes in _axes_together(points):
        together, extents, positions = _plan_points({axis: points[axis] for axis in axes}, schema)
        factors.append(together)
        within_box |= positions
        for point_axis, extent in extents.items():
            box[point_axis] = extent
    if points:
        entries = zip(index.key, key, strict=True)
        key = [within_box[own] if isinstance(entry, np.ndarray) else own for entry, own in entries]
    check_plan(
        math.prod(len(next(iter(factor.values())).index) for factor in factors), schema.shape, schema.chunk_shape
    )
    return join_intervals(schema.shape, schema.chunk_shape, factors, tuple(box)), (*key, ...)


def _plan_axis(entry: int | slice, length: int, chunk: int, schema: ArraySchema) -> tuple[Intervals, int, int | slice]:
    """Return what a position or a slice takes of the chunks along one axis, their length in the box, and its index."""
    if isinstance(entry, int):
        index = np.array([entry // chunk])
        return Intervals(index, np.array([entry % chunk]), np.array([1]), np.array([0])), 1, 0
    taken = range(length)[entry]
    low, high, step = min(taken[0], taken[-1]), max(taken[0], taken[-1]), abs(taken.step)
    backwards = taken.step < 0
    if step <= chunk:  # every chunk in between holds a cell that is needed
        check_plan(high // chunk - low // chunk + 1, schema.shape, schema.chunk_shape)
        index = np.arange(low // chunk, high // chunk + 1)
        first = np.maximum(low - index * chunk, 0)
        part = np.minimum(high + 1 - index * chunk, chunk) - first
        intervals = Intervals(index, first, part, index * chunk + first - low)
        return intervals, high - low + 1, slice(None, None, -step if backwards else step)
    check_plan(len(taken), schema.shape, schema.chunk_shape)
    cells = np.arange(low, high + 1, step)
    count = len(cells)
    intervals = Intervals(cells // chunk, cells % chunk, np.ones(count, np.int64), np.arange(count))
    return intervals, count, slice(None, None, -1 if backwards else 1)


def _axes_together(points: dict[int, NDArray[np.int64]]) -> list[list[int]]:
    """Return the axes of `points` in groups, of which each can be planned without the others.

    Axes belong together where their positions vary along the same axis of the result. An open mesh, such as `np.ix_`
    makes, has each axis by itself: its points, which are as many as the cells of the result, are never listed.
    """
    groups: list[tuple[set[int], list[int]]] = []
    for axis, positions in points.items():
        varying = {at - positions.ndim for at, count in enumerate(positions.shape) if count != 1}
        axes = [axis]
        apart = []
        for other, others in groups:
            if varying & other:
                varying, axes = varying | other, others + axes
            else:
                apart.append((other, others))
        groups = [*apart, (varying, axes)]
    return [sorted(axes) for _, axes in groups]


def _plan_points(
    points: dict[int, NDArray[np.int64]], schema: ArraySchema
) -> tuple[dict[int, Intervals], dict[int, int], dict[int, NDArray[np.int64]]]:
    """Return what points take of the chunks that hold one, the extents of these parts in the box, and their positions.

    `points` are the positions along some axes that are indexed by lists; they index pointwise, as NumPy's do. The parts
    lie one after the other along the first of these axes, so that the box grows with the chunks, not with their grid.
    """
    spread = np.broadcast_arrays(*points.values())
    chunks = [cells.reshape(-1) // schema.chunk_shape[axis] for axis, cells in zip(points, spread, strict=True)]
    linear = np.zeros(chunks[0].size, np.int64)
    for axis, chunk in zip(points, chunks, strict=True):
        linear = linear * schema.grid[axis] + chunk
    _, some, group = np.unique(linear, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    begin = np.searchsorted(group[order], np.arange(len(some)))
    together: dict[int, Intervals] = {}
    extents: dict[int, int] = {}
    positions: dict[int, NDArray[np.int64]] = {}
    for (axis, cells), chunk in zip(zip(points, spread, strict=True), chunks, strict=True):
        within = cells.reshape(-1) % schema.chunk_shape[axis]
        first = np.minimum.reduceat(within[order], begin)
        part = np.maximum.reduceat(within[order], begin) - first + 1
        target = np.zeros(len(some), np.int64) if together else np.cumsum(part) - part
        extents[axis] = int(part.max() if together else part.sum())
        together[axis] = Intervals(chunk[some], first, part, target)
        positions[axis] = (target[group] + within - first[group]).reshape(cells.shape)
    return together, extents, positions
