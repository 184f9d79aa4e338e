"""The tip: the latest version that a writer found, and the commits since the version that its handle shows."""

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
    """The version that the next commit follows."""

    log: CommitLog
    """Its commit log."""
    catalog: Catalog
    """Its catalog."""
    commits: list[Commit] | None
    """The commits since the version that the handle shows, None where they are not all kept."""
    read: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Dataset id, generation and chunk, (3, N), of each segment that was read for comparison, by key.

    So a flush reads each segment once, however often other writers commit before it.
    """

    @property
    def steps(self) -> list[Changes] | None:
        """The changes of the commits, None where not all of them are kept."""
        return None if self.commits is None else [commit.changes for commit in self.commits]

    @property
    def comparable(self) -> list[Changes] | None:
        """The changes of the commits, None where their segments do not say which chunks they wrote."""
        steps = self.steps
        return None if steps is None or any(changes.reset for changes in steps) else steps

    @property
    def replaced(self) -> set[int]:
        """The ids of datasets that the commits replaced, as far as they are known."""
        return {identity for changes in self.steps or () for identity in changes.replaced.tolist()}

    def tombstones(self, keys: Iterable[str]) -> bool:
        """Return whether the commits may have tombstoned one of the files `keys`, so that no commit may name it."""
        if self.commits is None:
            return True
        tombstoned = {key for commit in self.commits for key in commit.changes.tombstoned}
        return not tombstoned.isdisjoint(keys)

    def written_chunks(self, array: str | None = None) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield the chunks that the commits wrote, by segment: array name, and dataset id, generation and chunk (3, N).

        Of one array name, or of all for None. Raises `CorruptStoreError` where a segment cannot be read.
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
        """Return the version that is the latest now, as a tip of the same handle."""
        log, catalog, commits = self.log.advance(self.catalog)
        known = None if self.commits is None or commits is None else [*self.commits, *commits]
        return Tip(log, catalog, known, self.read)

    def advance_past(self, error: CorruptStoreError, since: int) -> Tip:
        """Return the tip to continue with after `error`, from reading a commit or segment since the version `since`.

        Another process may have given up versions meanwhile, and removed the file. Raises `error` where it is damage.
        """
        if is_missing_file(error):
            base = self.log.find_base().version
            if base > self.catalog.version:
                return self.advance()
            if base > since and self.commits is not None:
                return replace(self, commits=None)
        raise error
