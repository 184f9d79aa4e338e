"""`view["t"]`: reads and writes with NumPy indices give what NumPy gives, pending or flushed, whatever the dtype."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import ArrayView, Atlas, AtlasError, Limits
from atlas.errors import ArrayNotFoundError, InvalidIndexError, InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.storage import MemoryStorage
from tests.indices import indices, shapes, taken

DTYPES = [
    "bool", "int8", "uint64", "float16", "float32", "float64", "datetime64[s]", "datetime64[ms]", "datetime64[us]",
    "timestamp_nanoseconds", "timedelta64[s]", "timedelta64[ms]", "timedelta64[us]", "timedelta64[ns]", "string",
]  # fmt: skip


def cells_of(dtype, shape):
    cells = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    if dtype == "bool":
        return np.asarray(cells % 3 == 0)
    if dtype == "string":
        return cells.astype("U").astype(object)
    return cells.astype({"timestamp_nanoseconds": "M8[ns]"}.get(dtype, dtype))


def array_of(store, cells, dtype, chunks, fill=None):
    view = store.create_dataset(f"d{len(store)}")
    view.define_array("t", dtype, [f"x{axis}" for axis in range(cells.ndim)], cells.shape, chunks, fill)
    view["t"][...] = cells
    return view["t"]


def assert_like_numpy(result, expected):
    np.testing.assert_array_equal(result, expected)
    assert isinstance(result, np.ndarray) == isinstance(expected, np.ndarray)
    assert isinstance(result, str) or (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if isinstance(result, np.ndarray):
        assert result.flags.c_contiguous
        assert result.flags.writeable


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from([1, 64 << 20]))
def test_reads_are_those_of_numpy(data, dtype, index_bytes):
    shape, chunks = data.draw(shapes())
    cells = cells_of(dtype, shape)
    keys = data.draw(st.lists(indices(shape), min_size=1, max_size=4))
    storage = MemoryStorage()
    with Atlas.create(storage, limits=Limits(index_bytes=index_bytes)) as store:
        array = array_of(store, cells, dtype, chunks)
        for flushed in (False, True):
            for key in keys:
                expected = taken(cells, key)
                if isinstance(expected, Exception):
                    with pytest.raises(type(expected)):
                        array[key]
                else:
                    assert_like_numpy(array[key], expected)
            if not flushed:
                store.flush()


@given(st.data(), st.sampled_from(DTYPES))
def test_writes_are_those_of_numpy(data, dtype):
    shape, chunks = data.draw(shapes(least=1))
    cells = cells_of(dtype, shape)
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        array = array_of(store, cells, dtype, chunks)
        for _ in range(data.draw(st.integers(1, 4))):
            key = data.draw(indices(shape))
            expected = taken(cells, key)
            if isinstance(expected, Exception):
                with pytest.raises(type(expected)):
                    array[key] = cells.reshape(-1)[0]
                continue
            value = np.resize(cells.reshape(-1)[::-1], np.shape(expected))
            value = value if value.ndim else value[()]  # NumPy would keep an array of no axes as an object
            array[key] = value
            cells[key] = value
            np.testing.assert_array_equal(array[...], cells)
            if data.draw(st.booleans()):
                store.flush()
    np.testing.assert_array_equal(Atlas.open(storage)["d0"]["t"][...], cells)


@pytest.mark.parametrize("first", ["even", "odd"])
def test_two_writers_that_take_turns_of_cells_both_keep_theirs(place, first):
    with Atlas.create(place) as store:
        array_of(store, np.zeros(10), "float64", [10])
    writers = {"even": (Atlas.open(place), np.s_[::2], 2.0), "odd": (Atlas.open(place), np.s_[[1, 3, 5, 7, 9]], 3.0)}
    for store, key, value in writers.values():
        store["d0"]["t"][key] = value
    order = sorted(writers, key=lambda name: name != first)
    writers[order[0]][0].flush()
    later = writers[order[1]][0]
    later.refresh()
    later.flush()
    assert Atlas.open(place)["d0"]["t"][...].tolist() == [2, 3] * 5


def test_a_write_of_some_cells_leaves_the_others_and_counts_as_written(store):
    array = array_of(store, np.full(6, np.nan, "f4"), "float32", [4], float("nan"))
    array[[0, 5]] = [1, 2]
    store.flush()
    assert array.stats == {"row_count": 6, "null_count": 4, "min": 1.0, "max": 2.0, "nan_count": 4}
    np.testing.assert_array_equal(array[...], np.array([1, np.nan, np.nan, np.nan, np.nan, 2], "f4"))


def test_what_it_tells(store):
    view = store.create_dataset("monday")
    view.define_array("t", "float32", ["y", "x"], [5, 4], [2, 4], float("nan"))
    view.define_array("when", "timestamp_nanoseconds", ["x"], [4], fill_value=np.datetime64("2000-01-01"))
    view.define_array("s", "string", [], [], fill_value="?")
    view.define_array("i", "int16", ["x"], [4], fill_value=-1)
    view.define_array("plain", "int16", ["x"], [4])
    array = view["t"]
    assert isinstance(array, ArrayView)
    assert (array.name, array.shape, array.ndim, array.size, len(array)) == ("t", (5, 4), 2, 20, 5)
    assert (array.dims, array.chunks, array.dtype) == (("y", "x"), (2, 4), np.dtype("f4"))
    assert np.isnan(array.fill_value)
    assert type(array.fill_value) is np.float32
    assert view["when"].fill_value == np.datetime64("2000-01-01", "ns")
    assert view["when"].dtype == "M8[ns]"
    assert (view["s"].fill_value, view["s"].dtype, view["s"].shape) == ("?", np.dtype(object), ())
    assert (view["i"].fill_value, view["plain"].fill_value) == (-1, None)
    assert array.stats is None
    assert repr(array) == '<ArrayView "t" of "monday" float32 (y: 5, x: 4)>'
    assert bool(view["s"])
    with pytest.raises(TypeError, match="unsized"):
        len(view["s"])


def test_numpy_and_dask_take_it_as_an_array(store):
    cells = np.arange(12.0).reshape(3, 4)
    array = array_of(store, cells, "float64", [2, 2])
    np.testing.assert_array_equal(np.asarray(array), cells)
    assert np.asarray(array, "f4").dtype == "f4"
    assert np.mean(array) == cells.mean()
    assert [row.tolist() for row in array] == cells.tolist()
    lazy = da.from_array(array, chunks=array.chunks)
    assert lazy.chunks == ((2, 1), (2, 2))
    assert lazy.sum().compute() == cells.sum()
    with pytest.raises(ValueError, match="copy"):
        np.array(array, copy=False)


def test_it_pickles_with_its_store(place):
    with Atlas.create(place) as store:
        array = array_of(store, np.arange(4), "int64", [4])
    again = pickle.loads(pickle.dumps(array))
    assert again[1:3].tolist() == [1, 2]


def test_an_array_that_is_not_there_or_no_longer_is_a_key_error(store):
    array = array_of(store, np.arange(4), "int64", [4])
    with pytest.raises(KeyError, match="'u'"):
        store["d0"]["u"]
    del store["d0"]["t"]
    for use in (lambda: array.shape, lambda: array[0], lambda: array.attrs["k"], lambda: len(array.attrs)):
        with pytest.raises(ArrayNotFoundError, match="'t'"):
            use()
    with pytest.raises(ArrayNotFoundError):
        array[0] = 1
    with pytest.raises(ArrayNotFoundError):
        array.attrs["k"] = 1
    assert store["d0"].attributes() == {}


VALUES = {
    "a number for every cell": ("float32", 1, [1, 1, 1]),
    "rounded as NumPy does": ("float32", [0.1, 1e-50, np.inf], np.float32([0.1, 0, np.inf])),
    "integers to floats": ("float64", np.array([1, 2, 3], "u1"), [1, 2, 3]),
    "wider integers that fit": ("int8", np.array([-128, 127, 0], "i8"), [-128, 127, 0]),
    "unsigned to signed": ("int16", np.array([1, 2, 3], "u8"), [1, 2, 3]),
    "leading axes of length 1": ("int64", [[[1, 2, 3]]], [1, 2, 3]),
    "dates of another unit": (
        "timestamp_nanoseconds",
        np.array(["2000-01-01", "NaT", "1999-12-31"], "M8[D]"),
        np.array(["2000-01-01", "NaT", "1999-12-31"], "M8[ns]"),
    ),
    "one date": ("timestamp_nanoseconds", np.datetime64("2000-01-01T00"), [np.datetime64("2000-01-01", "ns")] * 3),
    "not a time": ("timestamp_nanoseconds", np.datetime64("NaT", "D"), [np.datetime64("NaT", "ns")] * 3),
    "nanoseconds": ("timestamp_nanoseconds", 5, [np.datetime64(5, "ns")] * 3),
    "seconds of days": (
        "datetime64[s]",
        np.array(["9999-12-31", "NaT", "0001-01-01"], "M8[D]"),
        np.array(["9999-12-31", "NaT", "0001-01-01"], "M8[s]"),
    ),
    "whole milliseconds": ("datetime64[ms]", np.datetime64(5_000_000, "ns"), [np.datetime64(5, "ms")] * 3),
    "a duration": ("timedelta64[us]", np.timedelta64(-3, "h"), [np.timedelta64(-3, "h")] * 3),
    "durations of a list": (
        "timedelta64[s]",
        [np.timedelta64(1, "m"), np.timedelta64("NaT", "s"), np.timedelta64(0, "h")],
        np.array([60, "NaT", 0], "m8[s]"),
    ),
    "ticks of a duration": ("timedelta64[s]", [1, -2, 3], [np.timedelta64(n, "s") for n in (1, -2, 3)]),
    "one truth": ("bool", True, [True] * 3),
    "truths": ("bool", [True, False, True], [True, False, True]),
    "halves": ("float16", [0.1, 1e-9, -np.inf], np.float16([0.1, 0, -np.inf])),
    "text": ("string", "ü", ["ü"] * 3),
    "texts": ("string", ["a", b"b", "c"], ["a", "b", "c"]),
    "fixed-width text": ("string", np.array(["a", "bc", ""]), ["a", "bc", ""]),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_is_broadcast_and_cast(store, what):
    dtype, value, expected = VALUES[what]
    array = array_of(store, cells_of(dtype, (3,)), dtype, [2])
    array[:] = value
    np.testing.assert_array_equal(array[...], np.asarray(expected, array.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_list_is_assigned_to_no_cells(store, dtype):
    array = array_of(store, cells_of(dtype, (3,)), dtype, [2])
    array[1:1] = []
    np.testing.assert_array_equal(array[...], cells_of(dtype, (3,)))


def test_a_deleted_array_or_dataset_can_be_shown(store):
    array = array_of(store, np.arange(3), "int64", [2])
    view = store["d0"]
    del view["t"]
    assert repr(array) == '<ArrayView "t" of "d0" (deleted)>'
    del store["d0"]
    assert repr(array) == '<ArrayView "t" of "d0" (deleted)>'
    assert repr(view) == '<DatasetView name="d0" (deleted)>'


def test_masked_cells_become_the_fill_value(store):
    array = array_of(store, np.zeros(3, "i2"), "int16", [2], -1)
    array[:] = np.ma.masked_equal(np.array([1, 2, 3], "i8"), 2)
    assert array[...].tolist() == [1, -1, 3]


WRONG = {
    "too large an integer": ("int8", [1, 200, 3], OutOfRangeError, "200 does not fit"),
    "negative for unsigned": ("uint8", -1, OutOfRangeError, "-1 does not fit"),
    "too large a float": ("float32", [1, 1e39, 2], OutOfRangeError, "1e\\+39 is too large"),
    "floats for integers": ("int8", [0.5, 1, 2], InvalidTypeError, "float64 does not fit; use .astype"),
    "truth for integers": ("int8", True, InvalidTypeError, "True.* does not fit in array .* assign an int"),
    "text for numbers": ("int8", "a", InvalidTypeError, "does not fit"),
    "numbers for text": ("string", [1, 2, 3], InvalidTypeError, "str and bytes"),
    "None": ("float64", None, InvalidTypeError, r"None does not fit .* assign a number, and float.'nan'"),
    "one float for integers": ("int8", 2.5, InvalidTypeError, "2.5.* does not fit in array .* assign an int"),
    "None for a time": ("timestamp_nanoseconds", None, InvalidTypeError, r"None does not fit.*np.datetime64\('NaT'\)"),
    "text for a time": ("timestamp_nanoseconds", "2000-01-01", InvalidTypeError, r"assign np.datetime64\(\.\.\.\)"),
    "a number for text": (
        "string",
        5,
        InvalidTypeError,
        "5 does not fit in array .* assign a str, and None for a missing",
    ),
    "text for bytes": (
        "bytes",
        "a",
        InvalidTypeError,
        "'a' does not fit in array .* assign bytes, and None for a missing",
    ),
    "dates beyond": ("timestamp_nanoseconds", np.datetime64("9999-01-01"), OutOfRangeError, "2262"),
    "finer than nanoseconds": ("timestamp_nanoseconds", np.datetime64(1, "ps"), OutOfRangeError, "holds whole ns"),
    "finer than seconds": ("datetime64[s]", np.datetime64(1, "ms"), OutOfRangeError, "holds whole s from"),
    "finer than the duration": ("timedelta64[ms]", np.timedelta64(1, "us"), OutOfRangeError, "holds whole ms"),
    "a duration for a date": ("datetime64[s]", np.timedelta64(1, "s"), InvalidTypeError, "does not fit"),
    "a date for a duration": ("timedelta64[s]", np.datetime64(1, "s"), InvalidTypeError, "does not fit"),
    "a number for truth": ("bool", 1, InvalidTypeError, "1.* does not fit in array .* assign a bool"),
    "bytes for truth": ("bool", np.array([1, 0, 1], "u1"), InvalidTypeError, "uint8 does not fit"),
    "too large a half": ("float16", [1, 65520.0, 2], OutOfRangeError, "65520.0 is too large"),
    "another shape": ("int8", [1, 2], InvalidValueError, r"from shape \(2,\) into shape \(3,\)"),
    "a ragged list": ("int8", [[1], [1, 2]], InvalidValueError, "no array"),
    "masked without a fill": ("int8", np.ma.masked_all(3, "i1"), InvalidTypeError, "fill_value"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("key", [np.s_[:3], np.s_[[0, 1, 2]]], ids=["box", "list"])
def test_a_value_that_does_not_fit_changes_nothing(store, wrong, key):
    dtype, value, kind, words = WRONG[wrong]
    cells = cells_of(dtype, (4,))
    array = array_of(store, cells, dtype, [2])
    store.flush()
    with pytest.raises(kind, match=words) as caught:
        array[key] = value
    assert isinstance(caught.value, AtlasError)
    np.testing.assert_array_equal(array[...], cells)
    store.flush()
    assert store.version == 1


def test_a_bad_index_names_the_shape_and_changes_nothing(store):
    array = array_of(store, np.arange(4), "int64", [2])
    with pytest.raises(InvalidIndexError, match=r"index 4 is out of bounds for axis 0 with size 4.*shape \(4,\)"):
        array[4]
    with pytest.raises(IndexError):
        array[[0, 4]] = 7
    assert array[...].tolist() == [0, 1, 2, 3]
