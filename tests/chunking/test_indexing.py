"""Every index takes the cells that NumPy takes, through a box of few more cells, and reads no chunk without any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking import indexing
from atlas.chunking.indexing import divide_index, parse_index, plan_index
from atlas.errors import AtlasError, InvalidIndexError, InvalidValueError, TooLargeError
from atlas.format.schema import make_schema
from tests.chunking.test_regions import cells_of, chunk_of_each_cell
from tests.indices import indices, shapes, taken


def schema_of(shape, chunks):
    return make_schema("int64", ["d"] * len(shape), shape, chunks)


def box_of(cells, region, chunks):
    """The box of a region of `cells`, cut from its chunks; -1 where no chunk has a cell."""
    out = np.full(region.geometry.box.tolist(), -1)
    for row, position in enumerate(region.chunk.tolist()):
        chunk = cells[cells_of(cells.shape, chunks, position)]
        assert tuple(region.geometry.extent[row]) == chunk.shape
        out[*region.in_box(row), ...] = chunk[*region.in_chunk(row), ...]
    return out


@given(st.data())
def test_what_is_taken_is_what_numpy_takes(data):
    shape, chunks = data.draw(shapes())
    key = data.draw(indices(shape))
    cells = np.arange(math.prod(shape)).reshape(shape)
    expected = taken(cells, key)
    if isinstance(expected, Exception):
        with pytest.raises(type(expected)):
            parse_index(key, schema_of(shape, chunks))
        return
    index = parse_index(key, schema_of(shape, chunks))
    assert index.shape == expected.shape
    assert index.scalar == (not isinstance(expected, np.ndarray))
    if expected.size == 0:
        return
    if index.box is not None:
        start, count = index.box
        box = cells[tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))]
        np.testing.assert_array_equal(box[index.in_box], expected)
    region, within = plan_index(index, schema_of(shape, chunks))
    np.testing.assert_array_equal(box_of(cells, region, chunks)[within], expected)
    assert (np.diff(region.chunk) > 0).all()


@given(st.data())
def test_only_chunks_that_hold_a_cell_are_read(data):
    shape, chunks = data.draw(shapes(least=1))
    key = data.draw(indices(shape))
    cells = np.arange(math.prod(shape)).reshape(shape)
    expected = taken(cells, key)
    if isinstance(expected, Exception) or expected.size == 0:
        return
    region, _ = plan_index(parse_index(key, schema_of(shape, chunks)), schema_of(shape, chunks))
    owners = np.unique(chunk_of_each_cell(shape, chunks).reshape(-1)[np.asarray(expected).reshape(-1)])
    np.testing.assert_array_equal(region.chunk, owners)


@given(st.data(), st.integers(1, 40))
def test_parts_fill_the_result_once_each_through_small_boxes(data, most):
    shape, chunks = data.draw(shapes(least=1))
    key = data.draw(indices(shape))
    cells = np.arange(math.prod(shape)).reshape(shape)
    expected = taken(cells, key)
    if isinstance(expected, Exception) or expected.size == 0:
        return
    schema = schema_of(shape, chunks)
    index = parse_index(key, schema)
    out, times = np.full(index.shape, -1), np.zeros(index.shape, int)
    for part, into in divide_index(index, schema, most):
        region, within = plan_index(part, schema)
        out[into] = box_of(cells, region, chunks)[within]
        times[into] += 1
    np.testing.assert_array_equal(out, expected)
    assert (times == 1).all()


def test_a_step_is_divided_into_boxes_of_the_size_asked_for():
    schema = schema_of((10_000, 8), (100, 8))
    parts = list(divide_index(parse_index(np.s_[::50], schema), schema, 8000))
    sizes = [math.prod(plan_index(part, schema)[0].geometry.box.tolist()) for part, _ in parts]
    assert len(parts) == 10
    assert max(sizes) <= 8000


def test_a_wide_step_leaves_out_chunks_and_the_cells_between():
    schema = schema_of((1_000_000,), (100,))
    region, within = plan_index(parse_index(np.s_[5::1000], schema), schema)
    assert region.geometry.box.tolist() == [1000]
    assert region.chunk.tolist() == list(range(0, 10_000, 10))
    assert within == (slice(None, None, 1), ...)


def test_points_far_apart_take_their_chunks_and_not_the_grid_between_them():
    points = np.arange(0, 100_000, 1000)
    schema = schema_of((100_000, 100_000), (10, 10))
    region, within = plan_index(parse_index((points, points[::-1]), schema), schema)
    assert len(region.chunk) == 100
    assert region.geometry.box.tolist() == [100, 1]
    assert [entry.shape for entry in within[:2]] == [(100,), (100,)]


def test_an_array_of_any_declared_size_is_indexed_in_place():
    schema = schema_of((2**38, 2**20), (2**10, 2**10))
    region, _ = plan_index(parse_index((2**38 - 1, [0, -1]), schema), schema)
    assert region.chunk.tolist() == [2**38 - 2**10, 2**38 - 1]
    with pytest.raises(TooLargeError, match="plan"):
        plan_index(parse_index(np.s_[:: 2**10], schema), schema)


WRONG = {
    "out of bounds": (np.s_[5], IndexError, "index 5 is out of bounds for axis 0 with size 3"),
    "negative out of bounds": (np.s_[:, -5], IndexError, "index -5 is out of bounds for axis 1 with size 4"),
    "list out of bounds": (np.s_[[0, 3]], IndexError, "index 3 is out of bounds"),
    "too many": (np.s_[0, 0, 0], IndexError, "too many indices"),
    "two ellipses": (np.s_[..., ...], IndexError, "ellipsis"),
    "float": (np.s_[1.0], IndexError, "only integers, slices"),
    "text": ("t", IndexError, "only integers, slices"),
    "floats": (np.s_[[0.5]], IndexError, "integer"),
    "mask of another length": (np.s_[[True, False]], IndexError, "boolean"),
    "lists of two lengths": (np.s_[[0, 1], [0, 1, 2]], IndexError, "broadcast"),
    "one truth value": (np.s_[True], IndexError, "slice or a mask"),
    "step of zero": (np.s_[::0], ValueError, "step cannot be zero"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_index_is_refused_as_numpy_refuses_it(wrong):
    key, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words) as caught:
        parse_index(key, schema_of((3, 4), (2, 2)))
    assert isinstance(caught.value, AtlasError)
    assert isinstance(caught.value, InvalidIndexError if kind is IndexError else InvalidValueError)
    assert wrong == "one truth value" or "shape (3, 4)" in str(caught.value)


def test_an_open_mesh_is_planned_axis_by_axis_and_its_points_are_never_listed(monkeypatch):
    schema = schema_of((40_000, 3, 50_000), (100, 3, 100))
    planned = []
    plan = indexing._plan_points

    def noted(points, schema):
        planned.append({axis: positions.size for axis, positions in points.items()})
        return plan(points, schema)

    monkeypatch.setattr(indexing, "_plan_points", noted)
    rows, columns = np.arange(0, 40_000, 1000), np.arange(0, 50_000, 1000)
    index = parse_index((rows[:, None], slice(None), columns), schema)
    region, within = plan_index(index, schema)
    assert planned == [{0: 40}, {2: 50}]
    assert len(region.chunk) == 40 * 50
    assert region.geometry.box.tolist() == [40, 3, 50]
    assert np.empty((40, 3, 50), np.bool_)[within].shape == index.shape


def test_points_along_some_axes_and_a_mesh_along_another_are_planned_apart():
    cells = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    schema, key = schema_of(cells.shape, (2, 2, 2)), ([[5], [0], [3]], [2, 6, 2, 0], [[1], [1], [7]])
    region, within = plan_index(parse_index(key, schema), schema)
    np.testing.assert_array_equal(box_of(cells, region, (2, 2, 2))[within], cells[key])
    assert len(region.chunk) == 3 * 3
