"""Plain NumPy and Python twins of the kernels: slow, obvious, and written without looking at them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

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
        return join_planes(planes, codec, level) + data[itemsize * length :]
    return compress(data, codec, level)


def join_planes(planes: list[bytes], codec: int, level: int = 1) -> bytes:
    """The lengths of the planes, and the planes, each compressed where that is shorter."""
    streams = [min(plane, compress(plane, codec, level), key=len) for plane in planes]
    return b"".join([len(stream).to_bytes(4, "little") for stream in streams] + streams)


def compress(data: bytes, codec: int, level: int = 1) -> bytes:
    if codec == 1:
        return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)
    if codec == 2:
        return lz4.block.compress(data, store_size=False)
    return data


def decompress(stored: bytes, codec: int, length: int) -> bytes:
    if len(stored) == length:
        return stored
    if codec == 1:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=length)
    return lz4.block.decompress(stored, uncompressed_size=length)


HEAD = np.dtype(
    [
        *((name, "u1") for name in ("width", "exponent", "corrections", "masks", "starts")),
        ("exceptions", "u1", 3),
        ("base", "<i8"),
        ("start_base", "<i8"),
    ]
)
"""The head of a block of integers."""
INTERVAL = 256
"""Differences begin anew at every so many items."""


class Choice(NamedTuple):
    """What an encoder of integers is free to choose; all else follows from the cells."""

    exponent: int
    masks: list[int]
    base: int
    start: int


class Parts(NamedTuple):
    """A block of integers, its planes not compressed yet."""

    head: np.ndarray
    planes: list[bytes]
    tail: bytes


def _floats_of(integers: np.ndarray, exponent: int, itemsize: int) -> np.ndarray:
    power = float(f"1e{exponent}")
    if itemsize == 4:
        return (integers.astype("f8") * (1 / power)).astype("f4")
    return integers.astype("f8") / power


def _integers_of(floats: np.ndarray, exponent: int) -> np.ndarray:
    scaled = floats.astype("f8") * float(f"1e{exponent}")
    return np.where(np.abs(scaled) < 2.0 ** {4: 24, 8: 51}[floats.itemsize], np.rint(scaled), 0).astype("i8")


def _bits_of(cells: np.ndarray) -> np.ndarray:
    return cells.view(f"u{cells.itemsize}").astype("i8")


def _off(floats: np.ndarray, exponent: int) -> np.ndarray:
    """How far the bits of floats are from those of the nearest decimals."""
    return _bits_of(floats) - _bits_of(_floats_of(_integers_of(floats, exponent), exponent, floats.itemsize))


def _sum_of(rows: list[np.ndarray], base: int, items: int) -> np.ndarray:
    """The integers whose bytes above the base are in planes."""
    return sum([row.astype("i8") << 8 * j for j, row in enumerate(rows)], np.full(items, base, "i8"))


def _byte_planes(values: np.ndarray, base: int, most: int = 8) -> list[bytes]:
    """As many planes as the largest of `values - base` has bytes, but no more than `most`."""
    above = (values - np.int64(base)).view("u8")
    width = min((int(above.max()).bit_length() + 7) // 8, most)
    return [plane.tobytes() for plane in above.astype("<u8").view("u1").reshape(-1, 8).T[:width]]


@np.errstate(all="ignore")
def split_integers(
    raw: bytes, kind: int, itemsize: int, fill: bytes | None = None, choice: Choice | None = None
) -> Parts | None:
    """The parts of a block under filter 3, 4 or 5; None where it is not worth while."""
    items = len(raw) // itemsize
    if items == 0 or len(raw) % itemsize:
        return None
    cells = np.frombuffer(raw, f"<u{itemsize}")
    bits, integers = _bits_of(cells), _bits_of(cells)
    head = np.zeros((), HEAD)
    apart, corrections = np.zeros(items, bool), []
    if kind != 4:
        floats = cells.view(f"<f{itemsize}")
        exponents = range(16 if itemsize == 8 else 9) if choice is None else [choice.exponent]
        exponent = max(exponents, key=lambda e: (np.abs(_off(floats, e)) <= 1).sum())
        integers = _integers_of(floats, exponent)
        off = _off(floats, exponent)
        near = (off >= -127) & (off <= 127)
        apart = off != 0
        if 64 * (near & apart).sum() > items:
            apart, corrections = ~near, [np.where(near, off, 0).astype("i1").tobytes()]
        head["exponent"], head["corrections"] = exponent, len(corrections)
    if fill is not None:
        apart |= bits == _bits_of(np.frombuffer(fill, cells.dtype))
    kinds, counts = np.unique(bits[apart], return_counts=True)
    masks = kinds[np.argsort(-counts)][: min(4, (counts >= 32).sum())].tolist() if choice is None else choice.masks
    lone = np.flatnonzero(apart & ~np.isin(bits, masks))
    if len(lone) > items // 16:
        return None
    here = np.maximum.accumulate(np.where(apart, -1, np.arange(items)))
    integers = np.zeros(items, "i8") if apart.all() else integers[np.where(here < 0, np.argmin(apart), here)]
    starts = []
    if kind >= 4:
        unused = 64 - 8 * itemsize if kind == 4 else 0
        steps = np.diff(integers) << unused >> unused
        base = int(steps.min(initial=0)) if choice is None else choice.base
        start = integers[0] - np.int64(base) if choice is None else np.int64(choice.start)
        before = np.append(start, integers[INTERVAL - 1 : items - 1 : INTERVAL])
        integers = np.append(integers[0] - start, steps)
        head["start_base"] = before.min()
        starts = _byte_planes(before, int(before.min()))
    else:
        base = int(integers.min())
    lows = _byte_planes(integers, base, itemsize)
    if kind != 4 and len(lows) + len(corrections) >= itemsize:
        return None
    head["base"], head["width"], head["masks"], head["starts"] = base, len(lows), len(masks), len(starts)
    head["exceptions"] = np.array(len(lone), "<u4").reshape(1).view("u1")[:3]
    marks = [np.packbits(apart & (bits == value), bitorder="little").tobytes() for value in masks]
    tail = [np.array(masks, "i8").astype(cells.dtype), lone.astype("<u4"), cells[lone]]
    return Parts(head, lows + corrections + marks + starts, b"".join([part.tobytes() for part in tail]))


def encode_integers(raw: bytes, codec: int, kind: int, itemsize: int, fill: bytes | None = None) -> bytes | None:
    """A whole block under filter 3, 4 or 5; None where it is not worth while."""
    parts = split_integers(raw, kind, itemsize, fill)
    return parts and parts.head.tobytes() + join_planes(parts.planes, codec) + parts.tail


def open_integers(stored: bytes, codec: int, size: int, itemsize: int) -> Parts:
    """The parts of a stored block of `size` bytes under filter 3, 4 or 5."""
    head, at = np.frombuffer(stored, HEAD, 1)[0], HEAD.itemsize
    items = size // itemsize
    lengths = [items] * (head["width"] + head["corrections"])
    lengths += [-(-items // 8)] * head["masks"] + [-(-items // INTERVAL)] * head["starts"]
    sizes = np.frombuffer(stored, "<u4", len(lengths), at).tolist()
    ends = at + 4 * len(sizes) + np.cumsum([0, *sizes])
    planes = [decompress(stored[a:b], codec, n) for a, b, n in zip(ends, ends[1:], lengths, strict=False)]
    return Parts(head, planes, stored[ends[-1] :])


@np.errstate(all="ignore")
def undo_integers(parts: Parts, size: int, kind: int, itemsize: int) -> bytes:
    """The `size` bytes of cells of a block under filter 3, 4 or 5."""
    head, planes, tail = parts
    items = size // itemsize
    rows = [np.frombuffer(plane, "u1") for plane in planes]
    width, corrections, masks, starts = (int(head[name]) for name in ("width", "corrections", "masks", "starts"))
    cells = _sum_of(rows[:width], head["base"], items)
    if kind >= 4:
        intervals = -(-items // INTERVAL)
        steps = np.zeros((intervals, INTERVAL), "i8")
        steps.reshape(-1)[:items] = cells
        before = _sum_of(rows[len(rows) - starts :], head["start_base"], intervals)
        cells = (before[:, None] + steps.cumsum(axis=1)).reshape(-1)[:items]
    if kind != 4:
        cells = _bits_of(_floats_of(cells, int(head["exponent"]), itemsize))
    for row in rows[width : width + corrections]:
        cells += row.view("i1")
    cells = cells.astype(f"<u{itemsize}")
    values = np.frombuffer(tail, cells.dtype, masks)
    for row, value in zip(rows[width + corrections :], values, strict=False):
        cells[np.unpackbits(row, count=items, bitorder="little").astype(bool)] = value
    lone = np.array([*head["exceptions"], 0], "u1").view("<u4")[0]
    cells[np.frombuffer(tail, "<u4", lone, values.nbytes)] = np.frombuffer(
        tail, cells.dtype, lone, values.nbytes + 4 * lone
    )
    return cells.tobytes()


@np.errstate(over="ignore")
def choice_of(parts: Parts, itemsize: int) -> Choice:
    """What the encoder of a block has chosen."""
    head, planes, tail = parts
    rows = [np.frombuffer(plane, "u1", 1) for plane in planes[len(planes) - int(head["starts"]) :]]
    masks = _bits_of(np.frombuffer(tail, f"<u{itemsize}", head["masks"]))
    start = int(_sum_of(rows, head["start_base"], 1)[0])
    return Choice(int(head["exponent"]), masks.tolist(), int(head["base"]), start)


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

    Without a codec there is no filter, and where filters 3 to 5 are not worth while, bytes are shuffled.
    """
    source = b"\xa5" * lead
    rows = []
    for raw, codec, wished, itemsize in blocks:
        kind = wished if codec else 0
        stored = encode_integers(raw, codec, kind, itemsize) if kind >= 3 else None
        if stored is None:
            kind = 1 if kind >= 3 else kind
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
        out[target, *there] = np.where(mask, cells.reshape(shape)[box], out[target, *there])


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


