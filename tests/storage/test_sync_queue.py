from __future__ import annotations

import gc
import os

import pytest

from atlas.storage.sync_queue import SyncQueue


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
    with queue._lock:
        child = os.fork()
        if child == 0:
            queue.sync()
            os._exit(is_open(descriptor))
    assert os.waitpid(child, 0)[1] == 0
    assert is_open(descriptor)
    queue.sync()
