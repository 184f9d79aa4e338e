"""Reading ahead: which files are read together, and in which order they come."""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.ingest import reading_ahead
from atlas.ingest.reading import ReadOptions
from atlas.ingest.reading_ahead import AheadReader
from atlas.ingest.sources import FileSource
from atlas.session import Session
from atlas.storage import MemoryStorage


@pytest.fixture
def folder(tmp_path):
    """Small files, a large one among them, and some that are small but hold much."""
    for at in range(40):
        size = 50_000 if at == 20 else 700_000 if at in (4, 5, 6) else 3
        cells = np.zeros(size) if size != 50_000 else np.random.default_rng(0).normal(size=size)
        ds = xr.Dataset({"t": ("x", cells)}, attrs={"at": at})
        ds.to_netcdf(tmp_path / f"{at:02d}.nc", encoding={"t": {"zlib": True}})
    return tmp_path


def reader(folder, workers=1, settle=lambda source: None):
    files = [FileSource(path, path.stem) for path in sorted(folder.glob("*.nc"))]
    return AheadReader(files, ReadOptions((), False, False), workers, 60, settle)


@pytest.mark.parametrize(("workers", "expected"), [(1, [10, 10, 1, 10, 9]), (2, [8, 8, 4, 1, 8, 8, 3])])
def test_small_files_that_follow_each_other_are_read_together(folder, workers, expected):
    batches = list(reader(folder, workers)._batches())
    assert [len(batch) for batch in batches] == expected
    assert [source.name for batch in batches for source in batch] == [f"{at:02d}" for at in range(40)]


def test_many_bytes_are_not_read_together(folder, monkeypatch):
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.nc"))]
    monkeypatch.setattr(reading_ahead, "_BATCH_BYTES", sum(sizes[:3]))
    batches = list(reader(folder)._batches())
    assert len(batches[0]) == 3
    assert all(
        sum(source.path.stat().st_size for source in batch) <= sum(sizes[:3])
        for batch in batches[:-1]
        if len(batch) > 1
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_all_come_in_their_order_those_too_that_hold_much(folder, workers):
    with ExitStack() as stack:
        found = list(reader(folder, workers).read_all(stack))
    assert [source.name for source, _ in found] == [f"{at:02d}" for at in range(40)]
    assert [read.contents.attrs["at"] for _, (read, _) in found] == list(range(40))


def test_what_is_settled_is_not_read(folder):
    (folder / "03.nc").write_text("no NetCDF")

    def settle(source):
        return "settled" if source.name in ("03", "20") else None

    with ExitStack() as stack:
        found = dict(reader(folder, settle=settle).read_all(stack))
    settled = [source.name for source, outcome in found.items() if outcome == "settled"]
    assert settled == ["03", "20"]


def test_they_are_stored(folder):
    store = Atlas.create(MemoryStorage())
    assert store.add_many(folder, workers=2).count("stored") == 40
    assert [store[name].attributes()["at"] for name in store.list_datasets()] == list(range(40))


def test_reading_goes_on_while_a_commit_is_made(folder, monkeypatch):
    read_batch, flush, done, during = AheadReader._read_batch, Session.flush, [], []

    def slowly(self, batch):
        time.sleep(0.2)
        found = read_batch(self, batch)
        done.append(len(batch))
        return found

    def waiting(self, *arguments):
        before, until = len(done), time.monotonic() + 30
        while len(done) == before < 5 and time.monotonic() < until:
            time.sleep(0.01)
        during.append(len(done) - before)
        flush(self, *arguments)

    monkeypatch.setattr(AheadReader, "_read_batch", slowly)
    monkeypatch.setattr(Session, "flush", waiting)
    Atlas.create(MemoryStorage()).add_many(folder, flush_every="1 file")
    assert sum(done) == 40
    assert during[0] >= 1
