"""What was written to one array name since the last flush: chunks not encoded yet, and encoded blocks.

Threads may encode, change and read a staging at once. The caller must hold the handle's locks: `encoding` to encode,
`writing` and `state` to change what reads find, `state` to read. Reads find encoded blocks once their rows are
published. A flush or a compaction, which keeps others from any change, encodes with `writing` alone.
"""

from __future__ import annotations

from functools import partial
from itertools import count, islice
from operator import attrgetter, itemgetter
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.catalog.chunk_index import NO_BLOCKS, ChunkIndex, merge_rows
from atlas.chunking.batches import batches_by_bytes
from atlas.format.digests import content_of
from atlas.format.segment import HEADER, BlockRows, ChunkRows
from atlas.kernels import LEAST_TRIED
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.locks import ForkSafeLock
from atlas.runtime.threads import run_all, thread_count
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
from atlas.write.staged_source import StagedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.id_shift import IdShift
    from atlas.chunking.regions import Region
    from atlas.format.digests import Content
    from atlas.write.encoding import ChunkKeys, Key
    from atlas.write.segment_draft import AreStored, SegmentDraft

    Overlay = Callable[[NDArray[Any], Iterable[int], Region], None]

__all__ = ["EncodedRows", "Staging"]

_serials = count()
_NOTHING: Mapping[int, PendingChunk] = {}


