"""Datasets as the engine opens them: cells of `to_xarray`, decoded where they are stored raw, and read when used."""

from __future__ import annotations

import inspect

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray.testing import assert_identical

from atlas.engine import AtlasBackendEntrypoint
from atlas.errors import InvalidValueError


def opened(store, name="d", **options):
    return xr.open_dataset(store, engine=AtlasBackendEntrypoint, group=name, **options)


@pytest.fixture
def mixed():
    """Every kind of cells, with attributes and an encoding that a decoded file would have."""
    times = pd.date_range("2000-01-01", periods=4, unit="s")
    ds = xr.Dataset(
        {
            "t": (("time", "x"), np.arange(12.0).reshape(4, 3), {"units": "K"}),
            "flag": ("x", [True, False, True]),
            "text": ("x", np.array(["a", None, "é"], object)),
            "bytes": ("x", np.array([b"a", b"", b"bcd"], object)),
            "short": ("x", np.array([b"a", b"b", b"c"], "S1")),
            "date": ("x", [cftime.Datetime360Day(2000, 2, day) for day in (1, 2, 30)]),
            "span": ("x", np.array([1, 2, 3], "m8[ms]")),
            "when": ("x", times[:3], {"comment": "taken"}),
        },
        {"time": times, "x": [10, 20, 30], "label": ("x", ["p", "q", "r"]), "height": 2.0},
        {"title": "mixed"},
    )
    ds["t"].encoding = {"dtype": np.dtype("i2"), "scale_factor": 0.01, "_FillValue": np.int16(-1), "chunksizes": (2, 3)}
    ds["when"].encoding = {"units": "days since 1990-01-01", "calendar": "standard"}
    return ds


@pytest.mark.parametrize("options", [{}, {"decode_cf": False}, {"decode_coords": "all"}, {"chunks": {}}])
def test_what_was_added_comes_back_whatever_the_decoders(store, mixed, options):
    store.add_xr_dataset(mixed, "d", chunks={"t": [2, 2]})
    found = opened(store, **options)
    assert_identical(found.compute(), store.to_xarray("d").compute())
    assert list(found.variables) == list(store.to_xarray("d").variables)
    assert {name: variable.dtype for name, variable in found.variables.items()} == {
        name: variable.dtype for name, variable in store.to_xarray("d").variables.items()
    }
    assert found["when"].encoding["units"] == "days since 1990-01-01"
    assert found["t"].encoding["scale_factor"] == 0.01


def test_opening_reads_indexes_and_nothing_else(store, mixed, calls):
    store.add_xr_dataset(mixed, "d", chunks={"t": [2, 2]})
    calls.clear()
    ds = opened(store)
    assert sorted(name for _, name, *_ in calls) == ["time", "x"]
    calls.clear()
    if "create_default_indexes" in inspect.signature(xr.open_dataset).parameters:
        assert opened(store, create_default_indexes=False).xindexes == {}
        assert calls == []
    repr(ds)
    assert calls == []
    assert {name for name, variable in ds.variables.items() if variable._in_memory} == {"time", "x"}


def test_text_of_numpy_and_fixed_bytes_come_back_in_their_dtypes(store):
    ds = xr.Dataset(
        {"wide": ("x", np.array(["a", "bc", ""], np.dtypes.StringDType())), "long": ("x", [b"a", b"bc", b""])}
    )
    store.add_xr_dataset(ds, "d", chunks={"x": 2})
    for name in ("wide", "long"):
        assert opened(store)[name].dtype == ds[name].dtype
        np.testing.assert_array_equal(opened(store)[name].values, ds[name].values)


