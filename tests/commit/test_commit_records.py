"""What a handle remembers of commits: each is read once, and nothing of a version that is given up stays."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import CorruptStoreError
from atlas.storage import MemoryStorage


class CountingStorage(MemoryStorage):
    """Counts the commits that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_commits: list[str] = []

    def read(self, key: str) -> bytes:
        data = super().read(key)
        if key.startswith("commits/"):
            self.read_commits.append(key)
        return data


@pytest.fixture
def storage():
    return CountingStorage()


def flush(store, count):
    for _ in range(count):
        view = store.create_dataset(f"d{store.version}")
        view.define_array("t", "int32", ["x"], [4])
        view.write_array("t", [0], np.arange(4, dtype="i4") + store.version)
        store.flush()


def commits_read(storage, call):
    """The number of different commits that a call reads."""
    storage.read_commits.clear()
    call()
    return len(set(storage.read_commits))


def test_a_history_reads_what_was_added_since_the_last_one(storage):
    store = Atlas.create(storage)
    flush(store, 60)
    assert commits_read(storage, store.history) == 60
    assert commits_read(storage, store.history) == 0
    flush(store, 5)
    assert commits_read(storage, store.history) == 5
    assert list(map(str, store.history())) == list(map(str, Atlas.open(storage).history()))
    flush(Atlas.open(storage), 3)
    store.refresh()
    assert commits_read(storage, store.history) == 3
    assert [version.version for version in store.history()] == [*range(69)]


def test_a_compaction_reads_what_was_added_since_the_last_one(storage):
    store = Atlas.create(storage)
    flush(store, 60)
    store.compact()
    flush(store, 5)
    assert commits_read(storage, store.compact) <= 6
    assert commits_read(storage, store.history) <= 1
    store.compact(keep_versions=10, keep_days=0)
    assert commits_read(storage, store.history) <= 2
    assert list(map(str, store.history())) == list(map(str, Atlas.open(storage).history()))
    assert len(store.history()) == 10


def test_an_older_handle_lists_no_later_versions_and_notices_a_lost_commit(storage):
    store = Atlas.create(storage)
    flush(store, 6)
    older = Atlas.open(storage)
    assert len(older.history()) == 7
    flush(store, 3)
    assert len(older.history()) == 7
    store.compact(keep_versions=4, keep_days=0)
    storage.delete([store._session.log.commit_key(store.version - 1)])
    with pytest.raises(CorruptStoreError, match="missing"):
        Atlas.open(storage).history()
