"""String chunks: cells to bytes and back. Kernels gather the bytes; only the making of str objects holds the GIL."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.engine.fetching import Lots
from atlas.engine.threads import run_all
from atlas.errors import CorruptStoreError, InvalidTypeError
from atlas.format.attributes import recover_text
from atlas.kernels import BlockFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.fetching import Targets
    from atlas.engine.tables import ChunkTable, Source
    from atlas.planning.regions import Region

__all__ = [
    "as_text",
    "cell_of_chunk",
    "chunk_texts",
    "encode_cells",
    "find_beyond",
    "read_text",
    "text_statistics",
]

_LENGTH = 4
"""Bytes of the length of a cell."""
NO_CELL = 2**64 - 1
"""Position that stands for "no value" in the statistics of a string chunk."""


def as_text(data: NDArray[Any]) -> NDArray[Any]:
    """Return text data as a C-contiguous object array of str.

    bytes are taken as UTF-8; surrogate escapes are recovered where they decode, else replaced.

    Raises `InvalidTypeError` for a cell that is neither str nor bytes.
    """
    cells: list[Any] = data.ravel().tolist()
    out = np.empty(data.size, object)
    out[:] = [_text(cell) for cell in cells]
    return out.reshape(data.shape)


def _text(cell: object) -> str:
    if isinstance(cell, str):
        text = str.__str__(cell)  # of a subclass too, whatever it prints as
        return text if text.isascii() else recover_text(text)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    raise InvalidTypeError(f"a string array takes str and bytes, not {type(cell).__name__} {cell!r}")


def encode_cells(cells: list[str]) -> bytes:
    """Return a string chunk: the byte lengths of its cells as u32, then their UTF-8 bytes."""
    joined = "".join(cells)
    if joined.isascii():
        return np.fromiter(map(len, cells), "<u4", len(cells)).tobytes() + joined.encode()
    encoded = [cell.encode() for cell in cells]
    return np.fromiter(map(len, encoded), "<u4", len(cells)).tobytes() + b"".join(encoded)


def text_statistics(cells: list[str], fill: str | None) -> tuple[int, int, int]:
    """Return the number of cells equal to `fill`, and the positions of the smallest and largest of the others."""
    values = cells if fill is None else [cell for cell in cells if cell != fill]
    if not values:
        return len(cells), NO_CELL, NO_CELL
    return len(cells) - len(values), cells.index(min(values)), cells.index(max(values))


def read_text(
    table: ChunkTable, pieces: NDArray[np.int64], targets: Targets, region: Region, out: NDArray[Any]
) -> None:
    """Set the boxes of the string chunks `pieces`, (6, chunks), in `out`, (N, *box) of objects."""
    chunk, target = pieces[kernels.PIECE_CHUNK], pieces[kernels.PIECE_TARGET]
    block = pieces[kernels.PIECE_BLOCK]
    raw_lengths = table.blocks[kernels.BLOCK_RAW, block]
    columns = (block, raw_lengths, pieces[kernels.PIECE_PLACE], region.cells[chunk])
    beyond = find_beyond(*columns)
    if beyond is not None:  # unless the caller has named datasets more than once
        pairs = np.stack([targets.ids[target], chunk])
        once = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
        beyond = find_beyond(*(column[once] for column in columns))
        beyond = None if beyond is None else int(once[beyond])
    if beyond is not None:
        raise targets.damage(table.source_of(int(block[beyond])), "place", int(target[beyond]))
    lots = Lots(table, pieces)
    cells_of = {k: kernels.box_cells(region.geometry, k) for k in np.unique(chunk).tolist()}
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
            place = begins[of_block] + pieces[kernels.PIECE_PLACE, mine]
            return mine, *gather_cells(raw, place, chunk[mine], begins + raw_lengths, of_block)
        except BlockFault as fault:
            damaged = table.source_of(int(rows[fault.block]))
            raise targets.damage(damaged, fault.reason, int(target[edges[fault.block]])) from fault

    def gather_cells(
        raw: NDArray[np.uint8],
        begin: NDArray[np.int64],
        chunks: NDArray[np.int64],
        ends: NDArray[np.int64],
        blocks: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[int]]:
        counts = region.cells[chunks]
        starts = np.cumsum(counts + 1) - counts - 1
        bounds = np.empty(int((counts + 1).sum()), np.int64)
        try:
            kernels.text_bounds(raw, begin, counts, bounds, starts)
        except BlockFault as fault:  # which counts chunks, where the reader wants the block
            raise BlockFault(int(blocks[fault.block]), fault.reason) from fault
        beyond = bounds[starts + counts] > ends[blocks]
        if beyond.any():
            raise BlockFault(int(blocks[np.argmax(beyond)]), "place")
        inside = [cells_of[k][0] + start for k, start in zip(chunks.tolist(), starts.tolist(), strict=True)]
        picked = np.concatenate(inside)
        return *kernels.gather_text(raw, bounds[picked], bounds[picked + 1]), [len(cells) for cells in inside]

    for mine, blob, offsets, counts in run_all(read, range(len(lots))):
        values = _strings(blob, offsets)
        begin = 0
        for n, k, count in zip(target[mine].tolist(), chunk[mine].tolist(), counts, strict=True):
            flat[n, cells_of[k][1]] = values[begin : begin + count]
            begin += count


def find_beyond(
    block: NDArray[np.int64], raw: NDArray[np.int64], place: NDArray[np.int64], cells: NDArray[np.int64]
) -> int | None:
    """Return the first of some chunks, ordered by block, whose cells cannot all lie in a block of `raw` bytes, if any.

    Looked at before memory or time is spent on them: a chunk has as many cells as its schema declares. Chunks of one
    block lie beside each other, else a small block could hold any number of large ones.
    """
    short = cells > (raw - place) // _LENGTH
    if short.any():
        return int(np.argmax(short))
    heads = np.flatnonzero(np.concatenate([[len(block) > 0], block[1:] != block[:-1]]))
    taken = np.add.reduceat(cells.astype(np.float64), heads) * _LENGTH if len(heads) else heads
    over = taken > raw[heads]
    return int(heads[np.argmax(over)]) if over.any() else None


def _strings(blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Return the strings whose bytes lie between consecutive `offsets`."""
    data, bounds = blob.tobytes(), offsets.tolist()
    values = np.empty(len(bounds) - 1, object)
    if data.isascii():  # slicing one str is several times faster than decoding each cell
        text = data.decode("ascii")
        values[:] = [text[a:b] for a, b in pairwise(bounds)]
    else:
        values[:] = [data[a:b].decode("utf-8", "replace") for a, b in pairwise(bounds)]
    return values


