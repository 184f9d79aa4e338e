"""The report in a file, however the call ends."""

from __future__ import annotations

import json
from pathlib import Path

import netCDF4
import pytest

from atlas import Atlas
from atlas.errors import IngestError, InvalidTypeError, InvalidValueError, StorageError
from atlas.session import Session
from atlas.storage import MemoryStorage


@pytest.fixture
def folder(tmp_path):
    """Two files, and one that is none between them."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "c"):
        with netCDF4.Dataset(folder / f"{name}.nc", "w") as file:
            file.createDimension("x", 2)
            file.createVariable("t", "f8", ("x",))[:] = 1
    (folder / "b.nc").write_text("no NetCDF")
    return folder


@pytest.fixture
def store():
    return Atlas.create(MemoryStorage())


def told(path):
    """The status and dataset of each source in a written report."""
    return [(result["status"], result["dataset"]) for result in json.loads(path.read_text())["results"]]


def test_it_is_the_report_that_is_returned(store, folder, tmp_path):
    report = store.add_many(folder, on_error="skip", report=tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert told(tmp_path / "r.json") == [("stored", "a"), ("failed", "b"), ("stored", "c")]
    assert str(store.add_many(folder / "a.nc", report=str(tmp_path / "r.json"))) == "1 source: 1 present"
    assert told(tmp_path / "r.json") == [("present", "a")]


def test_it_is_written_where_a_source_fails(store, folder, tmp_path):
    with pytest.raises(IngestError):
        store.add_many(folder, report=tmp_path / "r.json")
    assert told(tmp_path / "r.json") == [("stored", "a"), ("failed", "b")]


def test_it_is_written_where_a_commit_fails(store, folder, tmp_path, monkeypatch):
    def full(self, *arguments):
        raise StorageError(28, "No space left on device")

    monkeypatch.setattr(Session, "flush", full)
    with pytest.raises(StorageError, match="No space left"):
        store.add_many(folder / "a.nc", report=tmp_path / "r.json")
    assert told(tmp_path / "r.json") == [("failed", "a")]


def test_it_is_written_after_an_interrupt(store, folder, tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add_many(folder, on_error="skip", progress=interrupt, report=tmp_path / "r.json")
    assert told(tmp_path / "r.json") == [("stored", "a")]
    assert store.list_datasets() == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
class TestFullDisk:
    def test_is_said_once_all_is_stored(self, store, folder):
        with pytest.raises(StorageError, match="the report cannot be written: No space left on device"):
            store.add_many(folder / "a.nc", report="/dev/full")
        assert store.list_datasets() == ["a"]

    def test_is_a_note_of_another_error(self, store, folder):
        with pytest.raises(IngestError) as caught:
            store.add_many(folder, report="/dev/full")
        assert caught.value.__notes__ == [
            "[Errno 28] the report cannot be written: No space left on device: '/dev/full'"
        ]


def test_what_is_no_file_is_refused_before_anything_is_added(store, folder, tmp_path):
    with pytest.raises(InvalidTypeError, match="report is the path of a file to write, not bool True"):
        store.add_many(folder, report=True)
    with pytest.raises(InvalidValueError, match="is a folder"):
        store.add_many(folder, report=tmp_path)
    with pytest.raises(InvalidValueError, match="none', which does not exist"):
        store.add_many(folder, report=tmp_path / "none" / "r.json")
    assert store.list_datasets() == []
