"""The latest version that a writer found, and the commits that lead there from the version its handle shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import load_segment
from atlas.commit.documents import is_missing_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.commit.commit_log import Commit, CommitLog
    from atlas.errors import CorruptStoreError
    from atlas.format.changes import Changes

__all__ = ["Tip"]


@dataclass(frozen=True, slots=True)
class Tip:
    """A version of the store that the next commit goes on top of."""

    log: CommitLog
    """Its documents."""
    catalog: Catalog
    """What it holds."""
    commits: list[Commit] | None
    """The commits since the version that the handle shows, None where they are not all kept."""
    read: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Dataset, generation and chunk of the segments that were read for comparison, by key.

    A flush that other writers forestall time and again reads each segment once.
    """

    @property
    def steps(self) -> list[Changes] | None:
        """What the commits changed, None where they are not all kept."""
        return None if self.commits is None else [commit.changes for commit in self.commits]

    @property
    def comparable(self) -> list[Changes] | None:
        """What the commits changed, None where the chunks that they wrote cannot be told from their segments."""
        steps = self.steps
        return None if steps is None or any(changes.reset for changes in steps) else steps

    def tombstones(self, keys: Iterable[str]) -> bool:
        """Return whether one of the files may have been tombstoned on the way, so that no commit may name it."""
        if self.commits is None:
            return True
        tombstoned = {key for commit in self.commits for key in commit.changes.tombstoned}
        return not tombstoned.isdisjoint(keys)

    def written_chunks(self, array: str | None = None) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield what the commits wrote, segment by segment: array name, and dataset, generation and chunk (3, N).

        Of one array name, or of all. Raises `CorruptStoreError` where a segment cannot be read.
        """
        for changes in self.comparable or ():
            for ref in changes.segments:
                if ref.rewritten or array not in {None, ref.array}:
                    continue
                if ref.key not in self.read:
                    _, rows = load_segment(self.log.storage, ref)
                    self.read[ref.key] = np.array([rows.dataset, rows.generation, rows.chunk])
                yield ref.array, self.read[ref.key]

    def advance(self) -> Tip:
        """Return the version that is the latest now."""
        log, catalog, commits = self.log.advance(self.catalog)
        known = None if self.commits is None or commits is None else [*self.commits, *commits]
        return Tip(log, catalog, known, self.read)

    def advance_past(self, error: CorruptStoreError, since: int) -> Tip:
        """Return the tip to go on with where a file that leads here from the version `since` could not be read.

        Another process may have given up versions meanwhile. Raises the error where it is damage.
        """
        if is_missing_file(error):
            base = self.log.find_base().version
            if base > self.catalog.version:
                return self.advance()
            if base > since and self.commits is not None:
                return replace(self, commits=None)
        raise error
