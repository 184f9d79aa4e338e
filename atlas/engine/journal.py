"""Documents on storage: opening a store, committing a version, rewriting the checkpoint.

The numbered commits are the truth, each created only if it is not there; the checkpoint is their sum up to some version
and may lag behind. A reader takes the checkpoint and then the commits after it, by number, so that neither
listings nor clocks decide anything.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import orjson

from atlas.engine.catalog import Catalog
from atlas.engine.threads import run_all
from atlas.errors import (
    AtlasError,
    ConflictError,
    CorruptStoreError,
    StaleHandleError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
    UnsupportedFormatError,
)
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.format.registry import (
    Changes,
    PageRef,
    RowBatch,
    changes_from_json,
    changes_to_json,
    page_from_json,
    page_to_json,
)
from atlas.planning.schedule import checkpoint_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atlas.storage import Storage

__all__ = ["Attempt", "Journal", "StoreConfig", "unique_name"]

_T = TypeVar("_T")
_log = logging.getLogger("atlas.engine")
_FOLDERS = ("commits", "arrays", "registry")
_RECENT = 64
"""Commits whose writers a checkpoint remembers, so that a writer can tell whether it was one of them."""
_LONG_AGO = ""
"""Stands for a writer that nobody remembers."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What `create` decided once and for all."""

    codec: str
    """"zstd", "lz4" or "none"."""
    filter: str
    """"auto", or the one filter to use."""
    encoding: Encoding
    """How documents are written."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A commit about to be made."""

    changes: Changes
    """What it changes."""
    page_rows: list[RowBatch]
    """Contents of its pages."""
    writer: str
    """Name that no other attempt has."""
    data: bytes
    """Its document."""


def unique_name() -> str:
    """Return a name that nobody else picks, whatever the clock says."""
    return secrets.token_hex(12)