def plan_chunks(
    boxes: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]], targets: list[int]
) -> list[tuple[int, tuple[tuple[int, ...], ...], int, int]]:
    """Number, box (extent, first, count, target), position and cells of every chunk that the boxes meet, in order.

    Each box is given by the shape and chunk shape of its array, its first cell and its extent; found cell by cell.
    """
    planned = []
    for number, ((shape, chunk, start, extent), target) in enumerate(zip(boxes, targets, strict=True)):
        grid = [-(-n // c) for n, c in zip(shape, chunk, strict=True)] if 0 not in shape else [0]
        for position, cell in enumerate(np.ndindex(*grid)) if 0 not in shape else ():
            wanted = [
                [at for at in range(i * c, min((i + 1) * c, n)) if s <= at < s + e]
                for i, n, c, s, e in zip(cell, shape, chunk, start, extent, strict=True)
            ]
            if not all(wanted):
                continue
            size = [min(c, n - i * c) for i, n, c in zip(cell, shape, chunk, strict=True)]
            first = [at[0] - i * c for at, i, c in zip(wanted, cell, chunk, strict=True)]
            there = [at[0] - s for at, s in zip(wanted, start, strict=True)]
            there[0] += target
            box = tuple(tuple(map(int, some)) for some in (size, first, map(len, wanted), there))
            planned.append((number, box, position, int(np.prod(size))))
    return planned


def text_chunk(cells: list[str | None]) -> bytes:
    encoded = [None if cell is None else cell.encode() for cell in cells]
    lengths = [0xFFFFFFFF if cell is None else len(cell) for cell in encoded]
    return np.array(lengths, "<u4").tobytes() + b"".join([cell for cell in encoded if cell is not None])


def distinct_texts(cells: list[bytes]) -> tuple[list[int], list[int]]:
    """Where each distinct cell comes first, and which of these each cell is."""
    first: dict[bytes, int] = {}
    numbers: dict[bytes, int] = {}
    for at, cell in enumerate(cells):
        first.setdefault(cell, at)
        numbers.setdefault(cell, len(numbers))
    return list(first.values()), [numbers[cell] for cell in cells]
