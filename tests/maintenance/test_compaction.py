from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

from atlas import Atlas, verify
from atlas.errors import CorruptStoreError, StorageError
from atlas.format.segment import HEADER, decode_index
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


def fill(store, names, *, size=10, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        view = store.create_dataset(name)
        view.define_array("t", "float32", ["x"], [size], [max(size // 2, 1)], -1.0)
        view.write_array("t", [0], rng.random(size, "f4"))
        view.define_array("s", "string", ["x"], [3])
        view.write_array("s", [0], np.array([name, "é", ""], object))
    store.flush()


def contents(store):
    return {
        name: {array: (view.read_array(array).tolist(), view.array_stats(array)) for array in view.list_arrays()}
        for name in store.list_datasets()
        for view in [store.open_dataset(name)]
    }


def values(store):
    """The contents without statistics, which are as of the last flush."""
    return {name: {array: pair[0] for array, pair in arrays.items()} for name, arrays in contents(store).items()}


def segments(storage):
    return [key for key in storage.list("arrays") if key.startswith("arrays/t/")]


def test_chunks_of_many_shapes_are_joined_in_common_blocks(storage):
    store = Atlas.create(storage)
    rng = np.random.default_rng(4)
    for at, length in enumerate(rng.permutation(np.arange(1, 81)).tolist()):
        view = store.create_dataset(f"d{at}")
        view.define_array("t", "float32", ["x", "y"], [length, 2], None, [None, -1.0][at % 2])
        if at % 10:  # else nothing is written, which stays so
            view.write_array("t", [0, 0], rng.normal(size=(length, 2)).astype("f4"))
        if at % 20 == 19:
            store.flush()
    store.open_dataset("d5").write_array("t", [0, 1], np.array([[7]], "f4"))
    store.delete_dataset("d6")
    store.flush()
    before = contents(store)
    store.compact(keep_versions=1, keep_days=0)
    assert contents(store) == contents(Atlas.open(storage)) == before
    (ref,) = store._session.catalog.segments["t"]
    index = decode_index(storage.read_range(ref.key, ref.footer.index_offset, ref.footer.index_length), ref.footer)
    assert (len(index.chunks), len(index.blocks)) == (71, 2)  # blocks have one fill value
    assert verify(storage).ok


def test_many_segments_become_one_with_the_same_contents(storage):
    store = Atlas.create(storage)
    for at in range(5):
        fill(store, [f"d{at}", f"e{at}"], seed=at)
    store.open_dataset("d1").write_array("t", [2], np.array([7, 8], "f4"))
    store.flush()
    before = contents(store)
    assert len(segments(storage)) >= 6
    store.compact(keep_versions=1, keep_days=0)
    assert len(segments(storage)) == 1
    assert contents(store) == contents(Atlas.open(storage)) == before


def test_dead_data_goes(storage):
    store = Atlas.create(storage)
    fill(store, ["kept", "gone"], size=20_000)
    kept = contents(store)["kept"]
    store.delete_dataset("gone")
    store.open_dataset("kept").delete_array("s")
    store.flush()
    before = sum(map(storage.size, segments(storage)))
    store.compact(keep_versions=1, keep_days=0)
    assert sum(map(storage.size, segments(storage))) < 0.6 * before
    assert contents(Atlas.open(storage)) == {"kept": {"t": kept["t"]}}
    assert [key for key in storage.list("arrays") if key.startswith("arrays/s/")] == []


def test_an_array_declared_anew_does_not_show_the_old_one_after_compaction(storage):
    store = Atlas.create(storage)
    fill(store, ["a"])
    store.open_dataset("a").delete_array("t")
    store.open_dataset("a").define_array("t", "float32", ["x"], [10], [5], -1.0)
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    assert Atlas.open(storage).open_dataset("a").read_array("t").tolist() == [-1.0] * 10
    assert Atlas.open(storage).open_dataset("a").array_stats("t") is None


def test_a_store_that_is_compact_is_left_alone(storage):
    store = Atlas.create(storage)
    fill(store, ["a", "b"])
    store.compact(keep_versions=1, keep_days=0)
    keys, version = storage.list("arrays"), store._session.catalog.version
    store.compact(keep_versions=1, keep_days=0)
    assert (storage.list("arrays"), store._session.catalog.version) == (keys, version)


def test_pending_data_is_flushed_first(storage):
    store = Atlas.create(storage)
    fill(store, ["a"])
    store.create_dataset("b").define_array("t", "float32", ["x"], [1])
    store.open_dataset("b").write_array("t", [0], np.array([3], "f4"))
    store.compact(keep_versions=1, keep_days=0)
    assert Atlas.open(storage).open_dataset("b").read_array("t").tolist() == [3]


def test_a_damaged_block_stops_a_compaction_and_nothing_is_dropped(storage):
    store = Atlas.create(storage, codec="none")
    fill(store, ["a"])
    fill(store, ["b"], seed=1)
    key = segments(storage)[0]
    data = bytearray(storage.read(key))
    data[16] ^= 1
    storage.replace(key, bytes(data))
    before = storage.list("")
    with pytest.raises(CorruptStoreError, match=r"dataset 'a'|dataset 'b'"):
        Atlas.open(storage).compact(keep_versions=1, keep_days=0)
    assert storage.list("") == before


@pytest.mark.parametrize("limit", [1, 64, 1 << 24])
def test_batches_of_any_size_give_the_same_store(storage, limit):
    store = Atlas.create(storage, limits=Limits(copied_bytes=limit, waiting_bytes=limit))
    for at in range(3):
        fill(store, [f"d{at}{n}" for n in range(5)], seed=at, size=7)
    before = contents(store)
    store.compact(keep_versions=1, keep_days=0)
    assert contents(Atlas.open(storage)) == before


def test_files_that_nothing_names_are_removed(storage):
    store = Atlas.create(storage)
    fill(store, ["a"])
    storage.write("arrays/t/orphan.seg", [b"x"])
    storage.write("pages/orphan", [b"x"])
    store.compact(keep_versions=1, keep_days=0)
    assert not any("orphan" in key for key in storage.list(""))
    assert len(storage.list("commits")) <= 1


def named(store):
    """Keys of the segments of `t` that the store's last version names."""
    return [ref.key for ref in store._session.catalog.segments["t"]]


def test_flushes_join_small_segments(storage):
    store = Atlas.create(storage)
    for at in range(40):
        fill(store, [f"d{at}"], seed=at)
        if at % 7 == 3:
            store.open_dataset(f"d{at - 2}").write_array("t", [2], np.array([at, 8], "f4"))
        if at % 9 == 5:
            store.delete_dataset(f"d{at - 4}")
        if at % 11 == 6:
            view = store.open_dataset(f"d{at - 1}")
            view.delete_array("t")
            view.define_array("t", "float32", ["x"], [10], [5], -1.0)
        expected = values(store)
        store.flush()
        assert len(named(store)) <= 8
        assert values(store) == expected
    expected = contents(store)
    assert contents(Atlas.open(storage)) == expected
    store.compact(keep_versions=1, keep_days=0)
    assert contents(Atlas.open(storage)) == expected


def test_an_open_handle_reads_on_while_flushes_join_segments(storage):
    store = Atlas.create(storage)
    for at in range(4):
        fill(store, [f"d{at}"], seed=at)
    reader = Atlas.open(storage)
    keys = set(named(store))
    for at in range(4, 9):
        fill(store, [f"d{at}"], seed=at)
    assert not keys & set(named(store))
    assert keys <= set(segments(storage))
    assert contents(reader) == {name: rest for name, rest in contents(store).items() if name < "d4"}


def test_a_damaged_small_segment_fails_no_flush(storage):
    store = Atlas.create(storage)
    for at in range(4):
        fill(store, [f"d{at}"], seed=at)
    key = named(store)[1]
    damaged = bytearray(storage.read(key))
    damaged[len(HEADER) + 3] ^= 1
    storage.delete([key])
    storage.write(key, [bytes(damaged)])
    fresh = Atlas.open(storage)
    fill(fresh, ["d4"], seed=4)
    assert len(named(fresh)) == 5
    assert fresh.open_dataset("d4").read_array("t").shape == (10,)
    with pytest.raises(CorruptStoreError):
        fresh.open_dataset("d1").read_array("t")


def test_a_flush_that_fails_leaves_no_joined_segment(storage, monkeypatch):
    store = Atlas.create(storage)
    for at in range(4):
        fill(store, [f"d{at}"], seed=at)
    before = storage.list("")
    monkeypatch.setattr(storage, "create", Mock(side_effect=StorageError("no room")))
    with pytest.raises(StorageError):
        fill(store, ["d4"], seed=4)
    monkeypatch.undo()
    assert storage.list("") == before
    store.flush()
    assert len(named(store)) == 2
    assert sorted(contents(Atlas.open(storage))) == [f"d{at}" for at in range(5)]


def test_chunks_of_an_earlier_declaration_are_not_copied(storage):
    store = Atlas.create(storage)
    fill(store, ["a", "b"])
    view = store.open_dataset("a")
    view.delete_array("t")
    view.define_array("t", "float32", ["x"], [10], [5], -1.0)
    view.write_array("t", [0], np.full(5, 7, "f4"))
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    for handle in (store, Atlas.open(storage)):
        assert handle.open_dataset("a").read_array("t").tolist() == [7] * 5 + [-1] * 5
    assert sum(ref.footer.chunks for ref in store._session.catalog.segments["t"]) == 3


def test_a_large_segment_of_live_chunks_is_left_and_the_rest_rewritten(storage):
    store = Atlas.create(storage, codec="none", limits=Limits(largest_joined=50_000))
    for at in range(6):
        fill(store, [f"d{at}{number}" for number in range(50)], seed=at, size=100)
    store.compact(keep_days=0)
    (large,) = named(store)
    fill(store, ["e1"], seed=7)
    fill(store, ["e2"], seed=8)
    store.compact(keep_days=0)
    assert len(named(store)) == 2
    assert large in named(store)
    assert named(store) == segments(storage)[:: 1 if segments(storage)[0] == large else -1]
    # A chunk that is written anew, and a dataset that goes, make the large one worth it.
    before = values(store)
    view = store.open_dataset("d07")
    view.write_array("t", [3], np.array([8], "f4"))
    store.delete_dataset("e1")
    before["d07"]["t"][3] = 8.0
    del before["e1"]
    store.compact(keep_days=0)
    assert len(named(store)) == 1
    assert values(store) == values(Atlas.open(storage)) == before
    assert contents(store) == contents(Atlas.open(storage))


def test_segments_that_are_left_and_rewritten_answer_for_their_own_chunks(storage):
    store = Atlas.create(storage, codec="none", limits=Limits(largest_joined=0))
    expected = {}
    for at in range(40):
        fill(store, [f"d{at}"], seed=at, size=400 // (at + 1) + 1)
        if at % 5 == 3:
            store.open_dataset(f"d{at - 2}").write_array("t", [0], np.array([at], "f4"))
        if at % 9 == 5:
            store.delete_dataset(f"d{at - 4}")
        expected = values(store)
        store.compact(keep_days=0)
        assert values(store) == expected
        assert len(named(store)) <= 6
    assert contents(Atlas.open(storage)) == contents(store)
    assert Atlas.open(storage).verify().ok
