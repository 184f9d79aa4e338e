"""Encodes chunks to blocks and index rows: statistics, constants, filter and codec, on several threads.

Chunks of one dtype and fill are encoded together, because neighbours share blocks and one kernel call serves all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas import kernels
from atlas.catalog.chunk_index import EMPTY, NO_BLOCKS
from atlas.chunking.batches import batches_by_bytes, slices_by_bytes
from atlas.chunking.packing import pack_chunks
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.segment import CONSTANT, NO_DIGEST, BlockRows, ChunkRows
from atlas.format.strings import NO_EXTREME, encode_cells, encode_extreme, string_statistics
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import run_all, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.chunking.packing import Packing
    from atlas.format.schema import ArraySchema
    from atlas.format.strings import Cell

__all__ = [
    "ChunkKeys",
    "ChunkRun",
    "Compression",
    "PendingChunk",
    "encode_apart",
    "encode_chunks",
    "encode_in_batches",
    "encode_run",
    "keys_of",
]

_LEVEL = 1
"""zstd level; higher ones gain little on shuffled numbers and cost several times the write."""


class PendingChunk(NamedTuple):
    """A chunk that was written and is not encoded yet. A tuple: fleets of small arrays make one a write."""

    schema: ArraySchema
    """Schema of its array."""
    generation: int
    """Generation of its array."""
    cells: NDArray[Any]
    """All its cells, 1-D in C order: of the stored dtype, or objects of str or bytes, None for missing ones."""
    written: NDArray[np.bool_] | None = None
    """Which cells were written while the others were read from the store; None: all, or no other handle can write."""
    coordinate: bool = False
    """Whether it is of a coordinate, of which equal chunks are stored once."""


class Cells(NamedTuple):
    """What the cells of a block are."""

    dtype: np.dtype[Any]
    """Their dtype: that of memory for bools, and of one byte without a meaning for texts."""
    missing: bytes | None
    """The cell that means missing: the fill value, or not-a-time; None where there is none."""


_TEXTS = Cells(np.dtype("V1"), None)


def _cells_of(schema: ArraySchema) -> Cells:
    datatype = schema.datatype
    assert datatype.cell is not None
    missing = schema.fill_bits if schema.fill is not None else None
    if missing is None and datatype.has_nat:
        missing = np.iinfo(np.int64).min.to_bytes(8, "little", signed=True)
    return Cells(datatype.memory if datatype.kind == "bool" else datatype.cell, missing)


class Compression:
    """How the blocks of one flush of one array are made; the filter is chosen once a dtype, on the first blocks."""

    def __init__(self, codec: str, forced: str, limits: Limits = DEFAULT) -> None:
        self.limits = limits
        self.codec = CODECS[codec]
        self._forced = None if forced == "auto" else FILTERS[forced]
        self._chosen: dict[str, int] = {}

    def filter_for(
        self, cells: Cells, raw: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
    ) -> int:
        """Return the filter for blocks of `cells`; a few of the blocks given are tried where it is not known yet."""
        if self._forced is not None:
            return kernels.suitable_filter(self._forced, cells.dtype)
        kind = cells.dtype.str
        chosen = self._chosen.get(kind)
        if chosen is None:
            some = np.arange(len(start))
            if len(start) > 3:
                some = np.unique(np.linspace(0, len(start) - 1, 3).astype(np.int64))
            chosen = kernels.choose_filter(
                raw, start[some], length[some], codec=self.codec, dtype=cells.dtype, level=_LEVEL, fill=cells.missing
            )
            if length[some].sum() >= kernels.LEAST_TRIED:  # a few cells say nothing of the others
                self._chosen[kind] = chosen
        return chosen


@dataclass(frozen=True, slots=True)
class Encoded:
    """Blocks with the rows of the chunks in them."""

    stored: NDArray[np.uint8]
    """The blocks' bytes, back to back."""
    blocks: BlockRows
    """Their table; offsets count from the beginning of `stored`."""
    rows: ChunkRows
    """One row a chunk; `block` counts within `blocks`."""
    texts: Sequence[bytes] = ()
    """The extremes that rows name by position: of strings and bytes only."""