def chunk_texts(raw: NDArray[np.uint8], place: int, cells: int) -> NDArray[Any]:
    """Return the cells of a string chunk that begins at `place` of a decoded block.

    Raises `BlockFault` where they leave it.
    """
    bounds = _chunk_bounds(raw, place, cells)
    return _strings(raw[bounds[0] : bounds[-1]], bounds - bounds[0])


def _chunk_bounds(raw: NDArray[np.uint8], place: int, cells: int) -> NDArray[np.int64]:
    if not 0 <= place <= len(raw) or cells > (len(raw) - place) // _LENGTH:
        raise BlockFault(0, "place")
    bounds = np.empty(cells + 1, np.int64)
    kernels.text_bounds(raw, np.array([place]), np.array([cells]), bounds, np.zeros(1, np.int64))
    return bounds


def cell_of_chunk(
    table: ChunkTable, row: int, cells: int, positions: Sequence[int], load: Callable[[Source, int], NDArray[np.uint8]]
) -> list[str]:
    """Return the strings at `positions` in the chunk of that row, which has so many cells; `load` decodes blocks.

    Raises `CorruptStoreError` where the chunk's block is damaged.
    """
    source = table.sources[table.source.item(row)]
    try:
        raw = load(source, table.rows.block.item(row))
        bounds = _chunk_bounds(raw, table.rows.place.item(row), cells)
    except BlockFault as fault:
        raise CorruptStoreError(
            f"{source.name} is damaged ({fault.reason}): a string chunk cannot be read; restore the file from a copy",
            key=source.name,
        ) from fault
    if max(positions) >= cells:
        raise CorruptStoreError(
            f"{source.name} is damaged: its statistics name cells that are not there", key=source.name
        )
    return [raw[bounds[at] : bounds[at + 1]].tobytes().decode("utf-8", "replace") for at in positions]
