"""Putting what is pending on top of what others have committed meanwhile, and finding where both changed the same.

Two kinds of things are compared with the version that the pending changes were made on. What datasets are — their
names, arrays and attributes — by value, thing by thing. What was written, by the chunks that commits name: data is
never compared. Nothing is changed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from atlas.catalog.chunk_index import load_segment
from atlas.catalog.datasets import DatasetState, state_rows
from atlas.commit.documents import is_missing_file
from atlas.errors import ConflictError, CorruptStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.datasets import Datasets
    from atlas.commit.commit_log import Commit
    from atlas.commit.commit_writer import CommitWriter
    from atlas.format.dataset_columns import RowBatch
    from atlas.format.registry import Changes
    from atlas.format.segment import SegmentRef
    from atlas.write.staging import Staging

__all__ = ["Pending", "Rebased", "Tip", "as_it_is", "rebase", "theirs_by_chunk"]

_K = TypeVar("_K")
_V = TypeVar("_V")
_MOST_NAMED = 5
"""Collisions that a message names."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A later version of the store, and how it came about."""

    journal: CommitWriter
    """Its documents."""
    catalog: Catalog
    """What it holds."""
    commits: list[Commit] | None
    """The commits that lead to it, None where they are not all known."""
    own: tuple[Changes, ...] = ()
    """What was committed last, on top of these."""
    read: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Dataset, generation and chunk of what segments hold that were read on the way, by key.

    A flush that is beaten time and again reads each once.
    """

    @property
    def changes(self) -> list[Changes] | None:
        """What the commits changed, None where the data that they changed cannot be told."""
        if self.commits is None or any(commit.changes.reset for commit in self.commits):
            return None
        return [commit.changes for commit in self.commits]

    @property
    def steps(self) -> list[Changes] | None:
        """Everything that leads to it, None where that is not all known."""
        return None if self.commits is None else [*(commit.changes for commit in self.commits), *self.own]

    def with_changes(self, changes: Changes) -> Tip:
        """Return the version with changes that were committed, and that its catalog has."""
        return replace(self, own=(*self.own, changes))

    def tombstones(self, keys: Iterable[str]) -> bool:
        """Return whether one of the files may have been tombstoned on the way, so that no commit may name it."""
        if self.commits is None:
            return True
        tombstoned = {key for commit in self.commits for key in commit.changes.tombstoned}
        return not tombstoned.isdisjoint(keys)

    def further(self) -> Tip:
        """Return the version that is the latest now."""
        journal, catalog, commits = self.journal.advance(self.catalog)
        known = None if self.commits is None or commits is None else [*self.commits, *commits]
        return Tip(journal, catalog, known, read=self.read)

    def without(self, error: CorruptStoreError, since: int) -> Tip:
        """Return what to go on with where a file could not be read that led here from the version `since`.

        It may be missing because another process has given up versions meanwhile. Raises the error where it is damage.
        """
        if is_missing_file(error):
            base = self.journal.find_base().version
            if base > self.catalog.version:
                return self.further()
            if base > since and self.commits is not None:
                return replace(self, commits=None)
        raise error


@dataclass(frozen=True, slots=True)
class Pending:
    """What a handle has not committed yet."""

    datasets: Datasets
    """Datasets created, changed and deleted, and the version that this was done on."""
    staging: Mapping[str, Staging]
    """What was written, by array name."""

    def committed_keys(self, staging: Staging) -> NDArray[np.int64]:
        """Return dataset, generation and chunk of what was written to datasets that were committed before, (3, N)."""
        keys = staging.keys()
        return keys[:, keys[0] < self.datasets.catalog.next_id]


@dataclass(frozen=True, slots=True)
class Rebased:
    """What is pending, as changes of a later version."""

    changed: list[DatasetState]
    """Committed datasets that were changed."""
    deleted: dict[str, int]
    """Name and id of committed datasets that were deleted."""
    first: int
    """Ids of new datasets, from this one on, …"""
    by: int
    """… are raised by this much."""
    created: list[DatasetState] = field(default_factory=list)
    """Datasets that are new, under the ids that they had."""

    def rows(self) -> tuple[RowBatch, RowBatch]:
        """Return the rows of datasets that changed and of those that are new."""
        created = state_rows(self.created)
        return state_rows(self.changed), replace(created, ids=created.ids + self.by)


def as_it_is(datasets: Datasets) -> Rebased:
    """Return what is pending as changes of the version that it was made on."""
    old = [state for state in datasets.touched.values() if not state.new]
    new = [state for state in datasets.touched.values() if state.new]
    return Rebased(old, datasets.deleted, datasets.catalog.next_id, 0, new)


class _Collisions:
    """What both sides have changed."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._found: dict[tuple[str, str | None], str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, dataset: str, array: str | None, what: str) -> None:
        self._found.setdefault((dataset, array), what)

    def add_ids(self, ids: Sequence[int], array: str | None, what: str) -> None:
        for identity in ids:
            self.add(self._datasets.name_of(identity), array, what)

    def error(self, remedy: str) -> ConflictError:
        told = [
            f"dataset {dataset!r}{'' if array is None else f', array {array!r}'}: {what}"
            for (dataset, array), what in self._found.items()
        ]
        more = f" (and {len(told) - _MOST_NAMED} more)" if len(told) > _MOST_NAMED else ""
        return ConflictError(
            f"another writer has changed the same since version {self._datasets.catalog.version}: "
            f"{'; '.join(told[:_MOST_NAMED])}{more}; nothing is stored, what is pending is kept: {remedy}",
            tuple(self._found),
        )


