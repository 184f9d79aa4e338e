"""Many datasets as one: what comes back is what `xr.concat` gives of them, or a refusal that says what differs."""

from __future__ import annotations

import pickle
import re

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import ArrayNotFoundError, InvalidTypeError, InvalidValueError
from atlas.read.reader import Reader
from atlas.storage import MemoryStorage


def put(store, *datasets, names="abcdefgh"):
    for name, ds in zip(names, datasets, strict=False):
        store.add_xr_dataset(ds, name)
    return list(names[: len(datasets)])


def one(cells, attrs=None, dims="x", **coords):
    return xr.Dataset({"t": (dims, np.asarray(cells), attrs or {})}, coords)


@pytest.fixture(params=[False, True], ids=["pending", "flushed"])
def settle(request, store):
    return store.flush if request.param else lambda: None


# Axes


def test_axes_in_another_order_are_transposed_exactly(store, settle):
    cells = np.arange(6.0).reshape(2, 3)
    names = put(store, one(cells, dims=("y", "x")), one(cells.T + 10, dims=("x", "y")))
    settle()
    assert store.to_xarray_many(names).t.dims == ("dataset", "y", "x")
    np.testing.assert_array_equal(store.to_xarray_many(names).t, [cells, cells + 10])
    assert store.to_xarray_many(names[::-1]).t.dims == ("dataset", "x", "y")
    np.testing.assert_array_equal(store.to_xarray_many(names[::-1]).t, [cells.T + 10, cells.T])


def test_axes_of_other_names_are_refused_with_both_lists(store, settle):
    names = put(store, one([1.0, 2.0], dims="depth"), one([3.0, 4.0], dims="time"))
    settle()
    with pytest.raises(
        InvalidValueError, match=r"\['depth'\] in dataset 'a' and \['time'\] in dataset 'b'.*variables="
    ):
        store.to_xarray_many(names)
    with pytest.raises(InvalidValueError, match=r"\['depth'\] in dataset 'a' and \['time'\] in dataset 'b'"):
        store.read_array_across_stacked("t", names)


def test_an_axis_name_that_occurs_twice_is_no_other_order(store, settle):
    for name in "ab":
        view = store.create_dataset(name)
        view.define_array("t", "int8", ["x", "x"], [2, 2])
        view.write_array("t", [0, 0], np.array([[1, 2], [3, 4]], "i1"))
    settle()
    assert store.read_array_across_stacked("t", ["a", "b"]).tolist() == [[[1, 2], [3, 4]]] * 2
    with pytest.warns(UserWarning, match="Duplicate dimension"):
        assert store.to_xarray_many(["a", "b"]).t.values.tolist() == [[[1, 2], [3, 4]]] * 2
    store.create_dataset("c").define_array("t", "int8", ["x", "y"], [2, 2])
    for read in (store.to_xarray_many, lambda names: store.read_array_across_stacked("t", names)):
        with pytest.raises(InvalidValueError, match=r"\['x', 'x'\] in dataset 'a' and \['x', 'y'\] in dataset 'c'"):
            read(["a", "c"])


# Kinds of cells

DATE = cftime.DatetimeNoLeap(2000, 1, 1)
KINDS = {
    "numbers": np.array([1, 2]),
    "durations": np.array([1, 2], "m8[s]"),
    "dates": np.array([1, 2], "M8[s]"),
    "flags": np.array([True, False]),
    "text": np.array(["a", "b"], object),
    "bytes": np.array([b"a", b"b"]),
    "dates of the calendar 'noleap'": np.array([DATE, DATE], object),
    "dates of the calendar '360_day'": np.array([cftime.Datetime360Day(2000, 1, 1)] * 2, object),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_kinds_that_differ_are_refused_in_any_order(store, kind, other):
    names = put(store, one(KINDS[kind]), one(KINDS[other]))
    if kind == other:
        assert store.to_xarray_many(names).t.shape == (2, 2)
        return
    words = re.escape(f"array 't' holds {kind} in dataset 'a' and {other} in dataset 'b'")
    with pytest.raises(InvalidValueError, match=words):
        store.to_xarray_many(names)


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [(("i2", "f4"), "f4"), (("f4", "f8"), "f8"), (("i1", "i8"), "i8"), (("u1", "i1"), "i2"), (("i4", "f4"), "f8")],
)
def test_numbers_of_several_dtypes_get_one_that_keeps_them(store, dtypes, common):
    names = put(store, *(one(np.array([1, 100], dtype)) for dtype in dtypes))
    for order in (names, names[::-1]):
        many = store.to_xarray_many(order)
        assert many.t.dtype == common
        assert many.t.values.tolist() == [[1, 100]] * 2


