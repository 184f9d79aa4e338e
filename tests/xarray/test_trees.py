"""Stores as trees: a node for each dataset, with few reads, and never more nodes than were asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray.testing import assert_equal, assert_identical

from atlas import Atlas
from atlas.engine import AtlasBackendEntrypoint
from atlas.errors import DatasetNotFoundError, InvalidTypeError, InvalidValueError

ENGINE = {"engine": AtlasBackendEntrypoint}
BUOY = xr.Dataset({"t": ("time", [1.0, 2.0, 3.0])}, {"time": np.array([1, 2, 3], "M8[s]"), "lat": 60.0})
PROFILE = xr.Dataset(
    {"salt": ("depth", np.array([1, 2], "i2"), {"scale_factor": 0.5}), "note": ("depth", ["a", "b"])},
    {"depth": [5.0, 10.0]},
    {"title": "profile"},
)


@pytest.fixture
def filled(store):
    """Two datasets that have nothing in common."""
    store.add_xr_dataset(BUOY, "buoy")
    store.add_xr_dataset(PROFILE, "profile", chunks={"salt": [1]})
    store.flush()
    return store


def test_each_dataset_is_a_child_of_an_empty_root(filled):
    tree = filled.to_datatree()
    assert list(tree.children) == ["buoy", "profile"]
    assert not tree.variables
    for name in filled:
        assert_identical(tree[name].to_dataset(), filled.to_xarray(name))
    assert tree["profile/salt"].dtype == "i2", "cells of to_xarray, which decodes nothing"


def test_the_indexes_of_a_tree_are_those_of_to_xarray(store):
    plain = xr.Dataset(coords=xr.Coordinates({"x": ("x", [1, 2])}, indexes={}))
    store.add_xr_dataset(plain, "none")
    store.add_xr_dataset(xr.Dataset(coords={"x": [1, 2], "y": ("x", [3, 4])}).set_xindex("y"), "two")
    store.add_xr_dataset(xr.Dataset(coords={"word": pd.Index(["a", "b"], dtype="string")}), "text")
    tree = store.to_datatree()
    for name in store:
        assert_identical(tree[name].to_dataset(), store.to_xarray(name))
        found, expected = tree[name].to_dataset().indexes, store.to_xarray(name).indexes
        assert {key: index.dtype for key, index in found.items()} == {
            key: index.dtype for key, index in expected.items()
        }


def test_names_choose_the_children_and_their_order(filled):
    assert list(filled.to_datatree(["profile", "buoy"]).children) == ["profile", "buoy"]
    assert list(filled.to_datatree(["profile"]).children) == ["profile"]
    assert list(filled.to_datatree([]).children) == []
    with pytest.raises(DatasetNotFoundError, match="'glider'"):
        filled.to_datatree(["buoy", "glider"])
    with pytest.raises(InvalidValueError, match="'buoy' twice"):
        filled.to_datatree(["buoy", "profile", "buoy"])
    with pytest.raises(InvalidTypeError, match="names"):
        filled.to_datatree("buoy")


def test_a_store_of_many_datasets_is_refused_by_default_and_says_what_to_do(store):
    store.create_datasets([f"d{at}" for at in range(1001)])
    message = r"1001 are more than limit=1000.*to_datatree\(names\).*to_xarray_many\(names\).*raise limit"
    with pytest.raises(InvalidValueError, match=message):
        store.to_datatree()
    with pytest.raises(InvalidValueError, match=message):
        xr.open_datatree(store, **ENGINE)
    assert len(store.to_datatree([f"d{at}" for at in range(3)], limit=3).children) == 3
    assert len(xr.open_datatree(store, **ENGINE, limit=1001).children) == 1001
    with pytest.raises(InvalidValueError, match="limit=2"):
        store.to_datatree([f"d{at}" for at in range(3)], limit=2)
    for limit in (True, 3.0, "3"):
        with pytest.raises(InvalidTypeError, match="limit"):
            store.to_datatree(limit=limit)


def test_indexes_are_read_in_bulk_and_nothing_else_is_read(store, calls, monkeypatch):
    bulk = []
    across = Atlas.read_array_across
    monkeypatch.setattr(
        Atlas,
        "read_array_across",
        lambda self, array, names: (bulk.append((array, names)), across(self, array, names))[1],
    )
    for at in range(20):
        store.add_xr_dataset(BUOY + at if at % 2 else PROFILE, f"d{at}")
    store.flush()
    calls.clear()
    for opened in (store.to_datatree, lambda: xr.open_datatree(store, **ENGINE)):
        tree = opened()
        assert len(tree.children) == 20
        assert sorted((array, len(names)) for array, names in bulk) == [("depth", 10), ("time", 10)]
        assert calls == []
        bulk.clear()
    assert tree["d3"].sel(time=np.datetime64(2, "s"))["t"].item() == 5.0
    assert tree["d4"]["salt"].values.tolist() == [0.5, 1.0]
    assert [name for _, name, *_ in calls] == ["t", "salt"]


@pytest.mark.parametrize("options", [{}, {"mask_and_scale": False}])  # xarray.open_groups takes no heed of decode_cf
def test_a_tree_has_the_datasets_that_open_one_by_one(filled, options):
    with xr.open_datatree(filled, **ENGINE, **options) as tree:
        for name in filled:
            assert_identical(tree[name].to_dataset(), xr.open_dataset(filled, **ENGINE, group=name, **options))
    groups = xr.open_groups(filled, **ENGINE, **options)
    assert list(groups) == ["/", "/buoy", "/profile"]
    assert_identical(xr.DataTree.from_dict(groups), tree)


def test_chunks_of_a_tree_are_those_of_the_store(filled):
    tree = xr.open_datatree(filled, **ENGINE, chunks={})
    assert tree["profile/salt"].chunks == ((1, 1),)
    assert_equal(tree["profile"].to_dataset().compute(), xr.open_dataset(filled, **ENGINE, group="profile"))


def test_a_group_is_opened_as_the_root(filled):
    tree = xr.open_datatree(filled, **ENGINE, group="/profile")
    assert tree.root.parent is None
    assert_identical(tree.to_dataset(), xr.open_dataset(filled, **ENGINE, group="profile"))
    assert list(xr.open_groups(filled, **ENGINE, group="buoy")) == ["/"]


def test_variables_are_dropped_from_every_node(filled):
    tree = xr.open_datatree(filled, **ENGINE, drop_variables=["time", "salt"])
    assert set(tree["buoy"].variables) == {"t", "lat"}
    assert set(tree["profile"].variables) == {"depth", "note"}


def test_a_tree_that_was_opened_from_a_folder_can_be_closed(filled, place, monkeypatch):
    closed = []
    close = Atlas.close
    monkeypatch.setattr(Atlas, "close", lambda self: (closed.append(self), close(self))[1])
    tree = xr.open_datatree(filled.describe().location, **ENGINE)
    assert tree.encoding["source"] == tree["buoy"].encoding["source"] == filled.describe().location
    tree.close()
    assert closed
    assert tree["buoy/t"].values.tolist() == [1.0, 2.0, 3.0]
    closed.clear()
    xr.open_datatree(filled, **ENGINE).close()
    assert closed == [], "the handle is the caller's"


def test_datasets_of_every_name_become_nodes(store):
    names = ["a b", "é", ".hidden", "x.y", "C:", "0", "a" * 300]
    for name in names:
        store.add_xr_dataset(BUOY, name)
    tree = store.to_datatree()
    assert list(tree.children) == names
    assert all(tree[f"/{name}"]["t"].sizes == {"time": 3} for name in names)
