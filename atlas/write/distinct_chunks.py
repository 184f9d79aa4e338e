"""The distinct chunks of coordinates that a staging has encoded, known by their digests: equal ones are encoded once.

Not locked, like the staging that owns it. Holds no cells.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.append_column import AppendColumn
from atlas.catalog.chunk_index import NO_ROWS
from atlas.format.digests import DIGEST
from atlas.format.segment import NO_DIGEST, OF_THE_CHUNK, ChunkRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.format.digests import Content
    from atlas.write.encoding import ChunkKeys

__all__ = ["DistinctChunks"]


class DistinctChunks:
    """Distinct chunks, numbered as they came."""

    def __init__(self) -> None:
        self.contents: list[Content] = []
        """What they hold, by number."""
        self._number: dict[bytes, int] = {}

    @cached_property
    def _columns(self) -> dict[str, AppendColumn]:
        """What a row says of each: made when the first comes, as most arrays are no coordinates."""
        return {name: AppendColumn(getattr(NO_ROWS, name)) for name in OF_THE_CHUNK}

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
        numbers = np.arange(len(self.contents), len(self.contents) + len(contents))
        self._number.update(zip((content.digest for content in contents), numbers.tolist(), strict=True))
        self.contents += contents
        for name, column in self._columns.items():
            column.append(getattr(rows, name))
        return np.where(rows.block < 0, NO_DIGEST, numbers)

    def rows_of(self, keys: ChunkKeys, contents: Sequence[Content]) -> ChunkRows:
        """Return the rows of chunks with `contents` (N,), all of which are known."""
        numbers = np.array([self._number[content.digest] for content in contents], np.int64)
        columns = {name: column.values[numbers] for name, column in self._columns.items()}
        return ChunkRows(*keys, **columns, digest=np.where(columns["block"] < 0, NO_DIGEST, numbers))

    def digests(self, numbers: NDArray[np.int64]) -> NDArray[np.bytes_]:
        """Return the digests of some of them, (N,)."""
        joined = b"".join([self.contents[number].digest for number in numbers.tolist()])
        return np.frombuffer(joined, DIGEST)
