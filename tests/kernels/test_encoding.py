"""The choice of a filter, and the filters that cells of a dtype have."""

import numpy as np
import pytest

from atlas.kernels import choose_filter, encode_blocks, encoding, suitable_filter
from atlas.kernels.compiler import JIT
from tests import reference

SIZE = 12000 if JIT else 1200
NAT = np.iinfo("i8").min


def filters_of(dtype):
    """The filters of a dtype, by place."""
    size, kind = np.dtype(dtype).itemsize, np.dtype(dtype).kind
    faster, slower = (1, 2) if size == 8 else (2, 1)
    if kind == "f" and size > 2:
        return [faster, 3, slower, 5, 0]
    return [0, 2, 4] if size == 1 else [faster, slower, *([4] if kind in "iumM" else []), 0]


def blocks_of(cells, count=3):
    size = cells.nbytes // count // 8 * 8
    return cells.view(np.uint8), np.arange(count) * size, np.full(count, size)


def choose(cells, codec=1, fill=None):
    return choose_filter(*blocks_of(cells), codec=codec, dtype=cells.dtype, level=1, fill=fill)


def size_of(cells, filter_, codec, fill=None):
    """The stored bytes under a filter, None where not all blocks take one of integers, or none takes another."""
    size = cells.itemsize
    stored, table = encode_blocks(*blocks_of(cells), codec=codec, filter=filter_, itemsize=size, level=1, fill=fill)
    taken = reference.of(table).filter == filter_
    return stored.size if (taken.all() if filter_ >= 3 else taken.any()) else None


def chosen_by_rule(cells, codec, fill=None):
    best, smallest = 0, sum(blocks_of(cells)[2])
    for place, filter_ in enumerate(filters_of(cells.dtype)):
        size = size_of(cells, filter_, codec, fill)
        if size is not None and size * 1.02**place < smallest:
            best, smallest = filter_, size * 1.02**place
    return best


def make(name, dtype, count=SIZE):
    rng = np.random.default_rng(7)
    walk = np.cumsum(rng.integers(-30, 31, count))
    one = np.dtype(dtype).type
    return {
        "measured": lambda: rng.normal(280, 10, count).astype(dtype),
        "small": lambda: rng.normal(0, 1, count).astype(dtype),
        "computed": lambda: np.cumsum(rng.normal(0, 0.1, count)).astype(dtype),
        "smooth": lambda: (np.sin(np.arange(count) / 500) * 20 + 280).astype(dtype),
        "walk": lambda: (walk / 100).astype(dtype),
        "decimals": lambda: rng.normal(280, 10, count).round(2).astype(dtype),
        "even decimals": lambda: (rng.integers(-3000, 3000, count) / 100).astype(dtype),
        "packed": lambda: (walk % 4000).astype(dtype) * one(0.01) + one(15),
        "bits": lambda: rng.integers(0, 256, count * np.dtype(dtype).itemsize, np.uint8).view(dtype),
        "regular": lambda: (np.arange(count) * 60 * 10**9 + 1577836800 * 10**9).view(dtype),
        "jitter": lambda: np.cumsum(rng.integers(10**9, 2 * 10**9, count)).view(dtype),
        "gaps": lambda: np.where(rng.random(count) < 0.2, NAT, np.cumsum(rng.integers(10**9, 2 * 10**9, count))).view(
            dtype
        ),
        "levels": lambda: (walk % 101).astype(dtype),
    }[name]()


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("name", "filters"),
    [
        ("measured", {1, 2}),
        ("small", {1, 2}),
        ("computed", {1, 2}),
        ("smooth", {1, 2}),
        ("bits", {0}),
        ("walk", {5} if JIT else {3, 5}),
        ("decimals", {3}),
        ("even decimals", {3}),
        ("packed", {3, 5}),
    ],
)
def test_floats(name, filters, dtype, codec):
    cells = make(name, dtype)
    chosen = choose(cells, codec)
    assert chosen in filters
    assert chosen == chosen_by_rule(cells, codec)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_packed_floats_are_stored_as_differences(dtype):
    assert choose(make("packed", dtype)) == 5


