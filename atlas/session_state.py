"""The state of one open store: what is committed, what is pending, the tables read so far, and the lock over them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from atlas.catalog.chunk_index import load_chunk_index, load_segment
from atlas.catalog.datasets import Datasets
from atlas.errors import AtlasError, CorruptStoreError, StaleHandleError
from atlas.runtime.locks import renew_in_children

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.commit.commit_writer import CommitWriter
    from atlas.commit.rebase import Tip
    from atlas.format.attributes import AttributeKey
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.registry import Changes
    from atlas.write.staging import Staging

__all__ = ["State"]


class _TellingStale:
    """See `State.telling_stale`. Every read enters one: as a generator it would take longer than a small read."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, CorruptStoreError) or not isinstance(error.__cause__, FileNotFoundError):
            return
        journal, version = self._state.journal, self._state.catalog.version
        if journal.has_moved_past(version):
            raise StaleHandleError(
                f"version {version} of the store at {journal.storage.describe}, which this handle shows, is no longer "
                "kept, because the store was compacted or replaced: call refresh() or open it again"
            ) from error


class _Both:
    """Two locks, held together."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: threading.RLock, second: threading.RLock) -> None:
        self._first, self._second = first, second

    def __enter__(self) -> None:
        self._first.acquire()
        self._second.acquire()

    def __exit__(self, *_: object) -> None:
        self._second.release()
        self._first.release()


class State:
    """What `readable` reads and `session` changes."""

    def __init__(self, journal: CommitWriter, catalog: Catalog) -> None:
        self.journal = journal
        """Its documents."""
        self.datasets = Datasets(catalog)
        """Its datasets."""
        self.staging: dict[str, Staging] = {}
        """What was written since the last flush, by array name."""
        self.change = 0
        """Number that grows with every change of what a read may return."""
        self.moves = 0
        """Number that grows whenever files that a read may be using may go: the handle shows others by then."""
        self._tables: dict[str, ChunkIndex] = {}
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Make the locks anew, and what is pending a change of its own: a forked child shares neither."""
        self.lock = threading.RLock()
        """Guards everything but finished tables and the cache; held for as long as memory takes, never for a disk."""
        self.writing = threading.RLock()
        """Held by whoever changes the handle, and by a flush from beginning to end: taken before `lock`."""
        self.changing = _Both(self.writing, self.lock)
        """Held while the handle is changed in memory."""
        before, after = self.datasets.redeclare()
        for staging in self.staging.values():
            staging.redeclare(before, after)

    @property
    def catalog(self) -> Catalog:
        """What is committed."""
        return self.datasets.catalog

    @property
    def pending(self) -> bool:
        """Whether a flush would change anything."""
        return self.datasets.pending or bool(self.staging)

    def changed(self) -> None:
        """Note that what a read returns may have changed."""
        self.change += 1

    def exists(self, dataset: str) -> bool:
        """Return whether there is a dataset of that name."""
        with self.lock:
            return self.datasets.exists(dataset)

    def entries(self, dataset: str) -> dict[str, ArrayEntry]:
        """Return the arrays of a dataset in their order, or raise `DatasetNotFoundError`."""
        with self.lock:
            return dict(self.datasets.state(dataset).arrays)

    def entry(self, dataset: str, array: str) -> ArrayEntry | None:
        """Return an array of a dataset, None where it has none of that name, or raise `DatasetNotFoundError`."""
        with self.lock:
            return self.datasets.state(dataset).arrays.get(array)

    def attributes(self, dataset: str) -> dict[AttributeKey, Any]:
        """Return the encoded attributes of a dataset in their order, or raise `DatasetNotFoundError`."""
        with self.lock:
            return dict(self.datasets.state(dataset).attributes)

    def table(self, array: str) -> ChunkIndex:
        """Return the committed chunk table of an array name, reading the indexes of its segments when first asked."""
        with self.lock:
            table = self._tables.get(array)
            if table is None:
                refs = self.catalog.segments.get(array, [])
                with self.telling_stale():
                    table = self._tables[array] = load_chunk_index(self.journal.storage, refs)
            return table

    def telling_stale(self) -> _TellingStale:
        """Raise `StaleHandleError` where a file is missing because the store was compacted or replaced by others."""
        return _TellingStale(self)

    def show(self, made: Tip) -> None:
        """Show another version, whose catalog the datasets have already."""
        self.journal = made.journal
        self.moves += 1
        steps = made.steps
        if steps is None or any(changes.reset for changes in steps):
            self.forget_tables()
        else:
            for changes in steps:
                self.extend_tables(changes)
        self.changed()

    def extend_tables(self, changes: Changes) -> None:
        """Add segments that were just committed to the tables that were read already."""
        dropped = set(changes.dropped)
        if dropped:
            self._tables = {
                array: table
                for array, table in self._tables.items()
                if dropped.isdisjoint(source.name for source in table.sources)
            }
        for ref in changes.segments:
            if ref.array in self._tables:
                try:
                    self._tables[ref.array] = self._tables[ref.array].added(*load_segment(self.journal.storage, ref))
                except AtlasError:  # the commit stands; whoever reads the array next meets the error itself
                    del self._tables[ref.array]

    def forget_tables(self) -> None:
        """Forget all tables: the files they lead to are about to go."""
        self._tables = {}
        self.moves += 1