Key = tuple[int, int]
"""Dataset id and chunk position."""


class ChunkKeys(NamedTuple):
    """Whose chunks they are, in columns."""

    dataset: NDArray[np.int64]
    """Dataset ids."""
    generation: NDArray[np.int64]
    """Generations of the array."""
    chunk: NDArray[np.int64]
    """Positions in the grid."""

    def take(self, at: NDArray[np.int64]) -> ChunkKeys:
        """Return those at the positions `at`."""
        return ChunkKeys(*(column[at] for column in self))


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Whole chunks of one schema of fixed-width cells, to be encoded in order."""

    schema: ArraySchema
    """Schema of their arrays."""
    keys: ChunkKeys
    """Whose they are."""
    count: NDArray[np.int64]
    """Cells of each."""
    load: Callable[[], NDArray[Any]]
    """Returns all their cells, 1-D in C order, of the stored dtype; called once, by any thread."""
    coordinate: bool = False
    """Whether they are of a coordinate, of which equal chunks are stored once."""

    @property
    def nbytes(self) -> int:
        """Bytes of their cells."""
        return int(self.count.sum()) * self.schema.datatype.itemsize


def encode_chunks(chunks: Sequence[tuple[Key, PendingChunk]], compression: Compression) -> Iterator[Encoded]:
    """Yield the encoding of `chunks`, sorted by key, in batches of bounded size."""
    groups: dict[tuple[str, bytes | None], list[tuple[Key, PendingChunk]]] = {}
    for item in chunks:
        groups.setdefault(_kind(item[1].schema), []).append(item)
    for group in groups.values():
        if group[0][1].schema.datatype.cell is None:
            yield _encode_strings(group, compression)
            continue
        small = [item for item in group if item[1].cells.nbytes < compression.limits.own_block]
        if small:
            yield _encode_small(small, compression)
        large = [item for item in group if item[1].cells.nbytes >= compression.limits.own_block]
        for batch in batches_by_bytes(large, compression.limits.large_bytes, lambda item: item[1].cells.nbytes):
            yield from run_all(lambda item: _encode_large(item, compression), batch)


def _kind(schema: ArraySchema) -> tuple[str, bytes | None]:
    """Return dtype and fill value: chunks that have them in common are encoded together."""
    return schema.datatype.name, None if schema.fill is None else schema.fill_bits


def _statistics(
    schema: ArraySchema, values: NDArray[Any], start: NDArray[np.int64], count: NDArray[np.int64]
) -> kernels.ChunkStatistics:
    return kernels.chunk_statistics(values, start, count, schema.fill, missing_minimum=schema.datatype.has_nat)


def _rows_of(
    keys: ChunkKeys, block: NDArray[np.int64], offset: NDArray[np.uint64], found: kernels.ChunkStatistics
) -> ChunkRows:
    digest = np.full(len(block), NO_DIGEST)
    return ChunkRows(*keys, block, offset, found.nulls, found.nans, found.minimum, found.maximum, digest)


def _bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    return values.view(f"<u{values.dtype.itemsize}").astype(np.uint64)


def keys_of(group: Sequence[tuple[Key, PendingChunk]]) -> ChunkKeys:
    """Return the keys of pending chunks in columns."""
    keys = np.array([key for key, _ in group], np.int64).reshape(-1, 2)
    return ChunkKeys(keys[:, 0].copy(), np.array([chunk.generation for _, chunk in group], np.int64), keys[:, 1].copy())


def _encode_blocks(
    raw: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    cells: Cells,
    compression: Compression,
    chosen: int | None = None,
) -> tuple[NDArray[np.uint8], BlockRows]:
    """Encode blocks with several threads and put their bytes back to back, with the filter `chosen` or one for all."""
    if not len(start):
        return np.empty(0, np.uint8), NO_BLOCKS
    if chosen is None:
        chosen = compression.filter_for(cells, raw, start, length)
    size = max(int(length.sum()) // thread_count() + 1, 64 << 10)

    def encode(mine: slice) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return kernels.encode_blocks(
            raw,
            start[mine],
            length[mine],
            codec=compression.codec,
            filter=chosen,
            itemsize=cells.dtype.itemsize,
            level=_LEVEL,
            fill=cells.missing,
        )

    parts = run_all(encode, slices_by_bytes(length, min(size, compression.limits.task_bytes)))
    stored = parts[0][0] if len(parts) == 1 else np.concatenate([part for part, _ in parts])
    blocks = BlockRows.of_matrix(np.concatenate([table for _, table in parts], axis=1))
    return stored, BlockRows(**(blocks.columns() | {"offset": np.cumsum(blocks.stored) - blocks.stored}))


def _encode_small(group: Sequence[tuple[Key, PendingChunk]], compression: Compression) -> Encoded:
    return _encode_values(group[0][1].schema, keys_of(group), *_join_cells(group), compression)


def _join_cells(group: Sequence[tuple[Key, PendingChunk]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the cells of pending chunks, one after the other, and how many each has."""
    values = group[0][1].cells if len(group) == 1 else np.concatenate([chunk.cells for _, chunk in group])
    return values, np.array([len(chunk.cells) for _, chunk in group], np.int64)


