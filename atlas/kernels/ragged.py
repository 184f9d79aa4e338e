"""Plans the chunks of boxes of many arrays of different shapes, which lie one after another in one result.

Integers only, reads no data. Refuses boxes that leave their array or the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import BOX_COUNT, BOX_EXTENT, BOX_FIRST, BOX_TARGET, I64, Geometry, as_column

if TYPE_CHECKING:
    from atlas.kernels.jit import Int

__all__ = ["Boxes", "ChunkPlan", "count_chunks", "plan_chunks"]


class Boxes(NamedTuple):
    """Boxes of N arrays of one rank, int64 (N, ndim) each, in cells."""

    shape: I64
    """Shape of each array."""
    chunk_shape: I64
    """Shape of its chunks."""
    start: I64
    """First cell of the box."""
    extent: I64
    """Shape of the box."""


class ChunkPlan(NamedTuple):
    """The chunks that the boxes of N arrays meet, those of one array after those of another, in C order."""

    geometry: Geometry
    """The box of each chunk, and its position in the result."""
    chunk: I64
    """Position of each in the grid of its array, C order: (chunks,)."""
    cells: I64
    """Cells of each, clipped at the edge of its array: (chunks,)."""


def count_chunks(boxes: Boxes) -> I64:
    """Return how many chunks each box meets, (N,).

    Raises:
        ValueError: columns of different shapes, or a box that leaves its array.

    """
    boxes = _as_boxes(boxes)
    counts = np.empty(len(boxes.shape), np.int64)
    stray = int(_count(*boxes, counts))
    if stray >= 0:
        message = f"box {stray} leaves its array"
        raise ValueError(message)
    return counts


def plan_chunks(boxes: Boxes, counts: I64, target: I64, box: I64) -> ChunkPlan:
    """Return the chunks that the boxes meet; `counts` (N,) is what `count_chunks` returns for them.

    The result has shape `box` (ndim,). Box n begins in it at cell `target[n]` along the first axis, and at the first
    cell along the others.

    Raises:
        ValueError: columns of different shapes, or a box that leaves its array or the result.

    """
    boxes, target, box = _as_boxes(boxes), as_column(target), as_column(box)
    ndim = boxes.shape.shape[1]
    if box.size != ndim or target.size != len(boxes.shape) or not np.array_equal(count_chunks(boxes), counts):
        message = f"{target.size} targets, {len(counts)} counts and a result of {box.size} axes do not fit the boxes"
        raise ValueError(message)
    bad = (target < 0) | (target > box[0] - boxes.extent[:, 0]) | (boxes.extent[:, 1:] > box[1:]).any(axis=1)
    if bad.any():
        message = f"box {int(np.argmax(bad))} leaves the result of shape {box.tolist()}"
        raise ValueError(message)
    chunks = int(counts.sum())
    planned = np.empty((4, chunks, ndim), np.int64)
    chunk, cells = np.empty(chunks, np.int64), np.empty(chunks, np.int64)
    _plan(*boxes, as_column(counts), target, planned, chunk, cells)
    return ChunkPlan(Geometry(planned, box), chunk, cells)


def _as_boxes(boxes: Boxes) -> Boxes:
    cast = Boxes(*(np.ascontiguousarray(column, np.int64) for column in boxes))
    shapes = {column.shape for column in cast}
    if len(shapes) > 1 or cast.shape.ndim != 2 or not cast.shape.shape[1]:
        message = f"boxes are four matrices of one shape, (N, ndim), not of {sorted(shapes)}"
        raise ValueError(message)
    return cast


@inner
def _span(chunk_shape: I64, start: I64, extent: I64, n: Int, axis: Int) -> Int:
    """How many chunks box `n` meets along one axis; it has cells along it. All are int64 (N, ndim)."""
    step = chunk_shape[n, axis]
    span: Int = (start[n, axis] + extent[n, axis] - 1) // step - start[n, axis] // step + 1
    return span


@kernel
def _count(shape: I64, chunk_shape: I64, start: I64, extent: I64, counts: I64) -> Int:
    """Write the number of chunks that each box meets to `counts`, int64 (N,).

    The others are int64 (N, ndim). Returns the first box that leaves its array, -1 where none does.
    """
    for n in range(shape.shape[0]):
        chunks = ONE
        for axis in range(shape.shape[1]):
            begin, cells = start[n, axis], extent[n, axis]
            if begin < 0 or cells < 0 or cells > shape[n, axis] or begin > shape[n, axis] - cells:
                return n
            if cells == 0:
                chunks = ZERO
            elif chunk_shape[n, axis] < 1:
                return n
            elif chunks > 0:
                chunks *= _span(chunk_shape, start, extent, n, axis)
        counts[n] = chunks
    return -ONE


@kernel
def _plan(
    shape: I64, chunk_shape: I64, start: I64, extent: I64, counts: I64, target: I64, boxes: I64, chunk: I64, cells: I64
) -> None:
    """Write the plan of `plan_chunks`: to `boxes`, int64 (4, chunks, ndim), `chunk` and `cells`, int64 (chunks,).

    The first four are int64 (N, ndim) and lie in their arrays; `counts` and `target` are int64 (N,).
    """
    row = ZERO
    for n in range(counts.size):
        for number in range(counts[n]):
            rest, step, position, size = np.int64(number), ONE, ZERO, ONE
            for axis in range(shape.shape[1] - 1, -1, -1):
                side, begin = chunk_shape[n, axis], start[n, axis]
                spans = _span(chunk_shape, start, extent, n, axis)
                index = begin // side + rest % spans
                rest //= spans
                corner = index * side
                # The first cell after the chunk may be more than an int64 holds.
                own = min(side, shape[n, axis] - corner)
                first = max(begin - corner, ZERO)
                stop = min(begin + extent[n, axis] - corner, own)
                boxes[BOX_EXTENT, row, axis], boxes[BOX_FIRST, row, axis] = own, first
                boxes[BOX_COUNT, row, axis] = stop - first
                boxes[BOX_TARGET, row, axis] = corner + first - begin + (target[n] if axis == 0 else ZERO)
                position += index * step
                step *= (shape[n, axis] - 1) // side + 1
                size *= own
            chunk[row], cells[row] = position, size
            row += 1
