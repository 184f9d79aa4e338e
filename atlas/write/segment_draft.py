"""A segment about to be written: which encoded blocks it takes, and the tables that close it.

It takes the blocks of live chunks only. Chunks of coordinates that other segments of the array store are left out, and
their rows name the digest.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xxhash

from atlas.chunking.batches import slices_by_bytes
from atlas.errors import StorageError
from atlas.format.segment import (
    HEADER,
    NO_DIGEST,
    NO_TEXTS,
    OF_THE_CHUNK,
    SHARED,
    BlockRows,
    ChunkRows,
    Footer,
    encode_tail,
)
from atlas.format.strings import IN_CELL, TextTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.digests import Content
    from atlas.runtime.limits import Limits
    from atlas.storage import Storage
    from atlas.write.distinct_chunks import DistinctChunks
    from atlas.write.spill import Spill

__all__ = [
    "AreStored",
    "SegmentDraft",
    "StagedChunks",
    "draft_segment",
    "find_stored",
    "needed_texts",
    "with_texts_at",
]

_COPY = 4 << 20
"""Bytes of blocks that are copied at once."""

AreStored: TypeAlias = "Callable[[Sequence[Content]], NDArray[np.bool_]]"
"""Returns which of N distinct chunks other segments of the array store, (N,)."""


class SegmentDraft:
    """A segment about to be written: the parts of the file in order, and the tables that close it."""

    def __init__(
        self, spill: Spill, blocks: BlockRows, rows: ChunkRows, texts: TextTable, digests: NDArray[np.bytes_]
    ) -> None:
        self._spill = spill
        self._source = blocks
        offset = len(HEADER) + np.cumsum(blocks.stored) - blocks.stored
        self.blocks = BlockRows(**(blocks.columns() | {"offset": offset}))
        """The block table of the file."""
        self.rows = rows
        """The chunk rows of the file."""
        self.shares = bool((rows.block == SHARED).any())
        """Whether it leaves out chunks that other segments store."""
        self.digests = digests[np.unique(rows.digest[(rows.digest != NO_DIGEST) & (rows.block != SHARED)])]
        """The digests of chunks that it stores, (K,)."""
        end = len(HEADER) + int(blocks.stored.sum())
        self._tail, self.footer = encode_tail(self.blocks, rows, end, texts=texts, digests=digests)
        self.size = end + len(self._tail)
        """Bytes of the file."""

    footer: Footer
    """The footer."""

    def write(self, storage: Storage, key: str) -> None:
        """Store the file under `key`, without a copy where the spilled file holds the blocks in order."""
        as_spilled = self._spill.size == self.size - len(self._tail)
        if not (as_spilled and self._spill.hand_over(self._tail, lambda file: storage.link_file(key, file))):
            storage.write(key, self.parts())

    def parts(self) -> Iterator[bytes | NDArray[np.uint8]]:
        """Yield the file part by part. Raises `StorageError` where a temporary file has lost what was written to it."""
        yield HEADER
        offset, end = self._source.offset, self._source.offset + self._source.stored
        # Neighbours are copied in one go, some MiB of them.
        neighbours = np.cumsum(np.concatenate([[0], offset[1:] != end[:-1]])[: len(offset)])
        for batch in slices_by_bytes(self._source.stored, _COPY, neighbours):
            first, stop = batch.start, batch.stop
            parts = self._spill.read_range(int(offset[first]), int(end[stop - 1]))
            if self._spill.is_spilled(int(offset[first])):
                yield self._checked(first, stop, b"".join(part.data for part in parts))
            else:
                yield from parts
        yield self._tail

    def _checked(self, first: int, stop: int, data: bytes) -> bytes:
        """Return `data`, the blocks `first` to `stop`, as they were encoded.

        A disk that failed to write them may return other bytes, which no flush may commit.
        """
        view, blocks = memoryview(data), self._source
        end = np.cumsum(blocks.stored[first:stop]).tolist()
        for begin, stored, checksum in zip(
            [0, *end], blocks.stored[first:stop].tolist(), blocks.checksum[first:stop].tolist(), strict=False
        ):
            if xxhash.xxh3_64_intdigest(view[begin : begin + stored]) != checksum:
                raise StorageError(
                    errno.EIO,
                    "the disk has not kept what was written to a temporary file of pending data, and some is lost; "
                    "open the store again and repeat the writes",
                )
        return data


@dataclass(frozen=True, slots=True)
class StagedChunks:
    """Encoded chunks and their blocks, live or not."""

    spill: Spill
    """Where the blocks are."""
    blocks: BlockRows
    """Their table; offsets count within the spill."""
    first_blocks: NDArray[np.int64]
    """The blocks in which chunks begin, ascending."""
    rows: ChunkRows
    """The live chunks."""
    is_text: NDArray[np.bool_]
    """Which of them are of text or bytes, (chunks,)."""


def draft_segment(
    staged: StagedChunks, texts: Sequence[bytes], distinct: DistinctChunks, are_stored: AreStored | None, limits: Limits
) -> SegmentDraft:
    """Return the segment of the live chunks. `texts` and `distinct` are those that the rows name by number."""
    rows, is_text, shared = staged.rows, staged.is_text, np.zeros(len(staged.rows), bool)
    digest, numbers = rows.digest, np.empty(0, np.int64)
    if digest.max(initial=NO_DIGEST) != NO_DIGEST:
        named = [number for number in np.unique(digest).tolist() if number != NO_DIGEST]
        numbers = np.array([n for n in named if distinct.contents[n].nbytes >= limits.digested_bytes], np.int64)
        stored = find_stored([distinct.contents[number] for number in numbers.tolist()], are_stored, limits)
        if stored.any():
            shared = np.isin(digest, numbers[stored])
            # A block goes as a whole: its chunks stay where one of them is needed.
            shared &= ~np.isin(rows.block, rows.block[~shared])
        digest = np.where(np.isin(digest, numbers), np.searchsorted(numbers, digest), NO_DIGEST)
    alive, block = np.zeros(len(staged.blocks), bool), rows.block
    if len(alive):
        # The blocks of a cut chunk follow its first block, up to the next chunk's first, and are kept with it.
        alive[block[(block >= 0) & ~shared]] = True
        owner = np.zeros(len(alive), np.int64)
        owner[staged.first_blocks] = 1
        alive = alive[staged.first_blocks][np.cumsum(owner) - 1]
        block = np.where(block >= 0, (np.cumsum(alive) - 1)[block], block)
    rows = ChunkRows(**(rows.columns() | {"block": block, "digest": digest}))
    rows, table = needed_texts(_shared_rows(rows, shared), is_text & ~shared, texts)
    return SegmentDraft(staged.spill, staged.blocks.take(alive), rows, table, distinct.digests(numbers))


def find_stored(contents: Sequence[Content], are_stored: AreStored | None, limits: Limits) -> NDArray[np.bool_]:
    """Return which of `contents` (N,) `are_stored` in other segments, (N,): short chunks are not looked for."""
    found = np.zeros(len(contents), bool)
    large = [at for at, content in enumerate(contents) if content.nbytes >= limits.digested_bytes]
    if are_stored is not None and large:
        found[large] = are_stored([contents[at] for at in large])
    return found


def _shared_rows(rows: ChunkRows, shared: NDArray[np.bool_]) -> ChunkRows:
    """Return the rows where those that are `shared` say nothing of their chunk but its digest."""
    if not shared.any():
        return rows
    columns = {name: values.copy() for name, values in rows.columns().items()}
    for name in OF_THE_CHUNK:
        columns[name][shared] = 0
    columns["block"][shared] = SHARED
    return ChunkRows(**columns)


def with_texts_at(rows: ChunkRows, text: Any, at: NDArray[np.uint64]) -> ChunkRows:
    """Return `rows` with the extremes of those picked by `text`, which are positions, replaced by what `at` has there.

    Extremes that stand in cells, and those that are none, stay as they are.
    """
    columns = rows.columns()
    for name in ("minimum", "maximum"):
        column = columns[name] = columns[name].copy()
        ends = column[text]
        short = ends < IN_CELL
        ends[short] = at[ends[short].astype(np.int64)]
        column[text] = ends
    return ChunkRows(**columns)


def needed_texts(rows: ChunkRows, is_text: NDArray[np.bool_], texts: Sequence[bytes]) -> tuple[ChunkRows, TextTable]:
    """Return the rows, and a table of those of `texts` that they name: not of chunks that were replaced."""
    if not texts:
        return rows, NO_TEXTS
    ends = np.concatenate([rows.minimum[is_text], rows.maximum[is_text]])
    needed = np.unique(ends[ends < IN_CELL]).astype(np.int64)
    at = np.zeros(len(texts), np.uint64)
    at[needed] = np.arange(len(needed))
    return with_texts_at(rows, is_text, at), TextTable.of([texts[position] for position in needed.tolist()])
