"""Handles that another one has overtaken: by compaction, by replacing the store, by later versions."""

from __future__ import annotations

import pickle

import dask
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import ConflictError, StaleHandleError
from atlas.storage.memory import MemoryStorage


@pytest.fixture(params=["local", "memory"])
def location(request, tmp_path):
    return MemoryStorage() if request.param == "memory" else tmp_path / "store"


def add(store, name, values=(1, 1)):
    view = store.create_dataset(name)
    view.define_array("a", "int8", ["x"], [len(values)])
    view.write_array("a", [0], np.array(values, "i1"))
    store.flush()


@pytest.mark.parametrize("between", [[], ["two"], ["two", "three", "four"]])
def test_a_writer_that_slept_through_a_compaction_lands_on_top_of_it(location, between):
    other = Atlas.create(location)
    add(other, "one")
    mine = Atlas.open(location)
    for name in between:
        add(other, name)
    other.delete_dataset("one")
    other.compact(keep_versions=1, keep_days=0)
    add(mine, "late")
    for store in (mine, Atlas.open(location)):
        assert store.list_datasets() == [*between, "late"]
        assert store.open_dataset("late").read_array("a").tolist() == [1, 1]
    add(other, "after")
    opened = Atlas.open(location)
    assert opened.list_datasets() == [*between, "late", "after"]
    assert opened.open_dataset("after").read_array("a").tolist() == [1, 1]


def test_a_writer_that_slept_through_more_than_is_kept_conflicts_where_it_cannot_tell(location):
    other = Atlas.create(location)
    add(other, "one")
    mine = Atlas.open(location)
    mine.open_dataset("one").write_array("a", [1], np.array([7], "i1"))
    add(other, "two")
    other.compact(keep_versions=1, keep_days=0)
    with pytest.raises(ConflictError, match="is no longer known") as caught:
        mine.flush()
    assert caught.value.collisions == (("one", "a"),)
    assert mine.list_datasets() == ["one"]
    mine.refresh()
    assert mine.open_dataset("one").read_array("a").tolist() == [1, 7]
    mine.flush()
    assert Atlas.open(location).open_dataset("one").read_array("a").tolist() == [1, 7]


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_writer_whose_store_was_replaced_conflicts(location, before, form):
    mine = Atlas.create(location)
    for at in range(before):
        add(mine, f"mine{at}")
    other = Atlas.create(location, overwrite=True, meta_format=form)
    with pytest.raises(ConflictError, match="was replaced"):
        add(mine, "late")
    add(other, "other")
    with pytest.raises(ConflictError):
        mine.flush()
    assert Atlas.open(location).list_datasets() == ["other"]
    mine.refresh()
    assert mine.list_datasets() == ["other", "late"]
    mine.flush()
    assert Atlas.open(location).list_datasets() == ["other", "late"]


def test_a_reader_whose_files_were_compacted_away_gets_an_error(location):
    other = Atlas.create(location)
    add(other, "one")
    add(other, "two")
    mine, lately = Atlas.open(location), Atlas.open(location)
    assert mine.read_array_across("a", ["one"])[0].tolist() == [1, 1]
    other.delete_dataset("two")
    other.compact(keep_versions=1, keep_days=0)
    with pytest.raises(StaleHandleError, match="open it again"):
        lately.open_dataset("one").read_array("a")
    assert Atlas.open(location).open_dataset("one").read_array("a").tolist() == [1, 1]


def test_a_writer_that_follows_another_at_once_is_no_conflict(location, monkeypatch):
    # Another handle opens and flushes between this handle's commit and its look at the checkpoint.
    mine = Atlas.create(location)
    storage = mine._session.view.storage
    create = type(storage).create

    def create_and_be_followed(self, key, data):
        made = create(self, key, data)
        if made and key.startswith("commits/"):
            monkeypatch.setattr(type(storage), "create", create)
            add(Atlas.open(location), "follower")
        return made

    monkeypatch.setattr(type(storage), "create", create_and_be_followed)
    add(mine, "mine")
    assert Atlas.open(location).list_datasets() == ["mine", "follower"]


def test_lazy_arrays_are_of_the_version_they_were_made_of(tmp_path):
    with Atlas.create(tmp_path / "store") as store:
        store.add_xr_dataset(xr.Dataset({"t": ("x", np.arange(4.0))}), "d", chunks={"t": [2]})
    lazy = Atlas.open(tmp_path / "store").to_xarray("d")
    with Atlas.open(tmp_path / "store") as other:
        other.open_dataset("d").write_array("t", [0], np.arange(4.0) * 100)
    for scheduler in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=scheduler):
            assert lazy["t"].to_numpy().tolist() == [0, 1, 2, 3]


def test_a_pickled_handle_opens_at_its_version_or_not_at_all(tmp_path):
    store = Atlas.create(tmp_path / "store")
    add(store, "one")
    first = pickle.dumps(store)
    add(store, "two")
    assert pickle.loads(first).list_datasets() == ["one"]
    second = pickle.dumps(store)
    add(store, "three")
    store.compact(keep_versions=1, keep_days=0)
    with pytest.raises(StaleHandleError, match="version 2"):
        pickle.loads(second)


@pytest.mark.parametrize("dtype", ["int8", "string"])
def test_a_reader_that_knows_the_index_but_not_the_block_gets_an_error_too(location, dtype):
    cells = np.array(["b" * 200, "a"], object) if dtype == "string" else np.array([2, 1], "i1")
    other = Atlas.create(location)
    for name in ("one", "two"):
        view = other.create_dataset(name)
        view.define_array("a", dtype, ["x"], [2])
        view.write_array("a", [0], cells)
        other.flush()
    mine = Atlas.open(location)
    mine._session.view.load_index("a")
    other.delete_dataset("two")
    other.compact(keep_versions=1, keep_days=0)
    with pytest.raises(StaleHandleError, match="open it again"):
        mine.open_dataset("one").read_array("a")
    if dtype == "string":
        with pytest.raises(StaleHandleError, match="open it again"):
            mine.open_dataset("one").array_stats("a")
