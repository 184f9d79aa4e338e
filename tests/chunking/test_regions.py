from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.regions import box_slices, check_region, chunk_box, chunk_cells, plan_region
from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.schema import make_schema


@st.composite
def boxes(draw):
    axes = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 11)), max_size=4))
    shape, chunks = tuple(n for n, _ in axes), tuple(c for _, c in axes)
    start = tuple(draw(st.integers(0, n)) for n in shape)
    count = tuple(draw(st.integers(0, n - s)) for n, s in zip(shape, start, strict=True))
    return shape, chunks, start, count


def chunk_of_each_cell(shape, chunks):
    """The C-order grid position of the chunk of every cell."""
    grid = [math.ceil(n / c) for n, c in zip(shape, chunks, strict=True)]
    out = np.zeros(shape, np.int64)
    for axis, (n, c, g) in enumerate(zip(shape, chunks, grid, strict=True)):
        steps = (np.arange(n) // c).reshape([-1 if at == axis else 1 for at in range(len(shape))])
        out = out * g + steps
    return out


def cells_of(shape, chunks, position):
    """The box of cells of the chunk at `position`, by counting through the grid."""
    grid = [math.ceil(n / c) for n, c in zip(shape, chunks, strict=True)]
    index = list(itertools.product(*map(range, grid)))[position]
    return tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, chunks, shape, strict=True))


@given(boxes())
def test_regions_are_those_of_brute_force(box):
    shape, chunks, start, count = box
    schema = make_schema("int32", ["d"] * len(shape), shape, chunks)
    region = plan_region(schema, start, count)
    values = np.arange(math.prod(shape)).reshape(shape)
    wanted = values[tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))]
    owners = np.unique(
        chunk_of_each_cell(shape, chunks)[tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))]
    )
    np.testing.assert_array_equal(region.chunk, owners)
    out = np.full(count, -1)
    whole = True
    for k, position in enumerate(region.chunk.tolist()):
        chunk = values[cells_of(shape, chunks, position)]
        assert tuple(region.geometry.extent[k]) == chunk.shape
        assert region.cells[k] == chunk.size
        first, size, target = region.geometry.boxes[1:, k]
        part = chunk[tuple(slice(f, f + n) for f, n in zip(first, size, strict=True))]
        whole &= part.shape == chunk.shape
        out[tuple(slice(t, t + n) for t, n in zip(target, size, strict=True))] = part
    np.testing.assert_array_equal(out, wanted)
    assert region.whole == whole
    assert tuple(region.geometry.box) == count


@given(boxes())
def test_the_cells_of_chunks_are_those_of_brute_force(box):
    shape, chunks, *_ = box
    schema = make_schema("int32", ["d"] * len(shape), shape, chunks)
    positions = np.arange(schema.chunks)
    assert (
        chunk_cells(schema, positions).tolist() == np.unique_counts(chunk_of_each_cell(shape, chunks)).counts.tolist()
    )


def test_huge_arrays_cost_what_the_region_does():
    schema = make_schema("int8", ["x", "y"], [2**31, 2**31], [1000, 1000])
    region = plan_region(schema, (2**31 - 5, 2**31 - 5), (5, 5))
    assert region.chunk.tolist() == [schema.chunks - 1]
    assert region.geometry.extent.tolist() == [[648, 648]]
    assert chunk_cells(schema, region.chunk).tolist() == [648 * 648]


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (None, None, ((0, 0), (5, 7))),
        ([2, 3], None, ((2, 3), (3, 4))),
        (None, [2, 3], ((0, 0), (2, 3))),
        ([5, 7], None, ((5, 7), (0, 0))),
        ([5, 7], [0, 0], ((5, 7), (0, 0))),
        (np.array([1, 2]), (np.int8(1), 2), ((1, 2), (1, 2))),
        (iter([1, 2]), iter([1, 2]), ((1, 2), (1, 2))),
    ],
)
def test_regions_that_are_taken(start, count, expected):
    assert check_region((5, 7), start, count) == expected


@pytest.mark.parametrize(
    ("start", "count", "error"),
    [
        ([0], None, InvalidValueError),
        ([0, 0, 0], None, InvalidValueError),
        (None, [1], InvalidValueError),
        ([], None, InvalidValueError),
        ([0, 0], [6, 7], InvalidValueError),
        ([1, 0], [5, 7], InvalidValueError),
        ([6, 0], None, InvalidValueError),
        ([6, 0], [0, 0], InvalidValueError),
        ([2**63 - 1, 0], [2**63 - 1, 0], InvalidValueError),
        ([-1, 0], None, OutOfRangeError),
        ([0, 0], [-1, 1], OutOfRangeError),
        ([2**63, 0], None, OutOfRangeError),
        ([0.0, 0], None, InvalidTypeError),
        ([True, 0], None, InvalidTypeError),
        ("00", None, InvalidTypeError),
        (b"00", None, InvalidTypeError),
        (5, None, InvalidTypeError),
        (None, 5, InvalidTypeError),
        ([None, 0], None, InvalidTypeError),
    ],
)
def test_regions_that_break_a_rule(start, count, error):
    with pytest.raises(error):
        check_region((5, 7), start, count)


def test_an_array_without_axes_has_one_region():
    assert check_region((), None, None) == check_region((), [], []) == ((), ())
    region = plan_region(make_schema("int8", [], []), (), ())
    assert (region.chunk.tolist(), region.cells.tolist(), region.whole) == ([0], [1], True)


@pytest.mark.parametrize(("shape", "chunk_shape"), [((), ()), ((7,), (3,)), ((4, 5), (2, 9)), ((3, 4, 5), (2, 3, 1))])
def test_a_chunks_box_takes_its_cells(shape, chunk_shape):
    schema = make_schema("int32", [f"d{i}" for i in range(len(shape))], shape, chunk_shape)
    seen = np.zeros(shape, int)
    for chunk in range(schema.chunks):
        seen[box_slices(*chunk_box(schema, chunk))] += 1
    assert (seen == 1).all()
