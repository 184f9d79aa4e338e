"""Writes boxes: an array's cells into chunks, constants into a result.

Cells are moved as bytes and never interpreted. Refuses boxes that leave their chunk or the result, and chunks that
leave the memory they are written to, before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.kernels.copy_plan import (
    FIRST,
    HEAD,
    IN_CHUNK,
    IN_RESULT,
    RESULT_FIRST,
    ROWS,
    execute_plan,
    locate_run,
    make_plan,
    plan_box,
    refuse_boxes,
)
from atlas.kernels.jit import ONE, ZERO, kernel
from atlas.kernels.layouts import BOX_EXTENT, I64, U8, U64, Geometry, as_bytes, as_column, as_geometry, as_source
from atlas.kernels.status import ARGUMENT, OFFSET, OK, raise_status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.jit import Int

__all__ = ["fill_boxes", "locate_cells", "scatter_boxes"]


def scatter_boxes(data: NDArray[Any], geometry: Geometry, out: U8, offset: I64) -> None:
    """Copy an array's boxes into chunks: the writing twin of `gather_boxes`.

    `data` has shape `geometry.box` and any fixed-width dtype. For each row k of the geometry,
    `data[target:target + count]` goes to `first` of the chunk of shape `extent` that lies in C order at byte
    `offset[k]` of `out` (1-D uint8, writable).

    Raises:
        BlockError: chunk k would leave `out` (reason "offset", `block` is k); nothing is written then.
        ValueError: shapes that do not fit together.

    """
    geometry, offset = as_geometry(geometry), as_column(offset)
    if data.shape != tuple(geometry.box.tolist()) or offset.size != geometry.boxes.shape[1]:
        message = f"data of shape {data.shape} and {offset.size} offsets do not fit the geometry"
        raise ValueError(message)
    refuse_boxes(geometry)
    cells = as_source(np.ascontiguousarray(data).reshape(-1).view(np.uint8))
    raise_status(*_scatter(cells, *geometry, data.itemsize, make_plan(data.ndim), as_bytes(out), offset))


def fill_boxes(out: NDArray[Any], bits: U64, chunk: I64, target: I64, geometry: Geometry) -> None:
    """Write constant chunks: one value into all of the box that a chunk has in a row of the result.

    The cell whose bit pattern is the low bytes of `bits[i]` goes to the box of chunk `chunk[i]` in `out[target[i]]`.
    `out` is as for `gather_boxes`, with cells of 1, 2, 4 or 8 bytes; `bits` is uint64, `chunk` and `target` int64.

    Raises:
        ValueError: shapes that do not fit together, or a row that is not there.

    """
    geometry, chunk, target = as_geometry(geometry), as_column(chunk), as_column(target)
    bits = as_column(bits, np.uint64)
    if out.shape[1:] != tuple(geometry.box.tolist()) or out.ndim == 0 or not bits.size == chunk.size == target.size:
        message = f"a result of shape {out.shape} and {chunk.size} rows do not fit the geometry"
        raise ValueError(message)
    refuse_boxes(geometry)
    bad = (chunk < 0) | (chunk >= geometry.boxes.shape[1]) | (target < 0) | (target >= out.shape[0])
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    unsigned = np.dtype(f"u{out.itemsize}")
    plan = make_plan(geometry.box.size)
    _fill(as_bytes(out).view(unsigned), bits.astype(unsigned), chunk, target, *geometry, plan)


def locate_cells(geometry: Geometry, chunk: I64, target: I64) -> tuple[I64, I64, I64]:
    """Where the wanted cells of chunk `chunk[i]`, in C order of its box, lie in the chunk and in the result.

    The result has rows of shape `geometry.box`; the chunk's box goes to row `target[i]`. Both are int64 (P,). Returns
    the C-order numbers within the chunks and within the result, (cells,) each, and how many cells each chunk gives,
    (P,).

    Raises:
        ValueError: shapes that do not fit together, or a chunk or row that is not there.

    """
    geometry, chunk, target = as_geometry(geometry), as_column(chunk), as_column(target)
    if chunk.size != target.size or ((chunk < 0) | (chunk >= geometry.boxes.shape[1]) | (target < 0)).any():
        message = f"{chunk.size} chunks and {target.size} rows do not fit the geometry"
        raise ValueError(message)
    refuse_boxes(geometry)
    count = geometry.part[chunk].prod(axis=1)
    inside, result = np.empty((2, int(count.sum())), np.int64)
    _locate(chunk, target, *geometry, make_plan(geometry.box.size), inside, result)
    return inside, result, count


@kernel
def _scatter(data: U8, boxes: I64, box: I64, cell: Int, plan: I64, out: U8, offset: I64) -> tuple[Int, Int]:
    """Copy `data`, uint8, an array of shape `box` with `cell` bytes a cell, to chunks at `offset`, (chunks,), of `out`.

    `boxes` is (4, chunks, ndim), `box` (ndim,), `plan` as of `make_plan`; all int64. `out` is 1-D uint8. Returns a
    status and the chunk that it is about.
    """
    for chunk in range(offset.size):
        cells = np.int64(cell)
        for axis in range(box.size):
            cells *= boxes[BOX_EXTENT, chunk, axis]
        if offset[chunk] < 0 or offset[chunk] > out.size - cells:
            return OFFSET, chunk
    for chunk in range(offset.size):
        plan_box(boxes, box, chunk, plan)
        # A plan says where runs lie on both sides: copying the other way is the plan with its sides exchanged.
        plan[FIRST], plan[RESULT_FIRST] = plan[RESULT_FIRST], plan[FIRST]
        for at in range(HEAD, plan.size, 3):
            plan[at + 1], plan[at + 2] = plan[at + 2], plan[at + 1]
        execute_plan(plan, ZERO, np.int64(2**62), data, ZERO, out, offset[chunk], cell)
    return OK, 0


@kernel
def _fill(out: NDArray[Any], values: NDArray[Any], chunk: I64, target: I64, boxes: I64, box: I64, plan: I64) -> None:
    """Write `values`, (rows,), to the box of chunk `chunk`, (rows,), in row `target`, (rows,), of `out`.

    `out` is 1-D, unsigned as `values` are: rows of as many cells as `box`, (ndim,), has. `boxes` is (4, chunks, ndim),
    `plan` as of `make_plan`.
    """
    result = ONE
    for axis in range(box.size):
        result *= box[axis]
    for i in range(chunk.size):
        plan_box(boxes, box, chunk[i], plan)
        value, run = values[i], plan[HEAD]
        for row in range(plan[ROWS]):
            at = target[i] * result + plan[RESULT_FIRST] + locate_run(plan, row, IN_RESULT)
            out[at : at + run] = value


@kernel
def _locate(chunk: I64, target: I64, boxes: I64, box: I64, plan: I64, inside: I64, result: I64) -> None:
    """Write where cells lie to `inside` and `result`, int64 (cells,); all else is as for `locate_cells` and `_fill`."""
    row_cells = ONE
    for axis in range(box.size):
        row_cells *= box[axis]
    at = ZERO
    for i in range(chunk.size):
        plan_box(boxes, box, chunk[i], plan)
        for row in range(plan[ROWS]):
            first = plan[FIRST] + locate_run(plan, row, IN_CHUNK)
            there = target[i] * row_cells + plan[RESULT_FIRST] + locate_run(plan, row, IN_RESULT)
            for cell in range(plan[HEAD]):
                inside[at], result[at] = first + cell, there + cell
                at += 1