def test_integers_that_a_float_does_not_keep_are_refused(store):
    names = put(store, one(np.array([2**53 + 1])), one(np.array([0.5])))
    with pytest.raises(InvalidValueError, match="integers of int64 that float64 does not keep"):
        store.to_xarray_many(names)


# Meaning


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "units": ("K", "degC"),
        "calendar": ("noleap", "360_day"),
        "flag_values": (np.array([1, 2], "i1"), np.array([1, 3], "i1")),
        "flag_meanings": ("good bad", "bad good"),
        "positive": ("up", "down"),
    }.items(),
)
def test_attributes_that_decide_the_meaning_are_refused_where_they_differ(store, settle, key, values):
    names = put(store, *(one([1.0, 2.0], {key: value}) for value in (values[0], values[0], values[1])))
    settle()
    for order in (names, names[::-1]):
        with pytest.raises(InvalidValueError, match=f"'t' has {key} .* in dataset '{order[0]}' and .* in dataset"):
            store.to_xarray_many(order)
    assert store.to_xarray_many(names[:2]).t.shape == (2, 2)
    assert store.to_xarray_many(names, variables=[]).sizes == {"dataset": 3}


def packed(scale=0.1, offset=0.0, fill=-9):
    return one(np.array([10, fill], "i2"), {"scale_factor": scale, "add_offset": offset, "_FillValue": np.int16(fill)})


@pytest.mark.parametrize("others", [{"scale": 0.5}, {"offset": 273.15}, {"fill": -1}, {"scale": 2.0, "fill": 7}])
def test_packed_values_are_decoded_where_their_packing_differs(store, settle, others):
    parts = packed(), packed(**others)
    names = put(store, *parts)
    settle()
    for order in ([0, 1], [1, 0]):
        many = store.to_xarray_many([names[at] for at in order])
        want = xr.concat([xr.decode_cf(parts[at]) for at in order], "dataset")
        np.testing.assert_array_equal(many.t, want.t)
        assert "scale_factor" not in many.t.attrs
    if "fill" in others and len(others) == 1:  # which takes no decoding
        assert store.read_array_across_stacked("t", names).tolist() == [[10, -9]] * 2
    else:
        with pytest.raises(InvalidValueError, match=r"'t' has (scale_factor|add_offset)"):
            store.read_array_across_stacked("t", names)
    assert store.to_xarray_many([names[0], names[0]]).t.dtype == np.int16  # nothing to bring to one


def test_dates_since_other_days_are_decoded(store, settle):
    parts = [one([0, 1], {"units": f"days since {year}-01-01"}) for year in (2000, 2001)]
    names = put(store, *parts)
    settle()
    many = store.to_xarray_many(names)
    assert many.t.values.astype("M8[D]").astype(str).tolist() == [
        ["2000-01-01", "2000-01-02"],
        ["2001-01-01", "2001-01-02"],
    ]
    assert "units" not in many.t.attrs
    other = one([0, 1], {"units": "days since 2000-01-01", "calendar": "360_day"})
    store.add_xr_dataset(other, "other")
    with pytest.raises((InvalidTypeError, InvalidValueError), match="'t'"):
        store.to_xarray_many(["a", "other"])


# Coordinates


