"""Makes versions: writes segments, then one commit, on top of what other writers have committed meanwhile.

Also finds out whether a commit was made whose answer was lost. The caller must hold the handle's `writing` lock, so
that nothing else changes the handle; reads go on meanwhile. Only `resolve` and `show` change the handle.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.commit.commit_writer import CommitWriter
from atlas.commit.rebase import rebase, unchanged_base
from atlas.commit.tip import Tip
from atlas.errors import CorruptStoreError, StorageError
from atlas.format.changes import Changes, PageRef
from atlas.format.dataset_columns import RowBatch
from atlas.format.names import folder_name
from atlas.format.segment import SegmentRef
from atlas.runtime.interrupts import deferred_interrupts
from atlas.runtime.threads import run_all, run_io
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import ExitStack

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.id_shift import IdShift
    from atlas.catalog.view import StoreView
    from atlas.commit.commit_log import CommitLog
    from atlas.commit.commit_writer import PreparedCommit
    from atlas.commit.rebase import RebasedChanges
    from atlas.write.pending import PendingWrites
    from atlas.write.single_chunks import Draft

__all__ = ["CommitResult", "Committer", "NewSegment", "SegmentReplacement"]

_logger = logging.getLogger(__name__)

_SMALL = 64 << 10
"""Bytes of a segment that takes no longer to write than to make its file."""


class NewSegment(NamedTuple):
    """A segment to write."""

    array: str
    """Array name."""
    content: Draft
    """Its chunks."""
    rewritten: bool = False
    """Whether it holds only chunks of other segments, which are dropped."""


@dataclass(frozen=True, slots=True)
class SegmentReplacement:
    """Segments of one array name that replace some of its segments, or all."""

    before: list[SegmentRef]
    """All its segments until now."""
    replaced: list[SegmentRef]
    """Those of them that are replaced."""
    after: list[SegmentRef]
    """The segments that hold the live chunks of these."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit that was made."""

    tip: Tip
    """The version before it."""
    prepared: PreparedCommit
    """The commit."""
    shift: IdShift
    """The ids that new datasets got."""

    @property
    def steps(self) -> list[Changes] | None:
        """The changes of all commits since the version that the handle shows, None where not all are known."""
        steps = self.tip.steps
        return None if steps is None else [*steps, self.prepared.changes]

    def apply(self) -> None:
        """Apply the commit to the catalog of its tip, which then has the version that the commit made."""
        changes = self.prepared.changes
        self.tip.catalog.apply(changes, self.prepared.page_rows)
        _logger.info(
            "%s is at version %d: %d datasets, %d segments written",
            self.tip.log.storage.describe,
            changes.version,
            len(self.tip.catalog),
            len(changes.segments),
        )


