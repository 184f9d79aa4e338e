"""Gathers the wanted boxes of many chunks from their blocks, each decoded once, into one result.

Cells are moved as bytes and never interpreted. Blocks, and where pieces lie in them, come from disk and are checked
before the first byte is copied: a piece outside its block is a `BlockError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atlas.kernels.blocks import check_block, decompress_block, decompress_block_python
from atlas.kernels.codec import DECODED, NONE, SHUFFLED, TRANSPOSED, workspace
from atlas.kernels.copy_plan import (
    AXES,
    END,
    FIRST,
    HEAD,
    IN_CHUNK,
    RESULT_FIRST,
    ROWS,
    execute_plan,
    locate_run,
    make_plan,
    plan_box,
    refuse_boxes,
)
from atlas.kernels.filters import planes_room, undo_filter
from atlas.kernels.integers import integers_memory
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import (
    BIT,
    BLOCK_CODEC,
    BLOCK_FILTER,
    BLOCK_ITEMSIZE,
    BLOCK_RAW,
    BLOCK_STORED,
    BOX_EXTENT,
    DELTA,
    I64,
    PIECE_BEGIN,
    PIECE_CELLS,
    PIECE_CHUNK,
    PIECE_OFFSET,
    PIECE_TARGET,
    PLAIN,
    U8,
    U64,
    Geometry,
    as_bytes,
    as_geometry,
    as_source,
    as_table,
)
from atlas.kernels.memcpy import copy_rows
from atlas.kernels.planes import INTERVAL, MAX_PLANES, SIZES, copy_stored_planes
from atlas.kernels.read_batches import WANTED_BLOCK, WANTED_OFFSET, WANTED_PIECE
from atlas.kernels.shuffle import TRANSPOSE_SCRATCH
from atlas.kernels.status import ARGUMENT, OFFSET, OK, raise_status
from atlas.kernels.symbols import NATIVE_CODECS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.integers import Integers
    from atlas.kernels.jit import Int

__all__ = ["Request", "as_request", "check_pieces", "copy_pieces", "gather_boxes"]

Request: TypeAlias = tuple[I64, I64, I64, I64, I64]
"""What is gathered, five int64 arrays: the block table, (8, blocks), see `BLOCK_OFFSET`; the wanted blocks,
(3, wanted + 1), see `WANTED_BLOCK`; the pieces, (6, pieces), see `PIECE_BLOCK`; the boxes, (4, chunks, ndim), see
`BOX_EXTENT`; and the result's box, (ndim,), in cells. Plain tuples, whose type a call finds fastest."""

Memory: TypeAlias = tuple[U8, U8, U8, U64, I64, I64, I64]
"""Memory of the thread, contents arbitrary: `shuffled` and `decoded`, uint8 of as much as the largest block takes, for
its planes and its bytes; `scratch`, uint8, and the same as `words`, uint64, see `unshuffle_range`; `stored_at`, int64
(255,), the offset in `source` of each plane that is stored uncompressed, -1 for one that is in `shuffled`; `sizes`,
int64 (257,), see `planes`; and `plan`, see `make_plan`."""

_PIECE_COST = 2048
"""Bytes of a block that are unshuffled in the time that one small piece of it takes by itself."""


