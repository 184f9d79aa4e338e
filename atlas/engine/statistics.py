"""Statistics of one array, added up from the rows of its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.text import NO_CELL, cell_of_chunk
from atlas.planning.regions import chunk_cells

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.tables import ChunkTable
    from atlas.format.schema import ArraySchema

__all__ = ["array_statistics"]


def array_statistics(table: ChunkTable, identity: int, generation: int, schema: ArraySchema) -> dict[str, Any] | None:
    """Return row_count, null_count, min and max of the array, None where nothing of it was ever written."""
    window = table.of_dataset(identity)
    at = np.arange(window.start, window.stop)
    at = at[table.rows.generation[window] == generation]
    if not len(at):
        return None
    rows = table.rows.take(at)
    # Cells of chunks that were never written read as the fill value, and count as nulls like it.
    unwritten = schema.size - int(chunk_cells(schema, rows.chunk).sum())
    low, high = _extremes(table, at, schema)
    return {"row_count": schema.size, "null_count": unwritten + int(rows.nulls.sum()), "min": low, "max": high}


def _extremes(table: ChunkTable, at: NDArray[np.int64], schema: ArraySchema) -> tuple[Any, Any]:
    low, high = table.rows.minimum[at], table.rows.maximum[at]
    kind = schema.datatype.kind
    if kind == "string":
        return _text_extremes(table, at, schema)
    dtype = {"float": np.dtype("<f8"), "uint": np.dtype("<u8")}.get(kind, np.dtype("<i8"))
    lows, highs = low.view(dtype), high.view(dtype)
    valid = lows <= highs
    if not valid.any():
        return None, None
    return lows[valid].min().item(), highs[valid].max().item()


def _text_extremes(table: ChunkTable, at: NDArray[np.int64], schema: ArraySchema) -> tuple[str | None, str | None]:
    # A string's statistics are positions of cells, so that the index stays of fixed width.
    cells = chunk_cells(schema, table.rows.chunk[at])
    lows, highs = [], []
    for row, count in zip(at.tolist(), cells.tolist(), strict=True):
        positions = [int(table.rows.minimum[row]), int(table.rows.maximum[row])]
        if NO_CELL in positions:
            continue
        if table.rows.block[row] < 0:
            low = high = schema.fill_bits.decode()
        else:
            low, high = cell_of_chunk(table, row, count, positions)
        lows.append(low)
        highs.append(high)
    return min(lows, default=None), max(highs, default=None)
