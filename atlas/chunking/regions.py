"""From a region that a caller names to the chunks of the grid that meet it. Pure; no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import sub
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.schema import check_index
from atlas.kernels import PIECE_CHUNK, PIECE_TARGET, Geometry
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema

__all__ = [
    "Intervals",
    "Region",
    "box_slices",
    "check_plan",
    "check_region",
    "check_vector",
    "chunk_box",
    "chunk_cells",
    "join_intervals",
    "plan_bytes",
    "plan_region",
]

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Region:
    """The chunks that meet a box, in ascending order: of one array, and so of each array of its schema that is read.

    With `edges`, the chunks that meet the boxes of N arrays of any shapes, array after array, in one result.
    """

    geometry: Geometry
    """Where the box lies in each chunk, and each part in the box."""
    chunk: NDArray[np.int64]
    """C-order position of each chunk in the grid, ascending."""
    cells: NDArray[np.int64]
    """Cells of each (clipped) chunk."""
    whole: bool
    """Whether the box takes every cell of every chunk it meets."""
    edges: NDArray[np.int64] | None = None
    """Where the rows of each of N arrays begin and, last, end, (N + 1,); None where all arrays have all rows."""

    def rows_of(self, number: int) -> range:
        """Return the rows of the array of that number."""
        if self.edges is None:
            return range(len(self.chunk))
        return range(self.edges.item(number), self.edges.item(number + 1))

    def arrays_of(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the array that each of `pieces`, (6, P), is of, (P,): see `kernels.PIECE_TARGET`."""
        numbers: NDArray[np.int64] = pieces[PIECE_TARGET]
        if self.edges is not None:
            numbers = np.searchsorted(self.edges, pieces[PIECE_CHUNK], side="right") - 1
        return numbers

    def array_of(self, piece: NDArray[np.int64]) -> int:
        """Return the number of the array that one piece, (6,), is of."""
        return int(self.arrays_of(piece[:, None])[0])

    def in_chunk(self, row: int) -> tuple[slice, ...]:
        """Return the slices of what the box takes of a chunk, within the chunk."""
        return box_slices(self.geometry.first[row].tolist(), self.geometry.part[row].tolist())

    def in_box(self, row: int) -> tuple[slice, ...]:
        """Return the slices of the same within the box."""
        return box_slices(self.geometry.target[row].tolist(), self.geometry.part[row].tolist())


