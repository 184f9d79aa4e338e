"""Making a version: segments first, then one commit, on top of whatever others have committed meanwhile.

Also what to do when nobody can say whether a commit landed. The handle itself is changed by `settle` alone, so that it
can be read meanwhile; who calls holds off whoever would change it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.catalog.paging import rows_go_to_page
from atlas.commit.rebase import Pending, Rebased, Tip, as_it_is, rebase
from atlas.errors import CorruptStoreError, StorageError
from atlas.format.dataset_columns import RowBatch
from atlas.format.names import folder_name
from atlas.format.registry import Changes, PageRef
from atlas.format.segment import SegmentRef
from atlas.runtime.threads import run_all
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from atlas.commit.commit_writer import PreparedCommit
    from atlas.session_state import State
    from atlas.write.staging import SegmentDraft

__all__ = ["CommitResult", "Committer", "Draft", "SegmentReplacement"]

_log = logging.getLogger(__name__)


class Draft(NamedTuple):
    """A segment that is to be written."""

    array: str
    """Array name."""
    content: SegmentDraft
    """What it holds."""
    moved: bool = False
    """Whether that is only what other segments held, which are dropped."""


@dataclass(frozen=True, slots=True)
class SegmentReplacement:
    """Segments of one array name that take the place of all there were."""

    before: list[SegmentRef]
    """Those there were."""
    after: list[SegmentRef]
    """Those that hold the same."""


class CommitResult(NamedTuple):
    """A commit that is in place."""

    ahead: Tip
    """The version it was made on."""
    attempt: PreparedCommit
    """What it changes."""
    first: int
    """Ids of new datasets, from this one on, …"""
    by: int
    """… were raised by this much."""

    def apply(self) -> Tip:
        """Add the changes to the catalog of the version before, and return the version that they made."""
        changes = self.attempt.changes
        self.ahead.catalog.apply(changes, self.attempt.page_rows)
        _log.info(
            "%s is at version %d: %d datasets, %d segments written",
            self.ahead.journal.storage.describe,
            changes.version,
            len(self.ahead.catalog),
            len(changes.segments),
        )
        return self.ahead.with_changes(changes)


class Committer:
    """Turns what is pending into versions of the store."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._uncertain: CommitResult | None = None

    def write_segments(self, drafts: Sequence[Draft]) -> list[SegmentRef]:
        """Write a segment for each draft, side by side; an error leaves none of them.

        They are returned by array name, those of one in the order of their drafts.
        """
        written: list[SegmentRef] = []

        def write(draft: Draft) -> SegmentRef:
            key = f"arrays/{folder_name(draft.array)}/{unique_name()}.seg"
            draft.content.write(self._state.journal.storage, key)
            ref = SegmentRef(draft.array, key, draft.content.size, draft.content.footer, moved=draft.moved)
            written.append(ref)
            return ref

        try:
            refs = run_all(write, drafts)
        except BaseException:
            self.remove(ref.key for ref in written)
            raise
        return sorted(refs, key=lambda ref: ref.array)

    def commit_pending(
        self, drafts: Sequence[Draft], joined: Sequence[Draft], dropped: Sequence[str], message: str | None
    ) -> CommitResult:
        """Commit what is pending, with the segments `drafts`.

        `joined` are segments that hold what those with the keys `dropped` held. Where other writers have committed
        since, the commit goes on top of theirs, without them; where both have changed the same it raises
        `ConflictError`, and nothing of this is stored.
        """
        state = self._state
        pending = Pending(state.datasets, state.staging)
        ahead, rebased = Tip(state.journal, state.catalog, []), as_it_is(state.datasets)
        refs = self.write_segments([*joined, *drafts])
        attempt = None
        try:
            while True:
                attempt = self._attempt(ahead, rebased, refs, dropped, message)
                landed = self._commit(ahead, attempt, rebased)
                if landed is not None:
                    return landed
                self.remove(page.key for page in attempt.changes.pages)
                ahead, rebased = self._rebase(pending, ahead.further())
                # Theirs may hold newer chunks than what was joined, which would then come to lie behind them.
                self.remove(ref.key for ref in refs if ref.moved)
                refs, dropped = [ref for ref in refs if not ref.moved], ()
                if ahead.tombstones(ref.key for ref in refs):
                    self.remove(ref.key for ref in refs)
                    refs = []
                    refs = self.write_segments(drafts)
        except BaseException:
            if self._uncertain is None:
                pages = () if attempt is None else attempt.changes.pages
                self.remove([*(ref.key for ref in refs), *(page.key for page in pages)])
            raise

    def _rebase(self, pending: Pending, ahead: Tip) -> tuple[Tip, Rebased]:
        """Return the latest version, which is `ahead` or a later one, and what is pending as changes of it."""
        while True:
            try:
                return ahead, rebase(pending, ahead, mine_wins=False)
            except CorruptStoreError as error:
                ahead = ahead.without(error, self._state.catalog.version)

    def _attempt(
        self, ahead: Tip, rebased: Rebased, refs: list[SegmentRef], dropped: Sequence[str], message: str | None
    ) -> PreparedCommit:
        """Return the commit of what is pending as the version after `ahead`."""
        changed, created = rebased.rows()
        catalog, journal = ahead.catalog, ahead.journal
        pages: tuple[PageRef, ...] = ()
        rows = RowBatch.joined(changed, created)
        if rows_go_to_page(len(created)):
            pages, rows = (journal.write_page(created),), changed
        changes = Changes(
            catalog.version + 1,
            self._state.datasets.next_id + rebased.by,
            pages,
            np.array(sorted(rebased.deleted.values()), np.int64),
            rows,
            tuple(dropped),
            tuple(replace(ref, shift_from=rebased.first, shift_by=rebased.by) for ref in refs)
            if rebased.by
            else tuple(refs),
        )
        return journal.attempt(changes, [created] if pages else [], message=message)

    def commit_swaps(
        self, swaps: Mapping[str, SegmentReplacement], tombstone: Callable[[Tip, list[str]], tuple[str, ...]]
    ) -> CommitResult | None:
        """Commit swaps of segments, by array name; None where there is nothing to commit.

        `tombstone` returns the keys of the files that shall go, from the version before and the keys that are dropped.
        Arrays that other writers have written to meanwhile are left as they are.
        """
        state = self._state
        ahead, nothing = Tip(state.journal, state.catalog, []), as_it_is(state.datasets)
        left = dict(swaps)
        try:
            while True:
                for array, swap in list(left.items()):
                    same = ahead.catalog.segments.get(array, []) == swap.before
                    # A rollback may bring datasets back of which the swap holds nothing, by the segments there were.
                    if not same or ahead.changes is None or ahead.tombstones(ref.key for ref in swap.after):
                        self.remove(ref.key for ref in left.pop(array).after)
                dropped = [ref.key for swap in left.values() for ref in swap.before]
                gone = tombstone(ahead, dropped)
                if not left and not gone:
                    return None
                changes = Changes(
                    ahead.catalog.version + 1,
                    ahead.catalog.next_id,
                    dropped=tuple(dropped),
                    segments=tuple(ref for swap in left.values() for ref in swap.after),
                    tombstoned=gone,
                )
                attempt = ahead.journal.attempt(changes, [], action="compact")
                landed = self._commit(ahead, attempt, nothing)
                if landed is not None:
                    return landed
                ahead = ahead.further()
        except BaseException:
            if self._uncertain is None:
                self.remove(ref.key for swap in left.values() for ref in swap.after)
            raise

    def commit_alone(self, attempt: PreparedCommit) -> CommitResult | None:
        """Commit a change that holds only right after the handle's version; None where another came first."""
        ahead = Tip(self._state.journal, self._state.catalog.copy(), None)
        return self._commit(ahead, attempt, as_it_is(self._state.datasets))

    def _commit(self, ahead: Tip, attempt: PreparedCommit, rebased: Rebased) -> CommitResult | None:
        """Make the attempt the version after `ahead`; None where another writer has made that."""
        landed = CommitResult(ahead, attempt, rebased.first, rebased.by)
        try:
            return landed if ahead.journal.commit(attempt) else None
        except (StorageError, CorruptStoreError):
            told = ahead.journal.landed(attempt)
            # Nobody can tell now, or it may land yet, so its files must stay: the next flush begins by making it again.
            if told is None or (not told and ahead.journal.storage.answers_late):
                self._uncertain = landed
            if not told:
                raise
        return landed

    def settle(self) -> Tip | None:
        """Find out what became of a commit of which nobody could say, and return the version that it made if it did.

        Where its request may still be on its way it is made once more: from then on the number is taken, and that
        request decides nothing. What was pending stays pending: it is written once more, with what came since, as
        the same values. Raises `StorageError` where the storage still does not say.
        """
        if self._uncertain is None:
            return None
        uncertain = self._uncertain
        ahead, attempt, first, by = uncertain
        journal = ahead.journal
        told: bool | None
        if journal.storage.answers_late:
            try:
                told = journal.commit(attempt)
            except (StorageError, CorruptStoreError):
                told = journal.landed(attempt) or None
        else:
            told = journal.landed(attempt)
        if told is None:
            raise StorageError(
                f"{journal.storage.describe} does not answer, and an earlier flush may or may not have landed; "
                "flush again once it does"
            )
        self._uncertain = None
        changes = attempt.changes
        if not told:
            self.remove([*(segment.key for segment in changes.segments), *(page.key for page in changes.pages)])
            return None
        with self._state.lock:
            made = uncertain.apply()
            self._state.datasets.settle(made.catalog, [*attempt.page_rows, changes.rows], first, by)
            for staging in self._state.staging.values():
                staging.shift(first, by)
            self._state.show(made)
        return made

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files that no version names; where that fails they stay, invisible, until the store is compacted."""
        try:
            self._state.journal.storage.delete(keys)
        except StorageError as error:
            _log.warning("files that nothing refers to could not be removed: %s", error)