def profile(lat, z, **more):
    return xr.Dataset(
        {"t": ("z", [1.0, 2.0])}, {"lat": lat, "z": z, **more}, {"platform": f"at {lat}", "source": "ship"}
    )


def test_coordinates_that_differ_are_kept_for_each_dataset(store, settle):
    names = put(store, profile(10.0, [0, 5]), profile(60.0, [0, 5]))
    settle()
    many = store.to_xarray_many(names)
    assert (many.lat.dims, many.lat.values.tolist()) == (("dataset",), [10.0, 60.0])
    assert (many.z.dims, many.sel(z=5).t.values.tolist()) == (("z",), [2.0, 2.0])
    assert many.attrs == {"source": "ship"}
    xr.testing.assert_identical(
        many.drop_attrs(),
        xr.concat([profile(10.0, [0, 5]), profile(60.0, [0, 5])], "dataset").assign_coords(dataset=names).drop_attrs(),
    )


def test_a_coordinate_that_is_known_to_be_equal_is_read_of_one_dataset(monkeypatch):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    height = np.arange(3000.0) ** 1.5
    names = put(store, *[one(height + at, {}, "height", height=height, lat=float(at)) for at in range(4)])
    store.flush()
    add = Atlas.open(storage)
    put(add, *[one(height + at, {}, "height", height=height, lat=float(at)) for at in range(4, 8)], names="efgh")
    add.flush()
    store, names = Atlas.open(storage), list("abcdefgh")
    read, original = [], Reader.read_stacked

    def noting(self, array, dataset_names, *arguments):
        read.append((array, list(dataset_names)))
        return original(self, array, dataset_names, *arguments)

    monkeypatch.setattr(Reader, "read_stacked", noting)
    many = store.to_xarray_many(names)
    assert sorted(read) == [("height", ["a"]), ("lat", names), ("t", names)]
    assert many.height.dims == ("height",)
    np.testing.assert_array_equal(many.height, height)
    assert many.lat.values.tolist() == list(range(8))
    # What is pending is read: two handles may have written the same cells.
    store.open_dataset("b").write_array("height", [0], np.array([0.5]))
    read.clear()
    assert store.to_xarray_many(names).height.dims == ("dataset", "height")
    assert ("height", names) in read
    store.flush()
    read.clear()
    assert store.to_xarray_many(names).height.dims == ("dataset", "height")
    assert store.to_xarray_many([name for name in names if name != "b"]).height.dims == ("height",)
    assert [len(some) for array, some in read if array == "height"] == [8, 1]


class TestLabelsThatDiffer:
    @pytest.fixture
    def names(self, store, settle):
        names = put(store, profile(10.0, [0, 5]), profile(60.0, [5, 200]))
        settle()
        return names

    def test_they_are_kept_and_not_looked_up(self, store, names):
        many = store.to_xarray_many(names)
        assert (many.z.dims, many.z.values.tolist()) == (("dataset", "z"), [[0, 5], [5, 200]])
        with pytest.raises(InvalidValueError, match=r"labels of 'z' differ .*\.isel\(dataset=0\).*join='outer'"):
            many.sel(z=5)
        assert many.isel(z=0).t.values.tolist() == [1.0, 1.0]
        assert many.sel(dataset="b").sel(z=200).t.item() == 2.0
        assert many.isel(dataset=[1, 0]).z.values.tolist() == [[5, 200], [0, 5]]
        assert many.indexes["z"].equals(pickle.loads(pickle.dumps(many)).indexes["z"])
        assert len(many.to_dataframe()) == 4
        assert (many + many).t.values.tolist() == [[2.0, 4.0]] * 2
        assert many.mean("dataset").t.values.tolist() == [1.0, 2.0]

    @pytest.mark.parametrize("join", ["outer", "inner"])
    def test_they_are_aligned(self, store, names, join):
        many = store.to_xarray_many(names, join=join)
        want = xr.concat(
            [profile(10.0, [0, 5]), profile(60.0, [5, 200])],
            "dataset",
            join=join,
            data_vars="all",
            coords="different",
            compat="equals",
        )
        xr.testing.assert_equal(many, want.assign_coords(dataset=names))

    def test_they_are_refused_or_taken_from_the_first(self, store, names):
        with pytest.raises(
            InvalidValueError, match=r"'z' differ between datasets 'a' and 'b'.*join='outer'.*tolerance="
        ):
            store.to_xarray_many(names, join="exact")
        many = store.to_xarray_many(names, join="override")
        assert (many.z.dims, many.z.values.tolist()) == (("z",), [0, 5])

    def test_axes_of_other_lengths_are_aligned_too(self, store, names):
        longer = xr.Dataset({"t": ("z", [7.0, 8.0, 9.0])}, {"lat": 1.0, "z": [0, 5, 9]})
        store.add_xr_dataset(longer, "c")
        with pytest.raises(
            InvalidValueError, match=r"shape \(2,\) in dataset 'a' and \(3,\) in dataset 'c'.*join='outer'"
        ):
            store.to_xarray_many(["a", "c"])
        many = store.to_xarray_many(["a", "c"], join="outer")
        np.testing.assert_array_equal(many.t, [[1, 2, np.nan], [7, 8, 9]])
        assert store.to_xarray_many(["a", "c"], join="inner").t.values.tolist() == [[1, 2], [7, 8]]


