"""What `atlas create` and `atlas add` print of a report: failures as they come, and at the end what was passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from atlas.cli.formatting import count_text
from atlas.ingest import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas.ingest import IngestReport, SourceResult

__all__ = ["ReportPrinter", "note_passed_over", "note_unused_options"]

_NAMED = 3
"""Files that a line names."""


class ReportPrinter(Progress):
    """Shows progress, and prints each failure, and what is not in a dataset, as it comes."""

    def __call__(self, report: IngestReport) -> None:
        """Show what has become of one more source."""
        for line in _lines_of(report.results[-1]):
            note(line)
        super().__call__(report)


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
            f"times not decoded: {result.source}: variable {name!r} keeps its numbers: {why}"
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
