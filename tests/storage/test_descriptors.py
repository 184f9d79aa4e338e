from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from atlas.storage import LocalStorage
from atlas.storage.descriptors import DescriptorCache
from tests.storage.helpers import run_python


@pytest.fixture
def folder(tmp_path):
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
    return tmp_path


@pytest.fixture
def opened(folder):
    return []


@pytest.fixture
def cache(folder, opened):
    def open_file(key):
        opened.append(key)
        return os.open(folder / key, os.O_RDONLY)

    return DescriptorCache(open_file, 3)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_file_is_opened_once(cache, opened):
    for _ in range(3):
        with cache.borrow("1") as (descriptor, size):
            assert (os.pread(descriptor, 9, 0), size) == (b"1", 1)
    assert opened == ["1"]


def test_the_least_recently_used_is_closed(cache, opened):
    for key in "0123":
        with cache.borrow(key):
            pass
        with cache.borrow("0"):
            pass
    assert opened == list("0123")
    with cache.borrow("1"):
        pass
    assert opened == list("01231")


def test_one_in_use_stays_open_although_it_is_no_longer_kept(cache):
    with cache.borrow("0") as (first, _):
        for key in "12345":
            with cache.borrow(key):
                pass
        assert os.pread(first, 9, 0) == b"0"
        cache.forget("0")
        assert is_open(first)
    assert not is_open(first)


def test_more_in_use_than_kept(cache):
    borrowed = [cache.borrow(str(number)) for number in range(10)]
    lent = [each.__enter__()[0] for each in borrowed]
    assert [os.pread(descriptor, 9, 0) for descriptor in lent] == [b"%d" % number for number in range(10)]
    for each in borrowed:
        each.__exit__(None, None, None)
    assert sum(map(is_open, lent)) == 3


def test_a_deleted_or_replaced_file_is_opened_anew(cache, folder, opened):
    with cache.borrow("1"):
        pass
    (folder / "new").write_bytes(b"new")
    (folder / "new").replace(folder / "1")
    with cache.borrow("1") as (descriptor, size):
        assert (os.pread(descriptor, 9, 0), size) == (b"new", 3)
    (folder / "1").unlink()
    with pytest.raises(FileNotFoundError), cache.borrow("1"):
        pass
    assert opened == ["1"] * 3


def test_a_failure_inside_gives_the_descriptor_back(cache):
    with pytest.raises(KeyError), cache.borrow("1") as (descriptor, _):
        raise KeyError
    cache.forget("1")
    assert not is_open(descriptor)


def test_all_are_closed_with_their_owner(cache):
    with cache.borrow("1") as (descriptor, _):
        pass
    cache._finalizer()
    assert not is_open(descriptor)


def test_threads_never_meet_a_closed_or_foreign_descriptor(cache):
    barrier = threading.Barrier(6)

    def read(seed: int) -> None:
        barrier.wait()
        for step in range(400):
            key = str((seed * 7 + step * 3) % 10)
            with cache.borrow(key) as (descriptor, _):
                assert os.pread(descriptor, 9, 0) == key.encode()
            if step % 50 == 0:
                cache.forget(key)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, range(6)))
    assert len(cache._entries) <= 3
    assert all(entry.users == 0 for entry in cache._entries.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_although_threads_of_the_parent_held_the_locks(tmp_path):
    LocalStorage(tmp_path).write("x", [b"abcdef"])
    script = """
        import os, signal, sys
        from atlas.storage import LocalStorage
        storage = LocalStorage(sys.argv[1])
        assert storage.read_range("x", 0, 2) == b"ab"
        kept = [entry.descriptor for entry in storage._open._entries.values()]
        # As if another thread were in the middle of its turn when the process forks.
        storage._open._lock.acquire()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            assert not storage._open._entries
            good = storage.read_range("x", 2, 2) == b"cd" and storage.create("child", b"")
            os._exit(0 if good else 1)
        storage._open._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert storage.read_range("x", 4, 2) == b"ef"
        assert kept == [entry.descriptor for entry in storage._open._entries.values()]
        assert storage.list() == ["child", "x"]
    """
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
