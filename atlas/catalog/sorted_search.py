"""Looks values up in a sorted column, such as dataset ids. Pure; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_sorted"]


def find_sorted(column: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each of `values` (N,) in `column` (M,), -1 where it is absent.

    `column` must ascend; of equal entries the first is found.
    """
    if not len(column):
        return np.full(len(values), -1, np.int64)
    at = np.searchsorted(column, values)
    return np.where(column[np.minimum(at, len(column) - 1)] == values, at, -1)
