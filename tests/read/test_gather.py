"""Boxes of many datasets from several segments, pending data among them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.storage import MemoryStorage


@st.composite
def fleets(draw):
    axes = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 9)), max_size=3))
    return (
        [n for n, _ in axes],
        [c for _, c in axes],
        draw(st.integers(1, 5)),
        draw(st.sampled_from(["int16", "float64", "string"])),
    )


def values(shape, seed, dtype):
    cells = np.random.default_rng(seed).integers(0, 50, shape)
    return cells.astype(str).astype(object) if dtype == "string" else cells.astype(dtype)


@given(fleets(), st.data())
def test_boxes_across_datasets_are_those_of_numpy(fleet, data):
    shape, chunks, count, dtype = fleet
    store = Atlas.create(
        MemoryStorage(), filter=data.draw(st.sampled_from(["auto", "bitshuffle", "delta", "decimaldelta"]))
    )
    names = [f"d{at}" for at in range(count)]
    expected = np.full((count, *shape), "" if dtype == "string" else 0, object if dtype == "string" else dtype)
    for name in names:
        store.create_dataset(name).define_array("t", dtype, ["d"] * len(shape), shape, chunks)
    for step in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, count - 1))
        start = [data.draw(st.integers(0, n - 1)) for n in shape]
        size = [data.draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True)]
        cells = values(size, step, dtype)
        store.open_dataset(names[at]).write_array("t", start, cells)
        expected[(at, *(slice(s, s + n) for s, n in zip(start, size, strict=True)))] = (
            cells if cells.ndim else cells[()]
        )
        if data.draw(st.booleans()):
            store.flush()
    start = [data.draw(st.integers(0, n)) for n in shape]
    size = [data.draw(st.integers(0, n - s)) for n, s in zip(shape, start, strict=True)]
    order = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=7))
    wanted = expected[(order, *(slice(s, s + n) for s, n in zip(start, size, strict=True)))]
    chosen = [names[at] for at in order]
    found = store.read_array_across_stacked("t", chosen, start, size)
    assert (found.dtype, found.shape) == (expected.dtype, wanted.shape)
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, wanted)
    for name, box, part in zip(chosen, store.read_array_across("t", chosen, start, size), wanted, strict=True):
        one = store.open_dataset(name).read_array("t", start, size)
        assert type(one) is type(box) is np.ndarray
        assert one.tolist() == box.tolist() == np.asarray(part, expected.dtype).tolist()
        assert one.flags.writeable


def test_what_a_read_returns_is_the_callers_own():
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("a")
    view.define_array("t", "int32", ["x"], [5])
    view.write_array("t", [0], np.arange(5, dtype="i4"))
    for _ in range(2):
        for read in (
            lambda: view.read_array("t"),
            lambda: store.read_array_across("t", ["a"])[0],
            lambda: store.read_array_across_stacked("t", ["a"])[0],
        ):
            found = read()
            found[:] = 77
            assert read().tolist() == [0, 1, 2, 3, 4]
        store.flush()


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", threads)
    store = Atlas.create(MemoryStorage())
    data = np.random.default_rng(1).random((60, 5000))
    words = np.array([[f"{at}-{n}" for n in range(300)] for at in range(60)], object)
    for at in range(60):
        view = store.create_dataset(f"d{at}")
        view.define_array("t", "float64", ["x"], [5000], [1111])
        view.write_array("t", [0], data[at])
        view.define_array("s", "string", ["x"], [300], [77])
        view.write_array("s", [0], words[at])
        if at % 20 == 0:
            store.flush()
    store.flush()
    names = [f"d{at}" for at in range(60)]
    np.testing.assert_array_equal(store.read_array_across_stacked("t", names), data)
    np.testing.assert_array_equal(
        store.read_array_across_stacked("t", names[::-1], [700], [2000]), data[::-1, 700:2700]
    )
    np.testing.assert_array_equal(store.read_array_across_stacked("s", names, [70], [100]), words[:, 70:170])
