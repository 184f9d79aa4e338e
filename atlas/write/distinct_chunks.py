"""The distinct chunks of coordinates that a staging has encoded, known by their digests: equal ones are encoded once.

Not locked, like the staging that owns it. Holds no cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.format.digests import DIGEST
from atlas.format.segment import NO_DIGEST, ChunkRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.format.digests import Content
    from atlas.write.encoding import ChunkKeys

__all__ = ["DistinctChunks"]

_COLUMNS = ("block", "offset", "nulls", "nans", "minimum", "maximum")
"""Columns of a row that are those of its chunk, whose chunk ever it is."""


class DistinctChunks:
    """Distinct chunks, numbered as they came."""

    def __init__(self) -> None:
        self.contents: list[Content] = []
        """What they hold, by number."""
        self._number: dict[bytes, int] = {}
        self._columns = [AppendColumn(np.empty(0, np.int64)) for _ in _COLUMNS]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.contents)

    def find_new(self, contents: Sequence[Content]) -> NDArray[np.int64]:
        """Return the positions of those of `contents` (N,) that are new, of equal ones the first: (M,), ascending."""
        new: dict[bytes, int] = {}
        for at, content in enumerate(contents):
            if content.digest not in self._number:
                new.setdefault(content.digest, at)
        return np.array(list(new.values()), np.int64)

    def add(self, contents: Sequence[Content], rows: ChunkRows) -> NDArray[np.int64]:
        """Add chunks that were encoded, with their rows (M,), and return their numbers; -1 for constant ones.

        A constant chunk needs no block, so that nothing is gained by knowing it.
        """
        numbers = np.full(len(contents), NO_DIGEST, np.int64)
        for at, content in enumerate(contents):
            self._number[content.digest] = numbers[at] = len(self.contents)
            self.contents.append(content)
        for column, name in zip(self._columns, _COLUMNS, strict=True):
            column.append(getattr(rows, name).view(np.int64))
        numbers[rows.block < 0] = NO_DIGEST
        return numbers

    def rows_of(self, keys: ChunkKeys, contents: Sequence[Content]) -> ChunkRows:
        """Return the rows of chunks with `contents` (N,), all of which are known."""
        numbers = np.array([self._number[content.digest] for content in contents], np.int64)
        block, offset, nulls, nans, minimum, maximum = (column.values[numbers] for column in self._columns)
        bits = (column.view(np.uint64) for column in (offset, minimum, maximum))
        offset, minimum, maximum = bits
        numbers = np.where(block < 0, NO_DIGEST, numbers)
        return ChunkRows(*keys, block, offset, nulls, nans, minimum, maximum, numbers)

    def digests(self, numbers: NDArray[np.int64]) -> NDArray[np.bytes_]:
        """Return the digests of some of them, (N,)."""
        joined = b"".join([self.contents[number].digest for number in numbers.tolist()])
        return np.frombuffer(joined, DIGEST)
