from __future__ import annotations

import dask
import netCDF4
import numpy as np
import pytest
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.xarray import netcdf
from atlas.xarray.netcdf import RootNames, inspect_netcdf, open_netcdf


@pytest.fixture
def path(tmp_path):
    ds = xr.Dataset(
        {
            "packed": (("y", "x"), np.array([[1.0, np.nan], [2.0, 3.0]])),
            "count": ("x", np.array([1, 2], "i4")),
            "lead": ("x", np.array([1, 2], "i4"), {"units": "hours"}),
        },
        coords={"x": [10, 20], "y": [1, 2], "lon": (("y", "x"), np.ones((2, 2)))},
    )
    encoding = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9}
    ds.to_netcdf(tmp_path / "a.nc", encoding={"packed": encoding, "lon": {"_FillValue": None}})
    return tmp_path / "a.nc"


def test_a_file_opens_as_in_xarray_except_for_durations(path):
    with open_netcdf(path) as ds, xr.open_dataset(path, decode_timedelta=False) as expected:
        xr.testing.assert_identical(ds, expected)
        assert ds["lead"].dtype == np.int32
        assert ds["lead"].attrs["units"] == "hours"


def test_raw_decodes_no_numbers_and_no_times(path):
    with open_netcdf(path, raw=True) as ds, xr.open_dataset(path, decode_cf=False) as expected:
        xr.testing.assert_identical(ds, expected)
        assert ds["packed"].dtype == np.int16
        assert ds["packed"].attrs["_FillValue"] == -9


def test_raw_joins_characters_to_text_or_bytes(tmp_path, store):
    with netCDF4.Dataset(tmp_path / "c.nc", "w") as file:
        file.createDimension("n", 2)
        file.createDimension("length", 6)
        file.createVariable("with_encoding", "S1", ("n", "length"))._Encoding = "utf-8"
        file.createVariable("without_encoding", "S1", ("n", "length"), fill_value=b"\0")
        cells = np.array(["Zürch".encode(), b"ab"], "S6").view("S1").reshape(2, 6)
        for variable in file.variables.values():
            variable.set_auto_chartostring(False)
            variable[:] = cells
    with open_netcdf(tmp_path / "c.nc", raw=True) as ds:
        assert ds["with_encoding"].dims == ds["without_encoding"].dims == ("n",)
        store.add_xr_dataset(ds, "c")
    assert store["c"].read_array("with_encoding").tolist() == ["Zürch", "ab"]
    assert store["c"].read_array("without_encoding").tolist() == ["Zürch".encode(), b"ab"]


def test_names_of_a_file_are_listed_and_groups_are_refused(path):
    names = inspect_netcdf(path)
    assert names == RootNames(frozenset("xy"), frozenset({"packed", "count", "lead", "x", "y", "lon"}))
    with netCDF4.Dataset(path, "a") as file:
        file.createGroup("g1")
        file.createGroup("g2/deeper")
    with pytest.raises(InvalidValueError, match=r"a\.nc has the groups g1, g2; only files .* group='g1'"):
        inspect_netcdf(path)


def test_chunks_apply_where_a_variable_has_the_dimension(path):
    with open_netcdf(path, chunks={"y": 1, "z": 3}, drop=["count"]) as ds:
        assert ds["packed"].chunks == ((1, 1), (2,))
        assert ds["lon"].chunks == ((1, 1), (2,))
        assert ds["lead"].chunks is None
        assert "count" not in ds
        assert set(ds.coords) == {"x", "y", "lon"}


def test_large_variables_are_chunked_and_read_by_the_calling_thread(path, monkeypatch):
    monkeypatch.setattr(netcdf, "_CHUNK_BYTES", 16)
    with open_netcdf(path) as ds:
        assert dask.config.get("scheduler") == "synchronous"
        assert ds["packed"].chunks is not None
        assert max(np.prod(chunk) for chunk in ds["packed"].data.chunks) <= 2
        xr.testing.assert_equal(ds["packed"].load(), xr.load_dataset(path)["packed"])
    assert dask.config.get("scheduler", None) is None


def test_other_files_raise_and_are_closed(tmp_path):
    (tmp_path / "b.nc").write_bytes(b"x" * 100)
    with pytest.raises(OSError, match="Unknown file format"), open_netcdf(tmp_path / "b.nc"):
        pass
