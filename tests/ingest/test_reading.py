"""Reading one file, in this process: what xarray reads, but for what it cannot read or decode."""

from __future__ import annotations

import base64
import os
import warnings
import zlib
from functools import partial
from pathlib import Path

import dask.array
import netCDF4
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import InvalidValueError
from atlas.ingest import reading
from atlas.ingest.provenance import fingerprint
from atlas.ingest.reading import ReadOptions, read_block, read_file
from atlas.storage import MemoryStorage
from atlas.xarray import dataset_of
from tests.xarray.netcdf_files import ODD_FILES, write_odd_file

OPAQUE_FILE = zlib.decompress(
    base64.b85decode(
        "c-rgqaB<`1lHy|K;9!7(|4<+X6*7Q|>jf1S`+K+qF)>sy2_Y+l0WKy6Mg|5pK?WejmS2!qSem*Ss+WxiB*<8@pAjlx%s>u^+bpXL"
        "b^_2WMiB-ECPqd^Ca4^YX69gE6a~>h%nEc7GZzQYwaknRQ17t84BNvnq`@oA94>-kA;Q2Ys9+EEx&wm=H-pK4X4G(DgNBO$%-{_}"
        "FD%%-?muA|1*2dTjDk@>JV;DRPDxFJuz%P?Xch+mPU119"
    )
)
"""A file of HDF5 with the variables `opaque`, of a dtype of three bytes without meaning, and `t`."""
UNITS = "days since 2000-01-01"
FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4_CLASSIC", "NETCDF4")
LENGTHS = {"x": 3, "bounds": 2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.nc"


def write(path, write_variables, **options):
    with netCDF4.Dataset(path, "w", **options) as file:
        for name, length in LENGTHS.items():
            file.createDimension(name, length)
        write_variables(file)
    return path


def create(file, name, cells, dims=("x",), **attrs):
    """Create a variable whose cells are stored as they are."""
    kind = str if np.asarray(cells).dtype == object else np.asarray(cells).dtype
    variable = file.createVariable(name, kind, dims, fill_value=attrs.pop("fill_value", False))
    variable.set_auto_maskandscale(False)
    variable.setncatts(attrs)
    variable[:] = cells


def options(*drop, raw=False, drop_unsupported=False, **more):
    return ReadOptions(drop, raw, drop_unsupported, **more)


def opened(path, *, raw=False):
    """What xarray reads of a file."""
    decoding = {"mask_and_scale": False, "decode_times": False, "decode_coords": False} if raw else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.load_dataset(path, decode_timedelta=False, engine="netcdf4", **decoding)


def shown(encoding):
    """An encoding as text with the types of values, as a NaN equals none."""
    return {key: (type(value), repr(value)) for key, value in encoding.items()}


def read_ds(read):
    """The dataset that was read of a file, without its large variables."""
    ds = dataset_of(read.contents)
    assert {name: ds.indexes[name].dtype for name in ds.indexes}.keys() == read.contents.indexes.keys()
    return ds


def blockwise(path, read, chosen, rows=1):
    """The dataset of a file, with its large variables read block by block."""
    ds = read_ds(read)
    for name, large in read.large.items():
        key = tuple(slice(None) for _ in large.shape[1:])
        kept = tuple(read.kept_raw), tuple(read.untouched)
        blocks = [
            read_block(path, chosen, None, read.fingerprint, *kept, name, (slice(at, at + rows), *key))
            for at in range(0, large.shape[0], rows)
        ]
        assert {block.dtype for block in blocks} == {large.dtype}
        cells = np.concatenate(blocks)
        assert cells.shape == large.shape
        ds = ds.assign({name: xr.Variable(large.dims, cells, large.attrs, large.encoding)})
    return ds.set_coords([name for name in read.large if name in read.contents.coords])[read.order]


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


class TestEquality:
    @pytest.mark.parametrize("raw", [False, True])
    @pytest.mark.parametrize("large_bytes", [64 << 20, 8])
    @pytest.mark.parametrize("name", sorted(ODD_FILES))
    def test_with_xarray(self, path, name, raw, large_bytes):
        write_odd_file(name, path)
        chosen = options(raw=raw, large_bytes=large_bytes)
        read, expected = read_file(path, chosen), opened(path, raw=raw)
        if name == "enum":
            expected["clouds"].attrs |= {
                "flag_values": np.array([0, 1, 255], "u1"),
                "flag_meanings": "clear cumulus missing",
            }
        ds = blockwise(path, read, chosen)
        xr.testing.assert_identical(ds, expected)
        # Earlier versions of xarray do not put the coordinates last.
        assert list(ds.variables) == sorted(expected.variables, key=set(expected.coords).__contains__)
        for variable in expected.variables:
            assert ds[variable].dtype == expected[variable].dtype
            assert shown(ds[variable].encoding) == shown(expected[variable].encoding)
        assert shown(read_ds(read).encoding) == shown(expected.encoding)
        assert read_ds(read).encoding["source"] == str(path)
        assert (read.dropped, read.kept_raw) == ({}, {})

    @pytest.mark.parametrize("form", FORMATS)
    def test_with_xarray_in_every_format(self, path, form):
        def both(file):
            file.createDimension("time", None)
            create(file, "time", np.array([0, 31], "i4"), ("time",), units=UNITS)
            create(file, "packed", np.array([[1, 2, -9]] * 2, "i2"), ("time", "x"), scale_factor=0.5, fill_value=-9)

        read = read_file(write(path, both, format=form), options())
        xr.testing.assert_identical(read_ds(read), opened(path))
        assert read_ds(read)["packed"].values.tolist()[1] == pytest.approx([0.5, 1, np.nan], nan_ok=True)
        assert read_ds(read)["time"].dt.month.values.tolist() == [1, 2]
        assert read_ds(read).encoding["unlimited_dims"] == {"time"}

    @pytest.mark.parametrize("rows", [1, 2, 5, 100])
    def test_of_blocks_with_the_whole(self, path, rows):
        rng = np.random.default_rng(3)
        text = np.array([[f"{y}·{x}" for x in range(4)] for y in range(20)], object)
        ds = xr.Dataset(
            {
                "packed": (("y", "x"), rng.normal(280, 5, (20, 4)).round(2)),
                "text": (("y", "x"), text),
                "when": (("y", "x"), np.datetime64("2026-01-01", "ns") + np.arange(80).reshape(20, 4) * 1_000_000),
                "noleap": ("y", xr.date_range("2001-02-20", periods=20, calendar="noleap", use_cftime=True)),
                "flags": (("y", "x"), rng.integers(0, 200, (20, 4), "u1")),
            },
            {"area": (("y", "x"), np.ones((20, 4))), "y": np.arange(20.0)},
        )
        ds["packed"][3, 2] = np.nan
        packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9}
        ds.to_netcdf(path, encoding={"packed": packing, "when": {"units": "milliseconds since 2026-01-01"}})
        chosen = options(large_bytes=100)
        read = read_file(path, chosen)
        assert sorted(read.large) == ["area", "noleap", "packed", "text", "when"]
        assert (list(read.contents.variables), read.contents.coords) == (["flags", "y"], {"area", "y"})
        xr.testing.assert_identical(blockwise(path, read, chosen, rows), opened(path))

    def test_but_for_lengths_of_time_which_keep_their_numbers(self, path):
        write(path, lambda file: create(file, "lead", np.array([6, 12, 18], "i4"), units="hours"))
        ds = read_ds(read_file(path, options()))
        assert (ds["lead"].dtype, ds["lead"].attrs) == (np.int32, {"units": "hours"})

    def test_raw_joins_characters_to_text_or_bytes(self, path):
        def both(file):
            cells = np.array(["Zürch".encode(), b"ab", b""], "S6").view("S1").reshape(3, 6)
            file.createDimension("length", 6)
            file.createVariable("with_encoding", "S1", ("x", "length"))._Encoding = "utf-8"
            file.createVariable("without_encoding", "S1", ("x", "length"), fill_value=b"\0")
            for variable in file.variables.values():
                variable.set_auto_chartostring(False)
                variable[:] = cells

        ds = read_ds(read_file(write(path, both), options(raw=True)))
        assert ds["with_encoding"].dims == ds["without_encoding"].dims == ("x",)
        store = Atlas.create(MemoryStorage())
        store.add_xr_dataset(ds, "c")
        assert store["c"].read_array("with_encoding").tolist() == ["Zürch", "ab", ""]
        assert store["c"].read_array("without_encoding").tolist() == ["Zürch".encode(), b"ab", b""]


