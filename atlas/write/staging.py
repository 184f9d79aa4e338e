"""What was written to one array name since the last flush: chunks not encoded yet, and encoded blocks.

One thread may change a staging, and others may read it meanwhile: the caller must hold the handle's lock `writing` to
encode, `state` too for every other change, and `state` to read. So a flush encodes beside reads.
"""

from __future__ import annotations

from functools import partial
from itertools import count, islice
from operator import attrgetter
from typing import IO, TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import NO_BLOCKS, ChunkIndex, merge_rows
from atlas.chunking.batches import batches_by_bytes
from atlas.format.digests import NO_DIGESTS, content_of
from atlas.format.segment import HEADER, BlockRows, ChunkRows
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.locks import ForkSafeLock
from atlas.runtime.threads import run_all, thread_count
from atlas.storage import LocalStorage
from atlas.write.distinct_chunks import DistinctChunks
from atlas.write.encoding import (
    ChunkRun,
    Compression,
    Encoded,
    PendingChunk,
    encode_chunks,
    encode_in_batches,
    encode_run,
    keys_of,
)
from atlas.write.segment_draft import StagedChunks, draft_segment, find_stored, needed_texts, with_texts_at
from atlas.write.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.id_shift import IdShift
    from atlas.chunking.regions import Region
    from atlas.format.digests import Content
    from atlas.format.strings import TextTable
    from atlas.write.encoding import ChunkKeys, Key
    from atlas.write.segment_draft import AreStored, SegmentDraft

    Overlay = Callable[[NDArray[Any], Iterable[int], Region], None]

__all__ = ["Staging"]

_serials = count()
_NOTHING: Mapping[int, PendingChunk] = {}


