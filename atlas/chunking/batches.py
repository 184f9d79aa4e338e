"""Cuts sequences into batches: so many bytes at a time, or what has equal values. Pure; no I/O.

A batch exceeds its limit by less than one item, and an item that is larger than the limit is never cut.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["batches_by_bytes", "equal_groups", "equal_runs", "first_alike", "slices_by_bytes"]

_T = TypeVar("_T")


def batches_by_bytes(items: Iterable[_T], limit: int, nbytes: Callable[[_T], int]) -> Iterator[list[_T]]:
    """Yield `items`, of `nbytes(item)` bytes each, in lists that end once they reach `limit` bytes.

    An item is taken from `items` only when its batch is asked for.
    """
    batch: list[_T] = []
    size = 0
    for item in items:
        batch.append(item)
        size += nbytes(item)
        if size >= limit:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def slices_by_bytes(nbytes: NDArray[np.int64], limit: int, group: NDArray[np.int64] | None = None) -> list[slice]:
    """Return slices that cover items of `nbytes` (N,) bytes, in order, each of about `limit` bytes.

    A batch ends with the item that reaches the next multiple of `limit`, counted from the first item, and where
    `group` (N,), if given, changes.
    """
    batch = (np.cumsum(nbytes) - 1) // limit
    changes = batch[1:] != batch[:-1]
    if group is not None:
        changes |= group[1:] != group[:-1]
    return _slices(changes, len(nbytes))


def equal_runs(values: NDArray[Any]) -> list[slice]:
    """Return slices that cover `values` (N,), in order, each of as many equal neighbours as there are."""
    return _slices(values[1:] != values[:-1], len(values))


def equal_groups(values: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return the positions of equal `values` (N,), ascending, for each distinct value in ascending order."""
    if len(values) and (values == values[0]).all():
        return [np.arange(len(values))]
    order = np.argsort(values, kind="stable")
    return [order[run] for run in equal_runs(values[order])]


def first_alike(*columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct row of `columns`, (N,) each, comes first, (M,), and which of these each row is, (N,).

    Where the first column ascends, it ascends over those M too.
    """
    count = len(columns[0])
    ascending = np.zeros(max(count - 1, 0), np.bool_)
    for column in reversed(columns):
        more = column[1:] > column[:-1]
        if more.all():
            return (every := np.arange(count)), every
        ascending = more | (ascending & (column[1:] == column[:-1]))
    if ascending.all():  # rows, compared column by column, ascend: chunks mostly come in the order of their blocks
        return (every := np.arange(count)), every
    order = np.lexsort(columns[::-1])
    ordered = [column[order] for column in columns]
    apart = np.append(True, np.any([column[1:] != column[:-1] for column in ordered], axis=0))
    of = np.empty(count, np.int64)
    of[order] = np.cumsum(apart) - 1
    return order[apart], of


def _slices(changes: NDArray[np.bool_], count: int) -> list[slice]:
    """Return slices over `count` items; `changes` (count - 1,) tells where an item begins a slice, from the second."""
    if not count:
        return []
    return [slice(begin, end) for begin, end in pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), count])]