def test_small_differences_count_as_equal_within_a_tolerance(store):
    names = put(store, profile(10.0, [0.0, 5.0]), profile(10.0 + 1e-7, [0.0, 5.0 + 1e-7]))
    assert store.to_xarray_many(names).z.ndim == 2
    many = store.to_xarray_many(names, tolerance=1e-6, join="exact")
    assert (many.lat.item(), many.z.values.tolist()) == (10.0, [0.0, 5.0])


def test_a_coordinate_here_and_data_there_is_refused(store):
    names = put(store, one([1.0, 2.0], qc=("x", [1, 1])), xr.Dataset({"t": ("x", [1.0, 2.0]), "qc": ("x", [4, 9])}))
    for order, kinds in ((names, "a coordinate .* and data"), (names[::-1], "data .* and a coordinate")):
        with pytest.raises(InvalidValueError, match=f"'qc' is {kinds}.*variables="):
            store.to_xarray_many(order)


@pytest.mark.parametrize("differs", [False, True])
@pytest.mark.parametrize("what", ["text", "dates", "bytes"])
def test_scalar_coordinates_of_objects(store, what, differs):
    values = {"text": ["a", "b"], "dates": [DATE, cftime.DatetimeNoLeap(2001, 1, 1)], "bytes": [b"a", b"b"]}[what]
    names = put(store, *(one([1.0], name=np.array(value, object)) for value in (values[0], values[differs])))
    found = store.to_xarray_many(names)["name"]
    assert found.values.tolist() == (values if differs else values[0])


# Variables and attributes


def test_variables_that_some_lack_follow_one_rule_whatever_the_order(store):
    both = xr.Dataset({"t": ("x", [1.0, 2.0]), "n": ("x", [3, 4], {"_FillValue": -1}), "i": ("x", [5, 6])})
    names = put(store, both, both.drop_vars("n"), both[["t"]])
    for order in (names, names[::-1]):
        with pytest.raises(
            ArrayNotFoundError, match=r"no array '[ni]', which dataset .*missing='drop'.*missing='fill'.*variables="
        ):
            store.to_xarray_many(order)
        assert list(store.to_xarray_many(order, missing="drop").data_vars) == ["t"]
        assert list(store.to_xarray_many(order, variables=["t"]).data_vars) == ["t"]
        with pytest.raises(InvalidValueError, match="nothing to fill variable 'i' of int64"):
            store.to_xarray_many(order, missing="fill")
    filled = store.to_xarray_many(names[1::-1], missing="fill")
    assert filled.n.values.tolist() == [[-1, -1], [3, 4]]
    with pytest.raises(ArrayNotFoundError, match="'nope'"):
        store.to_xarray_many(names, variables=["nope"])


