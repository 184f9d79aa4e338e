"""Which files of a store are still needed, and the removal of the others.

A file goes in three steps; no clock decides, and no other process loses a file that it needs. First a commit
*tombstones* the file: no later commit may name it. A writer that was about to name it writes its data anew, and no
rollback leads to a version that needs it. Then, where versions expire, a later base is made, so that no reader begins
before it. Then the file is removed.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from atlas.commit.commit_log import CommitLog, list_bases
from atlas.commit.documents import missing_file, size_or_none
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.maintenance.retention import oldest_kept
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_writer import CommitWriter
    from atlas.commit.tip import Tip
    from atlas.format.changes import Changes
    from atlas.storage import Storage

__all__ = ["Collector", "named_files"]


class Collector:
    """The removal of the files that only versions need which are not kept, or that none has named.

    Kept are the last `keep_versions` versions, and those that were the latest within the last `keep_days` days.
    """

    def __init__(self, keep_versions: int, keep_days: float) -> None:
        if isinstance(keep_versions, bool) or not isinstance(keep_versions, int):
            raise InvalidTypeError(f"keep_versions is a whole number of versions, not {keep_versions!r}")
        if isinstance(keep_days, bool) or not isinstance(keep_days, int | float):
            raise InvalidTypeError(f"keep_days is a number of days, not {keep_days!r}")
        if keep_versions < 1:
            raise InvalidValueError(f"keep_versions is {keep_versions}; at least 1 version, the latest, is kept")
        if not keep_days >= 0:
            raise InvalidValueError(f"keep_days is {keep_days}; it is 0 or more")
        self._versions = keep_versions
        self._since = _days_ago(keep_days)
        self._listed: set[str] = set()
        self._bases: list[tuple[int, str]] = []
        self._condemned: tuple[str, ...] = ()
        self._kept = 0
        self._first = -1
        self._commits: list[tuple[dt.datetime, set[str]]] = []
        self._oldest: tuple[int, set[str]] = (-1, set())

    def list_files(self, storage: Storage) -> None:
        """Look which files there are. What is written later is left alone."""
        self._listed = {*storage.list("arrays"), *storage.list("pages")}
        self._bases = list_bases(storage)

    def tombstone(self, tip: Tip, dropped: Iterable[str]) -> tuple[str, ...]:
        """Return the keys that a commit after the version `tip` tombstones if it drops the segments `dropped`."""
        log, catalog = tip.log, tip.catalog
        first, latest = log.find_base().version, catalog.version
        commits = self._read_commits(log, first, latest)
        times = [*(time for time, _ in commits), dt.datetime.now(dt.UTC)]
        kept = oldest_kept(first, times, self._versions, self._since)
        # The pages of the latest version count too: a checkpoint may name them, which commits do not.
        needed = named_files(catalog)
        if kept > latest:
            needed -= set(dropped)
        else:
            if self._oldest[0] != kept:
                oldest = log.read_base()[1] if kept == first else CommitLog.open(log.storage, kept, log.limits)[1]
                self._oldest = kept, named_files(oldest)
            needed |= self._oldest[1]
        needed = needed.union(*(named for _, named in commits[kept - first :]))
        self._kept, self._condemned = kept, tuple(sorted(self._listed - needed))
        return self._condemned

    def _read_commits(self, log: CommitLog, first: int, latest: int) -> list[tuple[dt.datetime, set[str]]]:
        """Return when each commit after the version `first` was made, and the files that it names.

        Each is read once, or a compaction of a long history would be beaten by the next commit every time. Raises
        `CorruptStoreError` where the store has a later base by now: late writers may take the numbers before it.
        """
        if first != self._first:
            self._first, self._commits = first, []
        more = log.commits(first + len(self._commits) + 1, latest)
        if log.find_base().version != first:
            raise missing_file(log.commit_key(first + 1))
        self._commits += [(commit.header.time, named_files(commit.changes)) for commit in more]
        return self._commits[: latest - first]

    def finish(self, writer: CommitWriter, catalog: Catalog, *, tombstoned: bool) -> int:
        """Remove the files, where a commit has tombstoned them, and return the bytes reclaimed."""
        log = writer.log
        storage, before = log.storage, log.find_base()
        if before.version > catalog.version:
            return 0  # others have committed, and compacted, since
        gone = list(self._condemned)
        if not tombstoned:
            times = [time for time, _ in self._read_commits(log, before.version, catalog.version)]
            self._kept, gone = oldest_kept(before.version, times, self._versions, self._since), []
        if self._kept > before.version:
            base = catalog if self._kept >= catalog.version else CommitLog.open(storage, self._kept, log.limits)[1]
            if not writer.advance_base(base):
                return 0  # another process removes files this very moment; what is tombstoned goes the next time
            # Whoever has written one of these cannot link it any more, also by a request that is still on its way.
            gone += [key for _, key in self._bases]
        if not writer.checkpoint(catalog, force=True):
            return 0
        gone += [key for key in storage.list("commits") if _version(key) < self._kept]
        gone += [key for version, key in self._bases if version < self._kept and key not in gone]
        gone += storage.list_orphans()
        reclaimed = sum(run_all(lambda key: size_or_none(storage, key), gone))
        storage.delete(gone)
        return reclaimed


def named_files(named: Changes | Catalog) -> set[str]:
    """Return the keys of the segments and pages that a document names, or that a version needs."""
    keys = {page.key for page in named.pages}
    for some in named.segments.values() if isinstance(named.segments, dict) else [named.segments]:
        keys.update(ref.key for ref in some)
    return keys


def _days_ago(days: float) -> dt.datetime:
    """Return the moment so many days ago, for none a moment that never comes."""
    now = dt.datetime.now(dt.UTC)
    most = (now - dt.datetime.min.replace(tzinfo=dt.UTC)).days
    if not days:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return now - dt.timedelta(days=min(days, most) if math.isfinite(days) else most)


def _version(key: str) -> float:
    """Return the version that a commit is of, infinity for a file that is none."""
    number = key.rpartition("/")[2].split(".")[0]
    return int(number) if number.isdecimal() else math.inf
