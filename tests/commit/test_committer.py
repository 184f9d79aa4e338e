"""Commits whose answer is lost: nothing is lost or doubled, whether they landed or not."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import ConflictError, StorageError
from atlas.storage import MemoryStorage


class Shaky(MemoryStorage):
    """Loses the answer of the next create of a commit, which lands or not; may also refuse to be read after it."""

    def __init__(self):
        super().__init__()
        self.lands = None
        self.silent = False

    def create(self, key, data):
        if self.lands is None:
            return super().create(key, data)
        if self.lands:
            super().create(key, data)
        self.lands = None
        raise StorageError("the connection was lost")

    def read(self, key):
        if self.silent:
            raise StorageError("no answer")
        return super().read(key)


def write(store, name, value):
    view = store.create_dataset(name)
    view.define_array("t", "int32", ["x"], [3])
    view.write_array("t", [0], np.full(3, value, "i4") + np.arange(3, dtype="i4"))


def contents(storage):
    store = Atlas.open(storage)
    return {name: store.open_dataset(name).read_array("t").tolist() for name in store.list_datasets()}


@pytest.fixture
def storage():
    return Shaky()


@pytest.fixture
def store(storage):
    store = Atlas.create(storage)
    write(store, "first", 10)
    store.flush()
    return store


def test_a_commit_whose_answer_is_lost_succeeds(storage, store):
    write(store, "second", 20)
    storage.lands = True
    store.flush()
    assert contents(storage) == {"first": [10, 11, 12], "second": [20, 21, 22]}
    assert len(storage.list("arrays")) == 2


def test_a_commit_that_failed_leaves_no_files_and_can_be_repeated(storage, store):
    write(store, "second", 20)
    storage.lands = False
    before = storage.list("")
    with pytest.raises(StorageError, match="connection was lost"):
        store.flush()
    assert storage.list("") == before
    store.flush()
    assert contents(storage) == {"first": [10, 11, 12], "second": [20, 21, 22]}


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("more", [True, False])
def test_a_commit_of_unknown_outcome_is_resolved_by_the_next_flush(storage, store, lands, more):
    write(store, "second", 20)
    store.delete_dataset("first")
    storage.lands, storage.silent = lands, True
    with pytest.raises(StorageError, match="connection was lost"):
        store.flush()
    with pytest.raises(StorageError):
        store.flush()
    storage.silent = False
    if more:
        write(store, "third", 30)
        store.open_dataset("second").write_array("t", [0], np.array([5], "i4"))
    store.flush()
    expected = {"second": [5, 21, 22], "third": [30, 31, 32]} if more else {"second": [20, 21, 22]}
    assert contents(storage) == expected
    assert {name: store.open_dataset(name).read_array("t").tolist() for name in store.list_datasets()} == expected
    store.compact(keep_versions=1, keep_days=0)
    assert contents(storage) == expected


def test_the_loser_of_a_race_keeps_its_data_and_leaves_no_files(storage, store):
    other = Atlas.open(storage)
    write(store, "second", 20)
    write(other, "third", 30)
    store.flush()
    before = storage.list("")
    try:
        other.flush()
    except ConflictError:
        assert storage.list("") == before
        assert other.open_dataset("third").read_array("t").tolist() == [30, 31, 32]
        assert contents(storage) == {"first": [10, 11, 12], "second": [20, 21, 22]}
    else:
        assert contents(storage) == {"first": [10, 11, 12], "second": [20, 21, 22], "third": [30, 31, 32]}
