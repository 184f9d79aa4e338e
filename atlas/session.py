"""One open store: what is pending becomes versions, and the handle moves from one version to another."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from atlas.catalog.chunk_index import load_chunk_index
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.committer import CommitResult, Committer, Draft, SegmentReplacement
from atlas.commit.history import read_history
from atlas.commit.partial_chunk_merge import merged_chunks
from atlas.commit.rebase import Pending, Tip, rebase
from atlas.errors import (
    AtlasError,
    ConflictError,
    CorruptStoreError,
    InvalidValueError,
    StaleHandleError,
    VersionNotFoundError,
)
from atlas.maintenance.compaction import compact_array, join_segments
from atlas.maintenance.gc import Collector, named_files
from atlas.maintenance.tiering import segments_to_join
from atlas.write.writer import Writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.catalog.catalog import Catalog
    from atlas.commit.history import Version
    from atlas.format.dataset_columns import RowBatch
    from atlas.format.registry import Changes

__all__ = ["Session"]

_log = logging.getLogger(__name__)


class Session(Writable):
    """A store that is open."""

    def __init__(self, journal: CommitWriter, catalog: Catalog) -> None:
        super().__init__(journal, catalog)
        self._committer = Committer(self)

    # Committing

    def flush(self, message: str | None = None) -> None:
        """Commit everything that is pending. The handle can be read meanwhile.

        A flush that fails leaves the store on disk as it was and keeps what is pending.
        """
        with self.building.closed(), self.writing:
            self._committer.settle()
            with self.lock, ExitStack() as closing:
                drafts = [
                    Draft(array, draft)
                    for array, staging in self.staging.items()
                    if (draft := staging.draft()) is not None
                ]
                if not drafts and not self.datasets.pending:
                    self._forget_pending()
                    return
                joined, dropped = self._join_small(drafts, closing)
                kept = closing.pop_all()
            with kept:
                landed = self._committer.commit_pending(drafts, joined, dropped, message)
            self._move_to(landed)
            self.journal.checkpoint(self.catalog)

    def _move_to(self, landed: CommitResult) -> Tip:
        """Show the version that was committed, which holds what was pending."""
        with self.lock:
            made = landed.apply()
            self._forget_pending(made)
        return made

    def _join_small(self, drafts: Sequence[Draft], closing: ExitStack) -> tuple[list[Draft], list[str]]:
        """Return the drafts that take the place of small segments of the arrays of `drafts`, and the keys of those."""
        joined: list[Draft] = []
        dropped: list[str] = []
        for array, draft, _ in drafts:
            refs = self.catalog.segments.get(array, [])
            count = segments_to_join([ref.size for ref in refs], draft.size)
            if not count:
                continue
            staging = self.new_staging(array)
            closing.callback(staging.close)
            try:
                join_segments(array, load_chunk_index(self.journal.storage, refs[-count:]), self.datasets, staging)
            except AtlasError as error:  # they are as good as they were: whoever reads them meets the error itself
                _log.warning("small segments of array %r could not be joined: %s", array, error)
                continue
            dropped += [ref.key for ref in refs[-count:]]
            live = staging.draft()
            joined += [Draft(array, live, moved=True)] if live is not None else []
        return joined, dropped

    def _forget_pending(self, made: Tip | None = None) -> None:
        """Forget what was pending, which the version `made` holds."""
        for staging in self.staging.values():
            staging.close()
        self.staging = {}
        self.datasets.move_to(self.catalog if made is None else made.catalog, [], {})
        if made is not None:
            self.show(made)
        self.changed()

    # Moving between versions

    def refresh(self) -> int:
        """Move to the latest version, with what is pending on top of it, and return its number.

        Raises `ConflictError` where what is pending changes something that is gone there; nothing has changed then.
        """
        with self.building.closed(), self.writing:
            self._committer.settle()
            ahead = Tip(*self.journal.advance(self.catalog))
            if ahead.catalog.version == self.catalog.version:
                return self.catalog.version
            pending = Pending(self.datasets, self.staging)
            while True:
                try:
                    rebased, merged = rebase(pending, ahead, mine_wins=True), merged_chunks(pending, ahead)
                    break
                except CorruptStoreError as error:
                    ahead = ahead.without(error, self.catalog.version)
            # From here on nothing fails.
            with self.lock:
                for staging in self.staging.values():
                    staging.shift(rebased.first, rebased.by)
                for array, dataset, chunk, cells in merged:
                    self.staging[array].put(dataset, chunk, cells)
                self.datasets.shift(rebased.first, rebased.by)
                self.datasets.move_to(ahead.catalog, [*rebased.changed, *rebased.created], rebased.deleted)
                self.show(ahead)
            return self.catalog.version

    def history(self) -> list[Version]:
        """Return the versions that are kept, up to the one shown, oldest first."""
        with self.lock:
            return read_history(self.journal, self.catalog)

    def rollback(self, version: int, message: str | None = None) -> int:
        """Commit a version that holds what an earlier one held, and return its number.

        Raises `VersionNotFoundError`, `InvalidValueError` where something is pending, and `ConflictError` where
        another writer has committed since the version shown.
        """
        with self.building.closed(), self.writing:
            self._committer.settle()
            if self.pending:
                raise InvalidValueError(
                    "a store with unflushed changes cannot be rolled back: flush them first, or open it again without"
                )
            if version > self.catalog.version:
                raise self.journal.not_kept(version, self.catalog.version)
            old, page_rows = self._sum_of(version)
            changes = replace(
                old, version=self.catalog.version + 1, next_id=self.catalog.next_id, reset=True, writers=()
            )
            attempt = self.journal.attempt(
                changes,
                page_rows,
                action="rollback",
                message=f"to version {version}" if message is None else message,
            )
            landed = self._committer.commit_alone(attempt)
            if landed is None:
                raise ConflictError(
                    f"another writer has committed to the store at {self.journal.storage.describe} since version "
                    f"{self.catalog.version}, which a rollback would undo unseen: call refresh() first"
                )
            self._move_to(landed)
            self.journal.checkpoint(self.catalog)
            return self.catalog.version

    def _sum_of(self, version: int) -> tuple[Changes, list[RowBatch]]:
        """Return the sum of all commits up to an earlier version, and the contents of its pages.

        Raises `VersionNotFoundError` also where some of it is about to be removed.
        """
        old = CommitWriter.open(self.journal.storage, version)[1]
        try:
            later = self.journal.commits(version + 1, self.catalog.version)
            if not named_files(old).isdisjoint(key for commit in later for key in commit.changes.tombstoned):
                raise self.journal.not_kept(version, self.catalog.version)
            # Datasets that come before those of a page lie in pages too, or the sum could not be read back.
            self.journal.seal_pages(old)
            changes = old.checkpoint()
            page_rows = self.journal.read_pages(changes)
            # Else one of the commits that were read may be another's in its place.
            if self.journal.find_base().version <= version:
                return changes, page_rows
        except CorruptStoreError:
            if self.journal.find_base().version <= version:
                raise
        raise self.journal.not_kept(version, self.catalog.version)

    def compact(self, keep_versions: int, keep_days: float) -> int:
        """Flush, rewrite what lies in many segments or beside dead data, and remove what no kept version needs.

        Returns the bytes reclaimed.
        """
        cleaning = Collector(keep_versions, keep_days)
        with self.building.closed(), self.writing:
            self.flush()
            while True:
                self.refresh()
                before = self.journal.find_base()
                try:
                    reclaimed = self._compact(cleaning)
                    break
                except (CorruptStoreError, StaleHandleError, VersionNotFoundError):
                    # Another process may have compacted meanwhile, and removed what was being read.
                    if self.journal.find_base() == before:
                        raise
            _log.info("%s is compacted: %d bytes reclaimed", self.journal.storage.describe, reclaimed)
            return reclaimed

    def _compact(self, cleaning: Collector) -> int:
        """Compact the version shown, which nothing is pending on, and return the bytes reclaimed."""
        self.journal.forget_replaced(self.catalog)
        self.journal.seal_pages(self.catalog)
        cleaning.list_files(self.journal.storage)
        landed = self._committer.commit_swaps(self._swaps(), cleaning.tombstone)
        if landed is not None:
            self._move_to(landed)
        with self.lock:
            # Before the files go that they lead to: who reads meanwhile finds the new ones.
            self.forget_tables()
            self.changed()
        return cleaning.finish(self.journal, self.catalog, tombstoned=landed is not None)

    def _swaps(self) -> dict[str, SegmentReplacement]:
        """Write one segment for each array name that lies in many, or beside dead data."""
        swaps: dict[str, SegmentReplacement] = {}
        drafts: list[Draft] = []
        for array, refs in self.catalog.segments.items():
            staging = self.new_staging(array)
            if compact_array(array, refs, self.table(array), self.datasets, staging):
                swaps[array] = SegmentReplacement(refs, [])
                draft = staging.draft()
                drafts += [] if draft is None else [Draft(array, draft, moved=True)]
        for ref in self._committer.write_segments(drafts):
            swaps[ref.array].after.append(ref)
        return swaps
