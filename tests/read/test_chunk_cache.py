"""Chunks kept decoded from the second read on must follow every write, and belong to no caller."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas import Atlas
from atlas.chunking.regions import plan_region
from atlas.read import snapshot
from atlas.read.block_cache import BlockCache
from atlas.read.chunk_cache import ChunkCache
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage

SHAPE, CHUNK = (7, 5, 3), (3, 2, 3)


@pytest.fixture
def store():
    store = atlas.Atlas.create(MemoryStorage())
    for name in ("d", "e"):
        dataset = store.create_dataset(name)
        dataset.define_array("v", "float32", ["z", "y", "x"], SHAPE, CHUNK, fill_value=-1)
        dataset.define_array("t", "timestamp_nanoseconds", ["x"], [6], [2])
        dataset.define_array("s", "string", ["x"], [6], [2])
        dataset.write_array("v", [0, 0, 0], np.arange(105, dtype=np.float32).reshape(SHAPE) + 1000 * (name == "e"))
        dataset.write_array("t", [0], np.arange(6).astype("M8[ns]"))
        dataset.write_array("s", [0], np.array(list("abcdef"), object))
    store.flush()
    return store


def boxes():
    return st.tuples(
        *[st.integers(0, n).flatmap(lambda a, n=n: st.tuples(st.just(a), st.integers(0, n - a))) for n in SHAPE]
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(boxes(), st.integers(0, 4)), max_size=12))
def test_boxes_are_as_written_however_often_they_are_read(steps):
    store = atlas.Atlas.create(MemoryStorage())
    dataset = store.create_dataset("d")
    dataset.define_array("v", "int16", ["z", "y", "x"], SHAPE, CHUNK)
    model = np.arange(105, dtype=np.int16).reshape(SHAPE)
    dataset.write_array("v", [0, 0, 0], model)
    for at, (box, action) in enumerate(steps):
        start, shape = [a for a, _ in box], [n for _, n in box]
        index = tuple(slice(a, a + n) for a, n in box)
        if action == 0:
            model[index] = -at
            dataset.write_array("v", start, model[index])
        elif action == 1:
            store.flush()
        for _ in range(3):
            found = dataset.read_array("v", start, shape)
            np.testing.assert_array_equal(found, model[index])
            found[...] = 77  # it belongs to the caller


def test_chunks_are_decoded_again_only_after_a_change(store, monkeypatch):
    loads = []
    read_boxes = snapshot.read_boxes
    monkeypatch.setattr(snapshot, "read_boxes", lambda *args: loads.append(args) or read_boxes(*args))

    def reads(name="d", array="v", **box):
        loads.clear()
        found = store.open_dataset(name).read_array(array, **box)
        return len(loads), found

    assert [reads()[0] for _ in range(3)] == [1, 9, 0]
    assert reads(start=[2, 1, 0], shape=[2, 2, 2])[0] == 0
    assert [reads("e")[0] for _ in range(2)] == [1, 9]
    assert reads("e")[1][0, 0, 0] == 1000
    store.open_dataset("e").write_array("t", [0], np.arange(2).astype("M8[ns]"))
    assert [reads()[0] for _ in range(3)] == [1, 9, 0]
    store.open_dataset("d").write_array("v", [0, 0, 0], np.full((1, 1, 1), 9, np.float32))
    assert [(n, found[0, 0, 0]) for n, found in (reads() for _ in range(3))] == [(1, 9)] * 3
    store.flush()
    assert [(n, found[0, 0, 0]) for n, found in (reads() for _ in range(3))] == [(1, 9), (9, 9), (0, 9)]


def test_times_are_cached_and_strings_are_not(store):
    for _ in range(3):
        assert store.open_dataset("d").read_array("t", [1], [4]).tolist() == [1, 2, 3, 4]
        assert store.open_dataset("d").read_array("s", [1], [4]).tolist() == list("bcde")


@pytest.mark.parametrize("limits", [Limits(cache_bytes=400), Limits(cached_chunks=8)])
def test_what_is_too_large_or_too_much_is_not_kept(store, limits):
    schema = store._session.view.datasets.state("d").arrays["v"].schema
    region = plan_region(schema, (0, 0, 0), SHAPE)
    cache = ChunkCache(BlockCache(1 << 20), limits)
    assert all(cache.read(("v@0", 0), schema, region, pytest.fail) is None for _ in range(3))


def test_few_chunks_are_remembered_as_read_once(store):
    cells = store.open_dataset("d").read_array("v")
    store = Atlas.open(store._session.view.storage, limits=Limits(seen_chunks=10))
    for _ in range(4):
        for name in ("d", "e"):
            np.testing.assert_array_equal(store.open_dataset(name).read_array("v") - 1000 * (name == "e"), cells)
    assert len(store._session.reader._chunks._seen) <= 10
