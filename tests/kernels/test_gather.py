"""Gathering, scattering and filling boxes against their twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import BlockError, Geometry, encode_blocks, fill_boxes, locate_cells, scatter_boxes
from atlas.kernels.compiler import JIT
from tests import reference
from tests.reference import gather_all, of

DTYPES = ["u1", "i2", "f4", "i8", "c16"]


COLUMNS = {"block": 0, "offset": 1, "begin": 2, "count": 3, "chunk": 4, "target": 5}
BOXES = {"extent": 0, "first": 1, "count": 2, "target": 3}


def columns(rows):
    return np.array(rows, np.int64).reshape(-1, 6).T.copy()


def one_box(extent, first, count, target, box):
    return Geometry(np.array([[extent], [first], [count], [target]], np.int64), np.array(box, np.int64))


class Fleet:
    """A few datasets of one shape, cut in chunks, whose chunks are shuffled in blocks of about `pack` bytes."""

    def __init__(self, shape, chunk, datasets, dtype, pack, codec=1, kind=2, seed=0):
        rng = np.random.default_rng(seed)
        self.chunk, self.shape = chunk, shape
        cells = max(1, int(np.prod(shape)))
        itemsize = np.dtype(dtype).itemsize
        small = rng.integers(0, 50, (datasets, cells * itemsize), np.uint8)
        self.values = small.view(dtype)[:, : int(np.prod(shape))].reshape(datasets, *shape).copy()
        self.blocks, self.rows = [], {}
        current = b""
        for dataset in range(datasets):
            for cell in np.ndindex(*[-(-n // c) for n, c in zip(shape, chunk, strict=True)]):
                raw = reference.chunk_of(self.values[dataset], chunk, cell).tobytes()
                if len(raw) > 2 * pack:
                    self.blocks += [current] if current else []
                    current = b""
                    step = max(itemsize, pack // itemsize * itemsize)
                    parts = [(at, raw[at : at + step]) for at in range(0, len(raw), step)]
                    self.rows[dataset, cell] = [
                        (len(self.blocks) + i, 0, at // itemsize, len(part) // itemsize)
                        for i, (at, part) in enumerate(parts)
                    ]
                    self.blocks += [part for _, part in parts]
                    continue
                self.rows[dataset, cell] = [(len(self.blocks), len(current), 0, len(raw) // itemsize)]
                current += raw
                if len(current) >= pack:
                    self.blocks.append(current)
                    current = b""
        self.blocks += [current] if current else []
        self.source, self.table = reference.store([(b, codec, kind, min(itemsize, 8)) for b in self.blocks], lead=1)

    def request(self, start, box, datasets):
        geo, cells = reference.geometry(list(self.shape), self.chunk, start, box)
        rows = [
            (*piece, chunk, target)
            for target, dataset in enumerate(datasets)
            for chunk, cell in enumerate(cells)
            for piece in self.rows[dataset, cell]
        ]
        return geo, columns(sorted(rows))

    def check(self, start, box, datasets):
        geo, pieces = self.request(start, box, datasets)
        out = np.zeros((len(datasets), *box), self.values.dtype)
        gather_all(self.source, self.table, pieces, geo, out)
        window = tuple(slice(s, s + b) for s, b in zip(start, box, strict=True))
        want = self.values[(datasets, *window)] if datasets else out
        assert out.tobytes() == want.tobytes()


SHAPES = [
    ([], [], [], []),
    ([1], [1], [0], [1]),
    ([24], [24], [5], [7]),
    ([24], [24], [0], [24]),
    ([25], [7], [3], [20]),
    ([0], [1], [0], [0]),
    ([9, 11], [4, 5], [0, 0], [9, 11]),
    ([9, 11], [4, 5], [3, 2], [5, 7]),
    ([9, 11], [9, 11], [3, 0], [5, 11]),
    ([9, 11], [9, 11], [0, 4], [9, 1]),
    ([5, 6, 7], [5, 6, 7], [1, 0, 0], [3, 6, 7]),
    ([5, 6, 7], [2, 3, 7], [1, 1, 0], [4, 4, 7]),
    ([3, 4, 2, 5], [2, 4, 1, 3], [0, 1, 0, 1], [3, 2, 2, 4]),
    ([2, 3, 2, 3, 4], [1, 2, 2, 3, 3], [0, 1, 0, 1, 1], [2, 2, 2, 2, 3]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "chunk", "start", "box"), SHAPES)
@pytest.mark.parametrize("pack", [16, 64, 100000])
def test_gather_shapes(dtype, shape, chunk, start, box, pack):
    fleet = Fleet(shape, chunk, 3, dtype, pack)
    fleet.check(start, box, [0, 1, 2])
    fleet.check(start, box, [2, 0, 2])
    fleet.check(start, box, [])


@pytest.mark.parametrize("codec", [0, 1, 2])
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("pack", [64, 1000])
def test_gather_codecs_and_filters(codec, kind, pack):
    fleet = Fleet([13, 17], [8, 8], 2, "f4", pack, codec, kind)
    fleet.check([0, 0], [13, 17], [0, 1])
    fleet.check([5, 3], [6, 9], [1, 0])
    whole = Fleet([16, 16], [16, 16], 2, "f4", 64, codec, kind)
    whole.check([0, 0], [16, 16], [0, 1])
    whole.check([7, 0], [3, 16], [0, 1])


@given(st.data())
def test_gather_anything(data):
    ndim = data.draw(st.integers(0, 5))
    limit = (60, 60, 12, 6, 5, 4)[ndim] if JIT else (9, 9, 5, 3, 2, 2)[ndim]
    shape = [data.draw(st.integers(1, limit)) for _ in range(ndim)]
    chunk = [data.draw(st.integers(1, n)) for n in shape]
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    box = [data.draw(st.integers(0, n - s)) for n, s in zip(shape, start, strict=True)]
    dtype = data.draw(st.sampled_from(DTYPES))
    fleet = Fleet(
        shape, chunk, 2, dtype, data.draw(st.sampled_from([8, 40, 300, 5000])),
        data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2)),
    )  # fmt: skip
    fleet.check(start, box, data.draw(st.lists(st.integers(0, 1), max_size=3)))


LARGE = [40, 50, 24] if JIT else [8, 12, 24]


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_boxes_of_large_chunks_whose_lower_planes_are_stored_as_they_are(codec, kind, dtype):
    values = (np.random.default_rng(3).random(LARGE) * 300).astype(dtype)
    start, length = np.zeros(1, np.int64), np.array([values.nbytes])
    source, table = encode_blocks(
        values.reshape(-1).view(np.uint8), start, length,
        codec=codec, filter=kind, itemsize=values.itemsize, level=1,
    )  # fmt: skip
    assert of(table).filter[0] == kind
    plane = values.size
    assert plane in source[: 4 * values.itemsize].view("<u4")
    a, b, c = LARGE
    for first, box in (
        ([0, 0, 0], [a // 4, b // 4, c // 4]),
        ([0, 0, 0], [a // 2, b // 2, c // 2]),
        ([a // 2, 1, 3], [a // 2, b // 3, c - 5]),
        ([a - 1, b - 1, c - 1], [1, 1, 1]),
        ([1, 0, 0], [2, b, c]),
        ([0, 0, 0], [a, b, c]),
    ):
        geo = one_box(LARGE, first, box, [0, 0, 0], box)
        pieces = columns([(0, 0, 0, values.size, 0, 0)])
        out = np.zeros((1, *box), dtype)
        gather_all(source, table, pieces, geo, out)
        assert (out[0] == values[tuple(slice(f, f + n) for f, n in zip(first, box, strict=True))]).all()


@pytest.mark.parametrize("kind", [0, 1])
def test_pieces_alike_at_regular_and_irregular_distances(kind):
    values = np.arange(4000, dtype="f4")
    source, table = reference.store([(values.tobytes(), 1, kind, 4)])
    geo = one_box([20], [5], [10], [0], [10])
    offsets = [0, 20, 40, 60, 100, 140, 180, 177, 3, 3, 980]
    targets = [0, 1, 2, 3, 4, 6, 8, 5, 7, 9, 10]
    pieces = columns([(0, 4 * offset, 0, 20, 0, target) for offset, target in zip(offsets, targets, strict=True)])
    out = np.zeros((11, 10), "f4")
    gather_all(source, table, pieces, geo, out)
    for offset, target in zip(offsets, targets, strict=True):
        assert (out[target] == values[offset + 5 : offset + 15]).all()


@given(st.data())
def test_gather_incomplete_pieces_leave_the_rest(data):
    """Any cut of a chunk's cells, in any blocks, against the cell-by-cell twin."""
    extent = [data.draw(st.integers(1, 6)) for _ in range(3)]
    first = [data.draw(st.integers(0, n - 1)) for n in extent]
    count = [data.draw(st.integers(1, n - f)) for n, f in zip(extent, first, strict=True)]
    target = [data.draw(st.integers(0, 2)) for _ in extent]
    box = [t + c + data.draw(st.integers(0, 2)) for t, c in zip(target, count, strict=True)]
    geo = one_box(extent, first, count, target, box)
    cells = int(np.prod(extent))
    raw = np.arange(1, cells + 40, dtype="u2").tobytes()
    source, table = reference.store([(raw, 1, 2, 2), (raw[::-1], 2, 1, 2)])
    rows = []
    for block in (0, 1):
        begin = data.draw(st.integers(0, cells))
        size = data.draw(st.integers(0, cells - begin))
        rows.append((block, data.draw(st.integers(0, 35)) * 2, begin, size, 0, block))
    pieces = columns(rows)
    out, want = np.zeros((2, *box), "u2"), np.zeros((2, *box), "u2")
    gather_all(source, table, pieces, geo, out)
    reference.gather([raw, raw[::-1]], pieces, geo, want)
    assert (out == want).all()


LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    "values",
    [
        {"offset": -1},
        {"offset": 1},
        {"offset": LARGEST},
        {"offset": -LARGEST},
        {"begin": -1},
        {"begin": 1},
        {"begin": LARGEST},
        {"count": -1},
        {"count": 397},
        {"count": LARGEST},
        {"begin": LARGEST, "count": LARGEST},
    ],
)
def test_pieces_outside_their_block(values):
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    hostile = pieces.copy()
    for name, value in values.items():
        hostile[COLUMNS[name], -1] = value
    out = np.zeros((2, 18, 22), "f4")
    with pytest.raises(BlockError) as fault:
        gather_all(fleet.source, fleet.table, hostile, geo, out)
    assert (fault.value.block, fault.value.reason) == (int(pieces[0, -1]), "offset")
    assert not out.any()


@pytest.mark.parametrize(
    "values", [{"block": -1}, {"block": 99}, {"chunk": -1}, {"chunk": 99}, {"target": -1}, {"target": 2}]
)
def test_requests_for_what_is_not_there(values):
    fleet = Fleet([18, 22], [9, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    for name, value in values.items():
        pieces[COLUMNS[name], -1] = value
    with pytest.raises(ValueError):
        gather_all(fleet.source, fleet.table, pieces, geo, np.zeros((2, 18, 22), "f4"))


@pytest.mark.parametrize(
    ("column", "value"), [("first", 1), ("first", -1), ("count", -1), ("target", 1), ("target", LARGEST)]
)
def test_boxes_outside_their_chunk(column, value):
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    geo.boxes[BOXES[column], 0, 1] = value
    with pytest.raises(ValueError):
        gather_all(fleet.source, fleet.table, pieces, geo, np.zeros((2, 18, 22), "f4"))


def test_results_of_the_wrong_shape():
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    for out in (np.zeros((2, 18, 21), "f4"), np.zeros(2, "f4"), np.zeros((2, 22, 18), "f4").swapaxes(1, 2)):
        with pytest.raises(ValueError):
            gather_all(fleet.source, fleet.table, pieces, geo, out)


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_damaged_blocks_of_a_gather(codec, kind):
    fleet = Fleet([40, 10], [40, 10], 3, "f4", 100000, codec, kind)
    fleet = Fleet([40, 10], [20, 10], 3, "f4", 700, codec, kind) if codec else fleet
    geo, pieces = fleet.request([0, 0], [40, 10], [0, 1, 2])
    row = len(fleet.blocks) - 1
    source = fleet.source.copy()
    source[of(fleet.table).offset[row] + 5] ^= 1
    out = np.zeros((3, 40, 10), "f4")
    with pytest.raises(BlockError) as fault:
        gather_all(source, fleet.table, pieces, geo, out)
    assert (fault.value.block, fault.value.reason) == (row, "checksum")
    for values, reasons in (
        ({"raw": 2**50}, {"length"}),
        ({"raw": int(of(fleet.table).raw[row]) + 4}, {"length", "codec"}),
        ({"offset": -5}, {"bounds"}),
        ({"stored": 2**40}, {"bounds"}),
        ({"codec": 9}, {"codec"}),
    ):
        with pytest.raises(BlockError) as fault:
            gather_all(fleet.source, reference.change(fleet.table, row, **values), pieces, geo, out)
        assert fault.value.block == row
        assert fault.value.reason in reasons


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "chunk", "start", "box"), SHAPES)
def test_scatter(dtype, shape, chunk, start, box):
    rng = np.random.default_rng(3)
    geo, cells = reference.geometry(shape, chunk, start, box)
    itemsize = np.dtype(dtype).itemsize
    data = rng.integers(0, 255, (int(np.prod(box)), itemsize), np.uint8).view(dtype).reshape(box)
    sizes = geo.extent.prod(axis=1).astype(np.int64) * itemsize
    offset = np.cumsum(sizes) - sizes + 3
    out = np.full(int(sizes.sum()) + 6, 1, np.uint8)
    want = out.copy()
    reference.scatter(data, geo, want, offset)
    scatter_boxes(data, geo, out, offset)
    assert (out == want).all()
    assert len(cells) == offset.size
    if offset.size:
        for bad in (-1, out.size, LARGEST):
            offset[-1] = bad
            with pytest.raises(BlockError) as fault:
                scatter_boxes(data, geo, out, offset)
            assert (fault.value.block, fault.value.reason) == (offset.size - 1, "offset")
        with pytest.raises(ValueError):
            scatter_boxes(data, geo, out, offset[1:])


