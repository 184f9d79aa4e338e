"""Blocks of decimals and differences against their twin, to the bit: whole, by range and by box, and damaged ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import BlockError, Geometry, decode_block, decode_blocks, encode_blocks
from atlas.kernels.compiler import JIT
from atlas.kernels.integer_encoding import find_exponent
from tests import reference
from tests.reference import gather_all, of

FLOATS, INTEGERS = ["f4", "f8"], ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
KINDS = [(dtype, kind) for dtype in FLOATS for kind in (3, 4, 5)] + [(dtype, 4) for dtype in INTEGERS]
SIZE = 3000 if JIT else 600
SIZES = [1, 2, 7, 8, 9, 255, 256, 257, SIZE] if JIT else [1, 9, 256, 257]
FILLS = {"f4": [np.nan, -9999.0, 0.0, -0.0], "f8": [np.nan, 1e20, 0.0, -0.0]}


def as_bits(values):
    return values.view(f"u{values.itemsize}")


def nan_of(dtype, payload, *, quiet=True):
    """A NaN that keeps its payload, quiet or signalling."""
    size = np.dtype(dtype).itemsize
    exponent = 0x7F800000 if size == 4 else 0x7FF0000000000000
    bits = exponent | payload | (quiet and (0x400000 if size == 4 else 1 << 51))
    return np.array(bits, f"u{size}").view(dtype)


def strange(dtype):
    """Values of which a filter that computes may lose a bit."""
    if np.dtype(dtype).kind != "f":
        ends = np.iinfo(dtype)
        return np.array([ends.min, ends.max, ends.min + 1, ends.max - 1, 0, ends.max // 2 + 1], dtype)
    ends = np.finfo(dtype)
    plain = [-0.0, np.inf, -np.inf, np.nan, ends.max, ends.min, ends.tiny, ends.smallest_subnormal, 2.0**24, 2.0**51]
    plain += [-(2.0**51), 2.0**53, 2.0**63, -(2.0**63), 0.5, 1.5, 1e22, 123456.789]
    nans = [nan_of(dtype, 1), nan_of(dtype, 77, quiet=False), -nan_of(dtype, 5)]
    return np.append(np.array(plain, dtype), nans).astype(dtype)


def sprinkle(rng, values, some, share):
    """Those values, a share of them replaced by some others, bit by bit."""
    values = values.copy()
    there = rng.random(len(values)) < share
    as_bits(values)[there] = as_bits(some)[rng.integers(0, len(some), there.sum())]
    return values


def floats(name, rng, dtype, count):
    k = rng.integers(-300000, 300000, count)
    walk = np.cumsum(rng.integers(-30, 31, count))
    fills = np.array(FILLS[dtype], dtype)
    few = np.array([nan_of(dtype, payload) for payload in range(6)])
    return {
        "decimals": lambda: (k / 100).astype(dtype),
        "walk": lambda: (walk / 100).astype(dtype),
        "large": lambda: (np.array(10.0 ** {"f4": 4, "f8": 9}[dtype]) + walk / 1000).astype(dtype),
        "whole": lambda: walk.astype(dtype),
        "packed": lambda: (walk % 4000).astype(dtype) * np.dtype(dtype).type(0.01) + np.dtype(dtype).type(15),
        "missing": lambda: sprinkle(rng, (walk / 100).astype(dtype), fills[:2], 0.4),
        "mostly missing": lambda: sprinkle(rng, (walk / 100).astype(dtype), fills[:1], 0.98),
        "all missing": lambda: np.full(count, fills[0]),
        "all but the first": lambda: np.append(np.full(count - 1, fills[1]), np.array(0.25, dtype)).astype(dtype),
        "strange": lambda: sprinkle(rng, (k / 10).astype(dtype), strange(dtype), 0.03),
        "kinds": lambda: sprinkle(rng, (walk / 10).astype(dtype), few, 0.6),
        "four kinds and few": lambda: sprinkle(
            rng, sprinkle(rng, (walk / 10).astype(dtype), few[:4], 0.6), strange(dtype), 0.02
        ),
        "noise": lambda: rng.normal(280, 10, count).astype(dtype),
        "bits": lambda: rng.integers(0, 256, count * np.dtype(dtype).itemsize, np.uint8).view(dtype),
    }[name]()


def integers(name, rng, dtype, count):
    ends = np.iinfo(dtype)
    few = np.append(strange(dtype), np.array([3, 5], dtype))
    walk = np.cumsum(rng.integers(-3, 4, count)).astype(dtype)
    return {
        "walk": lambda: walk,
        "steps": lambda: (np.arange(count) * 13).astype(dtype),
        "wraps": lambda: np.where(np.arange(count) % 2, np.array(ends.min, dtype), np.array(ends.max, dtype)),
        "near the end": lambda: (np.array(ends.max, dtype) - (walk % np.array(7, dtype)).astype(dtype)).astype(dtype),
        "missing": lambda: sprinkle(rng, walk, few[:1], 0.4),
        "kinds": lambda: sprinkle(rng, walk, few, 0.6),
        "strange": lambda: sprinkle(rng, walk, few, 0.03),
        "constant": lambda: np.full(count, ends.min, dtype),
        "bits": lambda: rng.integers(0, 256, count * np.dtype(dtype).itemsize, np.uint8).view(dtype),
    }[name]()


FLOAT_NAMES = [
    "decimals", "walk", "large", "whole", "packed", "missing", "mostly missing", "all missing", "all but the first",
    "strange", "kinds", "four kinds and few", "noise", "bits",
]  # fmt: skip
INTEGER_NAMES = ["walk", "steps", "wraps", "near the end", "missing", "kinds", "strange", "constant", "bits"]


def names_of(dtype):
    return FLOAT_NAMES if dtype in FLOATS else INTEGER_NAMES


@np.errstate(over="ignore")
def cells_of(name, dtype, count, seed=0):
    rng = np.random.default_rng([seed, count])
    with np.errstate(invalid="ignore"):
        return (floats if dtype in FLOATS else integers)(name, rng, dtype, count)


def fills_of(dtype):
    fills = FILLS.get(dtype) or [strange(dtype)[0], 3]
    return [None, *(np.array(fill, dtype).tobytes() for fill in fills)]


def encoded(cells, kind, *, codec=1, fill=None):
    raw = cells.view(np.uint8)
    return encode_blocks(
        raw, np.zeros(1, np.int64), np.array([raw.size]), codec=codec, filter=kind, itemsize=cells.itemsize, level=1,
        fill=fill,
    )  # fmt: skip


def check_block(cells, kind, codec, fill):
    """Compare kernel and twin on one block; its parts, None where the kernel has shuffled it or stored it as it is."""
    raw, itemsize = cells.tobytes(), cells.itemsize
    stored, table = encoded(cells, kind, codec=codec, fill=fill)
    assert decode_block(stored, table, 0).tobytes() == raw
    assert of(table).filter[0] in (0, 1, kind)
    assert stored.size <= len(raw)
    parts = None
    if of(table).filter[0] == kind:
        parts = reference.open_integers(stored.tobytes(), codec, len(raw), itemsize)
        assert reference.undo_integers(parts, len(raw), kind, itemsize) == raw
        choice = reference.choice_of(parts, itemsize)
        twin = reference.split_integers(raw, kind, itemsize, fill, choice)
        assert twin is not None
        assert twin.head == parts.head
        assert twin.planes == parts.planes
        assert twin.tail == parts.tail
    other = reference.encode_integers(raw, codec, kind, itemsize, fill)
    if other is not None:
        source = np.frombuffer(b"\1\2\3" + other, np.uint8)
        row = reference.table_of([(3, len(other), len(raw), codec, kind, itemsize, reference.checksum(other))])
        assert decode_block(source, row, 0).tobytes() == raw
    return parts


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize(("dtype", "kind"), KINDS)
def test_blocks_are_those_of_the_twin(dtype, kind, codec):
    for name in names_of(dtype):
        for count in SIZES:
            cells = cells_of(name, dtype, count)
            for fill in fills_of(dtype) if count > 200 else fills_of(dtype)[:2]:
                check_block(cells, kind, codec, fill)


FILTERED = [
    *((dtype, kind, name) for dtype in FLOATS for kind in (3, 5) for name in ("walk", "large", "missing", "packed")),
    *(("f8", kind, name) for kind in (3, 5) for name in ("decimals", "strange", "four kinds and few", "all missing")),
    *((dtype, 4, name) for dtype in INTEGERS[1:4] for name in ("walk", "steps", "wraps", "missing", "strange")),
]


@pytest.mark.parametrize(("dtype", "kind", "name"), FILTERED)
def test_what_is_decimal_or_in_steps_is_filtered(dtype, kind, name):
    parts = check_block(cells_of(name, dtype, SIZE), kind, 1, fills_of(dtype)[1])
    assert parts is not None


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["noise", "bits", "kinds"])
def test_floats_that_are_no_decimals_are_shuffled(dtype, name):
    _, table = encoded(cells_of(name, dtype, SIZE), 5)
    assert of(table).filter[0] in (0, 1)


def test_masks_and_exceptions_are_counted():
    cells = cells_of("four kinds and few", "f8", SIZE)
    head = check_block(cells, 5, 1, None).head
    assert head["masks"] == 4
    assert head["exceptions"][0] > 0
    # A fill that is a decimal is kept apart as well.
    cells = sprinkle(np.random.default_rng(3), cells_of("walk", "f8", SIZE), np.array([-9999.0]), 0.5)
    assert check_block(cells, 5, 1, None).head["width"] == 3
    apart = check_block(cells, 5, 1, np.array(-9999.0).tobytes())
    assert (apart.head["width"], apart.head["masks"]) == (1, 1)


def test_packed_floats_have_corrections():
    head = check_block(cells_of("packed", "f4", SIZE), 3, 1, None).head
    assert (head["exponent"], head["corrections"], head["exceptions"].tolist()) == (2, 1, [0, 0, 0])


def test_sizes_that_are_no_multiple_of_the_item():
    raw = cells_of("walk", "f8", SIZE).view(np.uint8)
    length = np.array([raw.size - 3, 5, 0, 24, 32])
    start = np.zeros(len(length), np.int64)
    for kind in (3, 4, 5):
        stored, table = encode_blocks(raw, start, length, codec=1, filter=kind, itemsize=8, level=1)
        assert set(of(table).filter) <= {0, 1}
        for row, size in enumerate(length):
            assert decode_block(stored, table, row).tobytes() == raw[:size].tobytes()


def box_of(source, table, shape, first, box, dtype):
    """A box of the one chunk that a block is."""
    rows = [[shape], [first], [box], [[0] * len(shape)]]
    geometry = Geometry(np.array(rows, np.int64), np.array(box, np.int64))
    pieces = np.array([0, 0, 0, int(np.prod(shape)), 0, 0], np.int64).reshape(6, 1)
    out = np.zeros((1, *box), dtype)
    gather_all(source, table, pieces, geometry, out)
    return out[0]


def filtered(name, dtype, kind, count, codec=1):
    """A block of the kernel, and one of the twin."""
    cells = cells_of(name, dtype, count)
    stored, table = encoded(cells, kind, codec=codec)
    assert of(table).filter[0] == kind
    return cells, [(stored, table), reference.store([(cells.tobytes(), codec, kind, cells.itemsize)], lead=5)]


EDGES = [0, 1, 7, 8, 9, 255, 256, 257, 300, 511, 512, 513, SIZE - 1, SIZE]
RANGED = [
    *((dtype, kind, name) for dtype in FLOATS for kind in (3, 5) for name in ("packed", "missing")),
    *(("f8", kind, "four kinds and few") for kind in (3, 5)),
    *((dtype, 4, name) for dtype in ("i2", "u4", "i8") for name in ("steps", "missing")),
]


@pytest.mark.parametrize("codec", [1, 2])
@pytest.mark.parametrize(("dtype", "kind", "name"), RANGED)
def test_any_range(dtype, kind, name, codec):
    # Ranges of larger blocks are undone by themselves: those of cells of 2 bytes need more of them.
    count = max(SIZE, 2500 // np.dtype(dtype).itemsize)
    cells, blocks = filtered(name, dtype, kind, count, codec)
    for source, table in blocks:
        for first in EDGES:
            for last in EDGES:
                if first < last:
                    found = box_of(source, table, [count], [first], [last - first], dtype)
                    assert found.tobytes() == cells[first:last].tobytes()


@pytest.mark.parametrize(("dtype", "kind", "name"), RANGED)
def test_boxes_by_lines(dtype, kind, name):
    shape = [6, 40, 50] if JIT else [4, 12, 40]
    a, b, c = shape
    cells, blocks = filtered(name, dtype, kind, a * b * c)
    cells = cells.reshape(shape)
    for source, table in blocks:
        for first, box in (
            ([0, 0, 0], [a, 2, 3]),
            ([1, 1, 3], [a - 1, b // 3, 9]),
            ([0, b - 1, c - 1], [a, 1, 1]),
            ([a - 1, 3, 0], [1, b - 3, 5]),
            ([0, 0, 7], [a, b, 1]),
            ([0, 0, 0], shape),
        ):
            there = tuple(slice(f, f + n) for f, n in zip(first, box, strict=True))
            assert box_of(source, table, shape, first, box, dtype).tobytes() == cells[there].tobytes()


@given(st.data())
def test_any_mixture(data):
    dtype, kind = data.draw(st.sampled_from(KINDS))
    names, lengths = st.sampled_from(names_of(dtype)), st.integers(1, 400 if JIT else 60)
    pieces = data.draw(st.lists(st.tuples(names, lengths, st.integers(0, 9)), min_size=1, max_size=4))
    cells = np.concatenate([cells_of(name, dtype, length, seed) for name, length, seed in pieces])
    odd = data.draw(st.binary(max_size=2 * cells.itemsize))
    cells = np.append(cells, np.frombuffer(odd[: len(odd) // cells.itemsize * cells.itemsize], dtype))
    fill = data.draw(st.sampled_from(fills_of(dtype)))
    codec = data.draw(st.sampled_from([1, 2]))
    check_block(cells, kind, codec, fill)
    # A range, where the block holds other pieces before and behind it.
    stored, table = encoded(cells, kind, codec=codec, fill=fill)
    first = data.draw(st.integers(0, len(cells) - 1))
    last = data.draw(st.integers(first + 1, len(cells)))
    found = box_of(stored, table, [len(cells)], [first], [last - first], dtype)
    assert found.tobytes() == cells[first:last].tobytes()


def test_a_cell_that_is_stored_apart_has_no_correction():
    cells = np.append(cells_of("packed", "f4", 27, 0), np.float32(58_426_512))
    for codec in (1, 2):
        check_block(cells, 3, codec, None)


@given(st.binary(min_size=1, max_size=300), st.sampled_from(KINDS), st.sampled_from([None, 0, 1]))
def test_any_bytes_of_integers(raw, which, repeat):
    dtype, kind = which
    itemsize = np.dtype(dtype).itemsize
    raw = (raw * (1 if repeat is None else 12))[: 400 * itemsize]
    cells = np.frombuffer(raw[: max(len(raw) // itemsize, 0) * itemsize], dtype)
    if len(cells):
        check_block(cells, kind, 1, None if repeat is None else cells[repeat % len(cells)].tobytes())


def outcome(source, table, size, dtype):
    """Whether a block is refused, by the doors for a whole block and for a range; nothing is written beside it."""
    guard, refused = np.full(size + 2000, 200, np.uint8), []
    try:
        decode_blocks(source, table, guard[1000 : 1000 + size], np.zeros(1, np.int64))
    except BlockError as fault:
        refused.append(fault.reason)
    assert (guard[:1000] == 200).all()
    assert (guard[1000 + size :] == 200).all()
    count = size // np.dtype(dtype).itemsize
    try:
        box_of(source, table, [count], [count // 2 + 3], [40], dtype)
    except BlockError as fault:
        refused.append(fault.reason)
    assert set(refused) <= {"length", "codec"}
    assert len(refused) in (0, 2)
    return bool(refused)


@pytest.mark.parametrize(("dtype", "kind", "name"), RANGED)
def test_hostile_heads_lengths_and_positions(dtype, kind, name):
    count = max(600, 2500 // np.dtype(dtype).itemsize)
    cells, ((stored, table), _) = filtered(name, dtype, kind, count)
    parts = reference.open_integers(stored.tobytes(), 1, cells.nbytes, cells.itemsize)
    places = [*range(24 + 4 * len(parts.planes)), *range(stored.size - len(parts.tail), stored.size)]
    refused = set()
    for place in places[:: 1 if JIT else 3]:
        for change in (1, 0x80, 0xFF):
            forged = stored.copy()
            forged[place] ^= change
            if outcome(forged, reference.reseal(forged, table, 0), cells.nbytes, dtype):
                refused.add(place)
    fields = set(range(8)) - ({1} if kind != 4 else set())
    # All but bases and exponents contradict the rest of the block, or its rules.
    assert fields & set(places[:: 1 if JIT else 3]) <= refused
    for size in range(1, stored.size, 1 if JIT else 17):
        cut = reference.change(table, 0, stored=size)
        assert outcome(stored, reference.reseal(stored, cut, 0), cells.nbytes, dtype)


@pytest.mark.parametrize("kind", [3, 5])
def test_positions_ascend_and_lie_in_the_block(kind):
    cells, ((stored, table), _) = filtered("strange", "f8", kind, SIZE)
    parts = reference.open_integers(stored.tobytes(), 1, cells.nbytes, 8)
    lone = int(parts.head["exceptions"][0])
    assert lone > 2
    at = stored.size - 12 * lone
    for position, value in ((0, SIZE), (lone - 1, SIZE), (lone - 1, 2**32 - 1), (1, 0), (lone - 1, 0)):
        forged = stored.copy()
        forged[at + 4 * position : at + 4 * position + 4] = np.array([value], "<u4").view(np.uint8)
        assert outcome(forged, reference.reseal(forged, table, 0), cells.nbytes, "f8")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [1e20, 9.969209968386869e36, np.inf])
def test_large_values_that_no_fill_names_are_masked(dtype, value):
    cells = cells_of("walk", dtype, SIZE)
    cells[np.random.default_rng(1).random(SIZE) < 0.7] = value
    head = check_block(cells, 5, 1, None).head
    assert (head["exponent"], head["masks"]) == (2, 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("cells", "fill", "exponent"),
    [
        ([], None, 0),
        ([0.25], None, 2),
        ([7.0, 8.0], None, 0),
        ([np.pi, np.e], None, -1),
        ([np.nan] * 90, None, 0),
        ([np.nan] * 90, np.nan, 0),
        ([-9999.5] * 90, -9999.5, 0),
        ([-9999.5] * 90, None, 1),
        ([-9999.5, 0.5, 12.125] * 90, -9999.5, 3),
        ([np.inf, -np.inf, -0.0, 0.0, 12.5], None, 1),
        ([1e20, -1e20, 12.5] * 90, None, 1),
        ([10.0**k for k in range(20, 30)] * 9, None, -1),
        ([1e20], None, 0),
    ],
)
def test_exponents(cells, fill, exponent, dtype):
    fill = None if fill is None else np.array(fill, dtype).tobytes()
    assert find_exponent(np.array(cells, dtype), fill) == exponent
