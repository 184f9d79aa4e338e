from __future__ import annotations

import os
import sys

import netCDF4
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import MissingExtraError, StorageError
from atlas.xarray import check_netcdf, netcdf
from tests.cli.conftest import month


def test_every_file_below_the_folder_becomes_a_dataset_named_by_its_path(run, folder, tmp_path):
    result = run("create", folder, tmp_path / "s")
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "deep.feb", "jan"]
    assert "stored 3 datasets" in result.stdout
    assert result.stderr == ""


def test_the_separator_is_chosen(run, folder, tmp_path):
    run("create", folder, tmp_path / "s", "--separator", "~")
    assert "deep~er~mar.2024" in Atlas.open(tmp_path / "s").list_datasets()


def test_datasets_read_as_xarray_reads_the_files(store, folder):
    opened = Atlas.open(store)
    for name, path in (("jan", "jan.nc"), ("deep.er.mar.2024", "deep/er/mar.2024.NC")):
        with xr.open_dataset(folder / path) as expected:
            xr.testing.assert_identical(opened.to_xarray(name), expected.load())


def test_raw_keeps_packed_values(run, folder, tmp_path):
    run("create", folder, tmp_path / "s", "--raw")
    view = Atlas.open(tmp_path / "s").open_dataset("deep.er.mar.2024")
    assert view.array_meta("t")["dtype"] == "int16"
    assert view.array_fill_value("t") == -1
    assert view.get_attribute("t.scale_factor") == 0.5


def test_chunks_and_drop(run, folder, tmp_path):
    run("create", folder, tmp_path / "s", "--chunk", "x=2", "--chunk", "nowhere=5", "--drop", "station")
    view = Atlas.open(tmp_path / "s").open_dataset("jan")
    assert view.array_meta("t")["chunk_shape"] == [3, 2]
    assert view.list_arrays() == ["x", "time", "t"]
    np.testing.assert_array_equal(view.read_array("t"), month(1)["t"])


def test_a_large_variable_is_read_and_stored_in_chunks(run, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.xarray.netcdf._CHUNK_BYTES", 4000)
    ds = xr.Dataset(
        {
            "big": (("y", "x"), np.arange(6000.0).reshape(60, 100)),
            "names": (("y", "x"), np.full((60, 100), "ä", object)),
        }
    )
    (tmp_path / "files").mkdir()
    ds.to_netcdf(tmp_path / "files" / "a.nc")
    run("create", tmp_path / "files", tmp_path / "s")
    view = Atlas.open(tmp_path / "s").open_dataset("a")
    for name in ("big", "names"):
        meta = view.array_meta(name)
        assert np.prod(meta["chunk_shape"]) <= 1000, meta
        np.testing.assert_array_equal(view.read_array(name), ds[name])


def test_bad_files_are_reported_skipped_and_counted(run, folder, tmp_path):
    (folder / "broken.nc").write_bytes(b"not NetCDF at all")
    (folder / "_hidden.nc").write_bytes((folder / "jan.nc").read_bytes())
    with netCDF4.Dataset(folder / "compound.nc", "w") as file:
        file.createDimension("x", 3)
        file.createVariable("ok", "f8", ("x",))[:] = np.arange(3.0)
        pair = np.dtype([("u", "f4"), ("v", "f4")])
        file.createVariable("wind", file.createCompoundType(pair, "pair"), ("x",))[:] = np.zeros(3, pair)
    result = run("create", folder, tmp_path / "s", code=1)
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "deep.feb", "jan"]
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert "_hidden.nc" in lines[0]
    assert "does not begin with" in lines[0]
    assert "broken.nc" in lines[1]
    assert "compound.nc" in lines[2]
    assert "'wind'" in lines[2]
    assert "compound dtypes, here of u, v, are not stored" in lines[2]
    assert lines[3] == "Error: 3 of 6 files not stored; the reasons are above"
    assert "stored 3 datasets" in result.stdout


