from __future__ import annotations

import errno
import fcntl
import os
import pickle
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import CorruptStoreError, StorageError
from atlas.storage import LocalStorage
from tests.storage.contract import StorageContract, int64

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class TestLocalStorage(StorageContract):
    rounds = 60

    @pytest.fixture
    def storage(self, tmp_path):
        return LocalStorage(tmp_path / "deep" / "store")

    def test_pickles_as_its_path(self, storage):
        storage.write("a", [b"abc"])
        storage.read_range("a", 0, 1)
        again = pickle.loads(pickle.dumps(storage))
        assert again.read_range("a", 1, 2) == b"bc"
        assert again.token == storage.token
        assert again.describe == storage.describe


class TestWithoutWaiting(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return LocalStorage(tmp_path, durable=False, descriptors=2)

    def test_nothing_is_synchronised(self, storage, monkeypatch):
        def refuse(descriptor):
            raise AssertionError("fsync")

        monkeypatch.setattr(os, "fsync", refuse)
        storage.create("a/b", b"x")
        storage.replace("a/b", b"y")
        storage.write("c/d", [b"z"])
        storage.delete(["a/b"])
        assert pickle.loads(pickle.dumps(storage)).create("e/f", b"")


class TestWithoutPreadv(StorageContract):
    """Where no call reads at an offset, threads take turns."""

    @pytest.fixture
    def storage(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "preadv")
        return LocalStorage(tmp_path)


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "store")


@pytest.fixture
def calls(monkeypatch):
    """Record, by path, each step that makes a file last."""
    seen: list[tuple[str, ...]] = []

    def path_of(descriptor: int) -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())

    def record(name, describe):
        original = getattr(os, name)

        def call(*arguments, **options):
            seen.append((name, *describe(*arguments)))
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    def short(path):
        name = Path(path).name
        return "temporary" if name.startswith(".tmp-") else name

    record("mkdir", lambda path, *_: (short(path),))
    record("write", lambda descriptor, _: (short(path_of(descriptor)),))
    record("fsync", lambda descriptor: (short(path_of(descriptor)),))
    record("link", lambda a, b: (short(a), short(b)))
    record("replace", lambda a, b: (short(a), short(b)))
    record("unlink", lambda path, *_: (short(path),))
    return seen


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@needs_proc
class TestOrder:
    def test_create_synchronises_bytes_before_the_name_and_the_name_before_returning(self, storage, calls):
        storage.create("a/b/x", b"abc")
        assert calls == [
            ("mkdir", "store"),
            ("fsync", storage.path.parent.name),
            ("mkdir", "a"),
            ("fsync", "store"),
            ("mkdir", "b"),
            ("fsync", "a"),
            ("write", "temporary"),
            ("fsync", "temporary"),
            ("link", "temporary", "x"),
            ("unlink", "temporary"),
            ("fsync", "b"),
        ]

    @pytest.mark.parametrize("call", [lambda s: s.replace("a/x", b"new"), lambda s: s.write("a/x", [b"n", b"ew"])])
    def test_write_and_replace_rename_what_is_synchronised(self, storage, calls, call):
        storage.create("a/x", b"old")
        calls.clear()
        call(storage)
        assert [step for step in calls if step[0] != "unlink"] == [
            ("write", "temporary"),
            ("fsync", "temporary"),
            ("replace", "temporary", "x"),
            ("fsync", "a"),
        ]

    def test_delete_synchronises_each_folder_once(self, storage, calls):
        for key in ("a/1", "a/2", "b/1"):
            storage.create(key, b"")
        calls.clear()
        storage.delete(["a/1", "b/1", "a/2", "a/3", "c/1"])
        assert [step for step in calls if step[0] == "fsync"] == [("fsync", "a"), ("fsync", "b")]

    def test_missing_folders_above_the_store_are_made_to_last(self, tmp_path, calls):
        LocalStorage(tmp_path / "u" / "v").make_root()
        assert calls[-4:] == [("mkdir", "u"), ("fsync", tmp_path.name), ("mkdir", "v"), ("fsync", "u")]


