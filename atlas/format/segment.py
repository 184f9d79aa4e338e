"""Segments: immutable files, each with the chunks of one array name that one flush wrote.

A segment is a header, blocks, an index and a footer. The index has a row for each block and one for each chunk. Bytes
to values and back; no I/O, and nothing here decodes a block.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import xxhash

from atlas.errors import CorruptStoreError, UnsupportedFormatError
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.digests import DIGEST, NO_DIGESTS
from atlas.format.index_columns import count_values, decode_columns, encode_columns, encode_single_rows
from atlas.format.strings import TextTable
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = [
    "CONSTANT",
    "FOOTER_SIZE",
    "FORMAT_VERSION",
    "HEADER",
    "NO_DIGEST",
    "NO_TEXTS",
    "OF_THE_CHUNK",
    "SHARED",
    "BlockRows",
    "ChunkRows",
    "Footer",
    "SegmentIndex",
    "SegmentRef",
    "decode_footer",
    "decode_index",
    "encode_single_tails",
    "encode_tail",
]

FORMAT_VERSION = 1
_MAGIC = b"ATLASSEG"
HEADER = _MAGIC + struct.pack("<II", FORMAT_VERSION, 0)
_FOOTER = struct.Struct("<QQQQQII")
FOOTER_SIZE = _FOOTER.size + 16
# Constant columns take almost no bytes, whatever the number of rows. An index may still not declare more than 64 rows a
# byte, so that what a reader allocates stays in proportion to the file. The writer pads the index to keep the rule.
_ROWS_PER_BYTE = 64
_ROW_BYTES = 224
# Most bytes that one stored byte decodes to, by codec: a zstd block of 128 KiB takes four bytes, an LZ4 length adds 255
# a byte. Integers that are all equal take none, so their filters get the largest. A row that claims more is refused, so
# a reader can allocate what a row claims.
_MOST_EXPANSION = np.array([1, 32_768, 255], np.int64)
CONSTANT = -1
"""`block` of a chunk whose cells are all equal. `offset` holds the bits of a number; all strings are the fill."""
SHARED = -2
"""`block` of a row whose chunk another segment of the array stores, under the same digest."""
NO_DIGEST = -1
"""`digest` of a chunk without a digest."""
OF_THE_CHUNK = ("block", "offset", "nulls", "nans", "minimum", "maximum")
"""Columns of a row that say where its chunk lies and what it holds: rows that share a chunk have the same there."""
NO_TEXTS = TextTable.of([])


class _Rows:
    """Columns of equal length as a frozen value."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name, in the order of the format."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def take(self, rows: NDArray[Any]) -> Any:
        """Return the rows picked by an index array or mask."""
        return type(self)(**{name: values[rows] for name, values in self.columns().items()})

    @classmethod
    def joined(cls, parts: list[Any]) -> Any:
        """Return the rows of `parts`, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__}
        )


@dataclass(frozen=True, slots=True)
class BlockRows(_Rows):
    """The rows of blocks. On disk the columns have the names of the fields after `block_`."""

    offset: NDArray[np.int64]
    """First stored byte, from the beginning of the file."""
    stored: NDArray[np.int64]
    """Stored bytes."""
    raw: NDArray[np.int64]
    """Bytes it decodes to."""
    codec: NDArray[np.uint8]
    """0 none, 1 zstd, 2 lz4."""
    filter: NDArray[np.uint8]
    """A number of `FILTERS`."""
    itemsize: NDArray[np.uint8]
    """Bytes of an item for the filter."""
    checksum: NDArray[np.uint64]
    """XXH3 (64 bits, seed 0) of the stored bytes."""

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.offset)

    @classmethod
    def of_matrix(cls, matrix: NDArray[np.int64]) -> BlockRows:
        """Return the blocks of an (8, blocks) matrix of kernels, whose last row, the source, is left out."""
        offset, stored, raw, codec, kind, itemsize, checksum, _ = matrix
        codec, kind, itemsize = (column.astype(np.uint8) for column in (codec, kind, itemsize))
        return cls(offset, stored, raw, codec, kind, itemsize, checksum.view(np.uint64))

    def matrix(self, source: int = 0) -> NDArray[np.int64]:
        """Return the columns as the rows of one int64 matrix, the checksum as its bits, and `source` for each block."""
        *others, checksum = self.columns().values()
        return np.array([*others, checksum.view(np.int64), np.full(len(self), source)], np.int64)


@dataclass(frozen=True, slots=True)
class ChunkRows(_Rows):
    """The rows of chunks, sorted by (dataset, chunk). On disk the columns have the names of the fields."""

    dataset: NDArray[np.int64]
    """Id of the dataset."""
    generation: NDArray[np.int64]
    """Generation of the array within its dataset (see `dataset_columns.ArrayEntry`)."""
    chunk: NDArray[np.int64]
    """C-order position in the chunk grid."""
    block: NDArray[np.int64]
    """Row of the block where the chunk begins, `CONSTANT` or `SHARED`. Of a shared chunk all columns after this one are
    0 but the last: they are those of the chunk that has its digest."""
    offset: NDArray[np.uint64]
    """Byte of the decoded block where the chunk begins; of a constant chunk the bits of its cells."""
    nulls: NDArray[np.int64]
    """Cells equal to the fill value, and missing strings."""
    nans: NDArray[np.int64]
    """Cells that are NaN or not-a-time, equal to the fill value or not."""
    minimum: NDArray[np.uint64]
    """Bits of the smallest value that is not null (int64, uint64 or float64); for strings see `encode_extreme`."""
    maximum: NDArray[np.uint64]
    """Bits of the largest such value; less than `minimum` where there is no such value."""
    digest: NDArray[np.int64]
    """Position of the chunk's digest in the digests of its segment, or `NO_DIGEST`."""

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self.dataset)


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of a segment."""

    index_offset: int
    """First byte of the index."""
    index_length: int
    """Bytes of the index."""
    index_checksum: int
    """XXH3 (64 bits, seed 0) of the index."""
    chunks: int
    """Rows of the chunk table."""
    blocks: int
    """Rows of the block table."""


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment, as commits name it: a reader gets the index in one request, and can tell that it is the right one."""

    array: str
    """Array name."""
    key: str
    """Key of the file within the store."""
    size: int
    """Bytes of the file."""
    footer: Footer
    """Copy of the file's footer."""
    shift_from: int = 0
    """Lowest dataset id of the index that is raised."""
    shift_by: int = 0
    """What is added to these ids: a writer whose new datasets got other ids keeps its segments as they are."""
    rewritten: bool = False
    """Whether it holds only chunks of the segments that its commit drops: the commit changes none of them."""