def check_vector(what: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return a corner or a shape, which messages call `what`, as a tuple of numbers from 0 to 2**63-1.

    Raises `OutOfRangeError` for other numbers and `InvalidTypeError` for what are no integers.
    """
    if type(values) is list or type(values) is tuple:  # the common case without a call each: small reads take 3 us
        for value in values:
            if type(value) is not int or value < 0 or value > _LARGEST:
                break
        else:
            return tuple(values)
    if isinstance(values, str | bytes):
        raise InvalidTypeError(f"{what} is a sequence of whole numbers, not {values!r}")
    try:
        return tuple([check_index(what, value) for value in values])
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        raise InvalidTypeError(f"{what} is a sequence of whole numbers, not {values!r}") from None


def check_region(
    shape: tuple[int, ...], start: Sequence[int] | None, count: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first corner and shape of the region of an array of `shape` that `start` and `count` name.

    `start` alone reaches to the end, `count` alone begins at the origin.

    Raises `InvalidValueError` for a region of another rank or out of bounds, `OutOfRangeError` for negative numbers
    and `InvalidTypeError` for what are no integers.
    """
    corner = (0,) * len(shape) if start is None else check_vector("start", start)
    if len(corner) != len(shape):
        raise InvalidValueError(
            f"start {list(corner)} has {len(corner)} entries for an array of {len(shape)} dimensions"
        )
    size = tuple(map(sub, shape, corner)) if count is None else check_vector("shape", count)
    if len(size) != len(shape):
        _refuse_corner(shape, corner)
        raise InvalidValueError(f"shape {list(size)} has {len(size)} entries for an array of {len(shape)} dimensions")
    for s, n, length in zip(corner, size, shape, strict=True):
        if s + n > length or n < 0:
            _refuse_corner(shape, corner)
            raise InvalidValueError(
                f"the region start={list(corner)}, shape={list(size)} leaves the array of shape {list(shape)}"
            )
    return corner, size


def _refuse_corner(shape: tuple[int, ...], corner: tuple[int, ...]) -> None:
    if any(s > n for s, n in zip(corner, shape, strict=True)):
        raise InvalidValueError(f"start={list(corner)} leaves the array of shape {list(shape)}")


def plan_region(schema: ArraySchema, start: tuple[int, ...], count: tuple[int, ...]) -> Region:
    """Return the chunks of `schema` that meet the (checked) box."""
    return _plan(schema.shape, schema.chunk_shape, start, count)


@lru_cache(maxsize=256)
def _cached_plan(
    shape: tuple[int, ...], chunk_shape: tuple[int, ...], start: tuple[int, ...], count: tuple[int, ...]
) -> Region:
    return _build(shape, chunk_shape, start, count)


def _plan(
    shape: tuple[int, ...], chunk_shape: tuple[int, ...], start: tuple[int, ...], count: tuple[int, ...]
) -> Region:
    # Fleets ask for the same box of thousands of equal arrays one by one; only small plans are worth keeping.
    chunks = math.prod((s + n - 1) // c - s // c + 1 for s, n, c in zip(start, count, chunk_shape, strict=True) if n)
    build = _cached_plan if chunks <= 64 else _build
    return build(shape, chunk_shape, start, count)


def _build(
    shape: tuple[int, ...], chunk_shape: tuple[int, ...], start: tuple[int, ...], count: tuple[int, ...]
) -> Region:
    if 0 in count:
        geometry = Geometry(np.zeros((4, 0, len(shape)), np.int64), np.array(count, np.int64))
        return Region(geometry, np.zeros(0, np.int64), np.zeros(0, np.int64), whole=True)
    spans = [(s + k - 1) // c - s // c + 1 for c, s, k in zip(chunk_shape, start, count, strict=True)]
    check_plan(math.prod(spans), shape, chunk_shape)
    factors = []
    for axis, (n, c, s, k) in enumerate(zip(shape, chunk_shape, start, count, strict=True)):
        index = np.arange(s // c, (s + k - 1) // c + 1, dtype=np.int64)
        extent = np.minimum(c, n - index * c)
        first = np.maximum(s - index * c, 0)
        stop = np.minimum(s + k - index * c, extent)
        intervals = Intervals(index, first, stop - first, index * c + first - s)
        factors.append({axis: intervals})
    return join_intervals(shape, chunk_shape, factors, count)


def check_plan(chunks: int, shape: tuple[int, ...], chunk_shape: tuple[int, ...]) -> None:
    """Raise `TooLargeError` where a region of so many chunks exceeds the available memory.

    What is planned here and found by it later counts: a grid of 2**60 chunks is declared in a line.
    """
    check_room(
        chunks * plan_bytes(len(shape)),
        f"a plan to read {chunks} chunks of an array of shape {list(shape)} in chunks {list(chunk_shape)}",
        "read a smaller box",
    )


def plan_bytes(ndim: int) -> int:
    """Return the bytes that a chunk of an array of that rank takes in a plan and in what is found by it."""
    return 8 * (5 * ndim + 12)


@dataclass(frozen=True, slots=True)
class Intervals:
    """What a region takes of chunks along one axis: (chunks,) each."""

    index: NDArray[np.int64]
    """Position of the chunk along the axis of the grid."""
    first: NDArray[np.int64]
    """First cell within the chunk."""
    part: NDArray[np.int64]
    """Number of cells."""
    target: NDArray[np.int64]
    """Position of the first cell in the box."""


def join_intervals(
    shape: tuple[int, ...],
    chunk_shape: tuple[int, ...],
    factors: Sequence[Mapping[int, Intervals]],
    box: tuple[int, ...],
) -> Region:
    """Return the region of all combinations of one interval of each factor, whose cells lie in `box`.

    Each factor holds the intervals of one axis, or those of several axes that belong together one by one. Together the
    factors name every axis once.
    """
    ndim = len(shape)
    lengths = [len(next(iter(factor.values())).index) for factor in factors]
    chunks = math.prod(lengths)
    columns = np.zeros((5, chunks, ndim), np.int64)
    for i, factor in enumerate(factors):
        outer, inner = math.prod(lengths[:i]), math.prod(lengths[i + 1 :])
        for axis, intervals in factor.items():
            extent = np.minimum(chunk_shape[axis], shape[axis] - intervals.index * chunk_shape[axis])
            for j, values in enumerate((intervals.index, extent, intervals.first, intervals.part, intervals.target)):
                columns[j, :, axis] = np.tile(np.repeat(values, inner), outer)
    linear = np.zeros(chunks, np.int64)
    for axis, (n, c) in enumerate(zip(shape, chunk_shape, strict=True)):
        linear = linear * -(-n // c) + columns[0, :, axis]
    if (linear[1:] < linear[:-1]).any():
        order = np.argsort(linear, kind="stable")
        linear, columns = linear[order], columns[:, order]
    geometry = Geometry(columns[1:], np.array(box, np.int64))
    return Region(geometry, linear, geometry.extent.prod(axis=1), whole=bool((geometry.extent == geometry.part).all()))


def chunk_box(schema: ArraySchema, chunk: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first corner and (clipped) shape of the chunk at the C-order grid position `chunk`."""
    position = np.unravel_index(chunk, schema.grid) if schema.grid else ()
    corner = tuple(int(p) * c for p, c in zip(position, schema.chunk_shape, strict=True))
    extent = tuple(min(c, n - s) for c, n, s in zip(schema.chunk_shape, schema.shape, corner, strict=True))
    return corner, extent


def box_slices(first: Sequence[int], count: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices that take `count` cells from `first` on along each axis."""
    return tuple([slice(f, f + n) for f, n in zip(first, count, strict=True)])


def chunk_cells(schema: ArraySchema, chunk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of cells of the (clipped) chunks at the C-order grid positions `chunk`."""
    cells = np.ones(len(chunk), np.int64)
    rest = chunk
    for n, c, g in zip(reversed(schema.shape), reversed(schema.chunk_shape), reversed(schema.grid), strict=True):
        g = max(g, 1)  # noqa: PLW2901 - of an array without cells, which has no chunks whatever an index says
        cells *= np.minimum(c, n - (rest % g) * c)
        rest = rest // g
    return cells
