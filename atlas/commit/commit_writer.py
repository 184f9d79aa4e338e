"""Writes the documents of a store: commits, and what sums them up: pages, checkpoints and bases.

A commit is created only if its number is free, in one step that no two writers can both win. Everything else that this
module writes only saves readers time, and no reader depends on it being up to date.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atlas.commit.checkpointing import checkpoint_is_due
from atlas.commit.commit_log import LINKS, link_key
from atlas.commit.documents import try_read
from atlas.commit.packs import packed_commits
from atlas.errors import CorruptStoreError, StorageError
from atlas.format.bases import BaseRef, base_to_json, link_to_json
from atlas.format.changes import Changes, PageRef, changes_to_json, page_to_json
from atlas.format.commit_header import time_to_json
from atlas.format.config import StoreConfig, config_to_json
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.format.versions import earlier_to_json
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import CommitLog
    from atlas.format.dataset_columns import RowBatch
    from atlas.format.versions import EarlierVersion

__all__ = ["CommitWriter", "PreparedCommit"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """A commit that is ready to be created."""

    changes: Changes
    """Its changes."""
    page_rows: list[RowBatch]
    """Rows of its pages, page by page."""
    data: bytes
    """The bytes of its document."""

    @property
    def version(self) -> int:
        """The version it makes."""
        return self.changes.version

    @property
    def writer(self) -> str:
        """Random name that no other prepared commit has."""
        return self.changes.writers[-1][1]


class CommitWriter:
    """Adds versions to a store. Not locked: the caller must hold the handle's locks."""

    def __init__(self, log: CommitLog) -> None:
        self.log = log
        """The documents of the version that the next commit follows."""

    # Committing

    def write_page(self, rows: RowBatch, *, synced: bool = False) -> PageRef:
        """Write rows as a page and return its reference; `synced` waits until the page is durable.

        A page that other documents may name, whatever becomes of the next one, must be synced: the storage lets no
        commit succeed after a file that it could not sync.
        """
        encoding = self.log.config.encoding.compressed()
        key = f"pages/{unique_name()}{encoding.extension}"
        data = encoding.encode(page_to_json(rows))
        if synced:
            self.log.storage.replace(key, data)
        else:
            self.log.storage.write(key, [data])
        return PageRef(key, len(rows), int(rows.ids[0]), int(rows.ids[-1]))

    def prepare(
        self,
        changes: Changes,
        page_rows: list[RowBatch],
        *,
        action: str = "flush",
        message: str | None = None,
        config: StoreConfig | None = None,
    ) -> PreparedCommit:
        """Return the commit of `changes`, with a random name, so that no two commits have the same bytes.

        `action` and `message` are for `Atlas.history`; `config` changes how later documents are written.
        """
        changes = replace(changes, writers=((changes.version, unique_name()),))
        head: dict[str, Any] = {"store": self.log.identity, "time": time_to_json(dt.datetime.now(dt.UTC))}
        head |= {"action": action} | ({} if message is None else {"message": message})
        document = changes_to_json("commit", changes, **head, **({} if config is None else config_to_json(config)))
        return PreparedCommit(changes, page_rows, self.log.config.encoding.encode(document))

    def commit(self, prepared: PreparedCommit) -> bool:
        """Create the commit, in one step; return False where another writer has made that version.

        After a `StorageError` or `CorruptStoreError` only `landed` can tell whether the commit was made.
        """
        log, key = self.log, self.log.commit_key(prepared.version)
        made: bool | None = log.storage.create(key, prepared.data) or self._is_made_by(prepared)
        if made is False:
            return False
        packed = self._is_packed(prepared)
        if not made and not packed:
            return False
        if packed is False or (log.find_base().version > prepared.version and not self._is_in_base(prepared)):
            # The number was free only because the commit that had it is in a pack, or is no longer kept.
            log.storage.delete([key])
            return False
        log.note_commit(len(prepared.data))
        return True

    def _is_made_by(self, prepared: PreparedCommit) -> bool | None:
        """Return whether this commit has made its version, None where the number is free.

        A create that the storage repeats after a lost answer meets its own bytes. Other bytes belong to another writer
        only if they are a whole document: raises `CorruptStoreError` where they are damaged, which decides nothing.
        """
        key = self.log.commit_key(prepared.version)
        data = try_read(self.log.storage, key)
        if data is None or data == prepared.data:
            return None if data is None else True
        self.log.read_commit(key, data)
        return False

    def landed(self, prepared: PreparedCommit) -> bool | None:
        """Return whether a commit whose answer was lost was made, None where the storage cannot tell now."""
        log, key = self.log, self.log.commit_key(prepared.version)
        try:
            made = self._is_made_by(prepared)
            if made:
                # The file exists, but syncing it may have failed: creating it again waits until it is durable.
                log.storage.create(key, prepared.data)
            packed = self._is_packed(prepared)
            if log.find_base().version > prepared.version:
                return self._is_in_base(prepared)
            if packed is not None:
                return packed
        except (StorageError, CorruptStoreError):
            return None
        return made is True

    def _is_packed(self, prepared: PreparedCommit) -> bool | None:
        """Return whether this commit has made its version, by the pack of that; None where there is no pack yet.

        Raises `CorruptStoreError` where the pack is damaged.
        """
        found = packed_commits(self.log, [prepared.version]).get(prepared.version)
        if found is None:
            return None
        return self.log.read_commit(*found, packed=True)[0].changes.writers == prepared.changes.writers

    def _is_in_base(self, prepared: PreparedCommit) -> bool:
        """Return whether the base, which is later, sums up this commit; False too where it keeps no name that old.

        Raises `CorruptStoreError` where the base is damaged.
        """
        while True:
            known = self.log.base
            try:
                return (prepared.version, prepared.writer) in self.log.read_base()[1].writers
            except CorruptStoreError:
                if self.log.find_base() == known:
                    raise

    # Summing up

    def checkpoint(self, catalog: Catalog, *, force: bool = False) -> bool:
        """Rewrite the checkpoint if it is due, or in any case with `force`, and return whether that was done.

        Logs a `StorageError` instead of raising it: the commits hold all that the checkpoint would.
        """
        log = self.log
        if not force and not checkpoint_is_due(log.checkpoint_size, log.commits_since, log.bytes_since, log.limits):
            return False
        encoding = log.config.encoding
        try:
            self.write_pages(catalog)
            if not self.finish_replacement(catalog):
                return False
            base = log.base  # once: another thread that reads through this handle may find a later one at any moment
            if catalog.version < base.version:
                return False
            data = encoding.encode(self._sum(catalog, base))
            log.storage.replace(encoding.checkpoint, data)
            if force:  # a checkpoint of another name belongs to the store that this one has replaced
                log.storage.delete(name for name in CHECKPOINT_NAMES if name != encoding.checkpoint)
        except StorageError as error:
            _logger.warning(
                "the checkpoint of %s could not be rewritten: %s; opening takes longer until it is",
                log.storage.describe,
                error,
            )
            return False
        log.checkpoint_size = len(data)
        log.commits_since = log.bytes_since = 0
        return True

    def write_pages(self, catalog: Catalog, tombstoned: AbstractSet[str] = frozenset()) -> None:
        """Write rows of the catalog to pages where they are due, and let the catalog name them.

        All rows where the catalog names a page of `tombstoned`.
        """
        anew = not tombstoned.isdisjoint(page.key for page in catalog.pages)
        replace_all, runs = catalog.plan_pages(self.log.limits.page_rows, anew=anew)
        if replace_all or runs:
            pages = [self.write_page(catalog.rows(run), synced=True) for run in runs]
            catalog.record_pages(pages, replace=replace_all)

    def sum_up(self, catalog: Catalog) -> bytes:
        """Return the bytes of the checkpoint of a version."""
        return self.log.config.encoding.encode(self._sum(catalog, self.log.base))

    def _sum(self, catalog: Catalog, base: BaseRef, **more: Any) -> dict[str, Any]:
        head = {"store": self.log.identity, "created": time_to_json(self.log.created), "base": base_to_json(base)}
        return changes_to_json("checkpoint", catalog.checkpoint(), **head, **more, **config_to_json(self.log.config))

    def finish_replacement(self, catalog: Catalog) -> bool:
        """Make a later base where a replacement of the store was interrupted, so that no reader begins before it.

        Returns False where another process has made one meanwhile.
        """
        known = self.log.base
        return known.version >= self.log.config_since or self.advance_base(known, catalog)

    def advance_base(
        self,
        known: BaseRef,
        catalog: Catalog,
        earlier: tuple[EarlierVersion, ...] = (),
        tombstoned: AbstractSet[str] = frozenset(),
    ) -> bool:
        """Make the version of `catalog` the base after `known`; False where another process has made another.

        Before it only the versions `earlier` are kept. It names none of the pages `tombstoned`, which are to be those
        that commits tombstone which were made until `known` was found to be the last base, or later: another process
        may remove them once it has made a base, and it has not made one since if this succeeds.

        Removes nothing. From now on any process may remove the files that no kept version needs.
        """
        if known.version >= catalog.version:
            return False
        log = self.log
        base = BaseRef(catalog.version, self.write_base(catalog, earlier, tombstoned))
        log.storage.create(link_key(known.version), LINKS.encode(link_to_json(base, log.identity)))
        if log.find_base() != base:
            log.storage.delete([str(base.key)])
            return False
        return True

    def write_base(
        self,
        catalog: Catalog,
        earlier: tuple[EarlierVersion, ...] = (),
        tombstoned: AbstractSet[str] = frozenset(),
    ) -> str:
        """Write the document of a base, or of an earlier version, which nothing leads to yet, and return its key."""
        self.write_pages(catalog, tombstoned)
        encoding = self.log.config.encoding.compressed()
        key = f"bases/{catalog.version:020d}-{unique_name()}{encoding.extension}"
        listed = {"earlier": earlier_to_json(earlier)} if earlier else {}
        document = self._sum(catalog, BaseRef(catalog.version, key), **listed)
        self.log.storage.replace(key, encoding.encode(document))
        return key