RAW = {
    "packed": (np.array([0, 5, -9], "i2"), {"scale_factor": 0.5, "add_offset": 1.0, "_FillValue": np.int16(-9)}),
    "dates": (np.array([0, 1, 2], "i4"), {"units": "days since 2000-01-01", "calendar": "360_day"}),
    "times": (np.array([0.5, 1.0, 2.0]), {"units": "hours since 2000-01-01"}),
    "unsigned": (np.array([-1, 1, 2], "i1"), {"_Unsigned": "true"}),
    "flag": (np.array([0, 1, 1], "i1"), {"dtype": "bool"}),
    "coded": (np.array([b"\xc3\xa9", b"a", b"b"], object), {"_Encoding": "utf-8"}),
    "named": (np.array(["", "a", "b"], object), {"_FillValue": ""}),
    "plain": (np.array([1.0, np.nan, 3.0]), {"units": "K"}),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("chunk", [2, 3])
def test_what_is_stored_raw_is_decoded_as_xarray_decodes_a_file(store, name, chunk):
    cells, attrs = RAW[name]
    raw = xr.Dataset({"v": ("x", cells, attrs)})
    store.add_xr_dataset(raw, "d", chunks={"x": chunk})
    assert_identical(opened(store, concat_characters=True).load(), xr.decode_cf(raw))
    assert_identical(opened(store, decode_cf=False).load(), store.to_xarray("d").load())


def test_a_decoder_may_be_given_for_each_variable(store):
    attrs = {"scale_factor": 2.0}
    store.add_xr_dataset(xr.Dataset({"a": ("x", [1, 2], attrs), "b": ("x", [1, 2], attrs)}), "d")
    ds = opened(store, mask_and_scale={"a": False})
    assert (ds["a"].values.tolist(), ds["b"].values.tolist()) == ([1, 2], [2.0, 4.0])
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1, 2], {"units": "days since 2000-01-01"})}), "times")
    assert opened(store, "times", decode_times=coder)["t"].dtype == "M8[s]"


def test_an_array_declared_with_a_fill_value_is_masked_as_a_file_is(store):
    view = store.create_dataset("d")
    view.define_array("n", "int16", ["x"], [3], fill_value=-9)
    view.define_array("flag", "bool", ["x"], [3], fill_value=False)
    view["n"][1] = 4
    ds = opened(store)
    np.testing.assert_array_equal(ds["n"].values, [np.nan, 4, np.nan])
    assert (ds["flag"].dtype, ds["flag"].values.tolist()) == (np.dtype(bool), [False] * 3), "a flag is never missing"
    assert opened(store, mask_and_scale=False)["n"].values.tolist() == [-9, 4, -9]


def test_attributes_that_say_how_cells_are_stored_win_over_an_encoding_that_says_otherwise(store):
    ds = xr.Dataset({"n": ("x", np.array([1, 2], "i2"), {"scale_factor": 10.0})})
    ds["n"].encoding = {"scale_factor": 0.5, "zlib": True}
    store.add_xr_dataset(ds, "d")
    found = opened(store)["n"]
    assert found.values.tolist() == [10.0, 20.0]
    assert (found.encoding["scale_factor"], found.encoding["zlib"]) == (10.0, True)


def test_times_with_units_among_their_attributes_are_not_decoded_twice(store):
    view = store.create_dataset("d")
    view.define_array("when", "datetime64[s]", ["x"], [2])
    view["when"][...] = np.array([1, 2], "M8[s]")
    view["when"].attrs["units"] = "days since 1950-01-01"
    found = opened(store)["when"]
    assert (found.dtype, found.attrs["units"]) == (np.dtype("M8[s]"), "days since 1950-01-01")
    np.testing.assert_array_equal(found.values, np.array([1, 2], "M8[s]"))


