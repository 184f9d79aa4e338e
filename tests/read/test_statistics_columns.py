"""Statistics as columns are those of a loop over the calls for one dataset."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import CorruptStoreError
from atlas.format.dtypes import DATATYPES
from atlas.storage import MemoryStorage
from tests.api.samples import DTYPES, make_cells, put
from tests.columns import check_statistics
from tests.model import MEMORY

NAMES = [f"d{at}" for at in range(9)]
FILLS = {"b": True, "i": 3, "u": 3, "f": float("nan"), "O": "a", "M": -(2**63), "m": 5}


def fill_of(dtype):
    return b"a" if dtype == "bytes" else FILLS[MEMORY[dtype].kind]


def fleet(dtype):
    """Datasets of several shapes, fills and chunks, some partly written, some never, in several flushes."""
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for at, name in enumerate(NAMES):
        view = store.create_dataset(name)
        cells = make_cells(dtype, (3, 4 + at % 2), at)
        if at == 4:
            view.define_array("t", dtype, ["y", "x"], cells.shape, [2, 2])
        elif at % 3 == 1:
            view.define_array("t", dtype, ["y", "x"], cells.shape, [2, 2], fill_of(dtype))
            view.write_array("t", [2, 1], cells[:1, :2])
        else:
            put(view, "t", cells, dtype, [2, 3] if at % 3 else None, fill_of(dtype) if at % 4 else None)
        if at % 4 == 3:
            store.flush()
    store.create_dataset("bare")
    store.flush()
    return storage, store


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_every_dtype_are_those_of_a_loop(dtype):
    storage, store = fleet(dtype)
    check_statistics(store, "t")
    check_statistics(store, "t", ["d3", "nowhere", "bare", "d0", "d3", "d4"])
    # Statistics are those of the last flush: of what is pending, only deletions and declarations show.
    store["d0"].write_array("t", [0, 0], make_cells(dtype, (3, 4), 99))
    store["d1"].delete_array("t")
    put(store["d1"], "t", make_cells(dtype, (2, 2), 5), dtype)
    store.delete_dataset("d2")
    put(store.create_dataset("new"), "t", make_cells(dtype, (2, 2), 6), dtype)
    store["d5"].set_attribute("edited", 1)
    check_statistics(store, "t")
    check_statistics(store, "t", ["new", "d2", "d1", "d5"])
    store.flush()
    check_statistics(store, "t")
    check_statistics(Atlas.open(storage), "t")
    store.compact(keep_days=0)
    check_statistics(store, "t")
    check_statistics(Atlas.open(storage), "t")


@given(st.data())
def test_columns_of_any_history_are_those_of_a_loop(data):
    """Arrays of any dtypes, written in part, deleted and declared again, in any number of flushes."""
    store = Atlas.create(MemoryStorage())
    dtypes = data.draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    for seed in range(data.draw(st.integers(1, 12))):
        name = data.draw(st.sampled_from(NAMES[:5]))
        view = store[name] if name in store else store.create_dataset(name)
        if data.draw(st.integers(0, 4)) == 0:
            store.flush()
        if "t" in view and data.draw(st.integers(0, 3)) == 0:
            view.delete_array("t")
        if "t" not in view:
            dtype = data.draw(st.sampled_from(dtypes))
            fill = data.draw(st.sampled_from([None, fill_of(dtype)]))
            view.define_array("t", dtype, ["x"], [data.draw(st.integers(0, 7))], [2], fill)
        dtype, length = view.array_meta("t")["dtype"], view["t"].size
        start = data.draw(st.integers(0, length))
        view.write_array("t", [start], make_cells(dtype, (data.draw(st.integers(0, length - start)),), seed))
    check_statistics(store, "t")
    store.flush()
    check_statistics(store, "t")


def test_whole_numbers_are_exact():
    store = Atlas.create(MemoryStorage())
    put(store.create_dataset("a"), "n", np.array([2**63 - 1, -(2**63) + 1]), "int64")
    put(store.create_dataset("b"), "n", np.array([3, 4], np.int8), "int8")
    put(store.create_dataset("c"), "u", np.array([2**64 - 1, 2**53 + 1], np.uint64), "uint64")
    store.flush()
    found = store.array_stats_across("n")
    assert (found.min.dtype, found.min.tolist()) == (np.dtype(np.int64), [-(2**63) + 1, 3, 0])
    assert found.max.tolist() == [2**63 - 1, 4, 0]
    assert found.has_extremes.tolist() == found.present.tolist() == [True, True, False]
    found = store.array_stats_across("u", ["c"])
    assert (found.min.dtype, found.min.tolist()) == (np.dtype(np.uint64), [2**53 + 1])
    assert found.max.tolist() == [2**64 - 1]


def test_kinds_that_differ_are_objects_that_keep_their_meaning():
    store = Atlas.create(MemoryStorage())
    cells = {
        "int64": np.array([2**62 + 1]),
        "uint64": np.array([2**63 + 1], np.uint64),
        "float32": np.array([0.5], np.float32),
        "datetime64[s]": np.array([7], "M8[s]"),
        "datetime64[ms]": np.array([7], "M8[ms]"),
        "timestamp_nanoseconds": np.array([7], "M8[ns]"),
        "timedelta64[s]": np.array([7], "m8[s]"),
        "bool": np.array([True]),
        "string": np.array(["é"], object),
        "bytes": np.array([b"\xff"], object),
    }
    for dtype, values in cells.items():
        put(store.create_dataset(dtype), "v", values, dtype)
    store.flush()
    found = store.array_stats_across("v")
    expected = [2**62 + 1, 2**63 + 1, 0.5, *(cells[name][0] for name in list(cells)[3:7]), True, "é", b"\xff"]
    for column in (found.min, found.max):
        assert column.tolist() == expected
        assert [type(value) for value in column] == [type(value) for value in expected]
        assert [value.dtype for value in column[3:7]] == [value.dtype for value in expected[3:7]]
    check_statistics(store, "v")


def test_times_of_one_unit_are_times():
    store = Atlas.create(MemoryStorage())
    put(store.create_dataset("a"), "t", np.array([1, "NaT", 5], "M8[ms]"), "datetime64[ms]")
    put(store.create_dataset("b"), "t", np.array(["NaT"], "M8[ms]"), "datetime64[ms]")
    store.flush()
    found = store.array_stats_across("t")
    assert found.min.dtype == np.dtype("M8[ms]")
    assert str(found.min.tolist()) == "[datetime.datetime(1970, 1, 1, 0, 0, 0, 1000), None]"
    assert found.nan_count.tolist() == [1, 1]
    assert found.has_extremes.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["string", "bytes"])
@pytest.mark.parametrize("chunk", [1, 4])
def test_texts_that_are_not_in_the_index_are_read(dtype, chunk):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for at in range(60):
        words = [("é" * 200 if at % 3 else "z") + str(at), "m", "a" * (129 + at) if at % 2 else "a", None]
        cells = np.array([word.encode() if dtype == "bytes" and word else word for word in words], object)
        put(store.create_dataset(f"d{at}"), "t", cells, dtype, [chunk])
        if at % 25 == 24:
            store.flush()
    store.flush()
    check_statistics(store, "t")
    check_statistics(Atlas.open(storage), "t")


def test_each_block_of_long_texts_is_decoded_once(monkeypatch):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    names = [f"d{at}" for at in range(40)]
    store.create_datasets(names)
    cells = np.array([[f"{at:02d}" + "x" * 300] for at in range(40)], object)
    store.write_array_across_stacked("t", names, cells, ["x"])
    store.flush()
    store = Atlas.open(storage, cache_bytes=0)
    loaded = []
    cache = store._session.reader.cache
    load = cache.load
    monkeypatch.setattr(
        type(cache), "load", lambda _, source, block: loaded.append((source.name, block)) or load(source, block)
    )
    assert store.array_stats_across("t").min.tolist() == cells[:, 0].tolist()
    assert len(loaded) == len(set(loaded)) < 40


def test_a_damaged_block_of_long_texts_is_named(place):
    store = Atlas.create(place, codec="none")
    put(store.create_dataset("d"), "t", np.array(["x" * 500, "y" * 500], object), "string")
    store.flush()
    (path,) = (place / "arrays" / "t").iterdir()
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"x" * 500, b"w" * 500))
    with pytest.raises(CorruptStoreError, match="damaged"):
        Atlas.open(place).array_stats_across("t")


def test_statistics_of_what_was_never_flushed_need_no_file():
    store = Atlas.create(MemoryStorage())
    for name in "ab":
        store.create_dataset(name).define_array("t", "int8", ["x"], [2])
    found = store.array_stats_across("t")
    assert not found.present.any()
    assert found.min.dtype == np.int64
    assert store.array_stats_across("t", ["nowhere"]).present.tolist() == [False]


def test_the_names_returned_are_the_callers_own():
    store = Atlas.create(MemoryStorage())
    names = ["a", "b"]
    for name in names:
        put(store.create_dataset(name), "t", np.zeros(1), "float64")
    store.flush()
    store.array_stats_across("t", names).names.clear()
    assert names == ["a", "b"] == store.array_stats_across("t").names


def test_statistics_are_of_one_version_while_another_thread_compacts():
    store = Atlas.create(MemoryStorage())
    for at in range(20):
        put(store.create_dataset(f"d{at}"), "t", np.array(["0" * 200], object), "string")
    store.flush()
    stop = threading.Event()

    def write():
        round_ = 0
        while not stop.is_set():
            round_ += 1
            with store._session.locks.building.passing():
                for at in range(20):
                    store[f"d{at}"].write_array("t", [0], np.array([str(round_) * 200], object))
            store.flush()
            store.compact(keep_days=0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(40):
            found = store.array_stats_across("t")
            assert len({*found.min.tolist(), *found.max.tolist()}) == 1
    finally:
        stop.set()
        thread.join()


def test_every_dtype_has_a_column():
    assert set(DTYPES) == set(DATATYPES)
