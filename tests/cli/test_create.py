from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import atlas.xarray
from atlas import Atlas
from atlas.errors import MissingExtraError, StorageError
from atlas.ingest import check_netcdf
from atlas.ingest.reading import ReadOptions
from atlas.session import Session
from tests.cli.conftest import month


def passed_over(folder):
    """What is said of the one file in the folder that is none of NetCDF."""
    return f"1 other file passed over: {folder}/readme.txt; --pattern '*' takes all files"


def test_every_file_below_the_folder_becomes_a_dataset_named_by_its_path(run, folder, tmp_path):
    result = run("create", folder, tmp_path / "s")
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "deep.feb", "jan"]
    assert "stored 3 datasets" in result.stdout
    assert result.stderr == passed_over(folder) + "\n"


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
    monkeypatch.setattr("atlas.ingest.adding.ReadOptions", partial(ReadOptions, large_bytes=4000))
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
    assert len(lines) == 5
    assert "_hidden.nc" in lines[0]
    assert "does not begin with" in lines[0]
    assert "broken.nc" in lines[1]
    assert "compound.nc" in lines[2]
    assert "'wind' is of the compound dtype 'pair', and compound dtypes are not stored; leave it out" in lines[2]
    assert lines[3] == passed_over(folder)
    assert lines[4] == "Error: 3 of 6 files not stored; the reasons are above"
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
    remedy = "rename all but one, or choose other names"
    assert f"not stored: {folder}/deep/feb.nc4: {folder}/deep.feb.nc would also be dataset 'deep.feb'; {remedy}\n" in (
        result.stderr
    )
    assert f"not stored: {folder}/jan.nc: {folder}/jan.cdf would also be dataset 'jan'; {remedy}\n" in result.stderr
    assert "4 of 5 files not stored" in result.stderr
    run("create", folder, tmp_path / "s", "--append", "--separator", "~", code=1)
    assert {"deep~feb", "deep.feb"} < set(Atlas.open(tmp_path / "s").list_datasets())


def test_append_skips_existing_datasets_and_counts_them(run, store, folder):
    month(4).to_netcdf(folder / "apr.nc")
    result = run("create", folder, store, "--append")
    assert Atlas.open(store).list_datasets() == ["deep.er.mar.2024", "deep.feb", "jan", "apr"]
    assert result.stderr.splitlines() == ["3 files skipped: already in the store", passed_over(folder)]
    assert "stored 1 dataset in" in result.stdout


def test_append_with_nothing_new_says_so(run, store, folder):
    result = run("create", folder, store, "--append")
    assert result.stdout.startswith("nothing new to store; the store has 3 datasets: ")
    assert result.stderr.splitlines() == ["3 files skipped: already in the store", passed_over(folder)]
    assert Atlas.open(store).version == 1


def test_update_replaces_what_has_changed_and_says_how_much(run, store, folder):
    before = Atlas.open(store).list_datasets()
    month(9).to_netcdf(folder / "jan.nc")
    month(4).to_netcdf(folder / "apr.nc")
    refused = run("add", folder, store, code=1)
    assert "changed since; replace that one with if_exists='update' (--update of the command)" in refused.stderr
    result = run("add", folder, store, "--update")
    assert result.stdout.startswith("stored 0 datasets, updated 1 in ")
    assert Atlas.open(store).list_datasets() == [*before, "apr"]
    with xr.open_dataset(folder / "jan.nc") as expected:
        xr.testing.assert_identical(Atlas.open(store).to_xarray("jan"), expected.load())
    again = run("create", folder, store, "--append", "--update", "--if-exists", "update")
    assert again.stdout.startswith("nothing new to store")


def test_replace_takes_files_from_anywhere(run, store, folder, tmp_path):
    (tmp_path / "more").mkdir()
    month(9).to_netcdf(tmp_path / "more" / "jan.nc")
    refused = run("add", tmp_path / "more", store, "--update", code=1)
    assert "replace that one with if_exists='replace' (--if-exists replace of the command)" in refused.stderr
    assert "updated 1 in" in run("add", tmp_path / "more", store, "--if-exists", "replace").stdout


def test_update_contradicts_other_words_on_what_exists(run, store, folder):
    for word in ("skip", "replace", "error"):
        result = run("add", folder, store, "--update", "--if-exists", word, code=2)
        assert f"--update is short for --if-exists update, and --if-exists {word} says otherwise" in result.stderr


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
        passed_over(folder),
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