def encode_apart(
    chunks: Sequence[tuple[Key, PendingChunk]], compression: Compression
) -> Iterator[tuple[list[int], Encoded]]:
    """Yield the encoding of chunks of numbers, each of which has a block of its own unless it is constant.

    They may be of many arrays; each has less than `kernels.LEAST_TRIED` bytes. Yields the positions in `chunks` of
    those of one dtype and fill value, (M,), with their encoding, whose rows are in that order.
    """
    alike: dict[tuple[str, bytes | None], list[int]] = {}
    for at, (_, chunk) in enumerate(chunks):
        alike.setdefault(_kind(chunk.schema), []).append(at)
    for places in alike.values():
        group = [chunks[at] for at in places]
        schema = group[0][1].schema
        values, count = _join_cells(group)
        first = np.cumsum(count) - count
        found = _statistics(schema, values, first, count)
        kept = found.constant == 0
        block = np.where(kept, np.cumsum(kept) - 1, CONSTANT)
        offset = np.where(kept, np.uint64(0), _bits(values[first]))
        raw, cells = values.view(np.uint8), _cells_of(schema)
        start, length = (column[kept] * values.dtype.itemsize for column in (first, count))
        chosen = compression.filter_for(cells, raw, start[:1], length[:1])  # they have the one that each has alone
        stored, blocks = _encode_blocks(raw, start, length, cells, compression, chosen)
        yield places, Encoded(stored, blocks, _rows_of(keys_of(group), block, offset, found))


def encode_run(run: ChunkRun, compression: Compression) -> Encoded:
    """Return the encoding of a run."""
    return _encode_values(run.schema, run.keys, run.load(), run.count, compression)


def _encode_values(
    schema: ArraySchema, keys: ChunkKeys, values: NDArray[Any], count: NDArray[np.int64], compression: Compression
) -> Encoded:
    """Encode chunks of `count` cells, which follow each other in `values`."""
    values, packing, rows = _lay_out(schema, keys, values, count, compression.limits)
    stored, blocks = _encode_blocks(
        values.view(np.uint8), packing.start, packing.length, _cells_of(schema), compression
    )
    return Encoded(stored, blocks, rows)