@pytest.mark.parametrize("count", [2, 30, 300])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_few_floats_of_full_precision_are_no_decimals(dtype, count):
    assert choose(make("measured", dtype, 3 * count)) < 3


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize("name", ["regular", "jitter", "gaps"])
def test_times(name, codec):
    cells = make(name, "M8[ns]")
    fill = np.array(NAT).tobytes() if name == "gaps" else None
    assert choose(cells, codec, fill) == chosen_by_rule(cells, codec, fill) == 4


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_integers(dtype):
    walk, noise = make("levels", dtype), make("bits", dtype)
    assert choose(walk) == chosen_by_rule(walk, 1)
    assert choose(noise) == 0
    if np.dtype(dtype).itemsize > 1:
        assert choose(np.arange(SIZE).astype(dtype)) == 4


@pytest.mark.parametrize("dtype", ["f2", "c8", "V3", "?"])
def test_other_cells_are_shuffled_at_most(dtype):
    cells = make("levels", "u1", SIZE // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize).view(dtype)
    assert choose(cells) in (0, 1, 2)
    assert [suitable_filter(filter_, cells.dtype) for filter_ in range(6)] == [0, 1, 2, 1, 1, 1]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f4", {3: 3, 4: 1, 5: 5}), ("f8", {3: 3, 4: 1, 5: 5})]
    + [(dtype, {3: 1, 4: 4, 5: 1}) for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "M8[s]", "m8[ns]")],
)
def test_suitable_filters(dtype, expected):
    found = {filter_: suitable_filter(filter_, np.dtype(dtype)) for filter_ in range(6)}
    assert found == {0: 0, 1: 1, 2: 2} | expected


SIZES = [
    # Filters 2, 3, 1, 5 and 0 of float32, and which one is chosen: one more has to save 2 % for each before it.
    ([1000, 990, 990, 990, 990], 2),
    ([1000, 979, 990, 990, 990], 3),
    ([1000, 1000, 961, 1000, 1000], 1),
    ([1000, 1000, 962, 1000, 1000], 2),
    ([1000, 1000, 1000, 942, 1000], 5),
    ([1000, 1000, 1000, 943, 1000], 2),
    ([1000, 1000, 1000, 1000, 923], 0),
    ([1000, 1000, 1000, 1000, 924], 2),
    ([1000, 700, 690, 680, 660], 3),
    ([1000, 700, 690, 680, 640], 0),
    ([6000, 6000, 6000, 6000, 6000], 0),
    ([6000, None, 6000, None, 6000], 0),
    ([900, None, 900, None, 900], 2),
]


@pytest.mark.parametrize(("sizes", "expected"), SIZES)
def test_each_slower_filter_has_to_save_two_percent_more(monkeypatch, sizes, expected):
    cells = make("walk", "f4", 1500)
    known = dict(zip(filters_of("f4"), sizes, strict=True))

    def encode(*_, **wished):
        size = known[wished["filter"]]
        table = np.zeros((8, 1), np.int64)
        table[reference.COLUMNS["filter"]] = 1 if size is None else wished["filter"]
        table[reference.COLUMNS["raw"]] = 6000
        return np.zeros(size or 1, np.uint8), table

    monkeypatch.setattr(encoding, "encode_blocks", encode)
    assert choose(cells) == expected


@pytest.mark.parametrize(("cells", "chosen"), [(42, 0), (43, 4)])
def test_a_few_cells_have_no_filter(cells, chosen):
    # 3 blocks of 42 cells of 4 bytes have 504 bytes, 3 of 43 have 516.
    steps = np.arange(3 * cells, dtype=np.int32) * 7
    length = np.full(3, cells * 4)
    found = choose_filter(
        steps.view(np.uint8), np.arange(3) * cells * 4, length, codec=1, dtype=steps.dtype, level=1, fill=None
    )
    assert found == chosen
