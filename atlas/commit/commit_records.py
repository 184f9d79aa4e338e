"""What a handle remembers of the commits that it has read: a commit never changes, so each is read once.

`history` and garbage collection ask for the commits since the base; only those that were made
since they last asked are read. Remembered are the facts that these two need, not the changes. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.commit.documents import is_missing_file, missing_file
from atlas.errors import CorruptStoreError
from atlas.format.versions import Version
from atlas.runtime.locks import ForkSafeLock

if TYPE_CHECKING:
    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import Commit, CommitLog
    from atlas.format.bases import BaseRef
    from atlas.format.changes import Changes
    from atlas.format.versions import EarlierVersion

__all__ = ["CommitRecord", "CommitRecords", "describe_commit", "describe_oldest", "named_files"]


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What is remembered of one commit."""

    version: Version
    """The version that it made."""
    next_id: int
    """Id of the next new dataset after it."""
    files: tuple[tuple[str, int | None], ...]
    """Keys of the segments and pages that it names, and the bytes of each; None for pages, which do not tell."""
    tombstoned: frozenset[str]
    """Keys of the pages that it tombstones."""


class CommitRecords:
    """The base, and the commits since it, as far as a handle has read them. Locked."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._first = -1
        self._records: list[CommitRecord] = []
        self._base: tuple[BaseRef, dict[str, int | None], tuple[EarlierVersion, ...]] | None = None
        self._earlier_files: dict[str, dict[str, int | None]] = {}

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
                tombstoned = frozenset(key for key in commit.changes.tombstoned if key.startswith("pages/"))
                about = describe_commit(commit, next_id)
                self._records.append(CommitRecord(about, commit.changes.next_id, files, tombstoned))
                next_id = commit.changes.next_id
            return self._records[: last - first]

    def base_files(self, log: CommitLog) -> dict[str, int | None]:
        """Return the files that the base names, as `named_files` does.

        Raises `CorruptStoreError` where the base is missing or damaged.
        """
        return self._read_base(log)[0]

    def earlier(self, log: CommitLog) -> tuple[EarlierVersion, ...]:
        """Return the earlier versions that the base lists. Raises `CorruptStoreError` as `base_files` does."""
        return self._read_base(log)[1]

    def _read_base(self, log: CommitLog) -> tuple[dict[str, int | None], tuple[EarlierVersion, ...]]:
        """Return the files that the base names, and the earlier versions that it lists."""
        while True:
            base = log.base  # once: another thread may find a later one at any moment
            known = self._base
            if known is not None and known[0] == base:
                return known[1], known[2]
            found, changes = log.read_base()
            if log.base == base:
                self._base = base, named_files(changes), found.earlier

    def earlier_files(self, log: CommitLog) -> dict[str, dict[str, int | None]]:
        """Return the files that each document of an earlier version names, as `named_files` does.

        Raises `CorruptStoreError` where the document of one is missing or damaged.
        """
        keys = [kept.key for kept in self.earlier(log)]
        known = self._earlier_files
        self._earlier_files = {key: known[key] if key in known else named_files(log.read_state(key)[1]) for key in keys}
        return self._earlier_files


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


def describe_oldest(log: CommitLog, version: int) -> Version:
    """Return the version of the base: its commit describes it where that still exists."""
    created = Version(version, log.created, "create", None, 0, 0, 0, ())
    if log.base.version == version and log.base.key is None:
        return created  # there may be no commit, and none says more
    try:
        (commit,) = log.commits(version, version)
    except CorruptStoreError as error:
        if not is_missing_file(error):
            raise
        return created
    return describe_commit(commit, commit.changes.next_id)


def named_files(named: Changes | Catalog) -> dict[str, int | None]:
    """Return the keys of the segments and pages that a document or a version names, with the bytes of each segment."""
    files: dict[str, int | None] = dict.fromkeys(page.key for page in named.pages)
    for some in named.segments.values() if isinstance(named.segments, dict) else [named.segments]:
        files.update((ref.key, ref.size) for ref in some)
    return files
