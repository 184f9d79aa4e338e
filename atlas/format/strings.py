"""Chunks of text and bytes: the byte length of each cell as u32, then the bytes of the cells. Pure; no I/O.

Text is UTF-8. A missing cell is None in memory; its length is `MISSING_LENGTH`, and it has no bytes. Text whose bytes
are not UTF-8 decodes to U+FFFD: a chunk with a valid checksum may still hold such bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

__all__ = [
    "IN_CELL",
    "LENGTH_BYTES",
    "MISSING_LENGTH",
    "NO_EXTREME",
    "Cell",
    "TextTable",
    "cell_bytes",
    "decode_cells",
    "encode_cells",
    "encode_extreme",
    "is_missing",
    "string_statistics",
]

Cell: TypeAlias = "str | bytes | None"
"""A cell of an array of strings or bytes; None is a missing one."""
LENGTH_BYTES = 4
"""Bytes that the length of a cell takes."""
MISSING_LENGTH = 2**32 - 1
"""The length that stands for a missing cell."""
NO_EXTREME = 2**64 - 1
"""An extreme in a row of a string chunk that means "there is none"."""
IN_CELL = 2**63
"""What an extreme exceeds, or equals, where it is too long for the table: it stands in the cell of the rest."""
_SHORT_CELL = 64
"""Mean bytes of a cell up to which counting characters takes less time than decoding each cell, and little memory."""
_MOST_BYTES = 128
"""Longest text of a table of extremes: of longer ones the index would have as many bytes as the blocks."""


def is_missing(cell: object) -> bool:
    """Return whether an object stands for a missing cell: None, NaN and NaT, and NA and NaT of pandas."""
    if isinstance(cell, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(cell != cell)  # noqa: PLR0124 - as nothing else, NaN and NaT differ from themselves
    return cell is None or type(cell).__name__ in {"NAType", "NaTType"}


def encode_cells(cells: Sequence[Cell]) -> bytes:
    """Return the bytes of a chunk of text or of bytes.

    Raises `OverflowError` for a cell of 2**32 - 1 bytes or more.
    """
    if None not in cells:
        joined = "".join(cells) if cells and isinstance(cells[0], str) else None  # type: ignore[arg-type]
        if joined is not None and joined.isascii():
            return _lengths(list(map(len, cells))) + joined.encode()  # type: ignore[arg-type]
    encoded = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
    lengths = [MISSING_LENGTH if cell is None else _checked_length(cell) for cell in encoded]
    return _lengths(lengths) + b"".join([cell for cell in encoded if cell is not None])


def _checked_length(cell: bytes) -> int:
    if len(cell) >= MISSING_LENGTH:
        raise OverflowError(f"a cell of {len(cell)} bytes is too long for 32 bits")
    return len(cell)


def _lengths(lengths: list[int]) -> bytes:
    return np.array(lengths, "<u4").tobytes()


def decode_cells(
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    missing: NDArray[np.uint8],
    kind: str = "string",
    errors: str = "replace",
) -> NDArray[Any]:
    """Return the cells whose bytes lie between consecutive `offsets` (N + 1,), as an array of N objects.

    `missing` (N,) is 1 for cells that are None. `kind` is "string" or "bytes", see `DataType.kind`.

    Raises `UnicodeDecodeError` for text that is not UTF-8 where `errors` is "strict".
    """
    values = np.empty(len(offsets) - 1, object)
    values[:] = _cells_of(blob, offsets, kind, errors)
    if missing.any():
        values[missing.view(np.bool_)] = None
    return values


def _cells_of(blob: NDArray[np.uint8], offsets: NDArray[np.int64], kind: str, errors: str) -> list[Any]:
    """Return the cells that are not missing, as `decode_cells` does."""
    data = blob.tobytes()
    if kind == "bytes":
        return [data[a:b] for a, b in pairwise(offsets.tolist())]
    # Slicing one str is several times faster than decoding each cell.
    if data.isascii():
        text = data.decode("ascii")
        return [text[a:b] for a, b in pairwise(offsets.tolist())]
    if len(data) <= _SHORT_CELL * len(offsets):
        begins = (blob & 0xC0) != 0x80  # of a character
        inside = offsets[offsets < len(data)]
        whole = _strict_text(data) if begins[inside].all() else None
        if whole is not None:
            characters = np.zeros(len(data) + 1, np.int64)
            np.cumsum(begins, out=characters[1:])
            return [whole[a:b] for a, b in pairwise(characters[offsets].tolist())]
    return [data[a:b].decode("utf-8", errors) for a, b in pairwise(offsets.tolist())]


def _strict_text(data: bytes) -> str | None:
    """Return UTF-8 as text, None where it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def string_statistics(cells: Sequence[Cell], fill: Cell) -> tuple[int, int, int]:
    """Return the number of nulls, and the positions of the smallest and largest cell that is no null.

    Missing cells and those that equal `fill` are nulls. Where all are, the positions are `NO_EXTREME`.
    """
    values: list[Any] = [cell for cell in cells if cell is not None and cell != fill]
    if not values:
        return len(cells), NO_EXTREME, NO_EXTREME
    return len(cells) - len(values), cells.index(min(values)), cells.index(max(values))


def cell_bytes(cell: Cell) -> bytes | None:
    """Return the bytes of one cell, None for a missing one."""
    return cell.encode() if isinstance(cell, str) else cell


def encode_extreme(cell: Cell, position: int, table: dict[bytes, int]) -> int:
    """Return how a row names an extreme, the `cell` at `position` of its chunk; short ones are added to `table`."""
    data = cell_bytes(cell)
    assert data is not None
    if len(data) > _MOST_BYTES:
        return IN_CELL + position
    return table.setdefault(data, len(table))


class TextTable:
    """The short extremes of the string chunks of a segment, encoded, each once. Never changed."""

    __slots__ = ("data", "ends")

    def __init__(self, ends: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self.ends = ends
        """Where each text ends in `data`, (N,), ascending."""
        self.data = data
        """The texts, back to back."""

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> TextTable:
        """Return the table of `texts`."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls(np.cumsum(lengths), np.frombuffer(b"".join(texts), np.uint8))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ends)

    def __getitem__(self, position: int) -> bytes:
        """Return a text by its position."""
        begin = self.ends.item(position - 1) if position else 0
        return self.data[begin : self.ends.item(position)].tobytes()

    @staticmethod
    def most_texts(chunks: int) -> int:
        """Return the most texts that a segment of that many chunks has."""
        return 2 * chunks

    @staticmethod
    def most_bytes(texts: int) -> int:
        """Return the most bytes of that many texts."""
        return _MOST_BYTES * texts
