"""The report: counts, what it is complete by, as text and as values of JSON."""

from __future__ import annotations

import json

import orjson

from atlas import Atlas
from atlas.ingest import IngestReport, SourceResult
from atlas.storage import MemoryStorage


def report_of(*statuses, **fields):
    results = [SourceResult(f"d/{at}.nc", str(at), status) for at, status in enumerate(statuses)]
    return IngestReport(results, sources=fields.pop("sources", len(results)), **fields)


def test_statuses_are_counted_and_failures_listed():
    report = report_of("stored", "failed", "present", "stored", "skipped", "failed")
    assert [report.count(status) for status in ("stored", "present", "skipped", "failed")] == [2, 1, 1, 2]
    assert [result.dataset for result in report.failures] == ["1", "5"]


def test_it_is_complete_where_nothing_failed_and_everything_was_dealt_with():
    assert IngestReport().is_complete
    assert report_of("stored", "present", "skipped", "updated").is_complete
    assert report_of("stored", others=["a"], links=["b"], versions=[3]).is_complete
    assert not report_of("stored", "failed").is_complete
    assert not report_of("stored", sources=2).is_complete
    assert not report_of("stored", unreadable=[("d", "Permission denied")]).is_complete


def test_as_text_it_says_what_is_not_zero():
    assert str(IngestReport()) == "0 sources: none dealt with"
    assert str(report_of(sources=3)) == "3 sources: none dealt with"
    assert str(report_of("updated", "present", "stored", "updated")) == "4 sources: 1 stored, 2 updated, 1 present"
    assert str(report_of("failed", "stored", "stored")) == "3 sources: 2 stored, 1 failed"
    assert str(report_of(*["present"] * 1200, "skipped", sources=1300)) == "1,300 sources: 1,200 present, 1 skipped"
    assert str(report_of("stored", "stored", others=["a"])) == "2 sources: 2 stored, 1 other file"
    told = report_of("stored", others=["a", "b"], links=["c"], unreadable=[("d", "Permission denied")])
    assert str(told) == "1 source: 1 stored, 2 other files, 1 link not followed, 1 unreadable folder"


def test_as_values_it_is_json_and_has_everything():
    result = SourceResult(
        "d/ü.nc",
        "ü",
        "stored",
        dropped={"v": "has lists"},
        kept_raw={"time": "out of range"},
        lost_attributes={"t.a": "is opaque"},
    )
    failed = SourceResult("d/b.nc", "b", "failed", "cut short")
    report = IngestReport(
        [result, failed],
        ["d/notes.txt"],
        ["d/link"],
        [("d/locked", "Permission denied")],
        [4, 5],
        3,
        {"y", "x"},
        {"t", "v", "time"},
    )
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == orjson.loads(orjson.dumps(values))
    assert values == {
        "results": [
            {
                "source": "d/ü.nc",
                "dataset": "ü",
                "status": "stored",
                "reason": None,
                "dropped": {"v": "has lists"},
                "kept_raw": {"time": "out of range"},
                "lost_attributes": {"t.a": "is opaque"},
            },
            {
                "source": "d/b.nc",
                "dataset": "b",
                "status": "failed",
                "reason": "cut short",
                "dropped": {},
                "kept_raw": {},
                "lost_attributes": {},
            },
        ],
        "others": ["d/notes.txt"],
        "links": ["d/link"],
        "unreadable": [("d/locked", "Permission denied")],
        "versions": [4, 5],
        "sources": 3,
        "dims": ["x", "y"],
        "variables": ["t", "time", "v"],
    }
    values["results"].clear()
    assert len(report.results) == 2


def test_also_where_a_name_is_not_utf8(tmp_path):
    (tmp_path / "a.nc").touch()
    report = Atlas.create(MemoryStorage()).add_many(tmp_path, names=lambda path: "\udce9", on_error="skip")
    assert orjson.loads(orjson.dumps(report.to_dict()))["results"][0]["dataset"] == "\\udce9"
