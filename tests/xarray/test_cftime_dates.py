"""cftime dates: exact through the store, and never mixed with other types or calendars."""

from __future__ import annotations

import sys

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from atlas.errors import InvalidTypeError, InvalidValueError, MissingExtraError, OutOfRangeError
from atlas.xarray.cftime_dates import cftime_dtype, decode_dates, encode_dates

cftime = pytest.importorskip("cftime")

CALENDARS = ["360_day", "noleap", "all_leap", "julian", "standard", "proleptic_gregorian"]


def dates(calendar, shape=(2, 2)):
    out = np.empty(4, object)
    out[:] = [
        cftime.datetime(1, 1, 1, 0, 0, 0, 1, calendar=calendar),
        cftime.datetime(1582, 10, 4, 1, 2, 3, 7, calendar=calendar),
        cftime.datetime(2024, 2, 28, 12, calendar=calendar),
        cftime.datetime(9999, 12, 30, 23, 59, 59, 999999, calendar=calendar),
    ]
    return out.reshape(shape)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_every_microsecond_survives(calendar):
    cells = dates(calendar)
    recorded = cftime_dtype(cells[0, 0])
    stored = encode_dates("t", cells, recorded)
    assert stored.dtype == "m8[us]"
    assert stored.shape == (2, 2)
    back = decode_dates("t", stored, recorded)
    assert back.shape == (2, 2)
    assert (back == cells).all()
    assert {cell.calendar for cell in back.ravel()} == {calendar}


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("lazy", [False, True])
def test_through_the_store(store, calendar, lazy):
    cells = dates(calendar)
    ds = xr.Dataset(
        {"t": (("y", "x"), da.from_array(cells, chunks=(1, 2)) if lazy else cells), "s": ((), cells[0, 0])},
        coords={"time": dates(calendar, (4,))},
    )
    store.add_xr_dataset(ds, "a")
    assert store.open_dataset("a").array_meta("t")["dtype"] == "timedelta64[us]"
    back = store.to_xarray("a")
    assert isinstance(back.t.data, da.Array) == lazy
    assert isinstance(back.indexes["time"], xr.CFTimeIndex)
    xr.testing.assert_identical(back.compute(), ds.compute())


def test_stacked(store):
    for name in "ab":
        store.add_xr_dataset(xr.Dataset({"t": ("x", dates("360_day", (4,)))}), name)
    many = store.to_xarray_many(["a", "b"])
    assert (many.t.values == dates("360_day", (4,))).all()


@pytest.mark.parametrize("cells", [dates("noleap", (4,)), np.arange(4)], ids=["calendar", "integers"])
def test_other_dates_are_not_stacked(store, cells):
    store.add_xr_dataset(xr.Dataset({"when": ("x", dates("360_day", (4,)))}), "a")
    store.add_xr_dataset(xr.Dataset({"when": ("x", cells)}), "b")
    with pytest.raises(InvalidValueError, match=r"'when'.*'b'"):
        store.to_xarray_many(["a", "b"])


@pytest.mark.parametrize("other", ["2020-01-01", cftime.datetime(1, 1, 1, calendar="noleap")], ids=str)
def test_another_cell_is_refused_by_name(store, other):
    cells = dates("360_day", (4,))
    cells[2] = other
    variable = xr.Variable("x", da.from_array(cells, chunks=2))
    with pytest.raises(InvalidTypeError, match=r"'when'.*360_day"):
        store.add_xr_dataset(xr.Dataset({"when": variable}), "a")
    assert store.list_datasets() == []


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, np.datetime64("NaT", "s")], ids=repr)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("at", [[0], [1, 3], [0, 1, 2]])
def test_missing_dates_come_back_and_are_counted(store, missing, at, lazy):
    cells = dates("360_day", (4,))
    for position in at:
        cells[position] = missing
    variable = xr.Variable("x", da.from_array(cells, chunks=2) if lazy else cells)
    store.add_xr_dataset(xr.Dataset({"when": variable}), "a")
    store.flush()
    back = store.to_xarray("a").when.values
    assert [position for position, cell in enumerate(back) if cell is None] == at
    assert all(back[position] == cells[position] for position in range(4) if position not in at)
    stats = store["a"]["when"].stats
    assert (stats["null_count"], stats["nan_count"]) == (len(at), len(at))
    assert store["a"].array_meta("when")["dtype"] == "timedelta64[us]"
    assert store.to_xarray_many(["a"]).when.values.tolist() == [back.tolist()]


@pytest.mark.parametrize("year", [300_000, -300_000, 10**8])
@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_dates_beyond_microseconds_are_refused_by_name(store, year, calendar):
    cells = np.array([cftime.datetime(y, 1, 1, calendar=calendar) for y in (1970, year, 2000)], object)
    with pytest.raises(OutOfRangeError, match=f"'when': {year}-01-01 .*292,000 years.*date2num"):
        store.add_xr_dataset(xr.Dataset({"when": ("x", cells)}), "a")
    assert store.list_datasets() == []


def test_only_dates_with_a_calendar_are_recorded():
    assert cftime_dtype("x") is None
    assert cftime_dtype(np.datetime64("2020")) is None
    assert cftime_dtype(cftime.datetime(1, 1, 1, calendar="")) is None


def test_without_cftime_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cftime", None)
    with pytest.raises(MissingExtraError, match="'t'"):
        decode_dates("t", np.array([1], "m8[us]"), "cftime[360_day,1]")
