"""Plain NumPy and Python twins of the kernels: slow, obvious, and written without looking at them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lz4.block
import numpy as np
import xxhash
import zstandard

from atlas import kernels
from atlas.kernels import Geometry


def byte_shuffle(raw: bytes, itemsize: int) -> bytes:
    items = len(raw) // itemsize
    planes = np.frombuffer(raw, np.uint8, items * itemsize).reshape(items, itemsize).T
    return planes.tobytes() + raw[items * itemsize :]


def bit_shuffle(raw: bytes, itemsize: int) -> bytes:
    items = len(raw) // itemsize // 8 * 8
    cells = np.frombuffer(raw, np.uint8, items * itemsize).reshape(items, itemsize)
    bits = np.unpackbits(cells, axis=1, bitorder="little")  # (items, 8 * itemsize)
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes() + raw[items * itemsize :]


def shuffle(raw: bytes, kind: int, itemsize: int) -> bytes:
    return (lambda r, _s: r, byte_shuffle, bit_shuffle)[kind](raw, itemsize)


def encode(raw: bytes, codec: int, kind: int, itemsize: int, level: int = 1) -> bytes:
    data = shuffle(raw, kind, itemsize)
    if kind:
        length = len(raw) // itemsize // (8 if kind == 2 else 1) * (8 if kind == 2 else 1)
        planes = [data[j * length : (j + 1) * length] for j in range(itemsize)]
        streams = [min(plane, compress(plane, codec, level), key=len) for plane in planes]
        sizes = b"".join([len(stream).to_bytes(4, "little") for stream in streams])
        return sizes + b"".join(streams) + data[itemsize * length :]
    return compress(data, codec, level)


def compress(data: bytes, codec: int, level: int = 1) -> bytes:
    if codec == 1:
        return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)
    if codec == 2:
        return lz4.block.compress(data, store_size=False)
    return data


def checksum(stored: bytes) -> int:
    return xxhash.xxh3_64_intdigest(stored)


COLUMNS = {"offset": 0, "stored": 1, "raw": 2, "codec": 3, "filter": 4, "itemsize": 5, "checksum": 6}
"""Rows of a block table."""


def table_of(rows: list[tuple[int, ...]]) -> np.ndarray:
    """A block table of rows, which end in the checksum."""
    table = np.array([(*row[:6], 0, 0) for row in rows], np.int64).reshape(-1, 8).T.copy()
    table.view(np.uint64)[6] = [row[6] for row in rows]
    return table


def store(blocks: list[tuple[bytes, int, int, int]], lead: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of (raw, codec, filter, itemsize), each stored as asked, after `lead` bytes of something else.

    Without a codec there is no filter.
    """
    source = b"\xa5" * lead
    rows = []
    for raw, codec, wished, itemsize in blocks:
        kind = wished if codec else 0
        stored = encode(raw, codec, kind, itemsize)
        rows.append((len(source), len(stored), len(raw), codec, kind, itemsize, checksum(stored)))
        source += stored
    return np.frombuffer(source, np.uint8), table_of(rows)


def of(table: np.ndarray) -> SimpleNamespace:
    """The columns of a block table by name, the checksum unsigned."""
    columns = {name: table[row] for name, row in COLUMNS.items()}
    return SimpleNamespace(**columns | {"checksum": table[6].view(np.uint64)})


def change(table: np.ndarray, row: int, **values: int) -> np.ndarray:
    """A copy of the table with some columns of one row changed."""
    changed = table.copy()
    for name, value in values.items():
        changed.view(np.uint64)[COLUMNS[name], row] = value % 2**64
    return changed


def reseal(source: np.ndarray, table: np.ndarray, row: int) -> np.ndarray:
    """A copy of the table with the row's checksum made right again."""
    begin, size = table[:2, row].tolist()
    return change(table, row, checksum=checksum(source[begin : begin + size].tobytes()))


