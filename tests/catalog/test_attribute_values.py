"""Attributes as columns are those of a loop over the calls for one dataset."""

from __future__ import annotations

import datetime as dt
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.catalog import view as view_module
from atlas.errors import CorruptStoreError, TooLargeError
from atlas.format.attributes import Timestamp
from atlas.storage import MemoryStorage
from tests.columns import check_attributes
from tests.exact import set_exact_attribute

NAMES = [f"d{at}" for at in range(6)]
ARRAYS = ["a", "a.b", "a.b.c", "z"]
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.none(),
    st.binary(max_size=3),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    st.sampled_from(
        [
            np.float32(0.1), np.int8(-3), np.uint64(2**63), np.datetime64("2020-01-01"), np.datetime64(5, "ns"),
            np.datetime64("NaT", "s"), np.timedelta64(7, "s"), np.bool_(True), dt.datetime(2020, 1, 1), dt.timedelta(1),
            pd.Timestamp("2020-01-01", tz="UTC"), [1, 2.5], {"a": [None]}, np.arange(3), "json:[1]", -0.0, 0, 1, True,
        ]
    ),
)  # fmt: skip
KEYS = st.sampled_from(
    ["k", "l", ("k",), ("a", "k"), ("a", "b.k"), "a.b.k", "a.b.c.k", ("a.b", "k"), "a.", "z.k", "_atlas_encoding"]
)


def column(store, key, *args, **kwargs):
    return store.attributes_across(*args, keys=[key], **kwargs)[key]


@given(st.data())
def test_columns_of_any_attributes_are_those_of_a_loop(data):
    store = Atlas.create(MemoryStorage())
    # One kind in most examples, so that columns have a dtype.
    values = data.draw(
        st.sampled_from([SCALARS, st.floats(), st.integers(), st.booleans(), st.text(), st.sampled_from("ab")])
    )
    for _ in range(data.draw(st.integers(0, 25))):
        name = data.draw(st.sampled_from(NAMES))
        view = store[name] if name in store else store.create_dataset(name)
        what = data.draw(st.integers(0, 9))
        if what == 0:
            store.flush()
        elif what == 1:
            store.delete_dataset(name)
        elif what == 2:
            array = data.draw(st.sampled_from(ARRAYS))
            if array in view:
                view.delete_array(array)
            else:
                view.define_array(array, "int8", ["x"], [data.draw(st.integers(1, 2))])
        else:
            set_exact_attribute(view, data.draw(KEYS), data.draw(values))
    for _ in range(2):
        check_attributes(store)
        check_attributes(store, ["d3", "nowhere", "d0", "d3", "d1"])
        for array in store.list_arrays():
            check_attributes(store, array=array)
            check_attributes(store, ["d2", "d1", "nowhere", "d2"], array)
        store.flush()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, False], "bool"),
        ([1, -(2**63)], "int64"),
        ([1, 2**63], "uint64"),
        ([np.uint64(2**64 - 1), 0], "uint64"),
        ([1, 2**64], "O"),
        ([-1, 2**63], "O"),
        ([1.5, float("nan")], "float64"),
        ([-0.0, float("-inf")], "float64"),
        ([np.float32(0.1), 2.0], "float64"),
        (["a", "é"], "O"),
        ([1, 1.0], "O"),
        ([1, True], "O"),
        ([1, "1"], "O"),
        ([Timestamp(5), Timestamp(-(2**63))], "M8[ns]"),
        ([np.datetime64(5, "ns"), Timestamp(6)], "M8[ns]"),
        ([np.datetime64("2020-01-01"), np.datetime64("2021-01-01")], "M8[D]"),
        ([np.datetime64("2020-01-01"), np.datetime64(5, "ns")], "O"),
        ([np.timedelta64(3, "s"), np.timedelta64(4, "s")], "m8[s]"),
        ([Timestamp(5), 5], "O"),
        ([dt.datetime(2020, 1, 1), dt.datetime(2021, 1, 1)], "O"),
        ([[1], None], "O"),
    ],
)
@pytest.mark.parametrize("flushed", ["one", "each", "none"])
def test_the_dtype_of_a_column(values, dtype, flushed):
    store = Atlas.create(MemoryStorage())
    for name, value in zip("ab", values, strict=True):
        set_exact_attribute(store.create_dataset(name), "k", value)
        if flushed == "each":
            store.flush()
    store.create_dataset("c")
    if flushed == "one":
        store.flush()
    found = column(store, "k")
    assert found.values.dtype == np.dtype(dtype)
    assert found.present.tolist() == [True, True, False]
    check_attributes(store)


