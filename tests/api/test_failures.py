"""A storage that fails at any one call: nothing pending is lost, nothing half done shows, and trying again succeeds."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from atlas import Atlas, AtlasError
from atlas.errors import StorageError
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage.base import Storage
from atlas.storage.memory import MemoryStorage

OLD = np.arange(6.0)
NEW = OLD + 100


class Failing(Storage):
    """A storage whose call number `fail_at` raises, before it does anything or (`late`) after."""

    def __init__(self, inner, *, late=False):
        self.inner, self.late, self.fail_at, self.calls = inner, late, None, []

    def _call(self, method, *arguments):
        at = len(self.calls)
        self.calls.append((method, arguments[0]))
        fails = at == self.fail_at
        if fails and not self.late:
            raise self.error()
        answer = getattr(self.inner, method)(*arguments)
        if fails:
            raise self.error()
        return answer

    @staticmethod
    def error():
        return StorageError(errno.ENOSPC, "No space left on device")

    def arm(self, fail_at):
        self.calls, self.fail_at = [], fail_at

    @property
    def describe(self):
        return "failing"

    @property
    def token(self):
        return self.inner.token

    @property
    def coalesce_gap(self):
        return self.inner.coalesce_gap

    def read(self, key):
        return self._call("read", key)

    def read_range(self, key, offset, length):
        return self._call("read_range", key, offset, length)

    def read_into(self, key, offsets, lengths, out, places):
        return self._call("read_into", key, offsets, lengths, out, places)

    def size(self, key):
        return self._call("size", key)

    def create(self, key, data):
        return self._call("create", key, data)

    def replace(self, key, data):
        return self._call("replace", key, data)

    def write(self, key, parts):
        return self._call("write", key, parts)

    def list(self, prefix=""):
        return self._call("list", prefix)

    def delete(self, keys):
        return self._call("delete", list(keys))


def old_store(storage):
    """A store with one flushed dataset and one that is about to go."""
    store = Atlas.create(storage)
    view = store.create_dataset("kept")
    view.define_array("t", "float64", ["x"], [6], [2], -1.0)
    view.define_array("s", "string", ["x"], [6])
    view.write_array("t", [0], OLD)
    view.write_array("s", [0], np.array(list("abcdef"), object))
    store.create_dataset("gone").set_attribute("k", 1)
    store.flush()
    return store


def change(store):
    """Change a bit of everything."""
    store.delete_dataset("gone")
    kept = store.open_dataset("kept")
    kept.write_array("t", [1], NEW[1:4])
    kept.set_attribute("k", 2.5)
    fresh = store.create_dataset("fresh")
    fresh.define_array("u", "int16", ["x"], [3])
    fresh.write_array("u", [0], np.array([7, 8, 9], "i2"))


def is_old(store):
    kept = store.open_dataset("kept")
    return (
        store.list_datasets() == ["kept", "gone"]
        and kept.read_array("t").tolist() == OLD.tolist()
        and kept.read_array("s").tolist() == list("abcdef")
        and kept.attributes() == {}
        and kept.array_stats("t")["max"] == 5.0
    )


def is_new(store):
    kept = store.open_dataset("kept")
    return (
        store.list_datasets() == ["kept", "fresh"]
        and kept.read_array("t").tolist() == [0.0, 101.0, 102.0, 103.0, 4.0, 5.0]
        and kept.read_array("s").tolist() == list("abcdef")
        and kept.attributes() == {"k": 2.5}
        and store.open_dataset("fresh").read_array("u").tolist() == [7, 8, 9]
    )


def count_calls(action):
    storage = Failing(MemoryStorage())
    store = old_store(storage)
    change(store)
    assert is_new(store)
    storage.arm(None)
    action(store)
    return len(storage.calls)


FLUSH_CALLS = count_calls(Atlas.flush)
COMPACT_CALLS = count_calls(Atlas.compact)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("action", "at"),
    [("flush", at) for at in range(FLUSH_CALLS)] + [("compact", at) for at in range(COMPACT_CALLS)],
)
def test_a_failing_call_loses_nothing_and_a_retry_succeeds(action, at, late):
    inner = MemoryStorage()
    storage = Failing(inner, late=late)
    store = old_store(storage)
    change(store)
    assert is_new(store)
    storage.arm(at)
    failed = False
    try:
        getattr(store, action)()
    except StorageError:
        failed = True
    assert len(storage.calls) > at
    on_disk = Atlas.open(inner)
    assert is_new(on_disk) if not failed else is_new(on_disk) or is_old(on_disk), storage.calls
    assert is_new(store), storage.calls
    storage.arm(None)
    store.flush()
    assert is_new(store)
    assert is_new(Atlas.open(inner))
    assert store.open_dataset("kept").array_stats("t")["max"] == 103.0
    store.open_dataset("kept").write_array("t", [0], NEW)
    store.compact(keep_versions=1, keep_days=0)
    assert Atlas.open(inner).open_dataset("kept").read_array("t").tolist() == NEW.tolist()


@pytest.mark.parametrize("at", range(FLUSH_CALLS))
def test_a_flush_that_goes_on_failing_keeps_what_is_pending(at):
    inner = MemoryStorage()
    storage = Failing(inner)
    store = old_store(storage)
    change(store)
    for _ in range(3):
        storage.arm(at)
        try:
            store.flush()
        except OSError:
            assert is_new(store)
    storage.arm(None)
    store.flush()
    assert is_new(Atlas.open(inner))


def test_a_failed_flush_leaves_no_files_behind(tmp_path, monkeypatch):
    store = old_store(tmp_path / "s")
    before = sorted(str(path) for path in (tmp_path / "s").rglob("*") if path.is_file())
    change(store)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        for name in ("write", "writev", "pwrite", "pwritev"):
            if hasattr(os, name):
                patch.setattr(os, name, full)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as info:
            store.flush()
    assert isinstance(info.value, AtlasError)
    assert info.value.errno == errno.ENOSPC
    assert sorted(str(path) for path in (tmp_path / "s").rglob("*") if path.is_file()) == before
    assert is_old(Atlas.open(tmp_path / "s"))
    assert is_new(store)
    store.flush()
    assert is_new(Atlas.open(tmp_path / "s"))


def test_a_disk_that_fills_up_half_way_loses_nothing(tmp_path, monkeypatch):
    store = old_store(tmp_path / "s")
    change(store)
    write, writev = os.write, os.writev
    for budget in range(6):
        left = [budget]

        def limited(call, left=left):
            def wrapped(*arguments):
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return call(*arguments)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", limited(write))
            patch.setattr(os, "writev", limited(writev))
            try:
                store.flush()
            except OSError:
                assert is_old(Atlas.open(tmp_path / "s"))
        assert is_new(store)
    store.flush()
    assert is_new(Atlas.open(tmp_path / "s"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_refuses_and_recovers(tmp_path):
    store = old_store(tmp_path / "s")
    change(store)
    folders = [path for path in (tmp_path / "s").rglob("*") if path.is_dir()] + [tmp_path / "s"]
    for folder in folders:
        folder.chmod(0o500)
    try:
        with pytest.raises(OSError, match="ermission"):
            store.flush()
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert is_new(store)
    store.flush()
    assert is_new(Atlas.open(tmp_path / "s"))


def test_a_failing_read_is_an_error_and_no_fill(monkeypatch):
    inner = MemoryStorage()
    old_store(inner)
    storage = Failing(inner)
    store = Atlas.open(storage)
    view = store.open_dataset("kept")
    for at in range(2):
        storage.arm(at)
        with pytest.raises(OSError, match="space"):
            view.read_array("t")
        storage.arm(None)
    assert view.read_array("t").tolist() == OLD.tolist()


def test_data_of_a_lost_segment_is_an_error_and_no_fill():
    inner = MemoryStorage()
    old_store(inner)
    store = Atlas.open(inner)
    inner.delete(list(inner.list("arrays/t")))
    with pytest.raises(RuntimeError, match="missing") as info:
        store.open_dataset("kept").read_array("t")
    assert isinstance(info.value, AtlasError)
    assert store.open_dataset("kept").read_array("s").tolist() == list("abcdef")


@pytest.mark.parametrize("at", range(4))
def test_a_flush_that_fails_leaves_no_objects_behind(monkeypatch, at):
    monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=0))
    inner = MemoryStorage()
    storage = Failing(inner)
    store = old_store(storage)
    before = inner.list()
    change(store)
    storage.arm(at)
    with pytest.raises(StorageError):
        store.flush()
    assert inner.list() == before, storage.calls[at]
    storage.arm(None)
    store.flush()
    assert is_new(Atlas.open(inner))