def test_scatter_then_gather_of_views():
    data = np.arange(6 * 8, dtype="i4").reshape(8, 6).T
    geo, _ = reference.geometry([6, 8], [6, 8], [0, 0], [6, 8])
    out = np.zeros(6 * 8 * 4, np.uint8)
    scatter_boxes(data, geo, out, np.zeros(1, np.int64))
    assert (out.view("i4").reshape(6, 8) == data).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize(("shape", "chunk", "start", "box"), SHAPES)
def test_fill_boxes(dtype, shape, chunk, start, box):
    geo, cells = reference.geometry(shape, chunk, start, box)
    value = np.array([3, 5], dtype)
    bits = value.view(f"u{value.itemsize}").astype(np.uint64) | np.uint64(0 if value.itemsize == 8 else 1 << 63)
    out, want = np.ones((3, *box), dtype), np.ones((3, *box), dtype)
    rows = [(which, chunk_, target) for which, target in ((0, 2), (1, 0)) for chunk_ in range(len(cells))]
    for which, chunk_, target in rows:
        want[(target, *reference.inside(chunk_, geo.target, geo.part))] = value[which]
    which, chunks, targets = (np.array(c, np.int64) for c in (list(zip(*rows, strict=True)) or [[], [], []]))
    fill_boxes(out, bits[which], chunks, targets, geo)
    assert (out == want).all()


