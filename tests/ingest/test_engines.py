"""Sources that an engine of xarray reads: Zarr stores, which are recognised, and any other with `engine=`."""

from __future__ import annotations

import os
import shutil
import warnings
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint

from atlas import Atlas
from atlas.errors import IngestError, InvalidTypeError, InvalidValueError
from atlas.ingest import adding, reading, sources
from atlas.ingest.provenance import fingerprint
from atlas.ingest.reading import LARGE_BYTES, ReadOptions, read_block, read_file
from atlas.ingest.sources import find_files
from atlas.storage import MemoryStorage

zarr = pytest.importorskip("zarr")


def options_of(drop=(), raw=False, drop_unsupported=False, large_bytes=LARGE_BYTES):
    return ReadOptions(drop, raw, drop_unsupported, large_bytes=large_bytes)


def profile(at=1):
    return xr.Dataset(
        {
            "t": (("time", "x"), np.arange(12.0).reshape(4, 3) + at, {"units": "K"}),
            "packed": ("x", np.array([0.5, np.nan, 1.25 + at])),
            "who": ("x", ["a", "bb", "ccc"]),
        },
        {"time": np.arange(at, at + 4).astype("M8[D]").astype("M8[ns]"), "x": [1, 2, 3]},
        {"platform": f"P{at}"},
    )


PACKED = {"packed": {"dtype": "i2", "scale_factor": 0.25, "_FillValue": -1}}


