"""The example of docs/format.md: `python -m tests.format.example` prints it."""

from __future__ import annotations

import datetime as dt
import struct
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from atlas import Atlas
from atlas.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT = "arrays/temp/0123456789abcdef01234567.seg"


COMMIT = "commits/00000000000000000001.json"


def example_store() -> MemoryStorage:
    storage = MemoryStorage()
    clock = mock.Mock(datetime=mock.Mock(now=lambda _: dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)), UTC=dt.UTC)
    fixed = mock.patch("secrets.token_hex", return_value="0123456789abcdef01234567")
    with fixed, mock.patch("atlas.commit.commit_writer.dt", clock), mock.patch("atlas.commit.creation.dt", clock):
        store = Atlas.create(storage, codec="none")
        view = store.create_dataset("p1")
        view.define_array("temp", "int16", ["depth"], [3], [2], fill_value=-9)
        view.write_array("temp", [0], np.array([258, -1, -9], "i2"))
        view.define_array("good", "bool", ["depth"], [3])
        view.set_attribute("site", "Ålesund")
        store.flush()
    return storage


def segment_parts(data: bytes) -> Iterator[tuple[int, int, str]]:
    """First byte, length and meaning of each part of a segment."""
    index_offset, index_length, _, chunks, blocks = struct.unpack_from("<5Q", data, len(data) - 64)
    yield 0, 16, "header"
    yield 16, index_offset - 16, "block 0: the cells 258 and -1"
    (columns,) = struct.unpack_from("<Q", data, index_offset)
    yield index_offset, 8, f"index: {columns} columns"
    payloads = []
    for at in range(index_offset + 8, index_offset + 8 + 48 * columns, 48):
        name, dtype, encoding, count, offset, length = struct.unpack_from("<16sBB6xQQQ", data, at)
        label = name.rstrip(b"\0").decode()
        kind, way = ("u8", "i64", "u64")[dtype], ("plain", "constant", "sequence", "packed", "deltas")[encoding]
        yield at, 48, f"{label}: {kind}, {way}, {count} values, {length} bytes at {offset} of the index"
        values = struct.unpack_from(f"<{length // (1, 8, 8)[dtype]}{'BqQ'[dtype]}", data, index_offset + offset)
        payloads.append((index_offset + offset, length, f"{label}: {', '.join(map(str, values))}"))
    yield from payloads
    footer = index_offset + index_length
    yield footer, 48, f"footer: index of {index_length} bytes at {index_offset}, {chunks} chunks, {blocks} block"
    yield footer + 48, 16, "footer: checksum and magic"


def dump(data: bytes) -> str:
    lines = []
    for first, length, label in segment_parts(data):
        lines.append(f"{label}")
        for at in range(first, first + length, 16):
            row = data[at : min(at + 16, first + length)]
            shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            lines.append(f"  {at:04x}  {row.hex(' '):47}  {shown}")
    return "\n".join(lines)


def example() -> str:
    storage = example_store()
    segment = storage.read(SEGMENT)
    documents = [(key, storage.read(key)) for key in ("atlas.json", COMMIT)]
    shown = [f"`{key}`, {len(data)} bytes:\n\n```json\n{data.decode()}\n```\n\n" for key, data in documents]
    return "".join(shown) + f"`{SEGMENT}`, {len(segment)} bytes:\n\n```\n{dump(segment)}\n```\n"


if __name__ == "__main__":
    print(example(), end="")
