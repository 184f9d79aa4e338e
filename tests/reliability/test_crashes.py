"""The enumeration of crashes: that it is run, sees what it shall see, and finds what is broken on purpose."""

from __future__ import annotations

import os
from functools import partial
from itertools import product

import pytest

from atlas import Atlas
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.stored_chunks import StoredCoordinates
from atlas.format.digests import NO_DIGESTS
from atlas.runtime.limits import Limits
from atlas.storage import LocalStorage
from atlas.storage.durable import sync_folder
from tests.reliability import crashes
from tests.reliability.disks import Disk, Named, Synced, Written, build
from tests.reliability.enumeration import AXIS, Broken, enumerate_crashes
from tests.reliability.recording import Recorder
from tests.reliability.scripts import Script
from tests.reliability.sharing import SHARING
from tests.reliability.twins import content

pytestmark = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="what is recorded is what Linux does")


def test_after_every_crash_the_store_is_as_before_or_as_after():
    figures = crashes.run(full=False)
    assert figures["crash points"] > 80
    assert figures["disk states"] > 10**6


def play(name, **changes):
    enumerate_crashes(*crashes.SCENARIOS[name], **changes)


def play_once(name, place):
    """Play a script without its crashes, and return what it has made."""
    script, limits = crashes.SCENARIOS[name]
    recorder = Recorder(place)
    with pytest.MonkeyPatch.context() as patches, recorder.recording():
        patches.setattr("atlas.runtime.limits.DEFAULT", Limits(**limits))
        made = Script(place / "store", recorder)
        script(made)
    return made


def gathering_few(s):
    """Two packs of two commits each."""
    s.create()
    for at in range(5):
        s.dataset(f"d{at}", number=at)
        s.flush()
    s.from_here()
    s.compact()


def held_in_all_versions(place):
    """What the store holds, once each version that it keeps was read too."""
    store = Atlas.open(place)
    for version in store.history():
        assert len(Atlas.open(place, version=version.version)) == min(version.version, 5)
    return content(store)


def test_after_every_crash_while_commits_are_gathered_all_versions_are_there(monkeypatch):
    monkeypatch.setattr("tests.reliability.enumeration._held", held_in_all_versions)
    figures = enumerate_crashes(gathering_few, {"pack_commits": 2})
    assert figures.points > 5


@pytest.mark.parametrize("name", SHARING)
def test_scripts_of_shared_chunks_share_them_and_lose_none(name, tmp_path):
    made = play_once(name, tmp_path)
    opened = Atlas.open(tmp_path / "store")
    assert content(opened) == made.flushed()
    assert opened.verify().ok


