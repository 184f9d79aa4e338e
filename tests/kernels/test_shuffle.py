"""Filters against their NumPy twins, whole and in part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels.compiler import JIT
from atlas.kernels.shuffle import TRANSPOSE_SCRATCH, shuffle_block, unshuffle_range
from tests import reference

ITEMSIZES = [1, 2, 3, 4, 5, 8, 12, 16, 255]
LENGTHS = [0, 1, 7, 8, 9, 63, 255, 256, 1031, 4096, 70001] if JIT else [0, 1, 9, 63, 257, 1031]


def view(array):
    array = array.view()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("itemsize", ITEMSIZES)
def test_both_ways(kind, itemsize):
    rng = np.random.default_rng(itemsize)
    scratch = np.empty(TRANSPOSE_SCRATCH * itemsize, np.uint8)
    words = scratch.view(np.uint64)
    for length in LENGTHS:
        raw = rng.integers(0, 256, length, np.uint8)
        padded = np.concatenate([np.zeros(3, np.uint8), raw])
        out = np.full(length + 10, 77, np.uint8)
        shuffle_block(view(padded), 3, length, kind, itemsize, out, 5, scratch, words)
        assert out[5 : 5 + length].tobytes() == reference.shuffle(raw.tobytes(), kind, itemsize)
        assert (out[:5] == 77).all()
        assert (out[5 + length :] == 77).all()
        back = np.full(length + 10, 78, np.uint8)
        unshuffle_range(view(out), 5, length, kind, itemsize, 0, length, back, 2, scratch, words)
        assert (back[2 : 2 + length] == raw).all()
        assert (back[:2] == 78).all()
        assert (back[2 + length :] == 78).all()


@given(st.data(), st.sampled_from([0, 1, 2]), st.integers(1, 20), st.integers(0, 3000 if JIT else 300))
def test_any_range(data, kind, itemsize, length):
    begin = data.draw(st.integers(0, length))
    end = data.draw(st.integers(begin, length))
    raw = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    filtered = np.frombuffer(reference.shuffle(raw.tobytes(), kind, itemsize), np.uint8)
    guard = 13
    out = np.full(length + 2 * guard, 9, np.uint8)
    scratch = np.empty(TRANSPOSE_SCRATCH * itemsize, np.uint8)
    unshuffle_range(filtered, 0, length, kind, itemsize, begin, end, out, guard, scratch, scratch.view(np.uint64))
    assert (out[guard + begin : guard + end] == raw[begin:end]).all()
    assert (out[:guard] == 9).all()
    assert (out[guard + length :] == 9).all()
