"""`replace_dataset`: another dataset in the place of one, whole or not at all."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import (
    ConflictError,
    DatasetNotFoundError,
    InvalidTypeError,
    ReadOnlyError,
    StaleHandleError,
    UnsupportedDtypeError,
)
from atlas.runtime.limits import Limits
from atlas.storage.memory import MemoryStorage
from tests.independent_reader import read_catalog

NAMES = ["a", "b", "c"]


def day(first, count=4, **attrs):
    return xr.Dataset({"t": ("hour", np.arange(first, first + count, dtype="f8"))}, {"hour": np.arange(count)}, attrs)


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def store(storage):
    """A store of the flushed datasets a, b and c."""
    store = Atlas.create(storage)
    for at, name in enumerate(NAMES):
        store.add_xr_dataset(day(10 * at, site=name, old="old"), name)
    store.flush()
    return store


def firsts(store):
    """Return the first cell of each dataset, in the order of all selections, which must agree."""
    names = store.list_datasets()
    found = store.read_array_across("t", names)
    for cells, hours in zip(found, store.read_array_across("hour", names), strict=True):
        assert hours.tolist() == list(range(len(cells)))
    assert list(store) == names == store.open_many(combine="ragged").dataset.values.tolist()
    return {name: cells[0].item() for name, cells in zip(names, found, strict=True)}


def pending_firsts(store):
    return {name: store[name]["t"][0].item() for name in store.list_datasets()}


class TestPlace:
    def test_it_keeps_its_place_for_good(self, storage, store):
        store.replace_dataset("b", day(90, 6, site="B"))
        expected = {"a": 0.0, "b": 90.0, "c": 20.0}
        assert pending_firsts(store) == expected
        assert store.read_array_across("t", NAMES)[1].tolist() == [90, 91, 92, 93, 94, 95]
        store.flush()
        assert firsts(store) == firsts(Atlas.open(storage)) == expected
        store.compact(keep_days=0)
        assert firsts(store) == firsts(Atlas.open(storage)) == expected
        catalog = read_catalog(storage.read)
        assert [row.name for _, row in sorted(catalog.datasets.items())] == NAMES
        assert store.verify().ok

    def test_nothing_of_the_old_one_is_left(self, store):
        store.replace_dataset("b", xr.Dataset({"u": ("x", [1, 2])}, attrs={"new": 1}))
        for _ in range(2):
            assert dict(store["b"].attrs) == {"new": 1}
            xr.testing.assert_identical(store.to_xarray("b"), xr.Dataset({"u": ("x", [1, 2])}, attrs={"new": 1}))
            assert store["b"].list_arrays() == ["u"]
            store.flush()

    def test_one_that_is_pending(self, storage):
        store = Atlas.create(storage)
        for at, name in enumerate(NAMES):
            store.add_xr_dataset(day(10 * at), name)
        store.replace_dataset("a", day(70))
        store.replace_dataset("a", day(80))
        store.replace_dataset("b", day(90))
        assert pending_firsts(store) == {"a": 80.0, "b": 90.0, "c": 20.0}
        store.flush()
        assert firsts(Atlas.open(storage)) == {"a": 80.0, "b": 90.0, "c": 20.0}

    def test_again_and_again(self, storage, store):
        for first in range(30, 42):
            store.replace_dataset("a", day(0))
            store.replace_dataset("a", day(first, first % 5 + 1))
            if first % 3:
                store.flush()
        store.flush()
        assert firsts(Atlas.open(storage)) == {"a": 41.0, "b": 10.0, "c": 20.0}
        assert store["a"]["t"].shape == (2,)
        assert store.verify().ok

    def test_what_is_pending_of_the_old_one_goes(self, store):
        store["b"]["t"][1] = 7
        store["b"].define_array("u", "int8", ["x"], [3])
        store["b"]["u"][:] = 1
        store.replace_dataset("b", day(50))
        store["b"]["t"][2] = -1
        for _ in range(2):
            assert store["b"].list_arrays() == ["hour", "t"]
            assert store["b"]["t"][:].tolist() == [50, 51, -1, 53]
            store.flush()

    def test_deleted_and_created_again_it_comes_last(self, store):
        store.replace_dataset("a", day(50))
        store.delete_dataset("a")
        store.add_xr_dataset(day(60), "a")
        store.replace_dataset("a", day(70))
        store.flush()
        assert firsts(store) == {"b": 10.0, "c": 20.0, "a": 70.0}

    def test_in_pages(self, storage):
        store = Atlas.create(storage, limits=Limits(page_rows=2))
        names = [f"d{at}" for at in range(7)]
        for at, name in enumerate(names):
            store.add_xr_dataset(day(at), name)
        store.flush()
        for at in (1, 4):
            store.replace_dataset(names[at], day(10 * at))
            store.add_xr_dataset(day(at), f"more{at}")
            store.flush()
        store.compact(keep_days=0)
        assert list(firsts(Atlas.open(storage)).values()) == [0, 10, 2, 3, 40, 5, 6, 1, 4]

    def test_strings_and_blocks(self, storage, store):
        blocks = da.from_array(np.arange(24.0).reshape(4, 6), chunks=(2, 3))
        ds = xr.Dataset({"t": (("y", "x"), blocks), "words": ("y", np.array(["", "b", "cc", None], object))})
        store.replace_dataset("b", ds, chunks={"x": 2})
        store.flush()
        found = Atlas.open(storage).to_xarray("b").load()
        assert found["t"].values.tolist() == np.arange(24.0).reshape(4, 6).tolist()
        assert found["words"].values.tolist()[:3] == ["", "b", "cc"]
        assert store["b"].array_meta("t")["chunk_shape"] == [2, 2]
        assert store["a"]["t"][0] == 0

    def test_large_blocks_that_are_spilled(self, tmp_path):
        store = Atlas.create(tmp_path / "s", limits=Limits(raw_bytes=1 << 12, encoded_bytes=1 << 12))
        rng = np.random.default_rng(0)
        cells = {name: rng.random((8, 1000)) for name in NAMES}
        for name in NAMES:
            store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), cells[name])}), name, chunks={"y": 1})
        store.replace_dataset("b", xr.Dataset({"t": (("y", "x"), -cells["b"])}), chunks={"y": 2})
        store.flush()
        store.replace_dataset("a", xr.Dataset({"t": (("y", "x"), -cells["a"])}), chunks={"y": 3})
        for opened in (store, Atlas.open(tmp_path / "s")):
            sign = 1 if opened is not store else -1
            assert np.array_equal(opened["a"]["t"][:], sign * cells["a"])
            assert np.array_equal(opened["b"]["t"][:], -cells["b"])
            assert np.array_equal(opened["c"]["t"][:], cells["c"])
        store.flush()
        assert np.array_equal(Atlas.open(tmp_path / "s")["a"]["t"][:], -cells["a"])
        assert store.verify().ok

    def test_computed_from_the_old_one(self, store):
        store.replace_dataset("b", store.to_xarray("b").chunk({"hour": 2}) * 2)
        store.replace_dataset("b", store.to_xarray("b").chunk({"hour": 3}) + 1)
        store.flush()
        assert store["b"]["t"][:].tolist() == [21, 23, 25, 27]

    def test_earlier_versions_keep_the_old_one(self, storage, store):
        version = store.version
        store.replace_dataset("b", day(90))
        store.flush()
        assert firsts(Atlas.open(storage, version=version))["b"] == 10.0
        assert [(v.created, v.changed, v.deleted) for v in store.history()][-1] == (0, 1, 0)
        store.rollback(version)
        assert firsts(store) == {"a": 0.0, "b": 10.0, "c": 20.0}


class TestFailures:
    def failing(self):
        def fail(block):
            raise OSError("the disk is gone")

        blocks = da.ones(4, chunks=2).map_blocks(fail, dtype="f8", meta=np.empty(0))
        return xr.Dataset({"hour": ("hour", np.arange(4)), "u": ("hour", np.ones(4)), "t": ("hour", blocks)})

    @pytest.mark.parametrize(
        ("made", "error"),
        [
            (failing, OSError),
            (lambda _: xr.Dataset({"t": ("x", np.ones(2)), "z": ("x", np.ones(2, "c16"))}), UnsupportedDtypeError),
            (lambda _: {"t": [1, 2]}, InvalidTypeError),
        ],
    )
    @pytest.mark.parametrize("flushed", [True, False])
    def test_nothing_has_changed(self, storage, store, made, error, flushed):
        if not flushed:
            store["b"]["t"][1] = -5
            store["b"].set_attribute("more", 1)
            store.add_xr_dataset(day(40), "new")
        before = [(name, dict(store[name].attributes()), store[name]["t"][:].tolist()) for name in store]
        for name in ["b", *store.list_datasets()[3:]]:
            with pytest.raises(error):
                store.replace_dataset(name, made(self))
        for open_now in (lambda: store, lambda: store, lambda: Atlas.open(storage)):
            opened = open_now()
            now = [(name, dict(opened[name].attributes()), opened[name]["t"][:].tolist()) for name in opened]
            assert now == before
            store.flush()
        assert store.list_arrays() == ["hour", "t"]

    def test_a_name_that_is_not_there(self, store):
        with pytest.raises(DatasetNotFoundError, match=r"no dataset 'x'.*add_xr_dataset\(ds, 'x'\) adds it"):
            store.replace_dataset("x", day(1))
        with pytest.raises(InvalidTypeError, match=r"replace_dataset\(name, ds\)"):
            store.replace_dataset(day(1), "a")
        assert store.list_datasets() == NAMES

    def test_read_only(self, storage, store):
        with pytest.raises(ReadOnlyError):
            Atlas.open(storage, mode="r").replace_dataset("a", day(1))

    def test_deleted_while_it_is_written(self, store):
        def delete(block):
            if "b" in store:
                del store["b"]
            return block

        cells = da.ones(4, chunks=4).map_blocks(delete, dtype="f8", meta=np.empty(0))
        with pytest.raises(DatasetNotFoundError, match="'b'"):
            store.replace_dataset("b", xr.Dataset({"t": ("hour", cells)}))
        store.flush()
        assert firsts(store) == {"a": 0.0, "c": 20.0}

    def test_the_old_one_is_shown_until_the_new_one_is_whole(self, store):
        seen = []

        def look(block):
            if block.size:
                seen.append((store.list_datasets(), store["b"]["t"][:].tolist(), len(store), store.list_arrays()))
            return block

        cells = da.ones(4, chunks=2).map_blocks(look, dtype="f8", meta=np.empty(0))
        store.replace_dataset("b", xr.Dataset({"t": ("hour", cells), "u": ("x", [1])}))
        assert seen == [(NAMES, [10, 11, 12, 13], 3, ["hour", "t"])] * 2
        assert store["b"]["t"][:].tolist() == [1] * 4

    def test_a_forked_child_has_nothing_of_what_is_half_written(self, store):
        draft = store._session.writer.begin_replacement("b")
        store._session.writer.define_arrays(draft, {"t": store._session.view.array("b", "t").schema}, frozenset())
        store._session.writer.write_array(draft, "t", [0], np.ones(4))
        assert store._session.pending
        store._session.renew()
        assert not store._session.pending


class TestHandles:
    def test_a_lazy_dataset_of_another_shape_is_stale(self, store):
        store.replace_dataset("b", day(10), chunks={"hour": 2})
        store.flush()
        lazy = store.to_xarray("b")
        opened = store.open_many(["a", "b"], combine="ragged")
        store.replace_dataset("b", day(90, 6))
        with pytest.raises(StaleHandleError, match="declared anew"):
            lazy["t"].compute()
        store.flush()
        assert opened["t"].values.tolist() == [0, 1, 2, 3, 10, 11, 12, 13]

    def test_tokens_differ(self, store):
        session = store._session
        before = session.token("b", "t")
        store.replace_dataset("b", day(10))
        pending = session.token("b", "t")
        store.flush()
        assert len({before, pending, session.token("b", "t")}) == 3

    def test_views_show_the_new_one(self, store):
        view, array = store["b"], store["b"]["t"]
        store.replace_dataset("b", day(90, 6))
        assert (view["t"].shape, array.shape, array[5]) == ((6,), (6,), 95)


class TestOtherWriters:
    @pytest.fixture
    def other(self, storage, store):
        return Atlas.open(storage)

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s["b"].set_attribute("x", 1),
            lambda s: s["b"].define_array("v", "int8", ["x"], [1]),
            lambda s: s["b"]["t"].__setitem__(1, 5.0),
            lambda s: s["b"].delete_array("t"),
            lambda s: s.delete_dataset("b"),
            lambda s: s.replace_dataset("b", day(77)),
        ],
    )
    @pytest.mark.parametrize("first_replaces", [True, False])
    def test_a_change_of_the_same_dataset_is_a_conflict(self, storage, store, other, change, first_replaces):
        steps = [lambda s: s.replace_dataset("b", day(90)), change]
        for step, handle in zip(steps if first_replaces else steps[::-1], (other, store), strict=True):
            step(handle)
        other.flush()
        with pytest.raises(ConflictError, match="dataset 'b'") as raised:
            store.flush()
        assert {name for name, _ in raised.value.collisions} == {"b"}
        assert Atlas.open(storage).version == other.version

    def test_other_changes_land(self, storage, store, other):
        other.add_xr_dataset(day(30), "d")
        other["a"]["t"][0] = -1
        other.replace_dataset("c", day(80))
        store.replace_dataset("b", day(90))
        store.add_xr_dataset(day(40), "e")
        other.flush()
        store.flush()
        assert firsts(store) == firsts(Atlas.open(storage)) == {"a": -1, "b": 90, "c": 80, "d": 30, "e": 40}
        assert store.verify().ok

    def test_refresh_keeps_the_replacement(self, storage, store, other):
        other["b"].set_attribute("theirs", 1)
        other["b"]["t"][0] = -1
        other.flush()
        store.replace_dataset("b", day(90))
        with pytest.raises(ConflictError):
            store.flush()
        store.refresh()
        store.flush()
        assert firsts(Atlas.open(storage)) == {"a": 0.0, "b": 90.0, "c": 20.0}
        assert dict(Atlas.open(storage)["b"].attrs) == {}

    def test_a_compaction_meanwhile(self, storage, store, other):
        store.replace_dataset("b", day(90))
        other.add_xr_dataset(day(30), "d")
        other.compact()
        store.flush()
        assert firsts(Atlas.open(storage)) == {"a": 0, "b": 90, "c": 20, "d": 30}

    def test_datasets_without_arrays(self, storage):
        store = Atlas.create(storage)
        store.add_xr_dataset(xr.Dataset(attrs={"x": 1}), "a")
        store.flush()
        other = Atlas.open(storage)
        other.replace_dataset("a", xr.Dataset(attrs={"y": 1}))
        store["a"].set_attribute("z", 1)
        other.flush()
        with pytest.raises(ConflictError, match="'a': it was replaced there"):
            store.flush()
        store.refresh()
        store.flush()
        assert dict(Atlas.open(storage)["a"].attrs) == {"y": 1, "z": 1}