def encode_in_batches(
    run: ChunkRun, compression: Compression
) -> tuple[ChunkRows, Iterator[tuple[NDArray[np.uint8], BlockRows]]]:
    """Return the rows of a run of any size, and its blocks in bounded batches, each encoded when it is taken."""
    values, packing, rows = _lay_out(run.schema, run.keys, run.load(), run.count, compression.limits)
    cells = _cells_of(run.schema)
    return rows, (
        _encode_blocks(values.view(np.uint8), packing.start[some], packing.length[some], cells, compression)
        for some in slices_by_bytes(packing.length, compression.limits.large_bytes)
    )


def _lay_out(
    schema: ArraySchema, keys: ChunkKeys, values: NDArray[Any], count: NDArray[np.int64], limits: Limits
) -> tuple[NDArray[Any], Packing, ChunkRows]:
    """Return the cells that are stored, how they share blocks, and the rows of the chunks."""
    start = np.cumsum(count) - count
    found = _statistics(schema, values, start, count)
    constant = found.constant.astype(bool)
    block = np.full(len(count), CONSTANT, np.int64)
    offset = _bits(values[start])
    if constant.any():
        kept = ~constant
        values = values[np.repeat(kept, count)]
        packing = pack_chunks(count[kept] * values.dtype.itemsize, limits)
        block[kept], offset[kept] = packing.block, packing.offset.astype(np.uint64)
    else:
        packing = pack_chunks(count * values.dtype.itemsize, limits)
        block, offset = packing.block, packing.offset.astype(np.uint64)
    return values, packing, _rows_of(keys, block, offset, found)


def _encode_large(item: tuple[Key, PendingChunk], compression: Compression) -> Encoded:
    chunk = item[1]
    values = chunk.cells
    found = _statistics(chunk.schema, values, np.zeros(1, np.int64), np.array([len(values)]))
    if found.constant[0]:
        start, length, block, offset = EMPTY, EMPTY, np.array([CONSTANT]), _bits(values[:1])
    else:
        packing = pack_chunks(np.array([values.nbytes]), compression.limits)
        start, length, block, offset = packing.start, packing.length, packing.block, packing.offset.astype(np.uint64)
    stored, blocks = _encode_blocks(values.view(np.uint8), start, length, _cells_of(chunk.schema), compression)
    return Encoded(stored, blocks, _rows_of(keys_of([item]), block, offset, found))


def _encode_strings(group: Sequence[tuple[Key, PendingChunk]], compression: Compression) -> Encoded:
    statistics, payloads, kept = [], [], []
    texts: dict[bytes, int] = {}
    block = np.full(len(group), CONSTANT, np.int64)
    offset = np.zeros(len(group), np.uint64)
    for at, (_, chunk) in enumerate(group):
        cells: list[Cell] = chunk.cells.tolist()
        unwritten = chunk.schema.fill_text
        null, *ends = string_statistics(cells, None if chunk.schema.fill is None else unwritten)
        named = [end if end == NO_EXTREME else encode_extreme(cells[end], end, texts) for end in ends]
        statistics.append((null, *named))
        if cells.count(unwritten) < len(cells):
            payloads.append(encode_cells(cells))
            kept.append(at)
    # Strings are never cut within a chunk: a reader finds a cell by the lengths before it.
    packing = pack_chunks(np.array([len(payload) for payload in payloads], np.int64), compression.limits, cut=False)
    block[kept], offset[kept] = packing.block, packing.offset.astype(np.uint64)
    raw = np.frombuffer(b"".join(payloads), np.uint8)
    stored, blocks = _encode_blocks(raw, packing.start, packing.length, _TEXTS, compression)
    nulls, low, high = (np.array(column, "u8") for column in zip(*statistics, strict=True))
    nans, digest = np.zeros(len(group), np.int64), np.full(len(group), NO_DIGEST)
    rows = ChunkRows(*keys_of(group), block, offset, nulls.view(np.int64), nans, low, high, digest)
    return Encoded(stored, blocks, rows, list(texts))
