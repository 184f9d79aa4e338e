"""The tests that xarray keeps for its own backends, of datasets written by `add_xr_dataset` and opened by the engine.

xarray has no public suite. Its classes for files of any kind are subclassed, twice: for datasets that are added as they
are, and for those that are first encoded as a file would have them, which is what a store of raw files holds. Each test
that is overridden says why. Left out are those of the old interface `AbstractDataStore` and of appending variables to
a file: a store appends datasets.
"""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
import xarray as xr
from packaging.version import Version
from xarray.conventions import cf_encoder, encode_dataset_coordinates
from xarray.testing import assert_equal, assert_identical

from atlas import Atlas
from atlas.engine import AtlasBackendEntrypoint
from atlas.errors import DatasetExistsError, InvalidNameError, InvalidTypeError, UnsupportedDtypeError

NEWEST = "2026.9"
"""The version of xarray whose suite this is: earlier ones have other tests under the same names."""

if Version(xr.__version__) < Version(NEWEST):
    pytest.skip(f"written for the suite of xarray {NEWEST}", allow_module_level=True)

suite = pytest.importorskip("xarray.tests.test_backends")
from xarray.tests.conftest import time_unit, use_dask  # noqa: E402
from xarray.tests.test_coding_times import _all_cftime_date_types  # noqa: E402

__all__ = ["time_unit", "use_dask"]


class Atlases:
    """What both kinds of stores have in common: how they are opened, and what no store does."""

    engine = AtlasBackendEntrypoint

    def prepared(self, ds):
        """The dataset to add in place of `ds`."""
        return ds

    def save(self, ds, path, encoding=None, unlimited_dims=None):
        ds = ds.copy()
        for name, own in (encoding or {}).items():
            ds[name].encoding = {**ds[name].encoding, **own}
        if unlimited_dims is not None:
            ds.encoding = {"unlimited_dims": unlimited_dims}
        with Atlas.create(path, durable=False) as store:
            store.add_xr_dataset(self.prepared(ds), "only")

    def test_write_store(self):
        """A store is no `AbstractDataStore`, into which xarray could write variable by variable."""
        with pytest.raises(NotImplementedError):
            self.create_store()

    def test_load_async(self):
        """Run without a plugin of pytest."""
        asyncio.run(super().test_load_async())

    def test_roundtrip_None_variable(self):
        """A name is text."""
        with pytest.raises(InvalidTypeError, match="NoneType"), self.roundtrip(xr.Dataset({None: ("x", [1])})):
            pass

    def test_roundtrip_object_dtype(self):
        """Objects of several kinds are refused, as numbers are; None stays None where a file has an empty text."""
        text = np.array(["ab", "cdef", None], object)
        raw = np.array([b"ab", b"cdef", None], object)
        ds = xr.Dataset({"text": ("b", text), "bytes": ("b", raw)})
        with self.roundtrip(ds) as actual:
            assert_identical(actual, ds)
        mixed = xr.Dataset({"floats": ("a", np.array([0.0, np.nan], object))})
        with pytest.raises(InvalidTypeError, match="'floats'"), self.roundtrip(mixed):
            pass

    def test_roundtrip_stringdtype_nulls(self):
        """What is missing stays missing: a file has an empty text in its place."""
        data = np.array(["ab", None], np.dtypes.StringDType(na_object=None))
        with self.roundtrip(xr.Dataset({"x": ("t", data)})) as actual:
            assert actual["x"].values.tolist() == ["ab", None]

    def test_roundtrip_stringdtype_with_na_object(self):
        """Text that also stands for what is missing is refused."""
        data = np.array(["ab", "cdef"], np.dtypes.StringDType(na_object=""))
        with pytest.raises(UnsupportedDtypeError, match="StringDType"), self.roundtrip(xr.Dataset({"x": ("t", data)})):
            pass

    def test_roundtrip_string_encoded_characters(self):
        """Text is stored as text, of any length, never as characters in an encoding that the variable names."""
        expected = xr.Dataset({"x": ("t", ["ab", "cdéf"])})
        expected["x"].encoding["dtype"] = "S1"
        with self.roundtrip(expected) as actual:
            assert_identical(expected, actual)


