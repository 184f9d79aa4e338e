"""The published page, sentence by sentence: xarray. What lies deeper is tested in tests/xarray."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, DatasetView
from atlas.write.writer import Writer


@pytest.fixture
def ds():
    return xr.Dataset(
        data_vars={
            "temperature": (
                ["lat", "lon"],
                np.arange(8 * 16, dtype=np.float32).reshape(8, 16),
                {"units": "C", "long_name": "surface temperature"},
            ),
        },
        coords={"lat": np.arange(8, dtype=np.float32), "lon": np.arange(16, dtype=np.float32)},
        attrs={"month": 1, "station": "KNMI"},
    )


def test_method_and_accessor_have_the_same_effect(place, ds):
    with Atlas.create(place) as store:
        store.add_xr_dataset(ds, "jan_2024")
        ds.atlas.write(store, "jan_2025")
    store = Atlas.open(place)
    for name in ("jan_2024", "jan_2025"):
        xr.testing.assert_identical(ds, store.to_xarray(name))


def test_adding_never_flushes_by_itself(place, ds):
    store = Atlas.create(place)
    for i in range(3):
        store.add_xr_dataset(ds, f"d{i}")
    assert Atlas.open(place).list_datasets() == []
    store.flush()
    assert Atlas.open(place).list_datasets() == ["d0", "d1", "d2"]
    assert len(list((place / "arrays" / "temperature").iterdir())) == 1


def test_the_dask_chunk_shape_becomes_the_one_on_disk(store, ds):
    store.add_xr_dataset(ds.chunk({"lat": 3, "lon": 5}), "d")
    assert store.open_dataset("d").array_meta("temperature")["chunk_shape"] == [3, 5]


def test_blocks_are_streamed_one_at_a_time_in_order(store, ds, monkeypatch):
    calls = []
    write = Writer.write_array

    def recorded(self, dataset, name, start, data):
        calls.append((name, start, data.shape))
        write(self, dataset, name, start, data)

    monkeypatch.setattr(Writer, "write_array", recorded)
    store.add_xr_dataset(ds.chunk({"lat": 5, "lon": 9}), "d")
    assert [call for call in calls if call[0] == "temperature"] == [
        ("temperature", [0, 0], (5, 9)),
        ("temperature", [0, 9], (5, 7)),
        ("temperature", [5, 0], (3, 9)),
        ("temperature", [5, 9], (3, 7)),
    ]
    assert all(type(start) is list for _, start, _ in calls)


def test_chunks_override_the_shape_on_disk(store, ds):
    store.add_xr_dataset(ds.chunk({"lat": 3}), "d", chunks={"temperature": [4, 4]})
    ds.atlas.write(store, "e", chunks={"temperature": [2, 2]})
    assert store.open_dataset("d").array_meta("temperature")["chunk_shape"] == [4, 4]
    assert store.open_dataset("e").array_meta("temperature")["chunk_shape"] == [2, 2]
    xr.testing.assert_identical(store.to_xarray("d").compute(), ds)


def test_variables_in_chunks_come_back_lazy_and_others_eager(place, ds):
    ds["scalar"] = ((), 3.0)
    ds["whole"] = ("lat", np.arange(8))
    with Atlas.create(place) as store:
        store.add_xr_dataset(ds, "d", chunks={"temperature": [4, 5]})
    back = Atlas.open(place).to_xarray("d")
    assert isinstance(back["temperature"].data, da.Array)
    assert back["temperature"].data.chunks == ((4, 4), (5, 5, 5, 1))
    assert isinstance(back["scalar"].variable._data, np.ndarray)
    assert isinstance(back["whole"].variable._data, np.ndarray)
    xr.testing.assert_identical(back.compute(), ds)


def test_a_slice_reads_exactly_its_chunks(place, ds, monkeypatch):
    with Atlas.create(place) as store:
        store.add_xr_dataset(ds, "d", chunks={"temperature": [4, 16]})
    back = Atlas.open(place).to_xarray("d")
    calls = []
    read = DatasetView.read_array

    def recorded(self, name, start=None, shape=None):
        calls.append((name, start, shape))
        return read(self, name, start=start, shape=shape)

    monkeypatch.setattr(DatasetView, "read_array", recorded)
    back["temperature"][0:4].compute()
    assert calls == [("temperature", [0, 0], [4, 16])]


def test_the_mapping_onto_the_store(store, ds):
    ds["temperature"].attrs["_FillValue"] = np.float32(-9.0)
    ds["temperature"].attrs["levels"] = [1, 2]
    store.add_xr_dataset(ds, "d")
    view = store.open_dataset("d")
    assert view.array_meta("temperature")["dimension_names"] == ["lat", "lon"]
    assert view.array_fill_value("temperature") == -9.0
    shown = view.attributes()
    assert shown["month"] == 1
    assert shown["temperature.units"] == "C"
    assert shown["temperature.levels"] == "json:[1, 2]"
    assert "temperature._FillValue" not in shown
    assert set(json.loads(shown["_pyatlas_coords"])) == {"lat", "lon"}
    assert ds["temperature"].attrs["_FillValue"] == np.float32(-9.0)
    back = store.to_xarray("d")
    assert list(back["temperature"].attrs) == ["units", "long_name", "levels", "_FillValue"]
    assert "_pyatlas_coords" not in back.attrs


def test_there_is_no_append_into_an_existing_dataset(store, ds):
    store.add_xr_dataset(ds, "d")
    with pytest.raises(FileExistsError):
        store.add_xr_dataset(ds, "d")
    xr.testing.assert_identical(store.to_xarray("d"), ds)


@pytest.mark.parametrize("parallel", [True, False])
def test_many_datasets_stack_along_a_new_dimension_of_their_names(store, ds, parallel):
    names = [f"d{i}" for i in range(4)]
    for i, name in enumerate(names):
        store.add_xr_dataset(ds.assign(temperature=ds["temperature"] + i).assign_attrs(month=i), name)
    many = store.to_xarray_many(names, concat_dim="run", parallel=parallel)
    assert many["run"].values.tolist() == names
    assert many["temperature"].dims == ("run", "lat", "lon")
    assert isinstance(many["temperature"].variable._data, np.ndarray)
    assert many.attrs == {"station": "KNMI"}  # the months differ
    assert (many["temperature"].values == np.stack([ds["temperature"].values + i for i in range(4)])).all()
    with pytest.raises(ValueError, match="at least one"):
        store.to_xarray_many([])
    store.create_dataset("bare")
    with pytest.raises(KeyError):
        store.to_xarray_many([*names, "bare"])
