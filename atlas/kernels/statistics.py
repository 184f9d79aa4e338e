"""Counts, bounds and constancy of runs of cells. No text, no dates: a timestamp is an int64 here.

Cells are compared as integers of their width: floats keep their order under a change of bits, which LLVM turns into
vector instructions where comparisons of floats, with their NaN, would stay one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.kernels.faults import ARGUMENT, raise_status
from atlas.kernels.policy import kernel
from atlas.kernels.tables import I64, U8, U64, as_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkStatistics", "chunk_statistics"]

_LANES = 64


class ChunkStatistics(NamedTuple):
    """One row a run of cells."""

    nulls: I64
    """Cells equal to the fill."""
    minimum: U64
    """Bits of the smallest of the others, as int64, uint64 or float64 by the kind of the dtype; above the maximum where
    there is none: the largest of that kind (infinity for floats)."""
    maximum: U64
    """Bits of the largest of the others; the smallest of that kind (minus infinity) where there is none."""
    constant: U8
    """1 where all cells have the same bits."""


@kernel
def _summarise(
    cells: NDArray[Any], start: I64, count: I64, is_float: bool, rule: NDArray[Any],
    nulls: I64, left: I64, low: NDArray[Any], high: NDArray[Any], constant: U8,
) -> None:  # fmt: skip
    """Fill the result columns for runs of `cells`, signed integers that hold the bits.

    `rule` is (null mask, null value, missing mask, missing value, NaN is null, bits of infinity or sign flip,
    largest, smallest), in the dtype of the cells.
    """
    null_mask, null_want, skip_mask, skip_want = rule[0], rule[1], rule[2], rule[3]
    nan_null, special, largest, smallest = rule[4] != 0, rule[5], rule[6], rule[7]
    lows = np.empty(_LANES, cells.dtype)
    highs = np.empty(_LANES, cells.dtype)
    changes = np.empty(_LANES, cells.dtype)
    for row in range(start.size):
        run = cells[start[row] : start[row] + count[row]]
        lows[:] = largest
        highs[:] = smallest
        changes[:] = 0
        null, out = np.int64(0), np.int64(0)
        for begin in range(0, run.size, _LANES):
            part = run[begin : begin + _LANES]
            part_null, part_out = np.int32(0), np.int32(0)
            for i in range(part.size):
                bits = part[i]
                key = bits
                is_null = (bits & null_mask) == null_want
                if is_float:
                    nan = (bits & largest) > special
                    key = bits ^ ((bits >> np.int64(8 * cells.itemsize - 1)) & largest)
                    is_null |= nan & nan_null
                    is_out = is_null | nan
                else:
                    key = bits ^ special
                    is_out = is_null | ((bits & skip_mask) == skip_want)
                part_null += np.int32(is_null)
                part_out += np.int32(is_out)
                changes[i] |= bits ^ run[0]
                lows[i] = min(lows[i], largest if is_out else key)
                highs[i] = max(highs[i], smallest if is_out else key)
            null += part_null
            out += part_out
        nulls[row] = null
        left[row] = run.size - out
        low[row] = lows.min()
        high[row] = highs.max()
        constant[row] = np.uint8(1) if not changes.any() else np.uint8(0)


def _rule(dtype: np.dtype[Any], fill: Any, *, missing_minimum: bool) -> NDArray[Any]:
    """What `_summarise` needs to know about a dtype and its fill."""
    signed = np.dtype(f"i{dtype.itemsize}")
    limits = np.iinfo(signed)
    # A mask of 0 with a wanted value of 1 matches nothing.
    rule = np.array([0, 1, 0, 1, 0, 0, limits.max, limits.min], signed)
    if dtype.kind == "f":
        rule[5] = np.array(np.inf, dtype).view(signed)
    elif dtype.kind == "u":
        rule[5] = limits.min
    if missing_minimum:
        rule[2:4] = -1, limits.min
    if fill is None:
        return rule
    value = np.array(fill, dtype)
    if dtype.kind == "f" and np.isnan(value):
        rule[4] = 1
    elif dtype.kind == "f" and value == 0:
        rule[0:2] = limits.max, 0
    else:
        rule[0:2] = -1, value.view(signed)
    return rule


def _widen(keys: NDArray[Any], left: I64, dtype: np.dtype[Any], empty: Any) -> U64:
    """Bits of the 64-bit values that the order-keeping keys stand for."""
    if dtype.kind == "f":
        mask = np.iinfo(keys.dtype).max
        wide = (keys ^ ((keys >> (8 * keys.itemsize - 1)) & mask)).view(dtype).astype(np.float64) + 0.0
    elif dtype.kind == "u":
        wide = (keys ^ np.iinfo(keys.dtype).min).view(dtype).astype(np.uint64)
    else:
        wide = keys.astype(np.int64)
    wide[left == 0] = empty
    bits: U64 = wide.view(np.uint64)
    return bits


def chunk_statistics(
    values: NDArray[Any], start: I64, count: I64, fill: Any = None, *, missing_minimum: bool = False
) -> ChunkStatistics:
    """Statistics of each run `values[start:start + count]`.

    `values` is 1-D, C-contiguous, of an integer or float dtype of 1 to 8 bytes (floats 4 or 8); `start` and `count`
    are int64. Cells equal to `fill` (NaN equals NaN, -0.0 equals 0.0) are nulls and left out of the bounds, as is NaN
    and, with `missing_minimum`, the smallest int64 (not-a-time).

    Raises:
        ValueError: a run outside `values`, or an unsupported dtype.
        OverflowError: the fill does not fit the dtype.

    """
    dtype = values.dtype
    if (
        values.ndim != 1
        or not values.flags.c_contiguous
        or dtype.kind not in "iuf"
        or dtype in (np.float16, np.longdouble)
    ):
        message = f"statistics need a contiguous 1-D array of integers or floats, not {dtype} of rank {values.ndim}"
        raise ValueError(message)
    start, count = as_column(start), as_column(count)
    bad = (
        (start < 0) | (count < 0) | (start > values.size - count) if start.size == count.size else np.ones(1, np.bool_)
    )
    if bad.any():
        raise_status(ARGUMENT, int(np.argmax(bad)))
    rule = _rule(dtype, fill, missing_minimum=missing_minimum)
    cells = values.view(rule.dtype)
    if cells.flags.writeable:
        cells = cells.view()
        cells.flags.writeable = False
    rows = start.size
    nulls, left = np.empty(rows, np.int64), np.empty(rows, np.int64)
    low, high = np.empty(rows, rule.dtype), np.empty(rows, rule.dtype)
    constant = np.empty(rows, np.uint8)
    _summarise(cells, start, count, dtype.kind == "f", rule, nulls, left, low, high, constant)
    ends: tuple[Any, Any] = (np.inf, -np.inf)
    if dtype.kind != "f":
        limits = np.iinfo(np.uint64 if dtype.kind == "u" else np.int64)
        ends = (limits.max, limits.min)
    return ChunkStatistics(nulls, _widen(low, left, dtype, ends[0]), _widen(high, left, dtype, ends[1]), constant)
