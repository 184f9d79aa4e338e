"""`Atlas.add_many` of datasets of xarray: mappings and iterators of pairs, one at a time."""

from __future__ import annotations

import gc
import io
import itertools
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import IngestError, InvalidTypeError, InvalidValueError
from atlas.format.attribute_keys import INGESTED_KEY
from atlas.ingest import IngestInterruptedError, IngestReport, Progress, SourceResult
from atlas.storage import MemoryStorage


def cast(at):
    return xr.Dataset({"t": ("level", np.arange(3.0) + at)}, {"level": [1, 2, 3]}, {"at": at})


def casts(count, made=None):
    for at in range(count):
        if made is not None:
            made.append(at)
        yield f"c{at}", cast(at)


@pytest.fixture
def store():
    return Atlas.create(MemoryStorage())


@pytest.mark.parametrize("kind", [dict, list, iter, tuple], ids=lambda kind: kind.__name__)
def test_each_dataset_is_added_under_its_name(store, kind):
    report = store.add_many(kind(casts(3)))
    assert report.results == [SourceResult(f"c{at}", f"c{at}", "stored") for at in range(3)]
    assert (report.sources, report.is_complete, report.dims) == (3, True, {"level"})
    assert report.variables == {"level", "t"}
    for at in range(3):
        xr.testing.assert_identical(store.to_xarray(f"c{at}").load(), cast(at))
    assert (INGESTED_KEY,) not in store._session.view.exact_attributes("c0")


def test_chunks_are_given_by_dimension(store):
    store.add_many({"a": cast(1), "b": xr.Dataset({"u": 1.0})}, chunks={"level": 2})
    assert store.open_dataset("a").array_meta("t")["chunk_shape"] == [2]


def test_an_iterator_gives_one_at_a_time_and_none_is_kept(store):
    alive, most = [], []

    def made():
        for at in range(30):
            gc.collect()
            most.append(sum(ref() is not None for ref in alive))
            ds = cast(at)
            alive.append(weakref.ref(ds))
            yield f"c{at}", ds
            del ds

    assert store.add_many(made(), flush_every="10 files").count("stored") == 30
    assert max(most) == 0


def test_what_was_added_is_committed_as_it_goes(store):
    counts = []

    def made():
        for pair in casts(20):
            counts.append(len(store.history()))
            yield pair

    report = store.add_many(made(), flush_every="5 files")
    assert len(report.versions) == 4
    assert counts[6] > counts[0]


class TestTaken:
    def test_a_name_that_the_store_has_ends_the_call_or_is_skipped(self, store):
        store.add_many({"c1": cast(7)})
        with pytest.raises(IngestError, match=r"c1 is not stored: the store has a dataset 'c1' already; .*if_exists"):
            store.add_many(casts(3))
        assert store.list_datasets() == ["c1", "c0"]
        report = store.add_many(casts(3), if_exists="skip")
        assert [result.status for result in report.results] == ["skipped", "skipped", "stored"]
        assert store.to_xarray("c1").attrs["at"] == 7

    def test_a_name_that_is_given_twice_is_taken(self, store):
        report = store.add_many([("a", cast(1)), ("a", cast(2))], on_error="skip")
        assert [result.status for result in report.results] == ["stored", "failed"]
        assert store.to_xarray("a").attrs["at"] == 1

    def test_overwrite_replaces_everything_and_takes_a_name_once(self, store):
        store.add_many({"old": cast(1), "a": cast(2)})
        report = store.add_many([("a", cast(3)), ("a", cast(4)), ("b", cast(5))], overwrite=True, on_error="skip")
        assert [result.status for result in report.results] == ["stored", "failed", "stored"]
        assert report.failures[0].reason == "a dataset 'a' came before it; choose another name"
        assert store.list_datasets() == ["a", "b"]
        assert store.to_xarray("a").attrs["at"] == 3