def test_a_file_that_fails_while_it_is_read_leaves_nothing(run, folder, tmp_path, monkeypatch):
    whole = (folder / "deep" / "feb.nc4").read_bytes()
    (folder / "deep" / "feb.nc4").write_bytes(whole[: len(whole) // 2])
    result = run("create", folder, tmp_path / "s", code=1)
    assert "feb.nc4" in result.stderr
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "jan"]
    assert "station" in Atlas.open(tmp_path / "s").list_arrays()


@pytest.mark.parametrize("options", [[], ["--append"]])
def test_files_that_share_a_name_are_not_stored(run, folder, tmp_path, options):
    month(5).to_netcdf(folder / "deep.feb.nc")
    month(6).to_netcdf(folder / "jan.cdf")
    Atlas.create(tmp_path / "s").flush()
    result = run("create", folder, tmp_path / "s", *(options or ["--overwrite"]), code=1)
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024"]
    separated = "would also be dataset 'deep.feb'; choose another --separator, or rename all but one"
    assert f"not stored: {folder}/deep/feb.nc4: deep.feb.nc {separated}\n" in result.stderr
    assert f"not stored: {folder}/deep.feb.nc: deep/feb.nc4 {separated}\n" in result.stderr
    assert f"not stored: {folder}/jan.nc: jan.cdf would also be dataset 'jan'; rename all but one\n" in result.stderr
    assert "4 of 5 files not stored" in result.stderr
    run("create", folder, tmp_path / "s", "--append", "--separator", "~", code=1)
    assert {"deep~feb", "deep.feb"} < set(Atlas.open(tmp_path / "s").list_datasets())


def test_append_skips_existing_datasets_and_counts_them(run, store, folder):
    month(4).to_netcdf(folder / "apr.nc")
    result = run("create", folder, store, "--append")
    assert Atlas.open(store).list_datasets() == ["deep.er.mar.2024", "deep.feb", "jan", "apr"]
    assert result.stderr == "3 files skipped: already in the store\n"
    assert "stored 1 dataset in" in result.stdout


def test_append_with_nothing_new_says_so(run, store, folder):
    result = run("create", folder, store, "--append")
    assert result.stdout.startswith("nothing new to store; the store has 3 datasets: ")
    assert result.stderr == "3 files skipped: already in the store\n"
    assert Atlas.open(store).version == 1


def test_append_keeps_the_encoding_and_warns_of_another(run, store, folder):
    result = run("create", folder, store, "--append", "--codec", "lz4", "--filter", "auto")
    assert result.stderr.splitlines()[0] == "Warning: --codec lz4 had no effect: the store has codec zstd"
    assert result.stderr.count("Warning") == 1
    assert Atlas.open(store).describe().codec == "zstd"


def test_files_with_groups_are_refused(run, folder, tmp_path):
    month(1).to_netcdf(folder / "groups.nc")
    month(2).to_netcdf(folder / "groups.nc", mode="a", group="g1")
    month(2).to_netcdf(folder / "groups.nc", mode="a", group="g2")
    result = run("create", folder, tmp_path / "s", code=1)
    assert result.stderr.startswith(
        f"not stored: {folder}/groups.nc: groups.nc has the groups g1, g2; only files whose"
    )
    assert "1 of 4 files not stored" in result.stderr
    assert "groups" not in Atlas.open(tmp_path / "s").list_datasets()


def test_options_that_match_nothing_are_reported(run, folder, tmp_path):
    result = run("create", folder, tmp_path / "s", "--chunk", "x=2", "--chunk", "nix=3", "--drop", "t", "--drop", "nox")
    assert result.stderr.splitlines() == [
        "Warning: --chunk nix=3 had no effect: no file read has a dimension 'nix'",
        "Warning: --drop nox had no effect: no file read has a variable 'nox'",
    ]
    # Every file is skipped, so no names of dimensions are known.
    assert "Warning" not in run("create", folder, tmp_path / "s", "--append", "--chunk", "nix=3").stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_a_file_name_that_is_not_utf8_is_reported(run, folder, tmp_path):
    (folder / os.fsdecode(b"b\xff.nc")).write_bytes((folder / "jan.nc").read_bytes())
    result = run("create", folder, tmp_path / "s", code=1)
    assert f"not stored: {folder}/b\\xff.nc: its path is not valid UTF-8; rename" in result.stderr


def test_values_that_do_not_fit_come_with_the_options_that_help(run, tmp_path):
    (tmp_path / "files").mkdir()
    with netCDF4.Dataset(tmp_path / "files" / "compound.nc", "w") as file:
        fields = np.dtype([(f"field_{i}", "f8") for i in range(9)])
        file.createDimension("n", 1)
        file.createVariable("many", file.createCompoundType(fields, "fields"), ("n",))
    with netCDF4.Dataset(tmp_path / "files" / "times.nc", "w") as file:
        file.createVariable("when", "f8", ()).units = "moons since 2000-01-01"
        file["when"][...] = 1
    result = run("create", tmp_path / "files", tmp_path / "s", code=1)
    compound, times, _ = result.stderr.splitlines()
    assert "'many': compound dtypes, here of field_0, field_1, field_2 and 6 more, are not stored" in compound
    assert "--drop NAME" in compound
    assert "moons" in times
    assert "try --raw" in times
    assert "decode_times" not in times
    raw = run("create", tmp_path / "files", tmp_path / "s", "--raw", "--append", code=1)
    assert "--raw" not in raw.stderr
    assert Atlas.open(tmp_path / "s").open_dataset("times").read_array("when") == 1


def test_an_existing_store_is_kept_unless_overwritten(run, store, folder):
    (folder / "jan.nc").unlink()
    result = run("create", folder, store, code=1)
    assert "--append" in result.stderr
    assert "--overwrite" in result.stderr
    assert len(Atlas.open(store).list_datasets()) == 3
    run("create", folder, store, "--overwrite")
    assert len(Atlas.open(store).list_datasets()) == 2


def test_append_to_no_store_is_an_error(run, folder, tmp_path):
    result = run("create", folder, tmp_path / "s", "--append", code=1)
    assert "no store" in result.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "options",
    [["--codec", "gzip"], ["--filter", "xor"], ["--chunk", "x"], ["--chunk", "x=0"], ["--append", "--overwrite"]],
)
def test_wrong_options_are_refused_before_anything_is_made(run, folder, tmp_path, options):
    result = run(
        "create",
        folder,
        tmp_path / "s",
        *options,
        code=2 if "--codec" not in options and "--filter" not in options else 1,
    )
    assert "Error: " in result.stderr
    assert not (tmp_path / "s").exists()


