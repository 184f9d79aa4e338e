"""Commits of the past are gathered in packs: what finds them there, and who loses against one."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import atlas
from atlas import Atlas, Limits
from atlas.commit import packs
from atlas.commit.commit_log import CommitLog
from atlas.commit.commit_writer import CommitWriter
from atlas.errors import ConflictError, CorruptStoreError, InvalidValueError, StorageError, VersionNotFoundError
from atlas.storage import MemoryStorage
from tests.independent_reader import read_catalog

OF_FOUR = Limits(pack_commits=4)
ENCODINGS = [(form, packed) for form in ("json", "msgpack") for packed in ("none", "zstd", "lz4")]


@pytest.fixture
def storage():
    return MemoryStorage()


def flush(store, *names):
    """One flush for each name."""
    for name in names:
        view = store.create_dataset(name)
        view.define_array("t", "int32", ["x"], [3])
        view.write_array("t", [0], np.full(3, len(store), "i4"))
        view.set_attribute("name", name)
        store.flush(message=f"adds {name}")


def contents(store):
    return {
        name: (store.open_dataset(name).read_array("t").tolist(), store.open_dataset(name).attributes())
        for name in store
    }


def numbers(storage, folder):
    return sorted(int(key.rpartition("/")[2].partition(".")[0]) for key in storage.list(folder))


def gathered(storage, count=10, **options):
    """A store of `count` versions, and one more if a compaction made one, gathered in packs of four."""
    store = Atlas.create(storage, limits=OF_FOUR, **options)
    flush(store, *(f"d{at}" for at in range(count)))
    store.compact()
    return store


@pytest.mark.parametrize(("form", "packed"), ENCODINGS)
def test_every_version_is_found_in_packs(storage, form, packed):
    store = Atlas.create(storage, limits=OF_FOUR, meta_format=form, meta_compression=packed)
    flush(store, *(f"d{at}" for at in range(10)))
    expected = {version: contents(Atlas.open(storage, version=version)) for version in range(11)}
    history = [str(version) for version in store.history()]
    store.compact()
    assert numbers(storage, "packs") == [4, 8]
    assert numbers(storage, "commits") == [9, 10, 11]
    for version, content in expected.items():
        assert contents(Atlas.open(storage, version=version)) == content
        independent = read_catalog(storage.read, version)
        assert {dataset.name for dataset in independent.datasets.values()} == set(content)
    assert [str(version) for version in Atlas.open(storage).history()][:11] == history
    assert [str(version) for version in store.history()][:11] == history
    assert Atlas.open(storage).verify().ok
    assert Atlas.open(storage).verify().orphans == 0
    store.rollback(3)
    assert contents(store) == contents(Atlas.open(storage)) == expected[3]


def test_a_compaction_gathers_each_commit_once(storage, monkeypatch):
    store = gathered(storage)
    created = []
    create = MemoryStorage.create
    monkeypatch.setattr(MemoryStorage, "create", lambda self, key, data: created.append(key) or create(self, key, data))
    store.compact()
    assert created == []
    flush(store, "e1")
    store.compact()
    assert [key for key in created if key.startswith("packs/")] == [storage.list("packs")[-1]]
    assert numbers(storage, "packs") == [4, 8, 12]


def test_packs_of_versions_that_are_given_up_go(storage):
    store = gathered(storage, 14)
    assert numbers(storage, "packs") == [4, 8, 12]
    store.compact(keep_versions=6, keep_days=0)
    assert store.history()[0].version == store.version - 5 == 11
    assert numbers(storage, "packs") == [12, 16]
    assert contents(Atlas.open(storage, version=11)).keys() == {f"d{at}" for at in range(11)}
    for version in (4, 10):
        with pytest.raises(VersionNotFoundError):
            Atlas.open(storage, version=version)
    store.compact(keep_days=0)
    assert numbers(storage, "packs") == []
    assert numbers(storage, "commits") == [store.version]
    flush(store, *(f"e{at}" for at in range(7)))
    store.compact()  # the first run now begins amid a pack
    assert contents(Atlas.open(storage, version=18)).keys() == {*store} - {f"e{at}" for at in range(1, 7)}
    assert Atlas.open(storage).verify().ok


def test_a_handle_left_behind_moves_through_packs(storage):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, "d0", "d1")
    behind, writer = Atlas.open(storage), Atlas.open(storage)
    flush(store, *(f"d{at}" for at in range(2, 13)))
    store.compact()
    assert behind.refresh() == store.version
    assert contents(behind) == contents(store)
    # All commits are known, so a change of what existed before is no conflict.
    writer.open_dataset("d0").set_attribute("name", "changed")
    writer.flush()
    store.refresh()
    assert store.open_dataset("d0").attributes() == {"name": "changed"}
    assert len(store) == 13


def test_packs_made_while_commits_are_read_are_looked_at(storage):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, "d0", "d1")
    behind = Atlas.open(storage)
    flush(store, *(f"d{at}" for at in range(2, 13)))
    read, done = MemoryStorage.read, []

    class Busy(MemoryStorage):
        def read(self, key):
            if key.startswith("commits/") and not done:
                done.append(key)
                store.compact()
            return read(self, key)

    storage.__class__ = Busy
    assert behind.refresh() == store.version
    assert done
    done.clear()
    flush(store, "e0", "e1", "e2", "e3")
    assert len(behind.history()) == 15
    assert done
    assert Atlas.open(storage, version=6)["d5"]["t"][0] == 6


# Late writers


def stray(storage, behind, name):
    """Commit with a handle that takes a number that is in a pack, and is killed before it looks for the pack."""
    view = behind.create_dataset(name)
    view.define_array("t", "int32", ["x"], [3])

    class Killed(Exception):
        pass

    def killed(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(CommitWriter, "_is_packed", killed)
        behind.flush()
    number = behind.version + 1
    assert number in numbers(storage, "commits")
    return number


def test_a_late_writer_that_finds_a_number_free_loses_it(storage):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, "d0", "d1")
    behind = Atlas.open(storage)
    flush(store, *(f"d{at}" for at in range(2, 13)))
    store.compact()
    flush(behind, "late")
    assert behind.version == store.version + 1
    assert 3 not in numbers(storage, "commits")
    assert contents(behind) == contents(Atlas.open(storage))
    assert len(behind) == 14
    behind = Atlas.open(storage, version=2)
    behind.create_dataset("d5")
    with pytest.raises(ConflictError, match="d5"):
        behind.flush()
    assert 3 not in numbers(storage, "commits")


def test_nobody_sees_what_a_killed_late_writer_left(storage):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, "d0", "d1")
    behind, reader = Atlas.open(storage), Atlas.open(storage)
    late = Atlas.open(storage)
    old_checkpoint = storage.read("atlas.json")
    flush(store, *(f"d{at}" for at in range(2, 13)))
    store.compact()
    number = stray(storage, behind, "stray")
    assert number == 3
    assert reader.refresh() == store.version
    assert contents(reader) == contents(store)
    for version in range(2, 13):
        assert "stray" not in Atlas.open(storage, version=version)
        assert "stray" not in {dataset.name for dataset in read_catalog(storage.read, version).datasets.values()}
    assert [version.message for version in Atlas.open(storage).history()][:4] == [None, "adds d0", "adds d1", "adds d2"]
    report = Atlas.open(storage).verify()
    assert report.ok
    storage.replace("atlas.json", old_checkpoint)
    assert contents(Atlas.open(storage)) == contents(store)
    flush(late, "late")
    assert "stray" not in late
    late.compact()
    assert 3 not in numbers(storage, "commits")
    assert Atlas.open(storage).verify().ok


def test_a_commit_whose_answer_was_lost_is_found_in_a_pack(storage, monkeypatch):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, "d0", "d1")
    other = Atlas.open(storage)
    create = MemoryStorage.create

    def lost(self, key, data):
        if key.startswith("commits/"):
            monkeypatch.undo()
            assert create(self, key, data)
            other.refresh()
            flush(other, "e0", "e1")
            other.compact()
            raise StorageError("the answer is lost")
        return create(self, key, data)

    monkeypatch.setattr(MemoryStorage, "create", lost)
    flush(store, "mine")
    assert numbers(storage, "packs") == [4]
    assert store.version == 3
    store.refresh()
    assert list(store) == ["d0", "d1", "mine", "e0", "e1"]


# Two compactions


@pytest.mark.parametrize("keep", [{}, {"keep_versions": 3, "keep_days": 0}, {"keep_days": 0}])
def test_two_compactions_gather_at_once(storage, monkeypatch, keep):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, *(f"d{at}" for at in range(13)))
    other = Atlas.open(storage)
    gather, done = packs.gather_commits, []

    def interrupted(*arguments):
        if not done:
            done.append(True)
            other.compact(**keep)
        return gather(*arguments)

    monkeypatch.setattr("atlas.maintenance.gc.gather_commits", interrupted)
    store.compact()
    assert done
    assert contents(Atlas.open(storage)) == contents(store)
    assert len(store) == 13
    first = Atlas.open(storage).history()[0].version
    for version in range(first, store.version + 1):
        assert len(Atlas.open(storage, version=version)) == min(version, 13)
    assert Atlas.open(storage).verify().ok
    other.refresh()
    other.compact()
    assert Atlas.open(storage).verify().orphans == 0


def test_a_compaction_that_is_killed_before_it_removes_commits_is_finished_by_the_next(storage, monkeypatch):
    store = Atlas.create(storage, limits=OF_FOUR)
    flush(store, *(f"d{at}" for at in range(9)))

    delete = MemoryStorage.delete

    def killed(self, keys):
        keys = list(keys)
        if any(key.startswith("commits/") for key in keys):
            raise StorageError("killed")
        delete(self, keys)

    monkeypatch.setattr(MemoryStorage, "delete", killed)
    with pytest.raises(StorageError):
        store.compact()
    monkeypatch.undo()
    assert numbers(storage, "packs") == [4, 8]
    assert numbers(storage, "commits") == [*range(1, 11)]
    assert Atlas.open(storage).verify().ok
    assert len(Atlas.open(storage, version=5)) == 5
    Atlas.open(storage).compact()
    assert numbers(storage, "commits") == [9, 10]
    assert len(Atlas.open(storage).history()) == 11


# Replaced stores


def test_a_store_that_replaces_another_has_packs_of_its_own(storage):
    store = gathered(storage)
    replacement = Atlas.create(storage, overwrite=True, meta_format="msgpack", limits=Limits(pack_commits=3))
    assert numbers(storage, "packs") == []
    flush(replacement, *(f"n{at}" for at in range(8)))
    replacement.compact()
    assert numbers(storage, "packs") == [15, 18, 21]
    assert [version.message for version in Atlas.open(storage).history()][1:9] == [f"adds n{at}" for at in range(8)]
    assert store.refresh() == replacement.version
    assert list(store) == list(replacement)
    assert Atlas.open(storage).verify().ok


def test_a_store_that_cannot_be_read_is_replaced_with_its_packs(storage):
    gathered(storage, 11)
    storage.replace("atlas.json", b"{}")
    storage.delete(storage.list("commits"))
    replacement = Atlas.create(storage, overwrite=True)
    assert replacement.version == 13
    assert numbers(storage, "packs") == []
    assert list(Atlas.open(storage)) == []


# Damage


def test_a_missing_pack_is_damage_and_named(storage):
    store = gathered(storage)
    (first, second) = storage.list("packs")
    data = storage.read(second)
    storage.delete([second])
    assert contents(Atlas.open(storage)) == contents(store)  # the checkpoint has the sum
    for call in (lambda: Atlas.open(storage, version=6), Atlas.open(storage).history):
        with pytest.raises(CorruptStoreError, match=f"{second} is missing"):
            call()
    assert len(Atlas.open(storage, version=4)) == 4
    with pytest.raises(VersionNotFoundError):
        Atlas.open(storage, version=99)
    report = Atlas.open(storage).verify()
    assert [damage.file for damage in report.damage] == [second]
    assert "missing" in report.damage[0].what
    storage.write(second, [data])
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 4
    storage.replace(second, bytes(damaged))
    for call in (lambda: Atlas.open(storage, version=6), Atlas.open(storage).history):
        with pytest.raises(CorruptStoreError, match=f"{second} is damaged"):
            call()
    report = Atlas.open(storage).verify()
    assert [damage.file for damage in report.damage] == [second]
    assert first != second


def test_verification_finds_packs_where_files_cannot_be_listed(storage):
    gathered(storage)

    class Web(MemoryStorage):
        def list(self, prefix=""):
            raise StorageError("this server lists no files")

    web = Web()
    web._objects = storage._objects
    report = atlas.verify(web)
    assert report.ok
    assert report.version == 11
    storage.delete(storage.list("packs")[:1])
    assert not atlas.verify(web).ok


def test_a_pack_of_another_size_or_place_is_refused(storage):
    store = gathered(storage)
    first, second = storage.list("packs")
    storage.replace(second, storage.read(first))
    with pytest.raises(CorruptStoreError, match=f"{second} is damaged: it holds 4 of 4 commits"):
        Atlas.open(storage, version=6)
    assert not store.verify().ok


@pytest.mark.parametrize("config", [-1, 0, 1, 1 << 30, "4", True])
def test_a_checkpoint_with_packs_of_no_sensible_size_is_damaged(storage, config):
    gathered(storage)
    log, catalog = CommitLog.open(storage)
    with suppress(CorruptStoreError):
        encoding = log.config.encoding
        document = encoding.decode(CommitWriter(log).sum_up(catalog)) | {"pack": config}
        storage.replace("atlas.json", encoding.encode(document))
    with pytest.raises(CorruptStoreError, match="pack"):
        Atlas.open(storage)


def test_a_damaged_checkpoint_is_written_anew_from_packs(storage):
    store = gathered(storage)
    expected = contents(store)
    storage.replace("atlas.json", b"{}")
    with pytest.raises(CorruptStoreError):
        Atlas.open(storage)
    assert atlas.verify(storage, repair=True).repaired
    assert contents(Atlas.open(storage)) == expected
    assert len(Atlas.open(storage, version=6)) == 6
    assert Atlas.open(storage)._session.log.config.pack_commits == 4


@pytest.mark.parametrize("size", [1, (1 << 20) + 1])
def test_limits_name_packs_of_a_size_that_the_format_has(size):
    with pytest.raises(InvalidValueError, match="pack_commits"):
        Limits(pack_commits=size)


def test_the_largest_packs_are_read_back(storage):
    flush(Atlas.create(storage, limits=Limits(pack_commits=1 << 20)), "a")
    assert Atlas.open(storage)._session.log.config.pack_commits == 1 << 20
