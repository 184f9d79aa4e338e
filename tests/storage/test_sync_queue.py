from __future__ import annotations

import gc
import os
import stat
import threading

import pytest

from atlas.storage.sync_queue import _BATCH, SyncQueue


def opened(path):
    return os.open(path, os.O_CREAT | os.O_WRONLY)


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_descriptors_are_closed_once_waited_for_forgotten_or_dropped(tmp_path):
    queue = SyncQueue()
    first, second, third = (opened(tmp_path / name) for name in "abc")
    queue.add_file(str(tmp_path / "a"), first)
    queue.sync()
    assert not is_open(first)
    queue.add_file(str(tmp_path / "b"), second)
    queue.discard(str(tmp_path / "b"))
    queue.discard(str(tmp_path / "b"))
    assert not is_open(second)
    queue.add_file(str(tmp_path / "c"), third)
    del queue
    gc.collect()
    assert not is_open(third)


def test_the_first_error_is_raised_once_all_have_ended(tmp_path, monkeypatch):
    queue = SyncQueue()
    for name in "abcdefghijklmnop":
        queue.add_file(str(tmp_path / name), opened(tmp_path / name))
    asked = []

    def fail(descriptor):
        asked.append(descriptor)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"Input/output error: .*/a'"):
            queue.sync()
    assert len(asked) == 17
    with pytest.raises(OSError, match="earlier"):
        queue.sync()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_nothing_to_wait_for(tmp_path):
    queue = SyncQueue()
    descriptor = opened(tmp_path / "a")
    queue.add_file(str(tmp_path / "a"), descriptor)
    with queue._changed:
        child = os.fork()
        if child == 0:
            queue.sync()
            os._exit(is_open(descriptor))
    assert os.waitpid(child, 0)[1] == 0
    assert is_open(descriptor)
    queue.sync()


def add_files(queue, folder, count):
    """Add files that were made in a folder each, and return their descriptors."""
    descriptors = []
    for at in range(count):
        queue.make_room()
        place = folder / f"{at}"
        place.mkdir(exist_ok=True)
        descriptors.append(opened(place / "x"))
        queue.add_folder(str(place))
        queue.add_file(str(place / "x"), descriptors[-1])
    return descriptors


def test_many_files_are_synced_behind_and_all_of_them_before_the_barrier_returns(tmp_path, monkeypatch):
    synced = []

    def note(descriptor, fsync=os.fsync):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    queue = SyncQueue()
    descriptors = add_files(queue, tmp_path, 3 * _BATCH + 5)
    assert len(queue._files) + len(queue._batch) <= 2 * _BATCH
    queue.sync()
    assert not any(map(is_open, descriptors))
    assert len(synced) == len(set(synced)) == 2 * len(descriptors) + 1
    queue.sync()
    assert len(synced) == 2 * len(descriptors) + 1


@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_sync_that_failed_behind_is_raised_by_the_barrier(tmp_path, monkeypatch, where):
    queue = SyncQueue()

    def fail(descriptor, fsync=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (where == "folder"):
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", fail)
        descriptors = add_files(queue, tmp_path, _BATCH)
        queue.make_room()
        with queue._changed:
            queue._changed.wait_for(lambda: not queue._batch)
    with pytest.raises(OSError, match="Input/output error"):
        queue.sync()
    assert all(map(is_open, descriptors))
    if where == "file":
        with pytest.raises(OSError, match="earlier"):
            queue.sync()
        for at in range(_BATCH):
            queue.discard(str(tmp_path / f"{at}" / "x"))
    queue.sync()
    assert not any(map(is_open, descriptors))


def test_a_failure_behind_ends_the_writing_of_more(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    queue = SyncQueue()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        add_files(queue, tmp_path, 3 * _BATCH)
    assert len(list(tmp_path.iterdir())) <= 2 * _BATCH


def test_a_file_that_is_being_synced_is_discarded_afterwards(tmp_path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def wait(descriptor, fsync=os.fsync):
        begun.set()
        assert go_on.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    queue = SyncQueue()
    descriptors = add_files(queue, tmp_path, _BATCH)
    queue.make_room()
    assert begun.wait(10)
    discarding = threading.Thread(target=queue.discard, args=(str(tmp_path / "0" / "x"),))
    discarding.start()
    discarding.join(0.05)
    assert discarding.is_alive()
    assert all(map(is_open, descriptors))
    go_on.set()
    discarding.join(10)
    assert not any(map(is_open, descriptors))
