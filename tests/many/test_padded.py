"""Stacks of arrays that differ in shape: what shorter ones lack at the end is filled, and their lengths are told."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import InvalidValueError
from atlas.storage import MemoryStorage

SHAPES = [(5, 3), (0, 3), (7, 2), (7, 3), (1, 3)]
NAMES = [f"p{at}" for at in range(len(SHAPES))]


def field(at):
    rng = np.random.default_rng(at)
    levels, bands = SHAPES[at]
    return xr.Dataset(
        {
            "t": (("level", "band"), rng.random((levels, bands)).round(2)),
            "count": ("level", rng.integers(0, 99, levels, dtype="i2"), {"_FillValue": np.int16(-1)}),
            "word": ("level", np.array([f"{at}.{cell}" for cell in range(levels)], object)),
            "when": ("level", np.datetime64("2026-01-01", "ns") + np.arange(levels) * np.timedelta64(1, "D")),
        },
        {"depth": ("level", 2.5 * np.arange(levels) + at)},
    )


def padded(variable, missing):
    """What NumPy makes of the fields."""
    cells = [field(at)[variable].values for at in range(len(SHAPES))]
    shape = tuple(max(lengths) for lengths in zip(*(each.shape for each in cells), strict=True))
    out = np.full((len(cells), *shape), missing, cells[0].dtype)
    for row, each in zip(out, cells, strict=True):
        row[tuple(map(slice, each.shape))] = each
    return out


EXPECTED = {
    "t": padded("t", np.nan),
    "count": padded("count", -1),
    "word": padded("word", None),
    "when": padded("when", np.datetime64("NaT", "ns")),
    "depth": padded("depth", np.nan),
}


@pytest.fixture(scope="module")
def source():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for at, name in enumerate(NAMES):
        store.add_xr_dataset(field(at), name, chunks={"level": 2})
    store.flush()
    return storage


@pytest.mark.parametrize("chunks", [None, "auto", {"dataset": 2}])
def test_shorter_arrays_are_filled_at_the_end(source, chunks):
    ds = Atlas.open(source).open_many(missing="fill", chunks=chunks)
    assert dict(ds.sizes) == {"dataset": 5, "level": 7, "band": 3}
    for name, cells in EXPECTED.items():
        assert ds[name].dtype == cells.dtype
        np.testing.assert_array_equal(ds[name].values, cells)
    assert set(ds.coords) == {"dataset", "depth", "level_size", "band_size"}
    np.testing.assert_array_equal(ds["level_size"], [5, 0, 7, 7, 1])
    np.testing.assert_array_equal(ds["band_size"], [3, 3, 2, 3, 3])
    assert ds["level_size"].attrs["padded_dimension"] == "level"


def test_in_memory_it_is_the_same(source):
    store = Atlas.open(source)
    eager = store.to_xarray_many(NAMES, missing="fill")
    xr.testing.assert_identical(store.open_many(missing="fill").load(), eager)


@st.composite
def keys(draw, shape):
    entries = []
    for length in shape:
        kind = draw(st.sampled_from(["slice", "list", "int"]))
        if kind == "slice":
            entries.append(draw(st.slices(length)))
        elif kind == "list":
            entries.append(draw(st.lists(st.integers(-length, length - 1), max_size=6)))
        else:
            entries.append(draw(st.integers(-length, length - 1)))
    return entries


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_selection_of_padded_cells(source, data):
    name = data.draw(st.sampled_from(["t", "count", "word", "when"]))
    found, expected = Atlas.open(source).open_many(missing="fill").variables[name], EXPECTED[name]
    key = data.draw(keys(expected.shape))
    for axis, entry in reversed(list(enumerate(key))):
        expected = expected[(slice(None),) * axis + (entry,)]
    np.testing.assert_array_equal(found[tuple(key)].values, expected)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_axes_in_another_order_are_padded_too(shapes):
    store = Atlas.create(MemoryStorage())
    out = np.full((len(shapes), max(x for x, _, _ in shapes), max(y for _, y, _ in shapes)), np.nan)
    for at, (x, y, turned) in enumerate(shapes):
        cells = at + np.arange(x * y, dtype=float).reshape(x, y)
        out[at, :x, :y] = cells
        variable = xr.Variable(("x", "y"), cells)
        store.add_xr_dataset(xr.Dataset({"t": variable.transpose("y", "x") if turned else variable}), f"d{at}")
    store.flush()
    found = store.open_many(missing="fill")["t"].transpose("dataset", "x", "y")
    np.testing.assert_array_equal(found.values, out)


def test_labels_that_begin_alike_are_kept_once():
    store = Atlas.create(MemoryStorage())
    for name, length in (("a", 2), ("b", 4), ("c", 0)):
        ds = xr.Dataset({"t": ("level", np.arange(length) / 2)}, {"level": np.arange(length)})
        store.add_xr_dataset(ds, name)
    store.flush()
    ds = store.open_many(missing="fill")
    assert ds.level.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(ds.t.sel(level=1), [0.5, 0.5, np.nan])
    store["c"].define_array("u", "f4", ["level"], [1])
    store.flush()
    with pytest.raises(InvalidValueError, match="dataset 'c' has 0 cells along 'level' in array 't' and 1 in 'u'"):
        store.open_many(missing="fill")


def test_integers_and_flags_need_a_fill_value():
    store = Atlas.create(MemoryStorage())
    for name, length in (("a", 2), ("b", 4)):
        numbers = np.arange(length)
        store.add_xr_dataset(xr.Dataset({"n": ("x", numbers), "ok": ("x", numbers > 1)}), name)
    store.flush()
    for variable in ("n", "ok"):
        with pytest.raises(InvalidValueError, match=f"nothing to fill variable '{variable}' of .* with"):
            store.open_many(variables=[variable], missing="fill")
    with pytest.raises(InvalidValueError, match=r"has the shape \(2,\) in dataset 'a' and \(4,\) in dataset 'b'.*fill"):
        store.open_many()


def test_fills_that_differ_become_that_of_the_first_in_every_selection():
    store = Atlas.create(MemoryStorage())
    for name, fill, length in (("a", "-", 2), ("b", "?", 2), ("c", "-", 3)):
        view = store.create_dataset(name)
        view.define_array("s", "string", ["x"], [length], fill_value=fill)
        view.write_array("s", [0], np.array(["k"], object))
    store.flush()
    for combine in ("stack", "ragged"):
        opened = store.open_many(["a", "b"], combine=combine, dim="x" if combine == "ragged" else None)["s"]
        assert opened.attrs == {"_FillValue": "-"}
        assert opened.values.reshape(-1).tolist() == ["k", "-", "k", "-"]
        assert opened[-1:].values.reshape(-1)[-1:].tolist() == ["-"]
    filled = store.open_many(missing="fill")["s"]
    assert filled[1].values.tolist() == ["k", "-", "-"]


def test_a_name_that_is_taken():
    store = Atlas.create(MemoryStorage())
    for name, length in (("a", 2), ("b", 4)):
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.zeros(length)), "x_size": ((), 1.5)}), name)
    store.flush()
    with pytest.raises(InvalidValueError, match="have an array 'x_size'"):
        store.open_many(missing="fill")
