"""Equal chunks of coordinates are stored once, and no dataset is any the worse for it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, verify
from atlas.commit.committer import Committer
from atlas.errors import CorruptStoreError
from atlas.format.digests import content_of
from atlas.format.segment import SHARED, ChunkRows, SegmentRef, decode_index, encode_tail
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.independent_reader import read_store

LIMITS = Limits(digested_bytes=8)
LATITUDE = np.round(np.linspace(-60, 60, 50), 3)
STATIONS = np.array([f"station {at}" for at in range(30)], object)
LONG = np.random.default_rng(1).random(40_000)  # cut into blocks


def add(store, name, latitude=LATITUDE, stations=STATIONS, long=LONG):
    view = store.create_dataset(name)
    for array, dtype, cells in (("lat", "float64", latitude), ("id", "string", stations), ("x", "float64", long)):
        view.define_array(array, dtype, [array], [len(cells)])
        view.write_array(array, [0], cells)


def flush_each(store, names):
    for name in names:
        add(store, name)
        store.flush()


def segments(store, array):
    """Blocks and rows of each segment of an array, oldest first."""
    storage, found = store._session.view.storage, []
    for ref in store._session.catalog.segments.get(array, []):
        index = storage.read_range(ref.key, ref.footer.index_offset, ref.footer.index_length)
        found.append(decode_index(index, ref.footer))
    return found


def shared_rows(store, array="lat"):
    return [int((index.chunks.block == SHARED).sum()) for index in segments(store, array)]


def block_counts(store, array="lat"):
    return [len(index.blocks) for index in segments(store, array)]


def check(source, **expected):
    """Assert that every dataset of a store has what is expected of its `lat`, and that nothing is damaged."""
    store = Atlas.open(source, limits=LIMITS)
    assert store.list_datasets() == list(expected)
    for name, latitude in expected.items():
        view = store.open_dataset(name)
        np.testing.assert_array_equal(view.read_array("lat"), latitude)
        assert view.array_stats("lat") == {
            "row_count": len(latitude), "null_count": 0, "min": latitude.min(), "max": latitude.max()
        }  # fmt: skip
    assert verify(source).damage == ()
    found = read_store(source.read)
    assert {name: dataset.arrays["lat"].values.tolist() for name, dataset in found.items()} == {
        name: latitude.tolist() for name, latitude in expected.items()
    }


@pytest.fixture
def source():
    return MemoryStorage()


@pytest.fixture
def store(source):
    return Atlas.create(source, limits=LIMITS)


@pytest.mark.parametrize("array", ["lat", "id", "x"])
def test_equal_chunks_of_one_flush_and_of_later_flushes_are_stored_once(store, source, array):
    add(store, "a")
    add(store, "b")
    store.flush()
    add(store, "c")
    add(store, "d", LATITUDE + 1, STATIONS[::-1].copy(), LONG + 1)
    store.flush()
    first, second = segments(store, array)
    assert len(first.digests) == 1
    assert len(second.digests) == 2
    assert len(first.blocks) == len(second.blocks)
    assert (first.chunks.block.tolist(), second.chunks.block.tolist()) == ([0, 0], [SHARED, 0])
    for handle in (store, Atlas.open(source)):
        for name, dataset in {"a": 0, "b": 0, "c": 0, "d": 1}.items():
            cells = handle.open_dataset(name).read_array(array)
            expected = {"lat": LATITUDE + dataset, "x": LONG + dataset, "id": STATIONS[:: 1 - 2 * dataset]}[array]
            assert cells.tolist() == expected.tolist()
        assert len(np.unique(handle.read_array_across_stacked(array, list("abc")).astype(str), axis=0)) == 1
    assert verify(source).damage == ()


def test_arrays_that_are_no_coordinates_have_no_digests(store):
    for name in ("a", "b"):
        view = store.create_dataset(name)
        view.define_array("t", "float64", ["x"], [50])
        view.write_array("t", [0], LATITUDE)
    store.flush()
    (index,) = segments(store, "t")
    assert len(index.digests) == 0
    assert len(set(index.chunks.offset.tolist())) == 2


def test_coordinates_of_xarray_datasets_and_their_bounds_are_shared_whatever_their_axes(source):
    grid = np.random.default_rng(3).random((40, 30))
    for number in range(2):
        ds = xr.Dataset(
            {"t": (("y", "x"), grid), "corners": (("y", "x", "corner"), np.stack([grid, grid + 1], 2))},
            {"lon": (("y", "x"), grid, {"bounds": "corners"})},
        )
        store = Atlas.create(source) if number == 0 else Atlas.open(source)
        store.add_xr_dataset(ds, f"d{number}")
        store.flush()
    assert {name: shared_rows(store, name) for name in ("t", "lon", "corners")} == {
        "t": [0, 0], "lon": [0, 1], "corners": [0, 1]
    }  # fmt: skip
    for number in range(2):
        xr.testing.assert_identical(Atlas.open(source).to_xarray(f"d{number}"), ds)


def test_a_chunk_stays_while_one_dataset_has_it(store, source):
    flush_each(store, "ab")
    version = store.version
    store.delete_dataset("a")
    store.flush()
    check(source, b=LATITUDE)
    assert shared_rows(store) == [0, 1]
    store.compact(keep_versions=1, keep_days=0)
    assert (shared_rows(store), block_counts(store)) == ([0], [1])
    check(source, b=LATITUDE)
    add(store, "c")
    store.flush()
    check(source, b=LATITUDE, c=LATITUDE)
    assert store.version > version


def test_a_chunk_that_is_overwritten_stays_for_the_others(store, source):
    flush_each(store, "ab")
    store.open_dataset("a").write_array("lat", [0], LATITUDE + 5)
    store.flush()
    check(source, a=LATITUDE + 5, b=LATITUDE)
    add(store, "c")
    store.flush()
    assert shared_rows(store)[-1] == 1
    check(source, a=LATITUDE + 5, b=LATITUDE, c=LATITUDE)
    store.open_dataset("b").write_array("lat", [3], np.array([7.0]))
    store.flush()
    changed = LATITUDE.copy()
    changed[3] = 7
    check(source, a=LATITUDE + 5, b=changed, c=LATITUDE)
    store.compact(keep_versions=1, keep_days=0)
    check(source, a=LATITUDE + 5, b=changed, c=LATITUDE)
    assert block_counts(store) == [1]


def test_a_rollback_shows_what_an_earlier_version_shared(store, source):
    flush_each(store, "ab")
    version = store.version
    store.delete_dataset("a")
    store.flush()
    flush_each(store, "cdefg")
    store.rollback(version)
    check(source, a=LATITUDE, b=LATITUDE)
    add(store, "h")
    store.flush()
    check(source, a=LATITUDE, b=LATITUDE, h=LATITUDE)
    store.compact(keep_versions=1, keep_days=0)
    check(source, a=LATITUDE, b=LATITUDE, h=LATITUDE)
    assert block_counts(store) == [1]


@pytest.mark.parametrize("deleted", ["", "a"])
def test_flushes_that_join_small_segments_share_with_what_is_left(store, source, deleted):
    held = {}
    for number in range(20):
        name = chr(ord("a") + number)
        held[name] = LATITUDE + number // 8
        add(store, name, held[name])
        store.flush()
        if name == "b" and deleted:
            store.delete_dataset(deleted)
            del held[deleted]
            store.flush()
        check(source, **held)
    # A block stores each of the three distinct chunks; a joined segment may store one again.
    assert sum(block_counts(store)) <= 5
    for version in range(1, store.version + 1):
        assert Atlas.open(source, version=version).read_array_across_stacked(
            "lat", Atlas.open(source, version=version).list_datasets()
        ).shape[1:] == (50,)


class TestRaces:
    """What another writer does between the draft of a segment and its commit."""

    def meanwhile(self, monkeypatch, do):
        original = Committer._commit

        def commit(committer, *arguments):
            monkeypatch.setattr(Committer, "_commit", original)
            do()
            return original(committer, *arguments)

        monkeypatch.setattr(Committer, "_commit", commit)

    @pytest.fixture
    def pair(self, store, source):
        flush_each(store, "ab")
        return store, Atlas.open(source, limits=LIMITS)

    def test_a_compaction(self, pair, source, monkeypatch):
        first, second = pair
        add(second, "c")
        self.meanwhile(monkeypatch, lambda: first.compact(keep_versions=1, keep_days=0))
        second.flush()
        assert shared_rows(second) == [0, 0]
        check(source, a=LATITUDE, b=LATITUDE, c=LATITUDE)

    def test_a_compaction_that_leaves_nothing_of_the_chunk(self, pair, source, monkeypatch):
        first, second = pair
        add(second, "c")

        def clear():
            first.delete_dataset("a")
            first.delete_dataset("b")
            first.compact(keep_versions=1, keep_days=0)

        self.meanwhile(monkeypatch, clear)
        second.flush()
        check(source, c=LATITUDE)

    def test_a_rollback(self, pair, source, monkeypatch):
        first, second = pair
        add(second, "c")
        self.meanwhile(monkeypatch, lambda: first.rollback(0))
        second.flush()
        check(source, c=LATITUDE)

    def test_a_flush_that_joins_the_segments(self, pair, source, monkeypatch):
        first, second = pair
        add(second, "c")

        def join():
            for number in range(4):
                add(first, f"j{number}")
                first.flush()

        self.meanwhile(monkeypatch, join)
        second.flush()
        check(source, a=LATITUDE, b=LATITUDE, **{f"j{number}": LATITUDE for number in range(4)}, c=LATITUDE)

    def test_a_flush_that_joins_by_itself_and_loses(self, pair, source, monkeypatch):
        first, second = pair
        add(first, "c")
        first.flush()
        second.refresh()
        add(second, "d")

        def other():
            add(first, "e", LATITUDE + 3)
            first.flush()

        self.meanwhile(monkeypatch, other)
        second.flush()
        check(source, a=LATITUDE, b=LATITUDE, c=LATITUDE, e=LATITUDE + 3, d=LATITUDE)

    def test_a_flush_of_another_dataset_leaves_the_segment_as_it_is(self, pair, source, monkeypatch):
        first, second = pair

        def other():
            first.create_dataset("x").set_attribute("k", 1)
            first.flush()

        add(second, "c")
        self.meanwhile(monkeypatch, other)
        second.flush()
        assert shared_rows(second) == [0, 1, 1]
        assert Atlas.open(source).list_datasets() == ["a", "b", "x", "c"]
        np.testing.assert_array_equal(Atlas.open(source).open_dataset("c").read_array("lat"), LATITUDE)


class TestDistrust:
    """A flush depends on no chunk that it has not read."""

    def damage(self, store, source, array="lat", where=0):
        (ref,) = store._session.catalog.segments[array]
        data = bytearray(source.read(ref.key))
        data[(16 if where == 0 else ref.footer.index_offset) + 5] ^= 1
        source.replace(ref.key, bytes(data))

    @pytest.mark.parametrize("where", [0, 1], ids=["block", "index"])
    def test_a_damaged_chunk_is_not_shared(self, store, source, where):
        add(store, "a")
        store.flush()
        self.damage(store, source, where=where)
        store = Atlas.open(source, limits=LIMITS)
        add(store, "b")
        store.flush()
        (_, *last) = store._session.catalog.segments["lat"]
        assert len(last) == 1
        report = verify(source)
        assert {damage.dataset for damage in report.damage} == {"a"}
        if where == 0:
            assert shared_rows(store) == [0, 0]
            np.testing.assert_array_equal(store.open_dataset("b").read_array("lat"), LATITUDE)
            with pytest.raises(CorruptStoreError):
                store.open_dataset("a").read_array("lat")

    @pytest.mark.parametrize("lie", ["digest", "offset"])
    def test_an_index_that_lies_is_not_believed(self, store, source, lie):
        """The digest of the cells to come, at other cells, in an index whose checksums are right."""
        add(store, "a", LATITUDE + 1)
        add(store, "b", LATITUDE + 2)
        store.flush()
        (ref,), storage = store._session.catalog.segments["lat"], source
        data = storage.read(ref.key)
        end = ref.footer.index_offset
        blocks, rows, texts, digests = decode_index(data[end : end + ref.footer.index_length], ref.footer)
        if lie == "digest":
            wanted = content_of(store.open_dataset("a")._session.view.array("a", "lat").schema, LATITUDE).digest
            digests = np.frombuffer(wanted + digests[1:].tobytes(), digests.dtype)
        else:
            rows = ChunkRows(**(rows.columns() | {"offset": rows.offset[::-1].copy()}))
        tail, footer = encode_tail(blocks, rows, end, texts=texts, digests=digests)
        source.replace(ref.key, data[:end] + tail)
        store._session.catalog.segments["lat"] = [SegmentRef("lat", ref.key, end + len(tail), footer)]
        assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
        store = Atlas.open(source, limits=LIMITS)
        add(store, "c", LATITUDE + (0 if lie == "digest" else 1))
        store.flush()
        assert shared_rows(store) == [0, 0]
        np.testing.assert_array_equal(store.open_dataset("c").read_array("lat"), LATITUDE + (lie != "digest"))

    def test_damage_of_a_shared_chunk_is_told_for_all_that_share_it(self, store, source, tmp_path):
        for name in "ab":
            add(store, name)
        store.flush()
        (ref,) = store._session.catalog.segments["lat"]
        add(store, "c")
        add(store, "d", LATITUDE + 1)
        store.flush()
        data = bytearray(source.read(ref.key))
        data[20] ^= 1
        source.replace(ref.key, bytes(data))
        report = verify(source, export=tmp_path / "whole")
        assert {(damage.dataset, damage.array, damage.file) for damage in report.damage} == {
            (name, "lat", ref.key) for name in "abc"
        }
        whole = Atlas.open(tmp_path / "whole")
        assert {name: whole.open_dataset(name).list_arrays() for name in whole.list_datasets()} == {
            **{name: ["id", "x"] for name in "abc"}, "d": ["lat", "id", "x"]
        }  # fmt: skip
        np.testing.assert_array_equal(whole.open_dataset("d").read_array("lat"), LATITUDE + 1)
        assert whole.read_array_across_stacked("id", list("abcd")).tolist() == [STATIONS.tolist()] * 4

    def test_a_lost_segment_is_told_for_all_that_share_its_chunks(self, store, source):
        add(store, "a")
        store.flush()
        (ref,) = store._session.catalog.segments["lat"]
        add(store, "b")
        add(store, "c", LATITUDE + 1)
        store.flush()
        source.delete([ref.key])
        report = verify(source)
        told = {damage.dataset: damage.what for damage in report.damage if damage.array == "lat"}
        assert told.keys() == {"a", "b"}
        assert "shares a chunk that no readable segment" in told["b"]
        with pytest.raises(CorruptStoreError):
            Atlas.open(source).open_dataset("b").read_array("lat")