@pytest.mark.parametrize("how", ["drop_conflicts", "drop", "identical", "no_conflicts", "override"])
def test_other_attributes_are_combined_as_xarray_does(store, how):
    parts = [
        one([1.0], {"units": "K", "long_name": "a"}).assign_attrs(title="x", n=1),
        one([2.0], {"units": "K", "long_name": "b"}).assign_attrs(title="x", m=2),
    ]
    names = put(store, *parts)
    try:
        want = xr.concat(parts, "dataset", combine_attrs=how)
    except xr.MergeError:
        with pytest.raises(InvalidValueError, match=f"combine_attrs='{how}'"):
            store.to_xarray_many(names, combine_attrs=how)
        return
    many = store.to_xarray_many(names, combine_attrs=how)
    assert (many.attrs, many.t.attrs) == (want.attrs, want.t.attrs)


def test_an_attribute_that_differs_in_any_dataset_is_left_out(store):
    names = put(store, *(one([1.0]).assign_attrs(n=n) for n in (1, 1.0, 2)))
    assert store.to_xarray_many(names[:2]).attrs == {"n": 1}
    assert store.to_xarray_many(names).attrs == {}
    for name in names:
        store.flush()
        store[name].attrs["late"] = 1
    store[names[2]].attrs["late"] = 5
    assert store.to_xarray_many(names[:2]).attrs == {"n": 1, "late": 1}
    assert store.to_xarray_many(names).attrs == {}


def test_arrays_that_differ_in_other_attributes_are_read_in_one_go(store, monkeypatch):
    names = put(store, *(one([float(n)], {"history": f"file {n}", "units": "K"}) for n in range(8)))
    calls, read = [], Reader.read_stacked
    monkeypatch.setattr(Reader, "read_stacked", lambda *args: calls.append(args) or read(*args))
    many = store.to_xarray_many(names)
    assert (many.t.attrs, many.t.values.ravel().tolist()) == ({"units": "K"}, list(range(8)))
    assert len(calls) == 1


def test_attributes_are_combined_by_a_function(store):
    names = put(store, *(one([1.0]).assign_attrs(n=n) for n in range(3)))
    many = store.to_xarray_many(names, combine_attrs=lambda found, _: {"sum": sum(each.get("n", 0) for each in found)})
    assert many.attrs == {"sum": 3}


@pytest.mark.parametrize(
    "option",
    [{"join": "left"}, {"missing": "ignore"}, {"tolerance": -1}, {"tolerance": "a"}, {"combine_attrs": "some"}],
)
def test_options_that_there_are_not_are_refused(store, option):
    with pytest.raises(InvalidValueError, match=next(iter(option))):
        store.to_xarray_many(put(store, one([1.0])), **option)


# What a search for wrong values has found


def labelled(cells, labels, **coords):
    return xr.Dataset({"v": ("x", np.asarray(cells))}, {"x": labels, **coords})


def filled(cells, dtype, fill=None):
    return one(np.array(cells, dtype), {} if fill is None else {"_FillValue": fill})


def test_each_dataset_has_its_own_fill_value(store):
    names = put(store, filled([1, -9], "i2", -9), filled([-9, -99], "i4", -99), filled([-9, -99], "i4"))
    np.testing.assert_array_equal(store.to_xarray_many(names[:2]).t, [[1, np.nan], [-9, np.nan]])
    np.testing.assert_array_equal(store.to_xarray_many(["c", "a"]).t, [[-9, -99], [1, np.nan]])


@pytest.mark.parametrize("how", ["outer", "inner"])
def test_labels_without_an_index_are_not_aligned(store, how):
    names = put(store, labelled([1.0], [2]), labelled([5.0], [1]).drop_indexes("x"))
    for order in (names, names[::-1]):
        with pytest.raises(InvalidValueError, match=r"'x' has (an|no) index in dataset"):
            store.to_xarray_many(order, join=how)


