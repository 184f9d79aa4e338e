"""Datasets in pages: what large flushes write must add up with what small ones leave in the documents."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas
from atlas.commit.commit_writer import CommitWriter
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=4))


def fill(store, numbers):
    for number in numbers:
        store.create_dataset(f"d{number}").set_attribute("number", number)
    store.flush()


def contents(store):
    return {name: store.open_dataset(name).get_attribute("number") for name in store.list_datasets()}


@pytest.mark.parametrize("sizes", [[6, 2, 6], [2, 6, 2, 6, 2], [6, 1, 7, 6, 3, 9, 1], [1, 1, 1, 1, 1, 1, 6]])
@pytest.mark.parametrize("small", [0, 1 << 30], ids=["checkpoints lag", "checkpoints follow"])
def test_small_flushes_between_large_ones_are_kept(sizes, small, monkeypatch):
    monkeypatch.setattr(limits, "DEFAULT", Limits(small_checkpoint=small))
    storage = MemoryStorage()
    store = Atlas.create(storage)
    number = 0
    for size in sizes:
        fill(store, range(number, number + size))
        number += size
        expected = {f"d{n}": n for n in range(number)}
        assert contents(store) == contents(Atlas.open(storage)) == expected
        assert list(contents(Atlas.open(storage))) == list(expected)


def test_deletions_and_changes_of_rows_inside_and_outside_of_pages():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    fill(store, range(6))
    fill(store, range(6, 8))
    store.delete_dataset("d2")
    store.open_dataset("d3").set_attribute("number", -3)
    store.delete_dataset("d6")
    store.open_dataset("d7").set_attribute("number", -7)
    store.flush()
    fill(store, range(8, 14))
    store.delete_dataset("d7")
    store.flush()
    expected = {"d0": 0, "d1": 1, "d3": -3, "d4": 4, "d5": 5} | {f"d{n}": n for n in range(8, 14)}
    assert contents(store) == contents(Atlas.open(storage)) == expected


def test_deleting_everything_leaves_no_pages():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    fill(store, range(9))
    for name in store.list_datasets():
        store.delete_dataset(name)
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    assert contents(Atlas.open(storage)) == {}
    assert storage.list("pages") == []
    fill(store, range(9))
    assert list(contents(Atlas.open(storage))) == [f"d{n}" for n in range(9)]


def test_a_rollback_to_unpaged_rows_before_a_page_can_be_read():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    fill(store, range(2))
    fill(store, range(2, 8))
    expected, version = contents(store), store.version
    store.delete_dataset("d5")
    store.flush()
    store.rollback(version)
    assert contents(store) == contents(Atlas.open(storage)) == expected


def test_a_kept_version_with_unpaged_rows_before_a_page_can_be_read():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    fill(store, range(2))
    fill(store, range(2, 8))
    expected, version = contents(store), store.version
    fill(store, [8])
    store.compact(keep_versions=2, keep_days=0)
    assert contents(Atlas.open(storage, version=version)) == expected
    assert contents(Atlas.open(storage)) == expected | {"d8": 8}


def test_an_interrupted_replacement_of_a_store_of_another_encoding_is_compacted(monkeypatch):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    fill(store, range(2))
    with monkeypatch.context() as patches:
        patches.setattr(CommitWriter, "checkpoint", lambda self, catalog, force=False: False)
        Atlas.create(storage, overwrite=True, meta_format="msgpack")
    store = Atlas.open(storage)
    assert [version.version for version in store.history()] == [2]
    fill(store, range(3))
    assert [version.version for version in store.history()] == [2, 3]
    store.compact(keep_versions=2, keep_days=0)
    assert contents(store) == contents(Atlas.open(storage)) == {"d0": 0, "d1": 1, "d2": 2}


def test_a_flush_succeeds_although_another_writer_has_rewritten_its_pages():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for first in (0, 3, 6):
        fill(store, range(first, first + 3))
    store.open_dataset("d0").define_array("t", "int8", ["x"], [2])
    store.compact()  # by which the datasets lie in a page that no commit names
    other = Atlas.open(storage)
    for number in range(1, 9):
        store.open_dataset(f"d{number}").set_attribute("number", -number)
    store.flush()
    store.compact()
    other.open_dataset("d0").write_array("t", [0], np.array([1, 2], np.int8))
    other.flush()
    expected = {"d0": 0} | {f"d{number}": -number for number in range(1, 9)}
    assert contents(other) == contents(Atlas.open(storage)) == expected
    assert Atlas.open(storage).open_dataset("d0").read_array("t").tolist() == [1, 2]
