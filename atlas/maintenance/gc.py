"""Garbage collection: finds the files that no kept version names, and removes them.

A file goes in three steps; no clock decides, and no other process loses a file that it needs. First a commit
*tombstones* the file: no later commit may name it. A writer that was about to name it writes its data anew, and no
rollback leads to a version that needs it. Then, where versions expire, `finish` makes a later base, so that no reader
begins before it. Then `finish` removes the file.

Commits of kept versions are gathered in packs on that occasion.
"""

from __future__ import annotations

import datetime as dt
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from atlas.commit.commit_log import CommitLog, list_bases
from atlas.commit.commit_records import named_files
from atlas.commit.documents import size_or_none
from atlas.commit.packs import gather_commits
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.maintenance.compaction_report import CompactionReport
from atlas.maintenance.retention import oldest_kept
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_records import CommitRecord
    from atlas.commit.commit_writer import CommitWriter
    from atlas.commit.tip import Tip
    from atlas.storage import Storage

__all__ = ["Collector"]


class Collector:
    """Removes the files that no kept version names. One object serves one compaction.

    Kept are the last `keep_versions` versions, and those that were the latest within the last `keep_days` days.
    Constructing it raises `InvalidTypeError` or `InvalidValueError` for numbers that break these rules.
    """

    def __init__(self, keep_versions: int, keep_days: float) -> None:
        if isinstance(keep_versions, bool) or not isinstance(keep_versions, int):
            raise InvalidTypeError(
                f"keep_versions must be an int, not {type(keep_versions).__name__} {keep_versions!r}; "
                "pass 1 to keep only the latest version"
            )
        if isinstance(keep_days, bool) or not isinstance(keep_days, int | float):
            raise InvalidTypeError(
                f"keep_days must be an int or float, not {type(keep_days).__name__} {keep_days!r}; "
                "pass 1 to keep the versions of the last day"
            )
        if keep_versions < 1:
            raise InvalidValueError(
                f"keep_versions must be 1 or more, not {keep_versions}; pass 1 to keep only the latest version"
            )
        if not keep_days >= 0:
            raise InvalidValueError(
                f"keep_days must be 0 or more, not {keep_days}; pass 0 to keep no version for its age"
            )
        self._versions = keep_versions
        self._days = keep_days
        self._since = _days_ago(keep_days)
        self._listed: set[str] = set()
        self._bases: list[tuple[int, str]] = []
        self._tombstoned: tuple[str, ...] = ()
        self._kept = 0
        self._oldest: tuple[int, set[str]] = (-1, set())

    def list_files(self, storage: Storage) -> None:
        """List the files of the store. Files that are written later are left alone."""
        self._listed = {*storage.list("arrays"), *storage.list("pages")}
        self._bases = list_bases(storage)

    def tombstone(self, tip: Tip, dropped: Iterable[str]) -> tuple[str, ...]:
        """Return the keys that the commit after `tip` must tombstone if it drops the segments `dropped`.

        Raises `CorruptStoreError` where a commit cannot be read.
        """
        log, catalog = tip.log, tip.catalog
        first, latest = log.find_base().version, catalog.version
        records = log.records.read(log, first, latest)
        times = [*(record.version.time for record in records), dt.datetime.now(dt.UTC)]
        kept = oldest_kept(first, times, self._versions, self._since)
        # The pages of the tip count too: a checkpoint may name pages that no commit names.
        needed = set(named_files(catalog))
        if kept > latest:
            needed -= set(dropped)
        elif kept == first:
            needed.update(log.records.base_files(log))
        else:
            if self._oldest[0] != kept:
                self._oldest = kept, set(named_files(CommitLog.open(log.storage, kept, log.limits)[1]))
            needed |= self._oldest[1]
        needed.update(key for record in records[kept - first :] for key, _ in record.files)
        self._kept, self._tombstoned = kept, tuple(sorted(self._listed - needed))
        return self._tombstoned

    def finish(self, writer: CommitWriter, catalog: Catalog, *, tombstoned: bool) -> CompactionReport:
        """Remove the files that no kept version needs, and report what that freed.

        `catalog` is the latest version. `tombstoned` is whether it, or one before it, tombstones what `tombstone`
        returned; without that only documents go. Raises `CorruptStoreError` where a commit cannot be read.
        """
        log = writer.log
        storage, before = log.storage, log.find_base()
        if before.version > catalog.version:
            return CompactionReport(0, 0, 0, None, None)  # another process has committed and compacted since
        records = log.records.read(log, before.version, catalog.version)
        gone = list(self._tombstoned)
        if not tombstoned:
            times = [record.version.time for record in records]
            self._kept, gone = oldest_kept(before.version, times, self._versions, self._since), []
        if self._kept > before.version:
            base = catalog if self._kept >= catalog.version else CommitLog.open(storage, self._kept, log.limits)[1]
            if not writer.advance_base(base):
                # Another process is removing files; the next compaction removes what is tombstoned.
                return self._report(log, catalog, records, [])
            # No writer can link one of these bases any more, not even by a request that is still on its way.
            gone += [key for _, key in self._bases]
        if not writer.checkpoint(catalog, force=True):
            return self._report(log, catalog, records, [])
        commits = storage.list("commits")
        gone += [key for key in [*commits, *storage.list("packs")] if _version(key) < self._kept]
        gone += gather_commits(log, [key for key in commits if _version(key) >= self._kept], catalog.version)
        gone += [key for version, key in self._bases if version < self._kept and key not in gone]
        gone += storage.list_orphans()
        report = self._report(log, catalog, records, gone)
        storage.delete(gone)
        return report

    def _report(
        self, log: CommitLog, catalog: Catalog, records: Sequence[CommitRecord], gone: Sequence[str]
    ) -> CompactionReport:
        """Return the report of a compaction to the version `catalog` that removes the files `gone`."""
        storage, last = log.storage, catalog.version - 1
        freed = sum(run_all(lambda key: size_or_none(storage, key), gone))
        sizes = log.records.base_files(log) | {key: size for record in records for key, size in record.files}
        held = (self._listed - named_files(catalog).keys()).difference(gone)
        rest = sum(run_all(lambda key: sizes.get(key) or size_or_none(storage, key), sorted(held)))
        if not rest or self._kept > last:
            return CompactionReport(freed, len(gone), 0, None, None)
        until = None
        if self._versions == 1 and records:
            with suppress(OverflowError):
                until = records[-1].version.time + dt.timedelta(days=self._days)
        return CompactionReport(freed, len(gone), rest, (self._kept, last), until)


def _days_ago(days: float) -> dt.datetime:
    """Return the moment `days` days ago; for 0 a moment that never comes."""
    now = dt.datetime.now(dt.UTC)
    most = (now - dt.datetime.min.replace(tzinfo=dt.UTC)).days
    if not days:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return now - dt.timedelta(days=min(most, days))  # most for infinity too


def _version(key: str) -> float:
    """Return the version of a commit, or the last one of a pack, by its key; infinity for any other file."""
    number = key.rpartition("/")[2].split(".")[0]
    return int(number) if number.isdecimal() else math.inf
