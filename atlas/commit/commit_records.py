"""What a handle remembers of the commits that it has read: a commit never changes, so each is read once.

`history` and garbage collection ask for the commits since the oldest version that is kept; only those that were made
since they last asked are read. Remembered are the facts that these two need, not the changes. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.commit.documents import missing_file
from atlas.runtime.locks import ForkSafeLock

if TYPE_CHECKING:
    import datetime as dt

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import Commit, CommitLog
    from atlas.format.bases import BaseRef
    from atlas.format.changes import Changes

__all__ = ["CommitRecord", "CommitRecords", "Version", "describe_commit", "named_files"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a store: when and how it was made, and what it changed."""

    version: int
    """Number of the version, as `Atlas.open` takes it."""
    time: dt.datetime
    """When it was made, in UTC, by the clock of its writer."""
    action: str
    """What made it: "create", "flush", "compact" or "rollback"."""
    message: str | None
    """The message of `flush(message=...)` or `rollback`, None where there is none."""
    created: int
    """Number of datasets that it created."""
    changed: int
    """Number of datasets whose arrays or attributes it declared, set or deleted."""
    deleted: int
    """Number of datasets that it deleted."""
    arrays: tuple[str, ...]
    """Names of the arrays that it wrote to, sorted."""

    def __str__(self) -> str:
        """Return it in one line."""
        counts = [
            f"{sign}{count}" for sign, count in (("+", self.created), ("~", self.changed), ("-", self.deleted)) if count
        ]
        datasets = f"datasets {' '.join(counts)}" if counts else ""
        arrays = f"arrays {', '.join(self.arrays)}" if self.arrays else ""
        what = "; ".join(part for part in (datasets, arrays, self.message) if part)
        return f"{self.version:>6}  {self.time:%Y-%m-%d %H:%M:%S}  {self.action:<8}  {what}".rstrip()


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What is remembered of one commit."""

    version: Version
    """The version that it made."""
    next_id: int
    """Id of the next new dataset after it."""
    files: tuple[tuple[str, int | None], ...]
    """Keys of the segments and pages that it names, and the bytes of each; None for pages, which do not tell."""


class CommitRecords:
    """The commits since the oldest version that is kept, as far as a handle has read them. Locked."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._first = -1
        self._records: list[CommitRecord] = []
        self._base: tuple[BaseRef, dict[str, int | None]] | None = None

    def read(self, log: CommitLog, first: int, last: int) -> list[CommitRecord]:
        """Return the records of the versions after `first`, the oldest that is kept, to `last`, in order.

        Raises `CorruptStoreError` where a commit is missing or damaged, and as for a missing commit where versions
        after `first` were given up meanwhile: late writers may then take the numbers before the base.
        """
        with self._lock:
            if self._first <= first <= self._first + len(self._records):
                del self._records[: first - self._first]
            else:
                self._records = []
            self._first = first
            commits = log.commits(first + len(self._records) + 1, last)
            next_id = 0
            if commits:
                next_id = self._records[-1].next_id if self._records else log.read_base()[1].next_id
            if log.find_base().version > first:
                raise missing_file(log.commit_key(first + 1))
            for commit in commits:
                files = tuple(named_files(commit.changes).items())
                self._records.append(CommitRecord(describe_commit(commit, next_id), commit.changes.next_id, files))
                next_id = commit.changes.next_id
            return self._records[: last - first]

    def base_files(self, log: CommitLog) -> dict[str, int | None]:
        """Return the files that the oldest version that is kept names, as `named_files` does.

        Raises `CorruptStoreError` where the base is missing or damaged.
        """
        while self._base is None or self._base[0] != log.base:
            base = log.base  # another thread may find a later one at any moment
            files = named_files(log.read_base()[1])
            if log.base == base:
                self._base = base, files
        return self._base[1]


def describe_commit(commit: Commit, next_id: int) -> Version:
    """Return the version that a commit made; new datasets have ids from `next_id`."""
    head, changes = commit.header, commit.changes
    created = changed = deleted = 0
    if not changes.reset:
        changed = int((changes.rows.ids < next_id).sum())
        created = len(changes.rows) - changed + sum(page.rows for page in changes.pages)
        deleted = len(changes.deleted)
    arrays = sorted({ref.array for ref in changes.segments if not ref.rewritten}) if not changes.reset else []
    return Version(head.version, head.time, head.action, head.message, created, changed, deleted, tuple(arrays))


def named_files(named: Changes | Catalog) -> dict[str, int | None]:
    """Return the keys of the segments and pages that a document or a version names, with the bytes of each segment."""
    files: dict[str, int | None] = dict.fromkeys(page.key for page in named.pages)
    for some in named.segments.values() if isinstance(named.segments, dict) else [named.segments]:
        files.update((ref.key, ref.size) for ref in some)
    return files