class TestFailures:
    """Whatever fails, nothing half-done is seen or left, and the same call works afterwards."""

    @pytest.mark.parametrize(
        ("write", "last_step"),
        [
            (lambda s: s.create("a/x", bytes(500_000)), "link"),
            (lambda s: s.write("a/x", [bytes(400_000), bytes(100_000)]), "replace"),
            (lambda s: s.replace("a/x", bytes(500_000)), "replace"),
        ],
    )
    @pytest.mark.parametrize("step", ["write", "fsync", "last"])
    def test_a_full_disk_leaves_nothing_behind(self, storage, monkeypatch, write, last_step, step):
        storage.create("a/other", b"kept")

        def fail(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patches:
            patches.setattr(os, last_step if step == "last" else step, fail)
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

        def fail_second(descriptor):
            asked.append(descriptor)
            if len(asked) == 2:
                raise OSError(errno.EIO, "Input/output error")
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fail_second)
        with pytest.raises(StorageError):
            storage.create("a/x", b"abc")
        # The name may or may not last; meanwhile the object is there, whole.
        assert storage.create("a/x", b"abc") is False
        assert storage.read("a/x") == b"abc"

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
        assert storage.spill_folder() is None


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
        leftovers = storage.leftovers()
        assert {*leftovers, *storage.list()} == set(files(storage.path))
        storage.delete(leftovers)
        assert files(storage.path) == storage.list()

    def test_temporaries_are_no_objects(self, storage):
        storage.create("a/x", b"")
        (storage.path / "a" / ".tmp-1234").write_bytes(b"half")
        (storage.path / ".tmp-5678").write_bytes(b"half")
        assert storage.list() == storage.list("a") == ["a/x"]
        assert storage.leftovers() == [".tmp-5678", "a/.tmp-1234"]
        storage.delete([*storage.leftovers(), "a/.tmp-gone"])
        assert files(storage.path) == ["a/x"]

    def test_the_file_of_a_living_writer_is_not_left_over(self, storage):
        other = LocalStorage(storage.path)
        seen = []

        def parts():
            yield bytes(400_000)
            seen.append((files(storage.path), other.leftovers(), other.list()))

        storage.write("a/x", parts())
        assert len(seen[0][0]) == 1
        assert seen[0][1:] == ([], [])
        assert storage.list() == ["a/x"]

    def test_without_locks_every_temporary_counts(self, storage, monkeypatch):
        def refuse(descriptor, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        assert storage.create("a/x", b"abc")
        (storage.path / ".tmp-1").write_bytes(b"")
        assert storage.leftovers() == [".tmp-1"]


class TestLinks:
    """A store from elsewhere cannot lead out of its folder."""

    @pytest.fixture
    def outside(self, tmp_path):
        folder = tmp_path / "outside"
        folder.mkdir()
        (folder / "secret").write_bytes(b"secret")
        return folder

    def test_linked_file_is_not_read_nor_written_through(self, storage, outside):
        storage.make_root()
        (storage.path / "x").symlink_to(outside / "secret")
        out = np.zeros(2, np.uint8)
        for call in (
            lambda: storage.read("x"),
            lambda: storage.size("x"),
            lambda: storage.read_range("x", 0, 2),
            lambda: storage.read_into("x", int64(0), int64(2), out, int64(0)),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.errno == errno.ELOOP
        assert storage.list() == []
        assert storage.create("x", b"new") is False
        storage.replace("x", b"new")
        assert storage.read("x") == b"new"
        assert (outside / "secret").read_bytes() == b"secret"

    def test_linked_folder_is_not_followed(self, storage, outside):
        storage.make_root()
        (storage.path / "d").symlink_to(outside)
        for call in (
            lambda: storage.read("d/secret"),
            lambda: storage.read_range("d/secret", 0, 1),
            lambda: storage.create("d/new", b""),
            lambda: storage.write("d/new", [b""]),
            lambda: storage.delete(["d/secret"]),
            lambda: storage.list("d"),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.errno == errno.ELOOP
        assert storage.list() == []
        assert files(outside) == ["secret"]

    def test_a_link_laid_later_is_seen(self, storage, outside):
        storage.create("d/x", b"")
        storage.delete(["d/x"])
        (storage.path / "d").rmdir()
        (storage.path / "d").symlink_to(outside)
        with pytest.raises(StorageError):
            storage.create("d/x", b"")
        assert files(outside) == ["secret"]

    def test_the_store_itself_may_be_linked_to(self, storage, tmp_path):
        storage.create("a/x", b"abc")
        (tmp_path / "alias").symlink_to(storage.path)
        alias = LocalStorage(tmp_path / "alias")
        assert alias.read("a/x") == b"abc"
        assert alias.token == storage.token
        assert alias.create("a/y", b"")
        assert storage.list() == ["a/x", "a/y"]

    def test_a_pipe_does_not_hang_the_reader(self, storage):
        storage.make_root()
        os.mkfifo(storage.path / "pipe")
        with pytest.raises(StorageError, match="regular file"):
            storage.read("pipe")
        assert storage.list() == []


class TestPath:
    def test_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert LocalStorage("~/s").path == tmp_path / "s"

    def test_a_relative_path_stays_where_it_was(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        storage = LocalStorage("s")
        monkeypatch.chdir("/")
        storage.create("x", b"")
        assert files(tmp_path) == ["s/x"]

    def test_nothing_is_made_before_the_first_write(self, storage):
        assert storage.list() == []
        assert storage.spill_folder() is None
        with pytest.raises(FileNotFoundError):
            storage.read("x")
        assert not storage.path.exists()
        storage.make_root()
        assert storage.spill_folder() == storage.path

    def test_files_have_the_usual_permissions(self, storage):
        mask = os.umask(0o027)
        try:
            storage.create("x", b"")
        finally:
            os.umask(mask)
        assert (storage.path / "x").stat().st_mode & 0o777 == 0o640