def gather_boxes(
    source: U8, table: I64, wanted: I64, begin: int, end: int, pieces: I64, geometry: Geometry, out: NDArray[Any]
) -> None:
    """Copy the wanted boxes of many chunks out of the blocks that columns `begin` to `end` of `wanted` name.

    `source` is 1-D uint8, the stored bytes, in which the blocks lie where `wanted`, int64 (3, wanted + 1), says (see
    `plan_read_batches`). `table` is int64 (8, blocks), `pieces` int64 (6, pieces). `out` is writable, C-contiguous, of
    shape (N, *geometry.box) and of a fixed-width dtype, whose item size is that of the chunks' cells. Cells that no
    piece covers are left as they are.

    Raises:
        BlockError: a block is damaged, or a piece lies outside it (reason "offset"); `out` may then be partly written.
            Its `block` is the row of `table`.
        ValueError: shapes that do not fit together, or a row that the request names and that is not there.

    """
    source, request = as_source(source), as_request(table, wanted, begin, end, pieces, geometry, out)
    table, wanted, _, _, box = request
    cell, target = out.itemsize, as_bytes(out)
    status, row, largest, widest, highest = _check_blocks(request, begin, end, source.size, out.shape[0], cell)
    raise_status(status, row)
    shuffled, decoded = workspace.scratch(SHUFFLED, largest), workspace.scratch(DECODED, largest)
    scratch = workspace.scratch(TRANSPOSED, TRANSPOSE_SCRATCH * int(widest))
    stored_at, plan = np.full(MAX_PLANES, -1), make_plan(box.size)
    sizes, integers = np.empty(SIZES, np.int64), integers_memory(highest)
    memory = shuffled, decoded, scratch, scratch.view(np.uint64), stored_at, sizes, plan
    if NATIVE_CODECS:
        raise_status(*_gather(source, request, begin, end, cell, workspace.decoder, memory, integers, target))
        return
    for at in range(begin, end):
        row, offset, _ = wanted[:, at].tolist()
        status, found = decompress_block_python(source, offset, table[:, row].copy(), sizes, integers)
        raise_status(status, row)
        (decoded if table[BLOCK_FILTER, row] == PLAIN else shuffled)[: found.size] = found
        raise_status(*_gather(source, request, at, at + 1, cell, 0, memory, integers, target))


def as_request(
    table: I64, wanted: I64, begin: int, end: int, pieces: I64, geometry: Geometry, out: NDArray[Any]
) -> Request:
    """What `gather_boxes` is asked for, as kernels take it; that blocks and pieces are there is theirs to check.

    Raises:
        ValueError: shapes that do not fit together, boxes that leave their chunk or the result, or columns that
            `wanted` does not have.

    """
    table, wanted, pieces, geometry = as_table(table), as_table(wanted, 3), as_table(pieces, 6), as_geometry(geometry)
    boxes, box = geometry
    if out.shape[1:] != tuple(box.tolist()) or out.ndim == 0:
        message = f"the result has shape {out.shape}, its boxes {tuple(box.tolist())}"
        raise ValueError(message)
    if not 0 <= begin <= end < wanted.shape[1]:
        message = f"there are no blocks {begin} to {end} among {wanted.shape[1] - 1}"
        raise ValueError(message)
    refuse_boxes(geometry)
    return table, wanted, pieces, boxes, box


