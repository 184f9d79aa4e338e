"""Arrays of many datasets, whose lengths differ, one after another in one array."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from atlas.errors import InvalidIndexError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RaggedArray"]


@dataclass(frozen=True, slots=True, eq=False)
class RaggedArray:
    """One array of N datasets whose lengths along the first axis differ: row n is that of dataset n.

    In terms of the CF conventions it is a contiguous ragged array: `values` are the observations, `row_sizes` the count
    variable.

    Examples
    --------
    >>> with atlas.Atlas.create(path) as store:
    ...     names = [dataset.name for dataset in store.create_datasets(["short", "long"])]
    ...     store.write_array_across_ragged("depth", names, np.array([1.0, 5.0, 6.0]), [1, 2], dims=["level"])
    >>> depth = store.read_array_across_ragged("depth", names)
    >>> depth[1]
    array([5., 6.])
    >>> np.maximum.reduceat(depth.values, depth.offsets[:-1])
    array([1., 6.])

    """

    values: NDArray[Any]
    """The rows, one after another along the first axis: (row_sizes.sum(), ...)."""
    row_sizes: NDArray[np.int64]
    """Length of each row along the first axis, (N,); 0 for a dataset without the array."""
    offsets: NDArray[np.int64]
    """Where each row begins in `values` and, last, where they end: (N + 1,)."""
    names: list[str]
    """Names of the N datasets."""
    present: NDArray[np.bool_]
    """Whether each dataset has the array, (N,)."""

    def __len__(self) -> int:
        """Return the number of rows, N."""
        return len(self.row_sizes)

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return a row, a view of `values`; negative numbers count from the last row.

        Raises `InvalidIndexError` (IndexError) for a row that is not there, and for what is no whole number.
        """
        try:
            at = operator.index(row)
        except TypeError:
            raise InvalidIndexError(
                f"a row is a whole number, not {type(row).__name__} {row!r}; names.index(name) is that of a dataset"
            ) from None
        if not -len(self) <= at < len(self):
            raise InvalidIndexError(f"there is no row {at}; there are {len(self)}, which count from 0")
        at %= len(self)
        cells: NDArray[Any] = self.values[self.offsets[at] : self.offsets[at + 1]]
        return cells

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Return an iterator over the rows, views of `values`."""
        edges = self.offsets.tolist()
        return (self.values[first:stop] for first, stop in pairwise(edges))
