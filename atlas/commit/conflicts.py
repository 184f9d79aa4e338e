"""Conflict detection: finds what both sides have changed since the version that the pending changes were made on.

Compares cells by the chunks that segments name, never by their values. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.datasets import Datasets
    from atlas.commit.tip import Tip
    from atlas.write.pending import PendingWrites
    from atlas.write.staging import Staging

__all__ = ["Conflicts", "find_lost_arrays", "find_write_conflicts"]

_MOST_NAMED = 5
"""Conflicts that a message names."""


class Conflicts:
    """The conflicts found so far: of each dataset and array the first."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._found: dict[tuple[str, str | None], str] = {}

    def __len__(self) -> int:
        """Return their number."""
        return len(self._found)

    def add(self, dataset: str, array: str | None, what: str) -> None:
        """Add a conflict; `array` is None for one about the dataset. `what` completes a sentence of the message."""
        self._found.setdefault((dataset, array), what)

    def add_ids(self, ids: Sequence[int], array: str | None, what: str) -> None:
        """Add a conflict for each of the datasets `ids`."""
        for identity in ids:
            self.add(self._datasets.name_of(identity), array, what)

    def error(self, remedy: str) -> ConflictError:
        """Return the error that names them and the remedy."""
        named = [
            f"dataset {dataset!r}{'' if array is None else f', array {array!r}'}: {what}"
            for (dataset, array), what in self._found.items()
        ]
        more = f" (and {len(named) - _MOST_NAMED} more)" if len(named) > _MOST_NAMED else ""
        return ConflictError(
            f"another writer has changed the same since version {self._datasets.catalog.version}: "
            f"{'; '.join(named[:_MOST_NAMED])}{more}; nothing is stored, what is pending is kept: {remedy}",
            tuple(self._found),
        )


def committed_keys(datasets: Datasets, staging: Staging) -> NDArray[np.int64]:
    """Return dataset id, generation and chunk, (3, N), of the staged chunks of datasets that were committed before."""
    keys = staging.keys()
    return keys[:, keys[0] < datasets.catalog.next_id]


def find_lost_arrays(datasets: Datasets, writes: PendingWrites, tip: Catalog, found: Conflicts) -> None:
    """Add committed arrays that were written to here and were deleted or declared anew in the tip."""
    base = datasets.catalog
    for array, staging in writes.by_array.items():
        ids = np.unique(committed_keys(datasets, staging)[0])
        if not len(ids):
            continue
        at = find_sorted(tip.ids, ids)
        gone = at < 0
        gone[~gone] = tip.layouts[at[~gone]] < 0
        found.add_ids(ids[gone].tolist(), None, "it was deleted there and written here")
        ids, at = ids[~gone], at[~gone]
        before = find_sorted(base.ids, ids)
        pairs, pair_of = np.unique(
            np.column_stack([base.layouts[before], tip.layouts[at]]), axis=0, return_inverse=True
        )
        for number, (mine, theirs) in enumerate(pairs.tolist()):
            entry = _entry(base, mine, array)
            # An array that was declared here cannot be changed by another writer.
            if entry is not None and entry != _entry(tip, theirs, array):
                lost = ids[pair_of.reshape(-1) == number].tolist()
                here = [identity for identity in lost if _is_declared(datasets, identity, array, entry.generation)]
                found.add_ids(here, array, "it was deleted there and written here")


def _entry(catalog: Catalog, layout: int, array: str) -> Any:
    """Return the array of that name in a layout, by its number, or None."""
    return next((entry for entry in catalog.layout_table[layout] if entry.name == array), None)


def _is_declared(datasets: Datasets, identity: int, array: str, generation: int) -> bool:
    """Return whether this handle still has the declaration `generation` of an array of a dataset."""
    entry = datasets.state(datasets.name_of(identity)).arrays.get(array)
    return entry is not None and entry.generation == generation


def find_write_conflicts(datasets: Datasets, writes: PendingWrites, tip: Tip, found: Conflicts) -> None:
    """Add chunks that both sides have written, and arrays that one side deleted and the other wrote to.

    Raises `CorruptStoreError` where a segment of another writer cannot be read.
    """
    deleted, removed = set(datasets.deleted.values()), _removed_arrays(datasets)
    keys = {array: committed_keys(datasets, staging) for array, staging in writes.by_array.items()}
    # New datasets belong to this handle alone: a handle that only adds datasets reads no segments of other writers.
    mine = {array: set(map(tuple, own.T.tolist())) for array, own in keys.items() if own.size}
    if tip.comparable is None:
        why = "what was written there since is no longer known"
        for array in mine:
            found.add_ids(np.unique(keys[array][0]).tolist(), array, why)
        for array, owners in removed.items():
            found.add_ids(sorted(owners), array, why)
        found.add_ids(sorted(deleted), None, why)
    wanted: Iterable[str | None] = [None] if deleted else sorted({*mine, *removed})
    for one in wanted:
        for name, theirs in tip.written_chunks(one):
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
    for state in datasets.edited.values():
        row = None if state.new else datasets.catalog.row_by_id(state.identity)
        if row is not None:
            for name, entry in datasets.catalog.arrays(row).items():
                if state.arrays.get(name) != entry:
                    removed.setdefault(name, set()).add(state.identity)
    return removed
