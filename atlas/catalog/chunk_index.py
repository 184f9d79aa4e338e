"""The chunk index of an array: the newest row of each chunk over all segments, and the sources of their blocks.

It is read from the indexes of the segments, through a storage. Blocks are not read here, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from atlas import kernels
from atlas.catalog.append_column import AppendColumn
from atlas.catalog.shared_chunks import DigestedChunks, resolve_shared
from atlas.errors import CorruptStoreError
from atlas.format.digests import NO_DIGESTS
from atlas.format.segment import SHARED, BlockRows, ChunkRows, SegmentRef, decode_index
from atlas.kernels import Index
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.format.strings import TextTable
    from atlas.storage import Storage

__all__ = ["ChunkIndex", "SegmentSource", "Source", "load_segment", "merge_rows"]


class Source(Protocol):
    """A file that blocks are read from."""

    @property
    def blocks(self) -> BlockRows:
        """Its block table."""

    @property
    def texts(self) -> TextTable:
        """The extremes of its string chunks that rows name by position."""

    @property
    def digests(self) -> NDArray[np.bytes_]:
        """The digests that rows name by position."""

    @property
    def name(self) -> str:
        """Name of the file, for messages and, where it is written once, for caches."""

    @property
    def written_once(self) -> bool:
        """Whether its name never stands for other bytes. Blocks of any other source must not be cached."""

    @property
    def coalesce_gap(self) -> int:
        """As of a storage, see `Storage.coalesce_gap`."""

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        """Read ranges of stored bytes into `out`, each at its offset in `target`."""


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """A committed segment."""

    storage: Storage
    """The storage that has the file."""
    ref: SegmentRef
    """The segment, as its commit names it."""
    blocks: BlockRows
    """Its block table."""
    texts: TextTable
    """The extremes of its string chunks."""
    digests: NDArray[np.bytes_]
    """The digests of its chunks of coordinates."""
    written_once: ClassVar[bool] = True
    """A segment is, and a new one has a new name."""

    @property
    def name(self) -> str:
        """Key of the file."""
        return self.ref.key

    @property
    def coalesce_gap(self) -> int:
        """That of its storage."""
        return self.storage.coalesce_gap

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        """Read ranges of stored bytes into `out`, each at its offset in `target`."""
        try:
            self.storage.read_into(self.ref.key, offset, length, out, target)
        except FileNotFoundError as error:
            raise CorruptStoreError(
                f"{self.ref.key}, which holds data of array {self.ref.array!r}, is missing; restore it from a copy",
                key=self.ref.key,
                array=self.ref.array,
            ) from error


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """The newest row of each chunk of one array, sorted by (dataset, chunk), and the sources of their blocks."""

    rows: ChunkRows
    """The rows; `block` counts within the row's source."""
    source: NDArray[np.int64]
    """Index in `sources` of each row."""
    sources: tuple[Source, ...]
    """The files that blocks are read from."""
    blocks: NDArray[np.int64]
    """The blocks of all sources, one after the other: an (8, blocks) matrix for kernels."""
    base: NDArray[np.int64]
    """The first block of each source in `blocks`."""
    columns: tuple[AppendColumn, ...] = ()
    """The columns that those of `rows` and `source` are views of, where the index grew: it can grow again in place."""
    _digested: DigestedChunks | None = None
    """See `digested_chunks`."""
    index: Index = field(init=False, repr=False)
    """The columns that kernels search."""
    coalesce_gap: int = field(init=False, repr=False)
    """The largest of its sources': a read too many of a slow source costs more than bytes too many of a fast one."""

    def __post_init__(self) -> None:
        """Derive what kernels take."""
        object.__setattr__(self, "coalesce_gap", max((source.coalesce_gap for source in self.sources), default=0))
        rows = self.rows
        columns = (rows.dataset, rows.generation, rows.chunk, rows.block, rows.offset.view(np.int64), self.source)
        object.__setattr__(self, "index", Index(*(np.require(column, np.int64, ["C", "W"]) for column in columns)))

    def source_of(self, block: int) -> Source:
        """Return the source of a block of `blocks`."""
        return self.sources[int(self.blocks[kernels.BLOCK_SOURCE, block])]

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[Source, ChunkRows]],
        beside: Sequence[tuple[Source, ChunkRows]] = (),
        lost: dict[str, ChunkRows] | None = None,
    ) -> ChunkIndex:
        """Return the index over `parts`, oldest first. Of two rows of one chunk the later part's is kept.

        Chunks may be shared with `parts` and with the parts `beside`, whose own rows are left out. Rows that share a
        chunk which none of them has are left out too and added to `lost`, by the name of their source. Raises
        `CorruptStoreError` for such rows where `lost` is None.
        """
        every = [*parts, *beside]
        stored = NO_DIGESTED
        if any((rows.block == SHARED).any() for _, rows in parts):
            digests = [source.digests for source, _ in every]
            stored = DigestedChunks.joined(
                [DigestedChunks.among(rows, np.full(len(rows), at), digests) for at, (_, rows) in enumerate(every)]
            )
        resolved = [resolve_shared(rows, number, source.digests, stored) for number, (source, rows) in enumerate(parts)]
        for (source, _), part in zip(parts, resolved, strict=True):
            if not len(part.lost):
                continue
            if lost is None:
                raise _lost_chunks(source, part.lost)
            lost[source.name] = part.lost
        rows, source_of = merge_rows([part.rows for part in resolved], [part.source for part in resolved])
        blocks = [source.blocks.matrix(at) for at, (source, _) in enumerate(every)] or [NO_BLOCKS.matrix()]
        counts = np.array([len(source.blocks) for source, _ in every], np.int64)
        base = np.cumsum(counts) - counts
        return cls(rows, source_of, tuple(source for source, _ in every), np.concatenate(blocks, axis=1), base)

    def digested_chunks(self) -> DigestedChunks:
        """Return the chunks with digests that its rows lead to. Found at the first call."""
        if self._digested is None:
            digests = [source.digests for source in self.sources]
            object.__setattr__(self, "_digested", DigestedChunks.among(self.rows, self.source, digests))
        assert self._digested is not None
        return self._digested

    def added(self, source: Source, rows: ChunkRows) -> ChunkIndex:
        """Return the index with one more source, which is newer than all others.

        Raises `CorruptStoreError` where a row shares a chunk that no row leads to any more, as its dataset was deleted
        or the chunk was written anew: then the index has to be read again.
        """
        number = len(self.sources)
        sources, origin = (*self.sources, source), np.full(len(rows), number)
        stored = self.digested_chunks() if (rows.block == SHARED).any() else self._digested
        if stored is not None:
            own = DigestedChunks.among(rows, origin, [some.digests for some in sources])
            stored = DigestedChunks.joined([stored, own])
            rows, origin, lost = resolve_shared(rows, number, source.digests, stored)
            if len(lost):
                raise _lost_chunks(source, lost)
        blocks = np.concatenate([self.blocks, source.blocks.matrix(number)], axis=1)
        base = np.append(self.base, self.blocks.shape[1])
        if not (len(self.rows) and len(rows) and rows.dataset[0] > self.rows.dataset[-1]):
            merged = merge_rows([self.rows, rows], [self.source, origin])
            return ChunkIndex(*merged, sources, blocks, base, _digested=stored)
        columns = self.columns
        if not columns or len(columns[0].values) != len(self.rows):
            columns = tuple(AppendColumn(values) for values in (*self.rows.columns().values(), self.source))
        for column, more in zip(columns, (*rows.columns().values(), origin), strict=True):
            column.append(more)
        *grown, source_of = (column.values for column in columns)
        return ChunkIndex(ChunkRows(*grown), source_of, sources, blocks, base, columns, stored)