_BLOCK_DTYPES = {"offset": "<i8", "stored": "<i8", "raw": "<i8", "codec": "<u1", "filter": "<u1", "itemsize": "<u1"}
_CHUNK_DTYPES = {"offset": "<u8", "minimum": "<u8", "maximum": "<u8"}


_BLOCK_COLUMNS = {f.name: np.dtype(_BLOCK_DTYPES.get(f.name, "<u8")) for f in fields(BlockRows)}
_CHUNK_COLUMNS = {f.name: np.dtype(_CHUNK_DTYPES.get(f.name, "<i8")) for f in fields(ChunkRows) if f.name != "digest"}
_TEXT_ENDS, _TEXTS = "text_end", "text"
_DIGEST, _DIGESTS = "digest", "digests"
_PREFIXED = {name: f"block_{name}" for name in _BLOCK_COLUMNS}


def encode_tail(
    blocks: BlockRows,
    chunks: ChunkRows,
    index_offset: int,
    *,
    texts: TextTable = NO_TEXTS,
    digests: NDArray[np.bytes_] = NO_DIGESTS,
) -> tuple[bytes, Footer]:
    """Return the bytes that follow the blocks of a segment, which end at `index_offset`, and the footer among them."""
    columns = _index_columns(blocks, chunks)
    if len(digests):
        columns[_DIGEST] = chunks.digest
    if len(texts):
        columns |= {_TEXT_ENDS: texts.ends, _TEXTS: texts.data}
    if len(digests):
        columns[_DIGESTS] = digests.view(np.uint8)
    index = encode_columns(columns)
    rows = max(len(blocks), len(chunks))
    index += bytes(max(0, -(-rows // _ROWS_PER_BYTE) - len(index)))
    return _closed(index, index_offset, len(chunks), len(blocks))


def encode_single_tails(
    blocks: BlockRows, chunks: ChunkRows, index_offset: NDArray[np.int64]
) -> list[tuple[bytes, Footer]]:
    """Return what `encode_tail` returns for each of many segments of one chunk and one block, or of none of them.

    `blocks` has a row for each segment, or none. Neither texts nor digests.
    """
    indexes = encode_single_rows(_index_columns(blocks, chunks)) if len(chunks) else ()
    of_each = min(len(blocks), 1)
    return [
        _closed(index.tobytes(), offset, 1, of_each)
        for index, offset in zip(indexes, index_offset.tolist(), strict=True)
    ]


def _index_columns(blocks: BlockRows, chunks: ChunkRows) -> dict[str, NDArray[Any]]:
    """Return the columns of an index without texts and digests."""
    columns = {f"block_{name}": values for name, values in blocks.columns().items()} | chunks.columns()
    del columns[_DIGEST]
    return columns


def _closed(index: bytes, index_offset: int, chunks: int, blocks: int) -> tuple[bytes, Footer]:
    """Return an index with the footer that follows it, and the footer."""
    footer = Footer(index_offset, len(index), xxhash.xxh3_64_intdigest(index), chunks, blocks)
    head = _FOOTER.pack(
        footer.index_offset, footer.index_length, footer.index_checksum, footer.chunks, footer.blocks, FORMAT_VERSION, 0
    )
    return index + head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + _MAGIC, footer


def decode_footer(tail: bytes, size: int) -> Footer:
    """Return the footer of a segment of `size` bytes from its last `FOOTER_SIZE` bytes.

    Raises `CorruptStoreError` where they are no footer or do not fit the size, `UnsupportedFormatError` for a version
    that this release does not read.
    """
    if len(tail) != FOOTER_SIZE or tail[-8:] != _MAGIC:
        raise CorruptStoreError("it does not end with the magic bytes of a segment")
    head = tail[: _FOOTER.size]
    index_offset, index_length, index_checksum, chunks, blocks, version, _ = _FOOTER.unpack(head)
    if struct.unpack("<Q", tail[_FOOTER.size : _FOOTER.size + 8])[0] != xxhash.xxh3_64_intdigest(head):
        raise CorruptStoreError("the checksum of its footer does not match")
    if version != FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"a segment of format version {version}; this release reads {FORMAT_VERSION}: use a newer atlas-store"
        )
    footer = Footer(index_offset, index_length, index_checksum, chunks, blocks)
    check_footer(footer, size)
    return footer


def check_footer(footer: Footer, size: int) -> None:
    """Raise `CorruptStoreError` unless the index ends at the footer of a file of `size` bytes and can hold its rows."""
    if footer.index_offset < len(HEADER) or footer.index_offset + footer.index_length + FOOTER_SIZE != size:
        raise CorruptStoreError(
            f"its index (bytes {footer.index_offset} + {footer.index_length}) does not fit its {size}"
        )
    if max(footer.chunks, footer.blocks) > footer.index_length * _ROWS_PER_BYTE:
        raise CorruptStoreError(
            f"it declares {footer.chunks} chunks in {footer.blocks} blocks, more than its size allows"
        )


class SegmentIndex(NamedTuple):
    """The index of a segment. Every row lies within the file, and chunks are sorted."""

    blocks: BlockRows
    """Its block table."""
    chunks: ChunkRows
    """Its chunk table."""
    texts: TextTable
    """The extremes of string chunks that rows name by position."""
    digests: NDArray[np.bytes_]
    """The digests that rows name by position, (K,) of `DIGEST`."""


def decode_index(index: bytes, footer: Footer) -> SegmentIndex:
    """Return the tables of an index.

    Raises `CorruptStoreError` where the checksum, a length, an order or a bound does not hold.
    """
    if len(index) != footer.index_length or xxhash.xxh3_64_intdigest(index) != footer.index_checksum:
        raise CorruptStoreError("the checksum of its index does not match")
    # An index may have 64 rows a byte, and checking a row takes some 224 bytes.
    rows = footer.blocks + footer.chunks
    optional = _count_optional(index, footer)
    check_room(
        rows * _ROW_BYTES + sum(dtype.itemsize * count for dtype, count in optional.values()),
        f"an index of {rows} rows",
        "the file declares them: it is damaged, or needs a larger machine",
    )
    counts = {_PREFIXED[name]: (dtype, footer.blocks) for name, dtype in _BLOCK_COLUMNS.items()}
    counts |= {name: (dtype, footer.chunks) for name, dtype in _CHUNK_COLUMNS.items()}
    columns = decode_columns(index, counts | optional)
    blocks = BlockRows(**{name: columns[prefixed] for name, prefixed in _PREFIXED.items()})
    digests = columns[_DIGESTS].view(DIGEST) if _DIGESTS in optional else NO_DIGESTS
    digest = columns[_DIGEST] if _DIGEST in optional else np.full(footer.chunks, NO_DIGEST)
    chunks = ChunkRows(**{name: columns[name] for name in _CHUNK_COLUMNS}, digest=digest)
    _check_blocks(blocks, footer)
    _check_chunks(chunks, footer, len(digests))
    return SegmentIndex(blocks, chunks, _texts_of(columns) if _TEXTS in optional else NO_TEXTS, digests)


def _count_optional(index: bytes, footer: Footer) -> dict[str, tuple[np.dtype[Any], int]]:
    """Return dtype and length of the columns of texts and digests, which an index without texts or digests lacks."""
    declared = count_values(index)
    found: dict[str, tuple[np.dtype[Any], int]] = {}
    if declared.keys() & {_TEXT_ENDS, _TEXTS}:
        texts, nbytes = (declared.get(name, 0) for name in (_TEXT_ENDS, _TEXTS))
        if texts > TextTable.most_texts(footer.chunks) or nbytes > TextTable.most_bytes(texts):
            raise CorruptStoreError(
                f"it has {texts} texts of {nbytes} bytes for the extremes of {footer.chunks} chunks"
            )
        found |= {_TEXT_ENDS: (np.dtype("<i8"), texts), _TEXTS: (np.dtype("<u1"), nbytes)}
    if declared.keys() & {_DIGEST, _DIGESTS}:
        nbytes = declared.get(_DIGESTS, 0)
        if nbytes % DIGEST.itemsize or nbytes > DIGEST.itemsize * footer.chunks:
            raise CorruptStoreError(f"it has {nbytes} bytes of digests for {footer.chunks} chunks")
        found |= {_DIGEST: (np.dtype("<i8"), footer.chunks), _DIGESTS: (np.dtype("<u1"), nbytes)}
    return found


def _texts_of(columns: dict[str, NDArray[Any]]) -> TextTable:
    ends, data = columns[_TEXT_ENDS], columns[_TEXTS]
    if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != len(data):
        raise CorruptStoreError("the texts of its extremes are out of bounds")
    return TextTable(ends, data)


def _check_blocks(blocks: BlockRows, footer: Footer) -> None:
    if not len(blocks):
        return
    end = footer.index_offset
    if blocks.offset.min() < len(HEADER) or blocks.stored.min() < 0 or blocks.raw.min() < 0:
        raise CorruptStoreError("a block lies outside the file")
    # Each term is bounded before they are added, so that the sum cannot wrap.
    if blocks.offset.max() > end or blocks.stored.max() > end or (blocks.offset + blocks.stored).max() > end:
        raise CorruptStoreError("a block lies outside the file")
    if (
        blocks.codec.max() > max(CODECS.values())
        or blocks.filter.max() > max(FILTERS.values())
        or blocks.itemsize.min() < 1
    ):
        raise CorruptStoreError("a block has an unknown codec or filter, or items of no bytes")
    most = np.where(blocks.filter >= FILTERS["decimal"], _MOST_EXPANSION.max(), _MOST_EXPANSION[blocks.codec])
    lies = (blocks.raw // most > blocks.stored) | ((blocks.codec == 0) & (blocks.raw != blocks.stored))
    # Blocks must not overlap: else a small file could hold any number of large ones.
    if blocks.stored.sum(dtype=np.float64) > end - len(HEADER):  # a sum of integers might wrap
        raise CorruptStoreError("its blocks have more bytes together than the file")
    if lies.any():
        at = int(np.argmax(lies))
        raise CorruptStoreError(
            f"block {at} claims to decode its {blocks.stored[at]} bytes to {blocks.raw[at]}, which no codec does"
        )


def _check_chunks(chunks: ChunkRows, footer: Footer, digests: int) -> None:
    if not len(chunks):
        return
    lowest = min(
        column.min() for column in (chunks.dataset, chunks.chunk, chunks.generation, chunks.nulls, chunks.nans)
    )
    if lowest < 0 or chunks.block.min() < SHARED or chunks.block.max() >= footer.blocks:
        raise CorruptStoreError("a row of its chunk table is out of bounds")
    if chunks.digest.min() < NO_DIGEST or chunks.digest.max() >= digests:
        raise CorruptStoreError("a row of its chunk table names a digest that is not there")
    if (chunks.digest[chunks.block == SHARED] == NO_DIGEST).any():
        raise CorruptStoreError("a row of its chunk table shares a chunk and names no digest")
    most = np.uint64(2**62)
    if chunks.offset.max() > most and ((chunks.block >= 0) & (chunks.offset > most)).any():
        raise CorruptStoreError("a row of its chunk table is out of bounds")
    ordered = chunks.dataset[1:] > chunks.dataset[:-1]
    if not ordered.all():
        ordered |= (chunks.dataset[1:] == chunks.dataset[:-1]) & (chunks.chunk[1:] > chunks.chunk[:-1])
        if not ordered.all():
            raise CorruptStoreError(f"row {int(np.argmin(ordered)) + 1} of its chunk table is out of order")