def test_a_folder_without_files_makes_no_store(run, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("create", tmp_path / "empty", tmp_path / "s", code=1)
    assert "no NetCDF files" in result.stderr
    assert not (tmp_path / "s").exists()
    assert "does not exist" in run("create", tmp_path / "nowhere", tmp_path / "s", code=2).stderr


def test_an_interrupt_keeps_whole_files_and_append_adds_the_rest(run, folder, tmp_path, monkeypatch):
    whole = netcdf.open_netcdf

    def stop_at_the_third(path, **options):
        if path.name == "jan.nc":
            raise KeyboardInterrupt
        return whole(path, **options)

    monkeypatch.setattr(netcdf, "open_netcdf", stop_at_the_third)
    result = run("create", folder, tmp_path / "s", code=130)
    assert "interrupted with 1 file left" in result.stderr
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "deep.feb"]
    monkeypatch.setattr(netcdf, "open_netcdf", whole)
    run("create", folder, tmp_path / "s", "--append")
    assert len(Atlas.open(tmp_path / "s").list_datasets()) == 3


@pytest.mark.parametrize("committed", [False, True])
def test_an_interrupt_while_the_store_is_written(run, store, folder, monkeypatch, committed):
    flush = Atlas.flush

    def stop(self):
        if committed:
            flush(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Atlas, "flush", stop)
    month(4).to_netcdf(folder / "apr.nc")
    result = run("create", folder, store, "--append", code=0 if committed else 130)
    assert ("nothing was stored" in result.stderr) is not committed
    assert ("stored 1 dataset" in result.stdout) is committed
    assert ("apr" in Atlas.open(store).list_datasets()) is committed


def test_a_store_that_fails_ends_it_in_one_line(run, folder, tmp_path, monkeypatch):
    def full(self, *args, **options):
        raise StorageError(28, "No space left on device")

    monkeypatch.setattr(Atlas, "add_xr_dataset", full)
    result = run("create", folder, tmp_path / "s", code=1)
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


def test_without_netcdf4_the_extra_is_named_and_no_file_is_blamed(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("create", folder, tmp_path / "s", code=1)
    assert "the extra 'netcdf' of atlas-store" in result.stderr
    assert "jan.nc" not in result.stderr
    assert not (tmp_path / "s").exists()
    with pytest.raises(MissingExtraError):
        check_netcdf()
