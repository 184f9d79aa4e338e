"""Segments of array names of which one small chunk is pending: those of all names of a flush are made in a few passes.

A store may have thousands of array names. NumPy takes as long for a table of one row as for one of a thousand, so that
names one after the other would take several times as long as their files. What is staged stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from atlas.catalog.chunk_index import NO_BLOCKS
from atlas.format.digests import NO_DIGESTS
from atlas.format.segment import HEADER, BlockRows, ChunkRows, Footer, encode_single_tails
from atlas.write.encoding import encode_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from atlas.storage import Storage
    from atlas.write.encoding import Compression, Encoded, Key, PendingChunk
    from atlas.write.segment_draft import SegmentDraft

__all__ = ["Draft", "SingleChunkDraft", "draft_single_chunks"]

Draft: TypeAlias = "SegmentDraft | SingleChunkDraft"
"""A segment about to be written."""


class SingleChunkDraft:
    """A segment of one chunk about to be written, in memory."""

    shares: ClassVar[bool] = False
    """It stores its chunk."""
    digests: ClassVar[NDArray[np.bytes_]] = NO_DIGESTS
    """Its chunk has none."""

    def __init__(self, content: bytes, footer: Footer) -> None:
        self._content = content
        self.size = len(content)
        """Bytes of the file."""
        self.footer = footer
        """The footer."""

    def write(self, storage: Storage, key: str) -> None:
        """Store the file under `key`."""
        storage.write(key, (self._content,))


def draft_single_chunks(chunks: Sequence[tuple[Key, PendingChunk]], compression: Compression) -> list[SingleChunkDraft]:
    """Return the segment of each chunk, as if it were drafted alone.

    They are of numbers and of less than `kernels.LEAST_TRIED` bytes each.
    """
    drafts: dict[int, SingleChunkDraft] = {}
    for places, encoded in encode_apart(chunks, compression):
        drafts.update((places[row], draft) for row, draft in _drafts(encoded))
    return [drafts[at] for at in range(len(chunks))]


def _drafts(encoded: Encoded) -> Iterator[tuple[int, SingleChunkDraft]]:
    """Yield each row of what `encode_apart` yields, by number, with its segment."""
    blocks, begin = encoded.blocks, len(HEADER)
    rows = ChunkRows(**(encoded.rows.columns() | {"block": np.minimum(encoded.rows.block, 0)}))
    alone = BlockRows(**(blocks.columns() | {"offset": np.full(len(blocks), begin)}))
    stored = [
        encoded.stored[at : at + size].tobytes()
        for at, size in zip(blocks.offset.tolist(), blocks.stored.tolist(), strict=True)
    ]
    constant = np.flatnonzero(rows.block < 0)
    nothing = [b""] * len(constant)
    for some, own, parts in ((constant, NO_BLOCKS, nothing), (np.flatnonzero(rows.block >= 0), alone, stored)):
        end = begin + np.array([len(part) for part in parts], np.int64)
        for row, part, tail in zip(some.tolist(), parts, encode_single_tails(own, rows.take(some), end), strict=True):
            yield row, SingleChunkDraft(b"".join((HEADER, part, tail[0])), tail[1])
