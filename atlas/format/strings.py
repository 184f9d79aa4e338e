"""A string chunk as bytes: the byte length of each cell as u32, then the UTF-8 of the cells. Pure; no I/O.

Strings decode with replacement: a chunk whose checksum holds may still carry bytes that are no UTF-8.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["LENGTH_BYTES", "NO_CELL", "decode_cells", "encode_cells", "string_statistics"]

LENGTH_BYTES = 4
"""Bytes of the length of a cell."""
NO_CELL = 2**64 - 1
"""Position that stands for "no value" in the statistics of a string chunk."""


def encode_cells(cells: list[str]) -> bytes:
    """Return a string chunk: the byte lengths of its cells as u32, then their UTF-8 bytes."""
    joined = "".join(cells)
    if joined.isascii():
        return np.fromiter(map(len, cells), "<u4", len(cells)).tobytes() + joined.encode()
    encoded = [cell.encode() for cell in cells]
    return np.fromiter(map(len, encoded), "<u4", len(cells)).tobytes() + b"".join(encoded)


def decode_cells(blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Return the strings whose UTF-8 lies between consecutive `offsets`, as an array of objects."""
    data, bounds = blob.tobytes(), offsets.tolist()
    values = np.empty(len(bounds) - 1, object)
    if data.isascii():  # slicing one str is several times faster than decoding each cell
        text = data.decode("ascii")
        values[:] = [text[a:b] for a, b in pairwise(bounds)]
    else:
        values[:] = [data[a:b].decode("utf-8", "replace") for a, b in pairwise(bounds)]
    return values


def string_statistics(cells: list[str], fill: str | None) -> tuple[int, int, int]:
    """Return the number of cells equal to `fill`, and the positions of the smallest and largest of the others."""
    values = cells if fill is None else [cell for cell in cells if cell != fill]
    if not values:
        return len(cells), NO_CELL, NO_CELL
    return len(cells) - len(values), cells.index(min(values)), cells.index(max(values))
