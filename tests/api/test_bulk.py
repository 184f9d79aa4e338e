"""Reads across datasets give what reads of each dataset give."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import xarray as xr

from atlas import AtlasError
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidValueError
from tests.api.samples import DTYPES, make_cells, put, settle
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
    store = settle(store, place, state)
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


def test_arrays_of_one_shape_stack_whatever_their_chunks(store):
    cells = [make_cells("float32", (4, 5), seed) for seed in range(3)]
    put(store.create_dataset("a"), "t", cells[0], "float32")
    put(store.create_dataset("b"), "t", cells[1], "float32", (2, 2), float("nan"))
    put(store.create_dataset("c"), "t", cells[2], "float32", (3, 5))
    for _ in range(2):
        assert identical(store.read_array_across_stacked("t", ["a", "b", "c"]), np.stack(cells))
        store.flush()


class TestAxes:
    """Axes are matched by their names, in the order of the first dataset named."""

    DIMS: ClassVar = {"a": ["time", "lat", "lon"], "b": ["lon", "time", "lat"], "c": ["lat", "lon", "time"]}
    SIZES: ClassVar = {"time": 3, "lat": 3, "lon": 3}

    @pytest.fixture
    def cells(self, store):
        found = {}
        for seed, (name, dims) in enumerate(self.DIMS.items()):
            cells = make_cells("float64", tuple(self.SIZES[dim] for dim in dims), seed)
            view = store.create_dataset(name)
            view.define_array("t", "float64", dims, cells.shape, [2] * 3)
            view.write_array("t", [0, 0, 0], cells)
            found[name] = xr.DataArray(cells, dims=dims)
        return found

    @pytest.mark.parametrize("names", [["a", "b", "c"], ["c", "a", "b"], ["b", "a", "b"]])
    @pytest.mark.parametrize(("start", "shape"), [(None, None), ([0, 1, 2], None), ([1, 0, 1], [2, 3, 1])])
    def test_arrays_are_transposed_exactly(self, store, cells, names, start, shape):
        dims = self.DIMS[names[0]]
        box = tuple(
            slice(s, None if shape is None else s + n) for s, n in zip(start or [0] * 3, shape or [0] * 3, strict=True)
        )
        expected = np.stack([np.asarray(cells[name].transpose(*dims))[box] for name in names])
        for _ in range(2):
            assert identical(store.read_array_across_stacked("t", names, start, shape), expected)
            store.flush()

    def test_axes_of_other_names_are_refused_with_both_lists(self, store, cells):
        view = store.create_dataset("d")
        view.define_array("t", "float64", ["time", "lat", "depth"], [3, 3, 3])
        words = r"\['time', 'lat', 'lon'\] in dataset 'a' and \['time', 'lat', 'depth'\] in dataset 'd'"
        with pytest.raises(InvalidValueError, match=words):
            store.read_array_across_stacked("t", ["a", "d"])
        assert len(store.read_array_across("t", ["a", "d"])) == 2

    def test_lengths_are_compared_by_name(self, store, cells):
        view = store.create_dataset("d")
        view.define_array("t", "float64", ["lon", "lat", "time"], [3, 3, 4])
        with pytest.raises(
            InvalidValueError, match=r"shape.*\(3, 3, 3\) in dataset 'a' and \(4, 3, 3\) in dataset 'd'"
        ):
            store.read_array_across_stacked("t", ["a", "d"])


DECIDING = {
    "units": ("K", "degC"),
    "calendar": ("noleap", "360_day"),
    "scale_factor": (0.1, 0.5),
    "add_offset": (0, 273.15),
    "missing_value": (-1, None),
    "_Unsigned": ("true", None),
    "flag_values": ([1, 2], [1, 3]),
    "flag_meanings": ("good bad", "bad good"),
    "positive": ("up", "down"),
}


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("key", DECIDING)
def test_arrays_that_mean_different_things_are_not_stacked(store, key, flushed):
    for name, value in zip("abc", (DECIDING[key][0], *DECIDING[key]), strict=True):
        view = store.create_dataset(name)
        put(view, "t", np.arange(3.0), "float64")
        view.attrs["of"] = name
        if value is not None:
            view["t"].attrs[key] = value
    if flushed:
        store.flush()
    for names in (["a", "c"], ["c", "b"], ["a", "b", "c"]):
        with pytest.raises(
            InvalidValueError, match=rf"array 't' has {key} .* in dataset '{names[0]}' and .*'{names[-1]}'"
        ):
            store.read_array_across_stacked("t", names)
        assert len(store.read_array_across("t", names)) == len(names)
    assert store.read_array_across_stacked("t", ["a", "b"]).shape == (2, 3)


@pytest.mark.parametrize(
    ("one", "two"), [(1, 1.0), ([5], 5), (np.float32(0.5), 0.5), (float("nan"), np.float64("nan"))]
)
def test_values_that_mean_the_same_are_no_difference(store, one, two):
    for name, value in (("a", one), ("b", two)):
        put(store.create_dataset(name), "t", np.arange(3.0), "float64")
        store[name]["t"].attrs["scale_factor"] = value
    assert store.read_array_across_stacked("t", ["a", "b"]).shape == (2, 3)


def test_what_was_found_of_datasets_is_looked_up_anew_once_they_change(store):
    for name in "ab":
        put(store.create_dataset(name), "t", np.arange(3.0), "float64")
        store[name]["t"].attrs["units"] = "m"
    store.flush()
    assert store.read_array_across_stacked("t", ["a", "b"]).shape == (2, 3)
    store["b"]["t"].attrs["units"] = "km"
    with pytest.raises(InvalidValueError, match="units 'm' in dataset 'a' and 'km' in dataset 'b'"):
        store.read_array_across_stacked("t", ["a", "b"])
    store.flush()
    with pytest.raises(InvalidValueError, match="'km'"):
        store.read_array_across_stacked("t", ["a", "b"])
    store["a"]["t"].attrs["units"] = "km"
    assert store.read_array_across_stacked("t", ["a", "b"]).shape == (2, 3)


def test_fill_values_become_that_of_the_first_where_no_cell_changes_its_meaning(store):
    fills = {"nine": -9.0, "one": -1.0, "nan": float("nan"), "none": None}
    for name, fill in fills.items():
        view = store.create_dataset(name)
        put(view, "t", np.array([0.0, 1.0]), "float64", None, fill)
        view.define_array("u", "float64", ["x"], [2], None, fill)
    read = store.read_array_across_stacked
    for name in fills:
        assert read("t", [name, *fills]).tolist() == [[0.0, 1.0]] * 5
    np.testing.assert_array_equal(read("u", ["nine", "one", "nan"]), [[-9, -9], [-9, -9], [np.nan, np.nan]])
    np.testing.assert_array_equal(read("u", ["nan", "nine", "one"]), [[np.nan, np.nan]] * 3)
    with pytest.raises(
        InvalidValueError, match=r"fill value None in dataset 'none' and -9.0 in dataset 'nine', where a cell"
    ):
        read("u", ["none", "nine"])
    store["none"].write_array("u", [1], np.array([-9.0]))
    with pytest.raises(
        InvalidValueError, match=r"fill value -9.0 in dataset 'nine' and None in dataset 'none', where a cell"
    ):
        read("u", ["nine", "none"])
    assert read("u", ["one", "none"]).tolist() == [[-1, -1], [0, -9]]


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
        assert store.read_array_across_stacked("t", ["a", "b", "c"]).tolist() == [[3] * 4, [0] * 4, [3, 9, 3, 3]]
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
