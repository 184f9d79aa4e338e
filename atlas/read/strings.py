"""String chunks: cells to bytes and back. Kernels gather the bytes; only the making of str objects holds the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.errors import CorruptStoreError
from atlas.format.strings import LENGTH_BYTES, decode_cells
from atlas.kernels import BlockError
from atlas.read.fetch import ReadBatches
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex, Source
    from atlas.chunking.regions import Region
    from atlas.read.fetch import Targets
    from atlas.runtime.limits import Limits

__all__ = [
    "cell_bounds",
    "cell_of_chunk",
    "chunk_texts",
    "find_beyond",
    "read_text",
]


def read_text(
    table: ChunkIndex,
    pieces: NDArray[np.int64],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
) -> None:
    """Set the boxes of the string chunks `pieces`, (6, chunks), in `out`, (N, *box) of objects."""
    chunk, target = pieces[kernels.PIECE_CHUNK], pieces[kernels.PIECE_TARGET]
    block = pieces[kernels.PIECE_BLOCK]
    raw_lengths = table.blocks[kernels.BLOCK_RAW, block]
    columns = (block, raw_lengths, pieces[kernels.PIECE_OFFSET], region.cells[chunk])
    beyond = find_beyond(*columns)
    if beyond is not None:  # unless the caller has named datasets more than once
        pairs = np.stack([targets.ids[target], chunk])
        once = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
        beyond = find_beyond(*(column[once] for column in columns))
        beyond = None if beyond is None else int(once[beyond])
    if beyond is not None:
        raise targets.damage(table.source_of(int(block[beyond])), "offset", int(target[beyond]))
    lots = ReadBatches(table, pieces, limits)
    cells_of = {k: kernels.box_indices(region.geometry, k) for k in np.unique(chunk).tolist()}
    flat = out.reshape(len(out), -1)

    def read(lot: int) -> tuple[slice, NDArray[np.uint8], NDArray[np.int64], Sequence[int]]:
        first, stop = lots.blocks(lot)
        rows, within, edges = lots.wanted[:, first : stop + 1]
        blocks = table.blocks[:, rows[:-1]]
        blocks[kernels.BLOCK_OFFSET] = within[:-1]
        raw_lengths = blocks[kernels.BLOCK_RAW]
        begins = np.cumsum(raw_lengths) - raw_lengths
        mine = slice(int(edges[0]), int(edges[-1]))
        of_block = np.repeat(np.arange(stop - first), np.diff(edges))
        try:
            raw = kernels.new_bytes(int(raw_lengths.sum()))
            kernels.decode_blocks(lots.load(lot), blocks, raw, begins)
            place = begins[of_block] + pieces[kernels.PIECE_OFFSET, mine]
            return mine, *gather_cells(raw, place, chunk[mine], begins + raw_lengths, of_block)
        except BlockError as fault:
            damaged = table.source_of(int(rows[fault.block]))
            raise targets.damage(damaged, fault.reason, int(target[edges[fault.block]])) from fault

    def gather_cells(
        raw: NDArray[np.uint8],
        begin: NDArray[np.int64],
        chunks: NDArray[np.int64],
        ends: NDArray[np.int64],
        blocks: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[int]]:
        try:
            bounds, starts = cell_bounds(raw, begin, region.cells[chunks], ends[blocks])
        except BlockError as fault:  # which counts chunks, where the reader wants the block
            raise BlockError(int(blocks[fault.block]), fault.reason) from fault
        inside = [cells_of[k][0] + start for k, start in zip(chunks.tolist(), starts.tolist(), strict=True)]
        picked = np.concatenate(inside)
        return *kernels.gather_strings(raw, bounds[picked], bounds[picked + 1]), [len(cells) for cells in inside]

    for mine, blob, offsets, counts in run_all(read, range(len(lots))):
        values = decode_cells(blob, offsets)
        begin = 0
        for n, k, count in zip(target[mine].tolist(), chunk[mine].tolist(), counts, strict=True):
            flat[n, cells_of[k][1]] = values[begin : begin + count]
            begin += count


def cell_bounds(
    raw: NDArray[np.uint8], begin: NDArray[np.int64], cells: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the cells of N string chunks lie in the decoded bytes `raw`, and where each chunk's bounds start.

    `begin` (N,) is each chunk's first byte in `raw`, `cells` (N,) its number of cells, `end` (N,) the end of its block.
    Cell k of chunk n lies between entries `starts[n] + k` and `starts[n] + k + 1` of the bounds, (sum of cells + N,).

    Raises `BlockError`, whose `block` is the number of the chunk, where cells reach out of their block.
    """
    starts = np.cumsum(cells + 1) - cells - 1
    bounds = np.empty(int((cells + 1).sum()), np.int64)
    kernels.string_offsets(raw, begin, cells, bounds, starts)
    beyond = bounds[starts + cells] > end
    if beyond.any():
        raise BlockError(int(np.argmax(beyond)), "offset")
    return bounds, starts


def find_beyond(
    block: NDArray[np.int64], raw: NDArray[np.int64], place: NDArray[np.int64], cells: NDArray[np.int64]
) -> int | None:
    """Return the first of some chunks, ordered by block, whose cells cannot all lie in a block of `raw` bytes, if any.

    Looked at before memory or time is spent on them: a chunk has as many cells as its schema declares. Chunks of one
    block lie beside each other, else a small block could hold any number of large ones.
    """
    short = cells > (raw - place) // LENGTH_BYTES
    if short.any():
        return int(np.argmax(short))
    heads = np.flatnonzero(np.concatenate([[len(block) > 0], block[1:] != block[:-1]]))
    taken = np.add.reduceat(cells.astype(np.float64), heads) * LENGTH_BYTES if len(heads) else heads
    over = taken > raw[heads]
    return int(heads[np.argmax(over)]) if over.any() else None


def chunk_texts(raw: NDArray[np.uint8], place: int, cells: int) -> NDArray[Any]:
    """Return the cells of a string chunk that begins at `place` of a decoded block.

    Raises `BlockError` where they leave it.
    """
    bounds = _chunk_bounds(raw, place, cells)
    return decode_cells(raw[bounds[0] : bounds[-1]], bounds - bounds[0])


def _chunk_bounds(raw: NDArray[np.uint8], place: int, cells: int) -> NDArray[np.int64]:
    if not 0 <= place <= len(raw) or cells > (len(raw) - place) // LENGTH_BYTES:
        raise BlockError(0, "offset")
    bounds = np.empty(cells + 1, np.int64)
    kernels.string_offsets(raw, np.array([place]), np.array([cells]), bounds, np.zeros(1, np.int64))
    return bounds


def cell_of_chunk(
    table: ChunkIndex, row: int, cells: int, positions: Sequence[int], load: Callable[[Source, int], NDArray[np.uint8]]
) -> list[str]:
    """Return the strings at `positions` in the chunk of that row, which has so many cells; `load` decodes blocks.

    Raises `CorruptStoreError` where the chunk's block is damaged.
    """
    source = table.sources[table.source.item(row)]
    try:
        raw = load(source, table.rows.block.item(row))
        bounds = _chunk_bounds(raw, table.rows.offset.item(row), cells)
    except BlockError as fault:
        raise CorruptStoreError(
            f"{source.name} is damaged ({fault.reason}): a string chunk cannot be read; restore the file from a copy",
            key=source.name,
        ) from fault
    if max(positions) >= cells:
        raise CorruptStoreError(
            f"{source.name} is damaged: its statistics name cells that are not there", key=source.name
        )
    return [raw[bounds[at] : bounds[at + 1]].tobytes().decode("utf-8", "replace") for at in positions]