def test_characters_stay_apart_unless_asked_for(store):
    chars = np.array([[b"a", b"b"], [b"c", b""]], "S1")
    store.add_xr_dataset(xr.Dataset({"c": (("x", "n"), chars), "n2": (("n",), [1.0, 2.0])}), "shared")
    store.add_xr_dataset(xr.Dataset({"c": (("x", "n"), chars)}), "own")
    assert opened(store, "own")["c"].dims == ("x", "n")
    assert opened(store, "own", concat_characters=True)["c"].values.tolist() == [b"ab", b"c"]
    assert opened(store, "shared", concat_characters=True)["c"].dims == ("x", "n"), "another variable has that axis"


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_variables_that_others_name_become_coordinates(store, kind):
    labels = np.array(["p", "q"], object) if kind == "text" else [1.0, 2.0]
    raw = xr.Dataset(
        {
            "t": ("x", [1.0, 2.0], {"coordinates": "label", "grid_mapping": "crs"}),
            "label": ("x", labels),
            "crs": ((), 0),
            "name": ("x", np.array(["a", "b"], object), {"coordinates": "other missing"}),
            "other": ("x", np.array([1, 2], "M8[s]")),
        }
    )
    store.add_xr_dataset(raw, "d")
    ds = opened(store)
    assert set(ds.coords) == {"label", "other"}
    assert (ds["t"].encoding["coordinates"], ds["name"].encoding["coordinates"]) == ("label", "other missing")
    assert "coordinates" not in ds["name"].attrs
    assert set(opened(store, decode_coords="all").coords) == {"label", "other", "crs"}
    assert set(opened(store, decode_coords=False).coords) == set()
    assert opened(store, decode_coords=False)["name"].attrs == {"coordinates": "other missing"}


def test_variables_that_are_dropped_are_not_there(store, mixed):
    store.add_xr_dataset(mixed, "d")
    assert set(opened(store, drop_variables=["t", "label", "time"]).variables) == set(mixed.variables) - {
        *("t", "label", "time")
    }
    assert "t" not in opened(store, drop_variables="t")


def test_chunks_are_those_of_the_store_and_not_of_the_file(store, mixed):
    store.add_xr_dataset(mixed, "d", chunks={"t": [3, 2]})
    assert opened(store, chunks={})["t"].chunks == ((3, 1), (2, 1))
    assert opened(store, chunks={"time": -1})["t"].chunks == ((4,), (2, 1))
    numbers = opened(store, chunks="auto", drop_variables=["text", "bytes", "date", "label"])
    assert numbers["t"].chunks is not None
    assert opened(store)["t"].chunks is None
    assert opened(store)["t"].encoding["chunksizes"] == (2, 3)


def test_a_grid_of_many_chunks_costs_nothing_to_open(store):
    store.create_dataset("d").define_array("t", "int8", ["x", "y"], [2**40, 3], [1, 3])
    ds = opened(store)
    assert ds["t"].encoding["preferred_chunks"] == {"x": 1, "y": 3}
    assert ds["t"][2**39].values.tolist() == [0, 0, 0]


def test_axes_without_cells_open_in_chunks(store):
    store.create_dataset("d").define_array("t", "int8", ["x", "y"], [0, 3], [0, 2])
    assert opened(store, chunks={})["t"].shape == opened(store, chunks={})["t"].values.shape == (0, 3)


def test_indexes_of_other_names_and_of_pandas_text_come_back(store):
    ds = xr.Dataset(coords={"station": ("x", [3, 4]), "word": ("word", pd.Index(["a", "b"], dtype="string"))})
    store.add_xr_dataset(ds.set_xindex("station"), "d")
    found = opened(store)
    assert set(found.xindexes) == {"station", "word"}
    assert found.indexes["word"].dtype == "string"
    assert found.sel(station=4)["station"].item() == 4
    assert_identical(found, store.to_xarray("d"))


def test_arrays_that_differ_in_a_length_are_refused_as_by_to_xarray(store):
    view = store.create_dataset("d")
    view.define_array("a", "int8", ["x"], [2])
    view.define_array("b", "int8", ["x"], [3])
    with pytest.raises(InvalidValueError, match=r"'d' do not fit.*read_array"):
        opened(store)
    assert opened(store, drop_variables="b")["a"].shape == (2,)


def test_what_is_opened_is_written_to_a_file_as_what_was_added(store, mixed, tmp_path):
    pytest.importorskip("netCDF4")
    mixed = mixed.drop_vars(["bytes", "text", "span"])
    store.add_xr_dataset(mixed, "d")
    opened(store).to_netcdf(tmp_path / "a.nc")
    mixed.to_netcdf(tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "a.nc") as found, xr.open_dataset(tmp_path / "b.nc") as expected:
        assert_identical(found.load(), expected.load())
        assert found["t"].encoding["dtype"] == expected["t"].encoding["dtype"] == np.dtype("i2")