class Journal:
    """The documents of one store. Not locked: the store's lock guards every call."""

    def __init__(self, storage: Storage, config: StoreConfig, identity: str, first: int) -> None:
        self.storage = storage
        """Where the store lies."""
        self.config = config
        """What `create` decided."""
        self.identity = identity
        """Name of this store, which a store made later in the same place does not have."""
        self.first = first
        """Version it was created with, empty."""
        self._recent: list[tuple[int, str]] = []  # the last commits: version and writer
        self._checkpoint = b""  # as it was when last read or written, and its version
        self._checkpoint_version = first
        self._commits_since = 0
        self._bytes_since = 0

    # Creating and opening

    @classmethod
    def create(cls, storage: Storage, config: StoreConfig, *, overwrite: bool) -> tuple[Journal, Catalog]:
        """Create an empty store.

        With `overwrite` a store that is there is replaced, by one step, with an empty one of a later version; its files
        go afterwards.

        Raises `StoreExistsError` where there is one and it shall not be overwritten.
        """
        found = [name for name in CHECKPOINT_NAMES if _try_read(storage, name) is not None]
        if found and not overwrite:
            raise StoreExistsError(
                f"there is a store at {storage.describe} already ({found[0]}); "
                "open it with Atlas.open, or pass overwrite=True"
            )
        first = _latest_version(storage, found) + 1 if found else 0
        journal = cls(storage, config, unique_name(), first)
        catalog = Catalog()
        catalog.apply(Changes(first, 0), [])
        data = journal._checkpoint_bytes(catalog)
        if found:
            storage.replace(config.encoding.checkpoint, data)
            storage.delete(name for name in found if name != config.encoding.checkpoint)
            storage.delete([key for folder in _FOLDERS for key in storage.list(folder)])
        elif not storage.create(config.encoding.checkpoint, data):
            raise StoreExistsError(
                f"another process has just created a store at {storage.describe}; open it with Atlas.open"
            )
        journal._checkpoint = data
        return journal, catalog

    @classmethod
    def open(cls, storage: Storage, version: int | None = None) -> tuple[Journal, Catalog]:
        """Open the latest version of a store, or the one named.

        Raises `StoreNotFoundError`, `UnsupportedFormatError`, `CorruptStoreError`, and `StaleHandleError` for a version
        that is no longer kept.
        """
        found = [(name, data) for name in CHECKPOINT_NAMES if (data := _try_read(storage, name)) is not None]
        if not found:
            raise StoreNotFoundError(
                f"there is no store at {storage.describe}: it holds no {next(iter(CHECKPOINT_NAMES))}"
            )
        documents = [
            (name, _decode(name, data, CHECKPOINT_NAMES[name], _read_changes("checkpoint"))) for name, data in found
        ]
        # Two are there only where `create(overwrite=True)` was cut off between the new one and the old.
        name, (document, changes) = max(documents, key=lambda entry: entry[1][1].version)
        config = StoreConfig(
            _choice(document, "codec", name), _choice(document, "filter", name), CHECKPOINT_NAMES[name]
        )
        identity, first = document.get("store"), document.get("first")
        if not isinstance(identity, str) or not isinstance(first, int) or not 0 <= first <= changes.version:
            raise CorruptStoreError(f"{name} is damaged: it does not say which store it is of", key=name)
        journal = cls(storage, config, identity, first)
        journal._checkpoint, journal._checkpoint_version = dict(found)[name], changes.version
        catalog = Catalog()
        if version is None or version >= changes.version:
            journal._recent = list(_recent_commits(document).items())
            journal._apply(catalog, name, changes)
        else:  # the checkpoint is past it: begin where the store did
            catalog.apply(Changes(first, 0), [])
        journal._catch_up(catalog, version)
        if version is not None and catalog.version != version:
            raise StaleHandleError(
                f"version {version} of the store at {storage.describe} is no longer kept: it was compacted or replaced "
                "since; open it again"
            )
        return journal, catalog

    def _catch_up(self, catalog: Catalog, version: int | None) -> None:
        """Apply the commits after the catalog's version, up to the one named."""
        wanted = 1
        while catalog.version != version:
            # Where there was one there may be more, and on an object store each is a round trip: twice as many then.
            last = catalog.version + wanted if version is None else min(catalog.version + wanted, version)
            keys = [self._commit_key(number) for number in range(catalog.version + 1, last + 1)]
            for key, data in zip(keys, run_all(lambda key: _try_read(self.storage, key), keys), strict=True):
                if data is None:
                    return
                document, changes = _decode(key, data, self.config.encoding, _read_changes("commit"))
                if document.get("store") != self.identity:
                    raise CorruptStoreError(
                        f"{key} is of another store; remove it, or restore the store from a copy", key=key
                    )
                self._apply(catalog, key, changes)
                self._note_commit(changes.version, str(document.get("writer")), len(data))
            wanted *= 2

    def _apply(self, catalog: Catalog, key: str, changes: Changes) -> None:
        try:
            catalog.apply(changes, run_all(self._read_page, changes.pages))
        except CorruptStoreError as error:
            raise CorruptStoreError(f"{key} is damaged: {error}", key=error.key or key) from error

    def _read_page(self, page: PageRef) -> RowBatch:
        data = _try_read(self.storage, page.key)
        if data is None:
            raise CorruptStoreError(f"{page.key} is missing; restore it from a copy", key=page.key)
        encoding = self.config.encoding.compressed()
        return _decode(page.key, data, encoding, lambda document: page_from_json(document, page))[1]

    # Writing

    def _commit_key(self, version: int) -> str:
        return f"commits/{version:020d}{self.config.encoding.extension}"

    def write_page(self, rows: RowBatch) -> PageRef:
        """Write rows as a page and return its reference."""
        encoding = self.config.encoding.compressed()
        key = f"registry/{unique_name()}{encoding.extension}"
        self.storage.write(key, [encoding.encode(page_to_json(rows))])
        return PageRef(key, len(rows), int(rows.ids[0]), int(rows.ids[-1]))

    def attempt(self, changes: Changes, page_rows: list[RowBatch]) -> Attempt:
        """Return the commit of `changes`, which bears a name of its own, so that no two are ever the same."""
        writer = unique_name()
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        document = changes_to_json("commit", changes, store=self.identity, writer=writer, time=now)
        return Attempt(changes, page_rows, writer, self.config.encoding.encode(document))

    def commit(self, attempt: Attempt) -> None:
        """Make the attempt the next version, in one step.

        Raises `ConflictError` where another writer has made that version; nothing has changed then. After a
        `StorageError` only `landed` can tell whether anything has.
        """
        key = self._commit_key(attempt.changes.version)
        # A create that is tried again after its answer was lost meets its own bytes.
        taken = not self.storage.create(key, attempt.data) and self.storage.read(key) != attempt.data
        if not taken and self._writer_seen(attempt.changes.version) not in {None, attempt.writer}:
            # The number was free because a compaction has removed the commit that had it, or the store was replaced.
            # Its checkpoint, written before anything was removed, tells; readers begin behind this commit.
            self.storage.delete([key])
            taken = True
        if taken:
            raise ConflictError(
                f"another writer has committed to the store at {self.storage.describe} since this handle was opened; "
                "its pending data is kept: open the store again and repeat the writes there"
            )
        self._note_commit(attempt.changes.version, attempt.writer, len(attempt.data))

    def _note_commit(self, version: int, writer: str, size: int) -> None:
        self._recent = [*self._recent[1 - _RECENT :], (version, writer)]
        self._commits_since += 1
        self._bytes_since += size

    def landed(self, attempt: Attempt) -> bool | None:
        """Return whether a commit whose answer was lost is in place, None where that cannot be told."""
        version = attempt.changes.version
        try:
            data = _try_read(self.storage, self._commit_key(version))
            seen = self._writer_seen(version)
        except StorageError:
            return None
        if seen is None:
            landed = data == attempt.data
        elif seen == _LONG_AGO:
            return None if data == attempt.data else False
        else:
            landed = seen == attempt.writer
        if landed:
            self._note_commit(version, attempt.writer, len(attempt.data))
        return landed

    def _writer_seen(self, version: int) -> str | None:
        """Return who made a version by the checkpoint's account, None where the checkpoint is before it.

        `_LONG_AGO` where it does not tell any more, or is of another store.
        """
        encoding = self.config.encoding
        data = _try_read(self.storage, encoding.checkpoint)
        if data is None:
            return _LONG_AGO
        if data == self._checkpoint and self._checkpoint_version < version:  # as a rule: nothing to decode
            return None
        try:
            document, changes = _decode(encoding.checkpoint, data, encoding, _read_changes("checkpoint"))
            if document.get("store") != self.identity:
                return _LONG_AGO
            if changes.version < version:
                return None
            return _recent_commits(document).get(version, _LONG_AGO)
        except CorruptStoreError:  # whoever opens the store is told; the commit stands on its own
            return None

    def has_moved_past(self, version: int) -> bool:
        """Return whether the store, as its checkpoint says, is past a version or was replaced."""
        try:
            return self._writer_seen(version + 1) is not None
        except StorageError:
            return False

    def checkpoint(self, catalog: Catalog, *, force: bool = False) -> bool:
        """Rewrite the checkpoint where it is due and return whether that was done.

        A failure is logged: the commits hold all that it would.
        """
        if not force and not checkpoint_is_due(len(self._checkpoint), self._commits_since, self._bytes_since):
            return False
        try:
            replace, runs = catalog.pages_to_seal()
            if replace or runs:
                catalog.seal([self.write_page(catalog.rows(run)) for run in runs], replace=replace)
            data = self._checkpoint_bytes(catalog)
            self.storage.replace(self.config.encoding.checkpoint, data)
        except StorageError as error:
            _log.warning("the checkpoint of %s could not be rewritten: %s", self.storage.describe, error)
            return False
        self._checkpoint, self._checkpoint_version = data, catalog.version
        self._commits_since = self._bytes_since = 0
        return True

    def _checkpoint_bytes(self, catalog: Catalog) -> bytes:
        config = self.config
        document = changes_to_json(
            "checkpoint",
            catalog.checkpoint(),
            store=self.identity,
            first=self.first,
            recent=[list(commit) for commit in self._recent],
            codec=config.codec,
            filter=config.filter,
        )
        return config.encoding.encode(document)

    def sweep(self, catalog: Catalog) -> int:
        """Remove every file that the catalog's version does not need and return the bytes reclaimed."""
        needed = {ref.key for refs in catalog.segments.values() for ref in refs} | {page.key for page in catalog.pages}
        storage = self.storage
        latest = self._commit_key(catalog.version)
        gone = [key for folder in ("arrays", "registry") for key in storage.list(folder) if key not in needed]
        gone += [key for key in storage.list("commits") if key < latest]
        gone += storage.leftovers()
        reclaimed = sum(_size(storage, key) for key in gone)
        storage.delete(gone)
        return reclaimed


