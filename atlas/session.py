"""One open store, composed of its parts; the moves of the handle from one version to another.

- `locks`      what guards the rest
- `view`       the datasets, pending changes included, and where their chunks are
- `reader`     every read
- `writer`     every change in memory; `writes` the cells that wait
- `committer`  versions, and the commit log of the version shown

Every call takes the locks that it needs.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_chunk_index
from atlas.catalog.schema_cache import SchemaCache
from atlas.catalog.view import StoreView
from atlas.commit.commit_log import CommitLog
from atlas.commit.commit_records import named_files
from atlas.commit.committer import Committer, NewSegment, SegmentReplacement
from atlas.commit.history import read_history
from atlas.commit.partial_chunk_merge import merge_partial_chunks
from atlas.commit.rebase import rebase
from atlas.commit.stored_chunks import StoredCoordinates
from atlas.commit.tip import Tip
from atlas.errors import (
    AtlasError,
    ConflictError,
    CorruptStoreError,
    InvalidValueError,
    StaleHandleError,
    VersionNotFoundError,
)
from atlas.format.digests import NO_DIGESTS
from atlas.maintenance.compaction import compact_array, join_segments
from atlas.maintenance.description import describe
from atlas.maintenance.gc import Collector
from atlas.maintenance.retention import Retention
from atlas.maintenance.tiering import segments_to_join
from atlas.read.cache_pool import pool_for
from atlas.read.reader import Reader
from atlas.read.snapshot import take_snapshot
from atlas.runtime.forks import renew_in_children
from atlas.runtime.interrupts import deferred_interrupts
from atlas.runtime.locks import ForkSafeLock, HandleLocks
from atlas.storage.keys import unique_name
from atlas.write.pending import PendingWrites
from atlas.write.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atlas.catalog.catalog import Catalog
    from atlas.commit.committer import CommitResult
    from atlas.format.changes import Changes
    from atlas.format.dataset_columns import ArrayEntry, RowBatch
    from atlas.format.versions import Version
    from atlas.maintenance.compaction_report import CompactionReport
    from atlas.maintenance.description import StoreDescription
    from atlas.read.block_cache import BlockCache
    from atlas.read.cache_pool import CachePool
    from atlas.runtime.limits import Limits
    from atlas.storage import Storage
    from atlas.write.region_write import ReadBox

__all__ = ["Session", "reopen"]

_logger = logging.getLogger(__name__)


class Session:
    """An open store."""

    def __init__(
        self, log: CommitLog, catalog: Catalog, *, read_only: bool = False, pool: CachePool | None = None
    ) -> None:
        self.locks = HandleLocks(read_only=read_only)
        """Guard everything here."""
        self.view = StoreView(log.storage, catalog, self.locks, log.limits, log.has_moved_past)
        """What the handle shows."""
        self.writes = PendingWrites(log.storage, log.limits, log.config)
        """Cells that were written since the last flush."""
        self.reader = Reader(self.view, self.writes, pool_for(None) if pool is None else pool)
        """Every read."""
        # No part refers to the session, so that a handle gives its memory back when its last reference goes.
        self.writer = Writer(self.view, self.writes, partial(_take_reader, self.view, self.writes, self.reader.cache))
        """Every change in memory."""
        self.committer = Committer(self.view, self.writes, log)
        """Versions of the store."""
        self._stored = StoredCoordinates(self.view)
        self.schemas = SchemaCache()
        """Schemas of arrays that were declared through the handle."""
        self._handle_name = unique_name()
        renew_in_children(self)

    def renew(self) -> None:
        """Make the locks anew and declare pending arrays anew, in a forked child: it shares neither with its parent."""
        self.locks.renew()
        self.writer.renew()
        before, after = self.view.datasets.renew_generation()
        self.writes.renew_generation(before, after)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.pending:
            raise InvalidValueError("a store with unflushed changes cannot be pickled: call flush() first")
        storage, limits, cache_bytes = self.address
        return reopen, (storage, self.catalog.version, limits, self.locks.read_only, cache_bytes)

    @property
    def address(self) -> tuple[Storage, Limits, int | None]:
        """What opens the store again, in this process or another: see `reopen`."""
        return self.view.storage, self.log.limits, self.reader.cache.pool.cache_bytes

    @property
    def log(self) -> CommitLog:
        """The documents of the version shown."""
        return self.committer.log

    @property
    def catalog(self) -> Catalog:
        """The version shown."""
        return self.view.catalog

    @property
    def pending(self) -> bool:
        """Whether a flush would change anything."""
        return self.view.datasets.pending or bool(self.writes)

    def token(self, dataset: str, array: str) -> str:
        """Return text that changes whenever what a read of the array returns may change."""
        with self.locks.state:
            state = self.view.datasets.state(dataset)
            entry = state.array(array)
            version = f"{self.view.storage.token}@{self.catalog.version}"
            if self.pending:
                version += f"+{self._handle_name}.{self.view.change}"
            return f"{version}:{state.identity}:{array}:{entry.generation}:{entry.schema.key}"

    # Committing

    def flush(self, message: str | None = None) -> None:
        """Commit everything that is pending. The handle can be read meanwhile.

        A flush that fails leaves the store on disk as it was and keeps what is pending.
        """
        with self.locks.building.closed(), self.locks.writing:
            self.committer.resolve()
            with ExitStack() as closing:
                segments = [NewSegment(array, draft) for array, draft in self.writes.drafts(self._stored.finder)]
                if not segments and not self.view.datasets.pending:
                    self._show_nothing_pending()
                    return
                segments, joined, dropped = self._join_small(segments, closing)
                kept = closing.pop_all()
            with kept, ExitStack() as until_shown:
                result = self.committer.commit_pending(segments, joined, dropped, message, until_shown)
                self._show(result)
            self.committer.writer.checkpoint(self.catalog)

    def discard(self) -> None:
        """Forget everything that is pending."""
        with self.locks.building.closed(), self.locks.writing:
            self.committer.resolve()
            self._show_nothing_pending()

    def _show_nothing_pending(self) -> None:
        with self.locks.moving:
            self._forget_pending(self.catalog)
            self.view.changed()

    def _show(self, result: CommitResult) -> None:
        """Show the version that was committed, which holds what was pending."""
        indexes = self.view.indexes_after(result.steps)
        with self.locks.moving:
            result.apply()
            self._forget_pending(result.tip.catalog)
            self.committer.show(result.tip, indexes)

    def _forget_pending(self, catalog: Catalog) -> None:
        """Show a version that holds what was pending."""
        self.writes.clear()
        self.view.datasets.move_to(catalog, [], {})

    def _join_small(
        self, segments: Sequence[NewSegment], closing: ExitStack
    ) -> tuple[list[NewSegment], list[NewSegment], list[str]]:
        """Return `segments`, others that replace small ones of their arrays, and the keys of those that are replaced.

        `closing` releases what the others hold.
        """
        kept: list[NewSegment] = []
        joined: list[NewSegment] = []
        dropped: list[str] = []
        for segment in segments:
            array, content, _ = segment
            kept.append(segment)
            refs = self.catalog.segments.get(array, [])
            count = segments_to_join([ref.size for ref in refs], content.size, self.log.limits)
            if not count:
                continue
            staging = self.writes.new_staging(array)
            closing.callback(staging.close)
            older, last = refs[:-count], refs[-count:]
            try:
                join_segments(array, load_chunk_index(self.view.storage, last, older), self.view.datasets, staging)
            except AtlasError as error:  # they stay as they are; the next read of them raises the error
                _logger.warning("small segments of array %r could not be joined: %s", array, error)
                continue
            gone = [ref.key for ref in last]
            dropped += gone
            live = staging.draft(self._stored.finder(array, gone))
            if live is not None:
                joined.append(NewSegment(array, live, rewritten=True))
            if content.shares:  # perhaps a chunk of a segment that goes
                own = self.writes.by_array[array].draft(
                    self._stored.finder(array, gone, NO_DIGESTS if live is None else live.digests)
                )
                assert own is not None
                kept[-1] = NewSegment(array, own)
        return kept, joined, dropped

    # Moving between versions

    def refresh(self) -> int:
        """Move to the latest version, with what is pending on top of it, and return its number.

        Raises `ConflictError` where what is pending changes something that is gone there; nothing has changed then.
        """
        with self.locks.building.closed(), self.locks.writing:
            self.committer.resolve()
            datasets, writes = self.view.datasets, self.writes
            tip = Tip(*self.log.advance(self.catalog))
            if tip.catalog.version == self.catalog.version:
                return self.catalog.version
            while True:
                try:
                    rebased = rebase(datasets, writes, tip, pending_wins=True)
                    merged = merge_partial_chunks(datasets, writes, tip)
                    break
                except CorruptStoreError as error:
                    tip = tip.advance_past(error, self.catalog.version)
            indexes = self.view.indexes_after(tip.steps)
            # From here on nothing fails.
            with self.locks.moving:
                writes.shift(rebased.shift)
                for array, dataset, chunk, cells in merged:
                    writes.by_array[array].put(dataset, chunk, cells)
                datasets.shift_ids(rebased.shift)
                datasets.move_to(tip.catalog, [*rebased.changed, *rebased.created], rebased.deleted)
                self.committer.show(tip, indexes)
            return self.catalog.version

    def history(self) -> list[Version]:
        """Return the versions that are kept, up to the one shown, oldest first."""

        def read() -> list[Version]:
            with self.locks.state:
                log, version = self.log, self.catalog.version
            return read_history(log, version)

        return self.reader.repeat_if_moved(read)

    def rollback(self, version: int, message: str | None = None) -> int:
        """Commit a version that holds what an earlier one held, and return its number.

        Raises `VersionNotFoundError`, `InvalidValueError` where something is pending, `ConflictError` where another
        writer has committed since the version shown, and `ReadOnlyError`.
        """
        self.locks.check_writable()
        with self.locks.building.closed(), self.locks.writing:
            self.committer.resolve()
            if self.pending:
                raise InvalidValueError(
                    "a store with unflushed changes cannot be rolled back: flush them first, or open it again without"
                )
            if version > self.catalog.version:
                raise self.log.not_kept(version, self.catalog.version)
            old, page_rows = self._sum_of(version)
            changes = replace(
                old, version=self.catalog.version + 1, next_id=self.catalog.next_id, reset=True, writers=()
            )
            prepared = self.committer.writer.prepare(
                changes,
                page_rows,
                action="rollback",
                message=f"to version {version}" if message is None else message,
            )
            with deferred_interrupts():
                result = self.committer.commit_next(prepared)
                if result is None:
                    raise ConflictError(
                        f"another writer has committed to the store at {self.view.storage.describe} since version "
                        f"{self.catalog.version}, which a rollback would undo unseen: call refresh() first"
                    )
                self._show(result)
            self.committer.writer.checkpoint(self.catalog)
            return self.catalog.version

    def _sum_of(self, version: int) -> tuple[Changes, list[RowBatch]]:
        """Return the sum of all commits up to an earlier version, and the contents of its pages.

        Raises `VersionNotFoundError` also where some of it is about to be removed.
        """
        log = self.log
        while True:
            base = log.find_base().version
            old = CommitLog.open(log.storage, version, log.limits)[1]
            try:
                # What was tombstoned before the base is safe: who made the base kept what earlier versions need.
                later = log.commits(max(version, base) + 1, self.catalog.version)
                if not named_files(old).keys().isdisjoint(key for commit in later for key in commit.changes.tombstoned):
                    raise log.not_kept(version, self.catalog.version)
                # Datasets with lower ids than those of a page are in pages too, or the sum could not be read back.
                self.committer.writer.write_pages(old)
                changes = old.checkpoint()
                page_rows = log.read_pages(changes)
            except CorruptStoreError:
                if log.find_base().version == base:
                    raise
            # Otherwise one of the commits that were read may be a late writer's, under a number that was free again.
            if log.find_base().version == base:
                return changes, page_rows

    # Maintenance

    def describe(self) -> StoreDescription:
        """Describe the version that is shown. See `Atlas.describe`."""
        return self.reader.repeat_if_moved(lambda: describe(self.view, self.log))

    def compact(self, keep_versions: int, keep_days: float | None) -> CompactionReport:
        """Flush, rewrite what is spread over many segments or beside dead data, and remove what no kept version needs.

        Returns what was freed and what frees the rest. Raises `ReadOnlyError`.
        """
        self.locks.check_writable()
        collector = Collector(Retention(keep_versions, keep_days))
        with self.locks.building.closed(), self.locks.writing:
            self.flush()
            while True:
                before = self.log.base  # before the refresh: a base that is made after it is noticed
                self.refresh()
                try:
                    report = self._compact(collector)
                    break
                except (CorruptStoreError, StaleHandleError, VersionNotFoundError):
                    # Another process may have compacted meanwhile, and removed what was being read.
                    if self.log.find_base() == before:
                        raise
            _logger.info("%s is compacted: %s", self.view.storage.describe, report)
            return report

    def _compact(self, collector: Collector) -> CompactionReport:
        """Compact the version shown, which nothing is pending on."""
        writer = self.committer.writer
        writer.finish_replacement(self.catalog)
        writer.write_pages(self.catalog)
        collector.list_files(self.view.storage)
        with ExitStack() as until_shown:
            result = self.committer.commit_replacements(self._replacements(), collector.tombstone, until_shown)
            if result is not None:
                self._show(result)
        with self.locks.moving:
            # Before the files go that they lead to: reads that begin now find the new ones.
            self.view.forget_indexes()
            self.view.changed()
        return collector.finish(self.committer.writer, self.catalog, tombstoned=result is not None)

    def _replacements(self) -> dict[str, SegmentReplacement]:
        """Write one segment for each array name that is spread over many, or beside dead data."""
        replacements: dict[str, SegmentReplacement] = {}
        segments: list[NewSegment] = []
        for array, refs in self.catalog.segments.items():
            staging = self.writes.new_staging(array)
            replaced = compact_array(array, refs, self.view.load_index(array), self.view.datasets, staging)
            if replaced:
                replacements[array] = SegmentReplacement(refs, replaced, [])
                draft = staging.draft(None)
                segments += [] if draft is None else [NewSegment(array, draft, rewritten=True)]
        for ref in self.committer.write_segments(segments):
            replacements[ref.array].after.append(ref)
        return replacements


def _take_reader(view: StoreView, writes: PendingWrites, cache: BlockCache, entry: ArrayEntry, dataset: int) -> ReadBox:
    """Return what reads boxes of an array as it is now, for a write that changes part of it. The state lock is held."""
    ids, generations = np.array([dataset]), np.array([entry.generation])
    return partial(take_snapshot(view, writes, cache, entry.name, ids).read, entry.schema, ids, generations)


_reopened: dict[tuple[str, int, bool, Limits, bool, int | None], Session] = {}
_reopened_lock = ForkSafeLock()


def reopen(storage: Storage, version: int, limits: Limits, read_only: bool, cache_bytes: int | None) -> Session:
    """Return the session of this process for a pickled one; `StaleHandleError` where its version is no longer kept."""
    location = f"{os.getpid()}:{storage.durable}:{storage.token}"
    key = (location, version, storage.single_writer, limits, read_only, cache_bytes)
    with _reopened_lock:
        session = _reopened.get(key)
        # A session that shows another version by now, or has pending changes, is not what was pickled.
        if session is None or session.pending or session.catalog.version != version:
            try:
                opened = CommitLog.open(storage, version, limits)
                session = _reopened[key] = Session(*opened, read_only=read_only, pool=pool_for(cache_bytes))
            except VersionNotFoundError as error:
                raise StaleHandleError(
                    f"a version that was opened earlier cannot be opened again: {error}; open the store with Atlas.open"
                ) from error
        return session
