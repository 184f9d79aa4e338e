"""Copies boxes between chunks and results: decoded blocks into an array, an array into chunks, constants into boxes.

Cells are moved as bytes and never interpreted. What comes from disk (blocks, and where pieces lie in them) is checked
before the first byte is copied; a piece outside its block is a `BlockError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.kernels.blocks import MAX_PLANES, check_block, copy_stored_planes, decompress_block, decompress_block_python
from atlas.kernels.codec import DECODED, NONE, SHUFFLED, TRANSPOSED, workspace
from atlas.kernels.copy_plan import (
    AXES,
    END,
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
)
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import (
    BLOCK_CHECKSUM,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_RAW,
    BLOCK_STORED,
    BOX_COUNT,
    BOX_EXTENT,
    BOX_FIRST,
    BOX_TARGET,
    I64,
    PIECE_BEGIN,
    PIECE_CELLS,
    PIECE_CHUNK,
    PIECE_OFFSET,
    PIECE_TARGET,
    U8,
    U64,
    Geometry,
    as_bytes,
    as_column,
    as_geometry,
    as_source,
    as_table,
)
from atlas.kernels.memcpy import copy_rows
from atlas.kernels.read_batches import WANTED_BLOCK, WANTED_OFFSET, WANTED_PIECE
from atlas.kernels.shuffle import PLAIN, TRANSPOSE_SCRATCH, plane_length, unshuffle_range
from atlas.kernels.status import ARGUMENT, OFFSET, OK, raise_status
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.jit import Int

__all__ = ["box_indices", "fill_boxes", "gather_boxes", "scatter_boxes"]


# Bytes of a block that are unfiltered in the time that one small piece of it takes by itself.
_PIECE_COST = 2048


@kernel
def _check_boxes(boxes: I64, box: I64) -> Int:
    """The first row of a geometry whose box leaves its chunk or the result, -1 where none does."""
    for chunk in range(boxes.shape[1]):
        for axis in range(box.size):
            first, count, target = (
                boxes[BOX_FIRST, chunk, axis],
                boxes[BOX_COUNT, chunk, axis],
                boxes[BOX_TARGET, chunk, axis],
            )
            extent = boxes[BOX_EXTENT, chunk, axis]
            if first < 0 or count < 0 or target < 0 or first > extent - count or target > box[axis] - count:
                return chunk
    return -ONE


@kernel
def _check_pieces(
    size: Int, table: I64, wanted: I64, begin: Int, end: Int, pieces: I64, boxes: I64, targets: Int, cell: Int
) -> tuple[Int, Int, Int, Int]:
    """(status, row, largest block, widest item); the row is a block's, or a piece's where the request is wrong."""
    largest, widest, ndim = ZERO, ONE, boxes.shape[2]
    for at in range(begin, end):
        row = wanted[WANTED_BLOCK, at]
        if row < 0 or row >= table.shape[1]:
            return ARGUMENT, wanted[WANTED_PIECE, at], largest, widest
        raw, itemsize = table[BLOCK_RAW, row], table[BLOCK_ITEMSIZE, row]
        status = check_block(
            size, wanted[WANTED_OFFSET, at], table[BLOCK_STORED, row], raw, table[BLOCK_CODEC, row],
            table[BLOCK_FILTER, row], itemsize,
        )  # fmt: skip
        if status != OK:
            return status, row, largest, widest
        largest, widest = max(largest, raw), max(widest, itemsize)
        if wanted[WANTED_PIECE, at] < 0 or wanted[WANTED_PIECE, at + 1] > pieces.shape[1]:
            return ARGUMENT, at, largest, widest
        for piece in range(wanted[WANTED_PIECE, at], wanted[WANTED_PIECE, at + 1]):
            chunk, target = pieces[PIECE_CHUNK, piece], pieces[PIECE_TARGET, piece]
            if chunk < 0 or chunk >= boxes.shape[1] or target < 0 or target >= targets:
                return ARGUMENT, piece, largest, widest
            first, count, offset = pieces[PIECE_BEGIN, piece], pieces[PIECE_CELLS, piece], pieces[PIECE_OFFSET, piece]
            cells = ONE
            for axis in range(ndim):
                cells *= boxes[BOX_EXTENT, chunk, axis]
            if first < 0 or count < 0 or first > cells - count:
                return OFFSET, row, largest, widest
            if offset < 0 or offset > raw or count > (raw - offset) // cell:
                return OFFSET, row, largest, widest
    return OK, 0, largest, widest


@inner
def _copy_alike(
    pieces: I64, piece: Int, last: Int, plan: I64, data: U8, at: Int, out: U8, result: Int, cell: Int
) -> Int:
    """Copy a piece that wants one run of cells, and those behind it that want the same at regular distances.

    Returns the first piece that is not copied: `piece` itself where it wants something else.
    """
    begin, count, chunk = pieces[PIECE_BEGIN, piece], pieces[PIECE_CELLS, piece], pieces[PIECE_CHUNK, piece]
    if plan[ROWS] != 1 or begin > plan[FIRST] or begin + count < plan[END]:
        return piece
    here, stored_at = pieces[PIECE_OFFSET, piece], pieces[PIECE_TARGET, piece]
    step = out_step = ZERO
    stop = piece + 1
    if stop < last:
        step, out_step = pieces[PIECE_OFFSET, stop] - here, pieces[PIECE_TARGET, stop] - stored_at
    while (
        stop < last
        and pieces[PIECE_CHUNK, stop] == chunk
        and pieces[PIECE_BEGIN, stop] == begin
        and pieces[PIECE_CELLS, stop] == count
        and pieces[PIECE_OFFSET, stop] - pieces[PIECE_OFFSET, stop - 1] == step
        and pieces[PIECE_TARGET, stop] - pieces[PIECE_TARGET, stop - 1] == out_step
    ):
        stop += 1
    copy_rows(
        out, stored_at * result + plan[RESULT_FIRST] * cell, out_step * result,
        data, at + here + (plan[FIRST] - begin) * cell, step, stop - piece, plan[HEAD] * cell,
    )  # fmt: skip
    return stop


@inner
def _unshuffle_piece(
    shuffled: U8, raw: Int, filter_: Int, itemsize: Int, plan: I64, first: Int, end: Int, at: Int, cell: Int,
    plain: U8, scratch: U8, words: U64,
) -> None:  # fmt: skip
    """Unfilter what a piece wants of its cells `first` to `end`, of which cell c lies at byte `at + c * cell`.

    Where a box takes short ranges of a chunk, what lies between them is left out.
    """
    line, reach, step = ONE, end - first, ONE
    if plan[AXES] > 2:
        line = plan[HEAD + 3]
        reach = (line - 1) * plan[HEAD + 4] + plan[HEAD]
        if 4 * reach > 3 * plan[HEAD + 7]:
            line, reach = ONE, end - first
        else:
            step = line
    runs = plan[ROWS] if step > 1 else ONE
    for run in range(0, runs, step):
        inside = plan[FIRST] + locate_run(plan, run, IN_CHUNK) if step > 1 else first
        low, high = max(first, inside), min(end, inside + reach)
        unshuffle_range(
            shuffled, ZERO, raw, filter_, itemsize, at + low * cell, at + high * cell, plain, ZERO, scratch, words
        )


@kernel
def _gather(
    source: U8, table: I64, wanted: I64, begin: Int, end: Int, pieces: I64, boxes: I64, box: I64, cell: Int,
    context: Int, shuffled: U8, plain: U8, scratch: U8, words: U64, stored_at: I64, plan: I64, out: U8,
) -> tuple[Int, Int]:  # fmt: skip
    known = -ONE
    result = np.int64(cell)
    for axis in range(box.size):
        result *= box[axis]
    for block in range(begin, end):
        row, here, piece, last = (
            wanted[WANTED_BLOCK, block],
            wanted[WANTED_OFFSET, block],
            wanted[WANTED_PIECE, block],
            wanted[WANTED_PIECE, block + 1],
        )
        raw, codec = table[BLOCK_RAW, row], table[BLOCK_CODEC, row]
        filter_, itemsize = table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        status = decompress_block(
            source, here, table[BLOCK_STORED, row], raw, codec, filter_, itemsize,
            np.uint64(table[BLOCK_CHECKSUM, row]), context, shuffled, stored_at, plain,
        )  # fmt: skip
        if status != OK:
            return status, row
        filtered = filter_ != PLAIN
        data, at = (source, here) if codec == NONE else (plain, ZERO)
        length = plane_length(raw, filter_, max(ONE, itemsize))
        if filtered and (last - piece) * _PIECE_COST >= raw:
            copy_stored_planes(source, stored_at, filter_, itemsize, length, ZERO, raw, shuffled)
            unshuffle_range(shuffled, ZERO, raw, filter_, itemsize, ZERO, raw, plain, ZERO, scratch, words)
            filtered = False
        while piece < last:
            chunk = pieces[PIECE_CHUNK, piece]
            if chunk != known:
                plan_box(boxes, box, chunk, plan)
                known = chunk
            if not filtered:
                done = _copy_alike(pieces, piece, last, plan, data, at, out, result, cell)
                if done > piece:
                    piece = done
                    continue
            first, count, offset = pieces[PIECE_BEGIN, piece], pieces[PIECE_CELLS, piece], pieces[PIECE_OFFSET, piece]
            low, high = max(first, plan[FIRST]), min(first + count, plan[END])
            out_at = pieces[PIECE_TARGET, piece] * result
            piece += 1
            if low >= high:
                continue
            if filtered:
                # Where the chunk's first cell lies or would lie.
                base = offset - first * cell
                copy_stored_planes(
                    source, stored_at, filter_, itemsize, length, base + low * cell, base + high * cell, shuffled
                )
                if plan[ROWS] == 1 and base + low * cell == 0 and base + high * cell == raw:
                    # The whole block is one run of the result: it is unfiltered right there.
                    there = out_at + (plan[RESULT_FIRST] + low - plan[FIRST]) * cell
                    unshuffle_range(shuffled, ZERO, raw, filter_, itemsize, ZERO, raw, out, there, scratch, words)
                    continue
                _unshuffle_piece(shuffled, raw, filter_, itemsize, plan, low, high, base, cell, plain, scratch, words)
            execute_plan(plan, first, first + count, data, at + offset, out, out_at, cell)
    return OK, 0


def gather_boxes(
    source: U8, table: I64, wanted: I64, begin: int, end: int, pieces: I64, geometry: Geometry, out: NDArray[Any]
) -> None:
    """Copy the wanted boxes of many chunks out of their blocks, number `begin` to `end` of `wanted`, each decoded once.

    `source` is 1-D uint8, the stored bytes, in which the blocks lie where `wanted` says (see `plan_read_batches`);
    `table` is (8, blocks). `pieces` is (6, pieces). `out` is writable, C-contiguous, of shape (N, *geometry.box), of a
    fixed-width dtype, whose item size is that of the chunks' cells. Cells that no piece covers are left as they are.

    Raises:
        BlockError: a block is damaged, or a piece lies outside it (reason "offset"); `out` may then be partly written.
            Its `block` is the row of `table`.
        ValueError: shapes that do not fit together, or a row that the request names and that is not there.

    """
    source, table, pieces, geometry = as_source(source), as_table(table), as_table(pieces, 6), as_geometry(geometry)
    wanted = as_table(wanted, 3)
    boxes, box = geometry
    if out.shape[1:] != tuple(box.tolist()) or out.ndim == 0:
        message = f"the result has shape {out.shape}, its boxes {tuple(box.tolist())}"
        raise ValueError(message)
    if not 0 <= begin <= end < wanted.shape[1]:
        message = f"there are no blocks {begin} to {end} among {wanted.shape[1] - 1}"
        raise ValueError(message)
    _refuse_boxes(geometry)
    cell, target = out.itemsize, as_bytes(out)
    status, row, largest, widest = _check_pieces(
        source.size, table, wanted, begin, end, pieces, boxes, out.shape[0], cell
    )
    raise_status(status, row)
    plain, scratch = (
        workspace.scratch(DECODED, largest),
        workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * int(widest)),
    )
    words = scratch.view(np.uint64)
    shuffled, stored_at, plan = workspace.scratch(SHUFFLED, largest), np.full(MAX_PLANES, -1), make_plan(box.size)

    def copy(first: int, last: int, context: int) -> None:
        raise_status(
            *_gather(
                source, table, wanted, first, last, pieces, boxes, box, cell, context,
                shuffled, plain, scratch, words, stored_at, plan, target,
            )
        )  # fmt: skip

    if NATIVE_CODECS:
        copy(begin, end, workspace.decoder)
        return
    for block in range(begin, end):
        row, here, _ = wanted[:, block].tolist()
        status, unpacked = decompress_block_python(source, here, table[:, row].copy())
        raise_status(status, row)
        (plain if table[BLOCK_FILTER, row] == PLAIN else shuffled)[: unpacked.size] = unpacked
        copy(block, block + 1, 0)


def _refuse_boxes(geometry: Geometry) -> None:
    row = int(_check_boxes(*geometry))
    if row >= 0:
        message = f"geometry row {row} leaves its chunk or the result box"
        raise ValueError(message)


@kernel
def _scatter(data: U8, boxes: I64, box: I64, cell: Int, plan: I64, out: U8, offset: I64) -> tuple[Int, Int]:
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
    _refuse_boxes(geometry)
    cells = as_source(np.ascontiguousarray(data).reshape(-1).view(np.uint8))
    raise_status(*_scatter(cells, *geometry, data.itemsize, make_plan(data.ndim), as_bytes(out), offset))


@kernel
def _fill(out: NDArray[Any], values: NDArray[Any], chunk: I64, target: I64, boxes: I64, box: I64, plan: I64) -> None:
    known = -ONE
    result = ONE
    for axis in range(box.size):
        result *= box[axis]
    for i in range(chunk.size):
        if chunk[i] != known:
            plan_box(boxes, box, chunk[i], plan)
            known = chunk[i]
        value, run = values[i], plan[HEAD]
        for row in range(plan[ROWS]):
            at = target[i] * result + plan[RESULT_FIRST] + locate_run(plan, row, IN_RESULT)
            out[at : at + run] = value


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
    _refuse_boxes(geometry)
    bad = (chunk < 0) | (chunk >= geometry.boxes.shape[1]) | (target < 0) | (target >= out.shape[0])
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    unsigned = np.dtype(f"u{out.itemsize}")
    plan = make_plan(geometry.box.size)
    _fill(as_bytes(out).view(unsigned), bits.astype(unsigned), chunk, target, *geometry, plan)


def box_indices(geometry: Geometry, chunk: int) -> tuple[I64, I64]:
    """Flat indices of one chunk's wanted cells, in C order: within the chunk, and within the result box."""
    inside = np.zeros(1, np.int64)
    result = np.zeros(1, np.int64)
    for axis in range(len(geometry.box)):
        steps = np.arange(geometry.part[chunk, axis], dtype=np.int64)
        own = geometry.first[chunk, axis] + steps
        theirs = geometry.target[chunk, axis] + steps
        inside = (inside[:, None] * geometry.extent[chunk, axis] + own).reshape(-1)
        result = (result[:, None] * geometry.box[axis] + theirs).reshape(-1)
    return inside, result
