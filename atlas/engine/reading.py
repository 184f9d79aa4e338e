"""Reading one box of one array from many datasets: the plan's pieces are read, decoded and copied by threads.

Damage is found here and named with its file, dataset and array. What was not flushed is laid over by `staging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.engine.fetching import Found, Targets, load_blocks
from atlas.engine.text import read_text
from atlas.engine.threads import run_all, thread_count
from atlas.kernels import BlockFault, Pieces
from atlas.planning.packing import blocks_of_chunk
from atlas.planning.pieces import Batch, plan_batches, plan_pieces
from atlas.planning.regions import box_slices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.tables import ChunkTable
    from atlas.format.schema import ArraySchema
    from atlas.planning.regions import Region

__all__ = ["read_boxes"]


def read_boxes(tables: Sequence[ChunkTable], targets: Targets, region: Region) -> NDArray[Any]:
    """Return the box of `region` from every target: (N, *box) in the schema's memory dtype.

    `tables` come newest first; a chunk is taken from the first that has it, and reads as fill where none has.
    """
    schema = targets.schema
    box = tuple(region.geometry.box.tolist())
    text = schema.datatype.cell is None
    dtype = np.dtype(object) if text else schema.datatype.cell
    out: NDArray[Any] = np.empty((len(targets.ids), *box), dtype)
    if out.size == 0:
        return out.view(schema.memory_dtype)
    found, constants = _find(tables, targets, region)
    missing = len(targets.ids) * len(region.chunk) - sum(len(f.block) for f in found)
    if missing - sum(len(chunk) for _, chunk, _ in constants):
        fill = schema.fill_bits
        out[...] = fill.decode() if text else np.frombuffer(fill, dtype)[0]
    for bits, chunk, target in constants:
        if text:
            fill_text(out, schema, region, chunk, target)
        else:
            kernels.fill_boxes(out, bits, chunk, target, region.geometry)
    for part in found:
        if text:
            read_text(part, targets, region, out)
        else:
            _read_pieces(part, targets, region, out)
    return out.view(schema.memory_dtype)


def fill_text(
    out: NDArray[Any], schema: ArraySchema, region: Region, chunk: NDArray[np.int64], target: NDArray[np.int64]
) -> None:
    """Set the boxes of string chunks that are all fill."""
    fill = schema.fill_bits.decode()
    geometry = region.geometry
    for k, n in zip(chunk.tolist(), target.tolist(), strict=True):
        index: tuple[int | slice, ...] = (n, *box_slices(geometry.target[k].tolist(), geometry.count[k].tolist()))
        out[index] = fill


Constants = list[tuple["NDArray[np.uint64]", "NDArray[np.int64]", "NDArray[np.int64]"]]


def _find(tables: Sequence[ChunkTable], targets: Targets, region: Region) -> tuple[list[Found], Constants]:
    """Look every (target, chunk) up; return the chunks in blocks by source, and the constant ones."""
    found: list[Found] = []
    constants: Constants = []
    open_cells: NDArray[np.bool_] | None = None
    for table in tables:
        rows = kernels.find_rows(
            table.rows.dataset, table.rows.generation, table.rows.chunk, targets.ids, targets.generations, region.chunk
        )
        hit = rows >= 0
        if open_cells is not None:
            hit &= open_cells
        open_cells = ~hit if open_cells is None else open_cells & ~hit
        target, chunk = np.nonzero(hit)
        at = rows[target, chunk]
        block, place, source = table.rows.block[at], table.rows.place[at], table.source[at]
        constant = block < 0
        if constant.any():
            constants.append((place[constant], chunk[constant], target[constant]))
            kept = ~constant
            block, place, source, chunk, target = block[kept], place[kept], source[kept], chunk[kept], target[kept]
        for index in np.unique(source).tolist() if len(table.sources) > 1 else [0] * bool(len(source)):
            mine = source == index
            columns = (block, place, chunk, target)
            if not mine.all():
                columns = (block[mine], place[mine], chunk[mine], target[mine])
            found.append(Found(table.sources[index], columns[0], columns[1].astype(np.int64), *columns[2:]))
    return found, constants


def _read_pieces(found: Found, targets: Targets, region: Region, out: NDArray[Any]) -> None:
    itemsize = out.dtype.itemsize
    stored = found.source.blocks.stored
    spans = blocks_of_chunk(int(region.cells.max()) * itemsize) if len(region.cells) else 1
    if spans > 1:
        last = found.block + np.array([blocks_of_chunk(n * itemsize) for n in region.cells.tolist()])[found.chunk] - 1
        if (last >= len(stored)).any():
            raise targets.damage(found.source, "a chunk's blocks are missing", int(found.target[np.argmax(last)]))
    pieces = plan_pieces(region, itemsize, found.block, found.place, found.chunk, found.target)

    def read(batch: Batch) -> None:
        mine = slice(batch.first, batch.stop)
        block = np.searchsorted(batch.blocks, pieces.block[mine])
        wanted = Pieces(block, *(column[mine] for column in pieces[1:]))
        try:
            buffer, table = load_blocks(found.source, batch.blocks)
            kernels.gather(buffer, table, wanted, region.geometry, out)
        except BlockFault as fault:
            target = int(wanted.target[np.argmax(block == fault.block)])
            raise targets.damage(found.source, fault.reason, target) from fault

    run_all(read, plan_batches(pieces, stored, thread_count()))