def test_labels_that_the_first_dataset_lacks_are_taken_from_another(store):
    names = put(store, xr.Dataset({"v": ("x", [1.0, 2.0])}), labelled([3.0, 4.0], [10.0, 20.0]))
    assert store.to_xarray_many(names, missing="fill", join="override").x.values.tolist() == [10.0, 20.0]
    assert store.to_xarray_many(names, missing="fill").x.dims == ("dataset", "x")
    with pytest.raises(InvalidValueError, match=r"missing='fill' does not go with join='outer'.*'x'"):
        store.to_xarray_many(names, missing="fill", join="outer")


@pytest.mark.parametrize(
    ("dtype", "one_value", "other", "equal"),
    [
        ("i1", -128, 127, False),
        ("i8", -(2**63), 0, False),
        ("i8", -(2**63), 2**63 - 1, False),
        ("u1", 6, 5, True),
        ("i2", -1, 0, True),
    ],
)
def test_a_tolerance_does_not_wrap_around(store, dtype, one_value, other, equal):
    names = put(store, *(xr.Dataset({}, {"p": ("y", np.array([value], dtype))}) for value in (one_value, other)))
    for order in (names, names[::-1]):
        assert (store.to_xarray_many(order, tolerance=1).p.ndim == 1) == equal


def test_a_tolerance_is_in_the_unit_of_packed_coordinates(store):
    names = put(
        store, *(xr.Dataset({}, {"p": ("y", np.array([cell], "i2"), {"scale_factor": 0.01})}) for cell in (100, 150))
    )
    assert store.to_xarray_many(names, tolerance=1).p.ndim == 1
    assert store.to_xarray_many(names, tolerance=0.4).p.ndim == 2


@pytest.mark.parametrize("how", ["outer", "inner"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (labelled(np.array(["5000", "2000"], "M8[s]"), [1, 2]), labelled(np.array(["2000", "2000"], "M8[ns]"), [2, 3])),
        (labelled([2**62 + 1, 2], [1, 2]), labelled([1.5, 2.0], [2, 3])),
        (labelled([1, 2], [2**60 + 1, 3]), labelled([1.0], [2.0**60])),
        (labelled([2**53 + 1], [1]), labelled([2], [2])),
        (labelled([1, 2**62 + 1], [1, 2]), labelled(np.array([2**63 + 1, 5], "u8"), [2, 3])),
    ],
    ids=["dates", "integers and floats", "labels", "large integers", "signed and unsigned"],
)
def test_alignment_keeps_every_cell_or_is_refused(store, first, second, how):
    with pytest.raises((InvalidValueError, InvalidTypeError), match=r"'v'|'x'"):
        store.to_xarray_many(put(store, first, second), join=how)


def test_an_attribute_that_was_set_by_two_calls_is_one(store, settle):
    names = put(store, one([1.0]).assign_attrs({"title": "A", "my.title": 1}), one([2.0]))
    for key, value in (("title", "B"), ("my.title", 2)):
        store["b"].set_attribute(key, value)
    settle()
    assert store.to_xarray_many(names).attrs == {}


@pytest.mark.parametrize("dims", ["data", "coordinate"])
def test_numbers_of_other_calendars_are_refused(store, dims):
    def dated(calendar):
        cells = ("x", [1.0, 2.0], {"units": "days since 2000-01-01"} | ({"calendar": calendar} if calendar else {}))
        return xr.Dataset({"v": cells}) if dims == "data" else xr.Dataset({}, {"v": cells})

    put(store, dated("noleap"), dated("360_day"), dated(None), dated("standard"), dated("proleptic_gregorian"))
    for names in ("ab", "ba", "ac", "ca"):
        with pytest.raises(InvalidValueError, match="'v' has calendar"):
            store.to_xarray_many(list(names))
    assert store.to_xarray_many(["c", "d"]).v.dtype.kind == "f"
    assert store.to_xarray_many(["d", "e"]).v.dtype.kind == "M"