class TestContents:
    def test_names_of_all_dimensions_and_variables_are_told(self, path):
        write_odd_file("coordinates", path)
        read = read_file(path, options("t", "lat", "none"))
        assert read.dims == {"y", "x"}
        assert read.variables == {"t", "lat", "lon", "height", "crs", "flags"}
        assert set(read_ds(read).variables) == {"lon", "height", "crs", "flags"}
        assert read.order == list(read_ds(read).variables)
        assert read.fingerprint == fingerprint(path, digest=True)

    def test_variables_are_in_memory_and_the_file_is_closed(self, path):
        write_odd_file("packed", path)
        before = open_files()
        read = read_file(path, options())
        assert open_files() == before
        path.unlink()
        assert read_ds(read)["packed"].values.tolist() == pytest.approx([10.5, np.nan, 11.5, 9.5], nan_ok=True)

    @pytest.mark.parametrize("large_bytes", [64 << 20, 0])
    def test_groups_are_refused(self, path, large_bytes):
        def groups(file):
            file.createGroup("g1")
            file.createGroup("g2/deeper")

        with pytest.raises(InvalidValueError, match=r"^a\.nc has the groups g1, g2; only files .* group='g1'\)\.to_"):
            read_file(write(path, groups), options(drop_unsupported=True, large_bytes=large_bytes))

    def test_what_is_no_netcdf_raises_and_is_closed(self, path):
        path.write_bytes(b"x" * 100)
        before = open_files()
        with pytest.raises(OSError, match="Unknown file format"):
            read_file(path, options())
        assert open_files() == before

    def test_a_classic_file_that_was_cut_short_is_refused(self, path):
        write_odd_file("classic", path)
        read_file(path, options())
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InvalidValueError, match="it was cut short, and what is missing would read as zeros"):
            read_file(path, options())


