"""The documents of a store, read: a version, from a document that sums up the commits before it and the commits after.

The numbered commits are the truth; each is created only if it is absent. Two shortcuts save reading all of them. The
checkpoint is their sum up to some version, and may lag behind. A *base* is the sum up to the oldest version that is
kept; commits before it may be gone. Links, created only if absent as well, lead from each base to the next, so that a
reader that begins behind finds out. Nothing depends on listings, on clocks, or on who replaced the checkpoint last.

Writes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from atlas.catalog.catalog import Catalog
from atlas.commit.documents import decode_document, is_missing_file, missing_file, try_read
from atlas.errors import ConflictError, CorruptStoreError, StorageError, StoreNotFoundError, VersionNotFoundError
from atlas.format.bases import BaseRef, base_from_json, link_from_json
from atlas.format.changes import Changes, PageRef, changes_from_json, page_from_json
from atlas.format.commit_header import CommitHeader, header_from_json, time_from_json
from atlas.format.config import StoreConfig, config_from_json
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.runtime.limits import DEFAULT, Limits
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from atlas.format.dataset_columns import RowBatch
    from atlas.storage import Storage

__all__ = ["LINKS", "Commit", "CommitLog", "link_key", "list_bases"]

_FIRST_LOOK = 2
"""Commits that are looked for at first."""
_AT_ONCE = 1000
"""Commits that are read side by side."""
LINKS = Encoding("json", "")
"""How links are written, whatever the other documents are: whoever follows them may know an earlier encoding only."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was made."""

    header: CommitHeader
    """What it says of itself."""
    changes: Changes
    """What it changes."""
    size: int
    """Bytes of its document."""


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
        """Where the store lies."""
        self.config = config
        """What `create` decided."""
        self.identity = identity
        """Name of this store, which one made later in the same place after damage does not have."""
        self.base = base
        """The oldest version that is kept, as far as is known here: it may have moved on."""
        self.limits = limits
        """Sizes that decide when documents are rewritten."""
        self.created = created
        """When the store was made."""
        self.config_since = base.version
        """Version since which `config` holds: later than the base where a store that replaced another was cut off."""
        self.checkpoint_size = 0
        """Bytes of the checkpoint when it was last read or written."""
        self.commits_since = 0
        """Commits that the checkpoint does not hold."""
        self.bytes_since = 0
        """Bytes of their documents."""

    # Opening

    @classmethod
    def open(cls, storage: Storage, version: int | None = None, limits: Limits = DEFAULT) -> tuple[Self, Catalog]:
        """Open the latest version of a store, or the one named.

        Raises `StoreNotFoundError`, `UnsupportedFormatError`, `CorruptStoreError`, and `VersionNotFoundError` for a
        version that is not made yet or no longer kept.
        """
        log, checkpoint = cls._read_checkpoint(storage)
        log.limits = limits
        past = version is not None and version < checkpoint.version
        opened, log = log.replay(None if past else checkpoint, version)
        while opened is None:  # another process has moved the base meanwhile: begin there
            opened, log = log.replay(None, version)
        return log, opened

    def replay(self, start: Changes | None, version: int | None) -> tuple[Catalog | None, Self]:
        """Add up the commits after `start` (the checkpoint's sum; None: the base's), up to `version` or the last.

        Returns no catalog where a base was made meanwhile that makes what was read doubtful, and the log to go on with.
        Raises `CorruptStoreError`, and `VersionNotFoundError` where the version is not there.
        """
        log, known = self, self.base
        begin = known.version if start is None else start.version
        from_base, catalog, failure = start is None, Catalog(), None
        try:
            if start is None:
                log, start = self.read_base()
            if version is None or start.version <= version:
                log.apply(catalog, log.config.encoding.checkpoint, start)
                log.catch_up(catalog, version)
        except CorruptStoreError as error:
            failure = error
        base = log.find_base()
        if base.version > begin + 1:
            # Commits before a base go, and a late writer may take one of their numbers: its commit may have been read.
            return None, log
        moved = base != known
        if failure is not None:
            # What the checkpoint, or a base before the last, leads to may have been removed for good reason.
            if is_missing_file(failure) and (moved or not from_base):
                return None, log
            raise failure
        if catalog.version >= max(base.version, 0 if version is None else version):
            return catalog, log
        if version is not None and not moved:
            raise log.not_kept(version, type(self).open(self.storage)[1].version)
        return None, log

    @classmethod
    def _read_checkpoint(cls, storage: Storage) -> tuple[Self, Changes]:
        """Return a log as the newest checkpoint has it, and what that holds."""
        found = [(name, data) for name in CHECKPOINT_NAMES if (data := try_read(storage, name)) is not None]
        if not found:
            raise StoreNotFoundError(
                f"there is no store at {storage.describe}: it holds no {next(iter(CHECKPOINT_NAMES))}"
            )
        # Two are there only where `create(overwrite=True)` was cut off between the new one and the old, or where a
        # writer that knew the old one only was late.
        read = [cls._of_checkpoint(storage, name, data, CHECKPOINT_NAMES[name]) for name, data in found]
        return max(read, key=lambda pair: pair[1].version)

    @classmethod
    def _of_checkpoint(cls, storage: Storage, key: str, data: bytes, encoding: Encoding) -> tuple[Self, Changes]:
        def read(document: dict[str, Any]) -> tuple[Self, Changes]:
            changes = changes_from_json("checkpoint", document)
            identity, base = document.get("store"), base_from_json(document)
            if not isinstance(identity, str):
                raise CorruptStoreError("it does not say which store it is of")
            if base.version > changes.version:
                raise CorruptStoreError(f"its base is of version {base.version}, after its own")
            created = time_from_json(document.get("created"))
            return cls(storage, config_from_json(document), identity, base, created), changes

        found: tuple[Self, Changes] = decode_document(key, data, encoding, read)[1]
        found[0].checkpoint_size = len(data)
        return found

    def read_base(self) -> tuple[Self, Changes]:
        """Return a log as of the base, and the sum of all commits up to it."""
        key = self.base.key
        if key is None:
            return copy(self), Changes(self.base.version, 0)
        data = try_read(self.storage, key)
        if data is None:
            raise missing_file(key)
        form = "msgpack" if ".msgpack" in key else "json"
        encoding = Encoding(form, ".lz4" if key.endswith(".lz4") else ".zst")
        log, changes = self._of_checkpoint(self.storage, key, data, encoding)
        log.limits = self.limits
        return log, changes

    def find_base(self) -> BaseRef:
        """Return the oldest version that is kept, as it is now."""
        # Readers ask without a lock: another thread may find the same meanwhile, or more.
        base = self.base
        while (data := try_read(self.storage, link_key(base.version))) is not None:
            base = self._read_link(base.version, data)
        if base.version > self.base.version:
            self.base = base
        return base

    def _read_link(self, known: int, data: bytes) -> BaseRef:
        """Return the base that follows the one of the version `known`."""

        def read(document: dict[str, Any]) -> BaseRef:
            return link_from_json(document, self.identity, known)

        return decode_document(link_key(known), data, LINKS, read)[1]

    def not_kept(self, version: int | None, latest: int) -> VersionNotFoundError:
        """Return the error for a version that cannot be opened."""
        return VersionNotFoundError(
            f"the store at {self.storage.describe} has no version {version}: it keeps versions {self.base.version} to "
            f"{latest}",
            version,
        )

    def advance(self, catalog: Catalog) -> tuple[Self, Catalog, list[Commit] | None]:
        """Return log and catalog of the latest version, and the commits that lead there from `catalog`.

        Nothing here changes. None for the commits where they are not all kept. Raises `ConflictError` where another
        store has replaced this one.
        """
        log, tip = copy(self), catalog.copy()
        commits: list[Commit] | None = None
        failure = None
        try:
            commits = log.catch_up(tip, None)
        except CorruptStoreError as error:
            failure = error
        base = log.find_base().version
        trusted = base <= catalog.version + 1
        if trusted and failure is not None and not is_missing_file(failure):
            raise failure
        if trusted and commits is not None and base <= tip.version:
            tombstoned = {key for commit in commits for key in commit.changes.tombstoned}
            if tombstoned.isdisjoint(page.key for page in tip.pages):
                return log, tip, commits
            # The same version, by pages that stay: another writer has sealed its own since.
            with suppress(VersionNotFoundError):
                log, tip = self.open(self.storage, tip.version, self.limits)
                if log.identity == self.identity and tombstoned.isdisjoint(page.key for page in tip.pages):
                    return log, tip, commits
        log, tip = self.open(self.storage, limits=self.limits)
        if log.identity != self.identity:
            raise self._replaced()
        return log, tip, None

    def catch_up(self, catalog: Catalog, version: int | None) -> list[Commit]:
        """Apply the commits after the catalog's version, up to the one named or the last, and return them.

        Raises `CorruptStoreError` where one is missing of which there are later ones, unless it is no longer kept.
        """
        commits: list[Commit] = []
        # The last commit is known by the two numbers after it being free: a gap of one would be damage.
        at_once = _FIRST_LOOK
        while catalog.version != version:
            first, last = catalog.version + 1, catalog.version + at_once
            keys = [
                self.commit_key(number)
                for number in range(first, (last if version is None else min(last, version)) + 1)
            ]
            # Where there was one there may be many, and on an object store each look is a round trip.
            at_once *= 2
            before = catalog.version
            for key, data in self._read_consecutive(keys, catalog):
                commit, config = self.read_commit(key, data)
                self.apply(catalog, key, commit.changes)
                commits.append(commit)
                self.note_commit(commit.size)
                if config is not None:  # later documents may be encoded, and named, in another way
                    self.config, self.config_since, at_once = config, catalog.version, _FIRST_LOOK
                    break
            else:
                free = len(keys) - (catalog.version - before)
                if free == 1 < len(keys):
                    at_once = _FIRST_LOOK  # one number was free, and nothing was looked for after it
                elif free:
                    break
        return commits

    def _read_consecutive(self, keys: Sequence[str], catalog: Catalog) -> Iterator[tuple[str, bytes]]:
        """Yield key and bytes of the commits `keys`, the next after the catalog's version, up to the first missing one.

        Raises `CorruptStoreError` where that one is damage: a later one is there, and no base is past it.
        """
        found = run_all(lambda key: try_read(self.storage, key), keys)
        for at, key in enumerate(keys):
            data = found[at]
            if data is None and any(later is not None for later in found[at + 1 :]):
                data = try_read(self.storage, key)  # it may have been made since, with those after it
                if data is None and self.find_base().version <= catalog.version:
                    raise missing_file(key)
            if data is None:
                return
            yield key, data

    def read_commit(self, key: str, data: bytes) -> tuple[Commit, StoreConfig | None]:
        """Return a commit, and what it decides anew of the store."""

        def read(document: dict[str, Any]) -> tuple[Commit, StoreConfig | None]:
            commit = Commit(header_from_json(document), changes_from_json("commit", document), len(data))
            return commit, config_from_json(document) if commit.header.action == "create" else None

        document, found = decode_document(key, data, self.config.encoding, read)
        if document.get("store") != self.identity:
            raise self._replaced()
        return found

    def _replaced(self) -> ConflictError:
        return ConflictError(
            f"the store at {self.storage.describe} was replaced by another one; its pending data is kept: open the "
            "store again and repeat the writes there"
        )

    def commits(self, first: int, last: int) -> list[Commit]:
        """Return the commits of the versions `first` to `last`; raises `CorruptStoreError` where one is missing."""

        def read(version: int) -> Commit:
            key = self.commit_key(version)
            data = try_read(self.storage, key)
            if data is None:
                raise missing_file(key)
            return self.read_commit(key, data)[0]

        commits: list[Commit] = []
        # A document may claim any version: the first commit that is missing ends it.
        for begin in range(first, last + 1, _AT_ONCE):
            commits += run_all(read, range(begin, min(begin + _AT_ONCE, last + 1)))
        return commits

    def apply(self, catalog: Catalog, key: str, changes: Changes) -> None:
        """Add the changes of the document `key` to a catalog."""
        try:
            catalog.apply(changes, self.read_pages(changes))
        except CorruptStoreError as error:
            raise CorruptStoreError(f"{key} is damaged: {error}", key=error.key or key) from error

    def read_pages(self, changes: Changes) -> list[RowBatch]:
        """Return the contents of the pages that a document names."""
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
        """Count a commit, of so many bytes, that the checkpoint does not hold."""
        self.commits_since += 1
        self.bytes_since += size

    def has_moved_past(self, version: int) -> bool:
        """Return whether a version is no longer kept, or the store was replaced."""
        try:
            return (
                self.find_base().version > version or self._read_checkpoint(self.storage)[0].identity != self.identity
            )
        except (StorageError, CorruptStoreError, StoreNotFoundError):
            return False


def link_key(version: int) -> str:
    """Return the key of the link that leads from the base of that version to the next."""
    return f"bases/{version:020d}{LINKS.extension}"


def list_bases(storage: Storage) -> list[tuple[int, str]]:
    """Return version and key of the documents of all bases, of those that were never linked too."""
    found = []
    for key in storage.list("bases"):
        number, dash, _ = key.rpartition("/")[2].partition("-")
        if dash and number.isdecimal():
            found.append((int(number), key))
    return found
