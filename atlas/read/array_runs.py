"""The rows of a chunk index array by array: all chunks of one array of one dataset are one run of rows. No I/O.

An array is named by its number: its position in the order of dataset ids and generations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.segment import ChunkRows

__all__ = ["ArrayRuns"]


class ArrayRuns:
    """The runs of rows of one chunk index."""

    def __init__(self, rows: ChunkRows) -> None:
        dataset, generation = rows.dataset, rows.generation
        self._order: NDArray[np.int64] | None = None
        apart = dataset[1:] != dataset[:-1]
        split = generation[1:] != generation[:-1]
        if (split & ~apart).any():  # chunks of a deleted array lie among those of the one declared after it
            self._order = np.lexsort((generation, dataset))
            dataset, generation = dataset[self._order], generation[self._order]
            apart, split = dataset[1:] != dataset[:-1], generation[1:] != generation[:-1]
        self.begin: NDArray[np.int64] = np.flatnonzero(np.concatenate([[len(dataset) > 0], apart | split]))
        """Where the run of each array begins in `sorted` columns."""
        self.count: NDArray[np.int64] = np.diff(np.append(self.begin, len(dataset)))
        """Number of rows of each array: of chunks that were written."""
        self._dataset, self._generation = dataset[self.begin], generation[self.begin]
        self._last = -1

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self.begin)

    def sorted(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return a column of the chunk index in the order of the runs."""
        return column if self._order is None else column[self._order]

    def find(self, identity: int, generation: int) -> int:
        """Return the number of the array of a dataset, by its id, and a generation; -1 where it was never written."""
        dataset, generations, end = self._dataset, self._generation, len(self._dataset)
        at = self._last + 1  # programs mostly ask for one dataset after the other
        if at >= end or dataset.item(at) != identity or generations.item(at) != generation:
            at = int(dataset.searchsorted(identity))
            while at < end and dataset.item(at) == identity and generations.item(at) != generation:
                at += 1
            if at >= end or dataset.item(at) != identity:
                return -1
        self._last = at
        return at

    def find_many(self, ids: NDArray[np.int64], generations: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each of N arrays, (N,), as `find` does."""
        if len(ids) == len(self) and (ids == self._dataset).all():
            at = np.arange(len(ids))
        else:
            at = find_sorted(self._dataset, ids)
        wrong = np.flatnonzero((at >= 0) & (self._generation[at] != generations)) if len(self) else at[:0]
        while len(wrong):
            # Arrays of one dataset, of which all but one were deleted, follow one another.
            after = at[wrong] + 1
            ended = after == len(self)
            after[ended] = 0
            ended |= self._dataset[after] != ids[wrong]
            at[wrong] = np.where(ended, -1, after)
            wrong = wrong[~ended & (self._generation[after] != generations[wrong])]
        return at

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return the rows of the chunk index of an array, (chunks,)."""
        begin = self.begin.item(number)
        rows = np.arange(begin, begin + self.count.item(number))
        return rows if self._order is None else self._order[rows]

    def rows_of(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of N arrays, one array after the other, and where those of each begin, (N,)."""
        count = self.count[numbers]
        first = np.cumsum(count) - count
        rows = np.repeat(self.begin[numbers] - first, count) + np.arange(int(count.sum()))
        return rows if self._order is None else self._order[rows], first