@kernel
def _check_blocks(
    request: Request, begin: Int, end: Int, size: Int, targets: Int, cell: Int
) -> tuple[Int, Int, Int, Int, Int]:
    """Check the wanted blocks `begin` to `end` of `request`, and their pieces.

    There are `size` stored bytes, `targets` rows of the result, and `cell` bytes to a cell. Returns (status, row,
    most bytes of planes, widest item, highest filter); the row is a block's, or a piece's where the request is wrong.
    """
    table, wanted, _, _, _ = request
    largest, widest, highest = ZERO, ONE, ZERO
    for at in range(begin, end):
        row = wanted[WANTED_BLOCK, at]
        if row < 0 or row >= table.shape[1]:
            return ARGUMENT, wanted[WANTED_PIECE, at], largest, widest, highest
        raw, filter_, itemsize = table[BLOCK_RAW, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        status = check_block(
            size, wanted[WANTED_OFFSET, at], table[BLOCK_STORED, row], raw, table[BLOCK_CODEC, row],
            filter_, itemsize,
        )  # fmt: skip
        if status != OK:
            return status, row, largest, widest, highest
        largest, widest = max(largest, planes_room(raw, filter_, itemsize)), max(widest, itemsize)
        highest = max(highest, filter_)
        status, stray = check_pieces(request, at, raw, targets, cell)
        if status != OK:
            return status, stray, largest, widest, highest
    return OK, 0, largest, widest, highest


@inner
def check_pieces(request: Request, at: Int, raw: Int, targets: Int, cell: Int) -> tuple[Int, Int]:
    """Check the pieces of the wanted block `at` of `request`, of `raw` decoded bytes.

    There are `targets` rows of the result and `cell` bytes to a cell. Returns a status and the row that it is about: of
    a block, or of a piece where the request is wrong.
    """
    _, wanted, pieces, boxes, box = request
    if wanted[WANTED_PIECE, at] < 0 or wanted[WANTED_PIECE, at + 1] > pieces.shape[1]:
        return ARGUMENT, at
    for piece in range(wanted[WANTED_PIECE, at], wanted[WANTED_PIECE, at + 1]):
        chunk, target = pieces[PIECE_CHUNK, piece], pieces[PIECE_TARGET, piece]
        if chunk < 0 or chunk >= boxes.shape[1] or target < 0 or target >= targets:
            return ARGUMENT, piece
        first, count, offset = pieces[PIECE_BEGIN, piece], pieces[PIECE_CELLS, piece], pieces[PIECE_OFFSET, piece]
        cells = ONE
        for axis in range(box.size):
            cells *= boxes[BOX_EXTENT, chunk, axis]
        if first < 0 or count < 0 or first > cells - count:
            return OFFSET, wanted[WANTED_BLOCK, at]
        if offset < 0 or offset > raw or count > (raw - offset) // cell:
            return OFFSET, wanted[WANTED_BLOCK, at]
    return OK, ZERO


@kernel
def _gather(
    source: U8,
    request: Request,
    begin: Int,
    end: Int,
    cell: Int,
    context: Int,
    memory: Memory,
    integers: Integers | None,
    out: U8,
) -> tuple[Int, Int]:
    """Decode the wanted blocks `begin` to `end`, which `_check_blocks` has admitted, and copy their pieces.

    `source` is 1-D uint8, the stored bytes; `cell` the bytes of a cell; `context` the address of a zstd decompression
    context; `out` 1-D uint8, rows of as many bytes as the result's box has, in C order. Cells that no piece covers are
    left as they are. Returns a status and the row of the block that it is about.
    """
    table, wanted, _, _, box = request
    shuffled, decoded, scratch, words, stored_at, sizes, plan = memory
    row_bytes = np.int64(cell)
    for axis in range(box.size):
        row_bytes *= box[axis]
    for at in range(begin, end):
        row, offset = wanted[WANTED_BLOCK, at], wanted[WANTED_OFFSET, at]
        first, last = wanted[WANTED_PIECE, at], wanted[WANTED_PIECE, at + 1]
        status = decompress_block(source, offset, table, row, context, shuffled, stored_at, sizes, integers, decoded)
        if status != OK:
            return status, row
        raw, filter_, itemsize = table[BLOCK_RAW, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
        piecewise = filter_ != PLAIN and (last - first) * _PIECE_COST < raw
        if filter_ != PLAIN and not piecewise:
            copy_stored_planes(source, stored_at, filter_, itemsize, sizes, ZERO, raw, shuffled)
            undo_filter(shuffled, raw, filter_, itemsize, ZERO, raw, decoded, ZERO, scratch, words, integers)
        data, data_at = (source, offset) if table[BLOCK_CODEC, row] == NONE else (decoded, ZERO)
        while first < last:
            if piecewise and _unshuffle_piece(source, request, row, first, cell, row_bytes, memory, integers, out):
                first += 1
            else:
                stop = first + 1 if piecewise else last
                first = copy_pieces(data, data_at, request, first, stop, cell, row_bytes, plan, out)
    return OK, 0


@inner
def copy_pieces(
    data: U8, data_at: Int, request: Request, piece: Int, last: Int, cell: Int, row_bytes: Int, plan: I64, out: U8
) -> Int:
    """Copy a piece of a decoded block, and those after it that want the same at regular distances.

    The block's bytes begin at `data[data_at]`, uint8; its pieces end before `last`; `cell` is the bytes of a cell,
    `row_bytes` of a row of `out`, 1-D uint8; `plan` is memory for plans, see `make_plan`. Returns the first piece that
    is not copied.
    """
    _, _, pieces, boxes, box = request
    chunk = pieces[PIECE_CHUNK, piece]
    plan_box(boxes, box, chunk, plan)
    begin, count = pieces[PIECE_BEGIN, piece], pieces[PIECE_CELLS, piece]
    offset, target = pieces[PIECE_OFFSET, piece], pieces[PIECE_TARGET, piece]
    if plan[ROWS] != 1 or begin > plan[FIRST] or begin + count < plan[END]:
        execute_plan(plan, begin, begin + count, data, data_at + offset, out, target * row_bytes, cell)
        return piece + 1
    # The piece wants one run of cells, as do the same chunks of other datasets: they are copied as rows.
    step = out_step = ZERO
    stop = piece + 1
    if stop < last:
        step, out_step = pieces[PIECE_OFFSET, stop] - offset, pieces[PIECE_TARGET, stop] - target
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
        out, target * row_bytes + plan[RESULT_FIRST] * cell, out_step * row_bytes,
        data, data_at + offset + (plan[FIRST] - begin) * cell, step, stop - piece, plan[HEAD] * cell,
    )  # fmt: skip
    return stop


@inner
def _unshuffle_piece(
    source: U8, request: Request, row: Int, piece: Int, cell: Int, row_bytes: Int, memory: Memory,
    integers: Integers | None, out: U8,
) -> bool:  # fmt: skip
    """Unshuffle what one piece wants of block `row`, whose planes are decompressed; whether it need not be copied.

    `source` is the stored bytes, `cell` the bytes of a cell, `row_bytes` those of a row of `out`, 1-D uint8.
    """
    table, _, pieces, boxes, box = request
    shuffled, decoded, scratch, words, stored_at, sizes, plan = memory
    plan_box(boxes, box, pieces[PIECE_CHUNK, piece], plan)
    begin, end = pieces[PIECE_BEGIN, piece], pieces[PIECE_BEGIN, piece] + pieces[PIECE_CELLS, piece]
    first, stop = max(begin, plan[FIRST]), min(end, plan[END])
    if first >= stop:
        return True
    raw, filter_, itemsize = table[BLOCK_RAW, row], table[BLOCK_FILTER, row], table[BLOCK_ITEMSIZE, row]
    # Offset of the chunk's first cell in the block; negative where an earlier block holds it.
    base = pieces[PIECE_OFFSET, piece] - begin * cell
    copy_stored_planes(
        source, stored_at, filter_, itemsize, sizes, base + first * cell, base + stop * cell, shuffled
    )  # fmt: skip
    # What is one run of the result is unshuffled right there, but for groups of 8 items, which may exceed it.
    direct: bool = plan[ROWS] == 1 and (filter_ != BIT or (base + first * cell == 0 and base + stop * cell == raw))
    direct = direct and (base + first * cell) % itemsize == 0 and (base + stop * cell) % itemsize == 0
    target, target_at = decoded, ZERO
    if direct:
        at = pieces[PIECE_TARGET, piece] * row_bytes + (plan[RESULT_FIRST] + first - plan[FIRST]) * cell
        target, target_at = out, at - base - first * cell
    before = np.int64(INTERVAL // 2 if filter_ >= DELTA else 0)
    lines, reach = _lines_of(plan, stop - first, before)
    runs = plan[ROWS] if lines > 0 else ONE
    for run in range(0, runs, max(ONE, lines)):
        line = plan[FIRST] + locate_run(plan, run, IN_CHUNK) if lines > 0 else first
        low, high = max(first, line), min(stop, line + reach)
        undo_filter(
            shuffled, raw, filter_, itemsize, base + low * cell, base + high * cell, target, target_at, scratch, words,
            integers,
        )  # fmt: skip
    return direct


@inner
def _lines_of(plan: I64, cells: Int, before: Int) -> tuple[Int, Int]:
    """How a box is unshuffled: in lines of so many runs, each of so many cells; (0, `cells`) all at once.

    Where a box takes short ranges of a chunk, what lies between them is left out. Each range takes so many cells
    `before` it as well.
    """
    if plan[AXES] > 2:
        runs = plan[HEAD + 3]
        reach = (runs - 1) * plan[HEAD + 4] + plan[HEAD]
        if 4 * (reach + before) <= 3 * plan[HEAD + 7]:
            return runs, reach
    return ZERO, cells