def write(ds, path, version=2, encoding=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about text and consolidated metadata in version 3
        ds.to_zarr(path, zarr_format=version, encoding=PACKED if encoding is None else encoding)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "casts"
    write(profile(1), root / "a.zarr")
    write(profile(2), root / "2026" / "b.zarr", version=3)
    write(profile(3), root / "run1.5")
    profile(4).to_netcdf(root / "c.nc", engine="netcdf4")
    (root / "readme.txt").write_text("casts")
    return root


@pytest.fixture
def cast(tmp_path):
    return write(profile(), tmp_path / "cast.zarr")


class TestZarr:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_stores_are_recognised_and_named_like_files(self, folder, workers):
        store = Atlas.create(MemoryStorage())
        report = store.add_many(folder, workers=workers)
        assert [(result.dataset, result.status) for result in report.results] == [
            ("2026.b", "stored"),
            ("a", "stored"),
            ("c", "stored"),
            ("run1.5", "stored"),
        ]
        assert report.others == [str(folder / "readme.txt")]
        for name, at in {"a": 1, "2026.b": 2, "run1.5": 3, "c": 4}.items():
            xr.testing.assert_identical(store.to_xarray(name).load(), profile(at))

    def test_it_keeps_the_encoding_but_for_objects_of_zarr(self, folder):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        for name in ("a", "2026.b"):
            encoding = store.to_xarray(name)["packed"].encoding
            kept = (encoding["dtype"], encoding["scale_factor"], encoding["_FillValue"])
            assert kept == (np.dtype("<i2"), 0.25, -1)
            assert encoding["chunks"] == (3,)
            assert not {"compressors", "serializer"} & set(encoding)
        assert store.to_xarray("a").encoding["source"] == str(folder / "a.zarr")

    def test_one_that_is_named_or_matches_is_one_source(self, folder, monkeypatch):
        assert [source.name for source in find_files(folder / "run1.5").files] == ["run1.5"]
        assert [source.name for source in find_files(folder / "*.zarr").files] == ["a"]
        monkeypatch.chdir(folder / "a.zarr")
        assert [source.name for source in find_files(".").files] == ["a"]

    def test_a_pattern_chooses_stores_too_and_never_searches_them(self, folder):
        found = find_files(folder, pattern="*.zarr")
        assert [source.name for source in found.files] == ["2026.b", "a"]
        assert found.others == [str(folder / name) for name in ("c.nc", "readme.txt", "run1.5")]

    def test_one_that_the_store_has_unchanged_is_present_also_elsewhere(self, folder):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        assert store.add_many(folder).count("present") == 4
        shutil.copytree(folder, folder.parent / "copy")
        assert store.add_many(folder.parent / "copy").count("present") == 4

    @pytest.mark.parametrize("change", ["cells", "attributes", "removed", "renamed"])
    def test_one_that_has_changed_is_not_present(self, folder, change):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = zarr.open_group(folder / "a.zarr")
            if change == "cells":
                opened["t"][1, 1] = 7
            elif change == "attributes":
                opened.attrs["platform"] = "P2"
        chunk = folder / "a.zarr" / "t" / "0.0"
        if change == "removed":
            chunk.unlink()
        elif change == "renamed":
            chunk.rename(chunk.with_name("0.1"))
        report = store.add_many(folder, on_error="skip")
        assert [result.dataset for result in report.failures] == ["a"]
        assert f"from {folder / 'a.zarr'}, changed since" in report.failures[0].reason

    def test_without_zarr_stores_fail_by_name_and_files_are_stored(self, folder, monkeypatch):
        find_spec = sources.importlib.util.find_spec
        monkeypatch.setattr(
            sources.importlib.util, "find_spec", lambda name: None if name == "zarr" else find_spec(name)
        )
        store = Atlas.create(MemoryStorage())
        report = store.add_many(folder, on_error="skip")
        assert [result.dataset for result in report.failures] == ["2026.b", "a", "run1.5"]
        for result in report.failures:
            assert "Zarr stores need zarr, which is not installed; the extra 'zarr'" in result.reason
            assert "-m pip install" in result.reason
        assert store.list_datasets() == ["c"]

    def test_netcdf4_is_needed_only_for_netcdf(self, folder, monkeypatch):
        xr.backends.list_engines()  # which looks for packages once
        find_spec = sources.importlib.util.find_spec
        monkeypatch.setattr(
            sources.importlib.util, "find_spec", lambda name: None if name == "netCDF4" else find_spec(name)
        )
        assert len(find_files(folder, pattern="*.zarr").files) == 2
        assert len(find_files(folder, engine="zarr").files) == 4

    @pytest.mark.parametrize("version", [2, 3])
    def test_one_with_groups_fails_and_says_what_to_do(self, tmp_path, version):
        path = write(profile(), tmp_path / "g.zarr", version)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            profile(2).to_zarr(path, group="deep/er", mode="a", zarr_format=version)
        report = Atlas.create(MemoryStorage()).add_many(path, on_error="skip")
        assert report.failures[0].reason.startswith("g.zarr has the groups deep, deep/er; only files whose")
        assert "engine='zarr', group='deep'" in report.failures[0].reason

    def test_a_damaged_one_fails_with_what_zarr_says_and_others_go_on(self, folder):
        (folder / "a.zarr" / "t" / "0.0").write_bytes(b"no chunk")
        (folder / "2026" / "b.zarr" / "zarr.json").write_text("{")
        report = Atlas.create(MemoryStorage()).add_many(folder, on_error="skip")
        assert [(result.dataset, result.status) for result in report.results] == [
            ("2026.b", "failed"),
            ("a", "failed"),
            ("c", "stored"),
            ("run1.5", "stored"),
        ]
        assert "variable 't' cannot be read" in report.failures[1].reason

    def test_one_that_changes_while_it_is_read_fails(self, cast, monkeypatch):
        real = reading._load
        monkeypatch.setattr(reading, "_load", lambda *arguments: (real(*arguments), os.utime(cast / "t" / "0.0"))[0])
        with pytest.raises(InvalidValueError, match=r"cast\.zarr was changed while it was read; add it again"):
            read_file(cast, options_of(), "zarr")

    def test_large_variables_are_stored_block_by_block(self, tmp_path, monkeypatch):
        cells = np.arange(10000.0).reshape(100, 100)
        path = write(xr.Dataset({"big": (("y", "x"), cells), "small": 1.0}), tmp_path / "big.zarr", 3, {})
        monkeypatch.setattr(adding, "ReadOptions", partial(ReadOptions, large_bytes=20000))
        store = Atlas.create(MemoryStorage())
        store.add_many(path, chunks={"x": 50})
        assert store.open_dataset("big").array_meta("big")["chunk_shape"] == [100, 50]
        xr.testing.assert_identical(
            store.to_xarray("big").load(), xr.Dataset({"big": (("y", "x"), cells), "small": 1.0})
        )


class TestReading:
    def test_raw_decodes_nothing(self, cast):
        read = read_file(cast, options_of(raw=True), "zarr")
        assert read.contents.variables["packed"].dtype == np.int16
        assert read.contents.variables["packed"].values.tolist() == [2, -1, 9]
        assert read.contents.variables["time"].values.tolist() == [0, 1, 2, 3]
        assert read.contents.variables["time"].attrs["units"].startswith("days since 1970-01-02")

    def test_drop_leaves_variables_out_and_knows_that_they_were_there(self, cast):
        read = read_file(cast, options_of(drop=("t", "none")), "zarr")
        assert list(read.contents.variables) == read.order
        assert set(read.order) == {"time", "x", "packed", "who"}
        assert read.variables == {"time", "x", "packed", "who", "t"}
        assert read.dims == {"time", "x"}
        assert read.fingerprint == fingerprint(cast, digest=True)

    @pytest.mark.parametrize("unit", ["days since the flood", "months since -99999999-01-01"])
    def test_times_that_cannot_be_decoded_keep_their_numbers(self, tmp_path, unit):
        ds = (
            profile()
            .drop_vars("time")
            .assign(when=("x", [1, 2, 3], {"units": unit, "bounds": "when_b"}), when_b=(("x", "two"), np.ones((3, 2))))
        )
        read = read_file(write(ds, tmp_path / "odd.zarr"), options_of(), "zarr")
        assert set(read.kept_raw) >= {"when"}
        assert read.contents.variables["when"].values.tolist() == [1, 2, 3]
        assert read.contents.variables["when"].attrs["units"] == unit
        assert read.contents.variables["packed"].dtype == np.float64

    def test_a_block_is_read_as_the_whole_is_decoded_unless_the_source_has_changed(self, cast):
        read = read_file(cast, options_of(large_bytes=30), "zarr")
        assert set(read.large) == {"t", "who"}
        key = (slice(1, 3), slice(0, 2))
        block = partial_block(cast, read, "t", key)
        assert block.tolist() == profile()["t"].values[key].tolist()
        (cast / "t" / "more").touch()
        with pytest.raises(InvalidValueError, match="was changed while it was read"):
            partial_block(cast, read, "t", key)

    def test_what_has_no_name_of_an_array_or_is_compound_fails_or_is_dropped(self, tmp_path):
        path = tmp_path / "odd.nc"
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("x", 2)
            compound = file.createCompoundType(np.dtype([("a", "i4"), ("b", "f8")]), "pair")
            file.createVariable("pairs", compound, "x")
            file.createVariable("t", "f8", "x")[:] = [1, 2]
        with pytest.raises(InvalidValueError, match=r"variable 'pairs' is of the compound dtype .*--drop pairs"):
            read_file(path, options_of(), "netcdf4")
        read = read_file(path, options_of(drop_unsupported=True), "netcdf4")
        assert list(read.contents.variables) == ["t"]
        assert list(read.dropped) == ["pairs"]

    def test_a_classic_file_that_was_cut_short_fails_with_any_engine(self, tmp_path):
        path = tmp_path / "cut.nc"
        xr.Dataset({"t": ("x", [1.0, 2.0])}).to_netcdf(path, engine="netcdf4", format="NETCDF3_CLASSIC")
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(InvalidValueError, match="it was cut short"):
            read_file(path, options_of(), "netcdf4")


def partial_block(path, read, name, key):
    return read_block(path, options_of(), "zarr", read.fingerprint, tuple(read.kept_raw), (), name, key)


class TestEngine:
    def test_it_reads_all_sources(self, folder):
        store = Atlas.create(MemoryStorage())
        report = store.add_many(folder, engine="netcdf4", on_error="skip", pattern="c.nc")
        assert [result.status for result in report.results] == ["stored"]
        xr.testing.assert_identical(store.to_xarray("c").load(), profile(4))

    def test_a_source_that_the_engine_cannot_read_fails(self, folder):
        store = Atlas.create(MemoryStorage())
        report = store.add_many(folder / "c.nc", engine="zarr", on_error="skip")
        assert [result.status for result in report.results] == ["failed"]
        with pytest.raises(IngestError, match=r"c\.nc is not stored"):
            store.add_many(folder / "c.nc", engine="zarr")

    def test_one_that_is_not_installed_is_refused_before_anything_is_read(self, folder):
        store = Atlas.create(MemoryStorage())
        with pytest.raises(InvalidValueError, match=r"xarray has no engine 'grib9'; installed are .*zarr\. Inst"):
            store.add_many(folder, engine="grib9")
        with pytest.raises(InvalidTypeError, match="engine is the name of an engine of xarray, not int 4"):
            store.add_many(folder, engine=4)
        assert store.list_datasets() == []

    def test_one_that_takes_nothing_but_the_path_is_called_with_no_more(self, tmp_path, monkeypatch):
        path = tmp_path / "a.txt"
        path.write_text("1 2 3")
        monkeypatch.setattr(xr.backends.plugins, "list_engines", lambda: {"text": TextEntrypoint()})
        monkeypatch.setattr(xr.backends, "list_engines", lambda: {"text": TextEntrypoint()})
        read = read_file(path, options_of(large_bytes=8), "text")
        assert (dict(read.contents.variables), read.contents.attrs) == ({}, {"lines": 1})
        assert read.large["words"].shape == (3,)
        block = read_block(path, options_of(), "text", read.fingerprint, (), (), "words", (slice(1, 3),))
        assert block.tolist() == [2.0, 3.0]


def test_cfgrib_leaves_no_index_beside_the_files(monkeypatch, tmp_path):
    taken = []

    class Grib(TextEntrypoint):
        open_dataset_parameters = ("filename_or_obj", "drop_variables", "indexpath", "decode_times")

        def open_dataset(self, filename_or_obj, *, drop_variables=None, indexpath="{path}.idx", decode_times=True):
            taken.append((indexpath, decode_times))
            return super().open_dataset(filename_or_obj)

    path = tmp_path / "a.grib2"
    path.write_text("1 2 3")
    monkeypatch.setattr(xr.backends.plugins, "list_engines", lambda: {"cfgrib": Grib()})
    monkeypatch.setattr(xr.backends, "list_engines", lambda: {"cfgrib": Grib()})
    assert read_file(path, options_of(), "cfgrib").contents.variables["words"].values.tolist() == [1, 2, 3]
    assert set(taken) == {("", False)}


class Words(BackendArray):
    """The numbers in a text file, read when they are used."""

    def __init__(self, path):
        self._path, self.shape, self.dtype = path, (len(path.read_text().split()),), np.dtype("f8")

    def __getitem__(self, key):
        return np.array(self._path.read_text().split(), self.dtype)[key.tuple]


class TextEntrypoint(BackendEntrypoint):
    """An engine that has no arguments about decoding and no groups."""

    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(self, filename_or_obj, *, drop_variables=None):
        lazy = xr.core.indexing.LazilyIndexedArray(Words(Path(filename_or_obj)))
        return xr.Dataset({"words": ("word", lazy)}, attrs={"lines": 1})
