"""Rebase: turns pending changes of datasets into changes of the version that other writers have made meanwhile.

A three-way merge: compares the pending changes and the tip with the version that the pending changes were made on.
Compares names, arrays and attributes by value. Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from atlas.catalog.dataset_state import DatasetState, state_rows
from atlas.catalog.id_shift import IdShift
from atlas.commit.conflicts import Conflicts, find_lost_arrays, find_write_conflicts
from atlas.errors import ConflictError
from atlas.format.attribute_codec import encoded_text
from atlas.format.attribute_keys import ArrayPrefixes, flatten_key

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.datasets import Datasets
    from atlas.commit.tip import Tip
    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.dataset_columns import RowBatch
    from atlas.write.pending import PendingWrites

__all__ = ["RebasedChanges", "rebase", "unchanged_base"]

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class RebasedChanges:
    """Pending changes of datasets, as changes of some version."""

    changed: list[DatasetState]
    """Committed datasets that were changed."""
    deleted: dict[str, int]
    """Name and id of committed datasets that were deleted."""
    shift: IdShift
    """The ids that new datasets get."""
    created: list[DatasetState] = field(default_factory=list)
    """New datasets, under the ids that they have in the handle."""

    def rows(self) -> tuple[RowBatch, RowBatch]:
        """Return the rows of datasets that changed and of those that are new."""
        created = state_rows(self.created)
        return state_rows(self.changed), replace(created, ids=self.shift.apply(created.ids))


def unchanged_base(datasets: Datasets) -> RebasedChanges:
    """Return the pending changes as changes of the version that they were made on."""
    changed = [state for state in datasets.edited.values() if not state.new]
    created = [state for state in datasets.edited.values() if state.new]
    return RebasedChanges(changed, datasets.deleted, IdShift(datasets.catalog.next_id, 0), created)


def rebase(datasets: Datasets, writes: PendingWrites, tip: Tip, *, pending_wins: bool) -> RebasedChanges:
    """Return the pending changes as changes of the version `tip`.

    With `pending_wins` a pending change replaces the other where both sides changed the same, unless the dataset or
    array that it changed was deleted. Raises `ConflictError`, which names what conflicts, and `CorruptStoreError` where
    a segment of another writer cannot be read.
    """
    base, target = datasets.catalog, tip.catalog
    if tip.commits and not pending_wins and any(commit.header.action == "create" for commit in tip.commits):
        raise ConflictError(
            f"the store at {tip.log.storage.describe} was replaced by an empty one; what is pending is kept: "
            "call refresh() to move to the empty store, then flush() to store it there"
        )
    found, replaced = Conflicts(datasets), tip.replaced
    changed, created, deleted = [], [], {}
    for state in datasets.edited.values():
        if state.new:
            created.append(state)
            row = target.row_by_name.get(state.name)
            if row is not None and int(target.ids[row]) != datasets.deleted.get(state.name):
                if pending_wins:
                    deleted[state.name] = int(target.ids[row])
                else:
                    found.add(state.name, None, "both have created it")
        elif (row := target.row_by_id(state.identity)) is None:
            found.add(state.name, None, f"it was deleted there and {'replaced' if state.replaced else 'changed'} here")
        else:
            changed.append(
                state if state.replaced else _merge_dataset(state, base, target, row, found, pending_wins=pending_wins)
            )
            if not pending_wins:
                _check_replaced(state, base, target, row, replaced, found)
    for name, identity in datasets.deleted.items():
        if (row := target.row_by_id(identity)) is not None:
            deleted[name] = identity
            if not pending_wins and not _is_unchanged(base, target, identity, row):
                found.add(name, None, "it was changed there and deleted here")
    find_lost_arrays(datasets, writes, target, found)
    if not pending_wins:
        find_write_conflicts(datasets, writes, tip, found)
    if len(found):
        raise found.error(
            "delete that here too, which drops what is pending of it, and call refresh() again"
            if pending_wins
            else "call refresh() to see their changes, then flush() to store yours on top"
        )
    return RebasedChanges(changed, deleted, IdShift(base.next_id, target.next_id - base.next_id), created)


def _check_replaced(
    state: DatasetState, base: Catalog, tip: Catalog, row: int, replaced: Container[int], found: Conflicts
) -> None:
    """Add a conflict where one side replaced a dataset, in row `row` of the tip, and the other changed it."""
    if state.replaced and not _is_unchanged(base, tip, state.identity, row):
        found.add(state.name, None, "it was changed there and replaced here")
    elif not state.replaced and state.identity in replaced:
        found.add(state.name, None, "it was replaced there and changed here")


def _is_unchanged(base: Catalog, tip: Catalog, identity: int, row: int) -> bool:
    """Return whether the dataset in a row of the tip is as it was in the base."""
    before = base.row_by_id(identity)
    assert before is not None
    return base.layout(before) == tip.layout(row) and _same_attributes(
        base.encoded_attributes(before), tip.encoded_attributes(row)
    )


def _same_attributes(one: object, other: object) -> bool:
    """Return whether attributes are the same in value and type."""
    return encoded_text(one) == encoded_text(other)


def _merge_dataset(
    state: DatasetState, base: Catalog, tip: Catalog, row: int, found: Conflicts, *, pending_wins: bool
) -> DatasetState:
    """Return the pending dataset `state` merged with what the tip, in row `row`, has changed of it; add conflicts."""
    before = base.row_by_id(state.identity)
    assert before is not None
    arrays, both = _merge(base.arrays(before), state.arrays, tip.arrays(row), lambda one, other: one == other)
    if not pending_wins:
        for name in both:
            found.add(state.name, name, "both have declared or deleted it")
    mine, theirs = _by_text(state.attributes), _by_text(tip.encoded_attributes(row))
    attributes, both_set = _merge(_by_text(base.encoded_attributes(before)), mine, theirs, _same_attributes)
    if both_set and not pending_wins:
        found.add(state.name, None, f"both have changed its attribute {', '.join(map(repr, both_set))}")
    gone = base.arrays(before).keys() - arrays.keys()
    prefixes = ArrayPrefixes([*arrays, *gone])
    for text in [*attributes] if gone else ():
        array, own = prefixes.split(text)
        if array not in gone:
            continue
        if array in state.arrays and text not in theirs:
            found.add(state.name, array, f"it was deleted there and its attribute {own!r} set here")
        elif array not in state.arrays and text not in mine:
            if pending_wins:
                del attributes[text]
            else:
                found.add(state.name, array, f"its attribute {own!r} was set there and it was deleted here")
    return DatasetState(state.identity, state.name, arrays, dict(attributes.values()), new=False)


def _by_text(attributes: Mapping[AttributeKey, Any]) -> dict[str, tuple[AttributeKey, Any]]:
    """Return attributes by the text that they are shown by, which no two of a dataset may share."""
    return {flatten_key(key): (key, value) for key, value in attributes.items()}


def _merge(
    base: Mapping[_K, _V], mine: Mapping[_K, _V], theirs: Mapping[_K, _V], same: Callable[[Any, Any], bool]
) -> tuple[dict[_K, _V], list[_K]]:
    """Return `theirs` with the changes that `mine` made to `base`, and the keys that both have changed differently."""
    changed = [
        key for key in {**mine, **base} if (key in mine) != (key in base) or not same(mine.get(key), base.get(key))
    ]
    both = [
        key
        for key in changed
        if ((key in theirs) != (key in base) or not same(theirs.get(key), base.get(key)))
        and ((key in theirs) != (key in mine) or not same(theirs.get(key), mine.get(key)))
    ]
    if same(dict(theirs), dict(base)) and list(theirs) == list(base):
        return dict(mine), both
    merged = dict(theirs)
    for key in changed:
        if key in mine:
            merged[key] = mine[key]
        else:
            merged.pop(key, None)
    return merged, both