def _recent_commits(document: dict[str, Any]) -> dict[int, str]:
    """Return the writers of the last versions before a checkpoint."""
    recent = document.get("recent")
    if not isinstance(recent, list) or not all(
        isinstance(commit, list) and len(commit) == 2 and isinstance(commit[0], int) and isinstance(commit[1], str)
        for commit in recent
    ):
        raise CorruptStoreError("its field 'recent' is not a list of versions and writers")
    return dict(recent)


def _read_changes(kind: str) -> Callable[[dict[str, Any]], Changes]:
    """Return the reader of documents of one kind."""
    return lambda document: changes_from_json(kind, document)


def _try_read(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.read(key)
    except FileNotFoundError:
        return None


def _size(storage: Storage, key: str) -> int:
    try:
        return storage.size(key)
    except (FileNotFoundError, AtlasError):
        return 0


def _latest_version(storage: Storage, checkpoints: list[str]) -> int:
    """Return the last version of a store that is to be replaced, which need not be readable."""
    numbers = [key.removeprefix("commits/").split(".")[0] for key in storage.list("commits")]
    versions = [int(number) for number in numbers if number.isdecimal()]
    for name in checkpoints:
        data = _try_read(storage, name)
        try:
            if data is not None:
                versions.append(int(CHECKPOINT_NAMES[name].decode(data)["version"]))
        except (AtlasError, ValueError, KeyError, TypeError):
            continue
    return max(versions, default=0)


def _decode(
    key: str, data: bytes, encoding: Encoding, read: Callable[[dict[str, Any]], _T]
) -> tuple[dict[str, Any], _T]:
    """Return a document and its value; errors name the file."""
    try:
        document = encoding.decode(data)
        return document, read(document)
    except CorruptStoreError as error:
        _refuse_seed_store(key, data)
        raise CorruptStoreError(f"{key} is damaged: {error}; restore it from a copy", key=key) from error
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{key}: {error}") from error


def _refuse_seed_store(key: str, data: bytes) -> None:
    if key == "atlas.json":
        try:
            document = orjson.loads(data)
        except ValueError:
            return
        if isinstance(document, dict) and "xxh3" not in document and {"version", "datasets"} <= set(document):
            raise UnsupportedFormatError(
                "this is a store of atlas-python, whose format this release does not read: read it with the package "
                "that wrote it and add its datasets to a new store"
            )


_CHOICES = {"codec": ("zstd", "lz4", "none"), "filter": ("auto", "none", "byteshuffle", "bitshuffle")}


def _choice(document: dict[str, Any], field: str, key: str) -> str:
    value = document.get(field)
    if value not in _CHOICES[field]:
        raise CorruptStoreError(f"{key} is damaged: its {field} is {value!r}", key=key)
    return str(value)