class TestFailures:
    def test_a_dataset_that_cannot_be_stored_costs_itself_alone(self, store):
        odd = xr.Dataset({"t": ("x", np.array([{}, []], object))})
        report = store.add_many([("a", cast(1)), ("b", odd), ("", cast(2)), ("c", cast(3))], on_error="skip")
        assert [result.status for result in report.results] == ["stored", "failed", "failed", "stored"]
        assert "'t'" in report.failures[0].reason
        assert store.list_datasets() == ["a", "c"]

    def test_what_the_iterator_raises_ends_the_call_after_a_commit(self, store):
        cause = OSError("the sensor is gone")

        def made():
            yield from casts(3)
            raise cause

        with pytest.raises(IngestError, match=r"raised OSError: the sensor is gone; 3 sources were stored") as caught:
            store.add_many(made(), on_error="skip")
        assert caught.value.__cause__ is cause
        assert [result.status for result in caught.value.report.results] == ["stored"] * 3
        assert not caught.value.report.is_complete
        assert len(caught.value.report.versions) == 1
        assert store.list_datasets() == ["c0", "c1", "c2"]

    def test_also_where_it_raises_at_once(self, store):
        def made():
            raise OSError("no sensor")
            yield

        with pytest.raises(IngestError, match="raised OSError: no sensor; 0 sources were stored before it"):
            store.add_many(made())

    def test_with_overwrite_the_store_stays_as_it_was(self, store):
        def made():
            yield "a", cast(1)
            raise OSError("gone")

        store.add_many({"old": cast(1)})
        with pytest.raises(IngestError) as caught:
            store.add_many(made(), overwrite=True)
        assert [result.status for result in caught.value.report.results] == ["failed"]
        assert store.list_datasets() == ["old"]

    def test_an_interrupt_in_the_iterator_commits_what_came_before(self, store):
        def made():
            yield from casts(2)
            raise KeyboardInterrupt

        with pytest.raises(IngestInterruptedError) as caught:
            store.add_many(made())
        assert caught.value.report.count("stored") == 2
        assert store.list_datasets() == ["c0", "c1"]

    @pytest.mark.parametrize(
        ("element", "got"),
        [
            (5, "int"),
            ("c.nc", "str"),
            (("a", cast(1)["t"]), r"\('a', DataArray\)"),
            ((1, cast(1)), r"\(1, Dataset\)"),
            (("a", cast(1), 3), "tuple"),
            (cast(1), "Dataset"),
        ],
        ids=["number", "path", "array", "name", "three", "dataset"],
    )
    def test_an_element_that_is_neither_is_refused_after_a_commit(self, store, element, got):
        accepted = r"sources are paths or patterns, a mapping \{name: ds\} of xarray datasets, or pairs \(name, ds\)"
        with pytest.raises(InvalidTypeError, match=f"{accepted}.*; got {got}$"):
            store.add_many(itertools.chain(casts(2), [element], casts(9)))
        assert store.list_datasets() == ["c0", "c1"]
        assert len(store.history()) == 2

    @pytest.mark.parametrize("source", [cast(1), cast(1)["t"], xr.DataTree(cast(1)), 5, [5], [cast(1)], {"a": 5}])
    def test_what_holds_no_pairs_is_refused_at_once(self, store, source):
        with pytest.raises(InvalidTypeError, match="sources are paths or patterns, a mapping"):
            store.add_many(source)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"names": str}, "names="),
        ({"pattern": "*", "engine": "zarr"}, "pattern=, engine="),
        ({"follow_links": True}, "follow_links="),
        ({"drop": ["t"], "raw": True}, "drop=, raw="),
        ({"on_unsupported": "drop", "resume": False}, "on_unsupported=, resume="),
        ({"workers": 2, "timeout": 5}, "workers=, timeout="),
    ],
)
def test_options_of_files_are_refused_before_a_dataset_is_taken(store, options, told):
    with pytest.raises(InvalidValueError, match=f"are added as they are: leave out {told}$"):
        store.add_many({"a": cast(1)}, **options)
    made = []
    with pytest.raises(InvalidValueError, match=f"leave out {told}$"):
        store.add_many(casts(3, made), **options)
    assert made == [0]  # to see that it gives datasets
    assert store.list_datasets() == []


def test_an_iterator_of_paths_still_names_files(store, tmp_path):
    pytest.importorskip("netCDF4")
    for at in range(3):
        cast(at).to_netcdf(tmp_path / f"c{at}.nc", engine="netcdf4")
    assert store.add_many(sorted(Path(tmp_path).glob("*.nc")).__iter__()).count("stored") == 3
    assert store.add_many(iter([])).sources == 0


class TestProgress:
    def test_it_is_called_with_the_sources_that_came(self, store):
        seen = []
        store.add_many(casts(3), progress=lambda report: seen.append((report.sources, len(report.results))))
        assert seen == [(1, 1), (2, 2), (3, 3)]

    def test_there_is_no_total(self, monkeypatch):
        clock = [1000.0]
        monkeypatch.setattr("atlas.ingest.progress.time.monotonic", lambda: clock[0])
        printed = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", printed)
            shown = Progress("dataset", has_total=False)
        report = IngestReport()
        for at in range(4):
            clock[0] += 10
            report.sources += 1
            report.results.append(SourceResult(f"c{at}", f"c{at}", "stored"))
            shown(report)
        shown.close()
        assert printed.getvalue() == "3 datasets, 0 failed, 0.1 datasets/s\n"

    def test_it_is_shown_where_asked_for(self, store, capsys):
        assert store.add_many(casts(2), progress=True).count("stored") == 2
        assert capsys.readouterr().err == ""