def geometry(shape: list[int], chunk: list[int], start: list[int], box: list[int]) -> tuple[Geometry, list[Any]]:
    """The chunks of a grid that meet a box, and the index of each in the grid."""
    rows: list[tuple[list[int], ...]] = []
    cells = []
    for cell in np.ndindex(*[-(-n // c) for n, c in zip(shape, chunk, strict=True)]):
        corner = [i * c for i, c in zip(cell, chunk, strict=True)]
        extent = [min(c, n - k) for c, n, k in zip(chunk, shape, corner, strict=True)]
        low = [max(s, k) for s, k in zip(start, corner, strict=True)]
        high = [min(s + b, k + e) for s, b, k, e in zip(start, box, corner, extent, strict=True)]
        if all(h > w for h, w in zip(high, low, strict=True)):
            rows.append(
                (
                    extent,
                    [w - k for w, k in zip(low, corner, strict=True)],
                    [h - w for h, w in zip(high, low, strict=True)],
                    [w - s for w, s in zip(low, start, strict=True)],
                )
            )
            cells.append(cell)
    ndim = len(shape)
    columns = [np.array([row[i] for row in rows], np.int64).reshape(len(rows), ndim) for i in range(4)]
    return Geometry(np.stack(columns), np.array(box, np.int64)), cells


def gather_all(source: np.ndarray, table: np.ndarray, pieces: np.ndarray, geo: Geometry, out: np.ndarray) -> None:
    """Call the kernel for all blocks at once, which lie in the source where the table says."""
    blocks = pieces[0]
    heads = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1])[: blocks.size])
    there = [int(table[0, b]) if 0 <= b < table.shape[1] else 0 for b in blocks[heads].tolist()]
    lot = np.array([[*blocks[heads].tolist(), 0], [*there, 0], [*heads.tolist(), blocks.size]], np.int64)
    kernels.gather_boxes(source, table, lot, 0, heads.size, pieces, geo, out)


def chunk_of(array: np.ndarray, chunk: list[int], cell: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, chunk, strict=True))]


def inside(row: int, first: np.ndarray, count: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(f), int(f + c)) for f, c in zip(first[row], count[row], strict=True))


def gather(decoded: list[bytes], pieces: np.ndarray, geo: Geometry, out: np.ndarray) -> None:
    """Rebuilds each chunk from its pieces, cell by cell, then slices it."""
    partial: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for block, place, begin, count, chunk, target in pieces.T.tolist():
        size = int(np.prod(geo.extent[chunk]))
        cells, known = partial.setdefault((chunk, target), (np.zeros(size, out.dtype), np.zeros(size, np.bool_)))
        cells[begin : begin + count] = np.frombuffer(decoded[block], out.dtype, count, place)
        known[begin : begin + count] = True
    for (chunk, target), (cells, known) in partial.items():
        box = inside(chunk, geo.first, geo.part)
        there = inside(chunk, geo.target, geo.part)
        shape = tuple(geo.extent[chunk])
        mask = known.reshape(shape)[box]
        out[target][there][...] = np.where(mask, cells.reshape(shape)[box], out[target][there])


def scatter(data: np.ndarray, geo: Geometry, out: np.ndarray, place: np.ndarray) -> None:
    for row, at in enumerate(place.tolist()):
        size = int(np.prod(geo.extent[row])) * data.itemsize
        chunk = out[at : at + size].view(data.dtype).reshape(tuple(geo.extent[row]))
        chunk[inside(row, geo.first, geo.part)] = data[inside(row, geo.target, geo.part)]


def statistics(values: np.ndarray, fill: Any, *, missing_minimum: bool = False) -> tuple[int, int, Any, Any, bool]:
    """(nulls, nans, minimum, maximum, constant) of one run; None where nothing is left."""
    kind = values.dtype.kind
    null = np.zeros(values.size, np.bool_)
    if fill is not None:
        null = np.isnan(values) if kind == "f" and np.isnan(fill) else values == values.dtype.type(fill)
    nan = np.isnan(values) if kind == "f" else np.zeros(values.size, np.bool_)
    if missing_minimum:
        nan |= values == np.iinfo(values.dtype).min
    left = ~null & ~nan
    kept = values[left]
    bits = values.view(f"u{values.itemsize}")
    constant = bool((bits == bits[:1]).all())
    return int(null.sum()), int(nan.sum()), *((kept.min(), kept.max()) if kept.size else (None, None)), constant


def find_chunks(
    index: list[tuple[int, int, int]], wants: list[tuple[int, int]], chunks: list[int]
) -> dict[tuple[int, int], int]:
    """Row of the index for each (target, chunk) that is there.

    `index` holds (dataset, generation, chunk); `wants` (dataset, generation).
    """
    rows = {key: row for row, key in enumerate(index)}
    return {
        (n, k): rows[dataset, generation, chunk]
        for n, (dataset, generation) in enumerate(wants)
        for k, chunk in enumerate(chunks)
        if (dataset, generation, chunk) in rows
    }


def text_chunk(cells: list[str | None]) -> bytes:
    encoded = [None if cell is None else cell.encode() for cell in cells]
    lengths = [0xFFFFFFFF if cell is None else len(cell) for cell in encoded]
    return np.array(lengths, "<u4").tobytes() + b"".join([cell for cell in encoded if cell is not None])
