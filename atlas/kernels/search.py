"""Finds chunks in an index sorted by (dataset, chunk). Compares integers, reads no data.

Refuses columns of different lengths, and rows that name a source that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import (
    I64,
    PIECE_BEGIN,
    PIECE_BLOCK,
    PIECE_CELLS,
    PIECE_CHUNK,
    PIECE_OFFSET,
    PIECE_TARGET,
    U8,
    as_bytes,
    as_column,
)

if TYPE_CHECKING:
    from atlas.kernels.jit import Int

__all__ = ["Found", "Index", "find_chunks", "find_first_apart"]

_NOTHING = np.empty(0, np.uint8)
_NO_EDGES = np.empty(0, np.int64)


@inner
def _is_before(dataset: I64, chunk: I64, row: Int, want_dataset: Int, want_chunk: Int) -> bool:
    """Whether a row of the columns, int64 (rows,), is before the one wanted."""
    before: bool = dataset[row] < want_dataset or (dataset[row] == want_dataset and chunk[row] < want_chunk)
    return before


@kernel
def _seek(dataset: I64, chunk: I64, row: Int, name: Int, cell: Int) -> Int:
    """The first row of the columns, int64 (rows,), not before (name, cell); `row` is where the search begins."""
    size = dataset.size
    # Wants mostly ascend and their rows follow one another: look at the next one, gallop on from there.
    if row + 1 < size and dataset[row + 1] == name and chunk[row + 1] == cell:
        return row + 1
    if row < size and _is_before(dataset, chunk, row, name, cell):
        low, step = row + 1, ONE
        while low < size and _is_before(dataset, chunk, min(low + step, size) - 1, name, cell):
            low = min(low + step, size)
            step *= 2
        high = min(low + step, size)
    elif row > 0 and not _is_before(dataset, chunk, row - 1, name, cell):
        low, high = ZERO, row - 1
    else:
        return row
    while low < high:
        middle = (low + high) // 2
        if _is_before(dataset, chunk, middle, name, cell):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _find(
    dataset: I64, generation: I64, chunk: I64, block: I64, offset: I64, source: I64, want_dataset: I64,
    want_generation: I64, want_chunk: I64, cells: I64, edges: I64, base: I64, taken: U8, out: I64,
) -> tuple[Int, Int, bool]:  # fmt: skip
    """Fill `out`, int64 (6, wants), with the pieces that `find_chunks` looks up.

    The first six arguments are the columns of an `Index`; `want_dataset` and `want_generation` are int64 (datasets,),
    `want_chunk` and `cells` int64 (chunks,), `edges` int64 (datasets + 1,) or empty, `base` int64 (sources,); `taken`
    is uint8 (wants,) or empty. Returns (chunks in blocks, constant ones, whether blocks ascend); constant ones stand at
    the end of `out`, last first. (-1, row, False) for a row whose source is not there.
    """
    size, room = dataset.size, out.shape[1]
    row = found = constant = ZERO
    ordered = True
    at, own = -ONE, edges.size > 0
    for n in range(want_dataset.size):
        for k in range(edges[n] if own else ZERO, edges[n + 1] if own else want_chunk.size):
            at += 1
            if taken.size > 0 and taken[at] != 0:
                continue
            name, cell = want_dataset[n], want_chunk[k]
            row = _seek(dataset, chunk, row, name, cell)
            if row >= size or dataset[row] != name or chunk[row] != cell or generation[row] != want_generation[n]:
                continue
            if taken.size > 0:
                taken[at] = 1
            if source[row] < 0 or source[row] >= base.size:
                return -ONE, row, False
            if block[row] >= 0:
                to = found
                found += 1
                out[PIECE_BLOCK, to] = base[source[row]] + block[row]
                if to > 0 and out[PIECE_BLOCK, to] < out[PIECE_BLOCK, to - 1]:
                    ordered = False
            else:
                constant += 1
                to = room - constant
                out[PIECE_BLOCK, to] = block[row]
            out[PIECE_OFFSET, to] = offset[row]
            out[PIECE_BEGIN, to] = 0
            out[PIECE_CELLS, to] = cells[k]
            out[PIECE_CHUNK, to] = k
            out[PIECE_TARGET, to] = ZERO if own else n
    return found, constant, ordered


class Index(NamedTuple):
    """Rows of chunks, ordered by (dataset, chunk), each pair once: int64 columns of one length."""

    dataset: I64
    """Dataset ids."""
    generation: I64
    """Generations of the array."""
    chunk: I64
    """Positions in the grid."""
    block: I64
    """Row of the block where the chunk begins, within its source; negative where it is constant."""
    offset: I64
    """Byte in the decoded block where it begins; the bits of the cell where it is constant."""
    source: I64
    """Number of the source that the block is in."""


class Found(NamedTuple):
    """What `find_chunks` found, chunk k of dataset n as a piece that is whole (see `PIECE_BLOCK`)."""

    pieces: I64
    """The chunks that lie in blocks, (6, found), ordered by block."""
    constant: I64
    """The constant chunks, (6, constant): their `PIECE_OFFSET` holds the bits of the cell."""


def find_chunks(
    index: Index,
    base: I64,
    want_dataset: I64,
    want_generation: I64,
    want_chunk: I64,
    cells: I64,
    taken: U8 | None = None,
    edges: I64 | None = None,
) -> Found:
    """Look chunks `want_chunk`, which have so many `cells`, of the datasets `want_dataset` up.

    With `edges`, int64 (N + 1,), only the chunks from number `edges[n]` up to `edges[n + 1]` are wanted of dataset n,
    and all pieces belong to row 0 of the result; without, every chunk of every dataset, and to row n.

    `base` holds for each source the row of its first block in the table of all blocks, in which the pieces name theirs.
    Wants are int64; ascending ones are found fastest. Rows of another generation than wanted do not count. Chunks are
    passed over where `taken`, uint8, an item for each want in this order, is not 0; it is set where one is found.

    Raises:
        ValueError: columns of different lengths, edges that do not ascend from 0 to the last chunk, or a source that is
            not there.

    """
    columns = Index(*(as_column(column) for column in index))
    datasets, generations = as_column(want_dataset), as_column(want_generation)
    chunks, cells = as_column(want_chunk), as_column(cells)
    if len({column.size for column in columns}) > 1 or datasets.size != generations.size or chunks.size != cells.size:
        message = "columns of one table differ in length"
        raise ValueError(message)
    room = datasets.size * chunks.size if edges is None else chunks.size
    edges = _NO_EDGES if edges is None else as_column(edges)
    if edges.size and (
        edges.size != datasets.size + 1 or edges[0] != 0 or edges[-1] != room or (edges[1:] < edges[:-1]).any()
    ):
        message = f"edges of {datasets.size} datasets ascend from 0 to {room}"
        raise ValueError(message)
    base = as_column(base)
    mask = _NOTHING if taken is None else as_bytes(taken)
    if taken is not None and mask.size != room:
        message = f"taken is of shape {taken.shape} for {room} chunks"
        raise ValueError(message)
    out = np.empty((PIECE_TARGET + 1, room), np.int64)
    found, constant, ordered = _find(*columns, datasets, generations, chunks, cells, edges, base, mask, out)
    if found < 0:
        message = f"row {constant} of the index names source {columns.source[constant]} of {base.size}"
        raise ValueError(message)
    pieces = out[:, :found]
    if not ordered:
        pieces = pieces[:, np.argsort(pieces[PIECE_BLOCK], kind="stable")]
    return Found(np.ascontiguousarray(pieces), out[:, room - constant :])


@kernel
def _first_apart(
    dataset: I64, generation: I64, chunk: I64, block: I64, offset: I64, source: I64, want_dataset: I64,
    want_generation: I64, want_chunk: I64, base: I64, where: I64,
) -> Int:  # fmt: skip
    """The first dataset with a chunk that lies elsewhere than that of dataset 0, (datasets,) where there is none.

    `where`, int64 (2, chunks), takes the block and the offset of each chunk of dataset 0. Arguments are as in `_find`.
    """
    size = dataset.size
    row = ZERO
    for n in range(want_dataset.size):
        for k in range(want_chunk.size):
            name, cell = want_dataset[n], want_chunk[k]
            row = _seek(dataset, chunk, row, name, cell)
            at, begin = -ONE - ONE, ZERO
            if row < size and dataset[row] == name and chunk[row] == cell and generation[row] == want_generation[n]:
                at, begin = block[row], offset[row]
                if at >= 0:
                    if source[row] < 0 or source[row] >= base.size:
                        return n
                    at += base[source[row]]
            if n == 0:
                where[0, k], where[1, k] = at, begin
            elif where[0, k] != at or where[1, k] != begin:
                return n
    return want_dataset.size


def find_first_apart(index: Index, base: I64, want_dataset: I64, want_generation: I64, want_chunk: I64) -> int:
    """Return the first of N datasets whose chunks may hold other cells than those of the first; N where none may.

    Chunks hold the same cells where they lie in one place, or are constant with the same bits, or were never written:
    no block is read. Arguments are as those of `find_chunks`; all datasets must have one schema.

    Raises:
        ValueError: columns of different lengths.

    """
    columns = Index(*(as_column(column) for column in index))
    datasets, generations, chunks = as_column(want_dataset), as_column(want_generation), as_column(want_chunk)
    if len({column.size for column in columns}) > 1 or datasets.size != generations.size:
        message = "columns of one table differ in length"
        raise ValueError(message)
    where = np.empty((2, chunks.size), np.int64)
    return int(_first_apart(*columns, datasets, generations, chunks, as_column(base), where))
