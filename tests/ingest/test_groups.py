"""Files with groups, stored as one dataset."""

from __future__ import annotations

from functools import partial

import netCDF4
import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import IngestError
from atlas.ingest.reading import ReadOptions
from atlas.storage import MemoryStorage


@pytest.fixture
def path(tmp_path):
    """A file with two groups, one in the other, whose variables name each other."""
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.title = "swath"
        file.createDimension("time", None)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2026-01-01"
        time[:] = [0, 1]
        science = file.createGroup("science")
        science.level = "2"
        science.createDimension("x", 3)
        packed = science.createVariable("t", "i2", ("time", "x"), fill_value=-9)
        packed.setncatts({"scale_factor": 0.5, "coordinates": "lat deep/name none", "grid_mapping": "crs: time"})
        packed.set_auto_maskandscale(False)
        packed[:] = [[1, 2, -9], [4, 5, 6]]
        science.createVariable("lat", "f4", ("x",))[:] = [1, 2, 3]
        science.createVariable("crs", "i4", ())
        deep = science.createGroup("deep")
        deep.createDimension("x", 2)
        names = deep.createVariable("name", str, ("x",))
        names[:] = np.array(["a", "b"], object)
        names.ancillary_variables = "/time lat ../lat"
    return tmp_path / "a.nc"


def stored(path, **options):
    store = Atlas.create(MemoryStorage())
    store.add_many(path, groups="flatten", **options)
    return store.to_xarray("a")


def test_they_are_refused_unless_asked_for(path):
    with pytest.raises(IngestError, match=r"has the group science; .* groups='flatten' \(--groups flatten\)"):
        Atlas.create(MemoryStorage()).add_many(path)


def test_names_have_those_of_their_groups_before_them(path):
    ds = stored(path)
    assert set(ds.variables) == {"time", "science__t", "science__lat", "science__crs", "science__deep__name"}
    assert ds["science__t"].dims == ("time", "science__x")
    assert ds["science__deep__name"].dims == ("science__deep__x",)
    assert ds.attrs == {"title": "swath", "science__level": "2"}
    assert ds.encoding["unlimited_dims"] == {"time"}


def test_cells_are_decoded(path):
    ds = stored(path)
    np.testing.assert_array_equal(ds["science__t"], [[0.5, 1, np.nan], [2, 2.5, 3]])
    np.testing.assert_array_equal(ds["time"], np.array(["2026-01-01", "2026-01-02"], "M8[ns]"))
    assert ds["science__deep__name"].values.tolist() == ["a", "b"]


def test_attributes_name_what_the_scope_finds(path):
    ds = stored(path)
    assert set(ds.coords) == {"time", "science__lat", "science__deep__name"}
    assert ds["science__t"].encoding["coordinates"] == "science__lat science__deep__name none"
    assert ds["science__t"].attrs["grid_mapping"] == "crs: time"
    assert ds["science__deep__name"].attrs["ancillary_variables"] == "time science__lat ../lat"


def test_large_variables_are_read_block_by_block(path, monkeypatch):
    monkeypatch.setattr("atlas.ingest.adding.ReadOptions", partial(ReadOptions, large_bytes=8))
    np.testing.assert_array_equal(stored(path)["science__t"], [[0.5, 1, np.nan], [2, 2.5, 3]])


def test_a_name_that_two_would_have_fails_the_file(path):
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("science__lat", "f4", ())
    with pytest.raises(IngestError, match="variables /science__lat and /science/lat would both be called"):
        stored(path)


def test_variables_of_groups_are_dropped_and_named_by_such_names(path):
    with netCDF4.Dataset(path, "a") as file:
        of_integers = file["science"].createVLType(np.int32, "lists")
        file["science"].createVariable("odd", of_integers, ("x",))
    with pytest.raises(IngestError, match="variable 'science__odd' has lists of int32"):
        stored(path)
    assert "science__odd" not in stored(path, drop=["science__odd"])