class _StagedSource:
    """The encoded blocks of a staging, as a source for reads."""

    coalesce_gap = LocalStorage.coalesce_gap  # blocks are spilled to a local file
    written_once = False  # blocks are appended and moved
    digests = NO_DIGESTS  # its rows lead to blocks, none to a digest

    def __init__(self, spill: Spill, blocks: BlockRows, texts: TextTable, name: str) -> None:
        self.blocks = blocks
        self.texts = texts
        self.name = name
        self._spill = spill

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        self._spill.read_into(offset, length, out, target)


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
        self._counted = 0  # blocks whose first ones are in `_first_blocks`
        self._distinct = DistinctChunks()
        self._rows: list[ChunkRows] = []
        self._is_text: list[bool] = []  # of each of `_rows`
        self._texts: dict[bytes, int] = {}
        self._index: ChunkIndex | None = None
        self._serial = next(_serials)
        self._lock = ForkSafeLock()  # held while rows come in, and while the index is made of them

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
        return index is not None and _has_row(index.rows, dataset, chunk)

    def drop(self, dataset: int) -> None:
        """Forget what was written to the array of a dataset."""
        self.parts = {key: written for key, written in self.parts.items() if key[0] != dataset}
        for pending in self._raw.pop(dataset, {}).values():
            self.raw_bytes -= _weight(pending)
        if any((rows.dataset == dataset).any() for rows in self._rows):
            self._rows = [rows.take(rows.dataset != dataset) for rows in self._rows]
            self._index = None

    def encode(self, are_stored: AreStored | None = None) -> None:
        """Encode every chunk that waits; of coordinates, those that `are_stored` elsewhere in blocks of their own."""
        if not self._raw:
            return
        chunks = [
            ((dataset, chunk), pending)
            for dataset, of_dataset in self._raw.items()
            for chunk, pending in of_dataset.items()
        ]
        chunks.sort(key=lambda item: item[0])
        for encoded in encode_chunks([item for item in chunks if not item[1].coordinate], self._compression):
            self._add(encoded)
        coordinates = [item for item in chunks if item[1].coordinate]
        if coordinates:
            self._encode_distinct(coordinates, are_stored)
        self._raw, self.raw_bytes = {}, 0

    def _encode_distinct(self, chunks: Sequence[tuple[Key, PendingChunk]], are_stored: AreStored | None) -> None:
        """Encode chunks of coordinates, of equal ones the first."""
        contents = {key: content_of(pending.schema, pending.cells) for key, pending in chunks}
        new = self._distinct.find_new(list(contents.values()))
        stored = find_stored([contents[chunks[at][0]] for at in new.tolist()], are_stored, self.limits)
        for some in new[stored], new[~stored]:
            for encoded in encode_chunks([chunks[at] for at in some.tolist()], self._compression):
                keys = zip(encoded.rows.dataset.tolist(), encoded.rows.chunk.tolist(), strict=True)
                self._add(encoded, [contents[key] for key in keys])
        others = np.delete(np.arange(len(chunks)), new)
        for is_text in (False, True):
            known = [chunks[at] for at in others.tolist() if (chunks[at][1].schema.datatype.cell is None) is is_text]
            rows = self._distinct.rows_of(keys_of(known), [contents[key] for key, _ in known])
            self._add_rows(rows, 0, is_text=is_text)

    def put_runs(self, runs: Iterable[ChunkRun], bound_memory: Callable[[], None]) -> None:
        """Encode chunks, replacing what was written of them before; calls `bound_memory` after each batch."""
        for batch in _parallel_batches(runs, self.limits):
            if batch[0].coordinate:
                for run in batch:
                    self._put_distinct(run)
            elif len(batch) == 1:
                self._add_run(batch[0])
            else:
                for encoded in run_all(lambda run: encode_run(run, self._compression), batch):
                    self._add(encoded)
            for run in batch:
                self._forget_raw(run.keys)
            bound_memory()

    def _add_run(self, run: ChunkRun, contents: Sequence[Content] = ()) -> None:
        if run.nbytes <= self.limits.parallel_bytes:
            self._add(encode_run(run, self._compression), contents)
            return
        first = self._block_count
        rows, batches = encode_in_batches(run, self._compression)
        for stored, blocks in batches:
            self._add_blocks(stored, blocks)
            self.spill()
        self._add_rows(rows, first, contents=contents)

    def _put_distinct(self, run: ChunkRun) -> None:
        """Encode a run of chunks of coordinates, of equal ones the first."""
        values = run.load()
        cells = np.split(values, np.cumsum(run.count)[:-1])
        contents = [content_of(run.schema, own) for own in cells]
        new = self._distinct.find_new(contents)
        if len(new):
            load = partial(np.concatenate, [cells[at] for at in new.tolist()])
            distinct = ChunkRun(run.schema, run.keys.take(new), run.count[new], load)
            self._add_run(distinct, [contents[at] for at in new.tolist()])
        others = np.delete(np.arange(len(contents)), new)
        self.put_copies(run.keys.take(others), [contents[at] for at in others.tolist()])

    def put_copies(self, keys: ChunkKeys, contents: Sequence[Content]) -> None:
        """Stage chunks of numbers that hold `contents` (N,), as chunks do that have been encoded."""
        self._add_rows(self._distinct.rows_of(keys, contents), 0)

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

    def _add(self, encoded: Encoded, contents: Sequence[Content] = ()) -> None:
        first = self._block_count
        self._add_blocks(encoded.stored, encoded.blocks)
        rows = encoded.rows
        if encoded.texts:
            own = [self._texts.setdefault(text, len(self._texts)) for text in encoded.texts]
            rows = with_texts_at(rows, slice(None), np.array(own, np.uint64))
        self._add_rows(rows, first, is_text=len(encoded.texts) > 0, contents=contents)

    def _add_blocks(self, stored: NDArray[np.uint8], blocks: BlockRows) -> None:
        with self._lock:
            begin = self._spill.append(stored)
            self._blocks.append(BlockRows(**(blocks.columns() | {"offset": blocks.offset + begin})))
            self._block_count += len(blocks)

    def _add_rows(
        self, rows: ChunkRows, first: int, *, is_text: bool = False, contents: Sequence[Content] = ()
    ) -> None:
        """Add rows whose blocks are counted from the block `first`; of coordinates, with what they hold."""
        if not len(rows):
            return
        rows = ChunkRows(**(rows.columns() | {"block": np.where(rows.block >= 0, rows.block + first, rows.block)}))
        if contents:
            rows = ChunkRows(**(rows.columns() | {"digest": self._distinct.add(contents, rows)}))
        if self._block_count > self._counted:
            # Rows of equal chunks lead to earlier blocks, also after a run that failed has left some without rows.
            self._first_blocks.append(np.unique(rows.block[rows.block >= self._counted]))
            self._counted = self._block_count
        with self._lock:
            self._rows.append(rows)
            self._is_text.append(is_text)
            self._index = None

    def spill(self) -> None:
        """Move encoded blocks to the temporary file."""
        self._spill.to_disk()

    def close(self) -> None:
        """Forget everything."""
        self._spill.close()
        self._raw, self.parts, self._rows, self._blocks, self._index = {}, {}, [], [], None
        self._is_text, self._texts, self._distinct = [], {}, DistinctChunks()

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
                chunk: pending._replace(generation=after) if pending.generation == before else pending
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

    def may_hold(self, dataset: int, chunk: int) -> bool:
        """Return whether a chunk is pending; True also where only `encoded_index` could tell. Needs no lock.

        A chunk that is being encoded is among the encoded ones before it leaves the others.
        """
        if chunk in self._raw.get(dataset, ()):
            return True
        index = self._index
        return bool(self._rows) if index is None else _has_row(index.rows, dataset, chunk)

    def find_waiting(self, dataset: int) -> NDArray[Any] | None:
        """Return an array of one chunk that is not encoded yet, in its memory dtype; None for any other. Needs no lock.

        It must not be written to.
        """
        pending = self._raw.get(dataset, _NOTHING).get(0)
        if pending is None:
            return None
        return pending.cells.reshape(pending.schema.shape).view(pending.schema.memory_dtype)

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
        with self._lock:
            if self._index is None and any(len(rows) for rows in self._rows):
                blocks: BlockRows = BlockRows.joined([NO_BLOCKS, *self._blocks])
                rows, texts = needed_texts(*self._merged(), list(self._texts))
                source = _StagedSource(self._spill, blocks, texts, f"pending data {self._serial} of {self._name}")
                self._index = ChunkIndex.of([(source, rows)])
            return self._index

    def _merged(self) -> tuple[ChunkRows, NDArray[np.bool_]]:
        """Return the rows of the encoded chunks, of each the newest, (N,), and which of them are of text or bytes."""
        origins = [np.full(len(rows), text, np.int64) for rows, text in zip(self._rows, self._is_text, strict=True)]
        rows, is_text = merge_rows(self._rows, origins)
        return rows, is_text.astype(bool)

    def overlay_of(self, ids: Iterable[int]) -> Overlay:
        """Return what lays the chunks of datasets that are not encoded yet over a box; later writes do not change it.

        Those that are encoded meanwhile are in it too: ask for it before `encoded_index`.
        """
        raw = self._raw
        return partial(_lay_over, {dataset: raw[dataset].copy() for dataset in ids if dataset in raw} if raw else {})

    # Flushing

    def draft(self, are_stored: AreStored | None) -> SegmentDraft | None:
        """Encode what waits and return the segment to write, None where nothing is pending.

        It leaves out chunks of coordinates that other segments of the array store, as `are_stored` says; with None, it
        depends on no other segment.
        """
        self.encode(are_stored)
        if not any(len(rows) for rows in self._rows):
            return None
        rows, is_text = self._merged()
        first_blocks = np.concatenate([np.empty(0, np.int64), *self._first_blocks])
        staged = StagedChunks(self._spill, BlockRows.joined([NO_BLOCKS, *self._blocks]), first_blocks, rows, is_text)
        return draft_segment(staged, list(self._texts), self._distinct, are_stored, self.limits)


