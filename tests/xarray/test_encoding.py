"""Encoding through the store: files that come out as xarray alone would write them, and where the encoding is kept."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import CorruptStoreError, InvalidNameError
from atlas.storage import MemoryStorage
from tests.exact import set_exact_attribute

pytest.importorskip("netCDF4")
iris_sample_data = pytest.importorskip("iris_sample_data")
from tests.xarray.netcdf_files import ODD_FILES, cells, header, write_odd_file  # noqa: E402 - needs netCDF4

SAMPLES = Path(iris_sample_data.path)
REAL_FILES = [
    *sorted(SAMPLES.rglob("*.nc")),
    *(Path(xr.__file__).parent / "tests" / "data" / name for name in ("example_1.nc", "bears.nc")),
]
KEPT_WHOLE = ["texts", "enum", "classic"]
"""Odd files that xarray alone writes as they were."""
DECODING = {
    "decoded": {},
    "raw": {"decode_cf": False},
    "undecoded times": {"decode_times": False},
    "packed": {"mask_and_scale": False},
    "durations": {"decode_timedelta": True},
}
DUMP = shutil.which("ncdump")


def open_file(path, **options):
    ds = xr.open_dataset(path, **{"decode_timedelta": False, **options})
    ordered = ds[[*ds.data_vars, *ds.coords]]  # as later versions of xarray have them
    ordered.encoding = ds.encoding
    ordered.set_close(ds.close)
    return ordered


def write(ds, path, original):
    ds.to_netcdf(path, format="NETCDF3_CLASSIC" if header(original)["format"].startswith("NETCDF3") else "NETCDF4")


def assert_same_files(path, expected):
    assert header(path) == header(expected)
    assert cells(path) == cells(expected)
    if DUMP is not None:
        dumps = [
            subprocess.run([DUMP, "-h", "-s", "-n", "a", file], capture_output=True, check=True).stdout
            for file in (path, expected)
        ]
        assert dumps[0] == dumps[1]


def assert_same_encodings(ds, expected):
    assert ds.encoding == expected.encoding
    assert list(ds.variables) == list(expected.variables)
    for name, variable in expected.variables.items():
        encoding = ds.variables[name].encoding
        # NaN differs from itself.
        assert repr(dict(sorted(encoding.items()))) == repr(dict(sorted(variable.encoding.items())))
        assert {key: type(value) for key, value in encoding.items()} == {
            key: type(value) for key, value in variable.encoding.items()
        }


def through_store(ds, chunks=None):
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        store.add_xr_dataset(ds, "d", chunks=chunks)
    return Atlas.open(storage).to_xarray("d")


def check(tmp_path, path, ds, chunks=None):
    """Write `ds` as it is and after the store, and compare the two files; returns the second."""
    back = through_store(ds, chunks)
    assert_same_encodings(back, ds)
    write(ds, tmp_path / "expected.nc", path)
    write(back, tmp_path / "back.nc", path)
    assert_same_files(tmp_path / "back.nc", tmp_path / "expected.nc")
    return tmp_path / "back.nc"


@pytest.mark.bulky
@pytest.mark.parametrize("decode", [True, False], ids=["decoded", "raw"])
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.stem)
def test_real_files_are_written_as_by_xarray_alone(tmp_path, path, decode):
    with open_file(path, decode_cf=decode) as ds:
        check(tmp_path, path, ds)


@pytest.mark.parametrize("options", DECODING)
@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_are_written_as_by_xarray_alone(tmp_path, name, options):
    write_odd_file(name, tmp_path / "a.nc")
    with open_file(tmp_path / "a.nc", **DECODING[options]) as ds:
        back = check(tmp_path, tmp_path / "a.nc", ds)
    if name in KEPT_WHOLE:
        assert_same_files(back, tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["layouts", "unlimited", "coordinates"])
def test_variables_in_chunks_are_written_alike(tmp_path, name):
    write_odd_file(name, tmp_path / "a.nc")
    with open_file(tmp_path / "a.nc") as ds:
        chunks = {dim: max(1, length // 2) for dim, length in ds.sizes.items()}
        check(tmp_path, tmp_path / "a.nc", ds, chunks)
        check(tmp_path, tmp_path / "a.nc", ds.chunk(chunks))
        assert through_store(ds, chunks)[next(iter(ds.data_vars))].chunks is not None


CHANGES = {
    "a part": lambda ds: ds.isel(y=slice(0, 2)),
    "a row": lambda ds: ds.isel(y=0),
    "other axes": lambda ds: ds.transpose("x", "y"),
    "longer": lambda ds: xr.concat([ds, ds], "y", data_vars="all"),
    "another name": lambda ds: ds.rename(y="z", zlib_alone="other"),
    "computed": lambda ds: ds + 1,
    "a variable added after reading": lambda ds: ds.assign(own=("x", np.arange(6.0))),
    "another dtype": lambda ds: ds.astype("f8"),
    "no encoding": lambda ds: ds.drop_encoding(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dataset_that_outgrew_its_encoding_is_written_as_by_xarray_alone(tmp_path, change):
    write_odd_file("layouts", tmp_path / "a.nc")
    with open_file(tmp_path / "a.nc") as ds:
        check(tmp_path, tmp_path / "a.nc", CHANGES[change](ds))


def test_a_restored_dataset_fails_where_the_one_added_does(tmp_path):
    ds = xr.Dataset({"t": ("x", [1.5, 2.5])})
    ds["t"].encoding = {"dtype": "i2", "_FillValue": np.int16(-9), "contiguous": True, "zlib": True}
    ds["t"].attrs["_FillValue"] = np.int16(-9)
    for one in (ds, through_store(ds)):
        with pytest.raises(ValueError, match="_FillValue"):
            one.to_netcdf(tmp_path / "a.nc")


def test_packed_integers_come_out_bit_for_bit(tmp_path):
    write_odd_file("packed", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        assert ds["packed"].dtype == np.float32
        through_store(ds).to_netcdf(tmp_path / "b.nc")
    assert cells(tmp_path / "b.nc") == cells(tmp_path / "a.nc")
    assert cells(tmp_path / "b.nc")["packed"][0] == "<i2"


def test_no_fill_value_stays_no_fill_value(tmp_path):
    ds = xr.Dataset({"t": ("x", [1.0, np.nan])})
    ds["t"].encoding["_FillValue"] = None
    back = through_store(ds)
    assert back["t"].encoding == {"_FillValue": None}
    back.to_netcdf(tmp_path / "a.nc")
    ((_, variable),) = header(tmp_path / "a.nc")["variables"]
    assert variable["attributes"] == []


@pytest.mark.filterwarnings("ignore:variable .* has data in the form of a dask array:xarray.SerializationWarning")
@pytest.mark.parametrize("chunks", [{}, {"x": 2, "y": 3}], ids=["whole", "chunked"])
@pytest.mark.parametrize("raw", [False, True], ids=["decoded", "raw"])
def test_ingested_files_are_written_as_by_xarray_alone(tmp_path, raw, chunks):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ODD_FILES:
        write_odd_file(name, folder / f"{name}.nc")
    store = Atlas.create(MemoryStorage())
    report = store.add_many(folder, chunks=chunks, raw=raw)
    assert report.count("stored") == len(ODD_FILES)
    options = {"mask_and_scale": False, "decode_times": False, "decode_coords": False} if raw else {}
    for name in ODD_FILES:
        path = folder / f"{name}.nc"
        with open_file(path, **options) as ds:
            back = store.to_xarray(name)
            for variable in ("clouds",) if name == "enum" else ():
                for key in ("flag_values", "flag_meanings"):
                    ds[variable].attrs[key] = back[variable].attrs[key]
            assert_same_encodings(back, ds)
            # xarray alone writes dates and enumerations in chunks otherwise than whole ones.
            expected = ds.chunk({dim: length for dim, length in chunks.items() if dim in ds.dims}) if chunks else ds
            write(expected, tmp_path / "expected.nc", path)
            write(back, tmp_path / "back.nc", path)
        assert_same_files(tmp_path / "back.nc", tmp_path / "expected.nc")


def test_the_example_of_the_page(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "xarray.md").read_text(encoding="utf-8")
    section = page.partition("\n## Encoding\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_odd_file("unlimited", "a.nc")
    exec(example, {"xr": xr, "store": Atlas.create(MemoryStorage())})
    with xr.open_dataset("a.nc") as ds:
        ds.to_netcdf("expected.nc")
    assert_same_files("b.nc", "expected.nc")


def encoded(**encodings):
    """A dataset of two variables and an index with encodings of their own, as from the file `source`."""
    source = encodings.pop("source", "/data/a.nc")
    ds = xr.Dataset({"t": ("x", [1.0, 2.0]), "u": ("x", [3.0, 4.0])}, {"x": [1, 2]})
    for name, variable in ds.variables.items():
        variable.encoding = {"chunksizes": (2,), "zlib": True, "source": source} | encodings.get(name, {})
    ds.encoding = {"unlimited_dims": {"x"}, "source": source}
    return ds


def test_the_source_of_a_dataset_added_is_not_changed():
    ds, twin = encoded(), encoded()
    through_store(ds)
    assert_same_encodings(ds, twin)


def test_encodings_are_hidden_from_users():
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(encoded(), "d")
    view = store["d"]
    assert list(view.attributes()) == ["_pyatlas_coords"]
    assert dict(view.attrs) == dict(view["t"].attrs) == {}
    back = store.to_xarray("d")
    assert back.attrs == back["t"].attrs == {}
    for key in ("_atlas_encoding", "_atlas_source", "t._atlas_encoding"):
        with pytest.raises(InvalidNameError, match="reserved"):
            view.set_attribute(key, "x")
    for attrs in (view.attrs, view["t"].attrs):
        with pytest.raises(InvalidNameError, match="reserved"):
            attrs["_atlas_encoding"] = "x"
    assert_same_encodings(store.to_xarray("d"), encoded())


def test_variables_keep_their_order(tmp_path):
    names = ["b", "lat", "x", "a", "lon"]
    ds = xr.Dataset({name: ("x", [1.0, 2.0]) for name in names}).set_coords(["lat", "lon"])[names]
    assert list(ds.variables) == names
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(ds, "d")
    back = store.to_xarray("d")
    assert list(back.variables) == names
    assert list(back.coords) == list(ds.coords)
    xr.testing.assert_identical(back, ds)
    back.to_netcdf(tmp_path / "back.nc")
    ds.to_netcdf(tmp_path / "expected.nc")
    assert_same_files(tmp_path / "back.nc", tmp_path / "expected.nc")
    view = store["d"]
    assert list(view.attributes()) == ["_pyatlas_coords"]
    assert back.attrs == dict(view.attrs) == {}
    view.delete_array("b")
    view.define_array("new", "int8", ["x"], [2])
    assert list(store.to_xarray("d").variables) == ["lat", "x", "a", "lon", "new"]
    assert list(store.to_xarray_many(["d"]).variables)[:5] == ["lat", "x", "a", "lon", "new"]


def test_nothing_is_stored_of_an_empty_encoding():
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(encoded().drop_encoding(), "d")
    assert list(store._session.view.exact_attributes("d")) == ["_pyatlas_coords"]
    assert store.to_xarray("d").encoding == store.to_xarray("d")["t"].encoding == {}


def test_equal_encodings_are_stored_once_in_a_document(tmp_path):
    with Atlas.create(tmp_path, meta_format="json", meta_compression="none") as store:
        for i in range(1000):
            store.add_xr_dataset(encoded(source=f"/data/{i}.nc"), f"d{i}")
    documents = [path.read_bytes() for path in tmp_path.rglob("*.json")]
    counts = [document.count(b"chunksizes") for document in documents]
    assert max(counts) == 1
    assert sum(document.count(b"/data/17.nc") for document in documents) == sum(counts)


def test_an_array_that_is_deleted_takes_its_encoding_along():
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(encoded(), "d")
    store["d"].delete_array("t")
    back = store.to_xarray("d")
    assert_same_encodings(back, encoded().drop_vars("t"))
    assert back.attrs == {}


class _Codec:
    """Stands for a codec object of zarr."""


def test_what_cannot_be_stored_is_warned_of_where_the_dataset_is_added():
    ds = encoded(t={"filters": (_Codec(),)})
    store = Atlas.create(MemoryStorage())
    with pytest.warns(UserWarning, match=r"dataset 'd' .* 'filters' of 't'") as caught:
        store.add_xr_dataset(ds, "d")
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="'by accessor'") as caught:
        ds.atlas.write(store, "by accessor")
    assert [warning.filename for warning in caught] == [__file__]
    assert_same_encodings(store.to_xarray("d"), encoded())
    with pytest.raises(UserWarning, match="filters"):  # as the tests make warnings errors
        store.add_xr_dataset(ds, "e")
    assert "e" not in store.list_datasets()
    store.add_xr_dataset(ds.drop_encoding(), "e")
    del ds["t"].encoding["filters"]
    store.add_xr_dataset(ds, "f")


@pytest.mark.parametrize("parallel", [True, False])
def test_many_datasets_keep_the_encoding_that_they_have_in_common(tmp_path, parallel):
    store = Atlas.create(MemoryStorage())
    packing = {"dtype": np.dtype("i2"), "scale_factor": 0.5, "_FillValue": np.int16(-9)}
    for i in range(3):
        ds = encoded(source=f"{i}.nc", t=packing, u={**packing, "scale_factor": 0.5 + i, "complevel": 4})
        store.add_xr_dataset(ds, f"d{i}")
    many = store.to_xarray_many(["d0", "d1", "d2"], parallel=parallel)
    assert many.encoding == {"unlimited_dims": {"x"}}
    assert many["t"].encoding == {"zlib": True, **packing}
    assert many["u"].encoding == {"zlib": True, "complevel": 4}  # no part of a packing that is not that of all
    assert many["x"].encoding == {"zlib": True, "chunksizes": (2,)}
    assert many["dataset"].encoding == {}
    many.to_netcdf(tmp_path / "many.nc")
    with xr.open_dataset(tmp_path / "many.nc") as written:
        xr.testing.assert_equal(written, many)
    store.add_xr_dataset(encoded().drop_encoding(), "bare")
    for names in (["d0", "bare"], ["bare", "d0"]):
        many = store.to_xarray_many(names)
        assert many.encoding == many["t"].encoding == many["x"].encoding == {}


@pytest.mark.parametrize("damage", ["", "[]", 5, '{"dtype":{"$":"dtype","t":"V9","m":{}}}'])
@pytest.mark.parametrize("key", [("_atlas_encoding",), ("t", "_atlas_encoding")])
def test_a_damaged_encoding_is_reported(key, damage):
    store = Atlas.create(MemoryStorage())
    store.add_xr_dataset(encoded(), "d")
    set_exact_attribute(store["d"], key, damage)
    store.add_xr_dataset(encoded(), "sound")
    for read in (
        store.to_xarray,
        lambda name: store.to_xarray_many([name]),
        lambda name: store.to_xarray_many(["sound", name]),
    ):
        with pytest.raises(CorruptStoreError, match="encoding of dataset 'd' is damaged"):
            read("d")
    assert store["d"].read_array("t").tolist() == [1, 2]