_LARGEST = 2**63 - 1
EMPTY = np.empty(0, np.int64)
_BYTES, _BITS = np.empty(0, np.uint8), np.empty(0, np.uint64)
NO_BLOCKS = BlockRows(EMPTY, EMPTY, EMPTY, _BYTES, _BYTES, _BYTES, _BITS)
NO_ROWS = ChunkRows(EMPTY, EMPTY, EMPTY, EMPTY, _BITS, EMPTY, EMPTY, _BITS, _BITS, EMPTY)
NO_DIGESTED = DigestedChunks(NO_DIGESTS, EMPTY, NO_ROWS)


def _lost_chunks(source: Source, lost: ChunkRows) -> CorruptStoreError:
    return CorruptStoreError(
        f"{source.name} shares {len(lost)} chunks with other segments of its array, and none of them has these; "
        "restore the store from a copy",
        key=source.name,
    )


def merge_rows(parts: Sequence[ChunkRows], origins: Sequence[NDArray[np.int64]]) -> tuple[ChunkRows, NDArray[np.int64]]:
    """Return the rows of `parts` sorted by (dataset, chunk), with their `origins`; of one chunk the last part's row."""
    if not parts:
        return NO_ROWS, EMPTY
    rows: ChunkRows = parts[0] if len(parts) == 1 else ChunkRows.joined(list(parts))
    origin = np.concatenate(origins)
    later = rows.dataset[1:] > rows.dataset[:-1]
    later |= (rows.dataset[1:] == rows.dataset[:-1]) & (rows.chunk[1:] > rows.chunk[:-1])
    if later.all():  # one segment, or newer datasets after the others: the common cases
        return rows, origin
    age = np.arange(len(origin))
    order = np.lexsort((age, rows.chunk, rows.dataset))
    dataset, chunk = rows.dataset[order], rows.chunk[order]
    newest = np.ones(len(order), bool)
    newest[:-1] = (dataset[1:] != dataset[:-1]) | (chunk[1:] != chunk[:-1])
    order = order[newest]
    return rows.take(order), origin[order]


