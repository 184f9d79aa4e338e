"""Lists the versions of a store that are kept, from its commits. Reads no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.commit.commit_records import describe_oldest
from atlas.commit.documents import is_missing_file
from atlas.errors import CorruptStoreError, StaleHandleError

if TYPE_CHECKING:
    from atlas.commit.commit_log import CommitLog
    from atlas.format.bases import BaseRef
    from atlas.format.versions import Version

__all__ = ["read_history"]


def read_history(log: CommitLog, version: int) -> list[Version]:
    """Return the versions that are kept, from the oldest to `version`, which a handle shows.

    Raises `CorruptStoreError` where a commit is missing or damaged, `StaleHandleError` where `version` is no longer
    kept.
    """
    while True:
        base = log.find_base()
        try:
            versions = _versions(log, base, version)
            if log.find_base() == base:
                break
        except CorruptStoreError as error:
            # Another process may have made a later base, and removed the commits before it.
            if not is_missing_file(error) or log.find_base() == base:
                raise
    if not versions or versions[-1].version != version:
        raise StaleHandleError(
            f"version {version} of the store at {log.storage.describe}, which this handle shows, is no longer "
            "kept: call refresh() or open it again"
        )
    return versions


def _versions(log: CommitLog, base: BaseRef, last: int) -> list[Version]:
    """Return the versions that are kept up to `last`: those before `base` that it lists, and all from it on."""
    earlier = [kept.version for kept in log.records.earlier(log) if kept.version.version <= last]
    if last < base.version:
        return earlier
    if log.config_since > base.version:
        # Where a replacement of the store was interrupted, the history begins with it, although the base is earlier.
        earlier, first = [], log.config_since
    else:
        first = base.version
    return [*earlier, describe_oldest(log, first), *(record.version for record in log.records.read(log, first, last))]