def _parallel_batches(runs: Iterable[ChunkRun], limits: Limits) -> Iterator[list[ChunkRun]]:
    """Yield batches of runs to encode in parallel, of bounded bytes. The first run is alone: it decides on the filter.

    Two runs a thread: with fewer, threads would wait for each other; with more, a flush would find more to sync.
    """
    left = iter(runs)
    yield from batches_by_bytes(islice(left, 1), 1, attrgetter("nbytes"))
    yield from batches_by_bytes(
        left, min(limits.parallel_bytes, 2 * limits.run_bytes * thread_count()), attrgetter("nbytes")
    )


def _lay_over(
    raw: Mapping[int, Mapping[int, PendingChunk]], out: NDArray[Any], ids: Iterable[int], region: Region
) -> None:
    """Lay chunks by dataset and position over `out` (N, *box), whose rows are the datasets `ids`.

    It is (1, *box) for a region whose arrays have rows of their own.
    """
    if not raw:
        return
    for number, dataset in enumerate(ids):
        chunks = raw.get(dataset)
        if chunks is None:
            continue
        row = number if region.edges is None else 0
        for k in region.rows_of(number):
            pending = chunks.get(region.chunk.item(k))
            if pending is not None:
                cells = pending.cells.reshape(region.geometry.extent[k])
                # One index: out[row] of a 0-D array would be a scalar, which takes no assignment.
                index: tuple[int | slice, ...] = (row, *region.in_box(k))
                out[index] = cells.view(pending.schema.memory_dtype)[region.in_chunk(k)]


def _has_row(rows: ChunkRows, dataset: int, chunk: int) -> bool:
    first, stop = np.searchsorted(rows.dataset, [dataset, dataset + 1])
    at = first + np.searchsorted(rows.chunk[first:stop], chunk)
    return bool(at < stop and rows.chunk[at] == chunk)


def _weight(pending: PendingChunk) -> int:
    # A str costs about fifty bytes beside its text.
    return pending.cells.nbytes * (8 if pending.cells.dtype == object else 1)
