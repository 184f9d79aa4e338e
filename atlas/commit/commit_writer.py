"""The documents of a store as they are written: the commit that makes the next version, and what sums commits up."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atlas.commit.checkpointing import checkpoint_is_due
from atlas.commit.commit_log import LINKS, CommitLog, link_key
from atlas.commit.documents import try_read
from atlas.errors import CorruptStoreError, StorageError
from atlas.format.commit_header import (
    BaseRef,
    base_to_json,
    link_to_json,
    time_to_json,
)
from atlas.format.config import StoreConfig, config_to_json
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.format.registry import Changes, PageRef, changes_to_json, page_to_json
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from atlas.catalog.catalog import Catalog
    from atlas.format.dataset_columns import RowBatch

__all__ = ["CommitWriter", "PreparedCommit"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """A commit about to be made."""

    changes: Changes
    """What it changes."""
    page_rows: list[RowBatch]
    """Contents of its pages."""
    data: bytes
    """Its document."""

    @property
    def version(self) -> int:
        """The version it makes."""
        return self.changes.version

    @property
    def writer(self) -> str:
        """Name that no other attempt has."""
        return self.changes.writers[-1][1]


class CommitWriter(CommitLog):
    """The documents of one store, to which versions are added. Not locked: the store's lock guards every call."""

    # Committing

    def write_page(self, rows: RowBatch, *, settled: bool = False) -> PageRef:
        """Write rows as a page and return its reference; `settled` waits until it lasts.

        A page that is not removed again where what names it fails must be settled: no commit succeeds after a file that
        could not be brought to the disk.
        """
        encoding = self.config.encoding.compressed()
        key = f"registry/{unique_name()}{encoding.extension}"
        data = encoding.encode(page_to_json(rows))
        if settled:
            self.storage.replace(key, data)
        else:
            self.storage.write(key, [data])
        return PageRef(key, len(rows), int(rows.ids[0]), int(rows.ids[-1]))

    def attempt(
        self,
        changes: Changes,
        page_rows: list[RowBatch],
        *,
        action: str = "flush",
        message: str | None = None,
        config: StoreConfig | None = None,
    ) -> PreparedCommit:
        """Return the commit of `changes`, which bears a name of its own, so that no two are ever the same."""
        writer = unique_name()
        changes = replace(changes, writers=((changes.version, writer),))
        head: dict[str, Any] = {"store": self.identity, "time": time_to_json(dt.datetime.now(dt.UTC))}
        head |= {"action": action} | ({} if message is None else {"message": message})
        document = changes_to_json("commit", changes, **head, **({} if config is None else config_to_json(config)))
        return PreparedCommit(changes, page_rows, self.config.encoding.encode(document))

    def commit(self, attempt: PreparedCommit) -> bool:
        """Make the attempt the next version, in one step; False where another writer has made that version.

        After a `StorageError` only `landed` can tell whether anything has changed.
        """
        key = self.commit_key(attempt.version)
        if not self.storage.create(key, attempt.data) and not self._made_by(attempt):
            return False
        if self.find_base().version > attempt.version and not self._is_among_kept(attempt):
            # The number was free only because the commit that had it is no longer kept. Readers begin behind this one.
            self.storage.delete([key])
            return False
        self.note_commit(len(attempt.data))
        return True

    def _made_by(self, attempt: PreparedCommit) -> bool | None:
        """Return whether an attempt has made its version, None where nobody has.

        A create that is tried again after its answer was lost meets its own bytes. Other bytes are another's only if
        they are whole: raises `CorruptStoreError` where they are not, which tells nothing.
        """
        key = self.commit_key(attempt.version)
        data = try_read(self.storage, key)
        if data is None or data == attempt.data:
            return None if data is None else True
        self.read_commit(key, data)
        return False

    def landed(self, attempt: PreparedCommit) -> bool | None:
        """Return whether a commit whose answer was lost is in place, None where that cannot be told now."""
        key = self.commit_key(attempt.version)
        try:
            made = self._made_by(attempt)
            if made:
                # It has its name; whether that lasts is what may have failed, and what this waits for.
                self.storage.create(key, attempt.data)
            if self.find_base().version > attempt.version:
                return self._is_among_kept(attempt)
        except (StorageError, CorruptStoreError):
            return None
        return made is True

    def _is_among_kept(self, attempt: PreparedCommit) -> bool:
        """Return whether the base, which is later, holds a commit. False also where it was made long before."""
        while True:
            known = self.base
            try:
                return (attempt.version, attempt.writer) in self.read_base()[1].writers
            except CorruptStoreError:
                if self.find_base() == known:
                    raise

    # Summing up

    def checkpoint(self, catalog: Catalog, *, force: bool = False) -> bool:
        """Rewrite the checkpoint where it is due and return whether that was done.

        A failure is logged: the commits hold all that it would.
        """
        if not force and not checkpoint_is_due(self.checkpoint_size, self.commits_since, self.bytes_since):
            return False
        if catalog.version < self.base.version:
            return False
        encoding = self.config.encoding
        try:
            self.seal_pages(catalog)
            if not self.forget_replaced(catalog):
                return False
            data = self.sum_up(catalog)
            self.storage.replace(encoding.checkpoint, data)
            if force:  # one of another name is of the store that this one has replaced
                self.storage.delete(name for name in CHECKPOINT_NAMES if name != encoding.checkpoint)
        except StorageError as error:
            _log.warning("the checkpoint of %s could not be rewritten: %s", self.storage.describe, error)
            return False
        self.checkpoint_size = len(data)
        self.commits_since = self.bytes_since = 0
        return True

    def seal_pages(self, catalog: Catalog) -> None:
        """Write the rows to pages that ought to lie in some."""
        replace_all, runs = catalog.pages_to_seal()
        if replace_all or runs:
            catalog.seal([self.write_page(catalog.rows(run), settled=True) for run in runs], replace=replace_all)

    def sum_up(self, catalog: Catalog) -> bytes:
        """Return the checkpoint of a version."""
        return self.config.encoding.encode(self._sum(catalog, self.base))

    def _sum(self, catalog: Catalog, base: BaseRef) -> dict[str, Any]:
        head = {"store": self.identity, "created": time_to_json(self.created), "base": base_to_json(base)}
        return changes_to_json("checkpoint", catalog.checkpoint(), **head, **config_to_json(self.config))

    def forget_replaced(self, catalog: Catalog) -> bool:
        """Make a later base where a store that replaced another was cut off: nobody may begin before it any more.

        False where another process has made one meanwhile.
        """
        return self.base.version >= self.began or self.advance_base(catalog)

    def advance_base(self, catalog: Catalog) -> bool:
        """Make the version of `catalog` the oldest that is kept; False where another process has made one meanwhile.

        Nothing is removed yet, but from now on anything may be that only earlier versions need.
        """
        encoding = self.config.encoding.compressed()
        self.seal_pages(catalog)
        base = BaseRef(catalog.version, f"bases/{catalog.version:020d}-{unique_name()}{encoding.extension}")
        assert base.key is not None
        self.storage.replace(base.key, encoding.encode(self._sum(catalog, base)))
        self.storage.create(link_key(self.base.version), LINKS.encode(link_to_json(base, self.identity)))
        if self.find_base() != base:
            self.storage.delete([base.key])
            return False
        return True