class Committer:
    """Turns what is pending into versions of the store, and moves the handle from one version to another."""

    def __init__(self, view: StoreView, writes: PendingWrites, log: CommitLog) -> None:
        self._view = view
        self._writes = writes
        self._unresolved: CommitResult | None = None
        self.log = log
        """The documents of the version that the handle shows."""

    @property
    def writer(self) -> CommitWriter:
        """A writer of documents after the version that the handle shows."""
        return CommitWriter(self.log)

    # Segments

    def write_segments(self, segments: Sequence[NewSegment]) -> list[SegmentRef]:
        """Write segments side by side and return them by array name, those of one name in the order given.

        Removes all of them where one fails. Raises `StorageError`.
        """
        written: dict[int, SegmentRef] = {}

        def write(at: int) -> None:
            array, content, rewritten = segments[at]
            key = f"arrays/{folder_name(array)}/{unique_name()}.seg"
            content.write(self._view.storage, key)
            written[at] = SegmentRef(array, key, content.size, content.footer, rewritten=rewritten)

        is_small = [segment.content.size <= _SMALL for segment in segments]
        try:
            run_all(write, [at for at, small in enumerate(is_small) if not small])
            run_io(write, [at for at, small in enumerate(is_small) if small], self._view.storage.writes_at_once)
        except BaseException:
            self.remove(ref.key for ref in written.values())
            raise
        return sorted((written[at] for at in range(len(segments))), key=lambda ref: ref.array)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files that no version names. Logs a failure: they stay as orphans until the store is compacted."""
        try:
            self._view.storage.delete(keys)
        except StorageError as error:
            _logger.warning("files that no version names could not be removed; compact() removes them later: %s", error)

    # Commits

    def commit_pending(
        self,
        segments: Sequence[NewSegment],
        joined: Sequence[NewSegment],
        dropped: Sequence[str],
        message: str | None,
        until_shown: ExitStack,
    ) -> CommitResult:
        """Write `segments` and commit them with all pending changes.

        The caller closes `until_shown` once it shows the version that was made: interrupts wait until then.

        `joined` are segments that hold the live chunks of the segments `dropped`, by key. Where other writers have
        committed since, the commit goes on top of theirs, without the joined segments.

        Raises `StorageError`, and `ConflictError` where both sides changed the same. The store is unchanged then,
        unless the answer to the commit was lost: `resolve` finds that out before the next flush.
        """
        tip, changes = self._current_tip(), unchanged_base(self._view.datasets)
        refs = self.write_segments([*joined, *segments])
        prepared = None
        try:
            until_shown.enter_context(deferred_interrupts())
            while True:
                prepared = self._prepare(tip, changes, refs, dropped, message)
                result = self._commit(tip, prepared, changes.shift)
                if result is not None:
                    return result
                self.remove(page.key for page in prepared.changes.pages)
                tip, changes = self._rebase(tip.advance())
                # Another writer may have written newer chunks than the joined segments hold, which would hide them.
                self.remove(ref.key for ref in refs if ref.rewritten)
                refs = [ref for ref in refs if not ref.rewritten]
                whole = [self._without_lost(segment, tip, joined=bool(dropped)) for segment in segments]
                dropped = ()
                if whole != list(segments) or tip.tombstones(ref.key for ref in refs):
                    self.remove(ref.key for ref in refs)
                    refs, segments = [], whole
                    refs = self.write_segments(segments)
        except BaseException:
            if self._unresolved is None:
                pages = () if prepared is None else prepared.changes.pages
                self.remove([*(ref.key for ref in refs), *(page.key for page in pages)])
            raise

    def _without_lost(self, segment: NewSegment, tip: Tip, *, joined: bool) -> NewSegment:
        """Return a segment that shares no chunk with segments that `tip` lacks, or with those that were `joined`."""
        if not segment.content.shares:
            return segment
        before, now = (
            {ref.key for ref in catalog.segments.get(segment.array, ())}
            for catalog in (self._view.catalog, tip.catalog)
        )
        if before <= now and not joined:
            return segment
        content = self._writes.by_array[segment.array].draft(None)
        assert content is not None
        return NewSegment(segment.array, content)

    def _current_tip(self) -> Tip:
        """Return the version that the handle shows, as a tip."""
        return Tip(self.log, self._view.catalog, [])

    def _rebase(self, tip: Tip) -> tuple[Tip, RebasedChanges]:
        """Return `tip`, or a later version if that is no longer kept, and the pending changes as changes of it."""
        while True:
            try:
                return tip, rebase(self._view.datasets, self._writes, tip, pending_wins=False)
            except CorruptStoreError as error:
                tip = tip.advance_past(error, self._view.catalog.version)

    def _prepare(
        self,
        tip: Tip,
        rebased: RebasedChanges,
        refs: list[SegmentRef],
        dropped: Sequence[str],
        message: str | None,
    ) -> PreparedCommit:
        """Return the commit that makes the version after `tip` of the pending changes and the segments `refs`."""
        changed, created = rebased.rows()
        writer, shift = CommitWriter(tip.log), rebased.shift
        pages: tuple[PageRef, ...] = ()
        rows = RowBatch.joined(changed, created)
        if len(created) > tip.log.limits.page_rows:
            pages, rows = (writer.write_page(created),), changed
        changes = Changes(
            tip.catalog.version + 1,
            self._view.datasets.next_id + shift.by,
            pages,
            np.array(sorted(rebased.deleted.values()), np.int64),
            rows,
            tuple(dropped),
            tuple(replace(ref, shift_from=shift.first, shift_by=shift.by) if shift.by else ref for ref in refs),
            replaced=np.array(sorted(state.identity for state in rebased.changed if state.replaced), np.int64),
        )
        return writer.prepare(changes, [created] if pages else [], message=message)

    def commit_replacements(
        self,
        replacements: Mapping[str, SegmentReplacement],
        tombstone: Callable[[Tip, list[str]], tuple[str, ...]],
        until_shown: ExitStack,
    ) -> CommitResult | None:
        """Commit replacements of segments, by array name; return None where there is nothing to commit.

        For `until_shown` see `commit_pending`.

        `tombstone` returns the keys of the files to tombstone, given the version before and the keys that are dropped.
        Arrays that other writers have written to meanwhile are left as they are.
        """
        tip, shift = self._current_tip(), unchanged_base(self._view.datasets).shift
        left = dict(replacements)
        try:
            until_shown.enter_context(deferred_interrupts())
            while True:
                for array, replacement in list(left.items()):
                    same = tip.catalog.segments.get(array, []) == replacement.before
                    # A rollback may restore datasets whose chunks only the replaced segments hold.
                    if not same or tip.comparable is None or tip.tombstones(ref.key for ref in replacement.after):
                        self.remove(ref.key for ref in left.pop(array).after)
                dropped = [ref.key for replacement in left.values() for ref in replacement.replaced]
                gone = tombstone(tip, dropped)
                if not left and not gone:
                    return None
                changes = Changes(
                    tip.catalog.version + 1,
                    tip.catalog.next_id,
                    dropped=tuple(dropped),
                    segments=tuple(ref for replacement in left.values() for ref in replacement.after),
                    tombstoned=gone,
                )
                prepared = CommitWriter(tip.log).prepare(changes, [], action="compact")
                result = self._commit(tip, prepared, shift)
                if result is not None:
                    return result
                tip = tip.advance()
        except BaseException:
            if self._unresolved is None:
                self.remove(ref.key for replacement in left.values() for ref in replacement.after)
            raise

    def commit_next(self, prepared: PreparedCommit) -> CommitResult | None:
        """Commit changes that hold only right after the handle's version; None where another writer committed first."""
        tip = Tip(self.log, self._view.catalog.copy(), None)
        return self._commit(tip, prepared, unchanged_base(self._view.datasets).shift)

    def _commit(self, tip: Tip, prepared: PreparedCommit, shift: IdShift) -> CommitResult | None:
        """Create the commit that makes the version after `tip`; None where another writer has made that version."""
        result, writer = CommitResult(tip, prepared, shift), CommitWriter(tip.log)
        try:
            return result if writer.commit(prepared) else None
        except (StorageError, CorruptStoreError):
            landed = writer.landed(prepared)
            # It may have been made, or may still be: its files must stay. `resolve` finds out before the next flush.
            if landed is None or (not landed and tip.log.storage.answers_late):
                self._unresolved = result
            if not landed:
                raise
        except BaseException:
            self._unresolved = result  # a second interrupt, after which the answer is as unknown
            raise
        return result

    def resolve(self) -> None:
        """Find out whether a commit was made whose answer was lost, and show the version that it made if so.

        Where its request may still be on its way, the commit is created once more: then its number is taken, and a
        late request changes nothing. What was pending stays pending: the next flush writes the same values once more.

        Raises `StorageError` where the storage still cannot tell.
        """
        if self._unresolved is None:
            return
        result = self._unresolved
        prepared, writer, storage = result.prepared, CommitWriter(result.tip.log), result.tip.log.storage
        landed: bool | None
        if storage.answers_late:
            try:
                landed = writer.commit(prepared)
            except (StorageError, CorruptStoreError):
                landed = writer.landed(prepared) or None
        else:
            landed = writer.landed(prepared)
        if landed is None:
            raise StorageError(
                f"{storage.describe} does not answer, so it is unknown whether an earlier call committed version "
                f"{prepared.version}; what is pending is kept: call flush() again once the storage answers"
            )
        self._unresolved = None
        changes = prepared.changes
        if not landed:
            self.remove([*(segment.key for segment in changes.segments), *(page.key for page in changes.pages)])
            return
        indexes = self._view.indexes_after(result.steps)
        with self._view.locks.moving:
            result.apply()
            created = [*prepared.page_rows, changes.rows]
            self._view.datasets.rebase_on_own_commit(result.tip.catalog, created, result.shift)
            self._writes.shift(result.shift)
            self.show(result.tip, indexes)

    def show(self, tip: Tip, indexes: dict[str, ChunkIndex]) -> None:
        """Show the version `tip`, which the view's datasets already have, with its chunk indexes that are known."""
        self.log = tip.log
        self._writes.config = tip.log.config
        self._view.is_gone = tip.log.has_moved_past
        self._view.move_to(indexes)