def rebase(pending: Pending, ahead: Tip, *, mine_wins: bool) -> Rebased:
    """Return what is pending as changes of the version `ahead`.

    With `mine_wins` the pending change holds where both sides have changed the same, unless what it changed is gone.
    Raises `ConflictError` that names what collides.
    """
    datasets, tip = pending.datasets, ahead.catalog
    if ahead.commits and not mine_wins and any(commit.head.action == "create" for commit in ahead.commits):
        raise ConflictError(
            f"the store at {ahead.journal.storage.describe} was replaced by an empty one; what is pending is kept: "
            "call refresh() to see it and flush() again to store it there"
        )
    found = _Collisions(datasets)
    changed, created, deleted = [], [], {}
    for state in datasets.touched.values():
        if state.new:
            created.append(state)
            row = tip.row_of.get(state.name)
            if row is not None and int(tip.ids[row]) != datasets.deleted.get(state.name):
                if mine_wins:
                    deleted[state.name] = int(tip.ids[row])
                else:
                    found.add(state.name, None, "both have created it")
        elif (row := tip.row_with(state.identity)) is None:
            found.add(state.name, None, "it was deleted there and changed here")
        else:
            changed.append(_merged(state, datasets.catalog, tip, row, found, mine_wins=mine_wins))
    for name, identity in datasets.deleted.items():
        if (row := tip.row_with(identity)) is not None:
            deleted[name] = identity
            if not mine_wins and not _is_as_it_was(datasets.catalog, tip, identity, row):
                found.add(name, None, "it was changed there and deleted here")
    _find_lost_arrays(pending, tip, found)
    if not mine_wins:
        _find_written(pending, ahead, found)
    if len(found):
        raise found.error(
            "delete that here too, which drops what is pending of it, and refresh() again"
            if mine_wins
            else "call refresh() to see theirs, and flush() again to put what is pending on top"
        )
    first = datasets.catalog.next_id
    return Rebased(changed, deleted, first, tip.next_id - first, created)


# What datasets are


def _is_as_it_was(base: Catalog, tip: Catalog, identity: int, row: int) -> bool:
    before = base.row_with(identity)
    assert before is not None
    return base.layout(before) == tip.layout(row) and _alike(
        base.encoded_attributes(before), tip.encoded_attributes(row)
    )


def _alike(one: object, other: object) -> bool:
    # True, 1 and 1.0 are equal in Python, but not as attributes.
    return repr(one) == repr(other)


def _merged(
    state: DatasetState, base: Catalog, tip: Catalog, row: int, found: _Collisions, *, mine_wins: bool
) -> DatasetState:
    """Return a changed dataset with what the tip has changed of it too."""
    before = base.row_with(state.identity)
    assert before is not None
    arrays, both = _merge(base.arrays(before), state.arrays, tip.arrays(row), lambda one, other: one == other)
    if not mine_wins:
        for name in both:
            found.add(state.name, name, "both have declared or deleted it")
    attributes, both_set = _merge(
        base.encoded_attributes(before), state.attributes, tip.encoded_attributes(row), _alike
    )
    if both_set and not mine_wins:
        keys = ", ".join(repr(key if isinstance(key, str) else ".".join(key)) for key in both_set)
        found.add(state.name, None, f"both have changed its attribute {keys}")
    return DatasetState(state.identity, state.name, arrays, attributes, new=False)


def _merge(
    base: Mapping[_K, _V], mine: Mapping[_K, _V], theirs: Mapping[_K, _V], alike: Callable[[Any, Any], bool]
) -> tuple[dict[_K, _V], list[_K]]:
    """Return theirs with what mine has changed since base, and the keys that both have changed in different ways."""
    changed = [
        key for key in {**mine, **base} if (key in mine) != (key in base) or not alike(mine.get(key), base.get(key))
    ]
    both = [
        key
        for key in changed
        if ((key in theirs) != (key in base) or not alike(theirs.get(key), base.get(key)))
        and ((key in theirs) != (key in mine) or not alike(theirs.get(key), mine.get(key)))
    ]
    if alike(dict(theirs), dict(base)) and list(theirs) == list(base):
        return dict(mine), both
    merged = dict(theirs)
    for key in changed:
        if key in mine:
            merged[key] = mine[key]
        else:
            merged.pop(key, None)
    return merged, both