def test_what_is_not_stored_or_not_decoded_is_named_with_what_helps(run, tmp_path):
    (tmp_path / "files").mkdir()
    with netCDF4.Dataset(tmp_path / "files" / "lists.nc", "w") as file:
        file.createDimension("n", 1)
        file.createVariable("ok", "f8", ("n",))[:] = 5
        file.createVariable("many", file.createVLType(np.float32, "lists"), ("n",))
    with netCDF4.Dataset(tmp_path / "files" / "times.nc", "w") as file:
        file.createVariable("when", "f8", ()).units = "moons since 2000-01-01"
        file["when"][...] = 1
    result = run("create", tmp_path / "files", tmp_path / "s", code=1)
    lists, times, _ = result.stderr.splitlines()
    assert "variable 'many' has lists of float32 of different lengths (vlen), which are not stored" in lists
    assert "--drop many" in lists
    assert f"not decoded: {tmp_path}/files/times.nc: variable 'when' keeps its numbers: " in times
    assert "moons" in times
    assert "decode_times" not in times
    view = Atlas.open(tmp_path / "s").open_dataset("times")
    assert (view.read_array("when").item(), view.get_attribute("when.units")) == (1, "moons since 2000-01-01")
    advised = run("create", tmp_path / "files", tmp_path / "s", "--append", "--drop", "many")
    assert "stored 1 dataset" in advised.stdout
    dropped = run("create", tmp_path / "files", tmp_path / "t", "--on-unsupported", "drop")
    assert f"stored in part: {tmp_path}/files/lists.nc: variable 'many' has lists" in dropped.stderr
    assert Atlas.open(tmp_path / "t")["lists"].list_arrays() == ["ok"]


def test_an_existing_store_is_kept_unless_overwritten(run, store, folder):
    (folder / "jan.nc").unlink()
    result = run("create", folder, store, code=1)
    assert "--append" in result.stderr
    assert "--overwrite" in result.stderr
    assert len(Atlas.open(store).list_datasets()) == 3
    run("create", folder, store, "--overwrite")
    assert len(Atlas.open(store).list_datasets()) == 2


def test_overwrite_keeps_the_old_store_until_the_new_one_is_read(run, store, folder, tmp_path):
    before = Atlas.open(store).list_datasets()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.nc").write_bytes(b"no NetCDF")
    result = run("create", broken, store, "--overwrite", code=1)
    assert "1 of 1 file not stored" in result.stderr
    assert Atlas.open(store).list_datasets() == before
    month(7).to_netcdf(broken / "a.nc")
    result = run("create", broken, store, "--overwrite", "--codec", "lz4")
    assert "Warning: --codec lz4 had no effect: the store has codec zstd" in result.stderr
    assert Atlas.open(store).list_datasets() == ["a"]
    assert Atlas.open(store, version=Atlas.open(store).version - 1).list_datasets() == before
    (store / "atlas.json").write_text("damaged")
    run("create", broken, store, "--overwrite")
    assert Atlas.open(store).list_datasets() == ["a"]


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


@pytest.mark.parametrize("wrong", ["--split a --split-by b", "--timeout -1", "--flush-every often", "--engine none"])
@pytest.mark.parametrize("command", ["create", "add"])
def test_options_that_are_wrong_make_no_store(run, folder, tmp_path, command, wrong):
    assert run(command, folder, tmp_path / "s", *wrong.split(), code=1).stderr.startswith("Error: ")
    assert not (tmp_path / "s").exists()


