"""Datasets one after another along a dimension of theirs: equal to `xr.concat`, in order, overlaps and gaps told."""

from __future__ import annotations

import pickle
import warnings

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import ArrayNotFoundError, InvalidValueError
from atlas.storage import MemoryStorage

LAT, LON = np.linspace(-60, 60, 4), np.linspace(0, 300, 5)


def days(first, count, **more):
    """Fields of some days, the first of which has a number."""
    rng = np.random.default_rng(first)
    time = np.datetime64("2026-01-01", "ns") + (first + np.arange(count)) * np.timedelta64(1, "D")
    return xr.Dataset(
        {
            "t": (("time", "lat", "lon"), rng.normal(280, 5, (count, 4, 5)).round(1), {"units": "K"}),
            "cloud": (("time", "lat"), rng.integers(0, 9, (count, 4), dtype="i2")),
            "area": (("lat", "lon"), np.outer(LAT, LON)),
            "note": ("time", np.array([f"day {first + at}" for at in range(count)], object)),
        },
        {"time": time, "lat": LAT, "lon": LON, "height": 2.0, **more},
        {"title": "fields", "day": first},
    )


PARTS = {"b": (3, 2), "a": (0, 3), "d": (9, 1), "c": (5, 4)}


@pytest.fixture(scope="module")
def source():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for name, (first, count) in PARTS.items():
        store.add_xr_dataset(days(first, count), name, chunks={"time": 2, "lat": 3})
    store.flush()
    return storage


def expected(names="abcd"):
    return xr.concat(
        [days(*PARTS[name]) for name in names],
        "time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
        join="override",
    )


@pytest.mark.parametrize("chunks", [None, "auto", {"time": 2}])
def test_it_equals_concat_in_the_order_of_the_labels(source, chunks):
    ds = Atlas.open(source).open_many(combine="concat", dim="time", chunks=chunks)
    assert ds["time"].to_index().is_monotonic_increasing
    assert list(ds.xindexes) == ["time", "lat", "lon"]
    assert ds.t.sel(time="2026-01-04", lat=20).shape == (5,)
    xr.testing.assert_identical(ds.load(), expected())


def test_the_dimension_is_found_where_lengths_differ(source):
    xr.testing.assert_identical(Atlas.open(source).open_many(combine="concat").load(), expected())


def test_as_named_it_tells_of_labels_in_no_order(source):
    store = Atlas.open(source)
    with pytest.warns(UserWarning, match="'time' are in no order: 2026-01-05.* of dataset 'b' is followed by .*'a'"):
        ds = store.open_many(["b", "a"], combine="concat", sort=False)
    xr.testing.assert_identical(ds.load(), expected("ba"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(store.open_many(["a", "b"], combine="concat", sort=False).load(), expected("ab"))


def test_overlaps_are_refused_and_gaps_told(source):
    store = Atlas.open(source)
    with pytest.warns(UserWarning, match="'time' have a gap between datasets 'a', which ends at 2026-01-03.*, and 'c'"):
        store.open_many(["c", "a"], combine="concat", dim="time")
    again = Atlas.create(MemoryStorage())
    for name, (first, count) in {"a": (0, 3), "b": (2, 3), "c": (4, 2)}.items():
        again.add_xr_dataset(days(first, count), name)
    again.flush()
    with pytest.raises(
        InvalidValueError, match=r"'time' of datasets 'a' and 'b' overlap: one ends at 2026-01-03.* \(and 1 more pairs"
    ):
        again.open_many(combine="concat", dim="time")
    cut = again.open_many(combine="concat", dim="time", isel={"time": slice(0, 2)})
    assert cut.sizes["time"] == 6
    with pytest.warns(UserWarning, match="in no order"):
        assert again.open_many(combine="concat", dim="time", sort=False).sizes["time"] == 8


@pytest.mark.parametrize(
    "labels",
    [
        [[9.0, 7.0], [5.0, 4.0], [3.0]],  # falling
        [[3], [1], [2]],
        [["a", "b"], ["c"]],
        [[cftime.DatetimeNoLeap(2000, 2, 28)], [cftime.DatetimeNoLeap(2000, 1, 1), cftime.DatetimeNoLeap(2000, 1, 30)]],
        [np.array([1, 2], "u1"), np.array([200], "u1")],
    ],
    ids=["falling", "single", "text", "cftime", "unsigned"],
)
def test_labels_of_all_kinds_are_sorted(labels):
    parts = [xr.Dataset({"t": ("x", np.arange(len(some)) + 10.0 * at)}, {"x": some}) for at, some in enumerate(labels)]
    store = Atlas.create(MemoryStorage())
    for at, part in enumerate(parts):
        store.add_xr_dataset(part, f"d{at}")
    store.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            store.open_many(names, combine="concat", dim="x").load()
            for names in (store.list_datasets(), store.list_datasets()[::-1])
        ]
    xr.testing.assert_identical(*found)
    index = found[0].indexes["x"]
    assert index.is_monotonic_decreasing if labels[0][0] == 9 else index.is_monotonic_increasing
    by_label = {label: cell for part in parts for label, cell in zip(part.x.values, part.t.values, strict=True)}
    assert found[0].t.values.tolist() == [by_label[label] for label in found[0].x.values]


def test_labels_in_no_order_within_a_dataset():
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0, 2.0, 3.0])}, {"x": [1, 5, 2]}), "a")
    store.add_xr_dataset(xr.Dataset({"t": ("x", [4.0])}, {"x": [7]}), "b")
    store.flush()
    with pytest.raises(InvalidValueError, match="labels 'x' of dataset 'a' do not rise throughout: 5 is followed by 2"):
        store.open_many(combine="concat")
    with pytest.warns(UserWarning, match="no order"):
        assert store.open_many(combine="concat", sort=False).t.values.tolist() == [1, 2, 3, 4]


