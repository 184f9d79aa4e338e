from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from atlas.interop import netcdf
from atlas.interop.netcdf import open_netcdf


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


def test_a_file_opens_as_xarray_opens_it_but_for_durations(path):
    with open_netcdf(path) as ds, xr.open_dataset(path, decode_timedelta=False) as expected:
        xr.testing.assert_identical(ds, expected)
        assert ds["lead"].dtype == np.int32
        assert ds["lead"].attrs["units"] == "hours"


def test_raw_decodes_nothing(path):
    with open_netcdf(path, raw=True) as ds:
        assert ds["packed"].dtype == np.int16
        assert ds["packed"].attrs["_FillValue"] == -9


def test_chunks_apply_where_a_variable_has_the_dimension(path):
    with open_netcdf(path, chunks={"y": 1, "z": 3}, drop=["count"]) as ds:
        assert ds["packed"].chunks == ((1, 1), (2,))
        assert ds["lon"].chunks == ((1, 1), (2,))
        assert ds["lead"].chunks is None
        assert "count" not in ds
        assert set(ds.coords) == {"x", "y", "lon"}


def test_large_variables_are_cut_and_read_by_the_thread_that_asks(path, monkeypatch):
    monkeypatch.setattr(netcdf, "_PIECE", 16)
    with open_netcdf(path) as ds:
        assert dask.config.get("scheduler") == "synchronous"
        assert ds["packed"].chunks is not None
        assert max(np.prod(chunk) for chunk in ds["packed"].data.chunks) <= 2
        xr.testing.assert_equal(ds["packed"].load(), xr.load_dataset(path)["packed"])
    assert dask.config.get("scheduler", None) is None


def test_what_is_no_netcdf_raises_and_closes(tmp_path):
    (tmp_path / "b.nc").write_bytes(b"x" * 100)
    with pytest.raises(OSError, match="Unknown file format"), open_netcdf(tmp_path / "b.nc"):
        pass
