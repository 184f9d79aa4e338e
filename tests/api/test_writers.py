"""Several handles on one store: the changes of each are committed, and conflicts are reported and kept."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from atlas import Atlas, session
from atlas.catalog.datasets import Datasets
from atlas.commit import partial_chunk_merge, tip
from atlas.commit.commit_log import CommitLog
from atlas.errors import ConflictError, CorruptStoreError, StaleHandleError, VersionNotFoundError
from atlas.maintenance import gc
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage.memory import MemoryStorage
from tests.independent_reader import read_catalog


@pytest.fixture
def storage():
    return MemoryStorage()


def add(store, name, *, array="t", cells=(1, 2, 3, 4)):
    view = store.create_dataset(name)
    view.define_array(array, "int16", ["x"], [len(cells)], [2], fill_value=-1)
    view.write_array(array, [0], np.array(cells, "i2"))
    return view


def write(store, name, start, *cells, array="t"):
    store.open_dataset(name).write_array(array, [start], np.array(cells, "i2"))


def contents(store):
    return {
        name: {array: store.open_dataset(name).read_array(array).tolist() for array in view.list_arrays()}
        | dict(view.attributes())
        for name in store.list_datasets()
        for view in [store.open_dataset(name)]
    }


@pytest.fixture
def pair(storage):
    """Two handles on a store that holds the datasets `a` and `b`."""
    first = Atlas.create(storage)
    for name in "ab":
        add(first, name).set_attribute("site", name)
    first.flush()
    return first, Atlas.open(storage)


def land(storage, first, second):
    """Flush both, the second on top of the first, and return what every handle then shows."""
    first.flush()
    second.flush()
    first.refresh()
    assert first.version == second.version
    assert contents(first) == contents(second) == contents(Atlas.open(storage))
    return contents(first)


class TestBothLand:
    def test_new_datasets(self, storage, pair):
        first, second = pair
        add(first, "mine", cells=(5, 6))
        add(second, "theirs", cells=(7, 8, 9))
        found = land(storage, first, second)
        assert list(found) == ["a", "b", "mine", "theirs"]
        assert (found["mine"], found["theirs"]) == ({"t": [5, 6]}, {"t": [7, 8, 9]})

    def test_new_datasets_in_pages(self, storage, pair):
        first, second = pair
        first._session.log.limits = second._session.log.limits = Limits(page_rows=2)
        for at in range(5):
            add(first, f"m{at}", cells=(at, at))
            add(second, f"t{at}", cells=(-at, at))
        found = land(storage, first, second)
        assert [found[f"m{at}"]["t"] + found[f"t{at}"]["t"] for at in range(5)] == [
            [at, at, -at, at] for at in range(5)
        ]
        assert len(storage.list("pages")) == 2

    def test_many_times_in_turn(self, storage, pair):
        first, second = pair
        for at in range(20):
            add(first, f"m{at}", cells=(at, 1))
            add(second, f"t{at}", cells=(at, 2))
            if at % 3:
                first.flush()
            second.flush()
        found = land(storage, first, second)
        assert {name: found[name]["t"] for name in found if name not in "ab"} == {
            f"{who}{at}": [at, number] for at in range(20) for who, number in (("m", 1), ("t", 2))
        }

    def test_different_datasets(self, storage, pair):
        first, second = pair
        write(first, "a", 0, 7)
        write(second, "b", 1, 8)
        first.open_dataset("a").set_attribute("site", "x")
        second.open_dataset("b").set_attribute("site", "y")
        assert land(storage, first, second) == {
            "a": {"t": [7, 2, 3, 4], "site": "x"},
            "b": {"t": [1, 8, 3, 4], "site": "y"},
        }

    def test_different_arrays_of_one_dataset(self, storage, pair):
        first, second = pair
        first.open_dataset("a").define_array("u", "int16", ["x"], [2])
        write(first, "a", 0, 5, 6, array="u")
        write(second, "a", 0, 9)
        second.open_dataset("a").define_array("v", "int16", ["x"], [1])
        found = land(storage, first, second)["a"]
        assert found == {"t": [9, 2, 3, 4], "u": [5, 6], "v": [0], "site": "a"}
        assert list(found) == ["t", "u", "v", "site"]

    def test_different_chunks_of_one_array(self, storage, pair):
        first, second = pair
        write(first, "a", 0, 7, 8)
        write(second, "a", 3, 9)
        assert land(storage, first, second)["a"]["t"] == [7, 8, 3, 9]

    def test_different_attributes_of_one_dataset(self, storage, pair):
        first, second = pair
        first.open_dataset("a").set_attribute("one", 1)
        first.open_dataset("a").delete_attribute("site")
        second.open_dataset("a").set_attribute("two", 2)
        assert land(storage, first, second)["a"] == {"t": [1, 2, 3, 4], "one": 1, "two": 2}

    def test_the_same_attribute_with_the_same_value(self, storage, pair):
        first, second = pair
        for store in pair:
            store.open_dataset("a").set_attribute("k", 1.5)
        assert land(storage, first, second)["a"]["k"] == 1.5

    def test_deletions(self, storage, pair):
        first, second = pair
        first.delete_dataset("a")
        second.delete_dataset("a")
        second.delete_dataset("b")
        assert land(storage, first, second) == {}

    def test_a_name_that_was_deleted_there_and_is_used_here(self, storage, pair):
        first, second = pair
        first.delete_dataset("a")
        second.delete_dataset("a")
        add(second, "a", cells=(5,))
        assert land(storage, first, second)["a"] == {"t": [5]}

    def test_an_array_that_both_delete(self, storage, pair):
        first, second = pair
        for store in pair:
            store.open_dataset("a").delete_array("t")
        assert land(storage, first, second)["a"] == {"site": "a"}

    def test_writes_beside_a_compaction(self, storage, pair):
        first, second = pair
        add(first, "c")
        first.flush()
        write(second, "a", 1, 9)
        add(second, "d", cells=(3, 3))
        first.delete_dataset("c")
        first.compact()
        found = land(storage, first, second)
        assert (found["a"]["t"], found["d"]["t"], "c" in found) == ([1, 9, 3, 4], [3, 3], False)

    def test_writes_beside_flushes_that_join_segments(self, storage, pair):
        first, second = pair
        write(second, "b", 0, 5)
        for at in range(12):
            add(first, f"n{at}", cells=(at, at))
            first.flush()
        found = land(storage, first, second)
        assert (found["b"]["t"], found["n11"]["t"]) == ([5, 2, 3, 4], [11, 11])
        assert len(first._session.catalog.segments["t"]) < 12

    def test_a_joined_segment_never_covers_newer_chunks(self, storage, pair):
        first, second = pair
        for at in range(3):
            add(first, f"n{at}")
            first.flush()
        second.refresh()
        write(first, "a", 0, 77)
        add(second, "m")  # this flush joins the segments that hold `a` as it was
        assert land(storage, first, second)["a"]["t"] == [77, 2, 3, 4]

    def test_a_segment_that_is_written_while_a_compaction_looks_is_written_anew(self, storage, pair):
        first, second = pair
        add(second, "late", cells=(6, 7))
        create = storage.create

        def compact_first(key, data):
            if key.startswith("commits/") and not done:
                done.append(storage.list("arrays"))
                first.compact(keep_versions=1, keep_days=0)
            return create(key, data)

        done = []
        storage.create = compact_first
        second.flush()
        del storage.create
        assert len(done) == 1
        assert not set(storage.list("arrays")) & (
            set(done[0]) - {ref.key for ref in first._session.catalog.segments["t"]}
        )
        assert contents(second) == contents(Atlas.open(storage))
        assert contents(second)["late"] == {"t": [6, 7]}


class TestRollbackBesideCompaction:
    def test_a_dataset_that_a_rollback_brings_back_keeps_its_cells(self, storage, pair):
        first, second = pair
        first.delete_dataset("a")
        first.flush()
        second.refresh()
        create = storage.create

        def roll_back_first(key, data):
            if key.startswith("commits/") and not done:
                done.append(key)
                second.rollback(1)
            return create(key, data)

        done = []
        storage.create = roll_back_first
        first.compact()
        del storage.create
        assert done
        first.refresh()
        for store in (first, Atlas.open(storage)):
            assert contents(store)["a"] == {"t": [1, 2, 3, 4], "site": "a"}
        first.compact(keep_versions=1, keep_days=0)
        assert contents(Atlas.open(storage))["a"] == {"t": [1, 2, 3, 4], "site": "a"}


class TestCollisions:
    """The error names the conflict, nothing of the flush is stored, and the handle keeps its pending changes."""

    def collide(self, storage, first, second, *collisions):
        first.flush()
        before, shown, version = {key: storage.read(key) for key in storage.list()}, contents(second), second.version
        with pytest.raises(ConflictError, match=r"refresh\(\)") as caught:
            second.flush()
        assert caught.value.collisions == collisions
        assert isinstance(caught.value, RuntimeError)
        for dataset, array in collisions:
            assert repr(dataset) in str(caught.value)
            assert array is None or repr(array) in str(caught.value)
        assert {key: storage.read(key) for key in storage.list()} == before
        assert (contents(second), second.version) == (shown, version)

    def settle(self, storage, second):
        """Retry after a refresh, as the error says."""
        second.refresh()
        shown = contents(second)
        second.flush()
        assert contents(Atlas.open(storage)) == contents(second) == shown
        return shown

    def test_a_name(self, storage, pair):
        add(pair[0], "new", cells=(1,))
        add(pair[1], "new", cells=(2, 2))
        self.collide(storage, *pair, ("new", None))
        assert self.settle(storage, pair[1])["new"] == {"t": [2, 2]}
        assert contents(Atlas.open(storage, version=2))["new"] == {"t": [1]}

    def test_a_chunk(self, storage, pair):
        write(pair[0], "a", 0, 7)
        write(pair[1], "a", 1, 8)
        self.collide(storage, *pair, ("a", "t"))
        # The other's cells of that chunk are kept, for they were not written here.
        assert self.settle(storage, pair[1])["a"]["t"] == [7, 8, 3, 4]

    def test_cells_of_a_chunk(self, storage, pair):
        write(pair[0], "a", 0, 7, 7)
        write(pair[1], "a", 1, 8)
        write(pair[1], "b", 3, 6)
        self.collide(storage, *pair, ("a", "t"))
        found = self.settle(storage, pair[1])
        assert (found["a"]["t"], found["b"]["t"]) == ([7, 8, 3, 4], [1, 2, 3, 6])

    def test_a_chunk_that_was_written_whole_in_the_end(self, storage, pair):
        write(pair[0], "a", 0, 7, 7)
        for cells in ((1, 8), (0, 9)):
            write(pair[1], "a", *cells)
        write(pair[1], "a", 0, 5, 6)
        write(pair[1], "a", 1, 4)
        self.collide(storage, *pair, ("a", "t"))
        assert self.settle(storage, pair[1])["a"]["t"] == [5, 4, 3, 4]

    def test_a_chunk_whose_pending_cells_are_encoded(self, storage, pair):
        write(pair[0], "a", 0, 7, 7)
        write(pair[1], "a", 1, 8)
        pair[1]._session.writes.by_array["t"].encode()
        write(pair[1], "b", 1, 8)
        self.collide(storage, *pair, ("a", "t"))
        assert self.settle(storage, pair[1])["a"]["t"] == [7, 8, 3, 4]

    def test_strings_of_a_chunk(self, storage):
        first = Atlas.create(storage)
        view = first.create_dataset("d")
        view.define_array("s", "string", ["x"], [3])
        view.write_array("s", [0], np.array(["a", "b", "c"], object))
        first.flush()
        second = Atlas.open(storage)
        for at, store in enumerate((first, second)):
            store.open_dataset("d").write_array("s", [at], np.array(["é" * (at + 1)], object))
        self.collide(storage, first, second, ("d", "s"))
        assert self.settle(storage, second)["d"]["s"] == ["é", "éé", "c"]

    def test_an_attribute(self, storage, pair):
        for at, store in enumerate(pair):
            store.open_dataset("a").set_attribute("k", [1, True][at])
        self.collide(storage, *pair, ("a", None))
        assert self.settle(storage, pair[1])["a"]["k"] is True

    def test_a_declaration(self, storage, pair):
        for at, store in enumerate(pair):
            store.open_dataset("a").define_array("u", "int16", ["x"], [at + 1])
            write(store, "a", 0, *range(at + 1), array="u")
        self.collide(storage, *pair, ("a", "u"))
        assert self.settle(storage, pair[1])["a"]["u"] == [0, 1]

    def test_equal_declarations_hold_other_cells(self, storage, pair):
        for at, store in enumerate(pair):
            store.open_dataset("a").define_array("u", "int16", ["x"], [4], [2])
            write(store, "a", 2 * at, at + 5, array="u")
        self.collide(storage, *pair, ("a", "u"))
        assert self.settle(storage, pair[1])["a"]["u"] == [0, 0, 6, 0]

    def test_a_dataset_that_was_changed_there_and_deleted_here(self, storage, pair):
        pair[0].open_dataset("a").set_attribute("k", 1)
        pair[1].delete_dataset("a")
        self.collide(storage, *pair, ("a", None))
        assert list(self.settle(storage, pair[1])) == ["b"]

    def test_a_dataset_that_was_written_there_and_deleted_here(self, storage, pair):
        write(pair[0], "a", 0, 7)
        pair[1].delete_dataset("a")
        self.collide(storage, *pair, ("a", "t"))
        assert list(self.settle(storage, pair[1])) == ["b"]

    def test_an_array_that_was_written_there_and_deleted_here(self, storage, pair):
        write(pair[0], "a", 0, 7)
        pair[1].open_dataset("a").delete_array("t")
        self.collide(storage, *pair, ("a", "t"))
        assert self.settle(storage, pair[1])["a"] == {"site": "a"}

    @pytest.mark.parametrize("change", ["write", "attribute", "define"])
    def test_a_dataset_that_is_gone(self, storage, pair, change):
        pair[0].delete_dataset("a")
        view = pair[1].open_dataset("a")
        if change == "write":
            write(pair[1], "a", 0, 9)
        elif change == "attribute":
            view.set_attribute("k", 1)
        else:
            view.define_array("u", "int16", ["x"], [1])
        self.collide(storage, *pair, ("a", None))
        with pytest.raises(ConflictError, match="delete that here too") as caught:
            pair[1].refresh()
        assert caught.value.collisions == (("a", None),)
        assert pair[1].version == 1
        pair[1].delete_dataset("a")
        assert list(self.settle(storage, pair[1])) == ["b"]

    def test_an_array_that_is_gone_or_another(self, storage, pair):
        pair[0].open_dataset("a").delete_array("t")
        pair[0].open_dataset("a").define_array("t", "int16", ["x"], [4], [2], fill_value=-1)
        write(pair[1], "a", 0, 9)
        self.collide(storage, *pair, ("a", "t"))
        with pytest.raises(ConflictError, match="written here"):
            pair[1].refresh()
        pair[1].open_dataset("a").delete_array("t")
        assert self.settle(storage, pair[1])["a"] == {"site": "a"}

    def test_an_array_that_came_and_went_there_leaves_no_cells(self, storage, pair):
        pair[0].open_dataset("a").define_array("u", "int16", ["x"], [4], [2])
        write(pair[0], "a", 0, 1, 2, 3, 4, array="u")
        pair[0].flush()
        pair[0].open_dataset("a").delete_array("u")
        pair[1].open_dataset("a").define_array("u", "int16", ["x"], [4], [2])
        write(pair[1], "a", 0, 9, array="u")
        assert land(storage, *pair)["a"]["u"] == [9, 0, 0, 0]

    def test_a_rollback(self, storage, pair):
        add(pair[0], "c")
        pair[0].flush()
        pair[1].refresh()
        write(pair[1], "a", 0, 9)
        add(pair[1], "d")
        pair[0].rollback(1)
        self.collide(storage, *pair, ("a", "t"))
        found = self.settle(storage, pair[1])
        assert (list(found), found["a"]["t"]) == (["a", "b", "d"], [9, 2, 3, 4])

    def test_many_are_counted(self, storage, pair):
        for store in pair:
            for at in range(8):
                add(store, f"n{at}")
        self_collisions = tuple((f"n{at}", None) for at in range(8))
        pair[0].flush()
        with pytest.raises(ConflictError, match=r"\(and 3 more\)") as caught:
            pair[1].flush()
        assert caught.value.collisions == self_collisions


class TestIsolation:
    def test_a_handle_shows_one_version_until_it_moves(self, storage, pair):
        first, second = pair
        before = contents(second)
        write(first, "a", 0, 9)
        add(first, "c")
        first.flush()
        first.delete_dataset("b")
        first.compact()
        assert (contents(second), second.version) == (before, 1)
        assert second.refresh() == second.version == first.version
        assert contents(second) == contents(first)
        assert second.refresh() == first.version

    def test_a_handle_reads_on_beside_compactions_that_keep_its_version(self, storage, pair):
        first, _ = pair
        versions = {}
        for at in range(6):
            write(first, "a", 0, at)
            first.flush()
            versions[first.version] = Atlas.open(storage)
        first.compact(keep_versions=4, keep_days=0)
        kept = {version: store for version, store in versions.items() if version > first.version - 4}
        assert len(kept) == 3
        for version, store in kept.items():
            assert contents(store)["a"]["t"] == [version - 2, 2, 3, 4]
            assert contents(Atlas.open(storage, version=version)) == contents(store)

    def test_pending_changes_are_seen_through_a_refresh(self, storage, pair):
        first, second = pair
        add(second, "mine", cells=(4, 5))
        second.open_dataset("a").set_attribute("k", 1)
        write(second, "b", 3, 6)
        second.delete_dataset("a")
        add(first, "theirs")
        first.flush()
        second.refresh()
        assert list(contents(second)) == ["b", "theirs", "mine"]
        assert (contents(second)["mine"]["t"], contents(second)["b"]["t"]) == ([4, 5], [1, 2, 3, 6])
        add(second, "more")
        second.flush()
        assert list(contents(Atlas.open(storage))) == ["b", "theirs", "mine", "more"]


class TestBesideCompactions:
    """A compaction that removes what a call is about to read, as the version that it was of is no longer kept."""

    @pytest.fixture
    def interrupt(self, monkeypatch):
        """Have a function do something else first, the first time it is called."""

        def interrupt(module, name, first):
            original, done = getattr(module, name), []

            def interrupted(*arguments, **keywords):
                if not done:
                    done.append(True)
                    first()
                return original(*arguments, **keywords)

            monkeypatch.setattr(module, name, interrupted)
            return done

        return interrupt

    def compacting(self, store):
        return lambda: store.compact(keep_versions=1, keep_days=0)

    def test_a_flush_that_cannot_tell_what_was_written_collides_and_lands_the_next_time(self, storage, pair, interrupt):
        first, second = pair
        write(first, "a", 0, 7)
        first.flush()
        write(second, "b", 0, 8)
        done = interrupt(tip, "load_segment", self.compacting(first))
        with pytest.raises(ConflictError, match="is no longer known") as caught:
            second.flush()
        assert done
        assert caught.value.collisions == (("b", "t"),)
        second.refresh()
        second.flush()
        assert (contents(second)["a"]["t"], contents(second)["b"]["t"]) == ([7, 2, 3, 4], [8, 2, 3, 4])
        assert contents(Atlas.open(storage)) == contents(second)

    @pytest.mark.parametrize(
        ("module", "where"),
        [(partial_chunk_merge, "load_chunk_index"), (partial_chunk_merge, "read_boxes"), (tip.Tip, "written_chunks")],
    )
    def test_a_refresh_moves_to_the_latest_version(self, storage, pair, interrupt, module, where):
        first, second = pair
        write(first, "a", 0, 7)
        first.flush()
        write(second, "a", 1, 8)
        write(second, "b", 1, 9)
        done = interrupt(module, where, self.compacting(first))
        assert second.refresh() == first.version
        assert done
        assert (contents(second)["a"]["t"], contents(second)["b"]["t"]) == ([7, 8, 3, 4], [1, 9, 3, 4])
        second.flush()
        assert contents(Atlas.open(storage)) == contents(second)

    def test_a_compaction_begins_anew(self, storage, pair, interrupt):
        first, second = pair
        for at in range(3):
            write(first, "a", 0, at)
            first.flush()
        expected = contents(first)
        done = interrupt(session, "compact_array", self.compacting(first))
        second.compact(keep_versions=1, keep_days=0)
        assert done
        assert contents(second) == contents(Atlas.open(storage)) == expected
        assert second.version == Atlas.open(storage).version

    def test_a_compaction_begins_anew_that_another_one_overtakes_in_the_end(self, storage, pair, monkeypatch):
        first, second = pair
        for at in range(6):
            write(first, "a", 0, at)
            first.flush()
        expected, opened, original = contents(first), [], gc.CommitLog.open

        def overtaken(storage, version=None, *others, **options):
            if version is not None:
                opened.append(version)
                if len(opened) == 2:  # the first is to see what that version needs
                    first.compact(keep_versions=2, keep_days=0)
            return original(storage, version, *others, **options)

        monkeypatch.setattr(gc.CommitLog, "open", overtaken)
        second.compact(keep_versions=3, keep_days=0)
        assert len(opened) > 2
        monkeypatch.undo()
        assert contents(second) == contents(Atlas.open(storage)) == expected
        assert second.version == Atlas.open(storage).version

    def test_a_rollback_says_that_the_version_is_not_kept(self, storage, interrupt, monkeypatch):
        monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=1))
        first = Atlas.create(storage)
        for name in "abc":
            add(first, name)
        first.flush()
        for name in "abc":  # so that the compaction writes all pages anew
            first.open_dataset(name).set_attribute("k", 1)
        first.flush()
        second = Atlas.open(storage)
        done = interrupt(session, "named_files", self.compacting(first))
        with pytest.raises(VersionNotFoundError, match="no version 1"):
            second.rollback(1)
        assert done
        assert list(contents(Atlas.open(storage))) == ["a", "b", "c"]

    def test_damage_is_still_reported(self, storage, pair):
        first, second = pair
        write(first, "a", 0, 7)
        first.flush()
        known = second._session.catalog.segments["t"]
        storage.delete([ref.key for ref in first._session.catalog.segments["t"] if ref not in known])
        write(second, "a", 3, 8)
        for call in (second.flush, second.refresh, second.compact):
            with pytest.raises(CorruptStoreError, match="missing"):
                call()


class TestCost:
    """A flush that is overtaken reads no more than it must, or it would be overtaken again while it reads."""

    @pytest.fixture
    def read(self, monkeypatch):
        """The segments that were read to find collisions."""
        found, original = [], tip.load_segment

        def noting(storage, ref):
            found.append(ref.key)
            return original(storage, ref)

        monkeypatch.setattr(tip, "load_segment", noting)
        return found

    def test_new_datasets_need_nothing_of_what_others_wrote(self, storage, pair, read):
        first, second = pair
        write(first, "a", 0, 7)
        add(second, "new", cells=(5, 6))
        second.open_dataset("b").set_attribute("k", 1)
        found = land(storage, first, second)
        assert (found["new"], found["b"]["k"], found["a"]["t"]) == ({"t": [5, 6]}, 1, [7, 2, 3, 4])
        assert not read

    def test_a_compaction_that_is_overtaken_repeatedly_reads_each_commit_once(self, storage, pair):
        first, second = pair
        for at in range(40):
            write(first, "a", 0, at)
            first.flush()
        create, rivals, reads, original = storage.create, [], [], storage.read

        def beat_first(key, data):
            if key.startswith("commits/") and len(rivals) < 6:
                rivals.append(key)
                storage.create = create
                first.open_dataset("b").set_attribute("k", len(rivals))
                first.flush()
                storage.create = beat_first
            return create(key, data)

        def counted(key):
            reads.append(key)
            return original(key)

        storage.create, storage.read = beat_first, counted
        second.compact()
        storage.create, storage.read = create, original
        assert len(rivals) == 6
        assert sum(key.startswith("commits/") for key in reads) < 3 * 47
        assert contents(second) == contents(Atlas.open(storage))
        assert contents(second)["a"]["t"] == [39, 2, 3, 4]

    def test_a_flush_that_is_overtaken_repeatedly_reads_each_segment_once(self, storage, pair, read):
        first, second = pair
        write(second, "b", 0, 8)
        create, rivals = storage.create, []

        def beat_first(key, data):
            if key.startswith("commits/") and len(rivals) < 6:
                rivals.append(key)
                storage.create = create
                write(first, "a", 0, len(rivals))
                first.flush()
                storage.create = beat_first
            return create(key, data)

        storage.create = beat_first
        second.flush()
        storage.create = create
        assert len(rivals) == 6
        assert len(read) == len(set(read)) == 6
        assert (contents(second)["a"]["t"], contents(second)["b"]["t"]) == ([6, 2, 3, 4], [8, 2, 3, 4])
        assert contents(Atlas.open(storage)) == contents(second)


class TestNumbersThatWereFreed:
    """A late writer takes, for a moment or until it is killed, the number of a commit that is not kept."""

    LATE = "commits/00000000000000000002.json"

    @pytest.fixture
    def crossed(self, storage, pair):
        """A handle on a store in which a late commit has the number of version 2, and one at version 1.

        The checkpoint is of version 1 too, as another late writer may leave it.
        """
        first, second = pair
        begun = Atlas.open(storage)
        begun._session.committer.writer.checkpoint(begun._session.catalog, force=True)
        checkpoint = storage.read("atlas.json")
        write(first, "a", 0, 7)
        first.delete_dataset("b")
        first.flush()
        first.compact(keep_versions=1, keep_days=0)
        add(first, "d")
        first.flush()
        assert storage.list("commits") == [f"commits/{version:020d}.json" for version in (3, 4)]
        add(second, "late")
        delete = storage.delete
        storage.delete = lambda keys: delete([key for key in keys if key != self.LATE])
        second.flush()
        storage.delete = delete
        assert contents(second) == contents(Atlas.open(storage))
        assert storage.list("commits")[0] == self.LATE
        storage.replace("atlas.json", checkpoint)
        return second, begun

    def test_a_handle_that_is_refreshed_does_not_see_it(self, storage, crossed):
        store, begun = crossed
        assert begun.refresh() == store.version
        assert contents(begun) == contents(store)

    def test_a_flush_lands_on_top_of_what_is_kept(self, storage, crossed):
        store, begun = crossed
        add(begun, "new")
        begun.flush()
        store.refresh()
        assert contents(begun) == contents(store) == contents(Atlas.open(storage))
        assert list(contents(store)) == ["a", "d", "late", "new"]

    def test_a_store_that_is_opened_does_not_show_it(self, storage, crossed):
        store, _ = crossed
        assert contents(Atlas.open(storage)) == contents(store)

    @pytest.mark.parametrize("version", [1, 2])
    def test_it_is_no_version_that_can_be_opened(self, storage, crossed, version):
        with pytest.raises(VersionNotFoundError, match=f"no version {version}: it keeps versions 3 to 5"):
            Atlas.open(storage, version=version)

    def test_versions_that_are_kept_are_opened(self, storage, crossed):
        assert [Atlas.open(storage, version=version).list_datasets() for version in (3, 4, 5)] == [
            ["a"], ["a", "d"], ["a", "d", "late"],
        ]  # fmt: skip

    def test_a_compaction_does_not_go_by_it(self, storage, pair, monkeypatch):
        first, second = pair
        for at in range(6):
            write(first, "a", 0, at)
            first.flush()
        original, read = gc.CommitLog.commits, []

        def overtaken(log, begin, last):
            commits = original(log, begin, last)
            read.append(begin)
            if len(read) == 1:
                first.compact(keep_versions=4, keep_days=0)
            return commits

        monkeypatch.setattr(gc.CommitLog, "commits", overtaken)
        second.compact(keep_versions=5, keep_days=0)
        monkeypatch.undo()
        assert read[:2] == [1, 1]  # of the two compactions
        assert min(read[2:]) > 1
        found = [Atlas.open(storage, version=version.version) for version in second.history()]
        assert len(found) >= 4
        assert {contents(store)["a"]["t"][0] for store in found} <= {3, 4, 5}

    def test_a_history_does_not_list_it(self, storage, pair, monkeypatch):
        first, second = pair
        write(first, "a", 0, 7)
        first.flush()
        second.refresh()
        original, read = CommitLog.commits, []

        def overtaken(log, begin, last):
            commits = original(log, begin, last)
            read.append(begin)
            if len(read) == 1:
                first.compact(keep_versions=1, keep_days=0)
            return commits

        monkeypatch.setattr(CommitLog, "commits", overtaken)
        with pytest.raises(StaleHandleError):
            second.history()

    def test_a_reader_by_the_specification_does_not_see_it(self, storage, crossed):
        store, _ = crossed
        catalog = read_catalog(storage.read)
        assert catalog.version == store.version
        assert [dataset.name for dataset in catalog.datasets.values()] == store.list_datasets()


@pytest.mark.usefixtures("keyboard")
def test_an_interrupt_as_a_handle_moves_on_leaves_it_at_the_later_version(storage, monkeypatch):
    store = Atlas.create(storage)
    other = Atlas.open(storage)
    add(other, "a")
    other.flush()
    move_to = Datasets.move_to

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        move_to(self, *arguments)

    monkeypatch.setattr(Datasets, "move_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.refresh()
    monkeypatch.undo()
    assert store.version == 1
    assert store["a"].read_array("t").tolist() == [1, 2, 3, 4]
    add(store, "b")
    store.flush()
    assert Atlas.open(storage).list_datasets() == ["a", "b"]
