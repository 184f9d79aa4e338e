"""What netCDF4 leaves out of HDF5 files without a word, and what the store says of it."""

from __future__ import annotations

import h5py
import netCDF4
import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import IngestError
from atlas.ingest.hidden_contents import Hidden, find_hidden
from atlas.storage import MemoryStorage

PAIR = np.dtype([("a", "i4"), ("b", "f8")])


@pytest.fixture
def path(tmp_path):
    """A file with variables and attributes that netCDF4 does not show, and a scale that is no variable."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = np.arange(3.0)
        file["t"].attrs["units"] = "K"
        file["t"].attrs["pair"] = np.zeros((), PAIR)
        file["t"].attrs["other"] = file["t"].ref
        file["references"] = np.array([file["t"].ref], h5py.ref_dtype)
        file["nested"] = np.zeros(2, [("a", "i4"), ("inner", PAIR)])
        file["scale"] = np.arange(3)
        file["scale"].make_scale("scale")
        file["t"].dims[0].attach_scale(file["scale"])
        file.attrs["pair"] = np.zeros((), PAIR)
    return tmp_path / "a.h5"


def hidden(path):
    with netCDF4.Dataset(path) as file:
        return find_hidden(path, file)


def test_each_is_named_with_its_dtype(path):
    assert hidden(path) == Hidden(
        {
            "nested": "is of a dtype of the class compound that netCDF4 cannot read",
            "references": "is of a dtype of the class reference that netCDF4 cannot read",
        },
        {
            "pair": "is of a dtype of the class compound that netCDF4 cannot read",
            "t.other": "is of a dtype of the class reference that netCDF4 cannot read",
            "t.pair": "is of a dtype of the class compound that netCDF4 cannot read",
        },
    )


def test_variables_fail_the_file_or_are_left_out_and_attributes_are_named(path):
    store = Atlas.create(MemoryStorage())
    with pytest.raises(IngestError, match=r"variable 'nested' is of a dtype of the class compound .* drop="):
        store.add_many(path)
    report = store.add_many(path, on_unsupported="drop")
    assert set(report.results[0].dropped) == {"nested", "references"}
    assert set(report.results[0].lost_attributes) == {"pair", "t.other", "t.pair"}
    assert store["a"].read_array("t").tolist() == [0, 1, 2]
    assert store["a"].attributes()["t.units"] == "K"


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_files_of_the_netcdf_library_have_none(tmp_path, form, monkeypatch):
    with netCDF4.Dataset(tmp_path / "b.nc", "w", format=form) as file:
        file.createDimension("x", 2)
        file.createVariable("t", "f8", ("x",))
    monkeypatch.setattr("importlib.import_module", None)  # nothing is opened a second time
    assert hidden(tmp_path / "b.nc") == Hidden()


def test_a_signature_that_the_library_of_netcdf_cannot_read_ends_no_process(tmp_path):
    with h5py.File(tmp_path / "old.nc", "w") as file:
        file["t"] = np.arange(3.0)
        file["t"].make_scale("t")
        file.attrs["_NCProperties"] = np.bytes_("version=1|netcdflibversion=4.4.1.1|hdf5libversion=1.8.19")
    for _ in range(20):
        assert hidden(tmp_path / "old.nc") == Hidden()


def test_hdf5_without_dimensions_is_stored_with_such_names_as_netcdf4_gives(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["image"] = np.arange(6.0).reshape(2, 3)
        file["image"].attrs["gain"] = 2.5
    store = Atlas.create(MemoryStorage())
    store.add_many(tmp_path / "plain.h5")
    found = store.to_xarray("plain")["image"]
    assert found.dims == ("phony_dim_0", "phony_dim_1")
    assert (found.values.tolist(), found.attrs["gain"]) == ([[0, 1, 2], [3, 4, 5]], 2.5)
