"""Arrays whose lengths differ, read and written as one: equal to reads and writes of each dataset."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import atlas
from atlas import Atlas, AtlasError, RaggedArray
from atlas.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    CorruptStoreError,
    DatasetNotFoundError,
    InvalidIndexError,
    InvalidTypeError,
    InvalidValueError,
    OutOfRangeError,
)
from atlas.runtime.limits import Limits
from tests.api.samples import DTYPES, FIXED, make_cells, put, settle
from tests.model import identical

LENGTHS = [3, 0, 7, 1, 7, 40, 2]
NAMES = [f"d{at}" for at in range(len(LENGTHS))]


def fleet(store, dtype, trailing=(), chunk=None, names=NAMES, lengths=LENGTHS, fill=None):
    for seed, (name, length) in enumerate(zip(names, lengths, strict=True)):
        put(store.create_dataset(name), "t", make_cells(dtype, (length, *trailing), seed), dtype, chunk, fill)


def rows_of(store, names, start=None, shape=None):
    """What each dataset gives by itself, clipped along the first axis; None for one without the array."""
    found = []
    for name in names:
        cells = store.open_dataset(name).read_array("t") if store.dataset_exists(name) else None
        if cells is not None:
            begin = (0,) * cells.ndim if start is None else start
            stop = cells.shape if shape is None else [b + n for b, n in zip(begin, shape, strict=True)]
            cells = cells[tuple(slice(b, e) for b, e in zip(begin, stop, strict=True))]
        found.append(cells)
    return found


def check(found, expected):
    assert isinstance(found, RaggedArray)
    assert found.present.tolist() == [row is not None for row in expected]
    assert found.row_sizes.tolist() == [0 if row is None else len(row) for row in expected]
    assert found.offsets.tolist() == [0, *np.cumsum(found.row_sizes).tolist()]
    whole = np.concatenate([row for row in expected if row is not None])
    assert identical(found.values, whole), (found.values, whole)
    assert len(found) == len(expected)
    for at, (row, own) in enumerate(zip(found, expected, strict=True)):
        assert np.shares_memory(row, found.values) or not row.size
        if own is not None:
            assert identical(row, own)
            assert identical(found[at], own)
            assert identical(found[at - len(found)], own)


@pytest.mark.parametrize("state", ["flushed", "pending", "half", "reopened", "compacted"])
@pytest.mark.parametrize(("trailing", "chunk"), [((), None), ((), (4,)), ((5,), (3, 2)), ((2, 3), None)])
@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "string", "bytes", "timestamp_nanoseconds"])
def test_rows_equal_reads_of_each(store, place, dtype, trailing, chunk, state):
    if chunk is not None:
        chunk = (*chunk, *trailing[len(chunk) - 1 :])
    fleet(store, dtype, trailing, chunk, NAMES[:4], LENGTHS[:4])
    if state == "half":
        store.flush()
    fleet(store, dtype, trailing, chunk, NAMES[4:], LENGTHS[4:])
    if state == "half":
        store.open_dataset("d2").write_array("t", [1, *(0 for _ in trailing)], make_cells(dtype, (2, *trailing), 77))
    store = settle(store, place, state)
    names = ["d5", "d0", "nowhere", "d2", "d1", "d5", "d6", "d3", "d4"]
    axes = len(trailing)
    boxes = [(None, None), ([1, *[0] * axes], None), (None, [2, *trailing]), ([2, *[1] * axes], [5, *[1] * axes])]
    for start, shape in boxes:
        expected = rows_of(store, names, start, shape)
        check(store.read_array_across_ragged("t", names, start, shape), expected)
    whole = rows_of(store, names)
    assert all(map(identical, store.read_array_across("t", names), whole))


@pytest.mark.parametrize("dtype", FIXED)
def test_every_dtype(store, dtype):
    fleet(store, dtype)
    store.flush()
    check(store.read_array_across_ragged("t", NAMES), rows_of(store, NAMES))


@pytest.mark.parametrize("dtype", ["float64", "string"])
def test_cells_never_written_read_as_the_fill_value_of_their_array(store, dtype):
    for name, length in zip(NAMES, LENGTHS, strict=True):
        view = store.create_dataset(name)
        view.define_array("t", dtype, ["x"], [length], [4], fill_value="-" if dtype == "string" else -1.0)
    store.flush()
    put_at = store.open_dataset("d5")
    put_at.write_array("t", [9], make_cells(dtype, (3,), 4))
    for _ in range(2):
        expected = rows_of(store, NAMES)
        check(store.read_array_across_ragged("t", NAMES), expected)
        assert all(map(identical, store.read_array_across("t", NAMES), expected))
        store.flush()


@pytest.mark.parametrize("written", ["all", "one", "none"])
@pytest.mark.parametrize(("dtype", "fills"), [("string", "ABC"), ("bytes", [b"A", b"", b"C"]), ("int16", [7, -1, 0])])
def test_each_array_has_the_fill_value_of_its_own(store, dtype, fills, written):
    names = ["a", "b", "c"]
    for length, (name, fill) in enumerate(zip(names, fills, strict=True), 2):
        view = store.create_dataset(name)
        view.define_array("t", dtype, ["x"], [length], [2], fill_value=fill)
        if written == "all" or (written == "one" and name == "b"):
            cells = np.full(length, fill, "i2" if dtype == "int16" else object)
            view.write_array("t", [0], cells)  # constant chunks
    for _ in range(2):
        for start, shape in ((None, None), ([1], [1])):
            expected = rows_of(store, names, start, shape)
            assert all(map(identical, store.read_array_across("t", names, start, shape), expected))
            assert [set(row.tolist()) for row in expected] == [{fill} for fill in fills]
        store.flush()


@pytest.mark.parametrize("cells", [64, 5_000, 300_000])
def test_large_arrays_are_read_block_by_block(tmp_path, cells):
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(cells - at * 17, 2)).round(2) for at in range(3)]
    names = ["a", "b", "c"]
    with Atlas.create(tmp_path / "s") as store:
        for name, row in zip(names, rows, strict=True):
            put(store.create_dataset(name), "t", row, "float64")
    for cache in (0, None):
        store = Atlas.open(tmp_path / "s", cache_bytes=cache)
        for _ in range(3):
            check(store.read_array_across_ragged("t", names), rows)
            check(store.read_array_across_ragged("t", names, [10, 1], [30, 1]), [row[10:40, 1:] for row in rows])


def test_more_chunks_than_are_looked_up_at_a_time(tmp_path):
    few = Limits(lookup_chunks=5)
    with Atlas.create(tmp_path / "s", limits=few) as store:
        fleet(store, "int32", chunk=(2,))
        for _ in range(2):
            check(store.read_array_across_ragged("t", NAMES), rows_of(store, NAMES))
            store.flush()
        row_sizes = [len(row) for row in rows_of(store, NAMES)]
        values = np.concatenate(rows_of(store, NAMES))
        store.write_array_across_ragged("u", NAMES, values, row_sizes, chunk_shape=[2])
        assert identical(store.read_array_across_ragged("u", NAMES).values, values)


def test_results_are_fresh_and_writable(store):
    fleet(store, "float32")
    store.flush()
    found = store.read_array_across_ragged("t", NAMES)
    expected = found.values.copy()
    found.values[...] = 0
    for row in store.read_array_across("t", NAMES):
        row[...] = 0
    assert identical(store.read_array_across_ragged("t", NAMES).values, expected)


def test_a_row_that_is_not_there_is_refused(store):
    fleet(store, "int16", names=NAMES[:3], lengths=LENGTHS[:3])
    found = store.read_array_across_ragged("t", NAMES[:3])
    for row in (3, -4, 2**70):
        with pytest.raises(IndexError, match=f"no row {row}; there are 3") as failure:
            found[row]
        assert isinstance(failure.value, AtlasError)
    for row in ("d1", 1.0, slice(0, 2), None):
        with pytest.raises(InvalidIndexError, match="a row is a whole number, not"):
            found[row]
    assert identical(found[np.int64(-1)], found[2])


def test_arrays_without_axes_and_of_several_kinds_come_in_one_list(store):
    kinds = [("int16", ()), ("int16", (3,)), ("float32", (2,)), ("int16", (5,)), ("int16", ()), ("string", (2,)),
             ("string", (4,)), ("int16", (2, 2)), ("int16", (3, 2)), ("int16", (3, 4))]  # fmt: skip
    names = [f"k{at}" for at in range(len(kinds))]
    for seed, (name, (dtype, shape)) in enumerate(zip(names, kinds, strict=True)):
        fill = "" if dtype == "string" else seed
        put(store.create_dataset(name), "t", make_cells(dtype, shape, seed), dtype, None, fill)
    for _ in range(2):
        assert all(map(identical, store.read_array_across("t", names), rows_of(store, names)))
        store.flush()


# What is refused


def refused(store, match, *arguments, error=InvalidValueError):
    with pytest.raises(error, match=match):
        store.read_array_across_ragged("t", *arguments)


def test_what_does_not_make_one_array_is_refused(store):
    for name, dtype, shape in [("a", "f4", (2,)), ("b", "f8", (2,)), ("c", "f4", ()), ("e", "f4", (2, 3)),
                               ("f", "f4", (3, 2)), ("g", "f4", (4, 3))]:  # fmt: skip
        put(store.create_dataset(name), "t", np.ones(shape, dtype), np.dtype(dtype).name)
    store.create_dataset("bare")
    refused(store, "one dtype, but array 't' has float32 in dataset 'a' and float64 in dataset 'b'", ["bare", "a", "b"])
    refused(store, "one list of dimensions", ["a", "e"])
    refused(store, r"one shape after the first axis, .* \(3,\) in dataset 'e' and \(2,\) in dataset 'f'", ["e", "f"])
    refused(store, "no axis along which", ["c"])
    refused(store, "dataset_names is empty", [])
    refused(store, "none of the datasets named has an array 't'", ["bare", "nowhere"], error=ArrayNotFoundError)
    refused(store, "leaves an array of shape", ["e", "g"], [0, 2], [9, 2])
    refused(store, "1 entries for arrays of 2 dimensions", ["e", "g"], [0])
    refused(store, "-1", ["e"], [-1, 0], error=OutOfRangeError)
    refused(store, "whole numbers", ["e"], [0.5, 0], error=InvalidTypeError)
    assert store.read_array_across_ragged("t", ["e", "g"], [3, 1], [9, 2]).row_sizes.tolist() == [0, 1]
    assert store.read_array_across_ragged("t", ["e", "g"], [2**63 - 1, 0], [2**63 - 1, 3]).row_sizes.tolist() == [0, 0]


def test_cells_that_mean_different_things_are_refused(store):
    fleet(store, "float32")
    store.open_dataset("d0").set_attribute("t.units", "K")
    for name in NAMES[1:]:
        store.open_dataset(name).set_attribute("t.units", "degC" if name == "d4" else "K")
    refused(store, "units 'K' in dataset 'd0' and 'degC' in dataset 'd4'", ["nowhere", "d0", "d2", "d4"])
    some = ["d0", "nowhere", "d2"]
    check(store.read_array_across_ragged("t", some), rows_of(store, some))


def test_missing_cells_get_the_fill_value_of_the_first(store):
    for name, fill, cells in [
        ("a", -1, [1, -1]),
        ("b", -9, [-9, 2, 3]),
        ("c", -9, [4]),
        ("e", None, [-1, 7]),
        ("f", -1, [-9]),
    ]:
        view = store.create_dataset(name)
        view.define_array("t", "int32", ["x"], [len(cells)], fill_value=fill)
        view.write_array("t", [0], np.array(cells, np.int32))
    for _ in range(2):
        found = store.read_array_across_ragged("t", ["nowhere", "a", "b", "c"])
        assert found.values.tolist() == [1, -1, -1, 2, 3, 4]
        refused(store, "fill value -9 in dataset 'b' and -1 in dataset 'f', where a cell", ["nowhere", "b", "a", "f"])
        refused(store, "in dataset 'e', where a cell", ["a", "c", "e"])
        store.flush()


def test_a_plan_that_exceeds_memory_is_refused(store):
    for name, length in (("a", 2**59), ("b", 3)):
        store.create_dataset(name).define_array("t", "int8", ["x"], [length], [1])
    store.flush()
    with pytest.raises(atlas.errors.TooLargeError, match="smaller box"):
        store.read_array_across_ragged("t", ["a", "b"])
    assert store.read_array_across_ragged("t", ["a", "b"], [2**58], [2]).values.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["float64", "string"])
def test_damage_names_the_dataset(tmp_path, dtype):
    with Atlas.create(tmp_path / "s") as store:
        for seed, name in enumerate(NAMES):
            put(store.create_dataset(name), "t", make_cells(dtype, (30_000 + seed,), seed), dtype)
    (segment,) = (tmp_path / "s").glob("arrays/*/*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    store = Atlas.open(tmp_path / "s")
    with pytest.raises(CorruptStoreError, match=r"array 't' of dataset 'd\d'") as failure:
        store.read_array_across_ragged("t", NAMES)
    with pytest.raises(CorruptStoreError):
        store.open_dataset(failure.value.dataset).read_array("t")


# Writing


@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
@pytest.mark.parametrize("trailing", [(), (3,), (0,)])
@pytest.mark.parametrize("dtype", ["int16", "float64", "datetime64[s]", "bool", "O"])
def test_what_is_written_reads_back_one_by_one(store, place, dtype, trailing, chunk):
    total = sum(LENGTHS)
    values = np.arange(total * math.prod(trailing)).reshape(total, *trailing).astype("U" if dtype == "O" else dtype)
    values = values.astype(dtype) if dtype == "O" else values
    store.create_datasets(NAMES)
    shape = None if chunk is None else [chunk, *(max(n, 1) for n in trailing)]
    fill = {"O": "7", "bool": True}.get(dtype, 7)
    store.write_array_across_ragged("t", NAMES, values, LENGTHS, chunk_shape=shape, fill_value=fill)
    rows = np.split(values, np.cumsum(LENGTHS)[:-1])
    for handle in ("pending", "flushed", "reopened"):
        if handle == "flushed":
            store.flush()
        here = Atlas.open(place) if handle == "reopened" else store
        for name, row in zip(NAMES, rows, strict=True):
            np.testing.assert_array_equal(here.open_dataset(name).read_array("t"), row)
        found = here.read_array_across_ragged("t", NAMES)
        np.testing.assert_array_equal(found.values, values)
        assert found.row_sizes.tolist() == LENGTHS
    for name, row in zip(NAMES, rows, strict=True):
        statistics = store.open_dataset(name).array_stats("t")
        assert (statistics is None) == (row.size == 0)
        assert statistics is None or statistics["row_count"] == row.size
    dims = store.open_dataset("d5").array_meta("t")["dimension_names"]
    assert dims == [f"dim_{at}" for at in range(1 + len(trailing))]


def test_a_ragged_array_can_be_written_as_it_was_read(store):
    fleet(store, "float32", (2,))
    found = store.read_array_across_ragged("t", NAMES)
    store.write_array_across_ragged("copy", found.names, found.values, found.row_sizes)
    again = store.read_array_across_ragged("copy", NAMES)
    assert identical(again.values, found.values)
    assert again.row_sizes.tolist() == found.row_sizes.tolist()


def test_values_of_any_layout_are_written(store):
    store.create_datasets(["a", "b"])
    flipped = np.arange(12.0).reshape(2, 6).T[::-1]
    store.write_array_across_ragged("t", ["a", "b"], flipped, [4, 2], chunk_shape=[3, 1])
    values = np.arange(12)[::2]
    store.write_array_across_ragged("u", ["b", "a"], values, np.array([1, 5], np.uint8))
    flipped_copy, values_copy = flipped.copy(), values.copy()
    store.flush()
    assert identical(store.read_array_across_ragged("t", ["a", "b"]).values, flipped_copy)
    assert identical(store.read_array_across_ragged("u", ["b", "a"]).values, values_copy)


def test_new_and_flushed_datasets_may_be_mixed(store):
    store.create_datasets(["a", "b"])
    store.flush()
    store.create_dataset("c")
    store.write_array_across_ragged("t", ["c", "a", "b"], np.arange(6), [2, 2, 2])
    store.flush()
    assert store.read_array_across_ragged("t", ["a", "b", "c"]).values.tolist() == [2, 3, 4, 5, 0, 1]


def test_equal_coordinates_are_stored_once(store, place):
    names = [f"s{at}" for at in range(50)]
    store.create_datasets(names)
    level = np.random.default_rng(2).normal(size=5000)
    sizes = [5000 if at % 2 else 2500 for at in range(50)]
    values = np.concatenate([level[:size] for size in sizes])
    store.write_array_across_ragged("level", names, values, sizes, dims=["level"])
    store.flush()
    assert sum(file.stat().st_size for file in place.glob("arrays/*/*.seg")) < 2 * level.nbytes
    assert identical(store.read_array_across_ragged("level", names).values, values)


def test_a_wrong_write_changes_nothing(store):
    names = ["a", "b"]
    store.create_datasets(names)
    put(store.open_dataset("b"), "held", np.ones(2), "float64")
    values = np.arange(5.0)

    def refuse(error, match, array="t", names=names, values=values, sizes=(2, 3), **options):
        with pytest.raises(error, match=match):
            store.write_array_across_ragged(array, names, values, sizes, **options)

    refuse(InvalidValueError, "row_sizes has 1 entries for 2 datasets", sizes=[5])
    refuse(InvalidValueError, "as long as the row sizes together, 4", sizes=[2, 2])
    refuse(InvalidValueError, "not of type list", values=[1.0] * 5)
    refuse(InvalidValueError, "more than once", names=["a", "a"])
    refuse(OutOfRangeError, "row_sizes holds -1", sizes=[6, -1])
    refuse(InvalidTypeError, "row_sizes", sizes=[2.5, 2.5])
    refuse(InvalidTypeError, "row_sizes", sizes=np.array([2.0, 3.0]))
    refuse(InvalidTypeError, "row_sizes", sizes=7)
    refuse(DatasetNotFoundError, "'nowhere'", names=["a", "nowhere"])
    refuse(ArrayExistsError, "'b' has an array 'held'", array="held")
    refuse(InvalidValueError, "chunk_shape", chunk_shape=[0])
    refuse(InvalidValueError, "entry an axis", dims=["x", "y"])
    assert store.open_dataset("a").list_arrays() == []
    assert store.open_dataset("b").list_arrays() == ["held"]
    store.write_array_across_ragged("t", [], np.empty((0, 2)), [])
    assert store.list_arrays() == ["held"]


@given(data=st.data())
def test_any_fleet(data, tmp_path_factory):
    store = Atlas.create(tmp_path_factory.mktemp("fleet") / "s", limits=Limits(lookup_chunks=6))
    dtype = data.draw(st.sampled_from(DTYPES))
    trailing = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    names = [f"d{at}" for at in range(len(lengths))]
    for seed, (name, length) in enumerate(zip(names, lengths, strict=True)):
        shape = (length, *trailing)
        chunk = [data.draw(st.integers(1, n + 1)) for n in shape]
        view = store.create_dataset(name)
        put(view, "t", make_cells(dtype, shape, seed), dtype, chunk)
        if data.draw(st.booleans()):
            store.flush()
    wanted = data.draw(st.lists(st.sampled_from([*names, "nowhere"]), min_size=1))
    if set(wanted) == {"nowhere"}:
        return
    start = [data.draw(st.integers(0, 10)), *(data.draw(st.integers(0, n)) for n in trailing)]
    most = [10, *(n - s for n, s in zip(trailing, start[1:], strict=True))]
    shape = [data.draw(st.integers(0, n)) for n in most]
    check(store.read_array_across_ragged("t", wanted), rows_of(store, wanted))
    check(store.read_array_across_ragged("t", wanted, start, shape), rows_of(store, wanted, start, shape))
    assert all(map(identical, store.read_array_across("t", wanted), rows_of(store, wanted)))


@given(data=st.data())
def test_any_fleet_of_several_fill_values(data, tmp_path_factory):
    store = Atlas.create(tmp_path_factory.mktemp("fleet") / "s", limits=Limits(lookup_chunks=6))
    dtype = data.draw(st.sampled_from(["string", "bytes", "int16", "float32", "bool"]))
    fills = {"string": ["", "A", "é"], "bytes": [b"", b"A"], "bool": [True, False]}.get(dtype, [0, 7, -1])
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    names = [f"d{at}" for at in range(len(lengths))]
    for seed, (name, length) in enumerate(zip(names, lengths, strict=True)):
        view, fill = store.create_dataset(name), data.draw(st.sampled_from([None, *fills]))
        view.define_array("t", dtype, ["x"], [length], [data.draw(st.integers(1, 5))], fill_value=fill)
        written = data.draw(st.sampled_from(["not", "varied", "fill"]))
        if written != "not":
            cells = make_cells(dtype, (length,), seed)
            view.write_array(
                "t", [0], cells if written == "varied" else np.full_like(cells, fills[0] if fill is None else fill)
            )
        if data.draw(st.booleans()):
            store.flush()
    for _ in range(2):
        assert all(map(identical, store.read_array_across("t", names), rows_of(store, names)))
        store.flush()
