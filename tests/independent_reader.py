"""A second reader of stores, written from docs/format.md alone: it imports nothing of the library.

Slow and simple on purpose. `read_store` returns everything that a store holds; section numbers are those of the page.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import struct
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lz4.block
import lz4.frame
import msgpack
import numpy as np
import pandas as pd
import xxhash
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[str], bytes]
    """Bytes of the file of a key; raises FileNotFoundError."""

NO_EXTREME = 2**64 - 1
CHECKPOINTS = [f"atlas.{form}{packed}" for form in ("json", "msgpack") for packed in ("", ".zst", ".lz4")]
CELLS = {f"{kind}{bits}": f"<{kind[0]}{bits // 8}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float32": "<f4",
    "float64": "<f8",
    "timestamp_nanoseconds": "<i8",
}
LATER_CELLS = {"bool": "|b1", "float16": "<f2"} | {
    f"{kind}[{unit}]": "<i8"
    for kind, units in (("datetime64", ("s", "ms", "us")), ("timedelta64", ("s", "ms", "us", "ns")))
    for unit in units
}
FEATURES = {f"dtype:{name}" for name in LATER_CELLS} | {"dtype:bytes"}
CELLS |= LATER_CELLS
"""The dtype of cells in memory; times are integers."""


class FormatError(Exception):
    """The bytes are not those of a store of format version 1."""


def need(condition: object, what: str) -> None:
    if not condition:
        raise FormatError(what)


# Section 2: documents


def unpack_zstd(data: bytes, most: int) -> bytes:
    size = zstandard.frame_content_size(data)
    need(0 <= size <= most, f"a frame that declares {size} bytes")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=max(size, 1))


def read_document(data: bytes, name: str, kind: str) -> dict[str, Any]:
    if name.endswith((".zst", ".lz4")):
        frame, seal = data[:-16], data[-16:]
        need(seal[:8] == bytes.fromhex("5a2a4d1808000000"), f"no checksum after the compressed bytes of {name}")
        need(seal[8:] == xxhash.xxh3_64_digest(frame)[::-1], f"checksum of the compressed bytes of {name}")
        zstd = name.endswith(".zst")
        data = unpack_zstd(frame, 2000 * len(data) + (1 << 20)) if zstd else lz4.frame.decompress(frame)
    is_json = ".json" in name
    if is_json:
        need(data.startswith(b'{"xxh3":"'), "no checksum")
        at = 9
    else:
        at = {0xDE: 3, 0xDF: 5}.get(data[0], 1) + 6
        need(data[at - 6 : at] == b"\xa4xxh3\xb0", "no checksum")
    digits = xxhash.xxh3_64_hexdigest(data[:at] + b"0" * 16 + data[at + 16 :])
    need(data[at : at + 16] == digits.encode(), f"checksum of {name}")
    document = json.loads(data) if is_json else msgpack.unpackb(data, strict_map_key=False)
    need(document["atlas"] == kind, f"{name} is not a {kind}")
    need(document["format"] == 1, f"format version {document['format']}")
    unknown = set(document.get("features", [])) - FEATURES
    need(not unknown, f"features {unknown}")
    used = {schema["dtype"] for schema in document.get("rows", {}).get("schema_table", [])}
    need({f"dtype:{name}" for name in used & {*LATER_CELLS}} <= {*document.get("features", [])}, "a missing feature")
    return document


def read_integers(column: Any, count: int) -> list[int]:
    if isinstance(column, dict) and "runs" in column:
        runs = column["runs"]
        need(all(0 <= n <= count for n in runs[1::2]), "a run's length")
        column = [value for value, n in zip(runs[::2], runs[1::2], strict=True) for _ in range(n)]
    elif isinstance(column, dict):
        need(column["count"] == count, "a column's length")
        column = list(range(column["start"], column["start"] + count))
    need(len(column) == count and all(0 <= value < 2**63 for value in column), "a column of integers")
    return column


@dataclass
class Dataset:
    identity: int
    name: str
    arrays: list[tuple[str, dict[str, Any], int]]
    """Name, schema and generation of each."""
    attributes: list[tuple[Any, Any]]
    """Key as stored (lists as tuples) and value."""


def read_rows(rows: dict[str, Any]) -> list[Dataset]:
    count = len(rows["names"])
    ids = read_integers(rows["ids"], count)
    need(all(a < b for a, b in pairwise(ids)), "ids that do not ascend")
    layouts = read_integers(rows["layouts"], count)
    own = read_integers(rows["attributes"], count)
    array_table = rows.get("array_attribute_table", [[at] for at in range(len(rows.get("keyset_table", [])))])
    none = [rows["attribute_table"][at][0] for at in own]
    of_arrays = read_integers(rows.get("array_attributes", none), count)
    found = []
    columns = zip(ids, rows["names"], layouts, own, of_arrays, strict=True)
    for identity, name, layout, own_row, array_row in columns:
        arrays = [
            (array, rows["schema_table"][at], generation) for array, at, generation in rows["layout_table"][layout]
        ]
        keyset, *own_values = rows["attribute_table"][own_row]
        array_keyset, *array_values = array_table[array_row]
        need(keyset == array_keyset, "attribute sets of two lists of keys")
        keys = [key if isinstance(key, str) else tuple(key) for key in rows["keyset_table"][keyset]]
        shown = [key if isinstance(key, str) else ".".join(key) for key in keys]
        need(len(set(shown)) == len(shown), "two attributes of one name")
        of_array = [
            "." in text or (text[:1] == "_" and text not in ("_atlas_source", "_atlas_ingested")) for text in shown
        ]
        counts = [of_array.count(False), of_array.count(True)]
        need(counts == [len(own_values), len(array_values)], "attribute values that do not fit their keys")
        positions = [(array_values if found else own_values).pop(0) for found in of_array]
        pairs = [(key, read_value(rows["value_table"][at])) for key, at in zip(keys, positions, strict=True)]
        found.append(Dataset(identity, name, arrays, pairs))
    return found


def read_cells(dtype: str, data: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data), dtype)


@dataclass(frozen=True)
class Time:
    """An attribute value with the tag `time`."""

    ns: int


def read_zone(zone: list[Any]) -> dt.timezone | None:
    return dt.timezone(dt.timedelta(microseconds=zone[0]), *zone[1:]) if zone else None


def read_pandas(value: dict[str, Any]) -> Any:
    cell = np.int64(value["v"]).view(value["t"])
    if np.isnat(cell):
        return pd.NaT
    if value["t"].startswith("timedelta64"):
        return pd.Timedelta(cell)
    time, zone = pd.Timestamp(cell), read_zone(value["z"])
    return time if zone is None else time.tz_localize("UTC").tz_convert(zone)


def read_value(value: Any) -> Any:
    if not isinstance(value, dict):
        need(isinstance(value, bool | int | float | str), "an attribute value")
        return value
    tag, content = value["$"], value.get("v")
    readers: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "float": lambda: struct.unpack(">d", bytes.fromhex(content))[0],
        "int": lambda: int(content, 16),
        "bytes": lambda: base64.b64decode(content),
        "time": lambda: Time(content),
        "list": lambda: [read_value(item) for item in content],
        "tuple": lambda: tuple(read_value(item) for item in content),
        "dict": lambda: {read_value(key): read_value(item) for key, item in content},
        "np": lambda: read_cells(value["t"], content)[0],
        "npstr": lambda: np.str_(content),
        "npbytes": lambda: np.bytes_(base64.b64decode(content)),
        "array": lambda: read_cells(value["t"], content).reshape(value["s"]),
        "text": lambda: np.array(content, object).reshape(value["s"]),
        "date": lambda: dt.date.fromisoformat(content),
        "clock": lambda: dt.time.fromisoformat(content).replace(tzinfo=read_zone(value["z"])),
        "datetime": lambda: dt.datetime.fromisoformat(content).replace(tzinfo=read_zone(value["z"])),
        "duration": lambda: dt.timedelta(*content),
        "pd": lambda: read_pandas(value),
    }
    need(tag in readers, f"tag {tag}")
    return readers[tag]()


@dataclass
class Catalog:
    config: dict[str, Any]
    version: int = -1
    next_id: int = 0
    datasets: dict[int, Dataset] = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)
    last_id: int = -1

    def apply(self, document: dict[str, Any], read_page: Callable[[str], list[Dataset]]) -> None:
        need(self.version < 0 or document["version"] == self.version + 1, "a gap between versions")
        need(document["next_id"] >= self.next_id, "next_id falls")
        if document.get("reset"):
            self.datasets, self.segments, self.last_id = {}, [], -1
        for page in document["pages"]:
            datasets = read_page(page["key"])
            ids = [dataset.identity for dataset in datasets]
            need((len(ids), ids[0], ids[-1]) == (page["rows"], page["first"], page["last"]), f"page {page['key']}")
            for dataset in datasets:
                self.add(dataset)
        for identity in document["deleted"]:
            need(self.datasets.pop(identity, None), f"dataset {identity} is deleted but not there")
        for dataset in read_rows(document["rows"]):
            known = self.datasets.get(dataset.identity)
            if known is None:
                self.add(dataset)
            else:
                need(known.name == dataset.name, f"dataset {dataset.identity} changes its name")
                self.datasets[dataset.identity] = dataset
        replaced, own = document.get("replaced", []), [dataset.identity for dataset in read_rows(document["rows"])]
        need(replaced == sorted(set(replaced)) and set(replaced) <= set(own), "ids that are replaced")
        dropped = set(document["dropped"])
        self.segments = [segment for segment in self.segments if segment["key"] not in dropped] + document["segments"]
        need(len({dataset.name for dataset in self.datasets.values()}) == len(self.datasets), "a name is there twice")
        need(document["next_id"] > self.last_id, "next_id is taken")
        self.version, self.next_id = document["version"], document["next_id"]

    def add(self, dataset: Dataset) -> None:
        need(dataset.identity > self.last_id, f"id {dataset.identity} does not ascend")
        self.last_id = dataset.identity
        self.datasets[dataset.identity] = dataset


def try_read(read: Read, key: str) -> bytes | None:
    try:
        return read(key)
    except FileNotFoundError:
        return None


def read_page(read: Read, key: str, extension: str) -> list[Dataset]:
    need(key.startswith("pages/"), f"key {key}")
    return read_rows(read_document(read(key), extension, "page")["rows"])


def read_catalog(read: Read, version: int | None = None) -> Catalog:
    """The latest version, or the one named."""
    found = [(name, data) for name in CHECKPOINTS if (data := try_read(read, name)) is not None]
    need(found, "no store")
    checkpoint = max(
        (read_document(data, name, "checkpoint") for name, data in found), key=lambda found: found["version"]
    )
    catalog, failure = None, None
    if version is None or checkpoint["version"] <= version:
        try:
            catalog = follow(read, checkpoint, version)
        except (FileNotFoundError, FormatError) as error:
            failure = error
    base = checkpoint["base"]
    while (data := try_read(read, f"bases/{base[0]:020d}.json")) is not None:
        link = read_document(data, ".json", "link")
        need(link["version"] > base[0] and link["store"] == checkpoint["store"], "a link that leads back")
        base = [link["version"], link["key"]]
    if version is not None and version < base[0]:
        return read_earlier(read, read_base(read, base, checkpoint), version)
    past = base[0] > checkpoint["version"] + 1
    if failure is not None and not past and not isinstance(failure, FileNotFoundError):
        raise failure
    # A page that is gone was removed because there is a later base, and before that commits are not to be trusted.
    if catalog is None or past or catalog.version < base[0]:
        catalog = follow(read, read_base(read, base, checkpoint), version)
    need(version in {None, catalog.version}, f"no version {version}")
    return catalog


def read_earlier(read: Read, base: dict[str, Any], version: int) -> Catalog:
    """A version before the base, which the base lists."""
    numbers = [kept["version"] for kept in base.get("earlier", ())]
    need(all(one < two for one, two in pairwise([*numbers, base["version"]])), "earlier versions that do not ascend")
    need(version in numbers, f"no version {version}")
    key = base["earlier"][numbers.index(version)]["key"]
    need(key.startswith("bases/"), f"key {key}")
    document = read_document(read(key), key, "checkpoint")
    need(document["version"] == version and document["store"] == base["store"], f"{key} is of another version or store")
    return follow(read, document, version)


def read_base(read: Read, base: list[Any], checkpoint: dict[str, Any]) -> dict[str, Any]:
    number, key = base
    if key is not None:
        return read_document(read(key), key, "checkpoint")
    nothing = {"names": [], "ids": [], "layouts": [], "attributes": []}
    empty = {
        "version": number,
        "next_id": 0,
        "pages": [],
        "deleted": [],
        "rows": nothing,
        "dropped": [],
        "segments": [],
    }
    return checkpoint | empty


def follow(read: Read, document: dict[str, Any], version: int | None) -> Catalog:
    """A checkpoint, and the commits after it up to a version."""
    catalog = Catalog({field: document[field] for field in ("codec", "filter")})
    store, pack = document["store"], 256
    while document is not None:
        if "checkpoint" in document:
            extension, pack = document["checkpoint"].removeprefix("atlas"), document.get("pack", 256)
        page_extension = extension if extension.count(".") == 2 else f"{extension}.zst"
        catalog.apply(document, lambda key, ending=page_extension: read_page(read, key, ending))
        if catalog.version == version:
            break
        document = read_commit(read, catalog.version + 1, extension, page_extension, pack, store)
    return catalog


def read_commit(
    read: Read, version: int, extension: str, page_extension: str, size: int, store: str
) -> dict[str, Any] | None:
    alone = try_read(read, f"commits/{version:020d}{extension}")
    # A pack is looked for afterwards, and counts before a commit of its own.
    last = -(-version // size) * size
    data = try_read(read, f"packs/{last:020d}{page_extension}")
    if data is not None:
        pack = read_document(data, page_extension, "pack")
        need(pack["store"] == store and pack["pack"] == size, "a pack of another store or size")
        need(pack["first"] + len(pack["commits"]) == last + 1 and len(pack["commits"]) <= size, "a pack's commits")
        if version >= pack["first"]:
            commit = pack["commits"][version - pack["first"]]
            plain = ".json" if ".json" in extension else ".msgpack"
            return read_document(commit.encode() if plain == ".json" else commit, plain, "commit")
    return None if alone is None else read_document(alone, extension, "commit")


# Sections 3 and 4: segments and blocks


def join_planes(planes: bytes, width: int, count: int) -> bytes:
    items = bytearray(width * count)
    for j in range(width):
        items[j::width] = planes[j * count : (j + 1) * count]
    return bytes(items)


SPREAD = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]


def join_bits(planes: bytes, width: int, count: int) -> bytes:
    items = bytearray(width * count)
    step = count // 8
    for j in range(width):
        column = 0
        for k in range(8):
            plane = planes[(8 * j + k) * step : (8 * j + k + 1) * step]
            column |= int.from_bytes(b"".join([SPREAD[byte] for byte in plane]), "little") << k
        items[j::width] = column.to_bytes(count, "little")
    return bytes(items)


def unpack(stored: bytes, codec: int, size: int) -> bytes:
    if codec == 1:
        return unpack_zstd(stored, size)
    if codec == 2:
        return lz4.block.decompress(stored, uncompressed_size=size)
    return stored


def read_planes(stored: bytes, codec: int, lengths: list[int]) -> tuple[list[bytes], bytes]:
    """The planes, of so many bytes, and the tail."""
    need(codec != 0, "a filter without a codec")
    planes, at = [], 4 * len(lengths)
    need(at <= len(stored), "the lengths of the planes")
    for length, (size,) in zip(lengths, struct.iter_unpack("<I", stored[:at]), strict=True):
        need(size <= length and at + size <= len(stored), "the stored length of a plane")
        stream = stored[at : at + size]
        planes.append(stream if size == length else unpack(stream, codec, length))
        need(len(planes[-1]) == length, "the length of a plane")
        at += size
    return planes, stored[at:]


def open_planes(stored: bytes, codec: int, raw: int, kind: int, width: int) -> bytes:
    count = raw // width
    if kind == 2:
        count -= count % 8
    planes, tail = read_planes(stored, codec, [count] * width)
    return b"".join(planes) + tail


def sum_planes(planes: list[bytes], base: int) -> np.ndarray:
    """A base and the integers whose bytes are in planes, modulo 2**64."""
    found = np.array(base % 2**64, np.uint64)
    for j, plane in enumerate(planes):
        found = found + (np.frombuffer(plane, np.uint8).astype(np.uint64) << np.uint64(8 * j))
    return found


def decode_integers(stored: bytes, codec: int, raw: int, kind: int, size: int) -> bytes:
    """A block of the filters decimal, delta and decimaldelta."""
    need(size in (4, 8) or (kind == 4 and size in (1, 2)), "an item size")
    need(raw % size == 0 and len(stored) >= 24, "a block of integers")
    count = raw // size
    width, exponent, corrections, masks, starts = stored[:5]
    exceptions = int.from_bytes(stored[5:8], "little")
    base, start_base = struct.unpack_from("<qq", stored, 8)
    need(width <= size and masks <= 4 and exceptions <= count // 16, "the head of a block")
    need(exponent <= 22 * (kind != 4) and corrections <= (kind != 4) and starts <= 8 * (kind != 3), "a head")
    lengths = [count] * (width + corrections) + [-(-count // 8)] * masks + [-(-count // 256)] * starts
    planes, tail = read_planes(stored[24:], codec, lengths)
    need(len(tail) == masks * size + exceptions * (4 + size), "the tail of a block")
    first, second = masks * size, masks * size + 4 * exceptions
    positions = np.frombuffer(tail[first:second], "<u4").astype(np.int64)
    need((np.diff(positions) > 0).all() and (positions < count).all(), "positions of exceptions")

    numbers = np.resize(sum_planes(planes[:width], base), count)
    if kind >= 4:
        before = np.resize(sum_planes(planes[width + corrections + masks :], start_base), -(-count // 256))
        for interval, start in enumerate(before):
            part = slice(256 * interval, 256 * interval + 256)
            numbers[part] = np.cumsum(numbers[part]) + start
    bits = f"<u{size}"
    if kind == 4:
        items = numbers.astype(bits)
    else:
        whole, power = numbers.view(np.int64).astype(np.float64), np.float64(f"1e{exponent}")
        items = (whole / power if size == 8 else (whole * (1 / power)).astype(np.float32)).view(bits)
    for plane in planes[width : width + corrections]:
        items = items + np.frombuffer(plane, np.int8).astype(bits)
    for plane, value in zip(planes[width + corrections :][:masks], np.frombuffer(tail[:first], bits), strict=True):
        items[np.unpackbits(np.frombuffer(plane, np.uint8), count=count, bitorder="little") == 1] = value
    items[positions] = np.frombuffer(tail[second:], bits)
    return items.tobytes()


def undo_filter(data: bytes, kind: int, width: int) -> bytes:
    need(width >= 1 and kind <= 2, "a filter")
    count = len(data) // width
    if kind == 1:
        return join_planes(data, width, count) + data[count * width :]
    if kind == 2:
        count -= count % 8
        return join_bits(data, width, count) + data[count * width :]
    return data


COLUMNS = {
    "block_offset": "q", "block_stored": "q", "block_raw": "q", "block_codec": "B", "block_filter": "B",
    "block_itemsize": "B", "block_checksum": "Q", "dataset": "q", "generation": "q", "chunk": "q", "block": "q",
    "offset": "Q", "nulls": "q", "nans": "q", "minimum": "Q", "maximum": "Q", "text_end": "q", "text": "B",
    "digest": "q", "digests": "B",
}  # fmt: skip


def read_column(payload: bytes, encoding: int, code: str, count: int) -> list[int]:
    width = struct.calcsize(f"<{code}")
    if encoding in (3, 4):
        payload = unpack_zstd(payload, count * width)
        payload = join_planes(payload, width, count)
    values = list(struct.unpack(f"<{len(payload) // width}{code}", payload))
    if encoding == 1:
        return values * count
    modulus = 1 << 8 * width
    if encoding == 2:
        values = [values[0] + at * values[1] for at in range(count)]
    elif encoding == 4:
        for at in range(1, count):
            values[at] += values[at - 1]
    else:
        need(encoding in (0, 3), f"encoding {encoding}")
    need(len(values) == count, "a column's length")
    values = [value % modulus for value in values]
    return [value - modulus if code == "q" and value >= modulus // 2 else value for value in values]


@dataclass
class Segment:
    read: Callable[[int, int], bytes]
    columns: dict[str, list[int]]
    rows: dict[tuple[int, int], int]
    """Row of each (dataset, chunk)."""
    texts: list[bytes]
    """Extremes of strings that rows name by position."""
    digests: list[bytes]
    """Digests that rows name by position."""
    decoded: dict[int, bytes] = field(default_factory=dict)

    def block(self, number: int) -> bytes:
        if number not in self.decoded:
            self.decoded[number] = self.decode(number)
        return self.decoded[number]

    def decode(self, number: int) -> bytes:
        get = {name.removeprefix("block_"): values[number] for name, values in self.columns.items() if "block_" in name}
        stored = self.read(get["offset"], get["stored"])
        need(xxhash.xxh3_64_intdigest(stored) == get["checksum"], f"checksum of block {number}")
        need(get["codec"] <= 2, "a codec")
        if get["filter"] >= 3:
            need(get["filter"] <= 5, "a filter")
            data = decode_integers(stored, get["codec"], get["raw"], get["filter"], get["itemsize"])
            need(len(data) == get["raw"], f"length of block {number}")
            return data
        if get["filter"]:
            stored = open_planes(stored, get["codec"], get["raw"], get["filter"], get["itemsize"])
        else:
            stored = unpack(stored, get["codec"], get["raw"])
        need(len(stored) == get["raw"], f"length of block {number}")
        return undo_filter(stored, get["filter"], get["itemsize"])


def read_segment(read: Read, reference: dict[str, Any]) -> Segment:
    need(reference["key"].startswith("arrays/"), "a key")
    data = read(reference["key"])
    need(len(data) == reference["size"] and data[:16] == b"ATLASSEG" + struct.pack("<II", 1, 0), "a header")
    *head, version, zero = struct.unpack_from("<QQQQQII", data, len(data) - 64)
    offset, length, checksum, chunks, blocks = head
    need(data[-8:] == b"ATLASSEG" and (version, zero) == (1, 0), "a footer")
    need(xxhash.xxh3_64_intdigest(data[-64:-16]) == struct.unpack("<Q", data[-16:-8])[0], "checksum of a footer")
    need([offset, length] == reference["index"] and f"{checksum:016x}" == reference["index_xxh3"], "an index")
    need((chunks, blocks) == (reference["chunks"], reference["blocks"]), "rows of a segment")
    index = data[offset : offset + length]
    need(offset + length + 64 == len(data) and xxhash.xxh3_64_intdigest(index) == checksum, "checksum of an index")
    columns = {}
    for at in range(struct.unpack_from("<Q", index)[0]):
        raw, dtype, encoding, count, begin, size = struct.unpack_from("<16sBB6xQQQ", index, 8 + 48 * at)
        name = raw.rstrip(b"\0").decode()
        need(COLUMNS[name] == "BqQ"[dtype], f"dtype of {name}")
        if name not in {"text", "text_end", "digests"}:
            need(count == (blocks if name.startswith("block_") else chunks), f"length of {name}")
        columns[name] = read_column(index[begin : begin + size], encoding, COLUMNS[name], count)
    ends, data_of_texts = columns.get("text_end", []), bytes(columns.get("text", []))
    need([0, *ends] == sorted([0, *ends]) and [0, *ends][-1] == len(data_of_texts), "texts of extremes")
    texts = [data_of_texts[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    named = bytes(columns.get("digests", []))
    digests = [named[at : at + 16] for at in range(0, len(named), 16)]
    columns.setdefault("digest", [-1] * chunks)
    need(len(named) % 16 == 0 and all(-1 <= at < len(digests) for at in columns["digest"]), "digests")
    need(all(block >= -2 for block in columns["block"]), "a block")
    first, by = reference.get("shift", [0, 0])
    ids = [identity + by if identity >= first else identity for identity in columns["dataset"]]
    keys = list(zip(ids, columns["chunk"], strict=True))
    need(keys == sorted(set(keys)), "order of chunk rows")
    return Segment(lambda at, n: data[at : at + n], columns, {key: row for row, key in enumerate(keys)}, texts, digests)


# Section 5: arrays


@dataclass
class Array:
    schema: dict[str, Any]
    values: np.ndarray
    """Of the dtype in memory; times are int64, strings objects."""
    statistics: dict[str, Any] | None


def fill_cell(schema: dict[str, Any]) -> Any:
    fill = schema.get("fill")
    if schema["dtype"] == "string":
        return fill or ""
    if schema["dtype"] == "bytes":
        return b"" if fill is None else base64.b64decode(fill["bytes"])
    if isinstance(fill, dict):
        (fill,) = struct.unpack(">d", bytes.fromhex(fill["float64"]))
    return np.array(0 if fill is None else fill).astype(CELLS[schema["dtype"]])[()]


def is_nan(cells: np.ndarray, dtype: str) -> np.ndarray:
    """Which cells are NaN or not-a-time."""
    if dtype.startswith(("time", "datetime")):
        return cells == -(2**63)
    return np.isnan(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), bool)


def grid_of(schema: dict[str, Any]) -> list[tuple[int, tuple[slice, ...]]]:
    """Position of each chunk, and the cells that it holds."""
    counts = [-(-n // c) if n else 0 for n, c in zip(schema["shape"], schema["chunk_shape"], strict=True)]
    chunks = []
    for position in range(math.prod(counts)):
        index = np.unravel_index(position, counts) if counts else ()
        edges = zip(index, schema["chunk_shape"], schema["shape"], strict=True)
        chunks.append((position, tuple(slice(int(i) * c, min((int(i) + 1) * c, n)) for i, c, n in edges)))
    return chunks


def read_fixed(segment: Segment, row: int, dtype: str, count: int) -> np.ndarray:
    block, offset = segment.columns["block"][row], segment.columns["offset"][row]
    width = np.dtype(dtype).itemsize
    if dtype == "|b1":
        return read_fixed(segment, row, "|u1", count) != 0
    if block < 0:
        return np.frombuffer(struct.pack("<Q", offset)[:width] * count, dtype)
    nbytes = count * width
    if nbytes > 131_072:
        need(offset == 0, "a cut chunk that does not begin its block")
        data = b"".join(segment.block(block + at) for at in range(-(-nbytes // 65_536)))
        need(len(data) == nbytes, "a cut chunk's length")
    else:
        data = segment.block(block)[offset : offset + nbytes]
    return np.frombuffer(data, dtype, count)


def read_texts(segment: Segment, row: int, count: int, fill: str | bytes) -> np.ndarray:
    texts = np.full(count, fill, object)
    block, offset = segment.columns["block"][row], segment.columns["offset"][row]
    if block >= 0:
        data = segment.block(block)
        at = offset + 4 * count
        for cell, length in enumerate(struct.unpack_from(f"<{count}I", data, offset)):
            if length == 2**32 - 1:
                texts[cell] = None
                continue
            need(at + length <= len(data), "a text outside its block")
            texts[cell] = data[at : at + length].decode() if isinstance(fill, str) else data[at : at + length]
            at += length
    return texts


def find_chunk(segments: list[Segment], segment: Segment, row: int) -> tuple[Segment, int]:
    """The segment and the row that say where a chunk lies and what statistics it has."""
    if segment.columns["block"][row] != -2:
        return segment, row
    digest = segment.digests[segment.columns["digest"][row]]
    for other in segments:
        for at, number in enumerate(other.columns["digest"]):
            if number >= 0 and other.digests[number] == digest and other.columns["block"][at] >= 0:
                return other, at
    raise FormatError("a shared chunk that no segment has")


def check_digest(segment: Segment, row: int, schema: dict[str, Any], cells: np.ndarray) -> None:
    number = segment.columns["digest"][row]
    if number < 0:
        return
    if cells.dtype == object:
        encoded = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
        lengths = [2**32 - 1 if cell is None else len(cell) for cell in encoded]
        data = struct.pack(f"<{len(lengths)}I", *lengths) + b"".join(cell for cell in encoded if cell is not None)
    else:
        data = cells.tobytes()
    seed = schema["dtype"].encode()
    if "fill" in schema:
        fill = fill_cell(schema)
        seed += b"\0" + (
            fill.encode() if isinstance(fill, str) else fill if isinstance(fill, bytes) else fill.tobytes()
        )
    found = xxhash.xxh3_128_digest(data, xxhash.xxh3_64_intdigest(seed))
    need(found == segment.digests[number], "the digest of a chunk")


def read_array(segments: list[Segment], identity: int, schema: dict[str, Any], generation: int) -> Array:
    is_text, fill = schema["dtype"] in {"string", "bytes"}, fill_cell(schema)
    is_string = schema["dtype"] == "string"
    dtype = object if is_text else CELLS[schema["dtype"]]
    values = np.full(schema["shape"], fill, dtype)
    written, nulls, nans, lows, highs = 0, 0, 0, [], []
    for position, region in grid_of(schema):
        newest = next((segment for segment in reversed(segments) if (identity, position) in segment.rows), None)
        if newest is None:
            continue
        row = newest.rows[identity, position]
        if newest.columns["generation"][row] != generation:
            continue
        shape = tuple(part.stop - part.start for part in region)
        count = math.prod(shape)
        newest, row = find_chunk(segments, newest, row)
        cells = read_texts(newest, row, count, fill) if is_text else read_fixed(newest, row, dtype, count)
        check_digest(newest, row, schema, cells)
        values[region] = cells.reshape(shape) if shape else cells[0]
        written += count
        nulls += newest.columns["nulls"][row]
        nans += newest.columns["nans"][row]
        ends = newest.columns["minimum"][row], newest.columns["maximum"][row]
        if is_text:
            if NO_EXTREME in ends:
                need(ends[0] == ends[1], "one extreme without the other")
                continue
            low, high = (cells[end - 2**63] if end >= 2**63 else newest.texts[end] for end in ends)
            low, high = (end.decode() if isinstance(end, bytes) and is_string else end for end in (low, high))
        else:
            code = {"f": "d", "u": "Q", "b": "Q"}.get(np.dtype(dtype).kind, "q")
            low, high = struct.unpack(f"<2{code}", struct.pack("<2Q", *ends))
            if low > high:
                continue
            if dtype == "|b1":
                low, high = bool(low), bool(high)
        lows.append(low)
        highs.append(high)
    if not written:
        return Array(schema, values, None)
    fill_is_nan = schema.get("fill") is not None and bool(is_nan(np.array([fill]), schema["dtype"])[0])
    nans += values.size - written if fill_is_nan else 0
    statistics = {
        "row_count": values.size,
        "null_count": values.size - written + nulls + (nans if schema.get("nan_is_missing") and not fill_is_nan else 0),
        "min": min(lows, default=None),
        "max": max(highs, default=None),
        "nan_count": nans,
    }
    return Array(schema, values, statistics)


@dataclass
class Contents:
    """All that a dataset holds."""

    attributes: list[tuple[Any, Any]]
    arrays: dict[str, Array]


def read_store(source: str | Path | Read) -> dict[str, Contents]:
    """Everything in the store in a folder, or whose files a function returns by key."""
    read = source if callable(source) else cache(lambda key: (Path(source) / key).read_bytes())
    catalog = read_catalog(read)
    segments: dict[str, list[Segment]] = {}
    for reference in catalog.segments:
        segments.setdefault(reference["array"], []).append(read_segment(read, reference))
    return {
        dataset.name: Contents(
            dataset.attributes,
            {
                name: read_array(segments.get(name, []), dataset.identity, schema, generation)
                for name, schema, generation in dataset.arrays
            },
        )
        for _, dataset in sorted(catalog.datasets.items())
    }