def test_text_is_not_decoded(store):
    cells = np.array([b"ac", b"b"])
    names = put(store, one(cells, {"_Encoding": "utf-8", "missing_value": b"a"}), one(cells))
    with pytest.raises(InvalidValueError, match="'t' has missing_value"):
        store.to_xarray_many(names)
    put(store, one(np.array([b"abc", b"b"]), {"_FillValue": b"x"}), one(np.array([b"a", b"c"])), names="cd")
    with pytest.raises(InvalidValueError, match="'t' has _FillValue"):
        store.to_xarray_many(["c", "d"])


def test_dates_with_other_fill_values_get_that_of_the_first_or_are_refused(store):
    def dates(fill, *cells, **attrs):
        return one(np.array(cells, "M8[s]"), attrs | ({} if fill is None else {"_FillValue": np.datetime64(fill, "s")}))

    names = put(store, dates("2000", "2000", "2001", q=1), dates("2002", "2002", "2003", q=2), dates(None, "2000", q=3))
    many = store.to_xarray_many(names[:2]).t
    assert many.attrs == {"_FillValue": np.datetime64("2000", "s")}
    assert many.values.astype("M8[Y]").astype(str).tolist() == [["2000", "2001"], ["2000", "2003"]]
    store.add_xr_dataset(dates(None, "2000", "2001"), "d")
    with pytest.raises(InvalidValueError, match="become missing"):
        store.to_xarray_many(["a", "d"])


def test_missing_bytes_are_filled_whole(store):
    names = put(store, one(np.array([b"a"]), {"_FillValue": b"MISSING"}), xr.Dataset())
    assert store.to_xarray_many(names, missing="fill").t.values.tolist() == [[b"a"], [b"MISSING"]]


@pytest.mark.parametrize("fill", [100_000, "zzz", float("nan"), 1.5])
def test_a_fill_value_that_is_no_cell_is_refused(store, fill):
    names = put(store, one(np.array([1], "i2")), xr.Dataset())
    store["a"].set_attribute("t._FillValue", fill)
    with pytest.raises(InvalidValueError, match="no cell of int16"):
        store.to_xarray_many(names, missing="fill")


def test_fill_values_that_were_set_as_attributes_count(store):
    names = put(store, one(np.array([1, 2], "i2")), one(np.array([1, 2], "i2")))
    for name, value in zip(names, (1, 2), strict=True):
        store[name].set_attribute("t._FillValue", value)
    np.testing.assert_array_equal(store.to_xarray_many(names).t, [[np.nan, 2], [1, np.nan]])
    with pytest.raises(InvalidValueError, match="'t' has _FillValue 1 in dataset 'a' and 2 in dataset 'b'"):
        store.read_array_across_stacked("t", names)


@pytest.mark.parametrize("attrs", [{"scale_factor": "abc"}, {"add_offset": b"1"}, {"scale_factor": [1.0, 2.0]}])
def test_packing_that_cannot_be_decoded_is_refused_by_name(store, attrs):
    names = put(store, one(np.array([1, 2], "i2"), attrs), one(np.array([1, 2], "i2"), {"scale_factor": 1.0}))
    with pytest.raises(InvalidValueError, match=r"that of dataset '[ab]' cannot be decoded"):
        store.to_xarray_many(names)


@pytest.mark.parametrize("made", [None, 5, [1], "ab", {1: 2}])
def test_functions_that_combine_attributes_return_a_dict_of_them(store, made):
    with pytest.raises(InvalidTypeError, match="returns a dict of attributes by name"):
        store.to_xarray_many(put(store, one([1.0])), combine_attrs=lambda *_: made)


def test_functions_combine_attributes_where_labels_are_aligned_too(store):
    names = put(store, labelled([1.0], [1]), labelled([2.0], [2]))
    assert store.to_xarray_many(names, join="outer", combine_attrs=lambda found, _: {"n": len(found)}).attrs == {"n": 2}


