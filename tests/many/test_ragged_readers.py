"""Ragged results in other libraries: clouddrift takes them as they are, cf-python and cfdm what `to_netcdf` writes."""

from __future__ import annotations

import importlib
import warnings
from ctypes.util import find_library
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.storage import MemoryStorage

pytestmark = pytest.mark.long

LENGTHS = [3, 0, 5, 1, 4]
NAMES = [f"cast{at}" for at in range(len(LENGTHS))]
ROWS = {
    "id_var_name": "dataset",
    "rowsize_var_name": "row_size",
    "row_dim_name": "dataset",
    "obs_dim_name": "level",
}
needs_clouddrift = pytest.mark.skipif(
    find_spec("clouddrift") is None, reason="pip install clouddrift (see CONTRIBUTING.md)"
)
needs_cf = pytest.mark.skipif(
    find_spec("cf") is None or find_library("udunits2") is None,
    reason="pip install cf-python, and the library UDUNITS (see CONTRIBUTING.md)",
)


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of what these packages import
        return importlib.import_module(name)


def temperatures(at):
    return (20 - 0.37 * np.arange(LENGTHS[at]) - at).round(2)


def cast(at, along):
    position = {
        "lat": ((), 50.25 + at, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ((), -10.5 + at, {"standard_name": "longitude", "units": "degrees_east"}),
        "time": ((), np.datetime64("2026-01-01", "ns") + np.timedelta64(at, "D"), {"standard_name": "time"}),
    }
    depth = {"standard_name": "depth", "units": "m", "positive": "down"}
    return xr.Dataset(
        {"t": (along, temperatures(at), {"standard_name": "sea_water_temperature", "units": "degC"})},
        {"depth": (along, 2.5 * np.arange(LENGTHS[at]), depth), **position},
        {"ship": "abc"[at % 3]},
    )


def fleet(along="level"):
    store = Atlas.create(MemoryStorage())
    for at, name in enumerate(NAMES):
        store.add_xr_dataset(cast(at, along), name)
    store.flush()
    return store


@needs_clouddrift
class TestClouddrift:
    @pytest.fixture
    def ragged(self):
        return imported("clouddrift.ragged")

    @pytest.fixture(params=[None, {"dataset": 2}], ids=["lazy", "dask"])
    def casts(self, request):
        return fleet().open_many(combine="ragged", attributes=["ship"], feature_type="profile", chunks=request.param)

    def test_a_function_of_each_dataset(self, ragged, casts):
        sums = ragged.apply_ragged(np.sum, casts["t"], casts["row_size"])
        np.testing.assert_array_equal(sums, [temperatures(at).sum() for at in range(5)])
        heat = ragged.apply_ragged(np.trapezoid, [casts["t"], casts["depth"]], casts["row_size"], rows=[2, 4])
        np.testing.assert_array_equal(heat, [np.trapezoid(temperatures(at), dx=2.5) for at in (2, 4)])

    def test_a_matrix_and_back(self, ragged, casts):
        matrix = ragged.ragged_to_regular(casts["t"], casts["row_size"])
        assert matrix.shape == (5, 5)
        for at, row in enumerate(matrix):
            np.testing.assert_array_equal(row[: LENGTHS[at]], temperatures(at))
            assert np.isnan(row[LENGTHS[at] :]).all()
        cells, sizes = ragged.regular_to_ragged(matrix)
        np.testing.assert_array_equal(cells, casts["t"])
        np.testing.assert_array_equal(sizes, LENGTHS)

    def test_short_datasets_are_left_out(self, ragged, casts):
        cells, sizes = ragged.prune(casts["t"], casts["row_size"], 4)
        np.testing.assert_array_equal(cells, np.concatenate([temperatures(2), temperatures(4)]))
        assert sizes.tolist() == [5, 4]

    @pytest.mark.parametrize(
        ("criteria", "names", "sizes"),
        [
            ({"lat": (52, 54)}, ["cast2", "cast3"], [5, 1]),
            ({"ship": "a"}, ["cast0", "cast3"], [3, 1]),
            ({"dataset": ["cast4", "cast0"]}, ["cast0", "cast4"], [3, 4]),
            ({"depth": (2.5, 5)}, ["cast0", "cast2", "cast4"], [2, 2, 2]),
            ({"t": (18.5, 19.5), "time": (np.datetime64("2026-01-01"), np.datetime64("2026-01-02"))}, ["cast0"], [1]),
        ],
    )
    def test_a_subset(self, ragged, criteria, names, sizes):
        casts = fleet().open_many(combine="ragged", attributes=["ship"], feature_type="profile")
        found = ragged.subset(casts, criteria, **ROWS)
        assert found["dataset"].values.tolist() == names
        assert found["row_size"].values.tolist() == sizes
        cells = ragged.unpack(found["t"], found["row_size"])
        for name, own, depths in zip(names, cells, ragged.unpack(found["depth"], found["row_size"]), strict=True):
            np.testing.assert_array_equal(own, temperatures(NAMES.index(name))[(depths.values / 2.5).astype(int)])

    def test_a_ragged_array(self, casts, tmp_path):
        kind = imported("clouddrift").RaggedArray
        casts.to_netcdf(tmp_path / "casts.nc")
        for found in (
            kind.from_xarray(casts, "dataset", "level"),
            kind.from_netcdf(tmp_path / "casts.nc", "dataset", "level"),
        ):
            np.testing.assert_array_equal(found.data["t"], casts["t"])
            assert {name: cells.tolist() for name, cells in found.metadata.items()} == {
                "row_size": LENGTHS,
                "ship": list("abcab"),
            }
            assert found.coord_dims == {
                "lat": "dataset", "lon": "dataset", "time": "dataset", "depth": "level", "dataset": "dataset"
            }  # fmt: skip


@needs_cf
class TestCf:
    @pytest.mark.parametrize("along", ["level", "depth"])
    @pytest.mark.parametrize("package", ["cf", "cfdm"])
    def test_a_file_of_profiles(self, package, along, tmp_path):
        # cf-python 3.21 refuses to read an empty row that is not the first; cfdm, which it is built on, reads it.
        names = [name for name, length in zip(NAMES, LENGTHS, strict=True) if length or package == "cfdm"]
        casts = fleet(along).open_many(names, combine="ragged", attributes=["ship"], feature_type="profile")
        casts.to_netcdf(tmp_path / "casts.nc")
        fields = {field.nc_get_variable(): field for field in imported(package).read(tmp_path / "casts.nc")}
        assert set(fields) == {"t", "ship"}
        assert all(not any(key != "CF version" for key in field.dataset_compliance()) for field in fields.values())
        field, at = fields["t"], [NAMES.index(name) for name in names]
        assert field.get_property("featureType") == "profile"
        assert field.data.get_compression_type() == "ragged contiguous"
        assert field.data.get_count().array.tolist() == [LENGTHS[each] for each in at]
        depth = field.construct("depth")
        assert depth.data.get_compression_type() == "ragged contiguous"
        for row, levels, each in zip(field.array, depth.array, at, strict=True):
            assert row.compressed().tolist() == temperatures(each).tolist()
            assert levels.compressed().tolist() == (2.5 * np.arange(LENGTHS[each])).tolist()
            assert len(row) == len(levels) == 5
        assert field.construct("latitude").array.tolist() == [50.25 + each for each in at]
        assert field.construct("longitude").array.tolist() == [-10.5 + each for each in at]
        assert field.construct("time").array.tolist() == at
        assert field.construct("cf_role=profile_id").array.tolist() == names
        assert fields["ship"].array.tolist() == ["abc"[each % 3] for each in at]

    def test_a_selection_by_coordinates_and_a_file_of_it(self, tmp_path):
        cf = imported("cf")
        names = [name for name in NAMES if name != "cast1"]
        casts = fleet().open_many(names, combine="ragged", feature_type="profile")
        casts.to_netcdf(tmp_path / "casts.nc")
        (field,) = cf.read(tmp_path / "casts.nc")
        found = field.subspace(latitude=cf.gt(53))
        assert [row.compressed().tolist() for row in found.array] == [temperatures(at).tolist() for at in (3, 4)]
        cf.write(field, str(tmp_path / "again.nc"))
        with xr.open_dataset(tmp_path / "again.nc") as again:
            np.testing.assert_array_equal(again["t"], casts["t"])
            np.testing.assert_array_equal(again["row_size"], casts["row_size"])

    @pytest.mark.parametrize("kind", ["timeSeries", "trajectory"])
    def test_other_feature_types(self, kind, tmp_path):
        cf = imported("cf")
        store = Atlas.create(MemoryStorage())
        for at, name in enumerate("abc"):
            hours = np.datetime64("2026-01-01", "ns") + np.arange(at + 1) * np.timedelta64(1, "h")
            places = (
                {"lat": ((), 50.0 + at)} if kind == "timeSeries" else {"lat": ("time", 50.0 + at + np.arange(at + 1))}
            )
            ds = xr.Dataset({"t": ("time", 0.1 * np.arange(at + 1) + at)}, {"time": hours, **places})
            ds["time"].attrs["standard_name"], ds["lat"].attrs["standard_name"] = "time", "latitude"
            store.add_xr_dataset(ds, name)
        store.flush()
        store.open_many(combine="ragged", feature_type=kind).to_netcdf(tmp_path / "file.nc")
        (field,) = cf.read(tmp_path / "file.nc")
        assert (field.get_property("featureType"), field.shape) == (kind, (3, 3))
        assert field.construct(f"cf_role={kind.lower()}_id").array.tolist() == list("abc")
        hours = field.construct("time")
        assert hours.data.get_compression_type() == "ragged contiguous"
        assert [row.compressed().tolist() for row in hours.array] == [[0], [0, 1], [0, 1, 2]]
        latitude = field.construct("latitude").array
        if kind == "timeSeries":
            assert latitude.tolist() == [50, 51, 52]
        else:
            assert [row.compressed().tolist() for row in latitude] == [[50], [51, 52], [52, 53, 54]]