class TestBrokenOnPurpose:
    """Each promise rests on a step; without it the enumeration must find a crash that loses something."""

    def test_data_that_nobody_waited_for(self, monkeypatch):
        monkeypatch.setattr("atlas.storage.sync_queue.sync_file", lambda descriptor: None)
        with pytest.raises(Broken, match=r"within create.*atlas\.json is damaged"):
            play("creating")

    @pytest.mark.parametrize("name", ["flushing", "spilling", "joining"])
    def test_segments_whose_data_nobody_waited_for(self, name, monkeypatch):
        monkeypatch.setattr("atlas.storage.sync_queue._UnsyncedFile.sync", lambda self: None)
        # So that no sync is left but that of the flush itself.
        monkeypatch.setattr(LocalStorage, "sync_early", lambda self, file: None)
        with pytest.raises(Broken, match=r"CorruptStoreError: .*\.seg"):
            play(name)

    def test_names_that_nobody_waited_for(self, monkeypatch):
        monkeypatch.setattr("atlas.storage.sync_queue.sync_folder", lambda folder: None)
        with pytest.raises(Broken, match="flush"):
            play("flushing")

    def test_a_commit_whose_name_nobody_waited_for(self, monkeypatch):
        def sync_others(folder):
            if not folder.endswith("commits"):
                sync_folder(folder)

        monkeypatch.setattr("atlas.storage.local.sync_folder", sync_others)
        with pytest.raises(Broken, match="after the end of flush"):
            play("flushing")

    def test_a_commit_before_its_segments(self, monkeypatch):
        monkeypatch.setattr(LocalStorage, "_sync_pending", lambda self, temporary: os.fsync(temporary.fileno()))
        with pytest.raises(Broken, match="CorruptStoreError"):
            play("flushing")

    def test_a_root_whose_name_nobody_waited_for(self, monkeypatch):
        original = LocalStorage.make_root
        monkeypatch.setattr(
            LocalStorage, "make_root", lambda self: original(LocalStorage(self.path, durable=False)) and None
        )
        with pytest.raises(Broken, match="after the end of create"):
            play("creating")

    def test_a_folder_made_by_others_whose_name_nobody_waited_for(self, monkeypatch):
        monkeypatch.setattr("atlas.storage.local.sync_ancestors", lambda folder: None)
        with pytest.raises(Broken, match="after the end of create"):
            play("creating", after_kills=crashes.going_on)

    def test_a_commit_upon_one_whose_name_nobody_waited_for(self, monkeypatch):
        monkeypatch.setattr("atlas.storage.sync_queue.SyncQueue.add_names", lambda self, folder: None)
        with pytest.raises(Broken, match="within flush"):
            enumerate_crashes(one_flush, {}, after_kills=one_flush)

    def test_a_checkpoint_that_is_removed_before_it_is_replaced(self, monkeypatch):
        original = LocalStorage.replace

        def replace(self, key, data):
            self.delete([key])
            original(self, key, data)

        monkeypatch.setattr(LocalStorage, "replace", replace)
        with pytest.raises(Broken):
            play("checkpointing")

    def test_commits_that_are_removed_before_their_pack_lasts(self, monkeypatch):
        original = LocalStorage.create

        def create(self, key, data):
            if not key.startswith("packs/"):
                return original(self, key, data)
            self.write(key, [data])
            return True

        monkeypatch.setattr(LocalStorage, "create", create)
        monkeypatch.setattr("tests.reliability.enumeration._held", held_in_all_versions)
        with pytest.raises(Broken, match=r"within compact.*(missing|damaged)"):
            enumerate_crashes(gathering_few, {"pack_commits": 2})

    def test_commits_that_are_removed_before_a_later_base_lasts(self, monkeypatch):
        original = CommitWriter.advance_base

        def advance_base(self, *arguments):
            self.log.storage.delete(self.log.storage.list("commits")[:-1])
            return original(self, *arguments)

        monkeypatch.setattr(CommitWriter, "advance_base", advance_base)
        with pytest.raises(Broken, match="within compact"):
            play("compacting_again")

    def test_a_segment_that_shares_what_is_joined_away(self, monkeypatch):
        monkeypatch.setattr(
            StoredCoordinates, "finder", lambda self, array, *_: partial(self._are_stored, array, (), NO_DIGESTS)
        )
        with pytest.raises(Broken, match=r"CorruptStoreError: .* shares"):
            enumerate_crashes(flushes_that_share, {"digested_bytes": 8, "joined_at_once": 2})

    def test_leftovers_that_are_not_swept(self, monkeypatch):
        monkeypatch.setattr(LocalStorage, "list_orphans", lambda self: [])
        with pytest.raises(Broken, match="left"):
            play("flushing")


def flushes_that_share(script):
    script.create()
    for name in "abc":
        script.dataset(name)
        script.coordinate(name, "x", AXIS)
        script.flush()


def one_flush(script):
    if script.store is None:
        script.create()
    script.dataset(f"after {len(script.model.flushed)}", number=1)
    script.flush()


def test_a_commit_that_the_next_process_sees_lasts_as_long_as_what_is_built_upon_it():
    enumerate_crashes(one_flush, {}, after_kills=one_flush)


def test_a_flush_whose_commit_may_not_last_does_not_return():
    """The commit got its name, then the wait for that name failed: found in place, it is waited for again."""
    play("flush_with_link_failing_late")


