"""Copies boxes between chunks and results: decoded blocks into an array, an array into chunks, constants into boxes.

Cells are moved as bytes and never interpreted. What comes from disk (blocks, and where pieces lie in them) is checked
before the first byte is copied; a piece outside its block is a `BlockFault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.kernels.blocks import MOST_PLANES, admit_block, fetch_planes, open_planes, unpack_block
from atlas.kernels.checksum import hash_bytes
from atlas.kernels.codec import NONE, decompress, workspace
from atlas.kernels.faults import ARGUMENT, CHECKSUM, FINE, PLACE, raise_status
from atlas.kernels.plans import AXES, END, FIRST, HEAD, RESULT_FIRST, ROWS, copy_plan, locate_run, plan_box, plan_size
from atlas.kernels.policy import ONE, ZERO, kernel
from atlas.kernels.runs import copy_rows, freeze
from atlas.kernels.shuffle import PLAIN, plane_length, unshuffle_range
from atlas.kernels.symbols import NATIVE_CODECS
from atlas.kernels.tables import (
    I64,
    U8,
    U64,
    BlockTable,
    Geometry,
    Pieces,
    as_bytes,
    as_column,
    as_geometry,
    as_pieces,
    as_source,
    as_table,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.policy import Int

__all__ = ["box_cells", "fill_boxes", "gather", "scatter"]


# Bytes of a block that are unfiltered in the time that one small piece of it takes by itself.
_PIECE_COST = 2048


@kernel
def _admit_pieces(
    size: Int, table: BlockTable, pieces: Pieces, geometry: Geometry, targets: Int, cell: Int
) -> tuple[Int, Int, Int]:
    """(status, row, largest block) of a request; the row is a block's, or a piece's where the request is wrong."""
    largest = ZERO
    known = -ONE
    for piece in range(pieces.block.size):
        row, chunk = pieces.block[piece], pieces.chunk[piece]
        begin, count, place = pieces.begin[piece], pieces.count[piece], pieces.place[piece]
        if row < 0 or row >= table.raw.size or chunk < 0 or chunk >= geometry.extent.shape[0]:
            return ARGUMENT, piece, largest
        if pieces.target[piece] < 0 or pieces.target[piece] >= targets:
            return ARGUMENT, piece, largest
        if row != known:
            status = admit_block(size, table, row)
            if status != FINE:
                return status, row, largest
            largest = max(largest, table.raw[row])
            known = row
        cells = ONE
        for axis in range(geometry.box.size):
            cells *= geometry.extent[chunk, axis]
        raw = table.raw[row]
        if begin < 0 or count < 0 or begin > cells - count or place < 0 or place > raw or count > (raw - place) // cell:
            return PLACE, row, largest
    return FINE, 0, largest


@kernel
def _copy_alike(
    pieces: Pieces, piece: Int, last: Int, plan: I64, data: U8, at: Int, out: U8, result: Int, cell: Int
) -> Int:
    """Copy a piece that wants one run of cells, and those behind it that want the same at regular distances.

    Returns the first piece that is not copied: `piece` itself where it wants something else.
    """
    begin, end = pieces.begin[piece], pieces.begin[piece] + pieces.count[piece]
    if plan[ROWS] != 1 or begin > plan[FIRST] or end < plan[END]:
        return piece
    here, home = pieces.place[piece], pieces.target[piece]
    step = out_step = ZERO
    stop = piece + 1
    if stop < last:
        step, out_step = pieces.place[stop] - here, pieces.target[stop] - home
    while (
        stop < last
        and pieces.chunk[stop] == pieces.chunk[piece]
        and pieces.begin[stop] == begin
        and pieces.count[stop] == end - begin
        and pieces.place[stop] - pieces.place[stop - 1] == step
        and pieces.target[stop] - pieces.target[stop - 1] == out_step
    ):
        stop += 1
    copy_rows(
        out, home * result + plan[RESULT_FIRST] * cell, out_step * result,
        data, at + here + (plan[FIRST] - begin) * cell, step, stop - piece, plan[HEAD] * cell,
    )  # fmt: skip
    return stop


@kernel
def _unshuffle_piece(
    packed: U8, table: BlockTable, row: Int, plan: I64, first: Int, end: Int, at: Int, cell: Int, plain: U8
) -> None:
    """Unfilter what a piece wants of its cells `first` to `end`, of which cell c lies at byte `at + c * cell`.

    Where a box takes short stretches of a chunk, what lies between them is left out.
    """
    raw, filter_, itemsize = table.raw[row], np.int64(table.filter[row]), np.int64(table.itemsize[row])
    line = plan[HEAD + 3] if plan[AXES] > 2 else ZERO
    reach = (line - 1) * plan[HEAD + 4] + plan[HEAD] if plan[AXES] > 2 else ZERO
    if plan[AXES] <= 2 or 4 * reach > 3 * plan[HEAD + 7]:
        unshuffle_range(packed, ZERO, raw, filter_, itemsize, at + first * cell, at + end * cell, plain, ZERO)
        return
    for run in range(0, plan[ROWS], line):
        inside = plan[FIRST] + locate_run(plan, run)
        low, high = max(first, inside), min(end, inside + reach)
        unshuffle_range(packed, ZERO, raw, filter_, itemsize, at + low * cell, at + high * cell, plain, ZERO)


@kernel
def _copy_pieces(
    source: U8, data: U8, at: Int, home: I64, table: BlockTable, row: Int, pieces: Pieces, piece: Int, last: Int,
    geometry: Geometry, plan: I64, known: Int, cell: Int, packed: U8, plain: U8, out: U8,
) -> Int:  # fmt: skip
    """Copy the pieces `piece` to `last` of one block, which `open_planes` has opened, or which lies at `data[at:]`.

    Returns the chunk that `plan` is made for.
    """
    raw, filter_, itemsize = table.raw[row], np.int64(table.filter[row]), np.int64(table.itemsize[row])
    length = plane_length(raw, filter_, max(ONE, itemsize))
    result = np.int64(cell)
    for axis in range(geometry.box.size):
        result *= geometry.box[axis]
    filtered = filter_ != PLAIN
    if filtered and (last - piece) * _PIECE_COST >= raw:
        fetch_planes(source, home, filter_, itemsize, length, ZERO, raw, packed)
        unshuffle_range(freeze(packed), ZERO, raw, filter_, itemsize, ZERO, raw, plain, ZERO)
        filtered = False
    while piece < last:
        chunk = pieces.chunk[piece]
        if chunk != known:
            plan_box(geometry, chunk, plan)
            known = chunk
        if not filtered:
            done = _copy_alike(pieces, piece, last, plan, data, at, out, result, cell)
            if done > piece:
                piece = done
                continue
        begin, count, place = pieces.begin[piece], pieces.count[piece], pieces.place[piece]
        first, end = max(begin, plan[FIRST]), min(begin + count, plan[END])
        out_at = pieces.target[piece] * result
        piece += 1
        if first >= end:
            continue
        if filtered:
            low, high = place + (first - begin) * cell, place + (end - begin) * cell
            fetch_planes(source, home, filter_, itemsize, length, low, high, packed)
            if plan[ROWS] == 1 and low == 0 and high == raw:
                # The whole block is one run of the result: it is unfiltered right there.
                there = out_at + (plan[RESULT_FIRST] + first - plan[FIRST]) * cell
                unshuffle_range(freeze(packed), ZERO, raw, filter_, itemsize, ZERO, raw, out, there)
                continue
            _unshuffle_piece(freeze(packed), table, row, plan, first, end, place - begin * cell, cell, plain)
        copy_plan(plan, begin, begin + count, data, at + place, out, out_at, cell)
    return known


@kernel
def _gather(
    source: U8, table: BlockTable, pieces: Pieces, geometry: Geometry, cell: Int, context: Int,
    packed: U8, plain: U8, home: I64, out: U8,
) -> tuple[Int, Int]:  # fmt: skip
    plan = np.empty(plan_size(geometry.box.size), np.int64)
    known = -ONE
    piece = ZERO
    while piece < pieces.block.size:
        row = pieces.block[piece]
        last = piece + 1
        while last < pieces.block.size and pieces.block[last] == row:
            last += 1
        begin, stored = table.offset[row], table.stored[row]
        if hash_bytes(source, begin, begin + stored) != table.checksum[row]:
            return CHECKSUM, row
        codec = np.int64(table.codec[row])
        status: Int = FINE
        data, at = freeze(plain), ZERO
        if table.filter[row] != PLAIN:
            status = open_planes(source, table, row, context, packed, home)
        elif codec == NONE:
            data, at = source, begin
        else:
            status = decompress(source, begin, stored, codec, context, plain, ZERO, table.raw[row])
        if status != FINE:
            return status, row
        known = _copy_pieces(
            source, data, at, home, table, row, pieces, piece, last, geometry, plan, known, cell, packed, plain, out
        )
        piece = last
    return FINE, 0


def _gather_python(
    source: U8, table: BlockTable, pieces: Pieces, geometry: Geometry, cell: int, plain: U8, home: I64, out: U8
) -> None:
    plan = np.empty(plan_size(geometry.box.size), np.int64)
    known: Int = -1
    home[:] = -1
    edges = np.flatnonzero(np.diff(pieces.block)) + 1
    begins = [0, *edges.tolist()]
    lasts = [*edges.tolist(), pieces.block.size]
    for piece, last in zip(begins, lasts, strict=True):
        row = int(pieces.block[piece])
        status, packed = unpack_block(source, table, row)
        raise_status(status, row)
        data = as_source(packed if table.filter[row] == PLAIN else plain)
        known = _copy_pieces(
            source, data, 0, home, table, row, pieces, piece, last, geometry, plan, known, cell, packed, plain, out
        )


def gather(source: U8, table: BlockTable, pieces: Pieces, geometry: Geometry, out: NDArray[Any]) -> None:
    """Copy the wanted boxes of many chunks out of their blocks; each block is decoded once.

    `source` is 1-D uint8, the stored bytes. `out` is writable, C-contiguous, of shape (N, *geometry.box) and of a
    fixed-width dtype, whose item size is that of the chunks' cells. Cells that no piece covers are left as they are.

    Raises:
        BlockFault: a block is damaged, or a piece lies outside it (reason "place"); `out` may then be partly written.
        ValueError: shapes that do not fit together, or a row that the request names and that is not there.

    """
    source, table, pieces, geometry = as_source(source), as_table(table), as_pieces(pieces), as_geometry(geometry)
    if out.shape[1:] != tuple(geometry.box.tolist()) or out.ndim == 0:
        message = f"the result has shape {out.shape}, its boxes {tuple(geometry.box.tolist())}"
        raise ValueError(message)
    cell, targets = out.itemsize, out.shape[0]
    target = as_bytes(out)
    status, row, largest = _admit_pieces(source.size, table, pieces, geometry, targets, cell)
    raise_status(status, row)
    if pieces.block.size == 0:
        return
    plain, home = workspace.scratch(1, largest), np.empty(MOST_PLANES, np.int64)
    if not NATIVE_CODECS:
        _gather_python(source, table, pieces, geometry, cell, plain, home, target)
        return
    packed = workspace.scratch(0, largest)
    raise_status(*_gather(source, table, pieces, geometry, cell, workspace.decoder, packed, plain, home, target))


@kernel
def _scatter(data: U8, geometry: Geometry, cell: Int, out: U8, place: I64) -> tuple[Int, Int]:
    plan = np.empty(plan_size(geometry.box.size), np.int64)
    for chunk in range(place.size):
        cells = np.int64(cell)
        for axis in range(geometry.box.size):
            cells *= geometry.extent[chunk, axis]
        if place[chunk] < 0 or place[chunk] > out.size - cells:
            return PLACE, chunk
    for chunk in range(place.size):
        plan_box(geometry, chunk, plan)
        # A plan says where runs lie on both sides: copying the other way is the plan with its sides exchanged.
        plan[FIRST], plan[RESULT_FIRST] = plan[RESULT_FIRST], plan[FIRST]
        for at in range(HEAD, plan.size, 3):
            plan[at + 1], plan[at + 2] = plan[at + 2], plan[at + 1]
        copy_plan(plan, ZERO, np.int64(2**62), data, ZERO, out, place[chunk], cell)
    return FINE, 0


def scatter(data: NDArray[Any], geometry: Geometry, out: U8, place: I64) -> None:
    """Copy an array's boxes into chunks: the writing twin of `gather`.

    `data` has shape `geometry.box` and any fixed-width dtype. For each row k of the geometry,
    `data[target:target + count]` goes to `first` of the chunk of shape `extent` that lies in C order at byte `place[k]`
    of `out` (1-D uint8, writable).

    Raises:
        BlockFault: chunk k would leave `out` (reason "place", `block` is k); nothing is written then.
        ValueError: shapes that do not fit together.

    """
    geometry, place = as_geometry(geometry), as_column(place)
    if data.shape != tuple(geometry.box.tolist()) or place.size != geometry.extent.shape[0]:
        message = f"data of shape {data.shape} and {place.size} places do not fit the geometry"
        raise ValueError(message)
    cells = as_source(np.ascontiguousarray(data).reshape(-1).view(np.uint8))
    raise_status(*_scatter(cells, geometry, data.itemsize, as_bytes(out), place))


@kernel
def _fill(out: NDArray[Any], values: NDArray[Any], chunk: I64, target: I64, geometry: Geometry) -> None:
    plan = np.empty(plan_size(geometry.box.size), np.int64)
    known = -ONE
    result = ONE
    for axis in range(geometry.box.size):
        result *= geometry.box[axis]
    for i in range(chunk.size):
        if chunk[i] != known:
            plan_box(geometry, chunk[i], plan)
            known = chunk[i]
        value, run = values[i], plan[HEAD]
        for row in range(plan[ROWS]):
            at, rest, axis = target[i] * result + plan[RESULT_FIRST], row, HEAD + 3
            while rest > 0:
                at += rest % plan[axis] * plan[axis + 2]
                rest //= plan[axis]
                axis += 3
            out[at : at + run] = value


def fill_boxes(out: NDArray[Any], bits: U64, chunk: I64, target: I64, geometry: Geometry) -> None:
    """Write constant chunks: one value into all of the box that a chunk has in a row of the result.

    The cell whose bit pattern is the low bytes of `bits[i]` goes to the box of chunk `chunk[i]` in `out[target[i]]`.
    `out` is as for `gather`, with cells of 1, 2, 4 or 8 bytes; `bits` is uint64, `chunk` and `target` int64.

    Raises:
        ValueError: shapes that do not fit together, or a row that is not there.

    """
    geometry, chunk, target = as_geometry(geometry), as_column(chunk), as_column(target)
    bits = as_column(bits, np.uint64)
    if out.shape[1:] != tuple(geometry.box.tolist()) or out.ndim == 0 or not bits.size == chunk.size == target.size:
        message = f"a result of shape {out.shape} and {chunk.size} rows do not fit the geometry"
        raise ValueError(message)
    bad = (chunk < 0) | (chunk >= geometry.extent.shape[0]) | (target < 0) | (target >= out.shape[0])
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    unsigned = np.dtype(f"u{out.itemsize}")
    _fill(as_bytes(out).view(unsigned), bits.astype(unsigned), chunk, target, geometry)


def box_cells(geometry: Geometry, chunk: int) -> tuple[I64, I64]:
    """Flat indices of one chunk's wanted cells, in C order: within the chunk, and within the result box."""
    inside = np.zeros(1, np.int64)
    result = np.zeros(1, np.int64)
    for axis in range(len(geometry.box)):
        steps = np.arange(geometry.count[chunk, axis], dtype=np.int64)
        own = geometry.first[chunk, axis] + steps
        theirs = geometry.target[chunk, axis] + steps
        inside = (inside[:, None] * geometry.extent[chunk, axis] + own).reshape(-1)
        result = (result[:, None] * geometry.box[axis] + theirs).reshape(-1)
    return inside, result
