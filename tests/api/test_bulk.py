"""Reads across datasets give what reads of each dataset give."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas, AtlasError
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError
from tests.api.samples import DTYPES, make_cells, put
from tests.model import identical

NAMES = [f"d{i}" for i in range(12)]
BOXES = [(None, None), ([1, 2], None), (None, [2, 3]), ([1, 1], [2, 3]), ([3, 0], [0, 5]), ([2, 4], [1, 1])]


def fleet(store, dtype, chunk=(2, 3), names=NAMES):
    for seed, name in enumerate(names):
        put(store.create_dataset(name), "t", make_cells(dtype, (4, 5), seed), dtype, chunk)


def one_by_one(store, names, start=None, shape=None, array="t"):
    return [
        store.open_dataset(name).read_array(array, start, shape) if store.dataset_exists(name) else None
        for name in names
    ]


@pytest.mark.parametrize("state", ["flushed", "pending", "half", "reopened", "compacted"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_boxes_across_equal_reads_of_each(store, place, dtype, state):
    fleet(store, dtype, names=NAMES[:6])
    if state == "half":
        store.flush()
    fleet(store, dtype, names=NAMES[6:])
    if state == "half":
        store.open_dataset("d2").write_array("t", [1, 1], make_cells(dtype, (2, 3), 77))
    if state in {"flushed", "reopened"}:
        store.flush()
    if state == "compacted":
        store.compact(keep_versions=1, keep_days=0)
    if state == "reopened":
        store = Atlas.open(place)
    for start, shape in BOXES:
        expected = one_by_one(store, NAMES, start, shape)
        across = store.read_array_across("t", NAMES, start, shape)
        assert all(map(identical, across, expected))
        assert identical(store.read_array_across_stacked("t", NAMES, start, shape), np.stack(expected))


def test_results_are_fresh_writable_and_contiguous(store):
    fleet(store, "float32")
    store.flush()
    across = store.read_array_across("t", NAMES)
    stacked = store.read_array_across_stacked("t", NAMES)
    for found in (*across, stacked):
        assert found.flags.c_contiguous
        assert found.flags.writeable
        found[...] = 0
    assert identical(store.open_dataset("d3").read_array("t"), make_cells("float32", (4, 5), 3))


def test_order_and_repetition_of_names_are_kept(store):
    fleet(store, "int32")
    store.flush()
    names = ["d7", "d1", "d7", "d0", "d1"]
    expected = one_by_one(store, names)
    across = store.read_array_across("t", names)
    assert all(map(identical, across, expected))
    across[0][...] = -1
    assert identical(across[2], expected[2])
    assert identical(store.read_array_across_stacked("t", names), np.stack(expected))


def test_missing_datasets_and_arrays_are_none(store):
    fleet(store, "int32", names=NAMES[:2])
    store.create_dataset("bare")
    store.flush()
    store.create_dataset("pending")
    found = store.read_array_across("t", ["d0", "nowhere", "bare", "pending", "d1"])
    assert [one is None for one in found] == [False, True, True, True, False]


def test_an_array_that_no_dataset_has_is_a_key_error(store):
    fleet(store, "int32")
    with pytest.raises(KeyError, match="nothing"):
        store.read_array_across("nothing", NAMES)
    assert store.read_array_across("t", ["nowhere"]) == [None]


def test_a_stack_with_a_gap_is_a_key_error(store):
    fleet(store, "int32", names=NAMES[:2])
    store.create_dataset("bare")
    with pytest.raises(KeyError, match="bare"):
        store.read_array_across_stacked("t", ["d0", "bare"])
    with pytest.raises(KeyError, match="nowhere"):
        store.read_array_across_stacked("t", ["d0", "nowhere"])


@pytest.mark.parametrize("flushed", [False, True])
def test_shapes_and_dtypes_may_differ_between_datasets(store, flushed):
    kinds = [("int16", (2, 3)), ("float64", (3, 2)), ("string", (2, 2)), ("int16", (2, 3)), ("timestamp_ns", (4, 4))]
    names = [f"m{i}" for i in range(len(kinds))]
    for seed, (name, (dtype, shape)) in enumerate(zip(names, kinds, strict=True)):
        sample = {"timestamp_ns": "timestamp_nanoseconds"}.get(dtype, dtype)
        put(store.create_dataset(name), "t", make_cells(sample, shape, seed), dtype, (2, 2))
    if flushed:
        store.flush()
    for start, shape in [(None, None), ([1, 1], None), (None, [2, 2])]:
        assert all(
            map(identical, store.read_array_across("t", names, start, shape), one_by_one(store, names, start, shape))
        )
    with pytest.raises(ValueError, match="shape"):
        store.read_array_across_stacked("t", ["m0", "m1"])
    with pytest.raises(ValueError, match="'m0'"):
        store.read_array_across("t", names, [0, 0], [3, 2])


def test_arrays_of_other_dtype_are_not_stacked(store):
    put(store.create_dataset("a"), "t", np.zeros((2, 3), "f4"), "float32")
    put(store.create_dataset("b"), "t", np.zeros((2, 3), "f8"), "float64")
    with pytest.raises(ValueError, match="dtype"):
        store.read_array_across_stacked("t", ["a", "b"])
    # The dtype of a dataset that was not asked for decides nothing.
    assert store.read_array_across_stacked("t", ["b"]).dtype == np.float64
    assert store.read_array_across_stacked("t", ["a"]).dtype == np.float32


def test_arrays_of_one_shape_stack_whatever_their_chunks_fills_and_dims(store):
    cells = [make_cells("float32", (4, 5), seed) for seed in range(3)]
    put(store.create_dataset("a"), "t", cells[0], "float32")
    put(store.create_dataset("b"), "t", cells[1], "float32", (2, 2), float("nan"))
    view = store.create_dataset("c")
    view.define_array("t", "float32", ["other", "names"], [4, 5], [3, 5], -9.0)
    view.write_array("t", [2, 0], cells[2][2:])
    for _ in range(2):
        stacked = store.read_array_across_stacked("t", ["a", "b", "c"])
        assert identical(stacked[:2].copy(), np.stack(cells[:2]))
        assert (stacked[2, :2] == -9.0).all()
        assert identical(stacked[2, 2:].copy(), cells[2][2:])
        store.flush()


@pytest.mark.parametrize("call", ["read_array_across", "read_array_across_stacked"])
def test_boxes_that_leave_any_array_are_refused(store, call):
    fleet(store, "int32")
    read = getattr(store, call)
    for start, shape in [([5, 0], None), (None, [4, 6]), ([3, 3], [2, 2])]:
        with pytest.raises(ValueError, match="leaves"):
            read("t", NAMES, start, shape)
    with pytest.raises(ValueError, match="dimensions"):
        read("t", NAMES, [0], [1])
    with pytest.raises(ValueError, match="empty"):
        read("t", [])
    with pytest.raises(TypeError, match="sequence"):
        read("t", "d0")
    with pytest.raises(OverflowError):
        read("t", NAMES, [-1, 0])


@pytest.mark.parametrize("dtype", ["int64", "string", "float32"])
def test_scalars_and_empty_arrays_are_read_across(store, dtype):
    for seed, name in enumerate(NAMES):
        view = store.create_dataset(name)
        put(view, "scalar", make_cells(dtype, (), seed), dtype)
        put(view, "empty", make_cells(dtype, (0, 3), seed), dtype)
    for _ in range(2):
        for array in ("scalar", "empty"):
            expected = one_by_one(store, NAMES, array=array)
            across = store.read_array_across(array, NAMES)
            assert all(map(identical, across, expected)), (across, expected)
            assert identical(store.read_array_across_stacked(array, NAMES), np.stack(expected))
        store.flush()


def test_arrays_never_written_read_as_their_fill_across(store):
    for name, fill in (("a", 3), ("b", None), ("c", 5)):
        store.create_dataset(name).define_array("t", "int16", ["x"], [4], [2], fill)
    store.open_dataset("c").write_array("t", [1], np.array([9], "i2"))
    for _ in range(2):
        assert store.read_array_across_stacked("t", ["a", "b", "c"]).tolist() == [[3] * 4, [0] * 4, [5, 9, 5, 5]]
        store.flush()


def test_read_arrays_reads_one_box_of_many(store):
    view = store.create_dataset("d")
    put(view, "a", make_cells("int32", (4, 5)), "int32")
    put(view, "b", make_cells("string", (4, 6)), "string")
    found = view.read_arrays(["b", "never", "a"], [1, 1], [2, 3])
    assert list(found) == ["b", "never", "a"]
    assert found["never"] is None
    assert identical(found["a"], make_cells("int32", (4, 5))[1:3, 1:4].copy())
    assert identical(found["b"], make_cells("string", (4, 6))[1:3, 1:4].copy())


def test_ten_thousand_datasets_are_read_in_one_call(store):
    names = [f"s{i:05}" for i in range(10_000)]
    for i, name in enumerate(names):
        view = store.create_dataset(name)
        view.define_array("t", "float32", ["x"], [6])
        view.write_array("t", [0], np.full(6, i, "f4") + np.arange(6, dtype="f4"))
    store.flush()
    stacked = store.read_array_across_stacked("t", names, [2], [3])
    assert identical(stacked, (np.arange(10_000)[:, None] + np.arange(2, 5)).astype("f4"))


@pytest.mark.parametrize("names", [None, 3, "d0", ["d0", 3]])
@pytest.mark.parametrize("call", ["read_array_across", "read_array_across_stacked"])
def test_names_that_are_no_strings_are_refused(store, call, names):
    with pytest.raises(TypeError, match="dataset_names") as caught:
        getattr(store, call)("t", names)
    assert isinstance(caught.value, AtlasError)


def test_a_missing_dataset_and_a_missing_array_raise_different_errors(store):
    store.create_dataset("d").define_array("t", "int8", [], [])
    store.create_dataset("bare")
    with pytest.raises(DatasetNotFoundError, match="'nowhere'"):
        store.read_array_across_stacked("t", ["d", "nowhere"])
    with pytest.raises(ArrayNotFoundError, match="'bare' has no array 't'"):
        store.read_array_across_stacked("t", ["d", "bare"])


def test_what_was_declared_once_is_checked_by_type_too(store):
    view = store.create_dataset("d")
    view.define_array("a", "int8", ["x"], [2])
    for shape in ([2.0], [True]):
        with pytest.raises(TypeError):
            store.create_dataset(f"e{shape}").define_array("a", "int8", ["x"], shape)
    with pytest.raises(TypeError, match="names"):
        view.read_arrays("a")
