from __future__ import annotations

import errno
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import StorageError
from atlas.storage import LocalStorage
from tests.storage.contract import StorageContract, int64
from tests.storage.helpers import files


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


def path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def between(calls, first, last):
    """Return the steps after the last `first` and before `last`."""
    stop = calls.index(last)
    begin = max(at for at, step in enumerate(calls[:stop]) if step == first) + 1
    return calls[begin:stop]


@pytest.fixture
def calls(monkeypatch):
    """Record, by path, each step that makes a file last."""
    seen: list[tuple[str, ...]] = []

    def record(name, describe):
        original = getattr(os, name)

        def call(*arguments, **options):
            seen.append((name, *describe(*arguments)))
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    def short(path):
        name = Path(path).name
        return "temporary" if name.startswith(".tmp-") else "nameless" if name.startswith("#") else name

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
            ("mkdir", "b"),
            ("write", "temporary"),
            *between(calls, ("write", "temporary"), ("link", "temporary", "x")),
            ("link", "temporary", "x"),
            ("unlink", "temporary"),
            ("fsync", "b"),
        ]
        waits = between(calls, ("write", "temporary"), ("link", "temporary", "x"))
        assert sorted(waits) == [("fsync", "a"), ("fsync", "b"), ("fsync", "store"), ("fsync", "temporary")]

    def test_create_gives_no_name_before_those_beside_it_last(self, storage, calls):
        """Another process may have made them and been killed, or have failed, before it had waited for them."""
        other = LocalStorage(storage.path)
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr("atlas.storage.local.sync_folder", lambda folder: None)
            other.create("a/1", b"abc")
        assert storage.read("a/1") == b"abc"
        calls.clear()
        storage.create("a/2", b"abc")
        assert ("fsync", "a") in between(calls, ("write", "temporary"), ("link", "temporary", "2"))

    @pytest.mark.parametrize("barrier", ["create", "replace"])
    def test_all_that_was_written_lasts_before_a_barrier_gives_its_name(self, storage, calls, barrier):
        storage.create("a/x", b"old")
        calls.clear()
        storage.write("b/y", [b"n", b"ew"])
        with storage.spill_file() as file:
            file.write(b"spilled")
            storage.link_file("b/z", file)
        assert "fsync" not in {step[0] for step in calls}
        getattr(storage, barrier)("c", b"1")
        step = next(step for step in calls if step[0] in {"link", "replace"} and step[-1] == "c")
        waits = between(calls, ("write", "temporary"), step)
        assert {("fsync", name) for name in ("y", "nameless", "b", "store", "temporary")} <= set(waits)
        assert calls[-1] == ("fsync", "store")
        calls.clear()
        getattr(storage, barrier)("d", b"1")
        assert sum(step[0] == "fsync" for step in calls) == {"create": 3, "replace": 2}[barrier]

    def test_what_was_deleted_is_not_waited_for(self, storage, calls):
        storage.write("b/y", [b"new"])
        storage.delete(["b/y"])
        calls.clear()
        storage.create("c", b"1")
        assert ("fsync", "y") not in calls

    def test_a_write_that_was_lost_stops_every_barrier_until_it_is_deleted(self, storage, monkeypatch):
        storage.write("a/x", [b"abc"])
        original = os.fsync

        def fail_for_x(descriptor):
            if path_of(descriptor).endswith("x"):
                raise OSError(errno.EIO, "Input/output error")
            original(descriptor)

        with monkeypatch.context() as patches:
            patches.setattr(os, "fsync", fail_for_x)
            with pytest.raises(StorageError) as caught:
                storage.create("c", b"1")
            assert caught.value.filename == str(storage.path / "c")
        with pytest.raises(StorageError):
            storage.replace("c", b"1")
        assert storage.list() == ["a/x"]
        storage.delete(["a/x"])
        assert storage.create("c", b"1")

    def test_more_files_than_may_be_open_are_waited_for_in_between(self, storage, calls):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for at in range(200):
            storage.write(f"a/{at}", [b"x"])
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 100
        storage.create("c", b"1")
        assert {("fsync", str(at)) for at in range(200)} <= set(calls)

    def test_replace_renames_what_is_synchronised(self, storage, calls):
        storage.create("a/x", b"old")
        calls.clear()
        storage.replace("a/x", b"new")
        assert [step for step in calls if step[0] != "unlink"] == [
            ("write", "temporary"),
            ("fsync", "temporary"),
            ("replace", "temporary", "x"),
            ("fsync", "a"),
        ]

    def test_create_that_finds_the_key_makes_sure_that_it_lasts(self, storage, calls):
        storage.create("a/x", b"abc")
        calls.clear()
        assert storage.create("a/x", b"abc") is False
        assert calls == [("fsync", "a")]

    def test_delete_synchronises_each_folder_once(self, storage, calls):
        for key in ("a/1", "a/2", "b/1"):
            storage.create(key, b"")
        calls.clear()
        storage.delete(["a/1", "b/1", "a/2", "a/3", "c/1"])
        assert [step for step in calls if step[0] == "fsync"] == [("fsync", "a"), ("fsync", "b")]

    def test_missing_folders_above_the_store_are_made_to_last(self, tmp_path, calls):
        LocalStorage(tmp_path / "u" / "v").make_root()
        begin = calls.index(("mkdir", "u"))
        assert calls[begin:][:4] == [("mkdir", "u"), ("fsync", tmp_path.name), ("mkdir", "v"), ("fsync", "u")]

    def test_folders_above_the_store_that_others_made_are_made_to_last(self, tmp_path, calls):
        (tmp_path / "u" / "v").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "u")
        calls.clear()
        LocalStorage(tmp_path / "link" / "v").make_root()
        assert calls[:3] == [("fsync", "u"), ("fsync", tmp_path.name), ("fsync", tmp_path.parent.name)]
        calls.clear()
        LocalStorage(tmp_path / "u" / "v", durable=False).make_root()
        assert calls == []

    def test_folders_above_the_store_that_may_not_be_read_are_left_to_their_owners(self, tmp_path, monkeypatch):
        seen = []

        def refuse(folder):
            seen.append(folder)
            if folder == str(tmp_path):
                raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("atlas.storage.durable.sync_folder", refuse)
        (tmp_path / "u" / "v").mkdir(parents=True)
        LocalStorage(tmp_path / "u" / "v").make_root()
        assert seen == [str(tmp_path / "u"), str(tmp_path)]


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
        storage.spill_file().close()
        with pytest.raises(FileNotFoundError):
            storage.read("x")
        assert not storage.path.exists()

    def test_files_have_the_usual_permissions(self, storage):
        mask = os.umask(0o027)
        try:
            storage.create("x", b"")
        finally:
            os.umask(mask)
        assert (storage.path / "x").stat().st_mode & 0o777 == 0o640


