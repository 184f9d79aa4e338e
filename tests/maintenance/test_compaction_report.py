from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from atlas import Atlas
from atlas.maintenance.compaction_report import CompactionReport
from atlas.storage import MemoryStorage


@pytest.fixture
def store():
    store = Atlas.create(MemoryStorage())
    for at in range(6):
        store.create_dataset(f"d{at}")
        store.write_array_across_stacked("t", [f"d{at}"], np.random.default_rng(at).random((1, 1000)))
        store.flush()
    return store


def unnamed(store):
    """The bytes of the segments and pages that the version shown does not name."""
    storage, catalog = store._session.view.storage, store._session.catalog
    named = {ref.key for refs in catalog.segments.values() for ref in refs} | {page.key for page in catalog.pages}
    return sum(storage.size(key) for key in [*storage.list("arrays"), *storage.list("pages")] if key not in named)


def test_what_earlier_versions_hold_is_counted_without_looking_at_files(store, monkeypatch):
    sizes = []
    monkeypatch.setattr(MemoryStorage, "size", lambda _, key: sizes.append(key))
    report = store.compact()
    assert sizes == []
    monkeypatch.undo()
    assert report.bytes_held == unnamed(store) > 6 * 8000
    assert report.held_by == (0, 6)
    assert report.held_until == store.history()[-1].time + dt.timedelta(days=30)
    assert store.compact() == report  # nothing is left to do


def test_a_number_of_versions_is_kept_without_a_time(store):
    report = store.compact(keep_versions=3, keep_days=0)
    assert report.held_by == (store.version - 2, store.version - 1)
    assert report.held_until is None
    assert report.bytes_held == unnamed(store) > 0
    assert report.files_freed > 0
    assert store.compact(keep_days=float("inf")).held_until is None
    report = eval(f"store.{report.free_rest}", {"store": store})
    assert unnamed(store) == report.bytes_held == 0
    assert report.held_by is None


def test_pages_are_held_too(store):
    store.create_datasets([f"e{at:05d}" for at in range(5000)])
    store.flush()
    for at in range(5000):
        store.open_dataset(f"e{at:05d}").set_attribute("n", at)
    report = store.compact()
    assert report.bytes_held == unnamed(store)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (CompactionReport(1234, 5, 0, None, None), "freed 1,234 bytes in 5 files"),
        (
            CompactionReport(0, 0, 9999, (3, 3), None),
            "freed 0 bytes in 0 files; version 3 holds 9,999 bytes more; compact(keep_days=0) frees them now",
        ),
        (
            CompactionReport(0, 0, 9999, (3, 7), dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)),
            (
                "freed 0 bytes in 0 files; versions 3 to 7 hold 9,999 bytes more, until a compaction after "
                "2026-01-02 03:04 UTC; compact(keep_days=0) frees them now"
            ),
        ),
    ],
)
def test_a_report_in_one_line(report, text):
    assert str(report) == text
