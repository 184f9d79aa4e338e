"""Counts, bounds and constancy of runs of cells. No text, no dates: a timestamp is an int64 here.

Refuses other dtypes than integers and floats of up to 8 bytes, and runs outside the values.

Cells are compared as integers of their width: floats keep their order under a change of bits, which LLVM turns into
vector instructions where comparisons of floats, with their NaN, would stay one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.kernels.jit import kernel
from atlas.kernels.layouts import I64, U8, U64, as_column
from atlas.kernels.status import ARGUMENT, raise_status

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkStatistics", "chunk_statistics"]

_LARGEST, _SMALLEST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


class ChunkStatistics(NamedTuple):
    """One row a run of cells."""

    nulls: I64
    """Cells equal to the fill."""
    nans: I64
    """Cells that are NaN or, where `missing_minimum` was asked for, the smallest int64; equal to the fill or not."""
    minimum: U64
    """Bits of the smallest of the others, as int64, uint64 or float64 by the kind of the dtype; above the maximum where
    there is none: the largest of that kind (infinity for floats)."""
    maximum: U64
    """Bits of the largest of the others; the smallest of that kind (minus infinity) where there is none."""
    constant: U8
    """1 where all cells have the same bits."""


@kernel
def _summarise_integers(cells: NDArray[Any], start: I64, count: I64, rule: I64, results: I64, constant: U8) -> None:
    """Fill the results for the runs `cells[start:start + count]`, signed integers that hold the bits.

    `start` and `count` are int64 (runs,), `constant` is uint8 (runs,). `results`, int64 (5, runs), are the nulls, the
    missing cells, those that are neither, and the smallest and largest key of these. `rule`, int64 (5,), is (null mask,
    null value, missing mask, missing value, bits to flip): a cell is null or missing where what the mask leaves of its
    bits is the value, and flipping makes keys whose order is that of the values.
    """
    null_mask, null_want, skip_mask, skip_want, flip = rule[0], rule[1], rule[2], rule[3], rule[4]
    largest, smallest = np.int64(_LARGEST), np.int64(_SMALLEST)
    for row in range(start.size):
        run = cells[start[row] : start[row] + count[row]]
        null, nan, out, change = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        lowest, highest = largest, smallest
        first = np.int64(run[0]) if run.size > 0 else np.int64(0)
        for i in range(run.size):
            bits = np.int64(run[i])
            key = bits ^ flip
            is_null = (bits & null_mask) == null_want
            is_nan = (bits & skip_mask) == skip_want
            is_out = is_null | is_nan
            null += np.int64(is_null)
            nan += np.int64(is_nan)
            out += np.int64(is_out)
            change |= bits ^ first
            lowest = min(lowest, largest if is_out else key)
            highest = max(highest, smallest if is_out else key)
        results[0, row], results[1, row], results[2, row] = null, nan, run.size - out
        results[3, row], results[4, row] = lowest, highest
        constant[row] = np.uint8(change == 0)


@kernel
def _summarise_floats(cells: NDArray[Any], start: I64, count: I64, rule: I64, results: I64, constant: U8) -> None:
    """The same for floats: `rule` is (null mask, null value, NaN is null, bits of infinity, all bits but the sign)."""
    null_mask, null_want, nan_null, infinity, magnitude = rule[0], rule[1], rule[2] != 0, rule[3], rule[4]
    largest, smallest = np.int64(_LARGEST), np.int64(_SMALLEST)
    for row in range(start.size):
        run = cells[start[row] : start[row] + count[row]]
        null, nan, out, change = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        lowest, highest = largest, smallest
        first = np.int64(run[0]) if run.size > 0 else np.int64(0)
        for i in range(run.size):
            bits = np.int64(run[i])
            key = bits ^ ((bits >> np.int64(63)) & magnitude)
            is_nan = (bits & magnitude) > infinity
            is_null = ((bits & null_mask) == null_want) | (is_nan & nan_null)
            is_out = is_null | is_nan
            null += np.int64(is_null)
            nan += np.int64(is_nan)
            out += np.int64(is_out)
            change |= bits ^ first
            lowest = min(lowest, largest if is_out else key)
            highest = max(highest, smallest if is_out else key)
        results[0, row], results[1, row], results[2, row] = null, nan, run.size - out
        results[3, row], results[4, row] = lowest, highest
        constant[row] = np.uint8(change == 0)


def _null_rule(dtype: np.dtype[Any], fill: Any) -> tuple[int, int, int]:
    """(mask, value, NaN is null); a mask of 0 with a value of 1 matches nothing."""
    if fill is None:
        return 0, 1, 0
    value = np.array(fill, dtype)
    signed = np.dtype(f"i{dtype.itemsize}")
    if dtype.kind == "f" and np.isnan(value):
        return 0, 1, 1
    if dtype.kind == "f" and value == 0:
        return int(np.iinfo(signed).max), 0, 0
    return -1, int(value.view(signed)), 0


def _widen(keys: I64, left: I64, dtype: np.dtype[Any], empty: Any) -> U64:
    """Bits of the 64-bit values that the order-keeping keys stand for."""
    narrow = keys.astype(f"i{dtype.itemsize}")
    limits = np.iinfo(narrow.dtype)
    if dtype.kind == "f":
        bits = narrow ^ ((narrow >> (8 * dtype.itemsize - 1)) & limits.max)
        wide = bits.view(dtype).astype(np.float64) + 0.0  # -0.0 becomes 0.0
    elif dtype.kind == "u":
        wide = (narrow ^ limits.min).view(dtype).astype(np.uint64)
    else:
        wide = keys.copy()
    wide[left == 0] = empty
    result: U64 = wide.view(np.uint64)
    return result


def chunk_statistics(
    values: NDArray[Any], start: I64, count: I64, fill: Any = None, *, missing_minimum: bool = False
) -> ChunkStatistics:
    """Statistics of each run `values[start:start + count]`.

    `values` is 1-D, C-contiguous, of an integer or float dtype of 1 to 8 bytes; `start` and `count`
    are int64. Cells equal to `fill` (NaN equals NaN, -0.0 equals 0.0) are nulls and left out of the bounds, as is NaN
    and, with `missing_minimum`, the smallest int64 (not-a-time).

    Raises:
        ValueError: a run outside `values`, or an unsupported dtype.
        OverflowError: the fill does not fit the dtype.

    """
    dtype = values.dtype
    if values.ndim != 1 or not values.flags.c_contiguous or dtype.kind not in "iuf" or dtype == np.longdouble:
        message = f"statistics need a contiguous 1-D array of integers or floats, not {dtype} of rank {values.ndim}"
        raise ValueError(message)
    start, count = as_column(start), as_column(count)
    bad = (
        (start < 0) | (count < 0) | (start > values.size - count) if start.size == count.size else np.ones(1, np.bool_)
    )
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    signed = np.dtype(f"i{dtype.itemsize}")
    cells = values.view(signed)
    if cells.flags.writeable:
        cells = cells.view()
        cells.flags.writeable = False
    mask, want, nan_null = _null_rule(dtype, fill)
    results = np.empty((5, start.size), np.int64)
    nulls, nans, left, low, high = results
    constant = np.empty(start.size, np.uint8)
    ends: tuple[Any, Any]
    if dtype.kind == "f":
        infinity = int(np.array(np.inf, dtype).view(signed))
        rule = np.array([mask, want, nan_null, infinity, np.iinfo(signed).max])
        _summarise_floats(cells, start, count, rule, results, constant)
        ends = np.inf, -np.inf
    else:
        skip = (-1, int(np.iinfo(signed).min)) if missing_minimum else (0, 1)
        flip = int(np.iinfo(signed).min) if dtype.kind == "u" else 0
        rule = np.array([mask, want, *skip, flip])
        _summarise_integers(cells, start, count, rule, results, constant)
        limits = np.iinfo(np.uint64 if dtype.kind == "u" else np.int64)
        ends = limits.max, limits.min
    return ChunkStatistics(nulls, nans, _widen(low, left, dtype, ends[0]), _widen(high, left, dtype, ends[1]), constant)