def test_a_place_where_no_folder_can_be_made_is_one_error(tmp_path, monkeypatch):
    def refuse(folder, *args, **options):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)  # as /proc answers for any name

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StorageError) as caught:
        LocalStorage(tmp_path / "s").create("atlas.json", b"")
    assert caught.value.errno == errno.ENOENT
    assert "\n" not in str(caught.value)


class TestAdoption:
    def test_a_file_without_a_name_gets_one(self, storage):
        storage.make_root()
        with storage.spill_file() as file:
            file.write(b"abc")
            assert files(storage.path) == []
            assert storage.link_file("a/x", file)
        assert files(storage.path) == ["a/x"]
        assert storage.read("a/x") == b"abc"
        assert storage.create("done", b"")

    def test_it_has_the_usual_permissions(self, storage):
        storage.make_root()
        mask = os.umask(0o027)
        try:
            with storage.spill_file() as file:
                assert storage.link_file("x", file)
        finally:
            os.umask(mask)
        assert (storage.path / "x").stat().st_mode & 0o777 == 0o640

    def test_a_file_from_elsewhere_is_left_to_be_copied(self, storage):
        with storage.spill_file() as file:  # of the system's folder, as the store has none yet
            file.write(b"abc")
            assert storage.link_file("a/x", file) is False
        assert storage.list() == []

    @pytest.mark.parametrize("missing", ["O_TMPFILE", "open"])
    def test_systems_without_nameless_files_copy(self, storage, monkeypatch, missing):
        storage.make_root()
        if missing == "O_TMPFILE":
            monkeypatch.delattr(os, missing)
            monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False, raising=False)
        else:
            original = os.open

            def refuse(path, flags, *arguments, **options):
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(errno.EOPNOTSUPP, "Operation not supported")
                return original(path, flags, *arguments, **options)

            monkeypatch.setattr(os, "open", refuse)
        with storage.spill_file() as file:
            file.write(b"abc")
            assert storage.link_file("a/x", file) is False
        assert files(storage.path) == []


@pytest.mark.parametrize("call", ["read", "size", "read_range", "read_into"])
@pytest.mark.parametrize("warm", [False, True])
def test_a_file_whose_size_cannot_be_asked_is_a_storage_error_and_leaves_nothing_open(
    tmp_path, monkeypatch, call, warm
):
    storage = LocalStorage(tmp_path)
    storage.write("a", [b"abc"])
    if warm:
        storage.read_range("a", 0, 1)
    one, two = np.array([0], np.int64), np.array([2], np.int64)
    arguments = {"read_range": (0, 2), "read_into": (one, two, np.zeros(2, np.uint8), one)}.get(call, ())

    def failing(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", failing)
        for _ in range(5):
            with pytest.raises(StorageError) as caught:
                getattr(storage, call)("a", *arguments)
            assert caught.value.errno == errno.EIO
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert storage.read_range("a", 0, 3) == b"abc"
