"""Adding an xarray dataset: bools, halves and times as they are stored, and fill values."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError


@pytest.mark.parametrize(
    "dtype", ["?", "f2", *(f"{kind}8[{unit}]" for kind in "Mm" for unit in ("s", "ms", "us", "ns"))]
)
@pytest.mark.parametrize("chunks", [None, {"t": [2]}])
@pytest.mark.parametrize("lazy", [False, True])
def test_bools_halves_and_times_are_stored_as_they_are(store, dtype, chunks, lazy):
    cells = np.array([1, 0, -5, 3], "i8").astype(dtype)
    if cells.dtype.kind in "mM":
        cells[1] = "NaT"
    ds = xr.Dataset({"t": ("x", da.from_array(cells, chunks=3) if lazy else cells)}, {"s": ((), cells[2])})
    store.add_xr_dataset(ds, "a", chunks=chunks)
    view = store.open_dataset("a")
    stored = "timestamp_nanoseconds" if dtype == "M8[ns]" else np.dtype(dtype).name
    assert view.array_meta("t")["dtype"] == stored
    assert view.array_meta("t")["chunk_shape"] == ([2] if chunks else [3] if lazy else [4])
    assert list(view.attributes()) == ["_pyatlas_coords"]
    assert view.read_array("t").dtype == dtype
    back = store.to_xarray("a")
    assert back.t.dtype == dtype
    assert back.t.attrs == {}
    xr.testing.assert_identical(back.compute(), ds.compute())


def test_times_are_kept_over_all_64_bits(store):
    ends = np.array([-(2**63) + 1, 2**63 - 1, -(2**63)])
    ds = xr.Dataset({"year": ("x", np.array(["2020-01-01", "9999-12-31T23:59:59", "0001-01-01"], "M8[s]"))})
    ds = ds.assign({unit: ("x", ends.view(f"m8[{unit}]")) for unit in ("s", "ms", "us", "ns")})
    store.add_xr_dataset(ds, "a")
    store.flush()
    xr.testing.assert_identical(store.to_xarray("a"), ds)
    assert store.open_dataset("a").array_stats("year") == {
        "row_count": 3,
        "null_count": 0,
        "min": -62_135_596_800,
        "max": 253_402_300_799,
    }


def odd_unit(cells):
    """A dataset with cells of a unit that xarray itself would convert: it comes in a dask array."""
    return xr.Dataset({"when": xr.Variable("x", da.from_array(cells, chunks=2))})


@pytest.mark.parametrize(("dtype", "stored"), [("M8[h]", "timestamp_nanoseconds"), ("m8[D]", "timedelta64[ns]")])
def test_times_of_other_units_are_nanoseconds_with_the_unit_recorded(store, dtype, stored):
    cells = np.array([1, -5, 3, 0]).astype(dtype)
    cells[3] = "NaT"
    ds = odd_unit(cells)
    if ds.when.dtype != dtype:
        pytest.skip("this xarray converts the unit in a dask array too")
    store.add_xr_dataset(ds, "a")
    view = store.open_dataset("a")
    assert view.array_meta("when")["dtype"] == stored
    np.testing.assert_array_equal(view.read_array("when"), cells)
    np.testing.assert_array_equal(store.to_xarray("a").when.data.compute(), cells)


def test_times_of_other_units_beyond_nanoseconds_are_refused_with_a_remedy(store):
    ds = odd_unit(np.array(["2020-01-01", "9999-01-01"], "M8[D]"))
    if ds.when.dtype != "M8[D]":
        pytest.skip("this xarray converts the unit in a dask array too")
    with pytest.raises(OutOfRangeError, match=r"'when': 9999.*ds\['when'\]\.astype\('M8\[s\]'\)"):
        store.add_xr_dataset(ds, "a")
    assert store.list_datasets() == []
    store.add_xr_dataset(ds.assign(when=ds["when"].astype("M8[s]")), "a")
    assert store.open_dataset("a").read_array("when").astype(str).tolist() == [
        "2020-01-01T00:00:00",
        "9999-01-01T00:00:00",
    ]


@pytest.mark.parametrize(
    ("dtype", "fill", "stored"),
    [
        ("f4", 9, 9.0),
        ("f4", np.float64(9), 9.0),
        ("f4", np.array([9.0], "f4"), 9.0),
        ("f4", np.array(9.0, "<f4"), 9.0),
        ("i2", np.int16(9), 9),
        ("i2", np.array([9], "i2"), 9),
        ("U1", "b", "b"),
        ("U1", b"b", "b"),
        ("M8[ns]", 5, 5),
        ("M8[s]", np.datetime64(5, "s"), 5),
        ("M8[ms]", np.datetime64(5, "s"), 5000),
        ("M8[ms]", np.datetime64("NaT", "D"), -(2**63)),
        ("m8[s]", np.timedelta64(5, "s"), 5),
        ("m8[us]", np.timedelta64("NaT", "ns"), -(2**63)),
        ("m8[us]", 5, 5),
        ("?", True, True),
        ("?", np.bool_(0), False),
        ("f2", 9, 9.0),
        ("f4", None, None),
    ],
    ids=str,
)
def test_fill_values_are_consumed(store, dtype, fill, stored):
    attrs = {"_FillValue": fill, "units": "m"}
    ds = xr.Dataset({"t": ("x", np.array([1, 9]).astype(dtype), attrs)})
    store.add_xr_dataset(ds, "a")
    view = store.open_dataset("a")
    assert view.array_fill_value("t") == stored
    assert "t._FillValue" not in view.attributes()
    assert list(ds.t.attrs) == ["_FillValue", "units"]
    back = store.to_xarray("a").t.attrs
    assert list(back) == ["units", "_FillValue"]
    given = back["_FillValue"]
    assert type(given) is type(fill)
    assert getattr(given, "dtype", None) == getattr(fill, "dtype", None)
    assert given == fill or (given != given and fill != fill)


@pytest.mark.parametrize(
    ("dtype", "fill", "error"),
    [
        ("f4", "a", InvalidTypeError),
        ("f4", np.array([1.0, 2.0]), InvalidTypeError),
        ("f4", [9.0], InvalidTypeError),
        ("i2", 9.0, InvalidTypeError),
        ("i2", True, InvalidTypeError),
        ("i2", 99999, OutOfRangeError),
        ("U1", 5, InvalidTypeError),
        ("M8[ns]", np.datetime64("9999-01-01", "s"), OutOfRangeError),
        ("M8[s]", np.datetime64(10**15, "Y"), OutOfRangeError),
        ("m8[ms]", np.timedelta64(2**62, "s"), OutOfRangeError),
        ("m8[s]", np.timedelta64(1, "ps"), OutOfRangeError),
        ("m8[s]", np.datetime64(1, "s"), InvalidTypeError),
        ("?", 1, InvalidTypeError),
        ("f2", 1e6, OutOfRangeError),
    ],
)
def test_fill_values_of_the_wrong_kind_are_refused_by_name(store, dtype, fill, error):
    ds = xr.Dataset({"t": ("x", np.array([1, 9]).astype(dtype), {"_FillValue": fill})})
    with pytest.raises(error, match="'t'"):
        store.add_xr_dataset(ds, "a")
    assert store.list_datasets() == []


@pytest.mark.parametrize("fill", [None, np.array([-9.0]), np.array([[-9.0]], "f4"), np.float32(-9), -9])
def test_a_fill_value_comes_back_as_it_was_and_last(store, fill):
    ds = xr.Dataset({"t": ("x", np.array([1.0, -9.0]), {"_FillValue": fill, "units": "K"})})
    store.add_xr_dataset(ds, "a")
    store.flush()
    attrs = store.to_xarray("a")["t"].attrs
    assert list(attrs) == ["units", "_FillValue"]
    np.testing.assert_array_equal(attrs["_FillValue"], fill)
    assert np.ndim(attrs["_FillValue"]) == np.ndim(fill)
    assert (attrs["_FillValue"] is None) == (fill is None)
    assert store["a"].array_fill_value("t") == (None if fill is None else -9.0)
    assert store["a"]["t"].stats["null_count"] == (0 if fill is None else 1)
    assert "t._FillValue" not in store["a"].attributes()


HOUR = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("dtype", "fill", "stored"),
    [
        ("M8[s]", pd.Timestamp("1970-01-02").as_unit("ns"), 86_400),
        ("M8[ns]", pd.Timestamp("1970-01-02").as_unit("s"), 86_400 * 10**9),
        ("M8[us]", pd.Timestamp("1970-01-02T01:00+01:00"), 86_400 * 10**6),
        ("M8[ms]", pd.NaT, -(2**63)),
        ("m8[ms]", pd.NaT, -(2**63)),
        ("M8[ns]", dt.datetime(1970, 1, 2), 86_400 * 10**9),
        ("M8[s]", dt.datetime(1970, 1, 2, 1, tzinfo=HOUR), 86_400),
        ("M8[s]", dt.date(1970, 1, 2), 86_400),
        ("m8[s]", dt.timedelta(1), 86_400),
        ("m8[ns]", pd.Timedelta(5, "s"), 5 * 10**9),
        ("m8[s]", pd.Timedelta(5, "s").as_unit("us"), 5),
    ],
    ids=repr,
)
def test_a_fill_value_of_datetime_or_pandas_comes_back_as_it_was(store, place, dtype, fill, stored):
    cells = np.array([1, stored]).view(dtype)
    ds = xr.Dataset({"t": ("x", cells, {"_FillValue": fill, "units": "m"})})
    store.add_xr_dataset(ds, "a", chunks={"t": [1]})
    store.flush()
    for view, back in ((store["a"], store.to_xarray("a")), (Atlas.open(place)["a"], Atlas.open(place).to_xarray("a"))):
        attrs = back["t"].attrs
        assert list(attrs) == ["units", "_FillValue"]
        found = attrs["_FillValue"]
        assert (type(found), repr(found)) == (type(fill), repr(fill))
        assert getattr(found, "unit", None) == getattr(fill, "unit", None)
        assert view.array_fill_value("t") == stored
        assert view["t"].stats["null_count"] == 1
        assert view.attributes() == {"t.units": "m", "_pyatlas_coords": "[]"}
        assert dict(view["t"].attrs) == {"units": "m"}
        np.testing.assert_array_equal(back["t"].values, cells)


@pytest.mark.parametrize(
    ("dtype", "fill", "error"),
    [
        ("M8[s]", pd.Timestamp("1970-01-02T00:00:00.5"), OutOfRangeError),
        ("M8[ns]", dt.datetime(1, 1, 1), OutOfRangeError),
        ("m8[s]", dt.timedelta.max, OutOfRangeError),
        ("m8[s]", pd.Timestamp(0), InvalidTypeError),
        ("M8[s]", dt.timedelta(1), InvalidTypeError),
        ("f4", pd.NaT, InvalidTypeError),
        ("U1", dt.date(1970, 1, 2), InvalidTypeError),
        ("M8[s]", dt.time(3), InvalidTypeError),
        ("M8[s]", pd.Timestamp(0, tz="Europe/Paris"), InvalidValueError),
        ("M8[s]", dt.datetime(1970, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")), InvalidValueError),
    ],
    ids=repr,
)
def test_a_fill_value_of_datetime_or_pandas_that_does_not_fit_is_refused_by_name(store, dtype, fill, error):
    ds = xr.Dataset({"t": ("x", np.array([1, 9]).astype(dtype), {"_FillValue": fill})})
    with pytest.raises(error, match="'t'") as caught:
        store.add_xr_dataset(ds, "a")
    assert store.list_datasets() == []
    if error is InvalidValueError:
        ds["t"].attrs["_FillValue"] = eval(str(caught.value).rpartition("; use ")[2], {"value": fill})
        store.add_xr_dataset(ds, "a")
        assert store["a"].array_fill_value("t") == int(fill.timestamp())


def test_an_attribute_named_as_the_fill_value_is_an_attribute(store):
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0], {"_FillValue": -9.0})}), "a")
    view = store["a"]
    view["t"].attrs["_FillValue"] = 5
    assert view.attributes()["t._FillValue"] == 5
    assert store.to_xarray("a")["t"].attrs == {"_FillValue": 5}
    assert view.array_fill_value("t") == -9.0
    view.delete_attribute("t._FillValue")
    assert store.to_xarray("a")["t"].attrs == {"_FillValue": -9.0}
