"""What `atlas create` and `atlas add` print of a report: failures as they come, and at the end what was passed over."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, TextIO

import click
from tqdm import tqdm

from atlas.cli.formatting import count_text
from atlas.ingest import IngestReport, Progress, SourceResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ReportPrinter", "note_passed_over", "note_unused_options"]

_NAMED = 3
"""Files that a line names."""


class ReportPrinter(Progress):
    """Shows progress, prints each failure, and what is not in a dataset, as it comes, and logs each source."""

    def __init__(self, log: TextIO | None = None) -> None:
        super().__init__()
        self._log, self._logged = log, list[SourceResult]()
        self.report = IngestReport()
        """What has become of the sources so far."""

    def __call__(self, report: IngestReport) -> None:
        """Show what has become of one more source."""
        self.report = report
        self._log_changes()
        for line in _lines_of(report.results[-1]):
            note(line)
        super().__call__(report)

    def close(self) -> None:
        """Remove the bar, and log what has become of sources since they were logged, as where their commit failed."""
        super().close()
        self._log_changes(since=0)

    def _log_changes(self, since: int | None = None) -> None:
        """Log new results, and of those from `since` on what is not as it was logged."""
        results, logged = self.report.results, self._logged
        for at in range(len(logged) if since is None else since, len(results)):
            if at == len(logged):
                logged.append(results[at])
            elif logged[at] is results[at]:
                continue
            self._write(results[at])

    def _write(self, result: SourceResult) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        fields = (now, result.status, result.dataset, result.source, result.reason or "")
        if self._log is None:
            return
        try:
            self._log.write("\t".join(map(_one_line, fields)) + "\n")
            self._log.flush()
        except OSError as error:
            self._log = None
            note(f"Warning: nothing more is logged, as --log-file cannot be written: {error}")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("\t", " ")


def note(message: str) -> None:
    """Print to stderr, above a progress bar."""
    with tqdm.external_write_mode():
        click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)


def _lines_of(result: SourceResult) -> list[str]:
    lines = []
    if result.status == "failed":
        lines.append(f"not stored: {result.source}: {result.reason}")
    elif result.status == "skipped":
        lines.append(f"skipped: {result.source}: {result.reason}")
    if result.status in ("stored", "updated"):
        lines += [f"stored in part: {result.source}: variable {name!r} {why}" for name, why in result.dropped.items()]
        lines += [
            f"stored in part: {result.source}: attribute {name!r} {why}" for name, why in result.lost_attributes.items()
        ]
        lines += [
            f"not decoded: {result.source}: variable {name!r} keeps its numbers: {why}"
            for name, why in result.kept_raw.items()
        ]
    return lines


def note_passed_over(report: IngestReport) -> None:
    """Print what of the folders was passed over, and how many files the store had already."""
    if report.count("present"):
        note(f"{count_text(report.count('present'), 'file')} skipped: already in the store")
    for folder, reason in report.unreadable:
        note(f"not read: the folder {folder}: {reason}")
    if report.others:
        listed = _listed(report.others)
        note(f"{count_text(len(report.others), 'other file')} passed over: {listed}; --pattern '*' takes all files")
    if report.links:
        note(f"{count_text(len(report.links), 'link')} to folders not followed: {_listed(report.links)}; see --follow")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def note_unused_options(report: IngestReport, chunks: Mapping[str, int], drop: Sequence[str]) -> None:
    """Warn about options that matched nothing in any file; say nothing if no file was read."""
    if not report.dims and not report.variables:
        return
    for dim, length in chunks.items():
        if dim not in report.dims:
            note(f"Warning: --chunk {dim}={length} had no effect: no file read has a dimension {dim!r}")
    for name in drop:
        if name not in report.variables:
            note(f"Warning: --drop {name} had no effect: no file read has a variable {name!r}")
