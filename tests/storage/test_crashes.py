from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import CorruptStoreError, StorageError
from atlas.storage import LocalStorage
from tests.storage.contract import int64
from tests.storage.helpers import files, run_python


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "store")


class TestFailures:
    """Whatever fails, nothing half-done is seen or left, and the same call works afterwards."""

    @pytest.mark.parametrize(
        ("write", "steps"),
        [
            (lambda s: s.create("a/x", bytes(500_000)), ["write", "fsync", "link"]),
            (lambda s: s.write("a/x", [bytes(400_000), bytes(100_000)]), ["open", "write", "replace"]),
            (lambda s: s.replace("a/x", bytes(500_000)), ["write", "fsync", "replace"]),
        ],
    )
    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_a_full_disk_leaves_nothing_behind(self, storage, monkeypatch, write, steps, step):
        storage.create("a/other", b"kept")

        def fail(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patches:
            patches.setattr(os, steps[step], fail)
            with pytest.raises(StorageError) as caught:
                write(storage)
        assert caught.value.errno == errno.ENOSPC
        assert str(storage.path / "a" / "x") in str(caught.value)
        assert files(storage.path) == storage.list() == ["a/other"]
        write(storage)
        assert storage.read("a/x") == bytes(500_000)
        assert files(storage.path) == storage.list() == ["a/other", "a/x"]

    def test_a_disk_that_fills_midway(self, storage, monkeypatch):
        original = os.write
        room = [700_000]

        def write(descriptor, view):
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            # A nearly full disk takes a part of what is given.
            taken = original(descriptor, view[: min(len(view), room[0])])
            room[0] -= taken
            return taken

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StorageError) as caught:
            storage.write("a/x", [bytes(300_000)] * 3)
        assert caught.value.errno == errno.ENOSPC
        assert files(storage.path) == []
        room[0] = 10**9
        assert storage.write("a/x", [bytes(300_000)] * 3) == 900_000
        assert storage.size("a/x") == 900_000

    def test_short_writes_are_continued(self, storage, monkeypatch):
        original = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, view: original(descriptor, view[:7]))
        data = bytes(range(256)) * 3
        storage.create("x", data)
        assert storage.read("x") == data

    def test_a_folder_that_cannot_be_synchronised_is_an_error(self, storage, monkeypatch):
        storage.create("a/y", b"")
        original = os.fsync
        asked = []

        def fail_last(descriptor):
            asked.append(descriptor)
            if (storage.path / "a" / "x").exists() and len(asked) == 3:
                raise OSError(errno.EIO, "Input/output error")
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fail_last)
        with pytest.raises(StorageError):
            storage.create("a/x", b"abc")
        # The name may or may not last; meanwhile the object is there, whole.
        assert storage.create("a/x", b"abc") is False
        assert storage.read("a/x") == b"abc"

    def test_a_temporary_that_cannot_be_looked_at_is_an_error_that_names_it(self, storage, monkeypatch):
        storage.create("a/x", b"")
        (storage.path / "a" / ".tmp-1").write_bytes(b"")
        original = os.open

        def fail(path, *arguments, **options):
            if str(path).endswith(".tmp-1"):
                raise OSError(errno.EIO, "Input/output error")
            return original(path, *arguments, **options)

        monkeypatch.setattr(os, "open", fail)
        with pytest.raises(StorageError) as caught:
            storage.list_orphans()
        assert caught.value.filename == str(storage.path / "a" / ".tmp-1")

    def test_a_folder_whose_name_may_not_last_is_waited_for_again(self, storage, monkeypatch):
        storage.make_root()

        def fail(descriptor):
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patches:
            patches.setattr(os, "fsync", fail)
            with pytest.raises(StorageError):
                storage.create("a/x", b"abc")
        assert files(storage.path) == []
        original, asked = os.fsync, []

        def record(descriptor):
            asked.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            original(descriptor)

        monkeypatch.setattr(os, "fsync", record)
        assert storage.create("a/x", b"abc")
        assert str(storage.path) in asked

    def test_folders_that_know_no_synchronising_are_taken_as_they_are(self, storage, monkeypatch):
        original = os.fsync

        def fail_for_folders(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fail_for_folders)
        assert storage.create("a/x", b"abc")

    def test_short_reads_are_noticed(self, storage, monkeypatch):
        storage.write("x", [bytes(100)])
        monkeypatch.setattr(os, "preadv", lambda descriptor, views, offset: 0)
        with pytest.raises(CorruptStoreError):
            storage.read_range("x", 0, 10)
        with pytest.raises(CorruptStoreError):
            storage.read_into("x", int64(0), int64(10), np.zeros(10, np.uint8), int64(0))

    def test_partial_reads_are_continued(self, storage, monkeypatch):
        data = bytes(range(100))
        storage.write("x", [data])
        original = os.preadv
        monkeypatch.setattr(
            os, "preadv", lambda descriptor, views, offset: original(descriptor, [views[0][:3]], offset)
        )
        assert storage.read_range("x", 1, 90) == data[1:91]

    def test_read_errors_are_storage_errors(self, storage, monkeypatch):
        storage.write("x", [bytes(100)])

        def fail(descriptor, views, offset):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(StorageError) as caught:
            storage.read_range("x", 0, 10)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(storage.path / "x"))

    def test_a_file_that_was_cut_is_noticed_by_an_open_reader(self, storage):
        storage.write("x", [bytes(100)])
        assert storage.read_range("x", 0, 100) == bytes(100)
        os.truncate(storage.path / "x", 40)
        with pytest.raises(CorruptStoreError, match="40 bytes"):
            storage.read_range("x", 0, 100)

    def test_a_folder_in_the_way(self, storage):
        storage.create("a/b", b"")
        for call in (lambda: storage.create("a", b""), lambda: storage.write("a", []), lambda: storage.delete(["a"])):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.errno in {errno.EISDIR, errno.EPERM}
        for call in (lambda: storage.create("a/b/c", b""), lambda: storage.write("a/b/c", [])):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.errno == errno.ENOTDIR
        with pytest.raises(FileNotFoundError):
            storage.read("a/b/c")
        storage.delete(["a/b/c"])
        assert files(storage.path) == ["a/b"]

    def test_a_file_in_place_of_the_store(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        storage = LocalStorage(tmp_path / "file")
        with pytest.raises(StorageError):
            storage.make_root()
        with pytest.raises(StorageError):
            storage.create("a", b"")
        assert storage.list() == []
        storage.spill_file().close()


class TestLeftovers:
    KILLED = """
        import os, sys
        from atlas.storage import LocalStorage
        storage = LocalStorage(sys.argv[1])
        step = sys.argv[2]
        count = [int(sys.argv[3])]
        original = getattr(os, step)
        def die(*arguments, **options):
            count[0] -= 1
            if count[0] == 0:
                os._exit(9)
            return original(*arguments, **options)
        setattr(os, step, die)
        {call}
    """

    @pytest.mark.parametrize("call", ["storage.create('a/x', b'new')", "storage.write('a/x', [b'new'])"])
    @pytest.mark.parametrize("step", ["write", "fsync", "link", "replace", "unlink"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_a_killed_writer_leaves_the_object_whole_or_absent(self, storage, call, step, count):
        storage.create("a/old", b"old")
        done = run_python(self.KILLED.replace("{call}", call), storage.path, step, count)
        assert done.returncode in {0, 9}, done.stderr
        assert storage.list() in (["a/old"], ["a/old", "a/x"])
        if "a/x" in storage.list():
            assert storage.read("a/x") == b"new"
        orphans = storage.list_orphans()
        assert {*orphans, *storage.list()} == set(files(storage.path))
        storage.delete(orphans)
        assert files(storage.path) == storage.list()

    def test_temporaries_are_no_objects(self, storage):
        storage.create("a/x", b"")
        (storage.path / "a" / ".tmp-1234").write_bytes(b"half")
        (storage.path / ".tmp-5678").write_bytes(b"half")
        assert storage.list() == storage.list("a") == ["a/x"]
        assert storage.list_orphans() == [".tmp-5678", "a/.tmp-1234"]
        storage.delete([*storage.list_orphans(), "a/.tmp-gone"])
        assert files(storage.path) == ["a/x"]

    def test_the_file_of_a_living_writer_is_not_left_over(self, storage):
        other = LocalStorage(storage.path)
        seen = []

        def parts():
            yield bytes(400_000)
            seen.append((files(storage.path), other.list_orphans(), other.list()))

        storage.write("a/x", parts())
        assert len(seen[0][0]) == 1
        assert seen[0][1:] == ([], [])
        assert storage.list() == ["a/x"]

    @pytest.mark.parametrize("deleted", ["before it is locked", "after it is locked"])
    def test_the_file_of_a_writer_that_has_just_begun_is_not_collected(self, storage, monkeypatch, deleted):
        """Between its making and its locking a temporary file looks like an orphan to another process."""
        storage.create("a/old", b"")
        other = LocalStorage(storage.path)
        original, seen = fcntl.flock, []

        def flock(descriptor, operation):
            if operation & fcntl.LOCK_EX and not seen:
                seen.extend(other.list_orphans())
                assert len(seen) == 1
                if deleted == "before it is locked":
                    other.delete(seen)
            original(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", flock)

        def parts():
            if deleted == "after it is locked":
                other.delete(seen)
            yield b"abc"

        assert storage.write("a/x", parts()) == 3
        assert seen
        assert storage.read("a/x") == b"abc"
        assert files(storage.path) == ["a/old", "a/x"]

    def test_without_locks_every_temporary_counts(self, storage, monkeypatch):
        def refuse(descriptor, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        assert storage.create("a/x", b"abc")
        (storage.path / ".tmp-1").write_bytes(b"")
        assert storage.list_orphans() == [".tmp-1"]