@pytest.mark.parametrize(("chunk", "target"), [(-1, 0), (1, 0), (0, -1), (0, 2)])
def test_fill_boxes_outside(chunk, target):
    geo, _ = reference.geometry([4], [4], [0], [4])
    with pytest.raises(ValueError):
        fill_boxes(np.zeros((2, 4)), np.zeros(1, np.uint64), np.array([chunk]), np.array([target]), geo)


@pytest.mark.parametrize(("shape", "chunk", "start", "box"), SHAPES)
def test_located_cells(shape, chunk, start, box):
    geo, cells = reference.geometry(shape, chunk, start, box)
    values = np.arange(2 * int(np.prod(shape))).reshape(2, *shape)
    out = np.full((3, *box), -1)
    rows = [(which, row, target) for which, target in ((0, 2), (1, 0)) for row in range(len(cells))]
    which, chunks, targets = (np.array(c, np.int64) for c in (list(zip(*rows, strict=True)) or [[], [], []]))
    inside, result, count = locate_cells(geo, chunks, targets)
    assert count.sum() == len(inside) == len(result)
    for n, row, some in zip(which, chunks, np.split(np.arange(len(inside)), np.cumsum(count)[:-1]), strict=False):
        out.reshape(-1)[result[some]] = reference.chunk_of(values[n], chunk, cells[row]).reshape(-1)[inside[some]]
        assert (np.diff(inside[some]) > 0).all()
    wanted = (slice(None), *(slice(s, s + b) for s, b in zip(start, box, strict=True)))
    assert (out[[2, 0]] == values[wanted]).all()
    assert (out[1] == -1).all()


@pytest.mark.parametrize(("chunk", "target"), [([-1], [0]), ([1], [0]), ([0], [-1]), ([0], [0, 0])])
def test_located_cells_outside(chunk, target):
    geo, _ = reference.geometry([4], [4], [0], [4])
    with pytest.raises(ValueError, match="do not fit the geometry"):
        locate_cells(geo, np.array(chunk), np.array(target))
