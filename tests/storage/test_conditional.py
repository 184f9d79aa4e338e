"""Where an object cannot be created only if it is absent, writing is refused unless one writer is guaranteed."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import obstore.exceptions
import pytest
from obstore.store import LocalStore, MemoryStore

import atlas.storage.durable as durable
from atlas.errors import AtlasError, ConditionalPutError, StorageError
from atlas.storage import LocalStorage, open_storage
from atlas.storage.objects import ObjectStorage
from tests.storage.contract import StorageContract
from tests.storage.helpers import files
from tests.storage.naive import MANNERS, Naive

WRITES = {
    "create": lambda storage: storage.create("a", b"new"),
    "replace": lambda storage: storage.replace("a", b"new"),
    "write": lambda storage: storage.write("a", iter([b"new"])),
    "big write": lambda storage: storage.write("a", (bytes(10_000_000) for _ in range(4))),
}


class Counting:
    """A handle that notes its puts and fails the one of a number."""

    def __init__(self, store, fail_at=None, error=None):
        self.store, self.fail_at, self.error, self.puts = store, fail_at, error, []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.store, name)

    def put(self, path, file, **options):
        self.puts.append(path)
        if len(self.puts) - 1 == self.fail_at:
            raise self.error
        return self.store.put(path, file, **options)


def everything(handle):
    return [entry["path"] for batch in handle.list() for entry in batch]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("write", WRITES)
def test_a_store_without_conditional_puts_is_not_written(manner, write):
    handle = Naive(manner)
    handle.store.put("a", b"old")
    storage = open_storage(handle)
    for _ in range(2):
        with pytest.raises(ConditionalPutError, match="single_writer=True") as caught:
            WRITES[write](storage)
    assert isinstance(caught.value, StorageError)
    assert "conditional puts" in str(caught.value)
    assert caught.value.errno == errno.ENOTSUP
    assert everything(handle) == ["a"]
    assert storage.read("a") == b"old"
    assert "a" not in handle.put_paths


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("write", WRITES)
def test_the_word_that_one_writer_is_guaranteed_lifts_the_refusal(manner, write):
    handle = Naive(manner)
    storage = open_storage(handle, single_writer=True)
    WRITES[write](storage)
    assert everything(handle) == ["a"]
    assert storage.create("a", b"other") is False
    assert storage.read("a") != b"other"


class TestSingleWriterContract(StorageContract):
    threads = 3

    @pytest.fixture
    def storage(self):
        return ObjectStorage(Naive("ignores"), single_writer=True)

    def test_one_of_many_creators_wins(self, storage):
        # One after the other: the user has said that nobody competes.
        assert [storage.create("race/it", b"%d" % number) for number in range(3)] == [True, False, False]
        assert storage.read("race/it") == b"0"


def test_conditional_puts_are_used_where_they_are_whatever_the_user_says():
    handle = MemoryStore()
    storages = [open_storage(handle, single_writer=True) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda storage: storage.create("a", storage.token.encode()), storages))
    assert won.count(True) == 1


def test_a_probe_is_made_once_and_leaves_nothing():
    handle = Counting(MemoryStore())
    storage = ObjectStorage(handle)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: storage.create(f"k/{number}", b""), range(30)))
    storage.replace("r", b"")
    probes = [path for path in handle.puts if path.startswith("probes/")]
    assert len(probes) == 2
    assert len(set(probes)) == 1
    assert len(everything(handle)) == 31


def test_reading_makes_no_probe():
    handle = Counting(MemoryStore())
    handle.store.put("a", b"abc")
    storage = ObjectStorage(handle)
    assert storage.read("a") == b"abc"
    assert storage.read_range("a", 1, 2) == b"bc"
    assert storage.size("a") == 3
    assert storage.list() == ["a"]
    assert storage.list_orphans() == []
    storage.delete(["a"])
    assert handle.puts == []


@pytest.mark.parametrize("fail_at", [0, 1])
def test_a_probe_that_gets_no_answer_decides_nothing(fail_at):
    handle = Counting(MemoryStore(), fail_at, obstore.exceptions.GenericError("Generic S3 error: connection reset"))
    storage = ObjectStorage(handle)
    with pytest.raises(StorageError, match="reset") as caught:
        storage.create("a", b"x")
    assert not isinstance(caught.value, ConditionalPutError)
    assert storage.create("a", b"x")
    assert not storage.create("a", b"x")
    storage.delete(storage.list_orphans())
    assert everything(handle) == ["a"]


def test_a_probe_whose_first_put_is_carried_out_twice_is_no_lack():
    handle = Counting(MemoryStore(), 0, obstore.exceptions.AlreadyExistsError("Object at location probes/x exists"))
    assert ObjectStorage(handle).create("a", b"x")


def test_a_probe_that_is_collected_meanwhile_does_not_mislead():
    class Collected(Counting):
        def put(self, path, file, **options):
            answer = super().put(path, file, **options)
            if len(self.puts) == 1:
                collector = ObjectStorage(self.store)
                collector.delete(collector.list_orphans())
            return answer

    handle = Collected(MemoryStore())
    assert ObjectStorage(handle).create("a", b"x")
    assert everything(handle) == ["a"]


def test_what_a_killed_probe_left_is_invisible_and_collected():
    class Killed(Counting):
        def delete(self, paths):
            raise KeyboardInterrupt

    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        ObjectStorage(Killed(store)).create("a", b"x")
    assert len(everything(store)) == 1
    storage = ObjectStorage(store)
    assert storage.list() == []
    assert storage.list("probes") == []
    assert len(storage.list_orphans()) == 1
    storage.delete(storage.list_orphans())
    assert everything(store) == []


def test_the_word_survives_pickling(tmp_path):
    for single_writer in (False, True):
        for source in (LocalStore(tmp_path), tmp_path):
            again = pickle.loads(pickle.dumps(open_storage(source, single_writer=single_writer)))
            assert again.single_writer is single_writer


def test_a_bucket_whose_conditional_puts_are_disabled_is_not_written(s3_endpoint):
    bucket = s3_endpoint.make_bucket("disabled")
    handle = s3_endpoint.open_store(bucket, conditional_put="disabled")
    with pytest.raises(ConditionalPutError, match="disabled"):
        open_storage(handle).create("a", b"x")
    assert open_storage(handle, single_writer=True).create("a", b"x")
    assert open_storage(handle).read("a") == b"x"
    open_storage(handle).delete(["a"])
    assert everything(handle) == []


# -- folders on file systems without hard links


def without(monkeypatch, *, renames, number=errno.EPERM):
    def link(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    if not renames:

        def rename(*_):
            ctypes.set_errno(errno.EINVAL)
            return -1

        monkeypatch.setattr(durable, "_renameat2", lambda: rename)


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such rename")


@linux
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_renames_that_do_not_overwrite_stand_in_for_links(tmp_path, monkeypatch, number):
    without(monkeypatch, renames=True, number=number)
    storage = LocalStorage(tmp_path / "s")
    assert storage.create("c/a", b"one")
    assert not storage.create("c/a", b"two")
    storage.replace("atlas.json", b"x")
    assert storage.read("c/a") == b"one"
    assert files(tmp_path) == ["s/atlas.json", "s/c/a"]


@linux
class TestRenamesContract(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path, monkeypatch):
        without(monkeypatch, renames=True)
        return LocalStorage(tmp_path / "s", durable=False)


@linux
def test_a_rename_that_fails_otherwise_is_told(tmp_path, monkeypatch):
    without(monkeypatch, renames=True)

    def rename(*_):
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(durable, "_renameat2", lambda: rename)
    with pytest.raises(StorageError) as caught:
        LocalStorage(tmp_path / "s").create("a", b"x")
    assert caught.value.errno == errno.EIO
    assert not isinstance(caught.value, ConditionalPutError)
    assert files(tmp_path) == []


@pytest.mark.parametrize("write", ["create", "replace"])
def test_a_folder_without_links_and_renames_is_not_written(tmp_path, monkeypatch, write):
    LocalStorage(tmp_path / "s").replace("a", b"old")
    without(monkeypatch, renames=False)
    storage = LocalStorage(tmp_path / "s")
    for _ in range(2):
        with pytest.raises(ConditionalPutError, match="single_writer=True") as caught:
            storage.create("b", b"new") if write == "create" else storage.replace("a", b"new")
    assert isinstance(caught.value, AtlasError)
    assert caught.value.errno == errno.ENOTSUP
    assert storage.read("a") == b"old"
    assert files(tmp_path) == ["s/a"]


def test_a_folder_without_links_and_renames_takes_the_word_for_one_writer(tmp_path, monkeypatch):
    without(monkeypatch, renames=False)
    storage = open_storage(tmp_path / "s", single_writer=True)
    assert storage.create("a", b"one")
    assert not storage.create("a", b"two")
    storage.replace("b", b"x")
    assert storage.read("a") == b"one"
    assert files(tmp_path) == ["s/a", "s/b"]


def test_a_link_that_fails_for_want_of_space_is_no_lack(tmp_path, monkeypatch):
    without(monkeypatch, renames=True, number=errno.ENOSPC)
    with pytest.raises(StorageError) as caught:
        LocalStorage(tmp_path / "s").create("a", b"x")
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, ConditionalPutError)


@linux
def test_the_system_has_the_rename_that_python_lacks(tmp_path):
    script = """
        import sys, threading
        from atlas.storage import durable
        folder = sys.argv[1]
        won = []
        def go(number):
            path = f"{folder}/t{number}"
            open(path, "w").write(str(number))
            won.append(durable._rename_if_absent(path, f"{folder}/it"))
        threads = [threading.Thread(target=go, args=(number,)) for number in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(won.count(True), won.count(False))
    """
    import textwrap  # noqa: PLC0415

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "15"]
