"""What a fuzzer feeds: the parsers of documents, indexes, attribute values and blocks, as functions of bytes.

Each returns for bytes that are refused by an `AtlasError` as for those that are not; whatever else happens is found by
whoever calls. Checksums are made to fit, so that they do not stand in the way.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import ormsgpack
import xxhash

from atlas import kernels
from atlas.catalog.catalog import Catalog
from atlas.errors import AtlasError
from atlas.format.attributes import decode_value, encode_value, plain_value
from atlas.format.changes import PageRef, changes_from_json, changes_to_json, page_from_json
from atlas.format.documents import Encoding
from atlas.format.packs import pack_from_json
from atlas.format.segment import FOOTER_SIZE, Footer, decode_footer, decode_index
from atlas.kernels import BlockError
from atlas.read.strings import chunk_strings
from atlas.xarray.attribute_owners import assign_attributes
from atlas.xarray.encoding_record import decode_encoding

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PARSERS", "blocks", "documents", "footers", "indexes", "values"]

_ZEROS = b"0" * 16
_OFFSET = 1 << 20
"""Where the blocks of a segment end whose index is fed."""


def documents(data: bytes) -> None:
    """Feed a commit, checkpoint, page or pack: a byte that says which and how encoded, then its fields."""
    if not data:
        return
    form = "json" if data[0] & 1 else "msgpack"
    suffix = ["", "", ".zst", ".lz4"][data[0] >> 1 & 3]
    if form == "json":
        body, at = b'{"xxh3":"' + _ZEROS + b'",' + data[1:], 9
    else:
        body, at = b"\xde" + data[1:3] + b"\xa4xxh3\xb0" + _ZEROS + data[3:], 9
    body = body[:at] + xxhash.xxh3_64_hexdigest(body).encode() + body[at + 16 :]
    encoding = Encoding(form, suffix)
    # The upper bits choose between what decompresses and what is fed as it is.
    stored = data[1:] if data[0] & 0x80 else encoding._compressed(body)
    try:
        document = encoding.decode(stored)
        if document.get("atlas") == "pack":
            pack_from_json(document, 4)
            return
        if document.get("atlas") == "page":
            rows = document.get("rows")
            names = rows.get("names") if isinstance(rows, dict) else None
            count = len(names) if isinstance(names, list) else 0
            page_from_json(document, PageRef("pages/a", count, 0, 2**62))
            return
        kind = "commit" if document.get("atlas") == "commit" else "checkpoint"
        changes = changes_from_json(kind, document)
        # Pages are fed by themselves.
        Catalog().apply(replace(changes, pages=()), [])
        encoding.encode(changes_to_json(kind, changes))
    except AtlasError:
        pass


def values(data: bytes) -> None:
    """Feed an attribute: a byte that says how it is encoded, then its value."""
    if not data:
        return
    try:
        encoded = orjson.loads(data[1:]) if data[0] & 1 else ormsgpack.unpackb(data[1:])
    except ValueError:
        return
    try:
        value = decode_value(encoded)
        again = decode_value(encode_value(value))
        assert repr(again) == repr(value)
        for key in ("k", ("a", "k"), "a.k", "_pyatlas_coords", ("a", "_atlas_dtype"), ("a", "_atlas_encoding")):
            assign_attributes({key: value}, ["a"])
        plain_value(value)
        if isinstance(value, str) and value.startswith("{"):
            decode_encoding(value, "a.nc")
    except AtlasError:
        pass


def indexes(data: bytes) -> None:
    """Feed an index: two numbers of rows, then its bytes."""
    if len(data) < 4:
        return
    chunks, blocks = struct.unpack_from("<HH", data)
    index = data[4:]
    footer = Footer(_OFFSET, len(index), xxhash.xxh3_64_intdigest(index), chunks, blocks)
    if max(chunks, blocks) > 64 * len(index):
        return
    with suppress(AtlasError):
        decode_index(index, footer)


def footers(data: bytes) -> None:
    """Feed the end of a segment: the file's size, then the fields of a footer."""
    if len(data) < 8:
        return
    (size,) = struct.unpack_from("<Q", data)
    head = data[8:56].ljust(48, b"\0")
    try:
        footer = decode_footer(head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + b"ATLASSEG", size)
        assert footer.index_offset + footer.index_length + FOOTER_SIZE == size
        decode_footer(data[8:], size)
    except AtlasError:
        pass


def blocks(data: bytes) -> None:
    """Feed a block: codec, filter, item size and raw length, then its stored bytes; read as numbers and as text."""
    if len(data) < 6:
        return
    codec, kind, itemsize, cells, raw = struct.unpack_from("<BBBBH", data)
    stored = np.frombuffer(data[6:] or b"\0", np.uint8)
    checksum = np.uint64(xxhash.xxh3_64_intdigest(stored)).view(np.int64)
    table = np.array([[0], [len(stored)], [raw], [codec % 4], [kind % 7], [itemsize], [checksum], [0]], np.int64)
    try:
        decoded = kernels.decode_block(stored, table, 0)
        assert len(decoded) == raw
        for kind in ("string", "bytes"):
            assert len(chunk_strings(decoded, cells // 4, cells, kind)) == cells
    except BlockError:
        pass


PARSERS: dict[str, Callable[[bytes], None]] = {
    "documents": documents,
    "values": values,
    "indexes": indexes,
    "footers": footers,
    "blocks": blocks,
}