def test_datasets_of_large_and_of_many_small_flushes():
    store = Atlas.create(MemoryStorage())
    for at in range(100):
        view = store.create_dataset(f"d{at:02d}")
        view.define_array("a", "int8", ["x"], [1])
        set_exact_attribute(view, "n", at if at % 9 else None)
        set_exact_attribute(view, ("a", "units"), ["m", 1.5, at][at % 3])
        if at >= 60 or at % 20 == 19:
            store.flush()
    store["d07"].set_attribute("n", "pending")
    for array in (None, "a"):
        check_attributes(store, array=array)
        check_attributes(store, store.list_datasets()[::-3], array)


def test_a_value_that_datasets_share_is_decoded_once(monkeypatch):
    store = Atlas.create(MemoryStorage())
    for at in range(50):
        view = store.create_dataset(f"d{at}")
        set_exact_attribute(view, "shared", np.datetime64(3, "s"))
        set_exact_attribute(view, "own", float(at))
    store.flush()
    decoded = []
    decode = view_module.decode_value
    monkeypatch.setattr(view_module, "decode_value", lambda value: decoded.append(value) or decode(value))
    columns = store.attributes_across()
    assert len(decoded) == 1
    assert columns["shared"].values.tolist() == [dt.datetime(1970, 1, 1, 0, 0, 3)] * 50
    assert columns["own"].values.tolist() == list(range(50))


def test_keys_are_columns_in_their_order_also_where_no_dataset_has_them():
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("a")
    view.set_attribute("x", 1)
    view.set_attribute("y", 2)
    found = store.attributes_across(keys=["y", "none", "x"])
    assert list(found) == ["y", "none", "x"]
    assert found["none"].values.tolist() == [None]
    assert found["none"].present.tolist() == [False]
    assert store.attributes_across(keys=[]) == {}
    assert Atlas.create(MemoryStorage()).attributes_across() == {}


def test_the_longest_name_of_an_array_owns_an_attribute_in_each_dataset():
    store = Atlas.create(MemoryStorage())
    for name, arrays in (("both", ["a", "a.b"]), ("one", ["a"]), ("other", ["a.b"])):
        view = store.create_dataset(name)
        for array in arrays:
            view.define_array(array, "int8", ["x"], [1])
        view.set_attribute("a.b.units", "m")
    for _ in range(2):
        assert column(store, "b.units", array="a").present.tolist() == [False, True, False]
        assert column(store, "units", array="a.b").present.tolist() == [True, False, True]
        store.flush()


def test_damage_names_the_dataset_and_the_attribute():
    store = Atlas.create(MemoryStorage())
    for name in "abc":
        store._session.writer.set_attribute(store.create_dataset(name).name, "k", 1.5)
    store._session.writer.set_attribute("b", "k", {"$": "nothing"})
    with pytest.raises(CorruptStoreError, match="'k' of dataset 'b'"):
        store.attributes_across()
    store._session.writer.set_attribute("b", "k", 2**63)
    with pytest.raises(CorruptStoreError, match="'k' of dataset 'b'"):
        store.attributes_across()
    assert store.attributes_across(["a", "c"])["k"].values.tolist() == [1.5, 1.5]


def test_columns_that_exceed_memory_are_refused(monkeypatch):
    store = Atlas.create(MemoryStorage())
    for at in range(4):
        store.create_dataset(f"d{at}").set_attribute(f"k{at}", at)
    monkeypatch.setattr("atlas.runtime.memory.FREE", 100)
    monkeypatch.setattr("atlas.runtime.memory.available_memory", lambda: 100)
    with pytest.raises(TooLargeError, match="keys="):
        store.attributes_across()
    assert list(store.attributes_across(keys=["k1"])) == ["k1"]


def test_columns_are_of_one_version_while_another_thread_writes():
    """Two attributes are changed together, and are never seen apart."""
    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(50)]
    store.create_datasets(names)
    stop = threading.Event()

    def write():
        round_ = 0
        while not stop.is_set():
            round_ += 1
            with store._session.locks.changing:
                for name in names:
                    store[name].set_attribute("n", round_)
            store.flush()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(60):
            found = store.attributes_across(names)
            assert len({*found["n"].values.tolist()} if "n" in found else {0}) == 1
    finally:
        stop.set()
        thread.join()
