"""Lists the versions of a store that are kept, from its commits. Reads no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.commit.commit_records import Version, describe_commit
from atlas.commit.documents import is_missing_file
from atlas.errors import CorruptStoreError, StaleHandleError

if TYPE_CHECKING:
    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import CommitLog
    from atlas.format.bases import BaseRef

__all__ = ["read_history"]


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
            versions = _versions(log, base, catalog.version)
            if log.find_base() == base:
                return versions
        except CorruptStoreError as error:
            # Another process may have made a later base, and removed the commits before it.
            if not is_missing_file(error) or log.find_base() == base:
                raise


def _versions(log: CommitLog, base: BaseRef, last: int) -> list[Version]:
    """Return the versions from the oldest that is kept, `base`, to `last`."""
    # Where a replacement of the store was interrupted, the history begins with it, although the base is earlier.
    first = max(base.version, log.config_since)
    return [_oldest(log, first), *(record.version for record in log.records.read(log, first, last))]


def _oldest(log: CommitLog, version: int) -> Version:
    """Return the oldest version: its commit describes it where that still exists."""
    try:
        (commit,) = log.commits(version, version)
    except CorruptStoreError as error:
        if not is_missing_file(error):
            raise
        return Version(version, log.created, "create", None, 0, 0, 0, ())
    return describe_commit(commit, commit.changes.next_id)
