"""Chunk statistics against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import chunk_statistics
from tests import reference

DTYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]


def wide(dtype):
    return {"i": np.int64, "u": np.uint64, "f": np.float64}[np.dtype(dtype).kind]


def check(values, runs, fill=None, **more):
    values.flags.writeable = False
    start, count = np.array([r[0] for r in runs]), np.array([r[1] for r in runs])
    got = chunk_statistics(values, start, count, fill, **more)
    kind = wide(values.dtype)
    for row, (begin, size) in enumerate(runs):
        nulls, nans, low, high, constant = reference.statistics(values[begin : begin + size], fill, **more)
        assert got.nulls[row] == nulls
        assert got.nans[row] == nans
        assert got.constant[row] == constant
        if low is None:
            limits = (np.inf, -np.inf) if kind is np.float64 else (np.iinfo(kind).max, np.iinfo(kind).min)
            assert (got.minimum.view(kind)[row], got.maximum.view(kind)[row]) == limits
        else:
            assert (got.minimum.view(kind)[row], got.maximum.view(kind)[row]) == (kind(low), kind(high))


def edges(dtype):
    if np.dtype(dtype).kind == "f":
        least = np.finfo(dtype).smallest_subnormal
        return np.array([0.0, -0.0, 1.5, -1.5, np.nan, np.inf, -np.inf, least, np.finfo(dtype).max, -np.nan], dtype)
    limits = np.iinfo(dtype)
    return np.array([0, 1, limits.min, limits.max, limits.max - 1, 5], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    rng = np.random.default_rng(2)
    runs = [(0, 0), (0, 1), (3, 64), (1, 130), (7, 63), (150, 150), (0, 300)]
    special = edges(dtype)
    for fill in (None, *special):
        check(special[rng.integers(0, special.size, 300)], runs, fill)
        check(rng.integers(0, 100, 300).astype(dtype), runs, fill)
        for value in special:
            check(np.full(300, value), runs, fill)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_odd_cell_is_not_constant(dtype):
    for at in (0, 1, 63, 64, 199):
        values = np.full(200, 7, dtype)
        values[at] = 8
        check(values, [(0, 200), (at, 1), (0, at)], 7)


def test_zeros_of_both_signs_differ_in_bits():
    check(np.array([0.0, -0.0]), [(0, 2), (0, 1)], 0.0)
    check(np.array([0.0, -0.0]), [(0, 2), (1, 1)], None)


def test_not_a_time_is_left_out():
    lowest = np.iinfo(np.int64).min
    values = np.array([lowest, 5, 9, lowest, 7])
    for fill in (None, 7, lowest):
        check(values.copy(), [(0, 5), (0, 1), (3, 1), (1, 2)], fill, missing_minimum=True)
    assert chunk_statistics(values, np.array([0]), np.array([5])).minimum.view(np.int64)[0] == lowest


@given(st.data(), st.sampled_from(DTYPES))
def test_anything(data, dtype):
    bits = np.frombuffer(data.draw(st.binary(max_size=800)), np.uint8)
    values = bits[: bits.size // 8 * 8].view(dtype).copy()
    fill = data.draw(st.sampled_from([None, *values[:3]]))
    begin = data.draw(st.integers(0, values.size))
    check(values, [(begin, data.draw(st.integers(0, values.size - begin)))], fill)


def test_no_runs():
    got = chunk_statistics(np.zeros(3), np.empty(0, np.int64), np.empty(0, np.int64), 0.0)
    assert all(column.size == 0 for column in got)


@pytest.mark.parametrize(("start", "count"), [([-1], [1]), ([0], [4]), ([0], [-1]), ([2**63 - 1], [2]), ([0, 0], [1])])
def test_runs_outside(start, count):
    with pytest.raises(ValueError):
        chunk_statistics(np.zeros(3), np.array(start), np.array(count))


def test_unsupported_values():
    for values in (
        np.zeros(3, np.longdouble),
        np.zeros(3, bool),
        np.zeros((2, 2)),
        np.zeros(4)[::2],
        np.zeros(3, np.complex64),
    ):
        with pytest.raises(ValueError):
            chunk_statistics(values, np.array([0]), np.array([1]))
    with pytest.raises(OverflowError):
        chunk_statistics(np.zeros(3, np.int8), np.array([0]), np.array([1]), 300)
