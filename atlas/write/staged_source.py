"""Encoded blocks that wait for a flush, as a source that reads take blocks from as they do from a segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.format.digests import NO_DIGESTS
from atlas.storage import LocalStorage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atlas.format.segment import BlockRows
    from atlas.format.strings import TextTable
    from atlas.write.spill import Spill

__all__ = ["StagedSource"]


class StagedSource:
    """The encoded blocks of a staging."""

    coalesce_gap = LocalStorage.coalesce_gap  # blocks are spilled to a local file
    written_once = False  # blocks are appended and moved
    digests = NO_DIGESTS  # its rows lead to blocks, none to a digest

    def __init__(self, spill: Spill, blocks: BlockRows, texts: TextTable, name: str) -> None:
        self.blocks = blocks
        """The blocks, by number."""
        self.texts = texts
        """Texts that rows name."""
        self.name = name
        """For errors."""
        self._spill = spill

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        """Copy ranges of the stored bytes to `out`, as `Spill.read_into` does."""
        self._spill.read_into(offset, length, out, target)
