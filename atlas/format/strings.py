"""String chunks: the byte length of each cell as u32, then the UTF-8 bytes of the cells. Pure; no I/O.

Bytes that are not UTF-8 decode to U+FFFD: a chunk with a valid checksum may still hold such bytes.
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
"""Bytes that the length of a cell takes."""
NO_CELL = 2**64 - 1
"""Position in the statistics of a string chunk that means "no such cell"."""


def encode_cells(cells: list[str]) -> bytes:
    """Return the bytes of a string chunk."""
    joined = "".join(cells)
    if joined.isascii():
        return np.fromiter(map(len, cells), "<u4", len(cells)).tobytes() + joined.encode()
    encoded = [cell.encode() for cell in cells]
    return np.fromiter(map(len, encoded), "<u4", len(cells)).tobytes() + b"".join(encoded)


def decode_cells(blob: NDArray[np.uint8], offsets: NDArray[np.int64], errors: str = "replace") -> NDArray[Any]:
    """Return the strings whose UTF-8 lies between consecutive `offsets` (N + 1,), as an array of N objects.

    Raises `UnicodeDecodeError` for bytes that are not UTF-8 where `errors` is "strict".
    """
    data, bounds = blob.tobytes(), offsets.tolist()
    values = np.empty(len(bounds) - 1, object)
    if data.isascii():  # slicing one str is several times faster than decoding each cell
        text = data.decode("ascii")
        values[:] = [text[a:b] for a, b in pairwise(bounds)]
    else:
        values[:] = [data[a:b].decode("utf-8", errors) for a, b in pairwise(bounds)]
    return values


def string_statistics(cells: list[str], fill: str | None) -> tuple[int, int, int]:
    """Return the number of nulls, and the positions of the smallest and largest cell that is no null."""
    values = cells if fill is None else [cell for cell in cells if cell != fill]
    if not values:
        return len(cells), NO_CELL, NO_CELL
    return len(cells) - len(values), cells.index(min(values)), cells.index(max(values))
