"""Finds chunk rows in an index sorted by (dataset, chunk). Compares integers, reads no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.kernels.policy import ONE, ZERO, kernel
from atlas.kernels.tables import as_column

if TYPE_CHECKING:
    from atlas.kernels.policy import Int
    from atlas.kernels.tables import I64

__all__ = ["find_rows"]


@kernel
def _is_before(dataset: I64, chunk: I64, row: Int, want_dataset: Int, want_chunk: Int) -> bool:
    before: bool = dataset[row] < want_dataset or (dataset[row] == want_dataset and chunk[row] < want_chunk)
    return before


@kernel
def _find(
    dataset: I64, generation: I64, chunk: I64, want_dataset: I64, want_generation: I64, want_chunk: I64, out: I64
) -> None:
    size = dataset.size
    row = ZERO
    for n in range(want_dataset.size):
        for k in range(want_chunk.size):
            name, cell = want_dataset[n], want_chunk[k]
            # Wants mostly ascend and their rows mostly follow one another: gallop on from the last one.
            if row < size and _is_before(dataset, chunk, row, name, cell):
                low, step = row + 1, ONE
                while low < size and _is_before(dataset, chunk, min(low + step, size) - 1, name, cell):
                    low = min(low + step, size)
                    step *= 2
                high = min(low + step, size)
            elif row > 0 and not _is_before(dataset, chunk, row - 1, name, cell):
                low, high = ZERO, row - 1
            else:
                low, high = row, row
            while low < high:
                middle = (low + high) // 2
                if _is_before(dataset, chunk, middle, name, cell):
                    low = middle + 1
                else:
                    high = middle
            row = low
            found = row < size and dataset[row] == name and chunk[row] == cell
            out[n, k] = row if found and generation[row] == want_generation[n] else -1


def find_rows(
    dataset: I64, generation: I64, chunk: I64, want_dataset: I64, want_generation: I64, want_chunk: I64
) -> I64:
    """Rows of an index for each wanted (dataset, chunk), int64 (N, K), or -1 where there is none of that generation.

    The index columns are int64 of one length, ordered by (dataset, chunk), each pair once. `want_dataset` and
    `want_generation` have length N, `want_chunk` length K; ascending wants are found fastest.

    Raises:
        ValueError: columns of different lengths.

    """
    index = [as_column(column) for column in (dataset, generation, chunk)]
    wants = [as_column(column) for column in (want_dataset, want_generation, want_chunk)]
    if len({column.size for column in index}) > 1 or wants[0].size != wants[1].size:
        message = "columns of one table differ in length"
        raise ValueError(message)
    out = np.empty((wants[0].size, wants[2].size), np.int64)
    _find(index[0], index[1], index[2], wants[0], wants[1], wants[2], out)
    return out