class TestUndecodedTimes:
    @pytest.mark.parametrize(
        ("cells", "units", "calendar", "said"),
        [
            ([0.0, 1.0, 2.0], "days since 20x0-01-01", "standard", "unable to decode time units 'days since 20x0-"),
            ([0.0, 1.0, 2.0], "months since 2000-01-01", "standard", "unable to decode time units 'months since 2000-"),
            ([0.0, 1.0, 2.0], "years since birth", "standard", "unable to decode time units 'years since birth'"),
            ([0.0, 1.0, 2.0], "since 1990", "standard", "unable to decode time units 'since 1990'"),
            ([0.0, 1.0, 2.0], UNITS, "martian", "unable to decode time units 'days since 2000-"),
            ([0.0, 1.0, 2.0], UNITS, 5, "unable to decode time units 'days since 2000-"),
            ([1e300, 1.0, 2.0], UNITS, "standard", "unable to decode time units 'days since 2000-"),
            ([0.0, 1.0, 1e300], UNITS, "standard", "unable to decode time units 'days since 2000-"),
            ([0.0, 1e300, 2.0], UNITS, "standard", "time values outside range of 64 bit signed integers"),
            (np.array(["a", "b", "c"], object), UNITS, "standard", "unable to decode time units 'days since 2000-"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("large_bytes", [64 << 20, 8])
    def test_they_keep_their_numbers_and_the_others_are_decoded(self, path, cells, units, calendar, said, large_bytes):
        def times(file):
            create(file, "good", np.array([0, 1, 2], "i4"), units=UNITS)
            create(file, "bad", cells, units=units, calendar=calendar)
            create(file, "packed", np.array([1, 2, 3], "i2"), scale_factor=0.5)

        chosen = options(large_bytes=large_bytes)
        read = read_file(write(path, times), chosen)
        assert list(read.kept_raw) == ["bad"]
        assert said in read.kept_raw["bad"]  # earlier versions of xarray name the variable before it
        assert "decode_times" not in read.kept_raw["bad"]
        ds = blockwise(path, read, chosen)
        np.testing.assert_array_equal(ds["bad"], cells)
        assert ds["bad"].attrs == {"units": units, "calendar": calendar}
        np.testing.assert_array_equal(ds["good"], np.arange("2000-01-01", "2000-01-04", dtype="M8[D]"))
        assert ds["packed"].values.tolist() == [0.5, 1.0, 1.5]

    @pytest.mark.parametrize(
        ("cells", "units"), [([0.0, 1e300, 2.0], UNITS), ([1e300, 1, 2], UNITS), ([0.0, 1.0, 2.0], "days since then")]
    )
    def test_their_bounds_and_their_index_too(self, path, cells, units):
        def times(file):
            file.renameDimension("x", "time")
            create(file, "time", np.array(cells), ("time",), units=units, calendar="standard", bounds="time_bounds")
            create(file, "time_bounds", np.array([cells, cells]).T, ("time", "bounds"))
            create(file, "t", np.ones(3), ("time",))

        read = read_file(write(path, times), options())
        assert set(read.kept_raw) == {"time", "time_bounds"}
        assert read_ds(read)["time"].values.tolist() == cells
        assert read_ds(read)["time_bounds"].values.tolist() == [[cell, cell] for cell in cells]
        assert read_ds(read).indexes["time"].tolist() == cells

    def test_bounds_alone(self, path):
        def times(file):
            create(file, "time", np.arange(3.0), units=UNITS, bounds="time_bounds")
            create(file, "time_bounds", np.array([[0, 1e300]] * 3), ("x", "bounds"))

        read = read_file(write(path, times), options())
        assert list(read.kept_raw) == ["time_bounds"]
        assert read_ds(read)["time"].dtype == "M8[ns]"
        assert read_ds(read)["time_bounds"].values.tolist() == [[0, 1e300]] * 3

    def test_several_each_with_its_reason(self, path):
        def times(file):
            for name, cells in (("a", [0, 1, 2]), ("b", [0, 1e300, 2]), ("c", [1e300, 0, 0]), ("d", [0, 0, 1e300])):
                create(file, name, np.array(cells, "f8"), units=UNITS)

        read = read_file(write(path, times), options())
        assert sorted(read.kept_raw) == ["b", "c", "d"]
        assert read.kept_raw["b"] == "time values outside range of 64 bit signed integers"
        assert read_ds(read)["a"].dtype == "M8[ns]"
        assert read_file(path, options("b", "c", "d")).kept_raw == {}

    def test_dates_that_only_cftime_has_are_decoded_where_all_are_seen_at_once(self, path):
        write(path, lambda file: create(file, "when", np.array([0.0, 200_000.0, 2.0]), units=UNITS))
        read = read_file(path, options())
        assert [when.year for when in read_ds(read)["when"].values] == [2000, 2547, 2000]
        assert read.kept_raw == {}
        read = read_file(path, options(large_bytes=8))
        assert read.kept_raw == {"when": "some are out of the range of datetime64[ns]"}
        assert blockwise(path, read, options())["when"].values.tolist() == [0, 200_000, 2]

    def test_raw_decodes_none_and_says_nothing(self, path):
        write(path, lambda file: create(file, "bad", np.arange(3.0), units="days since then"))
        read = read_file(path, options(raw=True))
        assert (read.kept_raw, read_ds(read)["bad"].values.tolist()) == ({}, [0, 1, 2])

    def test_missing_times_are_no_hindrance(self, path):
        write(path, lambda file: create(file, "when", np.array([0.0, np.nan, -9.0]), units=UNITS, fill_value=-9.0))
        read = read_file(path, options())
        assert read.kept_raw == {}
        assert np.isnat(read_ds(read)["when"]).values.tolist() == [False, True, True]


def lists(file):
    of_integers = file.createVLType(np.int32, "of_integers")
    file.createVariable("odd", of_integers, ("x",))[0] = np.array([1, 2, 3], "i4")


def pairs(file):
    pair = file.createCompoundType(np.dtype([("a", "f8"), ("b", "i2")]), "pair")
    file.createVariable("odd", pair, ("x",))[:] = np.zeros(3, [("a", "f8"), ("b", "i2")])


RULE = "'_odd' cannot name an array: use a name without '/' and NUL that does not begin with '_' and is not '.' or '..'"
UNSUPPORTED = {
    "lists": (lists, "odd", "has lists of int32 of different lengths (vlen), which are not stored"),
    "pairs": (pairs, "odd", "is of the compound dtype 'pair', and compound dtypes are not stored"),
    "name": (
        lambda file: create(file, "_odd", np.arange(3)),
        "_odd",
        f"has a name that no array may have: {RULE}",
    ),
}


class TestUnsupportedVariables:
    @pytest.fixture(params=[*UNSUPPORTED, "opaque"])
    def odd(self, request, path):
        """The name of a variable that is not stored in the file, and why; beside it is `t`."""
        if request.param == "opaque":
            path.write_bytes(OPAQUE_FILE)
            return "opaque", "is of a dtype that netCDF4 cannot read"
        write_odd, name, reason = UNSUPPORTED[request.param]

        def both(file):
            write_odd(file)
            create(file, "t", np.array([1.5, 2.5, 3.5]))

        write(path, both)
        return name, reason

    def test_the_first_is_named_with_what_leaves_it_out(self, path, odd):
        name, reason = odd
        with pytest.raises(InvalidValueError) as caught:
            read_file(path, options())
        assert str(caught.value) == (
            f"variable {name!r} {reason}; leave it out with drop=[{name!r}] (--drop {name} of the command), or all "
            "such with on_unsupported='drop' (--on-unsupported drop)"
        )

    def test_they_are_left_out_where_asked_for(self, path, odd):
        name, reason = odd
        read = read_file(path, options(drop_unsupported=True))
        assert (read.dropped, list(read_ds(read).variables)) == ({name: reason}, ["t"])
        assert read_ds(read)["t"].values[:2].tolist() == [1.5, 2.5]
        assert read.variables == {"t", name}

    def test_those_that_are_dropped_need_no_leave(self, path, odd):
        read = read_file(path, options(odd[0]))
        assert (read.dropped, list(read_ds(read).variables)) == ({}, ["t"])

    def test_large_variables_beside_them_are_read_block_by_block(self, path, odd, monkeypatch):
        monkeypatch.setattr("atlas.ingest.adding.ReadOptions", partial(ReadOptions, large_bytes=8))
        store = Atlas.create(MemoryStorage())
        report = store.add_many(path, on_unsupported="drop", flush_every="1 file")
        assert report.results[0].dropped == dict([odd])
        assert store["a"].read_array("t")[:2].tolist() == [1.5, 2.5]


class TestVariablesThatCannotBeRead:
    @pytest.mark.parametrize(
        ("attrs", "said"),
        [
            ({"scale_factor": "0.1"}, "its scale_factor is the text '0.1'"),
            ({"scale_factor": [0.1, 0.2]}, "can only convert an array of size 1"),
            ({"coordinates": 5}, "'numpy.int64' object has no attribute 'split'"),
        ],
    )
    @pytest.mark.parametrize("large_bytes", [64 << 20, 0])
    def test_are_named_with_what_leaves_them_out(self, path, attrs, said, large_bytes):
        def both(file):
            create(file, "ok", np.arange(3.0))
            create(file, "odd", np.arange(3, dtype="i2"), **attrs)

        chosen = options(large_bytes=large_bytes)
        write(path, both)
        with pytest.raises(InvalidValueError) as caught:
            blockwise(path, read_file(path, chosen), chosen)
        assert str(caught.value).startswith(f"variable 'odd' cannot be read: {said}")
        assert str(caught.value).endswith(
            "; keep its cells as they are with on_unsupported='raw' (--on-unsupported raw), or leave it out with "
            "drop=['odd'] (--drop odd of the command)"
        )
        kept = options(large_bytes=large_bytes, keep_undecoded=True)
        read = read_file(path, kept)
        assert list(read.untouched) == ["odd"]
        assert blockwise(path, read, kept)["odd"].values.tolist() == [0, 1, 2]
        assert read_ds(read_file(path, options("odd")))["ok"].values.tolist() == [0, 1, 2]
        assert read_ds(read_file(path, options(raw=True)))["odd"].values.tolist() == [0, 1, 2]

    @pytest.mark.parametrize("large_bytes", [64 << 20, 0])
    def test_also_where_a_chunk_is_damaged(self, path, large_bytes):
        def both(file):
            create(file, "ok", np.arange(3.0))
            checked = file.createVariable("odd", "f8", ("x",), fletcher32=True)
            checked[:] = [1234.5, 2, 3]

        raw = write(path, both).read_bytes()
        cell = np.float64(1234.5).tobytes()
        assert raw.count(cell) == 1
        path.write_bytes(raw.replace(cell, np.float64(1234.25).tobytes()))
        chosen = options(large_bytes=large_bytes)
        with pytest.raises(InvalidValueError, match=r"^variable 'odd' cannot be read: NetCDF: HDF error"):
            blockwise(path, read_file(path, chosen), chosen)
        assert read_ds(read_file(path, options("odd")))["ok"].values.tolist() == [0, 1, 2]

    def test_memory_that_does_not_suffice_is_none_of_its_faults(self, path, monkeypatch):
        def refuse(*arguments, **keywords):
            raise MemoryError

        write_odd_file("packed", path)
        with monkeypatch.context() as patch:
            patch.setattr(xr.Variable, "load", refuse)
            with pytest.raises(MemoryError):
                read_file(path, options())
        read = read_file(path, options(large_bytes=0))
        monkeypatch.setattr(xr.Variable, "to_numpy", refuse)
        with pytest.raises(MemoryError):
            blockwise(path, read, options())


class TestFilesThatChange:
    def test_while_they_are_read(self, path, monkeypatch):
        write_odd_file("packed", path)
        load = reading._load

        def change(*arguments):
            loaded = load(*arguments)
            os.utime(path, ns=(1, 1))
            return loaded

        monkeypatch.setattr(reading, "_load", change)
        with pytest.raises(InvalidValueError, match=r"^a\.nc was changed while it was read; add it again"):
            read_file(path, options())
        monkeypatch.undo()
        assert read_file(path, options()).fingerprint.mtime_ns == 1

    def test_between_two_blocks(self, path):
        write_odd_file("packed", path)
        read = read_file(path, options(large_bytes=0))
        block = partial(read_block, path, options(), None, read.fingerprint, (), (), "packed_to_double")
        np.testing.assert_allclose(block((slice(2, 4),)), [-2.7, -3.1])
        write(path, lambda file: create(file, "packed_to_double", np.arange(3.0)))
        with pytest.raises(InvalidValueError, match=r"^a\.nc was changed while it was read; add it again"):
            block((slice(0, 2),))

    def test_a_dataset_of_two_forms_is_not_stored(self, path, monkeypatch):
        write_odd_file("layouts", path)
        monkeypatch.setattr("atlas.ingest.adding.ReadOptions", partial(ReadOptions, large_bytes=8))
        store, make = Atlas.create(MemoryStorage()), dask.array.from_array

        def change(*arguments, **keywords):
            os.utime(path, ns=(1, 1))
            return make(*arguments, **keywords)

        monkeypatch.setattr(dask.array, "from_array", change)
        report = store.add_many(path, on_error="skip")
        assert [failure.reason for failure in report.failures] == [
            "a.nc was changed while it was read; add it again once it is whole"
        ]
        assert store.list_datasets() == []
        monkeypatch.undo()
        assert store.add_many(path).is_complete


class TestCellsThatXarrayWouldChange:
    """Where a file is read otherwise than xarray reads it, as the store would else not hold what the file says."""

    def stored(self, path, raw=False):
        store = Atlas.create(MemoryStorage())
        store.add_many(path, raw=raw)
        return store

    def test_integers_of_64_bits_with_a_fill_value(self, path):
        cells = np.array([2**60 + 1, -1, 5])
        store = self.stored(write(path, lambda file: create(file, "id", cells, fill_value=-1)))
        assert store["a"].read_array("id").tolist() == cells.tolist()
        assert store["a"].array_stats("id")["null_count"] == 1
        store.to_xarray("a").to_netcdf(path.with_name("b.nc"))
        with netCDF4.Dataset(path.with_name("b.nc")) as file:
            assert file["id"][:].tolist() == [2**60 + 1, None, 5]

    def test_an_enumeration_names_its_values(self, path):
        def enumeration(file):
            kind = file.createEnumType(np.uint8, "cloud_t", {"clear": 0, "very  high": 3})
            file.createVariable("cloud", kind, ("x",), fill_value=0)[:] = [0, 3, 3]

        ds = self.stored(write(path, enumeration)).to_xarray("a")
        assert ds["cloud"].dtype == np.uint8
        assert ds["cloud"].values.tolist() == [0, 3, 3]
        assert ds["cloud"].attrs["flag_values"].tolist() == [0, 3]
        assert ds["cloud"].attrs["flag_meanings"] == "clear very_high"

    def test_joined_characters_are_an_index_where_they_have_the_name_of_their_dimension(self, path):
        def characters(file):
            file.createDimension("length", 4)
            text = file.createVariable("x", "S1", ("x", "length"))
            text._Encoding = "ascii"
            text.set_auto_chartostring(False)
            text[:] = np.array([b"a", b"bb", b"ccc"], "S4").view("S1").reshape(3, 4)

        expected = opened(write(path, characters))
        assert list(expected.indexes) == ["x"]
        xr.testing.assert_identical(self.stored(path).to_xarray("a"), expected)

    def test_blank_characters_are_missing_text(self, path):
        def characters(file):
            file.createDimension("length", 4)
            text = file.createVariable("platform", "S1", ("x", "length"), fill_value=b" ")
            text.set_auto_chartostring(False)
            text[:] = np.array([b"ab  ", b"    ", b"1234"], "S4").view("S1").reshape(3, 4)

        store = self.stored(write(path, characters))
        assert store["a"].read_array("platform").tolist() == [b"ab  ", None, b"1234"]
        assert store["a"].array_stats("platform")["null_count"] == 1
        assert self.stored(path, raw=True)["a"].read_array("platform").tolist() == [b"ab  ", b"    ", b"1234"]
