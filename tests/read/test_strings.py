"""Stacked reads of strings decode equal cells once, with and without blocks in the cache."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas import kernels
from atlas.storage import MemoryStorage

NAMES = [f"d{at:04d}" for at in range(4000)]


@pytest.fixture
def words():
    """Repeated and distinct words, missing ones, empty ones, some not ASCII: (datasets, cells)."""
    rng = np.random.default_rng(3)
    kinds = np.array(["buoy", "océan", "", None, "日本", *(f"word {at}" for at in range(90))], object)
    cells = kinds[rng.integers(0, len(kinds), (len(NAMES), 12))]
    cells[:, 0] = [f"{name} {at % 7}" for at, name in enumerate(NAMES)]
    return cells


def make(words, chunk, **options):
    storage = MemoryStorage()
    store = atlas.Atlas.create(storage)
    store.create_datasets(NAMES)
    store.write_array_across_stacked("t", NAMES, words, ["x"], [chunk])
    store.flush()
    return atlas.Atlas.open(storage, **options)


@pytest.mark.parametrize("chunk", [12, 5])
def test_boxes_of_many_datasets_are_what_was_written(words, chunk):
    store = make(words, chunk)
    for start, count in ((0, 12), (0, 3), (4, 6), (11, 1)):
        for _ in range(3):
            found = store.read_array_across_stacked("t", NAMES, [start], [count])
            assert found.tolist() == words[:, start : start + count].tolist()
    names = NAMES[::-7]
    assert store.read_array_across_stacked("t", names).tolist() == words[::-7].tolist()


def test_blocks_of_several_slabs_are_not_decoded_again(words, monkeypatch):
    store = make(words, 12, cache_bytes=64 << 20)
    decoded = []
    decode = kernels.decode_blocks
    monkeypatch.setattr(kernels, "decode_blocks", lambda *given: decoded.append(1) or decode(*given))
    halves = NAMES[:2000], NAMES[2000:]
    for names in halves * 3:
        store.read_array_across_stacked("t", names)
    assert decoded
    decoded.clear()
    assert store.read_array_across_stacked("t", NAMES).tolist() == words.tolist()
    assert decoded == []


def test_equal_cells_of_a_read_are_one_object(words):
    found = make(words, 12).read_array_across_stacked("t", NAMES)
    same = found[found == "océan"]
    assert len(same) > 100
    assert len({id(cell) for cell in same.tolist()}) < 10
