"""Metadata documents as bytes: JSON or MessagePack, plain or compressed, always with a checksum. No I/O.

The first field of every document, `xxh3`, is the XXH3 (64 bits, seed 0) of the uncompressed document with zeros in
place of these sixteen digits. A compressed document ends with the XXH3 of its compressed bytes: some bits of a frame do
not affect what it decodes to, and damage to them must be found too. The meaning of fields is left to other modules.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import lz4.frame
import orjson
import ormsgpack
import xxhash
import zstandard

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHECKPOINT_NAMES", "HEAD_BYTES", "Encoding", "MetaCompression", "MetaFormat", "parse_encoding", "sealed"]

MetaFormat: TypeAlias = Literal["json", "msgpack", "mp"]
"""What users name the format of documents by; "mp" is "msgpack"."""
MetaCompression: TypeAlias = Literal["none", "uncompressed", "zstd", "lz4"]
"""What users name the compression of documents by; "uncompressed" is "none"."""

_FORMATS = {"json": "json", "msgpack": "msgpack", "mp": "msgpack"}
_COMPRESSIONS = {"none": "", "uncompressed": "", "zstd": ".zst", "lz4": ".lz4"}
_ZEROS = "0" * 16
# A document may decode to this many times its stored bytes, plus `_FREE_EXPANSION`. Real documents, whose names and
# values differ, stay far below; a decompression bomb cannot grow large.
_MOST_EXPANSION = 2000
_FREE_EXPANSION = 1 << 20
_PREFIX_BYTES = 16
"""Bytes of a decoded document in which the name of its checksum, the first field, begins and ends."""
_SEAL = struct.Struct("<IIQ")
HEAD_BYTES = 1 << 18
"""Bytes of a stored document that decode to its first ones: no block of either codec is longer compressed."""
_SEAL_MAGIC = 0x184D2A5A
"""Begins a frame that decompressors of zstd and LZ4 both skip. The last digit is free."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the documents of a store are encoded."""

    format: str
    """"json" or "msgpack"."""
    suffix: str
    """"" for plain, ".zst" or ".lz4"."""

    @property
    def extension(self) -> str:
        """File name extension, such as ".json.zst"."""
        return f".{self.format}{self.suffix}"

    @property
    def checkpoint(self) -> str:
        """Key of the checkpoint document."""
        return f"atlas{self.extension}"

    def compressed(self) -> Encoding:
        """Return the same format, compressed with zstd unless it is compressed already."""
        return self if self.suffix else Encoding(self.format, ".zst")

    def encode(self, document: dict[str, Any]) -> bytes:
        """Return the bytes of `document`, with its checksum as the first field."""
        body = self._checked(document)
        stored = self._compressed(body)
        if len(body) > _most_decoded(len(stored)):
            # Repetitive text can shrink beyond the limit that readers check: add digits that do not shrink.
            digits = hashlib.shake_128(body).hexdigest(len(body) // (_MOST_EXPANSION // 2) + 1)
            stored = self._compressed(self._checked(document | {"padding": digits}))
        return stored

    def _checked(self, document: dict[str, Any]) -> bytes:
        packed = _pack(self.format, {"xxh3": _ZEROS} | document)
        at = packed.index(_ZEROS.encode())
        return packed[:at] + xxhash.xxh3_64_hexdigest(packed).encode() + packed[at + 16 :]

    def _compressed(self, body: bytes) -> bytes:
        if self.suffix == ".zst":
            return sealed(zstandard.ZstdCompressor(level=3).compress(body))
        if self.suffix == ".lz4":
            return sealed(bytes(lz4.frame.compress(body, store_size=True)))
        return body

    def decode(self, stored: bytes) -> dict[str, Any]:
        """Check the checksum of a stored document and return its other fields.

        Raises `CorruptStoreError` where the bytes are damaged or are no document.
        """
        body = self.expand(stored)
        # The digits have a fixed offset: in JSON after `{"xxh3":"`, in MessagePack after the map's header of one to
        # five bytes, the key and the string's header.
        at = body.find(b"xxh3", 0, 16) + (7 if self.format == "json" else 5)
        if not 7 <= at <= 24 or len(body) < at + 16:
            raise CorruptStoreError("it does not begin with a checksum")
        zeroed = body[:at] + _ZEROS.encode() + body[at + 16 :]
        if xxhash.xxh3_64_hexdigest(zeroed).encode() != body[at : at + 16]:
            raise CorruptStoreError("its checksum does not match")
        try:
            document = orjson.loads(body) if self.format == "json" else ormsgpack.unpackb(body)
        except ValueError as error:
            raise CorruptStoreError(f"it is not {self.format}: {error}") from error
        if not isinstance(document, dict) or "xxh3" not in document:
            raise CorruptStoreError("it is not a document of a store")
        del document["xxh3"]
        return document

    def begins(self, head: bytes) -> bool:
        """Return whether a stored document begins with these `HEAD_BYTES` bytes, or consists of fewer.

        Decodes no more than the first few bytes, and checks nothing else.
        """
        try:
            if self.suffix == ".zst":
                head = zstandard.ZstdDecompressor().stream_reader(head).read(_PREFIX_BYTES)
            elif self.suffix == ".lz4":
                head = lz4.frame.LZ4FrameDecompressor().decompress(head, max_length=_PREFIX_BYTES)
        except (zstandard.ZstdError, RuntimeError, EOFError):
            return False
        # After `{"` in JSON; in MessagePack after the map's header of one, three or five bytes and the string's of one.
        return head.find(b"xxh3", 0, _PREFIX_BYTES) in ((2,) if self.format == "json" else (2, 4, 6))

    def expand(self, stored: bytes) -> bytes:
        """Undo the compression of a document. Raises `CorruptStoreError` where the compressed bytes are damaged."""
        if not self.suffix:
            return stored
        limit, frame = _most_decoded(len(stored)), stored[: -_SEAL.size]
        if sealed(frame) != stored:
            raise CorruptStoreError("its compressed bytes do not match the checksum after them")
        try:
            if self.suffix == ".zst":
                declared = zstandard.frame_content_size(frame)
                if not 0 <= declared <= limit:
                    raise CorruptStoreError(f"its {len(stored)} bytes declare to decode to {declared}")
                return zstandard.ZstdDecompressor().decompress(frame, max_output_size=limit)
            decoder = lz4.frame.LZ4FrameDecompressor()
            body = decoder.decompress(frame, max_length=limit)
        except (zstandard.ZstdError, RuntimeError, EOFError, MemoryError, ValueError) as error:
            raise CorruptStoreError(f"it cannot be decompressed: {error}") from error
        if not decoder.eof:
            raise CorruptStoreError("its lz4 frame is cut short or decodes to more than it may")
        return bytes(body)


def sealed(frame: bytes) -> bytes:
    """Return compressed bytes, followed by their checksum."""
    return frame + _SEAL.pack(_SEAL_MAGIC, 8, xxhash.xxh3_64_intdigest(frame))


def _most_decoded(stored: int) -> int:
    return stored * _MOST_EXPANSION + _FREE_EXPANSION


def _pack(form: str, document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document) if form == "json" else ormsgpack.packb(document)
    except (TypeError, ValueError, RecursionError) as error:  # of values that were not decoded
        raise CorruptStoreError(f"the store holds metadata that cannot be encoded: {error}") from error


def parse_encoding(meta_format: object, meta_compression: object) -> Encoding:
    """Return the encoding that the arguments of `create` name; upper and lower case are the same.

    Raises `InvalidValueError` for unknown names, `InvalidTypeError` for what is not a str.
    """
    for name, value in (("meta_format", meta_format), ("meta_compression", meta_compression)):
        if not isinstance(value, str):
            raise InvalidTypeError(f"{name} is a str, not {type(value).__name__} {value!r}")
    assert isinstance(meta_format, str)
    assert isinstance(meta_compression, str)
    if meta_format.lower() not in _FORMATS:
        raise InvalidValueError(f"unknown meta_format {meta_format!r}; use one of {', '.join(_FORMATS)}")
    if meta_compression.lower() not in _COMPRESSIONS:
        raise InvalidValueError(f"unknown meta_compression {meta_compression!r}; use one of {', '.join(_COMPRESSIONS)}")
    return Encoding(_FORMATS[meta_format.lower()], _COMPRESSIONS[meta_compression.lower()])


CHECKPOINT_NAMES = {
    Encoding(form, suffix).checkpoint: Encoding(form, suffix)
    for form in ("json", "msgpack")
    for suffix in ("", ".zst", ".lz4")
}
"""The six names of checkpoints, each with the encoding it stands for; a store has one of them."""
