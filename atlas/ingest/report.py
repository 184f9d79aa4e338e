"""What became of each source: the report of `Atlas.add_many`. No I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

__all__ = ["IngestInterruptedError", "IngestReport", "SourceResult", "Status"]

Status: TypeAlias = Literal["stored", "updated", "present", "skipped", "failed"]
"""What became of a source."""


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What became of one source."""

    source: str
    """Its path; of a dataset its name."""
    dataset: str
    """Name of its dataset."""
    status: Status
    """"updated" where it replaced the dataset of its name, "present" where the store had it unchanged, "skipped" where
    it had the name otherwise."""
    reason: str | None = None
    """Why it was skipped or failed, and what to do."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Variables that are not in the dataset, and why."""
    kept_raw: dict[str, str] = field(default_factory=dict)
    """Variables that could not be decoded and have the cells of the file, such as numbers of times, and why."""
    lost_attributes: dict[str, str] = field(default_factory=dict)
    """Attributes that could not be read, those of a variable after its name and a dot, and why."""


@dataclass(slots=True)
class IngestReport:
    """What became of each source, and what was passed over."""

    results: list[SourceResult] = field(default_factory=list)
    """One for each source, in their order; of an interrupted run for those that were dealt with."""
    others: list[str] = field(default_factory=list)
    """Files in the folders that are no sources: their suffix is none of NetCDF, or the pattern does not match."""
    links: list[str] = field(default_factory=list)
    """Links to folders that were not followed."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Folders that could not be read, and why."""
    versions: list[int] = field(default_factory=list)
    """Versions that were committed."""
    sources: int = 0
    """Number of sources that were found; datasets are counted as they come."""
    dims: set[str] = field(default_factory=set)
    """Names of dimensions in the files that were read."""
    variables: set[str] = field(default_factory=set)
    """Names of variables in them, those that were left out included."""

    def count(self, status: Status) -> int:
        """Return how many sources have a status."""
        return sum(result.status == status for result in self.results)

    @property
    def failures(self) -> list[SourceResult]:
        """The sources that could not be stored."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def is_complete(self) -> bool:
        """Whether nothing failed, no folder was unreadable, and every source was dealt with."""
        return not self.failures and not self.unreadable and len(self.results) == self.sources

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON has."""
        return asdict(self) | {"dims": sorted(self.dims), "variables": sorted(self.variables)}

    def __str__(self) -> str:
        counts = {status: self.count(status) for status in get_args(Status)}
        told = [f"{count:,} {status}" for status, count in counts.items() if count]
        for one, many, found in (
            ("other file", "other files", len(self.others)),
            ("link not followed", "links not followed", len(self.links)),
            ("unreadable folder", "unreadable folders", len(self.unreadable)),
        ):
            told += [f"{found:,} {one if found == 1 else many}"] if found else []
        sources = "source" if self.sources == 1 else "sources"
        return f"{self.sources:,} {sources}: {', '.join(told) or 'none dealt with'}"


class IngestInterruptedError(KeyboardInterrupt):
    """The user interrupted. What had been read is committed."""

    def __init__(self, report: IngestReport) -> None:
        super().__init__("interrupted; what had been read is stored, and adding the same sources again goes on")
        self.report = report
        """What became of the sources by then."""
