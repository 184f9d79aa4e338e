"""Reads the documents of a store: a version is a document that sums up the first commits, and the commits after it.

The numbered commits are the truth; each is created only if it is absent. Two shortcuts save a reader from reading all
of them. The checkpoint is their sum up to some version, and may lag behind. A *base* is the sum up to the version from
which on all are kept. Commits before it may be gone; the base lists the versions that are kept of them (see
`earlier_versions`). Links, created only if absent as well, lead from each base to the next, so that a reader that
begins before the base finds out. Commits of the past may be in packs (see `packs`). Nothing depends on listings, on
clocks, or on which writer replaced the checkpoint last.

Writes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from atlas.catalog.catalog import Catalog
from atlas.commit.commit_records import CommitRecords
from atlas.commit.documents import decode_document, is_missing_file, missing_file, try_read
from atlas.commit.earlier_versions import open_earlier
from atlas.commit.packs import packed_commits
from atlas.errors import ConflictError, CorruptStoreError, StorageError, StoreNotFoundError, VersionNotFoundError
from atlas.format.bases import BaseRef, base_from_json, link_from_json
from atlas.format.changes import Changes, PageRef, changes_from_json, page_from_json
from atlas.format.commit_header import CommitHeader, header_from_json, time_from_json
from atlas.format.config import StoreConfig, config_from_json
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.format.packs import pack_key, run_of
from atlas.format.versions import earlier_from_json
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from atlas.format.dataset_columns import RowBatch
    from atlas.format.versions import EarlierVersion
    from atlas.storage import Storage

__all__ = ["LINKS", "Commit", "CommitLog", "link_key", "list_bases"]

_FIRST_LOOK = 2
"""Commits that are looked for at first."""
_AT_ONCE = 1000
"""Commits that are read side by side."""
_MOST_NAMED = 8
"""Earlier versions that an error names."""
LINKS = Encoding("json", "")
"""Encoding of links, whatever that of other documents: a reader that follows them may know an earlier encoding only."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was made."""

    header: CommitHeader
    """Version, time, action and message."""
    changes: Changes
    """Its changes."""
    size: int
    """Bytes of its document."""


@dataclass(frozen=True, slots=True)
class _Consecutive:
    """Commits under consecutive keys."""

    commits: list[tuple[Commit, StoreConfig | None]]
    """The commits, and the options of the store where one changes them."""
    config_changed: bool = False
    """Whether the last one does, so that later ones have other keys."""
    gap: bool = False
    """Whether the next one is missing although a later one exists."""


