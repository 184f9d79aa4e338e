"""Making a version: segments first, then one commit; and what to do when nobody can say whether it landed.

Not locked: the store's lock guards every call.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from atlas.engine.journal import Attempt, unique_name
from atlas.engine.threads import run_all
from atlas.errors import ConflictError, StorageError
from atlas.format.names import folder_name
from atlas.format.registry import EMPTY_ROWS, Changes, PageRef, RowBatch
from atlas.format.segment import SegmentRef
from atlas.planning.schedule import rows_go_to_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from atlas.engine.datasets import Datasets
    from atlas.engine.journal import Journal
    from atlas.engine.staging import SegmentDraft

__all__ = ["Committer"]

_log = logging.getLogger("atlas.engine")


class Committer:
    """Turns what is pending into versions of the store."""

    def __init__(self, journal: Journal, datasets: Datasets) -> None:
        self._journal = journal
        self._datasets = datasets
        self._uncertain: Attempt | None = None

    def write_segments(self, drafts: Sequence[tuple[str, SegmentDraft]]) -> list[SegmentRef]:
        """Write a segment of an array name for each draft, side by side; an error leaves none of them.

        They are returned by array name, those of one in the order of their drafts.
        """
        written: list[SegmentRef] = []

        def write(item: tuple[str, SegmentDraft]) -> SegmentRef:
            array, draft = item
            key = f"arrays/{folder_name(array)}/{unique_name()}.seg"
            draft.write(self._journal.storage, key)
            written.append(SegmentRef(array, key, draft.size, draft.footer))
            return written[-1]

        try:
            refs = run_all(write, drafts)
        except BaseException:
            self.remove(ref.key for ref in written)
            raise
        return sorted(refs, key=lambda ref: ref.array)

    def commit_pending(self, segments: list[SegmentRef], dropped: Sequence[str]) -> Changes:
        """Commit what is pending of datasets, with the segments of their arrays, and return what was committed.

        `dropped` are the keys of segments whose content is among that of `segments`.
        """
        try:
            changed, created = self._datasets.row_batches()
            pages: tuple[PageRef, ...] = ()
            rows = RowBatch.joined(changed, created)
            if rows_go_to_page(len(created)):
                pages, rows = (self._journal.write_page(created),), changed
        except BaseException:
            self.remove(ref.key for ref in segments)
            raise
        deleted = np.array(sorted(self._datasets.deleted.values()), np.int64)
        catalog = self._datasets.catalog
        changes = Changes(
            catalog.version + 1, self._datasets.next_id, pages, deleted, rows, tuple(dropped), tuple(segments)
        )
        self._commit(changes, [created] if pages else [])
        return changes

    def commit_swap(self, dropped: list[str], segments: list[SegmentRef]) -> None:
        """Commit that `segments` take the place of those with the keys `dropped`."""
        catalog = self._datasets.catalog
        changes = Changes(
            catalog.version + 1,
            catalog.next_id,
            rows=EMPTY_ROWS,
            dropped=tuple(dropped),
            segments=tuple(segments),
        )
        self._commit(changes, [])

    def _commit(self, changes: Changes, page_rows: list[RowBatch]) -> None:
        attempt = self._journal.attempt(changes, page_rows)
        try:
            self._journal.commit(attempt)
        except ConflictError:
            self._discard(attempt)
            raise
        except StorageError:
            landed = self._journal.landed(attempt)
            if landed is None:  # nobody can tell now: the next flush begins by asking again
                self._uncertain = attempt
            elif not landed:
                self._discard(attempt)
            if not landed:
                raise
        self._datasets.catalog.apply(changes, page_rows)
        _log.info(
            "%s is at version %d: %d datasets, %d segments written",
            self._journal.storage.describe,
            changes.version,
            len(self._datasets.catalog),
            len(changes.segments),
        )

    def settle(self) -> Changes | None:
        """Find out whether a commit whose answer was lost has landed, and return what it changed if so.

        What was pending stays pending: it is written once more, with what came since: the same values under the
        same ids.
        Raises `StorageError` where the storage still does not say.
        """
        attempt = self._uncertain
        if attempt is None:
            return None
        landed = self._journal.landed(attempt)
        if landed is None:
            raise StorageError(
                f"{self._journal.storage.describe} does not answer, and an earlier flush may or may not have landed; "
                "flush again once it does"
            )
        self._uncertain = None
        if not landed:
            self._discard(attempt)
            return None
        self._datasets.catalog.apply(attempt.changes, attempt.page_rows)
        self._datasets.settle()
        return attempt.changes

    def _discard(self, attempt: Attempt) -> None:
        changes = attempt.changes
        self.remove([*(segment.key for segment in changes.segments), *(page.key for page in changes.pages)])

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files that no version names; where that fails they stay, invisible, until the store is compacted."""
        try:
            self._journal.storage.delete(keys)
        except StorageError as error:
            _log.warning("files that nothing refers to could not be removed: %s", error)