# What was written


def _find_lost_arrays(pending: Pending, tip: Catalog, found: _Collisions) -> None:
    """Note arrays that were written to and are not what they were."""
    base = pending.datasets.catalog
    for array, staging in pending.staging.items():
        ids = np.unique(pending.committed_keys(staging)[0])
        if not len(ids):
            continue
        at = np.searchsorted(tip.ids, ids).clip(0, max(len(tip.ids) - 1, 0))
        gone = (tip.ids[at] != ids) | (tip.layouts[at] < 0) if len(tip.ids) else np.ones(len(ids), bool)
        found.add_ids(ids[gone].tolist(), None, "it was deleted there and written here")
        ids, at = ids[~gone], at[~gone]
        before = np.searchsorted(base.ids, ids)
        pairs, pair_of = np.unique(
            np.column_stack([base.layouts[before], tip.layouts[at]]), axis=0, return_inverse=True
        )
        for number, (mine, theirs) in enumerate(pairs.tolist()):
            entry = _entry(base, mine, array)
            # An array that was declared here is nobody else's to change.
            if entry is not None and entry != _entry(tip, theirs, array):
                lost = ids[pair_of.reshape(-1) == number].tolist()
                here = [identity for identity in lost if _is_written(pending, identity, array, entry.generation)]
                found.add_ids(here, array, "it was deleted there and written here")


def _entry(catalog: Catalog, layout: int, array: str) -> Any:
    return next((entry for entry in catalog.layout_table[layout] if entry.name == array), None)


def _is_written(pending: Pending, identity: int, array: str, generation: int) -> bool:
    """Return whether what is pending of an array was written to the one that the store had."""
    state = pending.datasets.state(pending.datasets.name_of(identity))
    entry = state.arrays.get(array)
    return entry is not None and entry.generation == generation


def _find_written(pending: Pending, ahead: Tip, found: _Collisions) -> None:
    """Note chunks that both sides have written, and what one has deleted and the other written."""
    datasets = pending.datasets
    deleted, removed = set(datasets.deleted.values()), _removed_arrays(datasets)
    keys = {array: pending.committed_keys(staging) for array, staging in pending.staging.items()}
    # What is new here is nobody else's, and whoever adds datasets only need not read what others have written.
    mine = {array: set(map(tuple, own.T.tolist())) for array, own in keys.items() if own.size}
    if ahead.changes is None:
        why = "what was written there since cannot be told any more"
        for array in mine:
            found.add_ids(np.unique(keys[array][0]).tolist(), array, why)
        for array, owners in removed.items():
            found.add_ids(sorted(owners), array, why)
        found.add_ids(sorted(deleted), None, why)
    some: Iterable[str | None] = [None] if deleted else sorted({*mine, *removed})
    for wanted in some:
        for name, theirs in theirs_by_chunk(ahead, wanted):
            ids = theirs[0]
            touched = np.isin(ids, list(deleted | removed.get(name, set())))
            found.add_ids(np.unique(ids[touched]).tolist(), name, "it was written there and deleted here")
            if name in mine:
                for identity, generation, chunk in theirs[:, np.isin(ids, keys[name][0])].T.tolist():
                    if (identity, generation, chunk) in mine[name]:
                        found.add_ids([identity], name, f"both have written its chunk {chunk}")


def _removed_arrays(datasets: Datasets) -> dict[str, set[int]]:
    """Return the ids of the datasets that have lost an array here, by array name."""
    removed: dict[str, set[int]] = {}
    for state in datasets.touched.values():
        row = None if state.new else datasets.catalog.row_with(state.identity)
        if row is not None:
            for name, entry in datasets.catalog.arrays(row).items():
                if state.arrays.get(name) != entry:
                    removed.setdefault(name, set()).add(state.identity)
    return removed


def theirs_by_chunk(ahead: Tip, array: str | None = None) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield what the commits have written of one array name or of all: the name, and dataset, generation and chunk."""
    refs: list[SegmentRef] = [ref for changes in ahead.changes or () for ref in changes.segments]
    for ref in refs:
        if not ref.moved and array in {None, ref.array}:
            if ref.key not in ahead.read:
                _, rows = load_segment(ahead.journal.storage, ref)
                ahead.read[ref.key] = np.array([rows.dataset, rows.generation, rows.chunk])
            yield ref.array, ahead.read[ref.key]
