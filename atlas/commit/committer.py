"""Makes versions: segments first, then one commit, on top of what other writers have committed meanwhile.

Also finds out what became of a commit whose answer was lost. The caller must hold the handle's `writing` lock, so that
nothing else changes the handle; reads go on meanwhile. Only `resolve` and `show` change the handle.
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
from atlas.runtime.threads import run_all
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from atlas.catalog.id_shift import IdShift
    from atlas.catalog.view import StoreView
    from atlas.commit.commit_log import CommitLog
    from atlas.commit.commit_writer import PreparedCommit
    from atlas.commit.rebase import RebasedChanges
    from atlas.write.pending import PendingWrites
    from atlas.write.staging import SegmentDraft

__all__ = ["CommitResult", "Committer", "NewSegment", "SegmentReplacement"]

_logger = logging.getLogger(__name__)


class NewSegment(NamedTuple):
    """A segment that is to be written."""

    array: str
    """Array name."""
    content: SegmentDraft
    """What it holds."""
    rewritten: bool = False
    """Whether that is only what other segments held, which are dropped."""


@dataclass(frozen=True, slots=True)
class SegmentReplacement:
    """Segments of one array name that replace all that it had."""

    before: list[SegmentRef]
    """Those that it had."""
    after: list[SegmentRef]
    """Those that hold the same."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit that is in place."""

    tip: Tip
    """The version that it was made on."""
    prepared: PreparedCommit
    """What it changes."""
    shift: IdShift
    """What became of the ids of new datasets."""

    def apply(self) -> list[Changes] | None:
        """Add the changes to the tip's catalog, which is then the version that the commit made.

        Returns everything that leads there from the version the handle shows, None where it is not all known.
        """
        changes = self.prepared.changes
        self.tip.catalog.apply(changes, self.prepared.page_rows)
        _logger.info(
            "%s is at version %d: %d datasets, %d segments written",
            self.tip.log.storage.describe,
            changes.version,
            len(self.tip.catalog),
            len(changes.segments),
        )
        steps = self.tip.steps
        return None if steps is None else [*steps, changes]


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
        """Writes documents on top of the version that the handle shows."""
        return CommitWriter(self.log)

    # Segments

    def write_segments(self, segments: Sequence[NewSegment]) -> list[SegmentRef]:
        """Write segments side by side; an error leaves none of them.

        They are returned by array name, those of one name in the order given.
        """
        written: list[SegmentRef] = []

        def write(segment: NewSegment) -> SegmentRef:
            key = f"arrays/{folder_name(segment.array)}/{unique_name()}.seg"
            segment.content.write(self._view.storage, key)
            content = segment.content
            ref = SegmentRef(segment.array, key, content.size, content.footer, rewritten=segment.rewritten)
            written.append(ref)
            return ref

        try:
            refs = run_all(write, segments)
        except BaseException:
            self.remove(ref.key for ref in written)
            raise
        return sorted(refs, key=lambda ref: ref.array)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files that no version names. Where that fails they stay as orphans until the store is compacted."""
        try:
            self._view.storage.delete(keys)
        except StorageError as error:
            _logger.warning("files that nothing refers to could not be removed: %s", error)

    # Commits

    def commit_pending(
        self, segments: Sequence[NewSegment], joined: Sequence[NewSegment], dropped: Sequence[str], message: str | None
    ) -> CommitResult:
        """Commit what is pending, with the new `segments`.

        `joined` are segments that hold what those with the keys `dropped` held. Where other writers have committed
        since, the commit goes on top of theirs, without the joined ones. Where both have changed the same it raises
        `ConflictError`, and nothing of this is stored.
        """
        tip, changes = self._current_tip(), unchanged_base(self._view.datasets)
        refs = self.write_segments([*joined, *segments])
        prepared = None
        try:
            while True:
                prepared = self._prepare(tip, changes, refs, dropped, message)
                result = self._commit(tip, prepared, changes.shift)
                if result is not None:
                    return result
                self.remove(page.key for page in prepared.changes.pages)
                tip, changes = self._rebase(tip.advance())
                # Another writer may have written newer chunks than were joined, which the joined ones would then hide.
                self.remove(ref.key for ref in refs if ref.rewritten)
                refs, dropped = [ref for ref in refs if not ref.rewritten], ()
                if tip.tombstones(ref.key for ref in refs):
                    self.remove(ref.key for ref in refs)
                    refs = []
                    refs = self.write_segments(segments)
        except BaseException:
            if self._unresolved is None:
                pages = () if prepared is None else prepared.changes.pages
                self.remove([*(ref.key for ref in refs), *(page.key for page in pages)])
            raise

    def _current_tip(self) -> Tip:
        """Return the version that the handle shows."""
        return Tip(self.log, self._view.catalog, [])

    def _rebase(self, tip: Tip) -> tuple[Tip, RebasedChanges]:
        """Return the latest version, which is `tip` or a later one, and what is pending as changes of it."""
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
        """Return the commit of what is pending as the version after `tip`."""
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
        )
        return writer.prepare(changes, [created] if pages else [], message=message)

    def commit_replacements(
        self,
        replacements: Mapping[str, SegmentReplacement],
        tombstone: Callable[[Tip, list[str]], tuple[str, ...]],
    ) -> CommitResult | None:
        """Commit replacements of segments, by array name; None where there is nothing to commit.

        `tombstone` returns the keys of the files that shall go, from the version before and the keys that are dropped.
        Arrays that other writers have written to meanwhile are left as they are.
        """
        tip, shift = self._current_tip(), unchanged_base(self._view.datasets).shift
        left = dict(replacements)
        try:
            while True:
                for array, replacement in list(left.items()):
                    same = tip.catalog.segments.get(array, []) == replacement.before
                    # A rollback may bring datasets back that only the replaced segments hold.
                    if not same or tip.comparable is None or tip.tombstones(ref.key for ref in replacement.after):
                        self.remove(ref.key for ref in left.pop(array).after)
                dropped = [ref.key for replacement in left.values() for ref in replacement.before]
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
        """Commit a change that holds only right after the handle's version; None where another writer came first."""
        tip = Tip(self.log, self._view.catalog.copy(), None)
        return self._commit(tip, prepared, unchanged_base(self._view.datasets).shift)

    def _commit(self, tip: Tip, prepared: PreparedCommit, shift: IdShift) -> CommitResult | None:
        """Create the commit as the version after `tip`; None where another writer has made that version."""
        result, writer = CommitResult(tip, prepared, shift), CommitWriter(tip.log)
        try:
            return result if writer.commit(prepared) else None
        except (StorageError, CorruptStoreError):
            landed = writer.landed(prepared)
            # It may have landed, or may land yet: its files must stay. The next flush begins by creating it again.
            if landed is None or (not landed and tip.log.storage.answers_late):
                self._unresolved = result
            if not landed:
                raise
        return result

    def resolve(self) -> None:
        """Find out what became of a commit whose answer was lost, and show the version that it made if it landed.

        Where its request may still be on its way it is created once more: from then on the number is taken, and that
        request decides nothing. What was pending stays pending: it is written once more, with what came since, as
        the same values. Raises `StorageError` where the storage still does not say.
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
                f"{storage.describe} does not answer, and an earlier flush may or may not have landed; "
                "flush again once it does"
            )
        self._unresolved = None
        changes = prepared.changes
        if not landed:
            self.remove([*(segment.key for segment in changes.segments), *(page.key for page in changes.pages)])
            return
        with self._view.locks.state:
            steps = result.apply()
            created = [*prepared.page_rows, changes.rows]
            self._view.datasets.rebase_on_own_commit(result.tip.catalog, created, result.shift)
            self._writes.shift(result.shift)
            self.show(result.tip, steps)

    def show(self, tip: Tip, steps: list[Changes] | None) -> None:
        """Show another version, which the datasets have already. `steps` lead there, None where they are not known."""
        self.log = tip.log
        self._view.is_gone = tip.log.has_moved_past
        self._view.note_commits(steps)