def test_a_folder_without_files_makes_no_store(run, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("create", tmp_path / "empty", tmp_path / "s", code=1)
    assert "no NetCDF files" in result.stderr
    assert not (tmp_path / "s").exists()
    assert "does not exist" in run("create", tmp_path / "nowhere", tmp_path / "s", code=2).stderr


def test_an_interrupt_keeps_whole_files_and_append_adds_the_rest(run, folder, tmp_path, monkeypatch):
    whole, added = atlas.xarray.add, []

    def stop_at_the_third(session, ds, name, *rest, **more):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(name)
        whole(session, ds, name, *rest, **more)

    monkeypatch.setattr("atlas.xarray.add", stop_at_the_third, raising=False)
    result = run("create", folder, tmp_path / "s", code=130)
    assert "interrupted with 1 file left" in result.stderr
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024", "deep.feb"]
    monkeypatch.undo()
    run("create", folder, tmp_path / "s", "--append")
    assert len(Atlas.open(tmp_path / "s").list_datasets()) == 3


def test_sigterm_stores_what_was_read(folder, tmp_path):
    (folder / "many").mkdir()
    for at in range(5000):
        os.link(folder / "jan.nc", folder / "many" / f"{at:04d}.nc")
    command = [sys.executable, "-m", "atlas", "create", str(folder), str(tmp_path / "s")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "s").glob("commits/*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    stored = len(Atlas.open(tmp_path / "s").list_datasets())
    assert (process.returncode, 0 < stored < 5003) == (143, True), said
    assert f"interrupted with {5003 - stored:,} files left" in said


def test_a_full_disk_keeps_what_was_committed_and_says_what_to_do(run, folder, tmp_path, monkeypatch):
    for at in range(20):
        os.link(folder / "jan.nc", folder / f"more{at}.nc")
    flush, flushes = Session.flush, []

    def full(self, *arguments):
        flushes.append(self)
        if len(flushes) > 1:
            raise StorageError(28, "No space left on device")
        flush(self, *arguments)

    monkeypatch.setattr(Session, "flush", full)
    result = run("create", folder, tmp_path / "s", code=1)
    assert result.stderr == (
        "Error: [Errno 28] No space left on device; the store has 8 datasets. Once the cause is gone, run it again "
        "(create: with --append): it goes on\n"
    )
    monkeypatch.undo()
    run("create", folder, tmp_path / "s", "--append")
    assert len(Atlas.open(tmp_path / "s").list_datasets()) == 23


def test_without_netcdf4_the_extra_is_named_and_no_file_is_blamed(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("create", folder, tmp_path / "s", code=1)
    assert "the extra 'netcdf' of atlas-store" in result.stderr
    assert "jan.nc" not in result.stderr
    assert not (tmp_path / "s").exists()
    with pytest.raises(MissingExtraError):
        check_netcdf()


def test_sigterm_that_python_drops_is_seen_after_the_next_file(run, folder, tmp_path, monkeypatch):
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    store_dataset, dropped = atlas.xarray.add, []

    def add(*arguments, **more):
        store_dataset(*arguments, **more)
        Finalized()

    monkeypatch.setattr("atlas.xarray.add", add, raising=False)
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    result = run("create", folder, tmp_path / "s", code=143)
    assert [found.exc_type.__name__ for found in dropped] == ["_TerminatedError"]
    assert "interrupted with 2 files left" in result.stderr
    assert Atlas.open(tmp_path / "s").list_datasets() == ["deep.er.mar.2024"]


def logged(path):
    """The lines of a log without their times, which are checked."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    for time_text, *_ in lines:
        assert datetime.fromisoformat(time_text).tzinfo is not None
    return [tuple(line[1:]) for line in lines]


class TestLog:
    def test_each_file_has_a_line_and_runs_are_appended(self, run, folder, tmp_path):
        (folder / "bad.nc").write_text("no NetCDF")
        log = tmp_path / "log.tsv"
        run("create", folder, tmp_path / "s", "--log-file", log, code=1)
        lines = logged(log)
        assert [line[:3] for line in lines] == [
            ("failed", "bad", f"{folder}/bad.nc"),
            ("stored", "deep.er.mar.2024", f"{folder}/deep/er/mar.2024.NC"),
            ("stored", "deep.feb", f"{folder}/deep/feb.nc4"),
            ("stored", "jan", f"{folder}/jan.nc"),
        ]
        assert "Unknown file format" in lines[0][3]
        assert lines[1][3] == ""
        run("add", folder / "jan.nc", tmp_path / "s", "--log-file", log)
        assert logged(log)[4:] == [("present", "jan", f"{folder}/jan.nc", "")]

    def test_an_interrupt_leaves_the_lines_until_then(self, run, folder, tmp_path, monkeypatch):
        whole = atlas.xarray.add

        def stop_at_the_last(session, ds, name, *rest, **more):
            if name == "jan":
                raise KeyboardInterrupt
            whole(session, ds, name, *rest, **more)

        monkeypatch.setattr("atlas.xarray.add", stop_at_the_last, raising=False)
        run("create", folder, tmp_path / "s", "--log-file", tmp_path / "log.tsv", code=130)
        assert [line[:2] for line in logged(tmp_path / "log.tsv")] == [
            ("stored", "deep.er.mar.2024"),
            ("stored", "deep.feb"),
        ]

    def test_a_commit_that_fails_is_in_the_log_and_in_the_report(self, run, folder, tmp_path, monkeypatch):
        def full(self, *arguments):
            raise StorageError(28, "No space left on device")

        monkeypatch.setattr("atlas.ingest.commits._FIRST_SECONDS", 1e6)  # one commit, at the end
        monkeypatch.setattr(Session, "flush", full)
        log, written = tmp_path / "log.tsv", tmp_path / "r.json"
        run("create", folder, tmp_path / "s", "--log-file", log, "--report", written, code=1)
        names = ["deep.er.mar.2024", "deep.feb", "jan"]
        expected = [("stored", name) for name in names] + [("failed", name) for name in names]
        assert [line[:2] for line in logged(log)] == expected
        report = json.loads(written.read_text())
        assert [(result["status"], result["dataset"]) for result in report["results"]] == expected[3:]
        assert "the commit that it was in failed" in report["results"][0]["reason"]

    def test_a_file_that_ends_the_run_is_in_the_log_and_in_the_report(self, run, folder, tmp_path, monkeypatch):
        whole = atlas.xarray.add

        def full(session, ds, name, *rest, **more):
            if name == "deep.feb":
                raise StorageError(28, "No space left on device")
            whole(session, ds, name, *rest, **more)

        monkeypatch.setattr("atlas.xarray.add", full, raising=False)
        log, written = tmp_path / "log.tsv", tmp_path / "r.json"
        said = run("create", folder, tmp_path / "s", "--log-file", log, "--report", written, code=1).stderr
        assert "No space left on device; the store has 1 dataset." in said
        expected = [("stored", "deep.er.mar.2024"), ("failed", "deep.feb")]
        assert [line[:2] for line in logged(log)] == expected
        results = json.loads(written.read_text())["results"]
        assert [(result["status"], result["dataset"]) for result in results] == expected
        assert results[1]["reason"] == "[Errno 28] No space left on device"

    def test_a_log_that_cannot_be_written_costs_no_file(self, run, folder, tmp_path):
        assert "--log-file" in run("create", folder, tmp_path / "s", "--log-file", tmp_path, code=2).stderr
        assert not (tmp_path / "s").exists()
        if Path("/dev/full").exists():
            result = run("create", folder, tmp_path / "s", "--log-file", "/dev/full")
            assert "Warning: nothing more is logged, as --log-file cannot be written" in result.stderr
            assert "stored 3 datasets" in result.stdout


class TestReport:
    def test_is_written_and_encodings_are_dropped(self, run, folder, tmp_path):
        run("create", folder, tmp_path / "s", "--report", tmp_path / "r.json", "--encoding", "drop")
        assert {result["status"] for result in json.loads((tmp_path / "r.json").read_text())["results"]} == {"stored"}
        assert Atlas.open(tmp_path / "s").to_xarray("jan").encoding == {}

    def test_to_no_place_leaves_no_store(self, run, folder, tmp_path):
        said = run("create", folder, tmp_path / "s", "--report", tmp_path / "none" / "r.json", code=1).stderr
        assert "report is the path of a file to write" in said
        assert "which does not exist" in said
        assert not (tmp_path / "s").exists()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_that_cannot_be_written_is_an_error_and_a_warning_beside_another(self, run, folder, tmp_path, monkeypatch):
        said = run("create", folder, tmp_path / "s", "--report", "/dev/full", code=1).stderr
        assert (
            "Error: [Errno 28] the report cannot be written: No space left on device: '/dev/full'; the store has 3"
            in said
        )

        def interrupted(*arguments, **more):
            raise KeyboardInterrupt

        monkeypatch.setattr("atlas.xarray.add", interrupted, raising=False)
        said = run("create", folder, tmp_path / "t", "--report", "/dev/full", code=130).stderr
        assert "Warning: [Errno 28] the report cannot be written: No space left on device: '/dev/full'\n" in said


def test_an_engine_reads_all_files(run, folder, tmp_path):
    run("create", folder, tmp_path / "s", "--engine", "netcdf4")
    assert len(Atlas.open(tmp_path / "s").list_datasets()) == 3
    result = run("create", folder, tmp_path / "t", "--engine", "grib9", code=1)
    assert "xarray has no engine 'grib9'; installed are" in result.stderr
    assert not (tmp_path / "t").exists()
