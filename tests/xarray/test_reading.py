"""Datasets of the store as xarray datasets, written through xarray or not."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas.dataset import exact_attributes
from atlas.errors import InvalidTypeError, InvalidValueError
from tests.exact import set_exact_attribute

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def define(view, name, dims, cells, chunk_shape=None, fill_value=None):
    dtype = "string" if cells.dtype == object else cells.dtype
    view.define_array(
        name, dtype=dtype, dims=dims, shape=list(cells.shape), chunk_shape=chunk_shape, fill_value=fill_value
    )
    view.write_array(name, start=[0] * cells.ndim, data=cells)


@pytest.fixture
def view(store):
    view = store.create_dataset("a")
    define(view, "t", ["y", "x"], X)
    define(view, "x", ["x"], np.arange(3))
    define(view, "q", ["x"], np.arange(3))
    return view


def test_the_page_example_comes_back_identical(store):
    ds = xr.Dataset(
        {
            "temperature": (
                ["lat", "lon"],
                np.arange(8 * 16, dtype=np.float32).reshape(8, 16),
                {"units": "C", "long_name": "surface temperature"},
            )
        },
        coords={"lat": np.arange(8, dtype=np.float32), "lon": np.arange(16, dtype=np.float32)},
        attrs={"month": 1, "station": "KNMI"},
    )
    store.add_xr_dataset(ds, "jan_2024")
    ds.atlas.write(store, "jan_2025")
    for name in ("jan_2024", "jan_2025"):
        back = store.to_xarray(name)
        xr.testing.assert_identical(ds, back)
        assert list(back.attrs) == list(ds.attrs)


def test_without_recorded_coordinates_an_array_named_like_its_dimension_is_a_coordinate(store, view):
    back = store.to_xarray("a")
    assert set(back.coords) == {"x"}
    assert list(back.data_vars) == ["t", "q"]


@pytest.mark.parametrize(
    ("record", "coords"),
    [
        ('["q"]', ["q", "x"]),
        ('["x", "gone"]', ["x"]),
        ("not json", ["x"]),
        ('{"x": 1}', ["x"]),
        ("[5, null]", ["x"]),
        ("[" * 100_000, ["x"]),
        (5, ["x"]),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:20],
)
def test_recorded_coordinates(store, view, record, coords):
    view.set_attribute("_pyatlas_coords", record)
    back = store.to_xarray("a")
    assert sorted(back.coords) == coords
    assert "_pyatlas_coords" not in back.attrs


def test_lazy_exactly_where_the_chunk_shape_differs(store, calls):
    view = store.create_dataset("a")
    define(view, "whole", ["y", "x"], X, [2, 3])
    define(view, "parts", ["y", "x"], X, [1, 3])
    define(view, "wider", ["y", "x"], X, [5, 5])
    define(view, "scalar", [], np.array(5))
    define(view, "text", ["x"], np.array(["a", "b", "c"], object), [2])
    define(view, "y", ["y"], np.arange(2), [1])
    calls.clear()
    back = store.to_xarray("a")
    lazy = {name for name, variable in back.variables.items() if isinstance(variable.data, da.Array)}
    assert lazy == {"parts", "wider", "text"}
    assert {call[1] for call in calls} == {"whole", "scalar", "y"}
    assert back.parts.chunks == ((1, 1), (3,))
    assert back.wider.chunks == ((2,), (3,))
    assert back.text.dtype == object
    np.testing.assert_array_equal(back.parts.compute(), X)
    assert back.text.values.tolist() == ["a", "b", "c"]


def test_plain_attributes_go_to_the_longest_name(store):
    view = store.create_dataset("a")
    for name in ("t", "t.mean", "x"):
        define(view, name, ["x"], np.arange(3))
    for key in ("t.units", "t.mean.units", "t.mean", "t.", "other.units", ".t", "plain", "x.y.z"):
        view.set_attribute(key, key)
    back = store.to_xarray("a")
    assert back["t"].attrs == {"units": "t.units", "mean": "t.mean", "": "t."}
    assert back["t.mean"].attrs == {"units": "t.mean.units"}
    assert back["x"].attrs == {"y.z": "x.y.z"}
    assert back.attrs == {"other.units": "other.units", ".t": ".t", "plain": "plain"}


def test_attributes_written_through_xarray_keep_their_owner(store):
    ds = xr.Dataset(
        {"t": ("x", [1], {"mean": 1, "": 2, "means.units": 3}), "t.mean": ("x", [1], {"units": 4})},
        attrs={"u.units": 5, ".t": 6, "t": 7},
    )
    store.add_xr_dataset(ds, "a")
    xr.testing.assert_identical(store.to_xarray("a"), ds)


def test_attributes_go_with_their_array(store):
    attrs = {"t.mean": {"units": "K"}, "t": {"units": "C", "plain": 1}}
    store.add_xr_dataset(xr.Dataset({name: ("x", [1], own) for name, own in attrs.items()}, attrs={"u": 1}), "a")
    view = store.open_dataset("a")
    view.set_attribute("t.later", 5)
    view.delete_array("t")
    assert list(exact_attributes(view)) == [("t.mean", "units"), ("u",), "_pyatlas_coords"]
    view.delete_array("t.mean")
    assert list(exact_attributes(view)) == [("u",), "_pyatlas_coords"]
    assert store.to_xarray("a").attrs == {"u": 1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("json:[1, 2]", [1, 2]),
        ('json:{"a": [NaN]}', None),
        ("json:5", "json:5"),
        ("json:null", "json:null"),
        ("json:nonsense", "json:nonsense"),
        ("json:", "json:"),
        ("json:" + "[" * 100_000, "json:" + "[" * 100_000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_set_by_users_is_shown_where_it_is_a_list_or_dict(store, view, text, shown):
    view.set_attribute("k", text)
    value = store.to_xarray("a").attrs["k"]
    if shown is None:
        assert np.isnan(value["a"][0])
    else:
        assert value == shown


@pytest.mark.parametrize(
    "value",
    [
        "json:[1]",
        'json:{"a": 1}',
        "2020-01-01",
        float("inf"),
        -0.0,
        0.1 + 0.2,
        b"\xff",
        None,
        [],
        [1, [2.5, None]],
        (1, 2),
        {"a": {"b": [1]}},
        np.float32(1.1),
        np.uint64(2**64 - 1),
        np.datetime64("2020-01-01", "s"),
        np.arange(6).reshape(2, 3),
        np.array(["a", "b"]),
    ],
    ids=repr,
)
def test_attributes_of_every_kind_come_back_exactly(store, value):
    store.add_xr_dataset(xr.Dataset({"t": ((), 1, {"k": value})}, attrs={"k": value}), "a")
    back = store.to_xarray("a")
    for attrs in (back.attrs, back.t.attrs):
        assert type(attrs["k"]) is type(value)
        np.testing.assert_equal(attrs["k"], value)


def test_timestamps_set_by_users_are_shown_as_int(store, view):
    view.set_attribute("when", 5, dtype="timestamp_nanoseconds")
    value = store.to_xarray("a").attrs["when"]
    assert value == 5
    assert type(value) is int


def test_the_caller_may_change_returned_attributes(store):
    store.add_xr_dataset(xr.Dataset(attrs={"list": [1], "array": np.arange(2)}), "a")
    attrs = store.to_xarray("a").attrs
    attrs["list"].append(2)
    attrs["array"][0] = 9
    again = store.to_xarray("a").attrs
    assert again["list"] == [1]
    assert again["array"].tolist() == [0, 1]


def test_the_fill_value_is_last(store, view):
    define(view, "f", ["x"], np.zeros(3), fill_value=-1.0)
    view.set_attribute("f.units", "C")
    assert list(store.to_xarray("a").f.attrs.items()) == [("units", "C"), ("_FillValue", -1.0)]


@pytest.mark.parametrize(
    ("dtype", "recorded", "fill", "shown"),
    [
        ("M8[s]", None, 5, np.datetime64(5, "s")),
        ("M8[ns]", None, 5, np.datetime64(5, "ns")),
        ("m8[ms]", None, -(2**63), np.timedelta64("NaT", "ms")),
        ("M8[ns]", "datetime64[D]", 86_400 * 10**9, np.datetime64(1, "D")),
        ("M8[ns]", "datetime64[D]", 5, np.datetime64(5, "ns")),
        ("m8[ns]", "timedelta64[h]", -(2**63), np.timedelta64("NaT", "h")),
        ("i8", "timedelta64[s]", 5, 5),
        ("i8", None, 5, 5),
    ],
    ids=str,
)
def test_the_fill_value_of_times_is_a_time(store, dtype, recorded, fill, shown):
    view = store.create_dataset("a")
    define(view, "t", ["x"], np.zeros(3, dtype), fill_value=fill)
    view.set_attribute("t.units", "C")
    if recorded:
        set_exact_attribute(view, ("t", "_atlas_dtype"), recorded)
    attrs = store.to_xarray("a").t.attrs
    assert list(attrs) == ["units", "_FillValue"]
    found = attrs["_FillValue"]
    assert (type(found), np.asarray(found).dtype) == (type(shown), np.asarray(shown).dtype)
    assert np.asarray(found).tobytes() == np.asarray(shown).tobytes()
    assert view.array_fill_value("t") == fill


@pytest.mark.parametrize(
    "recorded", ["datetime64[D]", "timedelta64[fortnight]", "int8", 5, "timedelta64[999999999999s]"]
)
def test_a_recorded_dtype_that_does_not_fit_is_ignored(store, view, recorded):
    set_exact_attribute(view, ("q", "_atlas_dtype"), recorded)
    assert store.to_xarray("a").q.dtype == np.int64


def test_finer_times_written_later_are_an_error_not_a_loss(store):
    view = store.create_dataset("a")
    define(view, "t", ["x"], np.array([1], "M8[ns]"))
    set_exact_attribute(view, ("t", "_atlas_dtype"), "datetime64[D]")
    with pytest.raises(InvalidValueError, match="'t'"):
        store.to_xarray("a")


def test_arrays_that_differ_in_a_dimension_length_are_an_error(store, view):
    define(view, "longer", ["x"], np.arange(4))
    with pytest.raises(InvalidValueError, match="'a'"):
        store.to_xarray("a")


def test_a_missing_dataset_is_a_key_error(store):
    with pytest.raises(KeyError):
        store.to_xarray("nope")


def test_an_empty_dataset_comes_back(store):
    store.add_xr_dataset(xr.Dataset(), "a")
    xr.testing.assert_identical(store.to_xarray("a"), xr.Dataset())


class TestMany:
    @pytest.fixture
    def parts(self, store):
        parts = [
            xr.Dataset(
                {
                    "t": (("y", "x"), X + 10 * i, {"units": "C", "_FillValue": np.float32(-1)}),
                    "s": i,
                    "name": ("x", np.array(["a", "b", f"c{i}"], object)),
                    "when": ("x", np.array([i, 2, 3], "M8[s]")),
                },
                coords={"x": [1, 2, 3], "lat": 50.0 + i},
                attrs={"i": i},
            )
            for i in range(3)
        ]
        for i, part in enumerate(parts):
            store.add_xr_dataset(part, f"d{i}", chunks={"t": [1, 3]})
        return parts

    @pytest.mark.parametrize("parallel", [True, False])
    def test_datasets_are_stacked_along_their_names(self, store, parts, parallel):
        many = store.to_xarray_many(["d2", "d0", "d1"], parallel=parallel)
        assert dict(many.sizes) == {"dataset": 3, "y": 2, "x": 3}
        assert many["dataset"].values.tolist() == ["d2", "d0", "d1"]
        assert many.t.dims == ("dataset", "y", "x")
        assert many.s.values.tolist() == [2, 0, 1]
        assert many.attrs == {}
        assert many.lat.values.tolist() == [52.0, 50.0, 51.0]
        assert many.when.dtype == "M8[s]"
        assert list(many.t.attrs) == ["units", "_FillValue"]
        for position, i in enumerate((2, 0, 1)):
            for name in ("t", "s", "name", "when"):
                np.testing.assert_array_equal(many[name][position], parts[i][name])
        assert all(isinstance(variable.data, np.ndarray) for variable in many.variables.values())

    def test_the_new_dimension_has_the_name_asked_for(self, store, parts):
        many = store.to_xarray_many(["d0"], concat_dim="month")
        assert many.t.dims == ("month", "y", "x")
        assert many.month.values.tolist() == ["d0"]

    @pytest.mark.parametrize("taken", ["t", "x", "y"])
    def test_a_dimension_that_is_taken_is_refused(self, store, parts, taken):
        with pytest.raises(InvalidValueError, match=taken):
            store.to_xarray_many(["d0", "d1"], concat_dim=taken)

    def test_no_names_are_refused(self, store, parts):
        with pytest.raises(InvalidValueError):
            store.to_xarray_many([])

    @pytest.mark.parametrize("names", ["d0", None, 3, [3]])
    def test_names_that_are_no_list_of_names_are_refused(self, store, parts, names):
        with pytest.raises(InvalidTypeError, match="name"):
            store.to_xarray_many(names)

    @pytest.mark.parametrize("dim", [3, None, ("a", "b")])
    def test_a_new_dimension_that_is_no_text_is_refused(self, store, parts, dim):
        with pytest.raises(InvalidTypeError, match="concat_dim is the name of the new dimension"):
            store.to_xarray_many(["d0"], concat_dim=dim)

    @pytest.mark.parametrize("parallel", [True, False])
    def test_a_missing_dataset_or_variable_is_a_key_error(self, store, parts, parallel):
        with pytest.raises(KeyError):
            store.to_xarray_many(["d0", "nope"], parallel=parallel)
        with pytest.raises(KeyError):
            store.to_xarray_many(["nope", "d0"], parallel=parallel)
        store.add_xr_dataset(parts[0].drop_vars("s"), "less")
        with pytest.raises(KeyError):
            store.to_xarray_many(["d0", "less"], parallel=parallel)
        with pytest.raises(KeyError):
            store.to_xarray_many(["less", "d0"], parallel=parallel)

    def test_times_of_several_units_stack_in_the_finest(self, store):
        for name, unit in (("coarse", "s"), ("fine", "ms"), ("last", "s")):
            ds = xr.Dataset({"t": ("x", np.array([1], f"M8[{unit}]")), "d": ("x", np.array([1], f"m8[{unit}]"))})
            store.add_xr_dataset(ds, name)
        many = store.to_xarray_many(["coarse", "fine", "last"])
        assert (many.t.dtype, many.d.dtype) == (np.dtype("M8[ms]"), np.dtype("m8[ms]"))
        assert many.t.values.view("i8").tolist() == many.d.values.view("i8").tolist() == [[1000], [1], [1000]]
        assert store.to_xarray_many(["coarse", "last"]).t.dtype == "M8[s]"

    def test_times_that_no_unit_keeps_do_not_stack(self, store):
        for name, time in (("far", np.datetime64("9999-01-01", "s")), ("fine", np.datetime64(1, "ns"))):
            store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([time]))}), name)
        with pytest.raises(InvalidValueError, match=r"'t' holds times of datetime64\[ns\] and datetime64\[s\]"):
            store.to_xarray_many(["far", "fine"])

    def test_times_of_several_units_and_shapes_do_not_stack(self, store):
        for name, cells in (("a", np.zeros(2, "M8[s]")), ("b", np.zeros(3, "M8[ns]"))):
            store.add_xr_dataset(xr.Dataset({"t": ("x", cells)}), name)
        with pytest.raises(InvalidValueError, match=r"array 't' has the shape \(2,\) in dataset 'a' and \(3,\)"):
            store.to_xarray_many(["a", "b"])

    def test_durations_do_not_stack_with_integers(self, store):
        for name, dtype in (("durations", "m8[s]"), ("integers", "i8")):
            store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([1], dtype))}), name)
        with pytest.raises(InvalidValueError, match=r"'t'.*'integers'"):
            store.to_xarray_many(["durations", "integers"])
        with pytest.raises(InvalidValueError, match=r"'t'.*'durations'"):
            store.to_xarray_many(["integers", "durations"])