def test_what_is_not_opened_is_decided_rightly(tmp_path):
    """Every combination of a small flush, opened one by one, without the argument that saves most of them."""
    world = tmp_path / "world"
    world.mkdir()
    recorder = Recorder(world)
    script = Script(world / "store", recorder)
    with recorder.recording():
        script.create()
        script.from_here()
        script.dataset("a", number=1)
        script.array("a", "t", crashes.noise(1, 3))
        script.flush()
    disk, opened = Disk(), set()
    for at, effect in enumerate(recorder.effects, 1):
        disk.apply(effect)
        if at <= script.first:
            continue
        names = [(folder, name) for folder, names in disk.names.items() for name in names]
        variables = [variable for variable in [*names, *disk.data] if len(disk.options(variable)) > 1]
        for values in product(*map(disk.options, variables)):
            tree = disk.tree(dict(zip(variables, values, strict=True)))[0]
            key = tuple(sorted(tree.items()))
            if key in opened:
                continue
            opened.add(key)
            place = tmp_path / str(len(opened))
            place.mkdir()
            build(tree, place)
            assert content(Atlas.open(place / "store")) in script.allowed(at)[1]
    assert len(opened) > 100


class TestDisk:
    def disk(self, *effects):
        disk = Disk()
        for effect in effects:
            disk.apply(effect)
        return disk

    def test_a_name_that_was_not_waited_for_is_there_or_not(self):
        disk = self.disk(Named(0, {"x": 1}))
        assert disk.options((0, "x")) == [1, None]
        disk.apply(Synced(0))
        assert disk.options((0, "x")) == [1]
        disk.apply(Named(0, {"x": None}))
        assert disk.options((0, "x")) == [None, 1]

    def test_a_replaced_name_is_never_neither(self):
        disk = self.disk(Named(0, {"x": 1}), Synced(0), Named(0, {"y": 2}), Named(0, {"y": None, "x": 2}))
        assert disk.options((0, "x")) == [2, 1]
        assert disk.options((0, "y")) == [None, 2]

    def test_data_that_were_not_waited_for_are_torn(self):
        disk = self.disk(Named(0, {"x": 1}), Written(1, b"abcd"))
        assert set(disk.options(1)) == {b"abcd", b"ab", b"\0\0\0\0", b"\0\0cd", b""}
        disk.apply(Synced(1))
        assert disk.options(1) == [b"abcd"]
        disk.apply(Written(1, b"abcdef"))
        assert set(disk.options(1)) == {b"abcdef", b"abcde", b"abcd\0\0", b"abcd\0f", b"abcd"}

    def test_what_is_in_a_folder_goes_with_it(self):
        disk = self.disk(
            Named(0, {"f": 1}, new_folder=True), Named(1, {"x": 2}), Written(2, b"a"), Synced(2), Synced(1)
        )
        assert disk.tree({})[0] == {"f": None, "f/x": b"a"}
        assert disk.tree({(0, "f"): None})[0] == {}
        assert disk.combinations() == 2


class TestRecorder:
    def test_an_effect_that_is_missed_is_an_error(self, tmp_path):
        recorder = Recorder(tmp_path)
        with pytest.raises(AssertionError, match="x"), recorder.recording():
            (tmp_path / "x").write_bytes(b"1")

    def test_a_spilled_segment_is_seen_to_get_its_name(self, tmp_path):
        recorder = Recorder(tmp_path)
        script = Script(tmp_path / "store", recorder)
        original = os.link
        with pytest.MonkeyPatch.context() as patches, recorder.recording():
            patches.setattr("atlas.runtime.limits.DEFAULT", Limits(**crashes.SCENARIOS["spilling"][1]))
            crashes.SCENARIOS["spilling"][0](script)
        assert os.link is original
        names = [name for effect in recorder.effects if isinstance(effect, Named) for name in effect.changes]
        segments = [name for name in names if name.endswith(".seg")]
        adopted = 0
        for segment in segments:
            at = next(i for i, e in enumerate(recorder.effects) if isinstance(e, Named) and segment in e.changes)
            number = recorder.effects[at].changes[segment]
            assert any(isinstance(e, Written) and e.file == number for e in recorder.effects[:at])
            # Its data were there before it had a name, not even a temporary one.
            adopted += sum(number in e.changes.values() for e in recorder.effects if isinstance(e, Named)) == 1
        assert adopted == len(segments) == 3