def load_segment(storage: Storage, ref: SegmentRef) -> tuple[SegmentSource, ChunkRows]:
    """Read and check the index of a segment.

    Raises `CorruptStoreError`, which names the file and the array, where the segment is missing or damaged.
    """
    try:
        index = storage.read_range(ref.key, ref.footer.index_offset, ref.footer.index_length)
        blocks, rows, texts, digests = decode_index(index, ref.footer)
    except (FileNotFoundError, CorruptStoreError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise CorruptStoreError(
            f"{ref.key}, which holds data of array {ref.array!r}, cannot be used: {reason}; restore it from a copy",
            key=ref.key,
            array=ref.array,
        ) from error
    return SegmentSource(storage, ref, blocks, texts, digests), _shifted(rows, ref)


def _shifted(rows: ChunkRows, ref: SegmentRef) -> ChunkRows:
    """Return the rows with the dataset ids of the commit that names the segment."""
    if not ref.shift_by or not len(rows):
        return rows
    if int(rows.dataset[-1]) > _LARGEST - ref.shift_by:
        raise CorruptStoreError(
            f"{ref.key}, which holds data of array {ref.array!r}, is named with a shift that raises its ids past "
            "2**63-1; restore the commits and the checkpoint from a copy",
            key=ref.key,
            array=ref.array,
        )
    shifted = rows.dataset + np.where(rows.dataset >= ref.shift_from, ref.shift_by, 0)
    return ChunkRows(**(rows.columns() | {"dataset": shifted}))


def load_chunk_index(
    storage: Storage,
    refs: Sequence[SegmentRef],
    older: Sequence[SegmentRef] = (),
    lost: dict[str, ChunkRows] | None = None,
) -> ChunkIndex:
    """Read the indexes of segments of an array and merge them.

    They may share chunks with the segments `older`, which are only read where they do. For `lost` see `ChunkIndex.of`.
    """
    if len({ref.key for ref in refs}) != len(refs):
        raise CorruptStoreError(
            f"segments of array {refs[0].array!r} are named twice; restore the commits and the checkpoint from a copy",
            array=refs[0].array,
        )
    parts = run_all(lambda ref: load_segment(storage, ref), refs)
    share = older and any((rows.block == SHARED).any() for _, rows in parts)
    beside = run_all(lambda ref: load_segment(storage, ref), older) if share else ()
    return ChunkIndex.of(parts, beside, lost)
