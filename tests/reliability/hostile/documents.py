"""Documents of a store taken apart and put together again, with right checksums, whatever they then say.

Knows the format, not the library: what is written here, the library would refuse to write.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import lz4.frame
import msgpack
import xxhash
import zstandard

__all__ = ["UNWRITABLE", "Raw", "decode", "encode", "is_document"]

UNWRITABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""Errors that say that a document has no bytes."""
_ZEROS = "0" * 16
_MARK = "\x01raw %d\x01"


@dataclass(frozen=True)
class Raw:
    """Bytes that stand in a document as they are: what no value of Python becomes."""

    json: bytes
    msgpack: bytes = field(default=b"")


def is_document(key: str) -> bool:
    """Return whether a key is that of a document."""
    return not key.startswith("arrays/")


def decode(key: str, data: bytes) -> dict[str, Any]:
    """Return the fields of a sound document, without its checksum."""
    if key.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompress(data[:-16])
    elif key.endswith(".lz4"):
        data = lz4.frame.decompress(data[:-16])
    document = json.loads(data) if ".json" in key else msgpack.unpackb(data, strict_map_key=False)
    del document["xxh3"]
    if document["atlas"] == "pack":
        plain = ".json" if ".json" in key else ".msgpack"
        commits = [commit.encode() if isinstance(commit, str) else commit for commit in document["commits"]]
        document["commits"] = [decode(plain, commit) for commit in commits]
    return document


def encode(key: str, document: dict[Any, Any]) -> bytes:
    """Return the bytes of any document, with the checksum that fits, or raise one of `UNWRITABLE`.

    Commits in a pack get theirs too.
    """
    if document.get("atlas") == "pack" and isinstance(document.get("commits"), list):
        document = document | {"commits": [_packed(key, commit) for commit in document["commits"]]}
    body = _json({"xxh3": _ZEROS} | document) if ".json" in key else _msgpack({"xxh3": _ZEROS} | document)
    at = body.index(_ZEROS.encode())
    body = body[:at] + xxhash.xxh3_64_hexdigest(body).encode() + body[at + 16 :]
    if key.endswith(".zst"):
        return _sealed(zstandard.ZstdCompressor(level=1).compress(body))
    if key.endswith(".lz4"):
        return _sealed(bytes(lz4.frame.compress(body, store_size=True)))
    return body


def _packed(key: str, commit: Any) -> Any:
    if not isinstance(commit, dict):
        return commit
    return encode(".json", commit).decode() if ".json" in key else encode(".msgpack", commit)


def _sealed(frame: bytes) -> bytes:
    return frame + struct.pack("<IIQ", 0x184D2A5A, 8, xxhash.xxh3_64_intdigest(frame))


def _json(document: object) -> bytes:
    raw: list[bytes] = []

    def stand_in(value: object) -> object:
        assert isinstance(value, Raw)
        raw.append(value.json)
        return _MARK % (len(raw) - 1)

    body = json.dumps(document, default=stand_in, ensure_ascii=False, separators=(",", ":"))
    # Lone surrogates go as three bytes that are no UTF-8.
    data = body.encode("utf-8", "surrogatepass")
    for number, some in enumerate(raw):
        data = data.replace(json.dumps(_MARK % number).encode(), some)
    return data


def _msgpack(document: object) -> bytes:
    raw: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Raw):
            raw.append(value.msgpack)
            return _MARK % (len(raw) - 1)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return float(max(min(value, 10**300), -(10**300)))
        return value

    data: bytes = msgpack.packb(plain(document), unicode_errors="surrogatepass")
    for number, some in enumerate(raw):
        data = data.replace(msgpack.packb(_MARK % number), some)
    return data