class EncodedRows(NamedTuple):
    """Rows of chunks that are encoded. Reads find them once they are published."""

    rows: ChunkRows
    """The rows; blocks are counted within the staging."""
    is_text: bool
    """Whether they are of text or bytes."""


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
        self._new_spill = partial(Spill, open_file, HEADER, sync_early)
        self._spill = self._new_spill()
        self._blocks: list[BlockRows] = []
        self._block_count = 0
        self._first_blocks: list[NDArray[np.int64]] = []
        self._distinct = DistinctChunks()
        self._rows: list[ChunkRows] = []
        self._is_text: list[bool] = []  # of each of `_rows`
        self._texts: dict[bytes, int] = {}
        self._index: ChunkIndex | None = None
        self._serial = next(_serials)
        self._lock = ForkSafeLock()  # held while blocks and rows come in, and while the index is made of them

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
            self.note_part(dataset, chunk, None if pending.written is None else np.packbits(pending.written))
        chunks = self._raw.setdefault(dataset, {})
        before = chunks.get(chunk)
        chunks[chunk] = pending
        weight = _weight(pending)
        self.raw_bytes += weight if before is None else weight - _weight(before)
        return weight

    def note_part(self, dataset: int, chunk: int, written: NDArray[np.uint8] | None) -> None:
        """Note which cells of a chunk are about to be written, as packed bits; None for all of them."""
        key = (dataset, chunk)
        if written is None:
            self.parts.pop(key, None)
        elif key in self.parts:
            self.parts[key] |= written
        elif not self._holds(dataset, chunk):
            self.parts[key] = written

    def _holds(self, dataset: int, chunk: int) -> bool:
        """Return whether a chunk is pending."""
        return self.find_chunk(dataset, chunk) is not None or self.find_row(dataset, chunk) is not None

    def holds_any(self) -> bool:
        """Return whether any chunk is staged. Needs no lock."""
        return any(list(self._raw.values())) or any(len(rows) for rows in list(self._rows))

    def drop(self, dataset: int) -> None:
        """Forget what was written to the array of a dataset."""
        self.parts = {key: written for key, written in self.parts.items() if key[0] != dataset}
        for pending in self._raw.pop(dataset, {}).values():
            self.raw_bytes -= _weight(pending)
        if any((rows.dataset == dataset).any() for rows in self._rows):
            self._rows = [rows.take(rows.dataset != dataset) for rows in self._rows]
            self._index = None

    def waiting(self) -> list[tuple[Key, PendingChunk]]:
        """Return the chunks that wait to be encoded, sorted by dataset and chunk."""
        chunks = [
            ((dataset, chunk), pending)
            for dataset, of_dataset in self._raw.items()
            for chunk, pending in of_dataset.items()
        ]
        chunks.sort(key=itemgetter(0))
        return chunks

    def encode_waiting(
        self, chunks: Sequence[tuple[Key, PendingChunk]], are_stored: AreStored | None = None
    ) -> list[EncodedRows]:
        """Encode chunks, sorted by dataset and chunk, and return their rows, for `replace_waiting` or `publish`.

        Of coordinates, those that `are_stored` elsewhere get blocks of their own.
        """
        others = [item for item in chunks if not item[1].coordinate]
        found = [self._add(encoded) for encoded in encode_chunks(others, self._compression)]
        coordinates = [item for item in chunks if item[1].coordinate]
        return found + self._encode_distinct(coordinates, are_stored) if coordinates else found

    def replace_waiting(self, chunks: Sequence[tuple[Key, PendingChunk]], encoded: Iterable[EncodedRows]) -> None:
        """Publish the rows of chunks that waited, but not of those that were replaced or dropped meanwhile."""
        raw = self._raw
        done = {key for key, pending in chunks if raw.get(key[0], _NOTHING).get(key[1]) is pending}
        if len(done) < len(chunks):
            encoded = [part._replace(rows=_only(part.rows, done)) for part in encoded]
        self.publish(encoded)
        # Only now: a read that takes no lock finds each chunk here or there.
        self._raw = {
            dataset: left
            for dataset, of_dataset in raw.items()
            if (left := {chunk: pending for chunk, pending in of_dataset.items() if (dataset, chunk) not in done})
        }
        self.raw_bytes = sum(_weight(pending) for left in self._raw.values() for pending in left.values())

    def encode(self, are_stored: AreStored | None = None) -> None:
        """Encode every chunk that waits; see `encode_waiting`. No other thread may change the staging meanwhile."""
        if self._raw:
            self.publish(self.encode_waiting(self.waiting(), are_stored))
            self._raw, self.raw_bytes = {}, 0

    def _encode_distinct(
        self, chunks: Sequence[tuple[Key, PendingChunk]], are_stored: AreStored | None
    ) -> list[EncodedRows]:
        """Encode chunks of coordinates, of equal ones the first."""
        contents = {key: content_of(pending.schema, pending.cells) for key, pending in chunks}
        new = self._distinct.find_new(list(contents.values()))
        stored = find_stored([contents[chunks[at][0]] for at in new.tolist()], are_stored, self.limits)
        found = []
        for some in new[stored], new[~stored]:
            for encoded in encode_chunks([chunks[at] for at in some.tolist()], self._compression):
                keys = zip(encoded.rows.dataset.tolist(), encoded.rows.chunk.tolist(), strict=True)
                found.append(self._add(encoded, [contents[key] for key in keys]))
        others = np.delete(np.arange(len(chunks)), new)
        for is_text in (False, True):
            known = [chunks[at] for at in others.tolist() if (chunks[at][1].schema.datatype.cell is None) is is_text]
            rows = self._distinct.rows_of(keys_of(known), [contents[key] for key, _ in known])
            found.append(EncodedRows(rows, is_text))
        return found

    def encode_runs(self, runs: Iterable[ChunkRun], bound_memory: Callable[[], None]) -> Iterator[EncodedRows]:
        """Encode chunks and yield their rows, for `publish`; calls `bound_memory` after each batch."""
        for batch in _parallel_batches(runs, self.limits):
            if batch[0].coordinate:
                for run in batch:
                    yield from self._encode_distinct_run(run)
            elif len(batch) == 1:
                yield self._encode_run(batch[0])
            else:
                yield from map(self._add, run_all(lambda run: encode_run(run, self._compression), batch))
            bound_memory()

    def put_runs(self, runs: Iterable[ChunkRun], bound_memory: Callable[[], None]) -> None:
        """Encode chunks, replacing what was written of them before; see `encode_runs`."""
        for encoded in self.encode_runs(runs, bound_memory):
            self.replace([encoded])

    def replace(self, encoded: Iterable[EncodedRows], keys: Container[Key] | None = None) -> None:
        """Publish the rows of encoded chunks, those of `keys` if given, in the place of what was written of them."""
        for part in encoded:
            rows = part.rows if keys is None else _only(part.rows, keys)
            self.publish([part._replace(rows=rows)])
            self._forget_raw(rows, whole=keys is None)

    def publish(self, encoded: Iterable[EncodedRows]) -> None:
        """Let reads find encoded chunks, which replace what was encoded of them before."""
        some = [part for part in encoded if len(part.rows)]
        with self._lock:
            self._rows += [part.rows for part in some]
            self._is_text += [part.is_text for part in some]
            self._index = None if some else self._index

    def _encode_run(self, run: ChunkRun, contents: Sequence[Content] = ()) -> EncodedRows:
        if run.nbytes <= self.limits.parallel_bytes:
            return self._add(encode_run(run, self._compression), contents)
        first = self._block_count
        rows, batches = encode_in_batches(run, self._compression)
        for stored, blocks in batches:
            self._add_blocks(stored, blocks)
            self.spill()
        return self._counted_from(first, rows, contents)

    def _encode_distinct_run(self, run: ChunkRun) -> Iterator[EncodedRows]:
        """Encode a run of chunks of coordinates, of equal ones the first."""
        values = run.load()
        cells = np.split(values, np.cumsum(run.count)[:-1])
        contents = [content_of(run.schema, own) for own in cells]
        new = self._distinct.find_new(contents)
        if len(new):
            load = partial(np.concatenate, [cells[at] for at in new.tolist()])
            distinct = ChunkRun(run.schema, run.keys.take(new), run.count[new], load)
            yield self._encode_run(distinct, [contents[at] for at in new.tolist()])
        others = np.delete(np.arange(len(contents)), new)
        yield self._copies(run.keys.take(others), [contents[at] for at in others.tolist()])

    def _copies(self, keys: ChunkKeys, contents: Sequence[Content]) -> EncodedRows:
        return EncodedRows(self._distinct.rows_of(keys, contents), is_text=False)

    def put_copies(self, keys: ChunkKeys, contents: Sequence[Content]) -> None:
        """Stage chunks of numbers that hold `contents` (N,), as chunks do that have been encoded."""
        self.publish([self._copies(keys, contents)])

    def _forget_raw(self, rows: ChunkRows, *, whole: bool) -> None:
        keys = list(zip(rows.dataset.tolist(), rows.chunk.tolist(), strict=True)) if self.parts or self._raw else []
        for key in keys if whole and self.parts else ():
            self.parts.pop(key, None)
        for dataset, chunk in keys:
            pending = self._raw.get(dataset, {}).pop(chunk, None)
            if pending is not None:
                self.raw_bytes -= _weight(pending)

    def _add(self, encoded: Encoded, contents: Sequence[Content] = ()) -> EncodedRows:
        first = self._block_count
        self._add_blocks(encoded.stored, encoded.blocks)
        rows = encoded.rows
        if encoded.texts:
            own = [self._texts.setdefault(text, len(self._texts)) for text in encoded.texts]
            rows = with_texts_at(rows, slice(None), np.array(own, np.uint64))
        return self._counted_from(first, rows, contents)._replace(is_text=len(encoded.texts) > 0)

    def _add_blocks(self, stored: NDArray[np.uint8], blocks: BlockRows) -> None:
        with self._lock:
            begin = self._spill.append(stored)
            self._blocks.append(BlockRows(**(blocks.columns() | {"offset": blocks.offset + begin})))
            self._block_count += len(blocks)

    def _counted_from(self, first: int, rows: ChunkRows, contents: Sequence[Content]) -> EncodedRows:
        """Return rows whose blocks are counted from the block `first`, where those of a run begin.

        Of coordinates, `contents` tells what they hold.
        """
        rows = ChunkRows(**(rows.columns() | {"block": np.where(rows.block >= 0, rows.block + first, rows.block)}))
        if contents:
            rows = ChunkRows(**(rows.columns() | {"digest": self._distinct.add(contents, rows)}))
        self._first_blocks.append(np.unique(rows.block[rows.block >= first]))
        return EncodedRows(rows, is_text=False)

    def spill(self) -> None:
        """Move encoded blocks to the temporary file."""
        self._spill.to_disk()

    def close(self) -> None:
        """Forget everything. Reads that go on keep what they need of it."""
        self._spill = self._new_spill()
        self._raw, self.parts, self._rows, self._blocks, self._index = {}, {}, [], [], None
        self._is_text, self._texts, self._distinct = [], {}, DistinctChunks()

    def shift(self, shift: IdShift) -> None:
        """Follow datasets whose ids were raised."""
        if not shift.by:
            return
        self._raw = {shift.apply_one(dataset): chunks for dataset, chunks in self._raw.items()}
        self._rows = [ChunkRows(**(rows.columns() | {"dataset": shift.apply(rows.dataset)})) for rows in self._rows]
        self._index = None

    def move(self, dataset: int, to: int, generation: int) -> None:
        """Give what is staged of a new dataset to another one, of which nothing is staged, under a generation."""
        chunks = self._raw.pop(dataset, None)
        if chunks is not None:
            self._raw[to] = {chunk: pending._replace(generation=generation) for chunk, pending in chunks.items()}
        for at, rows in enumerate(self._rows):
            own = rows.dataset == dataset
            if own.any():
                columns = {
                    "dataset": np.where(own, to, rows.dataset),
                    "generation": np.where(own, generation, rows.generation),
                }
                self._rows[at] = ChunkRows(**(rows.columns() | columns))
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
        return bool(self._rows) if index is None else _find_row(index.rows, dataset, chunk) >= 0

    def find_chunk(self, dataset: int, chunk: int) -> PendingChunk | None:
        """Return a chunk that is not encoded yet, which must not be changed; None for any other."""
        return self._raw.get(dataset, _NOTHING).get(chunk)

    def find_row(self, dataset: int, chunk: int) -> tuple[int, ...] | None:
        """Return the row of a chunk that is encoded, None for any other. While it stays the same, so do the cells."""
        index = self.encoded_index()
        at = -1 if index is None else _find_row(index.rows, dataset, chunk)
        return None if index is None or at < 0 else tuple(column.item(at) for column in index.rows.columns().values())

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
                source = StagedSource(self._spill, blocks, texts, f"pending data {self._serial} of {self._name}")
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

    def find_single(self) -> tuple[Key, PendingChunk] | None:
        """Return what is pending where that is one small chunk of numbers that waits, and of no coordinate."""
        if self._block_count or self._rows or len(self._raw) != 1 or self.raw_bytes >= LEAST_TRIED:
            return None
        ((dataset, chunks),) = self._raw.items()
        if len(chunks) != 1:
            return None
        ((chunk, pending),) = chunks.items()
        return None if pending.coordinate or pending.cells.dtype == object else ((dataset, chunk), pending)

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


def _find_row(rows: ChunkRows, dataset: int, chunk: int) -> int:
    first, stop = np.searchsorted(rows.dataset, [dataset, dataset + 1])
    at = int(first + np.searchsorted(rows.chunk[first:stop], chunk))
    return at if at < stop and rows.chunk[at] == chunk else -1


def _only(rows: ChunkRows, keys: Container[Key]) -> ChunkRows:
    """Return those rows whose dataset and chunk are among `keys`."""
    kept = [key in keys for key in zip(rows.dataset.tolist(), rows.chunk.tolist(), strict=True)]
    found: ChunkRows = rows.take(np.array(kept, bool))
    return found


def _weight(pending: PendingChunk) -> int:
    # A str costs about fifty bytes beside its text.
    return pending.cells.nbytes * (8 if pending.cells.dtype == object else 1)
