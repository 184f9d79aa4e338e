"""Segments taken apart into columns and stored bytes and put together again, with right checksums, whatever they say.

A segment is named, with the checksum of its index, by documents: `named_anew` makes those fit as well.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
import zstandard

from tests.reliability.hostile import documents

if TYPE_CHECKING:
    from random import Random

__all__ = ["COLUMNS", "ENTRY", "FOOTER", "OF_OTHER_LENGTHS", "Segment", "named_anew"]

COLUMNS = {
    "block_offset": "i8",
    "block_stored": "i8",
    "block_raw": "i8",
    "block_codec": "u1",
    "block_filter": "u1",
    "block_itemsize": "u1",
    "block_checksum": "u8",
    "dataset": "i8",
    "generation": "i8",
    "chunk": "i8",
    "block": "i8",
    "offset": "u8",
    "nulls": "i8",
    "nans": "i8",
    "minimum": "u8",
    "maximum": "u8",
    "digest": "i8",
    "text_end": "i8",
    "text": "u1",
    "digests": "u1",
}
OF_OTHER_LENGTHS = {"text_end", "text", "digests"}
"""Columns that have neither a value for each block nor one for each chunk."""
_CODES = {"u1": 0, "i8": 1, "u8": 2}
ENTRY = struct.Struct("<16sBB6xQQQ")
FOOTER = struct.Struct("<QQQQQII")
_MAGIC = b"ATLASSEG"


@dataclass
class Segment:
    """A segment whose parts may be changed at will."""

    body: bytearray
    """Header and blocks."""
    columns: dict[str, np.ndarray]
    """Both tables by name."""

    @classmethod
    def parse(cls, data: bytes) -> Segment:
        """Take a sound segment apart."""
        offset, length, _, chunks, blocks, _, _ = FOOTER.unpack_from(data, len(data) - 64)
        index = data[offset : offset + length]
        columns = {}
        for at in range(struct.unpack_from("<Q", index)[0]):
            raw, _, encoding, count, begin, size = ENTRY.unpack_from(index, 8 + ENTRY.size * at)
            name = raw.rstrip(b"\0").decode()
            assert name in OF_OTHER_LENGTHS or count == (blocks if name.startswith("block_") else chunks)
            columns[name] = _decode_column(index[begin : begin + size], encoding, COLUMNS[name], count)
        return cls(bytearray(data[:offset]), columns)

    @property
    def blocks(self) -> int:
        """Number of blocks, by the longest of their columns."""
        return max(len(values) for name, values in self.columns.items() if name.startswith("block_"))

    @property
    def chunks(self) -> int:
        """Number of chunks, by the longest of their columns."""
        others = [name for name in self.columns if not name.startswith("block_") and name not in OF_OTHER_LENGTHS]
        return max(len(self.columns[name]) for name in others)

    @property
    def digests(self) -> list[bytes]:
        """The digests that rows name by position."""
        joined = self.columns.get("digests", np.empty(0, np.uint8)).tobytes()
        return [joined[at : at + 16] for at in range(0, len(joined), 16)]

    def stored(self, block: int) -> slice:
        """Where the bytes of a block lie in `body`."""
        begin = int(self.columns["block_offset"][block])
        return slice(begin, begin + int(self.columns["block_stored"][block]))

    def replace_block(self, block: int, stored: bytes) -> None:
        """Put other stored bytes in place of a block's, moving those behind, and sign them."""
        where = self.stored(block)
        self.body[where] = stored
        grown = len(stored) - (where.stop - where.start)
        offset = self.columns["block_offset"]
        offset[offset > where.start] += grown
        self.columns["block_stored"][block] = len(stored)
        self.sign(block)

    def sign(self, block: int) -> None:
        """Make the checksum of a block fit its bytes."""
        self.columns["block_checksum"][block] = xxhash.xxh3_64_intdigest(bytes(self.body[self.stored(block)]))

    def index(self, random: Random) -> bytes:
        """Return the index, its columns in encodings chosen at random of those that hold them."""
        payloads = []
        offset = 8 + ENTRY.size * len(self.columns)
        entries = []
        for name, values in self.columns.items():
            encoding, payload = _encode_column(values, random)
            code = _CODES[values.dtype.str[1:]]
            entries.append(ENTRY.pack(name.encode(), code, encoding, len(values), offset, len(payload)))
            payloads.append(payload)
            offset += len(payload)
        return b"".join([struct.pack("<Q", len(self.columns)), *entries, *payloads])

    def close(self, index: bytes, fields: dict[str, int] | None = None) -> tuple[bytes, dict[str, Any]]:
        """Return the file and what documents say of it; `fields` are put in place of those of the footer."""
        footer = {
            "offset": len(self.body),
            "length": len(index),
            "checksum": xxhash.xxh3_64_intdigest(index),
            "chunks": self.chunks,
            "blocks": self.blocks,
            "version": 1,
            "zero": 0,
        } | (fields or {})
        head = FOOTER.pack(*footer.values())
        data = bytes(self.body) + index + head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + _MAGIC
        return data, {
            "size": len(data),
            "index": [footer["offset"], footer["length"]],
            "index_xxh3": f"{footer['checksum']:016x}",
            "chunks": footer["chunks"],
            "blocks": footer["blocks"],
        }


def _decode_column(payload: bytes, encoding: int, dtype: str, count: int) -> np.ndarray:
    kind = np.dtype(f"<{dtype}" if dtype != "u1" else "u1")
    if encoding >= 3:
        raw = zstandard.ZstdDecompressor().decompress(payload)
        values = np.frombuffer(raw, np.uint8).reshape(kind.itemsize, count).T.copy().reshape(-1).view(kind)
        return np.cumsum(values, dtype=kind) if encoding == 4 else values
    values = np.frombuffer(payload, kind)
    if encoding == 1:
        return np.full(count, values[0], kind)
    if encoding == 2:
        return (np.arange(count, dtype=kind) * values[1] + values[0]).astype(kind)
    return values.copy()


def _encode_column(values: np.ndarray, random: Random) -> tuple[int, bytes]:
    if not len(values):
        return 0, b""
    steps = np.diff(values)
    fitting = [0, 3]
    if (values == values[0]).all():
        fitting.append(1)
    if values.dtype.itemsize == 8:
        fitting.append(4)
        if len(steps) and (steps == steps[0]).all():
            fitting.append(2)
    encoding = random.choice(fitting)
    if encoding == 0:
        return 0, values.tobytes()
    if encoding == 1:
        return 1, values[:1].tobytes()
    if encoding == 2:
        return 2, values[:1].tobytes() + steps[:1].tobytes()
    if encoding == 4:
        values = np.concatenate([values[:1], steps]).astype(values.dtype)
    planes = values.view(np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()
    return encoding, zstandard.ZstdCompressor(level=1).compress(planes)


def named_anew(files: dict[str, bytes], trees: dict[str, dict[str, Any]], key: str, says: dict[str, Any]) -> None:
    """Make every document of `trees` that names the segment `key` say `says` of it, there and in `files`."""
    for name, tree in list(trees.items()):
        entries = tree.get("segments", [])
        if any(entry["key"] == key for entry in entries):
            changed = [entry | says if entry["key"] == key else entry for entry in entries]
            trees[name] = tree | {"segments": changed}
            files[name] = documents.encode(name, trees[name])
