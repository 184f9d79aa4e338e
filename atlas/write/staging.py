"""What was written to one array name since the last flush: chunks not encoded yet, and encoded blocks.

Not locked: the store's lock guards every call.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import count, islice
from operator import attrgetter
from typing import IO, TYPE_CHECKING

import numpy as np
import xxhash

from atlas.catalog.chunk_index import ChunkIndex, merge_rows
from atlas.chunking.batches import batches_by_bytes, slices_by_bytes
from atlas.errors import StorageError
from atlas.format.segment import HEADER, NO_TEXTS, BlockRows, ChunkRows, Footer, encode_tail
from atlas.format.strings import IN_CELL, TextTable
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import run_all, thread_count
from atlas.storage import LocalStorage
from atlas.write.encoding import (
    ChunkRun,
    Compression,
    Encoded,
    PendingChunk,
    encode_chunks,
    encode_in_batches,
    encode_run,
)
from atlas.write.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.id_shift import IdShift
    from atlas.chunking.regions import Region
    from atlas.storage import Storage
    from atlas.write.encoding import ChunkKeys

__all__ = ["SegmentDraft", "Staging"]

_COPY = 4 << 20
"""Bytes of blocks that are copied at once."""
_serials = count()


class _StagedSource:
    """The encoded blocks of a staging, as a source for reads."""

    coalesce_gap = LocalStorage.coalesce_gap  # blocks are spilled to a local file

    def __init__(self, spill: Spill, blocks: BlockRows, texts: TextTable, name: str) -> None:
        self.blocks = blocks
        self.texts = texts
        self.name = name
        self._spill = spill

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        self._spill.read_into(offset, length, out, target)


class SegmentDraft:
    """A segment about to be written: the parts of the file in order, and the tables that close it."""

    def __init__(self, spill: Spill, blocks: BlockRows, rows: ChunkRows, texts: TextTable) -> None:
        self._spill = spill
        self._source = blocks
        offset = len(HEADER) + np.cumsum(blocks.stored) - blocks.stored
        self.blocks = BlockRows(**(blocks.columns() | {"offset": offset}))
        """The block table of the file."""
        self.rows = rows
        """The chunk rows of the file."""
        end = len(HEADER) + int(blocks.stored.sum())
        self._tail, self.footer = encode_tail(self.blocks, rows, texts, end)
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


class Staging:
    """Pending chunks of one array name over all datasets."""

    def __init__(
        self,
        name: str,
        codec: str,
        forced_filter: str,
        open_file: Callable[[], IO[bytes]],
        sync_early: Callable[[IO[bytes]], None] = lambda _: None,
        limits: Limits = DEFAULT,
    ) -> None:
        self._name = name
        self.limits = limits
        """Sizes that decide how it encodes."""
        self._compression = Compression(codec, forced_filter, limits)
        self._raw: dict[int, dict[int, PendingChunk]] = {}
        self.parts: dict[tuple[int, int], NDArray[np.uint8]] = {}
        """Which cells of a chunk were written, as packed bits, by dataset and chunk; chunks written whole have none."""
        self.raw_bytes = 0
        """Bytes of chunks that are not encoded yet, about."""
        self._spill = Spill(open_file, HEADER, sync_early)
        self._blocks: list[BlockRows] = []
        self._block_count = 0
        self._first_blocks: list[NDArray[np.int64]] = []
        self._rows: list[ChunkRows] = []
        self._is_text: list[bool] = []  # of each of `_rows`
        self._texts: dict[bytes, int] = {}
        self._index: ChunkIndex | None = None
        self._serial = next(_serials)

    # Writing

    @property
    def encoded_bytes(self) -> int:
        """Bytes of encoded blocks held in memory."""
        return self._spill.in_memory

    def put(self, dataset: int, chunk: int, pending: PendingChunk) -> int:
        """Stage a chunk, replacing what was written of it before, and return its approximate bytes in memory.

        Its cells belong to the staging from now on.
        """
        if self.parts or pending.written is not None:
            self._note_part(dataset, chunk, pending.written)
        chunks = self._raw.setdefault(dataset, {})
        before = chunks.get(chunk)
        chunks[chunk] = pending
        weight = _weight(pending)
        self.raw_bytes += weight if before is None else weight - _weight(before)
        return weight

    def _note_part(self, dataset: int, chunk: int, written: NDArray[np.bool_] | None) -> None:
        key = (dataset, chunk)
        if written is None:
            self.parts.pop(key, None)
        elif key in self.parts:
            self.parts[key] |= np.packbits(written)
        elif not self._holds(dataset, chunk):
            self.parts[key] = np.packbits(written)

    def _holds(self, dataset: int, chunk: int) -> bool:
        """Return whether a chunk is pending."""
        if chunk in self._raw.get(dataset, {}):
            return True
        index = self.encoded_index()
        if index is None:
            return False
        first, stop = np.searchsorted(index.rows.dataset, [dataset, dataset + 1])
        at = first + np.searchsorted(index.rows.chunk[first:stop], chunk)
        return bool(at < stop and index.rows.chunk[at] == chunk)

    def drop(self, dataset: int) -> None:
        """Forget what was written to the array of a dataset."""
        self.parts = {key: written for key, written in self.parts.items() if key[0] != dataset}
        for pending in self._raw.pop(dataset, {}).values():
            self.raw_bytes -= _weight(pending)
        if any((rows.dataset == dataset).any() for rows in self._rows):
            self._rows = [rows.take(rows.dataset != dataset) for rows in self._rows]
            self._index = None

    def encode(self) -> None:
        """Encode every chunk that waits."""
        if not self._raw:
            return
        chunks = [
            ((dataset, chunk), pending)
            for dataset, of_dataset in self._raw.items()
            for chunk, pending in of_dataset.items()
        ]
        chunks.sort(key=lambda item: item[0])
        for encoded in encode_chunks(chunks, self._compression):
            self._add(encoded)
        self._raw, self.raw_bytes = {}, 0

    def put_runs(self, runs: Iterable[ChunkRun], bound_memory: Callable[[], None]) -> None:
        """Encode chunks, replacing what was written of them before; calls `bound_memory` after each batch."""
        for batch in _parallel_batches(runs, self.limits):
            if len(batch) == 1 and batch[0].nbytes > self.limits.parallel_bytes:
                self._add_in_batches(batch[0])
            else:
                for encoded in run_all(lambda run: encode_run(run, self._compression), batch):
                    self._add(encoded)
            for run in batch:
                self._forget_raw(run.keys)
            bound_memory()

    def _add_in_batches(self, run: ChunkRun) -> None:
        first = self._block_count
        rows, batches = encode_in_batches(run, self._compression)
        for stored, blocks in batches:
            self._add_blocks(stored, blocks)
            self.spill()
        self._add_rows(rows, first)

    def _forget_raw(self, keys: ChunkKeys) -> None:
        if self.parts:
            for key in zip(keys.dataset.tolist(), keys.chunk.tolist(), strict=True):
                self.parts.pop(key, None)
        if not self._raw:
            return
        for dataset, chunk in zip(keys.dataset.tolist(), keys.chunk.tolist(), strict=True):
            pending = self._raw.get(dataset, {}).pop(chunk, None)
            if pending is not None:
                self.raw_bytes -= _weight(pending)

    def _add(self, encoded: Encoded) -> None:
        first = self._block_count
        self._add_blocks(encoded.stored, encoded.blocks)
        rows = encoded.rows
        if encoded.texts:
            own = [self._texts.setdefault(text, len(self._texts)) for text in encoded.texts]
            rows = _with_texts_at(rows, slice(None), np.array(own, np.uint64))
        self._add_rows(rows, first, is_text=len(encoded.texts) > 0)

    def _add_blocks(self, stored: NDArray[np.uint8], blocks: BlockRows) -> None:
        begin = self._spill.append(stored)
        self._blocks.append(BlockRows(**(blocks.columns() | {"offset": blocks.offset + begin})))
        self._block_count += len(blocks)

    def _add_rows(self, rows: ChunkRows, first: int, *, is_text: bool = False) -> None:
        """Add rows whose blocks are counted from the block `first`."""
        block = np.where(rows.block >= 0, rows.block + first, rows.block)
        self._first_blocks.append(np.unique(block[block >= 0]))
        self._rows.append(ChunkRows(**(rows.columns() | {"block": block})))
        self._is_text.append(is_text)
        self._index = None

    def spill(self) -> None:
        """Move encoded blocks to the temporary file."""
        self._spill.to_disk()

    def close(self) -> None:
        """Forget everything."""
        self._spill.close()
        self._raw, self.parts, self._rows, self._blocks, self._index = {}, {}, [], [], None
        self._is_text, self._texts = [], {}

    def shift(self, shift: IdShift) -> None:
        """Follow datasets whose ids were raised."""
        if not shift.by:
            return
        self._raw = {shift.apply_one(dataset): chunks for dataset, chunks in self._raw.items()}
        self._rows = [ChunkRows(**(rows.columns() | {"dataset": shift.apply(rows.dataset)})) for rows in self._rows]
        self._index = None

    def renew_generation(self, before: int, after: int) -> None:
        """Give chunks of the generation `before` the generation `after`."""
        self._raw = {
            dataset: {
                chunk: replace(pending, generation=after) if pending.generation == before else pending
                for chunk, pending in chunks.items()
            }
            for dataset, chunks in self._raw.items()
        }
        self._rows = [
            ChunkRows(**(rows.columns() | {"generation": np.where(rows.generation == before, after, rows.generation)}))
            for rows in self._rows
        ]
        self._index = None

    # Reading

    def keys(self) -> NDArray[np.int64]:
        """Return dataset, generation and chunk of everything that is pending, (3, N)."""
        raw = [
            (dataset, pending.generation, chunk)
            for dataset, chunks in self._raw.items()
            for chunk, pending in chunks.items()
        ]
        keys = np.array(raw, np.int64).reshape(-1, 3).T
        index = self.encoded_index()
        if index is None:
            return keys
        rows = index.rows
        return np.concatenate([keys, np.array([rows.dataset, rows.generation, rows.chunk])], axis=1)

    def encoded_index(self) -> ChunkIndex | None:
        """Return the index of the encoded chunks, of each the newest; None where there are none."""
        if self._index is None and any(len(rows) for rows in self._rows):
            blocks: BlockRows = BlockRows.joined(self._blocks)
            origins = [np.full(len(rows), text, np.int64) for rows, text in zip(self._rows, self._is_text, strict=True)]
            rows, texts = _with_needed_texts(*merge_rows(self._rows, origins), list(self._texts))
            source = _StagedSource(self._spill, blocks, texts, f"pending data {self._serial} of {self._name}")
            self._index = ChunkIndex.of([(source, rows)])
        return self._index

    def overlay(self, out: NDArray[Any], ids: Iterable[int], region: Region) -> None:
        """Lay the chunks that are not encoded yet over `out` (N, *box), whose rows are the datasets `ids`."""
        if not self._raw:
            return
        for row, dataset in enumerate(ids):
            chunks = self._raw.get(dataset)
            if chunks is None:
                continue
            for k, chunk in enumerate(region.chunk.tolist()):
                pending = chunks.get(chunk)
                if pending is not None:
                    cells = pending.cells.reshape(region.geometry.extent[k])
                    # One index: out[row] of a 0-D array would be a scalar, which takes no assignment.
                    index: tuple[int | slice, ...] = (row, *region.in_box(k))
                    out[index] = cells.view(pending.schema.memory_dtype)[region.in_chunk(k)]

    # Flushing

    def draft(self) -> SegmentDraft | None:
        """Encode what waits and return the segment to write, None where nothing is pending."""
        self.encode()
        index = self.encoded_index()
        if index is None:
            return None
        rows = index.rows
        blocks: BlockRows = BlockRows.joined(self._blocks)
        block = rows.block
        alive = np.zeros(len(blocks), bool)
        if len(blocks):
            # The blocks of a cut chunk follow its first block, up to the next chunk's first, and are kept with it.
            first_blocks = np.concatenate(self._first_blocks)
            owner = np.searchsorted(first_blocks, np.arange(len(blocks)), side="right") - 1
            alive = np.isin(first_blocks, rows.block)[owner]
            block = np.where(rows.block >= 0, (np.cumsum(alive) - 1)[rows.block], rows.block)
        rows = ChunkRows(**(rows.columns() | {"block": block}))
        return SegmentDraft(self._spill, blocks.take(alive), rows, index.sources[0].texts)


def _with_texts_at(rows: ChunkRows, text: Any, at: NDArray[np.uint64]) -> ChunkRows:
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


def _with_needed_texts(
    rows: ChunkRows, is_text: NDArray[np.int64], texts: Sequence[bytes]
) -> tuple[ChunkRows, TextTable]:
    """Return the rows, and a table of those of `texts` that they name: not of chunks that were replaced."""
    if not texts:
        return rows, NO_TEXTS
    text = is_text.astype(bool)
    ends = np.concatenate([rows.minimum[text], rows.maximum[text]])
    needed = np.unique(ends[ends < IN_CELL]).astype(np.int64)
    at = np.zeros(len(texts), np.uint64)
    at[needed] = np.arange(len(needed))
    return _with_texts_at(rows, text, at), TextTable.of([texts[position] for position in needed.tolist()])


def _parallel_batches(runs: Iterable[ChunkRun], limits: Limits) -> Iterator[list[ChunkRun]]:
    """Yield batches of runs to encode in parallel, of bounded bytes. The first run is alone: it decides on the filter.

    Two runs a thread: with fewer, threads would wait for each other; with more, a flush would find more to sync.
    """
    left = iter(runs)
    yield from batches_by_bytes(islice(left, 1), 1, attrgetter("nbytes"))
    yield from batches_by_bytes(
        left, min(limits.parallel_bytes, 2 * limits.run_bytes * thread_count()), attrgetter("nbytes")
    )


def _weight(pending: PendingChunk) -> int:
    # A str costs about fifty bytes beside its text.
    return pending.cells.nbytes * (8 if pending.cells.dtype == object else 1)