class TestAsAdded(Atlases, suite.DatasetIOBase):
    """Datasets as they are: cells, coordinates and `encoding` come back, and nothing needs decoding."""

    def test_roundtrip_coordinates_with_space(self):
        """Which variables are coordinates is no text with spaces between their names: both stay coordinates."""
        original = xr.Dataset(coords={"x": 0, "y z": 1})
        with self.roundtrip(original) as actual:
            assert_identical(original, actual)

    def test_roundtrip_cftime_datetime_data(self):
        """Dates are stored as dates of their calendar: they need no units, and have none that they were not given."""
        for date in _all_cftime_date_types().values():
            expected = xr.Dataset({"t": ("t", [date(1, 1, 1), date(1, 1, 2)]), "t0": date(1, 1, 1)})
            with self.roundtrip(expected) as actual:
                assert_identical(expected, actual)
                assert "units" not in actual["t"].encoding


class TestRaw(Atlases, suite.CFEncodedBase):
    """Datasets that were encoded before they were added: packed, with units, fill values and names of coordinates."""

    file_format = "NETCDF4"  # by which the suite asks whether bytes without a sign can be stored

    def prepared(self, ds):
        variables, attrs = cf_encoder(*encode_dataset_coordinates(ds))
        raw = xr.Dataset(variables, attrs=attrs)
        for variable in raw.variables.values():
            variable.encoding = {}
        raw.encoding = ds.encoding
        return raw

    @pytest.mark.parametrize("coded", [True, False])
    def test_roundtrip_string_with_fill_value_nchar(self, coded):
        """A fill value of bytes for text is refused, where it is written into cells."""
        encoding = {"_FillValue": b"X"} if coded else {}
        ds = xr.Dataset({"x": ("t", np.array(["ab", "cdef", np.nan], object), {}, encoding)})
        refused = pytest.raises(InvalidTypeError, match="bytes") if coded else contextlib.nullcontext()
        with refused, self.roundtrip(ds) as actual:
            assert_equal(actual, ds)

    def test_invalid_dataarray_names_raise(self):
        """The same names are refused, by messages of the store."""
        for name, error in ((0, InvalidTypeError), ((4, 5), InvalidTypeError), ("", InvalidNameError)):
            with pytest.raises(error), self.roundtrip(xr.Dataset({name: ("x", [1.0])})):
                pass

    def test_encoding_kwarg(self):
        """The dtype that a variable is packed in is told; a store takes every key, as it keeps encodings of all."""
        ds = xr.Dataset({"x": ("y", np.arange(10.0))})
        with self.roundtrip(ds, save_kwargs={"encoding": {"x": {"dtype": "f4"}}}) as actual:
            assert actual["x"].encoding["dtype"] == np.dtype("f4")
        assert ds["x"].encoding == {}

    def test_encoding_kwarg_fixed_width_string(self):
        """Text and bytes of any length are stored as such: there is no width to tell."""
        for strings in ([b"foo", b"bar", b"baz"], ["foo", "bar", "baz"]):
            with self.roundtrip(xr.Dataset({"x": ("t", strings)})) as actual:
                assert_identical(actual, xr.Dataset({"x": ("t", strings)}))

    def test_encoding_unlimited_dims(self):
        """Comes back as it was given, list or set: any axis of a store may be of any length."""
        ds = xr.Dataset({"x": ("y", np.arange(10.0))})
        for given in (["y"], {"y"}, "y"):
            with self.roundtrip(ds, save_kwargs={"unlimited_dims": given}) as actual:
                assert set(actual.encoding["unlimited_dims"]) == {"y"}
                assert_equal(ds, actual)

    def test_string_object_warning(self):
        """Adding text in a dask array warns of nothing: it is written block by block, and never loaded as a whole."""
        original = xr.Dataset({"x": ("y", np.array(["foo", "bar"], object))}).chunk()
        with suite.create_tmp_file() as path:
            Atlases.save(TestAsAdded(), original, path)
            with self.open(path) as actual:
                assert_identical(original, actual)

    def test_append_write(self):
        """A name is added once. Variables are appended by `define_array` and changed by `write_array`."""
        with suite.create_tmp_file(allow_cleanup_failure=False) as path:
            self.save(xr.Dataset({"x": ("y", [1.0])}), path)
            store = Atlas.open(path)
            with pytest.raises(DatasetExistsError, match="'only'"):
                store.add_xr_dataset(xr.Dataset({"z": ("y", [1.0])}), "only")

    test_append_overwrite_values = test_append_with_invalid_dim_raises = test_append_write