def test_variables_leaves_out_what_is_a_coordinate_in_some(store):
    names = put(store, one([1.0, 2.0], qc=("x", [1, 1])), xr.Dataset({"t": ("x", [1.0, 2.0]), "qc": ("x", [4, 9])}))
    assert list(store.to_xarray_many(names, variables=["t"]).variables) == ["t", "dataset"]


def test_missing_text_is_one_in_coordinates_too(store):
    def station(*cells):
        return xr.Dataset({}, {"s": ("x", np.array(cells, np.dtypes.StringDType(na_object=np.nan)))})

    names = put(store, station("a", np.nan), station("a", np.nan), station("a", "b"))
    assert store.to_xarray_many(names[:2]).s.dims == ("x",)
    assert store.to_xarray_many(names).s.dims == ("dataset", "x")


def test_labels_that_differ_keep_together_when_they_are_renamed(store):
    many = store.to_xarray_many(put(store, labelled([1.0, 2.0], [10, 20]), labelled([3.0, 4.0], [20, np.nan])))
    assert many.rename(dataset="d", x="z").isel(d=0).z.values.tolist() == [10, 20]
    assert (many + many.copy(deep=True)).v.values.tolist() == [[2.0, 4.0], [6.0, 8.0]]


# Any fleet

CHOICES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["i2", "i4", "f4", "f8", "M8[s]", "M8[ms]", "m8[s]"]),
        "transposed": st.booleans(),
        "units": st.sampled_from([None, "K", "degC"]),
        "lat": st.sampled_from([None, 1.0, 2.0]),
        "x": st.sampled_from([None, (0, 1), (1, 2)]),
        "scale": st.sampled_from([None, 0.5, 2.0]),
        "note": st.sampled_from([None, "a", "b"]),
    }
)


def made(seed, dtype, transposed, units, lat, x, scale, note):
    cells = (np.arange(6) + 10 * seed).astype(dtype).reshape(3, 2)
    attrs = {"units": units} if units and cells.dtype.kind not in "mM" else {}
    if scale and cells.dtype.kind in "if":
        attrs["scale_factor"] = scale
    coords = {key: value for key, value in (("lat", lat), ("x", None if x is None else list(x))) if value is not None}
    ds = xr.Dataset({"t": (("y", "x"), cells, attrs)}, coords, {} if note is None else {"note": note})
    return ds.transpose("x", "y") if transposed else ds


@given(st.lists(CHOICES, min_size=1, max_size=4), st.booleans())
def test_any_fleet_is_what_concat_gives_or_is_refused(choices, flushed):
    parts = [made(seed, **choice) for seed, choice in enumerate(choices)]
    store = Atlas.create(MemoryStorage())
    names = put(store, *parts)
    if flushed:
        store.flush()
    try:
        many = store.to_xarray_many(names)
    except (InvalidValueError, InvalidTypeError, ArrayNotFoundError):
        refused = True
    else:
        refused = False
    if refused:
        assert any(len({str(choice[key]) for choice in choices}) > 1 for key in CHOICES_THAT_REFUSE)
        return
    units = {part.t.attrs.get("units") for part in parts}
    assert len(units) == 1
    scales = {part.t.attrs.get("scale_factor") for part in parts}
    for at, part in enumerate(parts):
        expected = part if len(scales) == 1 else xr.decode_cf(part)
        own = many.isel(dataset=at)
        assert own.t.dims == parts[0].t.dims
        np.testing.assert_array_equal(own.t.transpose(*expected.t.dims), expected.t)
        for name in ("lat", "x"):
            if name in part.coords:
                np.testing.assert_array_equal(own[name], part[name])
        if "note" in many.attrs:
            assert {each.attrs.get("note", many.attrs["note"]) for each in parts} == {many.attrs["note"]}


CHOICES_THAT_REFUSE = ("dtype", "units", "lat", "x", "scale")
