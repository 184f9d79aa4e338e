"""`Atlas.add_many`: what is stored, present, skipped and failed; commits as it goes; crashes, resuming."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading

import netCDF4
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, errors
from atlas.errors import IngestError, InvalidTypeError, InvalidValueError
from atlas.format.attribute_keys import INGESTED_KEY
from atlas.ingest import IngestInterruptedError
from atlas.ingest.provenance import read_fingerprint
from atlas.session import Session
from atlas.storage import MemoryStorage

pytestmark = pytest.mark.usefixtures("netcdf")


@pytest.fixture
def netcdf():
    pytest.importorskip("netCDF4")


@pytest.fixture(autouse=True)
def by_number(monkeypatch):
    """First commits come by the number of files alone, on a busy machine too."""
    monkeypatch.setattr("atlas.ingest.commits._FIRST_SECONDS", math.inf)


def profile(at):
    rng = np.random.default_rng(at)
    return xr.Dataset(
        {
            "t": ("level", rng.normal(10, 3, 5 + at % 7).round(2)),
            "qc": ("level", rng.integers(0, 5, 5 + at % 7, dtype="i1")),
        },
        {"time": np.datetime64("2026-01-01", "ns") + np.timedelta64(at, "D")},
        {"platform": f"P{at}"},
    )


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "casts"
    (root / "2026").mkdir(parents=True)
    for at in range(6):
        profile(at).to_netcdf(root / ("2026" if at % 2 else ".") / f"c{at}.nc")
    return root


NAMES = ["2026.c1", "2026.c3", "2026.c5", "c0", "c2", "c4"]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_file_becomes_a_dataset_in_order_and_is_what_xarray_reads(folder, workers):
    store = Atlas.create(MemoryStorage())
    report = store.add_many(folder, workers=workers)
    assert store.list_datasets() == NAMES
    assert [(result.dataset, result.status) for result in report.results] == [(name, "stored") for name in NAMES]
    assert (report.is_complete, report.sources, report.versions) == (True, 6, [1])
    assert str(report) == "6 sources: 6 stored"
    for name in NAMES:
        with xr.open_dataset(folder / (name.replace(".", "/") + ".nc")) as ds:
            xr.testing.assert_identical(store.to_xarray(name), ds.load())
            assert store.to_xarray(name).encoding["source"] == ds.encoding["source"]


def test_files_patterns_and_names(folder):
    store = Atlas.create(MemoryStorage())
    store.add_many([folder / "c0.nc", str(folder / "2026" / "*.nc")], names=lambda inner: f"cast {inner}")
    assert store.list_datasets() == ["cast c0", "cast c1", "cast c3", "cast c5"]
    report = store.add_many(folder, pattern="c[24]*")
    assert store.list_datasets()[4:] == ["c2", "c4"]
    assert len(report.others) == 4


class TestAgain:
    def test_what_is_there_unchanged_is_passed_over_also_from_elsewhere(self, folder, tmp_path):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        (folder / "c6.nc").write_bytes((folder / "c0.nc").read_bytes())
        report = store.add_many(folder)
        assert (report.count("present"), report.count("stored")) == (6, 1)
        os.utime(folder / "c0.nc", ns=(1, 1))
        folder.rename(tmp_path / "moved")
        assert store.add_many(tmp_path / "moved").count("present") == 7

    def test_another_file_or_a_later_form_of_a_name_is_told(self, folder):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        profile(9).to_netcdf(folder / "c0.nc")
        with pytest.raises(
            IngestError, match=r"already, from .*c0\.nc, changed since; replace that one with if_exists='update'"
        ):
            store.add_many(folder)
        report = store.add_many(folder, if_exists="skip")
        assert [result.dataset for result in report.results if result.status == "skipped"] == ["c0"]
        assert report.is_complete
        xr.testing.assert_equal(store.to_xarray("c0"), profile(0))

    def test_a_dataset_that_came_from_no_file(self, folder):
        store = Atlas.create(MemoryStorage())
        store.create_dataset("c0")
        store.flush()
        report = store.add_many(folder, on_error="skip")
        assert [one.dataset for one in report.failures] == ["c0"]
        assert report.failures[0].reason == (
            "the store has a dataset 'c0' already; replace that one with if_exists='replace' (--if-exists replace of "
            "the command), keep it with if_exists='skip' (--if-exists skip), or choose another name"
        )

    def test_without_resume_nothing_is_passed_over(self, folder):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        assert len(store.add_many(folder, resume=False, on_error="skip").failures) == 6

    def test_where_a_dataset_came_from_is_kept(self, folder, tmp_path):
        store = Atlas.create(tmp_path / "s")
        store.add_many(folder)
        text = Atlas.open(tmp_path / "s")._session.view.exact_attributes("c2")[INGESTED_KEY,]
        found, status = read_fingerprint(text), (folder / "c2.nc").stat()
        assert (found.path, found.size, found.mtime_ns) == (str(folder / "c2.nc"), status.st_size, status.st_mtime_ns)
        assert len(found.digest) == 32
        assert "by" in text
        assert store.to_xarray("c2").attrs == {"platform": "P2"}
        assert INGESTED_KEY not in store["c2"].attributes()


class TestReplacing:
    """`if_exists="replace"` and `"update"`."""

    @pytest.fixture
    def store(self, folder):
        """A store of the files, of which c0 and 2026.c3 have changed since, and of a dataset c9 from elsewhere."""
        store = Atlas.create(folder.parent / "s")
        store.add_many(folder)
        store.add_xr_dataset(profile(50), "c9")
        store.flush()
        for name, at in (("c0", 60), ("2026/c3", 61)):
            profile(at).to_netcdf(folder / f"{name}.nc")
        return store

    @pytest.mark.parametrize("workers", [1, 2])
    def test_update_replaces_what_has_changed_since_in_its_place(self, store, folder, workers):
        profile(9).to_netcdf(folder / "c8.nc")
        before = store.version
        report = store.add_many(folder, if_exists="update", workers=workers)
        assert str(report) == "7 sources: 1 stored, 2 updated, 4 present"
        assert [one.dataset for one in report.results if one.status == "updated"] == ["2026.c3", "c0"]
        found = Atlas.open(folder.parent / "s")
        assert found.list_datasets() == [*NAMES, "c9", "c8"]
        for name, at in (("c0", 60), ("2026.c3", 61), ("c2", 2), ("c8", 9), ("c9", 50)):
            xr.testing.assert_identical(found.to_xarray(name), profile(at))
        xr.testing.assert_identical(Atlas.open(folder.parent / "s", version=before).to_xarray("c0"), profile(0))
        again = store.add_many(folder, if_exists="update")
        assert (again.count("present"), again.versions) == (7, [])

    def test_update_leaves_what_came_from_elsewhere(self, store, folder, tmp_path):
        profile(9).to_netcdf(folder / "c9.nc")
        (tmp_path / "more").mkdir()
        profile(70).to_netcdf(tmp_path / "more" / "c2.nc")
        report = store.add_many([folder, tmp_path / "more" / "c2.nc"], if_exists="update", on_error="skip")
        assert {one.dataset for one in report.failures} == {"c2", "c9"}  # both files named c2 fail
        report = store.add_many([folder / "c9.nc", tmp_path / "more"], if_exists="update", on_error="skip")
        assert [one.reason for one in report.failures] == [
            f"the store has a dataset {name!r} already{of}; replace that one with if_exists='replace' (--if-exists "
            "replace of the command), keep it with if_exists='skip' (--if-exists skip), or choose another name"
            for name, of in (("c9", ""), ("c2", f", from {folder / 'c2.nc'}"))
        ]
        xr.testing.assert_identical(store.to_xarray("c9"), profile(50))
        xr.testing.assert_identical(store.to_xarray("c2"), profile(2))

    def test_replace_replaces_what_came_from_anywhere(self, store, folder, tmp_path):
        (tmp_path / "more").mkdir()
        for name, at in (("c9", 9), ("c2", 70)):
            profile(at).to_netcdf(tmp_path / "more" / f"{name}.nc")
        (tmp_path / "more" / "c4.nc").write_bytes((folder / "c4.nc").read_bytes())
        report = store.add_many(tmp_path / "more", if_exists="replace")
        assert str(report) == "3 sources: 2 updated, 1 present"
        found = Atlas.open(folder.parent / "s")
        assert found.list_datasets() == [*NAMES, "c9"]
        for name, at in (("c9", 9), ("c2", 70), ("c4", 4), ("c0", 0)):
            xr.testing.assert_identical(found.to_xarray(name), profile(at))

    @pytest.mark.parametrize("if_exists", ["update", "replace"])
    def test_without_resume_unchanged_files_are_read_again(self, folder, if_exists):
        store = Atlas.create(MemoryStorage())
        store.add_many(folder)
        assert store.add_many(folder, if_exists=if_exists, resume=False).count("updated") == 6
        assert store.list_datasets() == NAMES

    def test_a_file_that_cannot_be_stored_leaves_its_dataset_as_it_is(self, store, folder):
        (folder / "c0.nc").write_bytes(b"no NetCDF")
        with netCDF4.Dataset(folder / "c2.nc", "w") as file:
            file.createDimension("n", 2)
            file.createVariable("_tmp", "f8", ("n",))[:] = [1, 2]
        report = store.add_many(folder, if_exists="update", on_error="skip")
        assert [one.dataset for one in report.failures] == ["c0", "c2"]
        assert report.count("updated") == 1
        found = Atlas.open(folder.parent / "s")
        for name, at in (("c0", 0), ("c2", 2), ("2026.c3", 61)):
            xr.testing.assert_identical(found.to_xarray(name), profile(at))

    @pytest.mark.parametrize(
        "change",
        [
            lambda other: other["c0"].set_attribute("by", "another"),
            lambda other: other.replace_dataset("c0", profile(80)),
            lambda other: other.delete_dataset("c0"),
        ],
    )
    def test_a_name_that_another_writer_changes_costs_itself_alone(self, store, folder, monkeypatch, change):
        monkeypatch.setattr("atlas.ingest.commits._FIRST_SECONDS", 3600.0)  # one commit, however slow the machine is

        def meanwhile(report):
            if report.results[-1].dataset == "c0":
                other = Atlas.open(folder.parent / "s")
                change(other)
                other.flush()

        report = store.add_many(folder, if_exists="update", on_error="skip", progress=meanwhile)
        assert [(one.dataset, one.reason) for one in report.failures] == [
            ("c0", "another writer has changed the dataset 'c0' meanwhile, and it stays so; add it again")
        ]
        assert (report.count("updated"), store._session.pending) == (1, False)
        found = Atlas.open(folder.parent / "s")
        assert found.list_datasets() == store.list_datasets()
        xr.testing.assert_identical(found.to_xarray("2026.c3"), profile(61))
        report = store.add_many(folder, if_exists="replace")
        assert (report.count("updated") + report.count("stored"), report.is_complete) == (1, True)
        xr.testing.assert_identical(Atlas.open(folder.parent / "s").to_xarray("c0"), profile(60))

    def test_a_dataset_that_a_commit_has_brought_is_looked_at_again(self, folder):
        storage = MemoryStorage()
        store = Atlas.create(storage)

        def meanwhile(report):
            if report.results[-1].dataset == "2026.c1":
                other = Atlas.open(storage)
                other.add_many([folder / "c2.nc"])
                other.add_xr_dataset(profile(50), "c4")
                other.flush()

        report = store.add_many(folder, if_exists="update", on_error="skip", flush_every="1 file", progress=meanwhile)
        assert {one.dataset: one.status for one in report.results if one.status != "stored"} == {
            "c2": "present",
            "c4": "failed",
        }
        xr.testing.assert_identical(Atlas.open(storage).to_xarray("c4"), profile(50))

    def test_a_killed_update_goes_on_where_it_was(self, folder, tmp_path):
        names = [f"c{at}" for at in range(40)]
        for at, name in enumerate(names):
            profile(at).to_netcdf(folder / f"{name}.nc")
        store = Atlas.create(tmp_path / "s")
        store.add_many([folder / f"{name}.nc" for name in names])
        for at, name in enumerate(names):
            profile(at + 100).to_netcdf(folder / f"{name}.nc")
        updated, killed = 0, 0
        while updated < 40:
            script = textwrap.dedent(
                f"""
                import atlas, os
                stop = lambda report: os.kill(os.getpid(), 9) if report.count("updated") == 15 else None
                atlas.Atlas.open({str(tmp_path / "s")!r}).add_many(
                    {[str(folder / f"{name}.nc") for name in names]}, if_exists="update", flush_every="4 files",
                    progress=stop,
                )
                """
            )
            killed += subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
            found, before = Atlas.open(tmp_path / "s"), updated
            assert found.list_datasets() == names
            levels = [found.to_xarray(name).attrs["platform"] for name in names]
            updated = sum(platform == f"P{at + 100}" for at, platform in enumerate(levels))
            assert levels == [f"P{at + 100 * (at < updated)}" for at in range(40)]
            assert updated > before
        assert killed in (2, 3)  # a slow machine commits more often
        for at, name in enumerate(names):
            xr.testing.assert_identical(found.to_xarray(name), profile(at + 100))
        assert found.verify().ok


class TestFailures:
    def test_the_first_one_ends_it_and_what_was_before_is_kept(self, folder):
        (folder / "b.nc").write_bytes(b"no NetCDF")
        store = Atlas.create(MemoryStorage())
        with pytest.raises(IngestError, match=r"b\.nc is not stored: .*; 3 sources were stored before it") as caught:
            store.add_many(folder)
        assert store.list_datasets() == NAMES[:3]
        assert [result.status for result in caught.value.report.results] == ["stored"] * 3 + ["failed"]
        report = store.add_many(folder, on_error="skip")
        assert (report.count("present"), report.count("stored"), len(report.failures)) == (3, 3, 1)

    def test_a_file_that_was_cut_short_is_refused(self, folder):
        profile(1).to_netcdf(folder / "cut.nc", format="NETCDF3_CLASSIC")
        whole = (folder / "cut.nc").read_bytes()
        (folder / "cut.nc").write_bytes(whole[:-8])
        report = Atlas.create(MemoryStorage()).add_many(folder, on_error="skip")
        assert [one.dataset for one in report.failures] == ["cut"]
        assert "it was cut short, and what is missing would read as zeros; fetch it again" in report.failures[0].reason

    def test_a_file_that_hangs_costs_its_time_and_no_more(self, folder):
        os.mkfifo(folder / "hang.nc")
        report = Atlas.create(MemoryStorage()).add_many(folder, on_error="skip", timeout=3)
        assert [(one.dataset, one.reason) for one in report.failures] == [
            ("hang", "reading it took longer than 3 s and was stopped")
        ]
        assert report.count("stored") == 6

    def test_a_file_that_crashes_its_reader_costs_itself_alone(self, folder, tmp_path, monkeypatch):
        # A hook ends the process, as a damaged file may make the C library do.
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "sitecustomize.py").write_text(
            textwrap.dedent(
                """
                import os, sys
                def crash(event, arguments):
                    if event == "open" and "c2" in str(arguments[0]):
                        os.kill(os.getpid(), 11)
                sys.addaudithook(crash)
                """
            )
        )
        monkeypatch.syspath_prepend(tmp_path / "first")
        report = Atlas.create(MemoryStorage()).add_many(folder, on_error="skip")
        assert [(one.dataset, one.reason) for one in report.failures] == [
            ("c2", "the process that read it ended: SIGSEGV, as a damaged file may make it")
        ]
        assert report.count("stored") == 5

    def test_variables_that_are_not_stored(self, folder):
        with netCDF4.Dataset(folder / "lists.nc", "w") as file:
            file.createDimension("n", 2)
            file.createVariable("ok", "f8", ("n",))[:] = [1, 2]
            file.createVariable("_tmp", "f8", ("n",))[:] = [1, 2]
        store = Atlas.create(MemoryStorage())
        with pytest.raises(IngestError, match=r"'_tmp' has a name that no array may have: .* drop=\['_tmp'\]"):
            store.add_many(folder / "lists.nc")
        report = store.add_many(folder / "lists.nc", on_unsupported="drop")
        assert (list(report.results[0].dropped), store["lists"].list_arrays()) == (["_tmp"], ["ok"])
        assert Atlas.create(MemoryStorage()).add_many(folder / "lists.nc", drop=["_tmp"]).is_complete

    def test_sources_that_are_not_there_and_options_that_are_none(self, folder):
        store = Atlas.create(MemoryStorage())
        with pytest.raises(InvalidValueError, match="'nowhere' is neither a folder nor a file, and matches none"):
            store.add_many("nowhere")
        with pytest.raises(InvalidTypeError, match="sources are paths or patterns, a mapping"):
            store.add_many([3])
        with pytest.raises(InvalidValueError, match="write '5 min', '50 files' or '256 MiB'"):
            store.add_many(folder, flush_every="often")
        store.create_dataset("pending")
        with pytest.raises(InvalidValueError, match=r"call flush\(\) before add_many\(\)"):
            store.add_many(folder)


class TestCommits:
    def test_they_come_as_asked(self, folder):
        store = Atlas.create(MemoryStorage())
        assert store.add_many(folder, flush_every="2 files").versions == [1, 2, 3]
        assert len(store.history()) == 4

    def test_a_name_that_another_writer_takes_costs_itself_alone(self, folder):
        storage = MemoryStorage()
        store = Atlas.create(storage)

        def take(report):
            if report.count("stored") == 3:
                other = Atlas.open(storage)
                other.create_dataset("2026.c3").set_attribute("by", "another")
                other.flush()

        report = store.add_many(folder, on_error="skip", progress=take)
        reason = (
            "another writer has added a dataset '2026.c3' meanwhile; choose another name, or replace theirs with "
            "if_exists='replace' (--if-exists replace of the command)"
        )
        assert [(one.dataset, one.reason) for one in report.failures] == [("2026.c3", reason)]
        found = Atlas.open(storage)
        assert sorted(found.list_datasets()) == NAMES
        assert found["2026.c3"].attributes() == {"by": "another"}
        xr.testing.assert_equal(found.to_xarray("c4"), profile(4))

    def test_an_interrupt_counts_where_all_names_were_taken_too(self, folder, monkeypatch):
        storage = MemoryStorage()
        store, flush, flushes = Atlas.create(storage), Session.flush, []

        def taken(self, *arguments):
            if self is not store._session:
                return flush(self, *arguments)
            flushes.append(self)
            if len(flushes) == 1:
                other = Atlas.open(storage)
                other.create_datasets(self.view.dataset_names())
                other.flush()
                raise KeyboardInterrupt
            return flush(self, *arguments)

        monkeypatch.setattr(Session, "flush", taken)
        with pytest.raises(IngestInterruptedError) as caught:
            store.add_many(folder, flush_every="2 files")
        assert [result.status for result in caught.value.report.results] == ["failed", "failed"]
        assert (caught.value.report.versions, store._session.pending) == ([], False)

    def test_a_commit_that_fails_stores_nothing_of_it_and_says_so(self, folder, monkeypatch):
        store = Atlas.create(MemoryStorage())
        reports = []

        def full(self, *arguments):
            raise errors.StorageError(28, "No space left on device")

        monkeypatch.setattr("atlas.session.Session.flush", full)
        with pytest.raises(errors.StorageError, match="No space left"):
            store.add_many(folder, progress=reports.append)
        assert {result.status for result in reports[0].results} == {"failed"}
        assert "once the cause is gone, add it again" in reports[0].results[0].reason

    def test_a_failing_progress_function_costs_nothing_that_was_read(self, folder):
        store = Atlas.create(MemoryStorage())

        def fail(report):
            if report.count("stored") == 2:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.add_many(folder, progress=fail)
        assert (store.list_datasets(), store._session.pending) == (NAMES[:2], False)

    def test_an_interrupt_commits_what_was_read(self, folder):
        store = Atlas.create(MemoryStorage())

        def stop(report):
            if report.count("stored") == 4:
                raise KeyboardInterrupt

        with pytest.raises(IngestInterruptedError) as caught:
            store.add_many(folder, progress=stop)
        assert store.list_datasets() == NAMES[:4]
        assert (caught.value.report.count("stored"), caught.value.report.is_complete) == (4, False)
        assert not store._session.pending
        assert store.add_many(folder).count("stored") == 2
        assert store.list_datasets() == NAMES

    @pytest.mark.parametrize("times", [1, 2])
    def test_an_interrupt_of_a_commit_lets_it_end_and_a_second_one_does_not(self, folder, monkeypatch, times):
        store, flush, flushes = Atlas.create(MemoryStorage()), Session.flush, []

        def interrupted(self, *arguments):
            flushes.append(self)
            if len(flushes) <= times:
                raise KeyboardInterrupt
            flush(self, *arguments)

        monkeypatch.setattr(Session, "flush", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            store.add_many(folder, flush_every="2 files")
        monkeypatch.undo()
        report = caught.value.report
        assert [result.status for result in report.results] == ["stored" if times == 1 else "failed"] * 2
        assert store._session.pending == (times == 2)
        assert store.version == 2 - times

    def test_a_killed_run_goes_on_where_it_was(self, folder, tmp_path):
        for at in range(6, 120):
            profile(at).to_netcdf(folder / f"c{at}.nc")
        script = (
            f"import atlas; atlas.Atlas.open({str(tmp_path / 's')!r}).add_many({str(folder)!r}, flush_every='3 files')"
        )
        Atlas.create(tmp_path / "s").flush()
        rounds = 0
        while len(Atlas.open(tmp_path / "s").list_datasets()) < 60 and rounds < 40:
            rounds += 1
            process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
            before = len(Atlas.open(tmp_path / "s").list_datasets())
            timer = threading.Timer(60, process.kill)
            timer.start()
            while process.poll() is None and len(Atlas.open(tmp_path / "s").list_datasets()) < before + 20:
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            timer.cancel()
        store = Atlas.open(tmp_path / "s")
        assert rounds > 1
        assert store.add_many(folder).is_complete
        assert len(store) == 120
        for at in (0, 7, 59, 119):
            name = f"2026.c{at}" if at < 6 and at % 2 else f"c{at}"
            xr.testing.assert_equal(store.to_xarray(name), profile(at))


class TestOverwrite:
    @pytest.fixture
    def store(self, tmp_path):
        store = Atlas.create(tmp_path / "s")
        for name in ("old", "c0"):
            store.add_xr_dataset(profile(100), name)
        store.flush()
        return store

    def test_all_is_replaced_in_one_commit_and_the_history_has_the_rest(self, store, folder, tmp_path):
        report = store.add_many(folder, overwrite=True, flush_every="1 file")
        assert (report.versions, report.count("stored")) == ([2], 6)
        found = Atlas.open(tmp_path / "s")
        assert sorted(found.list_datasets()) == NAMES
        xr.testing.assert_equal(found.to_xarray("c0"), profile(0))
        assert sorted(Atlas.open(tmp_path / "s", version=1).list_datasets()) == ["c0", "old"]

    def test_some_that_fail_are_left_out(self, store, folder):
        (folder / "b.nc").write_bytes(b"no NetCDF")
        report = store.add_many(folder, overwrite=True, on_error="skip")
        assert (len(report.failures), sorted(store.list_datasets())) == (1, NAMES)

    @pytest.mark.parametrize("how", ["all fail", "the first fails", "interrupted", "full", "killed"])
    def test_nothing_is_replaced_unless_the_new_is_whole(self, store, folder, tmp_path, monkeypatch, how):
        if how == "killed":
            script = textwrap.dedent(
                f"""
                import atlas, os
                stop = lambda report: os.kill(os.getpid(), 9) if report.count("stored") == 5 else None
                atlas.Atlas.open({str(tmp_path / "s")!r}).add_many({str(folder)!r}, overwrite=True, progress=stop)
                """
            )
            assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
        elif how == "interrupted":

            def stop(report):
                if report.count("stored") == 5:
                    raise KeyboardInterrupt

            with pytest.raises(IngestInterruptedError) as caught:
                store.add_many(folder, overwrite=True, progress=stop)
            assert {result.status for result in caught.value.report.results} == {"failed"}
        elif how == "full":

            def full(self, *arguments):
                raise errors.StorageError(28, "No space left on device")

            monkeypatch.setattr("atlas.session.Session.flush", full)
            with pytest.raises(errors.StorageError):
                store.add_many(folder, overwrite=True)
            monkeypatch.undo()
        else:
            for path in folder.rglob("*.nc") if how == "all fail" else [folder / "c2.nc"]:
                path.write_bytes(b"no NetCDF")
            if how == "all fail":
                report = store.add_many(folder, overwrite=True, on_error="skip")
                assert (report.count("stored"), report.versions) == (0, [])
            else:
                with pytest.raises(IngestError, match="0 sources were stored before it"):
                    store.add_many(folder, overwrite=True)
        for opened in (store, Atlas.open(tmp_path / "s")):
            assert (opened.list_datasets(), opened.version) == (["old", "c0"], 1)
            xr.testing.assert_equal(opened.to_xarray("c0"), profile(100))
        assert not store._session.pending


def test_large_variables_are_stored_block_by_block(folder, monkeypatch):
    from functools import partial  # noqa: PLC0415

    from atlas.ingest.reading import ReadOptions  # noqa: PLC0415

    monkeypatch.setattr("atlas.ingest.adding.ReadOptions", partial(ReadOptions, large_bytes=4000))
    rng = np.random.default_rng(1)
    cells = rng.normal(280, 5, (60, 100)).round(2)
    ds = xr.Dataset(
        {
            "packed": (("y", "x"), cells, {"units": "K"}),
            "text": (("y", "x"), np.array([[f"{y}.{x}" for x in range(100)] for y in range(60)], object)),
            "small": ("x", np.arange(100)),
        },
        {"area": (("y", "x"), cells + 1), "x": np.arange(100) / 2},
    )
    ds.to_netcdf(
        folder / "big.nc",
        encoding={"packed": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9}},
    )
    store = Atlas.create(MemoryStorage())
    store.add_many(folder / "big.nc", chunks={"y": 7, "nowhere": 3})
    with xr.open_dataset(folder / "big.nc") as expected:
        xr.testing.assert_identical(store.to_xarray("big").compute(), expected.load())
    assert list(store.to_xarray("big").variables) == ["packed", "text", "small", "area", "x"]
    assert store["big"].array_meta("packed")["chunk_shape"] == [7, 100]
    store.add_many(folder / "big.nc", names=lambda inner: "auto")
    assert np.prod(store["auto"].array_meta("text")["chunk_shape"]) <= 500
    xr.testing.assert_identical(store.to_xarray("auto").compute(), store.to_xarray("big").compute())


def test_chunks_of_dimensions_that_only_variables_left_out_have(folder):
    store = Atlas.create(MemoryStorage())
    store.add_many(folder / "c0.nc", drop=["t", "qc"], chunks={"level": 2, "time": 3})
    assert store["c0"].list_arrays() == ["time"]
    store.add_many(folder / "c2.nc", drop=["t"], chunks={"level": 2, "time": 3})
    assert store["c2"].array_meta("qc")["chunk_shape"] == [2]


class TestEncoding:
    @pytest.fixture
    def packed(self, tmp_path):
        cells = np.array([20.5, np.nan, 21.0])
        ds = xr.Dataset({"t": ("time", cells)}, {"time": np.array([0, 1, 2], "M8[D]").astype("M8[ns]")})
        packing = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9, "zlib": True}
        ds.to_netcdf(tmp_path / "a.nc", encoding={"t": packing, "time": {"units": "hours since 1970-01-01"}})
        return tmp_path / "a.nc"

    @pytest.mark.parametrize("if_exists", ["error", "replace"])
    def test_is_kept_or_dropped_and_cells_are_the_same(self, packed, if_exists):
        kept, dropped = Atlas.create(MemoryStorage()), Atlas.create(MemoryStorage())
        if if_exists == "replace":
            dropped.create_dataset("a")
            dropped.flush()
        kept.add_many(packed)
        dropped.add_many(packed, encoding="drop", if_exists=if_exists)
        assert kept.to_xarray("a").t.encoding.items() >= {"scale_factor": 0.5, "_FillValue": -9, "zlib": True}.items()
        ds = dropped.to_xarray("a")
        assert [ds[name].encoding for name in (*ds.variables,)] == [{}, {}]
        assert "source" not in ds.encoding
        xr.testing.assert_identical(ds.load(), kept.to_xarray("a").load())
        # NaN means missing in both.
        assert dropped["a"].array_stats("t") == kept["a"].array_stats("t")
        assert dropped["a"].array_meta("t") == kept["a"].array_meta("t")

    def test_of_datasets_too(self, packed):
        store = Atlas.create(MemoryStorage())
        with xr.open_dataset(packed) as ds:
            store.add_many({"b": ds}, encoding="drop")
            assert ds.t.encoding["scale_factor"] == 0.5
        assert store.to_xarray("b").t.encoding == {}

    def test_another_word_is_refused(self, packed):
        with pytest.raises(InvalidValueError, match="encoding is"):
            Atlas.create(MemoryStorage()).add_many(packed, encoding="lose")


class TestSplitting:
    @pytest.fixture
    def stations(self, tmp_path):
        """A file of three stations."""
        ds = xr.Dataset(
            {"t": (("station", "hour"), np.arange(6.0).reshape(3, 2))},
            {"station": ["a", "b", "c/d"], "hour": [0, 1]},
            {"title": "stations"},
        )
        ds.to_netcdf(tmp_path / "day.nc")
        return tmp_path / "day.nc"

    def test_each_position_is_a_dataset_that_knows_its_file(self, stations):
        store = Atlas.create(MemoryStorage())
        report = store.add_many(stations, split="station")
        assert [(one.dataset, one.status, one.source) for one in report.results] == [
            (name, "stored", str(stations)) for name in ("day.a", "day.b", "day.c.d")
        ]
        assert (report.is_complete, report.sources, report.dims) == (True, 3, {"station", "hour"})
        expected = xr.load_dataset(stations).isel(station=1)
        xr.testing.assert_identical(store.to_xarray("day.b"), expected)
        assert store.to_xarray("day.b").encoding["source"] == str(stations)
        again = store.add_many(stations, split="station")
        assert [one.status for one in again.results] == ["present"] * 3

    def test_parts_of_a_file_that_has_changed_replace_theirs(self, stations):
        store = Atlas.create(MemoryStorage())
        store.add_many(stations, split="station")
        ds = xr.load_dataset(stations)
        (ds + 10).to_netcdf(stations)
        assert store.add_many(stations, split="station", if_exists="update").count("updated") == 3
        assert store["day.a"].read_array("t").tolist() == [10, 11]

    def test_one_that_is_taken_costs_itself_alone(self, stations):
        store = Atlas.create(MemoryStorage())
        store.create_dataset("day.b")
        store.flush()
        report = store.add_many(stations, split="station", on_error="skip")
        assert [one.status for one in report.results] == ["stored", "failed", "stored"]
        assert report.failures[0].reason.startswith("the store has a dataset 'day.b' already; replace that one with")

    def test_overwrite_takes_a_name_once(self, stations):
        ds = xr.Dataset({"t": ("station", [1.0])}, {"station": ["b"]})
        ds.to_netcdf(stations.with_name("day.x.nc"))
        xr.load_dataset(stations).assign_coords(station=["a", "x.b", "c"]).to_netcdf(stations)
        store = Atlas.create(MemoryStorage())
        report = store.add_many(stations.parent, split="station", overwrite=True, on_error="skip")
        assert [(one.dataset, one.status) for one in report.results] == [
            ("day.a", "stored"),
            ("day.x.b", "stored"),
            ("day.c", "stored"),
            ("day.x.b", "failed"),
        ]
        assert store["day.x.b"].read_array("t").tolist() == [2, 3]

    def test_what_cannot_be_split_fails_by_name(self, stations):
        store = Atlas.create(MemoryStorage())
        report = store.add_many(stations, split="depth", on_error="skip")
        assert "'depth'" in report.failures[0].reason
        assert store.list_datasets() == []
        with pytest.raises(InvalidValueError, match="give one of them"):
            store.add_many(stations, split="a", split_by="b")
        with pytest.raises(InvalidTypeError, match="split is a name"):
            store.add_many(stations, split=3)

    def test_datasets_of_this_process_are_split_too(self, stations):
        store = Atlas.create(MemoryStorage())
        store.add_many({"x": xr.load_dataset(stations)}, split="station")
        assert store.list_datasets() == ["x.a", "x.b", "x.c.d"]
