"""Garbage collection: finds the files that no kept version names, and removes them.

A file goes in three steps; no clock decides, and no other process loses a file that it needs. First a commit
*tombstones* the file: no later commit may name it. A writer that was about to name it writes its data anew, and no
rollback leads to a version that needs it. Then, where versions expire, `finish` makes a later base, so that no reader
begins before it. Then `finish` removes the file.

Of the versions before the base those that stay get documents of their own, which the base lists. Pages are named by
documents that no commit tells of, checkpoints and bases: so pages go only with a new base, of which there is one at a
time. Commits of kept versions are gathered in packs on that occasion.
"""

from __future__ import annotations

import datetime as dt
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from atlas.commit.commit_log import CommitLog, list_bases
from atlas.commit.commit_records import describe_oldest, named_files
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.documents import size_or_none
from atlas.commit.packs import gather_commits
from atlas.format.bases import BaseRef
from atlas.format.versions import EarlierVersion
from atlas.maintenance.compaction_report import CompactionReport
from atlas.maintenance.retention import Kept, Retention
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_records import CommitRecord
    from atlas.commit.tip import Tip
    from atlas.format.versions import Version
    from atlas.storage import Storage

__all__ = ["Collector"]


class Collector:
    """Removes the files that no kept version names. One object serves one compaction."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._listed: set[str] = set()
        self._bases: list[tuple[int, str]] = []
        self._tombstoned: tuple[str, ...] = ()
        self._before = BaseRef(-1, None)
        self._kept = Kept(0, ())
        self._about: dict[int, Version] = {}
        self._files: dict[int, set[str]] = {}  # that versions name which are to be the next base, or earlier ones
        self._documents: dict[int, str] = {}  # keys of the documents of the last base and of earlier versions

    def list_files(self, storage: Storage) -> None:
        """List the files of the store. Files that are written later are left alone."""
        self._listed = {*storage.list("arrays"), *storage.list("pages")}
        self._bases = list_bases(storage)

    def tombstone(self, tip: Tip, dropped: Iterable[str]) -> tuple[str, ...]:
        """Return the keys that the commit after `tip` must tombstone if it drops the segments `dropped`.

        Writes documents of the earlier versions that are to be kept. Raises `CorruptStoreError` where a commit cannot
        be read.
        """
        log, catalog = tip.log, tip.catalog
        base, latest = log.find_base(), catalog.version
        records = self._choose(log, base, latest, dt.datetime.now(dt.UTC))
        kept = self._kept.base
        # The pages of the tip count too: a checkpoint may name pages that no commit names.
        needed = set(named_files(catalog))
        if kept > latest:
            needed -= set(dropped)
        elif kept == base.version:
            needed.update(log.records.base_files(log))
            needed.update(key for key in self._listed if key.startswith("pages/"))
        else:
            needed |= self._files[kept]
        for version in self._kept.earlier:
            needed |= self._files[version]
        needed.update(key for record in records if record.version.version > kept for key, _ in record.files)
        self._tombstoned = tuple(sorted(self._listed - needed))
        return self._tombstoned

    def _choose(self, log: CommitLog, base: BaseRef, latest: int, following: dt.datetime | None) -> list[CommitRecord]:
        """Choose the versions to keep, sum up those that need it, and return the records of the commits after `base`.

        `following` is the time of a commit that is about to be made after version `latest`, if there is one.
        """
        if base != self._before:
            self._before, self._files, self._documents, self._about = base, {}, {}, {}
        records = log.records.read(log, base.version, latest)
        versions = [describe_oldest(log, base.version), *(record.version for record in records)]
        self._about = {version.version: version for version in versions}
        self._files[base.version] = set(log.records.base_files(log))
        if base.key is not None:
            self._documents[base.version] = base.key
        for kept in log.records.earlier(log):
            number = kept.version.version
            self._about[number], self._documents[number] = kept.version, kept.key
            self._files[number] = set(log.records.earlier_files(log)[kept.key])
        times = sorted((number, version.time) for number, version in self._about.items())
        if following is not None:
            times.append((latest + 1, following))
        self._kept = self._retention.choose(times, base.version)
        self._sum_up(log, latest)
        return records

    def _sum_up(self, log: CommitLog, latest: int) -> None:
        """Find the files of the versions to keep, up to `latest`, and write a document of each earlier one."""
        opened: tuple[CommitLog, Catalog] | None = None
        for version in sorted({*self._kept.earlier, self._kept.base}):
            is_earlier = version != self._kept.base
            if version > latest or (version in self._files and (not is_earlier or version in self._documents)):
                continue
            if opened is None:
                opened = CommitLog.open(log.storage, version, log.limits)
            own, catalog = opened
            own.catch_up(catalog, version)
            if catalog.version != version:
                raise own.missing_commit(catalog.version + 1, version)
            if is_earlier:
                self._documents[version] = CommitWriter(own).write_base(catalog)
            self._files[version] = set(named_files(catalog))

    def finish(self, writer: CommitWriter, catalog: Catalog, *, tombstoned: bool) -> CompactionReport:
        """Remove the files that no kept version needs, and report what that freed.

        `catalog` is the latest version. `tombstoned` is whether it, or one before it, tombstones what `tombstone`
        returned; without that only documents go. Raises `CorruptStoreError` where a commit cannot be read.
        """
        log = writer.log
        storage, before = log.storage, log.find_base()
        if before.version > catalog.version:
            return CompactionReport(0, 0, 0, None, None)  # another process has committed and compacted since
        if not tombstoned:
            self._tombstoned = ()
            records = self._choose(log, before, catalog.version, None)
        else:
            records = log.records.read(log, before.version, catalog.version)
        gone = list(self._tombstoned)
        stay = {self._documents[version] for version in self._kept.earlier}
        # Another process that has made a base may keep versions that were to go; the next compaction looks again.
        if before != self._before:
            return self._report(log, catalog, records, [])
        if self._kept.base > before.version:
            # Another process may be removing files; then the next compaction removes what is tombstoned.
            if not self._make_base(writer, catalog, records):
                return self._report(log, catalog, records, [])
            # No writer can link one of these bases any more, not even by a request that is still on its way.
            gone += {*(key for _, key in self._bases), *self._documents.values()} - stay
        if not writer.checkpoint(catalog, force=True):
            return self._report(log, catalog, records, [])
        oldest = self._kept.base
        commits = storage.list("commits")
        gone += [key for key in [*commits, *storage.list("packs")] if _version(key) < oldest]
        gone += gather_commits(log, [key for key in commits if _version(key) >= oldest], catalog.version)
        gone += [key for version, key in self._bases if version < oldest and key not in gone and key not in stay]
        gone += storage.list_orphans()
        report = self._report(log, catalog, records, gone)
        storage.delete(gone)
        return report

    def _make_base(self, writer: CommitWriter, catalog: Catalog, records: Sequence[CommitRecord]) -> bool:
        """Make the base that was chosen; False where another process has made one, or may remove what it names.

        `catalog` is the latest version, and `records` the commits after the last base.
        """
        log, kept = writer.log, self._kept
        base = catalog if kept.base >= catalog.version else CommitLog.open(log.storage, kept.base, log.limits)[1]
        # What the last base, earlier versions and commits name, only the process that makes the next base removes.
        safe = {key for record in records for key, _ in record.files}
        safe.update(log.records.base_files(log), *log.records.earlier_files(log).values())
        written = set[str]().union(*(self._files[version] for version in kept.earlier)) - safe
        tombstoned: set[str] = set()
        if not safe.issuperset({*written, *(page.key for page in base.pages)}):
            since = log.advance(catalog)[2]
            if since is None:
                return False
            tombstoned.update(*(record.tombstoned for record in records), *(one.changes.tombstoned for one in since))
            tombstoned -= safe
            if not tombstoned.isdisjoint(written):
                return False
        earlier = tuple(EarlierVersion(self._about[number], self._documents[number]) for number in kept.earlier)
        return writer.advance_base(self._before, base, earlier, tombstoned)

    def _report(
        self, log: CommitLog, catalog: Catalog, records: Sequence[CommitRecord], gone: Sequence[str]
    ) -> CompactionReport:
        """Return the report of a compaction to the version `catalog` that removes the files `gone`."""
        storage, last = log.storage, catalog.version - 1
        freed = sum(run_all(lambda key: size_or_none(storage, key), gone))
        sizes = log.records.base_files(log) | {key: size for record in records for key, size in record.files}
        held = (self._listed - named_files(catalog).keys()).difference(gone)
        rest = sum(run_all(lambda key: sizes.get(key) or size_or_none(storage, key), sorted(held)))
        earlier = [*self._kept.earlier, *range(self._kept.base, last + 1)]
        if not rest or not earlier:
            return CompactionReport(freed, len(gone), 0, None, None)
        until = None
        if self._retention.versions == 1 and records:
            with suppress(OverflowError):
                until = records[-1].version.time + dt.timedelta(days=self._retention.days)
        return CompactionReport(freed, len(gone), rest, (earlier[0], earlier[-1]), until)


def _version(key: str) -> float:
    """Return the version of a commit, or the last one of a pack, by its key; infinity for any other file."""
    number = key.rpartition("/")[2].split(".")[0]
    return int(number) if number.isdecimal() else math.inf
