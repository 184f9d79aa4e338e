"""Lists the versions of a store that are kept, from its commits. Reads no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.commit.documents import is_missing_file
from atlas.errors import CorruptStoreError, StaleHandleError

if TYPE_CHECKING:
    import datetime as dt

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import Commit, CommitLog

__all__ = ["Version", "read_history"]


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


def read_history(log: CommitLog, catalog: Catalog) -> list[Version]:
    """Return the versions from the oldest that is kept to the catalog's, oldest first.

    Raises `CorruptStoreError` where a commit is missing or damaged, `StaleHandleError` where the catalog's version is
    no longer kept.
    """
    while True:
        base = log.find_base()
        if base.version > catalog.version:
            raise StaleHandleError(
                f"version {catalog.version} of the store at {log.storage.describe}, which this handle shows, is no "
                "longer kept: call refresh() or open it again"
            )
        try:
            versions = _versions(log, catalog.version)
            if log.find_base() == base:
                return versions
        except CorruptStoreError as error:
            # Another process may have made a later base, and removed the commits before it.
            if not is_missing_file(error) or log.find_base() == base:
                raise


def _versions(log: CommitLog, last: int) -> list[Version]:
    """Return the versions from the oldest that is kept to `last`, as of the base that the log knows."""
    # Where a replacement of the store was interrupted, the history begins with it, although the base is earlier.
    first, next_id = max(log.base.version, log.config_since), log.read_base()[1].next_id
    versions = [_oldest(log, first)]
    for commit in log.commits(first + 1, last):
        versions.append(_version(commit, next_id))
        next_id = commit.changes.next_id
    return versions


def _oldest(log: CommitLog, version: int) -> Version:
    """Return the oldest version: its commit describes it where that still exists."""
    try:
        (commit,) = log.commits(version, version)
    except CorruptStoreError as error:
        if not is_missing_file(error):
            raise
        return Version(version, log.created, "create", None, 0, 0, 0, ())
    return _version(commit, commit.changes.next_id)


def _version(commit: Commit, next_id: int) -> Version:
    """Return the version that a commit made; new datasets have ids from `next_id`."""
    head, changes = commit.header, commit.changes
    created = changed = deleted = 0
    if not changes.reset:
        changed = int((changes.rows.ids < next_id).sum())
        created = len(changes.rows) - changed + sum(page.rows for page in changes.pages)
        deleted = len(changes.deleted)
    arrays = sorted({ref.array for ref in changes.segments if not ref.rewritten}) if not changes.reset else []
    return Version(head.version, head.time, head.action, head.message, created, changed, deleted, tuple(arrays))
