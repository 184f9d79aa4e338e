"""Ragged datasets to padded ones and back, and to one dataset: beside what the store gives in each shape."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.testing import assert_equal, assert_identical

from atlas import Atlas
from atlas.errors import DatasetNotFoundError, InvalidValueError
from atlas.storage import MemoryStorage


def cast(at, levels):
    rng = np.random.default_rng(at)
    return xr.Dataset(
        {
            "t": (("level", "band"), rng.random((levels, 2)).round(2), {"units": "K"}),
            "count": ("level", rng.integers(0, 9, levels, dtype="i2"), {"_FillValue": np.int16(-1)}),
            "word": ("level", np.array([f"{at}.{cell}" for cell in range(levels)], object)),
            "lat": ((), 1.5 * at),
        },
        {"depth": ("level", rng.random(levels).round(1)), "band": [1, 2]},
        {"title": "casts"},
    )


def stored(lengths, make=cast):
    store = Atlas.create(MemoryStorage())
    for at, levels in enumerate(lengths):
        store.add_xr_dataset(make(at, levels), f"c{at}")
    store.flush()
    return store


@pytest.mark.parametrize("chunks", [None, "auto"])
@pytest.mark.parametrize("lengths", [[3, 0, 5, 1], [2], [4, 4], [0, 0]])
def test_each_shape_becomes_the_other(lengths, chunks):
    store = stored(lengths)
    ragged = store.open_many(combine="ragged", dim="level", feature_type="profile", chunks=chunks)
    padded = ragged.atlas.to_padded()
    assert padded["level_size"].values.tolist() == lengths
    assert (padded.attrs["featureType"], padded["dataset"].attrs["cf_role"]) == ("profile", "profile_id")
    if len(set(lengths)) > 1:
        assert_identical(padded.drop_attrs(), store.open_many(missing="fill").load().drop_attrs())
    assert_identical(padded.atlas.to_ragged(), ragged.load())
    for at in range(len(lengths)):
        for many in (ragged, padded):
            one = many.atlas.dataset(f"c{at}")
            assert_equal(one.drop_vars("dataset"), store.to_xarray(f"c{at}"))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_labels_that_begin_alike_are_kept_once(lengths):
    def make(at, levels):
        return xr.Dataset({"t": ("level", np.arange(levels) + 10.0 * at)}, {"level": np.arange(levels)})

    store = stored(lengths, make)
    ragged = store.open_many(combine="ragged", dim="level")
    padded = ragged.atlas.to_padded()
    assert padded["level"].values.tolist() == list(range(max(lengths)))
    assert "level" in padded.xindexes
    assert_identical(padded.atlas.to_ragged(), ragged.load())
    assert_equal(ragged.atlas.dataset("c0").drop_vars("dataset"), store.to_xarray("c0"))


def test_labels_that_differ_have_no_index():
    store = stored(
        [2, 3], lambda at, levels: xr.Dataset({"t": ("x", np.ones(levels))}, {"x": np.arange(levels) + 0.5 * at})
    )
    padded = store.open_many(combine="ragged").atlas.to_padded()
    assert padded["x"].dims == ("dataset", "x")
    with pytest.raises(InvalidValueError, match="the labels of 'x' differ between datasets"):
        padded.sel(x=1)
    assert padded.atlas.dataset("c1").sel(x=2.5)["t"].item() == 1


def test_only_the_dataset_asked_for_is_read(monkeypatch):
    store = stored([3, 2, 4])
    ragged = store.open_many(combine="ragged")
    asked, reader = [], type(store._session.reader)
    original = reader.read_ragged
    monkeypatch.setattr(
        reader,
        "read_ragged",
        lambda self, array, names, *rest: asked.append(names) or original(self, array, names, *rest),
    )
    _ = ragged.atlas.dataset("c1")["t"].values
    assert asked == [["c1"]]


class TestRefused:
    def test_what_has_no_rows(self):
        plain = xr.Dataset({"t": ("x", [1.0])})
        with pytest.raises(InvalidValueError, match="a ragged dataset has one variable with the attribute 'sample_dim"):
            plain.atlas.to_padded()
        with pytest.raises(InvalidValueError, match="a padded dataset has one variable with the attribute 'padded_dim"):
            plain.atlas.to_ragged()
        with pytest.raises(InvalidValueError, match="no coordinate 'dataset' with the names of its rows"):
            plain.atlas.dataset("a")

    def test_names_that_are_not_there_or_twice(self):
        many = stored([1, 2]).open_many(["c0", "c1", "c0"], combine="ragged")
        with pytest.raises(DatasetNotFoundError, match="'c9' names 0 rows"):
            many.atlas.dataset("c9")
        with pytest.raises(DatasetNotFoundError, match="'c0' names 2 rows"):
            many.atlas.dataset("c0")

    @pytest.mark.parametrize("sizes", [[1, 1], [4, -1], [9, 9]])
    def test_lengths_that_do_not_add_up(self, sizes):
        many = stored([1, 2]).open_many(combine="ragged").load()
        many["row_size"].data = np.array(sizes)
        for call in (many.atlas.to_padded, lambda: many.atlas.dataset("c1")):
            with pytest.raises(InvalidValueError, match="lengths of rows add up to 3, and none is negative"):
                call()

    def test_lengths_that_are_no_lengths(self):
        many = stored([1, 2]).open_many(combine="ragged").load()
        many["row_size"] = many["row_size"] / 2
        many["row_size"].attrs["sample_dimension"] = "level"
        with pytest.raises(InvalidValueError, match="'row_size' tells lengths along 'level': it has integers"):
            many.atlas.to_padded()

    def test_integers_without_a_fill_value(self):
        many = stored([1, 2], lambda at, levels: xr.Dataset({"n": ("x", np.arange(levels))})).open_many(
            combine="ragged"
        )
        with pytest.raises(InvalidValueError, match="nothing to fill variable 'n' of int64"):
            many.atlas.to_padded()

    def test_cells_after_the_end_of_a_row(self):
        padded = stored([1, 2]).open_many(missing="fill").load()
        padded["t"][0, 1, 0] = 5.0
        with pytest.raises(InvalidValueError, match="'t' has cells after the end that 'level_size' tells of a row"):
            padded.atlas.to_ragged()
