"""Arrays of one small chunk read one by one: from a decoded block that many share."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.errors import CorruptStoreError
from atlas.read import reader
from atlas.read.block_cache import BlockCache
from atlas.storage import MemoryStorage

STRINGS = {"a": ["", "x", "å∫ç", "fill"], "b": ["ship", "buoy", "🌊", ""], "c": ["fill"] * 4}


@pytest.fixture
def store():
    store = atlas.Atlas.create(MemoryStorage())
    for at, (name, strings) in enumerate(STRINGS.items()):
        dataset = store.create_dataset(name)
        dataset.define_array("t", "string", ["y", "x"], [2, 2], fill_value="fill")
        dataset.write_array("t", [0, 0], np.array(strings, object).reshape(2, 2))
        dataset.define_array("n", "int16", ["x"], [3])
        dataset.write_array("n", [0], np.arange(3, dtype=np.int16) + at)
    store.flush()
    return store


def test_strings_are_read_from_the_block_that_was_decoded_once(store, monkeypatch):
    for name in STRINGS:
        store.open_dataset(name).read_array("t")
    loads = []
    monkeypatch.setattr(BlockCache, "keep", lambda *args, **options: loads.append(args))
    for name, strings in STRINGS.items():
        found = store.open_dataset(name).read_array("t")
        assert found.tolist() == [strings[:2], strings[2:]]
        found[0, 0] = "mine"
        assert store.open_dataset(name).read_array("t", [0, 0], [2, 1]).tolist() == [[strings[0]], [strings[2]]]
    assert loads == []


@pytest.mark.parametrize("array", ["t", "n"])
def test_a_chunk_that_leaves_its_block_is_damage_each_time(store, monkeypatch, array):
    load = BlockCache.load
    monkeypatch.setattr(BlockCache, "load", lambda *args: load(*args)[:4])
    for _ in range(3):
        with pytest.raises(CorruptStoreError, match=f"array '{array}' of dataset 'b' cannot be read"):
            store.open_dataset("b").read_array(array)


def test_what_is_pending_or_defined_anew_is_read_instead(store):
    dataset = store.open_dataset("b")
    assert dataset.read_array("t")[0, 0] == "ship"
    dataset.write_array("t", [0, 0], np.array([["raft"]], object))
    assert dataset.read_array("t").tolist() == [["raft", "buoy"], ["🌊", ""]]
    store.flush()
    assert dataset.read_array("t").tolist() == [["raft", "buoy"], ["🌊", ""]]
    dataset.delete_array("t")
    dataset.define_array("t", "string", ["x"], [1])
    assert dataset.read_array("t").tolist() == [""]
    store.flush()
    assert dataset.read_array("t").tolist() == [""]


def test_an_array_that_has_moved_is_read_where_it_is_now(store):
    for value in (5, 6):
        assert store.open_dataset("b").read_array("n").tolist() != [value] * 3
        store.open_dataset("b").write_array("n", [0], np.full(3, value, np.int16))
        assert store.open_dataset("b").read_array("n").tolist() == [value] * 3
        store.flush()
        assert store.open_dataset("b").read_array("n").tolist() == [value] * 3
        assert store.open_dataset("b").read_array("t").tolist() == [STRINGS["b"][:2], STRINGS["b"][2:]]


def test_an_array_that_was_declared_again_is_not_the_earlier_one(store):
    view = store.open_dataset("a")
    assert view.read_array("n").tolist() == [0, 1, 2]
    view.delete_array("n")
    view.define_array("n", "int16", ["x"], [3], fill_value=-1)
    store.flush()
    assert view.read_array("n").tolist() == [-1, -1, -1]


@pytest.mark.parametrize("dtype", ["bool", "int16", "float64", "timestamp_nanoseconds", "string", "bytes"])
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_an_array_of_one_value_is_read_again_without_a_plan(monkeypatch, dtype, written, shape):
    fill = {"bool": True, "string": "fill", "bytes": b"fill"}.get(dtype, 7)
    storage = MemoryStorage()
    with atlas.Atlas.create(storage) as store:
        dataset = store.create_dataset("d")
        dataset.define_array("v", dtype, ["y", "x"][: len(shape)], shape, fill_value=fill)
        want = dataset.read_array("v")
        if written:
            want = np.full(shape, {"bool": False, "string": "fill", "bytes": b"fill"}.get(dtype, 9), want.dtype)
            dataset.write_array("v", [0] * len(shape), want)
    dataset = atlas.Atlas.open(storage)["d"]
    snapshots, take = [], reader.take_snapshot
    monkeypatch.setattr(reader, "take_snapshot", lambda *args: snapshots.append(args) or take(*args))
    for _ in range(3):
        found = dataset.read_array("v")
        assert found.dtype == want.dtype
        assert found.flags.writeable
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, want)
        found[...] = dataset.read_array("v", shape=[1] * len(shape)).flat[0]  # it belongs to the caller
        np.testing.assert_array_equal(dataset["v"][...], want)
    assert len(snapshots) == 4  # the first read, and those of the array view
