"""How one chunk's wanted box is walked: the fewest, longest runs that are contiguous in chunk and result at once.

A plan is a flat int64 array made anew for each chunk in memory allocated once: `HEAD` numbers (see the constants), then
three for each axis, innermost first: length, step in the chunk, step in the result, all in cells. The first axis is
the run itself, with steps of 1. Inputs are trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import BOX_COUNT, BOX_EXTENT, BOX_FIRST, BOX_TARGET
from atlas.kernels.memcpy import copy_bytes, copy_rows

if TYPE_CHECKING:
    from atlas.kernels.jit import Int
    from atlas.kernels.layouts import I64, U8, Geometry

__all__ = [
    "AXES",
    "END",
    "FIRST",
    "HEAD",
    "IN_CHUNK",
    "IN_RESULT",
    "RESULT_FIRST",
    "ROWS",
    "execute_plan",
    "locate_run",
    "make_plan",
    "plan_box",
    "refuse_boxes",
]

AXES = 0
"""Number of axes of the plan, the run among them."""
FIRST = 1
"""The box's first cell within the chunk."""
END = 2
"""One past the box's last cell within the chunk; not past `FIRST` where the box is empty."""
RESULT_FIRST = 3
"""The box's first cell within the result."""
ROWS = 4
"""Number of runs."""
CHUNK = 5
"""The chunk whose plan this is; -1 for none."""
HEAD = 6

# The two sides of a plan, by where their steps stand.
IN_CHUNK: Int = np.int64(1)
IN_RESULT: Int = np.int64(2)


def make_plan(ndim: int) -> I64:
    """Memory for the plans of boxes of that rank, int64 (6 + 3 * (ndim + 1),), that holds none."""
    return np.full(HEAD + 3 * (ndim + 1), -1)


def refuse_boxes(geometry: Geometry) -> None:
    """Refuse boxes that leave their chunk or the result.

    Raises:
        ValueError: there is such a box.

    """
    chunk = int(_find_stray(*geometry))
    if chunk >= 0:
        message = f"geometry row {chunk} leaves its chunk or the result box"
        raise ValueError(message)


@kernel
def _find_stray(boxes: I64, box: I64) -> Int:
    """The first chunk whose box leaves it or the result, else -1; `boxes` is (4, chunks, ndim), `box` (ndim,)."""
    for chunk in range(boxes.shape[1]):
        for axis in range(box.size):
            first, count = boxes[BOX_FIRST, chunk, axis], boxes[BOX_COUNT, chunk, axis]
            extent, target = boxes[BOX_EXTENT, chunk, axis], boxes[BOX_TARGET, chunk, axis]
            if first < 0 or count < 0 or target < 0 or first > extent - count or target > box[axis] - count:
                return chunk
    return -ONE


@inner
def plan_box(boxes: I64, box: I64, chunk: Int, plan: I64) -> None:
    """Make the plan of chunk `chunk` of a geometry, whose box lies within its chunk and the result, in `plan`.

    `boxes` is (4, chunks, ndim), `box` (ndim,) and `plan` of `make_plan`; all int64. A plan of that chunk is kept.
    """
    if plan[CHUNK] == chunk:
        return
    plan[CHUNK] = chunk
    top = HEAD
    plan[top], plan[top + 1], plan[top + 2] = 1, 1, 1
    first = last = result_first = ZERO
    step = result_step = rows = cells = ONE
    for axis in range(box.size - 1, -1, -1):
        count, begin = boxes[BOX_COUNT, chunk, axis], boxes[BOX_FIRST, chunk, axis]
        first += begin * step
        last += (begin + count - 1) * step
        result_first += boxes[BOX_TARGET, chunk, axis] * result_step
        cells *= count
        if count != 1:
            if step == plan[top] * plan[top + 1] and result_step == plan[top] * plan[top + 2]:
                plan[top] *= count
            else:
                top += 3
                plan[top], plan[top + 1], plan[top + 2] = count, step, result_step
        step *= boxes[BOX_EXTENT, chunk, axis]
        result_step *= box[axis]
    for at in range(HEAD + 3, top + 1, 3):
        rows *= plan[at]
    plan[AXES] = (top - HEAD) // 3 + 1
    plan[FIRST] = first
    plan[END] = last + 1 if cells > 0 else first
    plan[RESULT_FIRST] = result_first
    plan[ROWS] = rows if cells > 0 else 0


@inner
def locate_run(plan: I64, row: Int, side: Int) -> Int:
    """Where run number `row` begins, in cells from the box's first: on the side of the chunk or of the result.

    `side` is `IN_CHUNK` or `IN_RESULT`.
    """
    at = ZERO
    axis = HEAD + 3
    while row > 0:
        at += row % plan[axis] * plan[axis + side]
        row //= plan[axis]
        axis += 3
    return at


@inner
def _first_row(plan: I64, cell: Int) -> Int:
    """The first run that begins at or after a cell of the chunk, which lies within the box's span."""
    low, high = ZERO, plan[ROWS]
    while low < high:
        middle = (low + high) // 2
        if plan[FIRST] + locate_run(plan, middle, IN_CHUNK) < cell:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _copy_run(plan: I64, row: Int, begin: Int, end: Int, data: U8, at: Int, out: U8, out_at: Int, cell: Int) -> None:
    """Copy the part of one run that lies within the cells `begin` to `end` of the chunk; see `execute_plan`."""
    inside = plan[FIRST] + locate_run(plan, row, IN_CHUNK)
    first, last = max(inside, begin), min(inside + plan[HEAD], end)
    if first < last:
        target = plan[RESULT_FIRST] + locate_run(plan, row, IN_RESULT) + first - inside
        copy_bytes(out, out_at + target * cell, data, at + (first - begin) * cell, (last - first) * cell)


@inner
def execute_plan(plan: I64, begin: Int, end: Int, data: U8, at: Int, out: U8, out_at: Int, cell: Int) -> None:
    """Copy what the box wants of the chunk's cells `begin` to `end`, which lie from `data[at]` on.

    `data` and `out` are 1-D uint8; `out_at` is the byte where the result begins, `cell` the bytes of a cell.
    """
    if begin <= plan[FIRST] and end >= plan[END]:
        row = ZERO
        last: Int = plan[ROWS]
    else:
        # Only the first and the last run can be cut by the ends of the piece.
        row = max(ZERO, _first_row(plan, begin) - 1)
        last = _first_row(plan, end)
        for side in range(2):
            if row < last:
                _copy_run(plan, row if side == 0 else last - 1, begin, end, data, at, out, out_at, cell)
                row, last = row + 1 - side, last - side
    if row >= last:
        return
    size = plan[HEAD] * cell
    data_at, out_at = at + (plan[FIRST] - begin) * cell, out_at + plan[RESULT_FIRST] * cell
    if plan[AXES] == 1:
        copy_bytes(out, out_at, data, data_at, size)
        return
    axis = HEAD + 3
    line, step, out_step = plan[axis], plan[axis + 1] * cell, plan[axis + 2] * cell
    while row < last:
        rows = min(line - row % line, last - row)
        here, there = data_at + locate_run(plan, row, IN_CHUNK) * cell, out_at + locate_run(plan, row, IN_RESULT) * cell
        copy_rows(out, there, out_step, data, here, step, rows, size)
        row += rows