def test_without_labels_datasets_follow_one_another_as_named():
    store = Atlas.create(MemoryStorage())
    for at in range(3):
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.full(at, at))}), f"d{at}")
    store.flush()
    assert store.open_many(["d2", "d0", "d1"], combine="concat").t.values.tolist() == [2, 2, 1]


def test_what_does_not_lie_along_the_dimension_is_equal_or_refused():
    store = Atlas.create(MemoryStorage())
    first, second = days(0, 2), days(2, 3)
    store.add_xr_dataset(first, "a")
    store.add_xr_dataset(second.assign(area=second.area + 1), "b")
    store.add_xr_dataset(second.assign_coords(lat=LAT + 1), "c")
    store.add_xr_dataset(second.assign_coords(height=10.0), "d")
    store.flush()
    with pytest.raises(
        InvalidValueError, match=r"variable 'area' does not lie along .* differs between datasets 'a' and"
    ):
        store.open_many(["a", "b"], combine="concat")
    left = store.open_many(["a", "b"], combine="concat", variables=["t"])
    assert (left.sizes["time"], "area" in left) == (5, False)
    with pytest.raises(InvalidValueError, match="the labels 'lat' differ between datasets 'a' and 'c'"):
        store.open_many(["a", "c"], combine="concat", variables=["t"])
    taken = store.open_many(["a", "c"], combine="concat", variables=["t"], join="override")
    np.testing.assert_array_equal(taken.lat, LAT)
    repeated = store.open_many(["a", "d"], combine="concat")
    assert (repeated.height.dims, repeated.height.values.tolist()) == (("time",), [2, 2, 10, 10, 10])


def test_what_some_datasets_lack():
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(days(0, 2), "a")
    store.add_xr_dataset(days(2, 3).drop_vars(["t", "area"]), "b")
    store.add_xr_dataset(days(5, 1).drop_vars("time"), "c")
    store.flush()
    with pytest.raises(ArrayNotFoundError, match="dataset 'b' has no array 't'"):
        store.open_many(["a", "b"], combine="concat")
    assert "t" not in store.open_many(["a", "b"], combine="concat", missing="drop")
    filled = store.open_many(["a", "b"], combine="concat", missing="fill")
    np.testing.assert_array_equal(np.isnan(filled.t[:, 0, 0]), [False, False, True, True, True])
    np.testing.assert_array_equal(filled.area, days(0, 1).area)
    with pytest.raises(InvalidValueError, match="dataset 'c' has no labels 'time'"):
        store.open_many(["a", "c"], combine="concat", missing="fill")
    unlabelled = store.open_many(["c", "a"], combine="concat", missing="drop")
    np.testing.assert_array_equal(unlabelled.t, np.concatenate([days(5, 1).t, days(0, 2).t]))


def test_other_calendars_are_refused_by_name():
    store = Atlas.create(MemoryStorage())
    for name, calendar in (("a", "noleap"), ("b", "360_day")):
        time = xr.date_range("2000-01-01", periods=3, calendar=calendar, use_cftime=True)
        store.add_xr_dataset(xr.Dataset({"t": ("time", np.zeros(3))}, {"time": time}), name)
    store.flush()
    with pytest.raises(
        InvalidValueError, match=r"'time' holds dates of the calendar 'noleap' in dataset 'a' and .*360"
    ):
        store.open_many(combine="concat", dim="time")


def test_it_stays_what_it_was_and_pickles(tmp_path):
    store = Atlas.create(tmp_path / "store")
    for name in "ab":
        store.add_xr_dataset(days(*PARTS[name]), name)
    store.flush()
    opened = store.open_many(combine="concat")
    stays = pickle.dumps(opened)
    store.add_xr_dataset(days(5, 1), "c")
    store["a"].write_array("t", [0, 0, 0], np.zeros((3, 4, 5)))
    store.flush()
    store.compact()
    xr.testing.assert_identical(opened.load(), expected("ab"))
    xr.testing.assert_identical(pickle.loads(stays).load(), expected("ab"))
    assert store.open_many(combine="concat").sizes["time"] == 6


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.randoms(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_fleet_in_any_order_equals_concat(counts, random, data):
    edges = np.cumsum([0, *counts])
    parts = [
        xr.Dataset(
            {"t": (("x", "k"), np.random.default_rng(at).random((count, 2)).round(2))},
            {"x": np.arange(edges[at], edges[at] + count)},
        )
        for at, count in enumerate(counts)
    ]
    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(len(parts))]
    for name, part in random.sample(list(zip(names, parts, strict=True)), len(parts)):
        store.add_xr_dataset(part, name)
    store.flush()
    whole = xr.concat(parts, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = store.open_many(random.sample(names, len(names)), combine="concat", dim="x")
    some = data.draw(st.slices(int(edges[-1])))
    xr.testing.assert_identical(opened.isel(x=some).load(), whole.isel(x=some))
    xr.testing.assert_identical(opened.load(), whole)