class CommitLog:
    """The documents of one store, as of some version of it. Not locked: the caller must hold the handle's locks."""

    def __init__(
        self,
        storage: Storage,
        config: StoreConfig,
        identity: str,
        base: BaseRef,
        created: dt.datetime,
        limits: Limits = DEFAULT,
    ) -> None:
        self.storage = storage
        """Storage of the store."""
        self.config = config
        """The options of `Atlas.create`."""
        self.identity = identity
        """Random name of this store. A store that replaces it at its location, because of damage, has another."""
        self.base = base
        """The version from which on all are kept, as last read: another process may have moved it since."""
        self.limits = limits
        """Sizes that decide when documents are rewritten."""
        self.created = created
        """When the store was created."""
        self.config_since = base.version
        """Version since which `config` holds: later than the base where a replacement of the store was interrupted."""
        self.records = CommitRecords()
        """What is remembered of the commits that were read; the logs of one handle share it."""
        self.earlier: tuple[EarlierVersion, ...] = ()
        """The earlier versions that the base lists: known only of a log that `read_base` returned."""
        self.checkpoint_size = 0
        """Bytes of the checkpoint when it was last read or written."""
        self.commits_since = 0
        """Number of commits after the checkpoint."""
        self.bytes_since = 0
        """Bytes of their documents."""

    # Opening

    @classmethod
    def open(cls, storage: Storage, version: int | None = None, limits: Limits = DEFAULT) -> tuple[Self, Catalog]:
        """Open the version `version` of a store, None for the latest.

        Raises `StoreNotFoundError`, `UnsupportedFormatError`, `CorruptStoreError`, and `VersionNotFoundError` for a
        version that does not exist yet or is no longer kept.
        """
        log, checkpoint = cls._read_checkpoint(storage)
        log.limits = limits
        # A version before the checkpoint is reached from the base.
        start = checkpoint if version is None or version >= checkpoint.version else None
        while True:
            log, catalog = log.replay(start, version)
            if catalog is not None:
                return log, catalog
            start = None

    def replay(self, start: Changes | None, version: int | None) -> tuple[Self, Catalog | None]:
        """Add up the commits after `start`, the checkpoint's sum or None for the base's, up to `version` or the last.

        Returns the log as of these documents, and the catalog. No catalog where another process has made a later base
        meanwhile, so that a document may be gone or stale: replay again from the base of the log returned.

        Raises `CorruptStoreError`, and `VersionNotFoundError` where the version does not exist or is no longer kept.
        """
        known = self.base
        first = known.version if start is None else start.version
        log, catalog, error = self._read_sum(start, version)
        base = log.find_base()
        if base.version > first + 1:
            # Commits before a base are removed, and a late writer may take one of their numbers: it may have been read.
            return log, None
        moved = base != known
        if error is not None:
            # A file may be gone because versions were given up, unless it belongs to the base that is still the last.
            if is_missing_file(error) and (moved or start is not None):
                return log, None
            raise error
        if catalog.version >= max(base.version, 0 if version is None else version):
            return log, catalog
        if version is not None and not moved:
            if version < base.version:
                return open_earlier(log, version)
            latest = type(self).open(self.storage)[1].version
            if version > latest:
                raise log.not_kept(version, latest)
            log.commits(catalog.version + 1, latest)  # raises where one is missing; else they were made since
        return log, None

    def _read_sum(self, start: Changes | None, version: int | None) -> tuple[Self, Catalog, CorruptStoreError | None]:
        """Return the log, the sum of `start` (None: the base's) and the commits after it, and the error that ended it.

        The catalog is empty where `start` is later than `version`.
        """
        log, catalog = self, Catalog()
        try:
            if start is None:
                log, start = self.read_base()
            if version is None or start.version <= version:
                log.apply(catalog, log.config.encoding.checkpoint, start)
                log.catch_up(catalog, version)
        except CorruptStoreError as error:
            return log, catalog, error
        return log, catalog, None

    @classmethod
    def _read_checkpoint(cls, storage: Storage) -> tuple[Self, Changes]:
        """Return a log as of the newest checkpoint, and the sum that the checkpoint holds."""
        found = [(name, data) for name in CHECKPOINT_NAMES if (data := try_read(storage, name)) is not None]
        if not found:
            raise StoreNotFoundError(
                f"there is no store at {storage.describe}: it holds no {next(iter(CHECKPOINT_NAMES))}; create one with "
                "Atlas.create, or open the location of an existing one"
            )
        # There are two only where `create(overwrite=True)` was interrupted between writing the new one and removing the
        # old, or where a late writer that knew only the old one wrote it again.
        read = [cls._of_checkpoint(storage, name, data, CHECKPOINT_NAMES[name]) for name, data in found]
        return max(read, key=lambda pair: pair[1].version)

    @classmethod
    def _of_checkpoint(cls, storage: Storage, key: str, data: bytes, encoding: Encoding) -> tuple[Self, Changes]:
        """Return a log as of a document that sums up commits, and that sum."""

        def read(document: dict[str, Any]) -> tuple[Self, Changes]:
            changes = changes_from_json("checkpoint", document)
            identity, base = document.get("store"), base_from_json(document)
            if not isinstance(identity, str):
                raise CorruptStoreError("it does not name its store")
            if base.version > changes.version:
                raise CorruptStoreError(f"its base is of version {base.version}, after its own, {changes.version}")
            created = time_from_json(document.get("created"))
            log = cls(storage, config_from_json(document), identity, base, created)
            log.earlier = earlier_from_json(document, changes.version) if key.startswith("bases/") else ()
            return log, changes

        found: tuple[Self, Changes] = decode_document(key, data, encoding, read)[1]
        found[0].checkpoint_size = len(data)
        return found

    def read_base(self) -> tuple[Self, Changes]:
        """Return a log as of the base, and the sum of all commits up to it.

        Raises `CorruptStoreError` where the base is missing or damaged.
        """
        base = self.base  # once: another thread may find a later one at any moment
        key = base.key
        if key is None:
            return copy(self), Changes(base.version, 0)
        return self.read_state(key)

    def read_state(self, key: str) -> tuple[Self, Changes]:
        """Return a log as of a base or the document of an earlier version, and the sum that it holds.

        Raises `CorruptStoreError` where it is missing or damaged, and `ConflictError` where it is of another store.
        """
        data = try_read(self.storage, key)
        if data is None:
            raise missing_file(key)
        form = "msgpack" if ".msgpack" in key else "json"
        encoding = Encoding(form, ".lz4" if key.endswith(".lz4") else ".zst")
        log, changes = self._of_checkpoint(self.storage, key, data, encoding)
        if log.identity != self.identity:
            raise self.replaced()
        log.limits = self.limits
        return log, changes

    def find_base(self) -> BaseRef:
        """Follow the links to the version from which on all are kept now, note it in `base` and return it.

        Raises `CorruptStoreError` where a link is damaged.
        """
        # Readers call this without a lock: another thread may have found the same base meanwhile, or a later one.
        base = self.base
        while (data := try_read(self.storage, link_key(base.version))) is not None:
            base = self._read_link(base.version, data)
        if base.version > self.base.version:
            self.base = base
        return base

    def _read_link(self, known: int, data: bytes) -> BaseRef:
        """Return the base that the link from the base of the version `known` leads to."""

        def read(document: dict[str, Any]) -> BaseRef:
            return link_from_json(document, self.identity, known)

        return decode_document(link_key(known), data, LINKS, read)[1]

    def not_kept(self, version: int | None, latest: int) -> VersionNotFoundError:
        """Return the error for a version that cannot be opened."""
        earlier = [str(kept.version.version) for kept in self.records.earlier(self)]
        more = f"{len(earlier) - _MOST_NAMED} more, " if len(earlier) > _MOST_NAMED else ""
        before = f"; of those before, {more}{', '.join(earlier[-_MOST_NAMED:])}" if earlier else ""
        return VersionNotFoundError(
            f"the store at {self.storage.describe} has no version {version}: it keeps versions {self.base.version} to "
            f"{latest}{before}; choose one of these",
            version,
        )

    def keeps(self, version: int) -> bool:
        """Return whether a version that was made is still kept.

        Raises `CorruptStoreError` where the base is missing or damaged.
        """
        if version >= self.find_base().version:
            return True
        return any(kept.version.version == version for kept in self.records.earlier(self))

    def advance(self, catalog: Catalog) -> tuple[Self, Catalog, list[Commit] | None]:
        """Return log and catalog of the latest version, and the commits that lead there from `catalog`.

        Changes neither this log nor `catalog`. The commits are None where not all of them are kept.

        Raises `CorruptStoreError`, and `ConflictError` where another store has replaced this one.
        """
        log, tip = copy(self), catalog.copy()
        commits: list[Commit] | None = None
        failure = None
        try:
            commits = log.catch_up(tip, None)
        except CorruptStoreError as error:
            failure = error
        base = log.find_base().version
        # Before a later base commits may be gone, and late writers may have taken their numbers.
        if base <= catalog.version + 1:
            if failure is not None and not is_missing_file(failure):
                raise failure
            if commits is not None and base <= tip.version:
                lasting = log.with_lasting_pages(tip, commits)
                if lasting is not None:
                    return *lasting, commits
        log, tip = self.open(self.storage, limits=self.limits)
        if log.identity != self.identity:
            raise self.replaced()
        log.records = self.records
        return log, tip, None

    def with_lasting_pages(self, tip: Catalog, commits: Sequence[Commit]) -> tuple[Self, Catalog] | None:
        """Return log and catalog of the version of `tip` without pages that `commits` tombstone, None where none has.

        Another writer may have moved rows to other pages in its checkpoint, and tombstoned those that `tip` names.
        Opening the same version anew finds the pages that remain.
        """
        tombstoned = {key for commit in commits for key in commit.changes.tombstoned}
        if tombstoned.isdisjoint(page.key for page in tip.pages):
            return self, tip
        with suppress(VersionNotFoundError):
            log, tip = self.open(self.storage, tip.version, self.limits)
            if log.identity == self.identity and tombstoned.isdisjoint(page.key for page in tip.pages):
                log.records = self.records
                return log, tip
        return None

    def catch_up(self, catalog: Catalog, version: int | None) -> list[Commit]:
        """Apply the commits after the catalog's version, up to `version` or the last, and return them.

        Raises `CorruptStoreError` where a commit is damaged, or is missing and neither the last nor before the base.
        """
        commits: list[Commit] = []
        while catalog.version != version:
            first, start = catalog.version + 1, len(commits)
            found = self._read_consecutive(first, version)
            # Looked for only now: a number that a pack has may have been free, and a late writer may have taken it.
            packed = packed_commits(self, range(first, first + len(found.commits) + 1))
            while catalog.version != version:
                number = catalog.version + 1
                if number in packed:
                    key, data = packed[number]
                    commit, config = self.read_commit(key, data, packed=True)
                elif number - first < len(found.commits):
                    key = self.commit_key(number)
                    commit, config = found.commits[number - first]
                else:
                    break
                self.apply(catalog, key, commit.changes)
                self.note_commit(commit.size)
                commits.append(commit)
                if config is not None:  # later documents have other names
                    self.config, self.config_since = config, catalog.version
                    break
            more = bool(packed) or found.config_changed
            if not (more and len(commits) > start) and not (found.gap and self._is_made_since(catalog.version)):
                break
        return commits

    def _read_consecutive(self, first: int, version: int | None) -> _Consecutive:
        """Read the commits from `first` up to `version` or the last, or up to one that changes how others are named.

        Packs are not looked at. Raises `CorruptStoreError` where a commit is damaged.
        """
        commits: list[tuple[Commit, StoreConfig | None]] = []
        # The last commit is the one after which two numbers are free: one free number before a commit would be damage.
        at_once = _FIRST_LOOK
        while True:
            begin = first + len(commits)
            stop = begin + at_once if version is None else min(begin + at_once, version + 1)
            keys = [self.commit_key(number) for number in range(begin, stop)]
            found = run_all(lambda key: try_read(self.storage, key), keys)
            for at, (key, data) in enumerate(zip(keys, found, strict=True)):
                if data is None:
                    if any(later is not None for later in found[at + 1 :]):
                        return _Consecutive(commits, gap=True)
                    break
                commits.append(self.read_commit(key, data))
                if commits[-1][1] is not None:
                    return _Consecutive(commits, config_changed=True)
            free = begin + len(keys) - first - len(commits)
            if not keys or (free and not free == 1 < len(keys)):
                return _Consecutive(commits)
            # Where the last number was free, nothing was read after it. After many commits there may be many more, and
            # on an object store each look is a round trip.
            at_once = _FIRST_LOOK if free else 2 * at_once

    def _is_made_since(self, last: int) -> bool:
        """Return whether the commit after version `last`, of which there are later ones, was made since it was read.

        Raises `CorruptStoreError` where it is missing, unless a later base explains that.
        """
        if try_read(self.storage, self.commit_key(last + 1)) is not None:
            return True
        if self.find_base().version <= last:
            raise self.missing_commit(last + 1, last + 1)
        return False

    def missing_commit(self, version: int, last: int) -> CorruptStoreError:
        """Return the error for a missing commit; it names the pack where all commits of the run are missing.

        `last` is a version that exists.
        """
        run = run_of(self.config, version)
        others = run if run[-1] <= last else ()
        found = run_all(lambda number: try_read(self.storage, self.commit_key(number)), others)
        is_packed = bool(found) and all(data is None for data in found)
        return missing_file(pack_key(self.config, version) if is_packed else self.commit_key(version))

    def read_commit(self, key: str, data: bytes, *, packed: bool = False) -> tuple[Commit, StoreConfig | None]:
        """Return a commit, and the options of the store if it changes them, else None. `packed` is one of a pack.

        Raises `CorruptStoreError`, and `ConflictError` where the commit belongs to another store.
        """

        def read(document: dict[str, Any]) -> tuple[Commit, StoreConfig | None]:
            changes = changes_from_json("commit", document)  # first, as it refuses what this release does not know
            commit = Commit(header_from_json(document), changes, len(data))
            return commit, config_from_json(document) if commit.header.action == "create" else None

        encoding = Encoding(self.config.encoding.format, "") if packed else self.config.encoding
        document, found = decode_document(key, data, encoding, read)
        if document.get("store") != self.identity:
            raise self.replaced()
        return found

    def replaced(self) -> ConflictError:
        """Return the error for a handle whose store was replaced by another one."""
        return ConflictError(
            f"another store has replaced the one at {self.storage.describe}; this handle keeps its pending data: open "
            "the new store with Atlas.open and repeat the writes there"
        )

    def commits(self, first: int, last: int) -> list[Commit]:
        """Return the commits of the versions `first` to `last`, in order.

        Raises `CorruptStoreError` where one is missing or damaged.
        """
        commits: list[Commit] = []
        # A damaged document may claim any version: reading in portions ends at the first commit that is missing.
        for begin in range(first, last + 1, _AT_ONCE):
            versions = range(begin, min(begin + _AT_ONCE, last + 1))
            packed = packed_commits(self, versions)
            alone = [version for version in versions if version not in packed]
            read = run_all(lambda version: try_read(self.storage, self.commit_key(version)), alone)
            singles = dict(zip(alone, read, strict=True))
            packed |= packed_commits(self, alone)  # those that were made meanwhile
            for version in versions:
                key, data = packed.get(version) or (self.commit_key(version), singles[version])
                if data is None:
                    raise self.missing_commit(version, last)
                commits.append(self.read_commit(key, data, packed=version in packed)[0])
        return commits

    def apply(self, catalog: Catalog, key: str, changes: Changes) -> None:
        """Add the changes of the document `key` to a catalog.

        Raises `CorruptStoreError`, which names the file, where the changes or their pages are damaged.
        """
        try:
            page_rows = self.read_pages(changes)
        except CorruptStoreError as error:
            raise CorruptStoreError(f"{key} names a damaged page: {error}", key=error.key or key) from error
        try:
            catalog.apply(changes, page_rows)
        except CorruptStoreError as error:
            raise CorruptStoreError(
                f"{key} is damaged: {error}; restore it from a copy", key=error.key or key
            ) from error

    def read_pages(self, changes: Changes) -> list[RowBatch]:
        """Return the rows of the pages that a document names, page by page.

        Raises `CorruptStoreError` where one is missing or damaged.
        """
        return run_all(self._read_page, changes.pages)

    def _read_page(self, page: PageRef) -> RowBatch:
        data = try_read(self.storage, page.key)
        if data is None:
            raise missing_file(page.key)
        encoding = self.config.encoding.compressed()
        return decode_document(page.key, data, encoding, lambda document: page_from_json(document, page))[1]

    def commit_key(self, version: int) -> str:
        """Return the key of the commit that makes a version."""
        return f"commits/{version:020d}{self.config.encoding.extension}"

    def note_commit(self, size: int) -> None:
        """Count a commit of `size` bytes that the checkpoint does not hold."""
        self.commits_since += 1
        self.bytes_since += size

    def has_moved_past(self, version: int) -> bool:
        """Return whether a version is no longer kept or another store has replaced this one; False where unknown."""
        try:
            return not self.keeps(version) or self._read_checkpoint(self.storage)[0].identity != self.identity
        except (StorageError, CorruptStoreError, StoreNotFoundError):
            return False


def link_key(version: int) -> str:
    """Return the key of the link that leads from the base of that version to the next."""
    return f"bases/{version:020d}{LINKS.extension}"


def list_bases(storage: Storage) -> list[tuple[int, str]]:
    """Return version and key of the documents of all bases, those without a link included."""
    found = []
    for key in storage.list("bases"):
        number, dash, _ = key.rpartition("/")[2].partition("-")
        if dash and number.isdecimal():
            found.append((int(number), key))
    return found
