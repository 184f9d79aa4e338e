"""Writes past every buffer: spilled while they go on, made a segment without a copy, and kept where a flush fails."""

from __future__ import annotations

import os

import numpy as np
import pytest

import atlas
from atlas.errors import ConflictError, StorageError
from atlas.storage import LocalStorage

pytestmark = pytest.mark.bulky

ROWS = np.random.default_rng(5).integers(0, 2**63, (6, 1 << 20))  # 8 MiB a row, which nothing makes smaller


@pytest.fixture
def copied(monkeypatch):
    """Keys of the segments that were copied into place."""
    keys = []
    original = LocalStorage.write

    def write(self, key, parts):
        keys.append(key)
        return original(self, key, parts)

    monkeypatch.setattr(LocalStorage, "write", write)
    return keys


def fill(store, first=0):
    for at in range(first, len(ROWS)):
        view = store.create_dataset(f"d{at}")
        view.define_array("t", "int64", ["x"], [1 << 20], [1 << 18])
        view.write_array("t", [0], ROWS[at])


def check(place):
    store = atlas.Atlas.open(place)
    for at, row in enumerate(ROWS):
        np.testing.assert_array_equal(store.open_dataset(f"d{at}").read_array("t"), row)


def test_a_large_write_is_not_written_twice(tmp_path, copied):
    with atlas.Atlas.create(tmp_path / "s") as store:
        fill(store)
        assert [path.name for path in (tmp_path / "s").iterdir()] == ["atlas.json"]
        np.testing.assert_array_equal(store.open_dataset("d1").read_array("t", [7], [9]), ROWS[1, 7:16])
    assert copied == []
    check(tmp_path / "s")


def test_what_was_written_twice_is_stored_once(tmp_path, copied):
    with atlas.Atlas.create(tmp_path / "s") as store:
        fill(store)
        store.open_dataset("d2").write_array("t", [0], ROWS[2])
    assert len(copied) == 1
    check(tmp_path / "s")
    (segment,) = (tmp_path / "s" / "arrays" / "t").iterdir()
    assert segment.stat().st_size < ROWS.nbytes * 1.01


@pytest.mark.parametrize("step", ["link", "fsync"])
def test_a_flush_that_fails_keeps_what_was_spilled(tmp_path, monkeypatch, step):
    store = atlas.Atlas.create(tmp_path / "s")
    fill(store, first=1)
    original = getattr(os, step)
    left = [1]

    def fail(*arguments, **options):
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        return original(*arguments, **options)

    with monkeypatch.context() as patches:
        patches.setattr(os, step, fail)
        with pytest.raises(StorageError):
            store.flush()
    assert list((tmp_path / "s").rglob("*.seg")) == []
    view = store.create_dataset("d0")
    view.define_array("t", "int64", ["x"], [1 << 20], [1 << 18])
    view.write_array("t", [0], ROWS[0])
    store.flush()
    check(tmp_path / "s")


def two_handles(place):
    atlas.Atlas.create(place)
    return atlas.Atlas.open(place), atlas.Atlas.open(place)


def test_a_writer_that_was_too_late_lands_with_what_was_spilled(tmp_path):
    first, second = two_handles(tmp_path / "s")
    first.create_dataset("other")
    first.flush()
    fill(second)
    second.flush()
    assert len(list((tmp_path / "s").rglob("*.seg"))) == 1
    for store in (second, atlas.Atlas.open(tmp_path / "s")):
        np.testing.assert_array_equal(store.open_dataset("d3").read_array("t"), ROWS[3])
        assert store.list_datasets()[0] == "other"


def test_a_writer_that_collides_keeps_what_was_spilled(tmp_path):
    first, second = two_handles(tmp_path / "s")
    first.create_dataset("d2")
    first.flush()
    fill(second)
    with pytest.raises(ConflictError, match="dataset 'd2': both have created it"):
        second.flush()
    assert list((tmp_path / "s").rglob("*.seg")) == []
    np.testing.assert_array_equal(second.open_dataset("d3").read_array("t"), ROWS[3])
    second.refresh()
    second.flush()
    np.testing.assert_array_equal(atlas.Atlas.open(tmp_path / "s").open_dataset("d2").read_array("t"), ROWS[2])
