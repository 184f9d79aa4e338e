"""Moving runs of bytes, at lengths around every change of method."""

import numpy as np

from atlas.kernels.memcpy import copy_bytes, copy_rows


def test_copy_bytes():
    data = np.random.default_rng(0).integers(1, 256, 9000, np.uint8)
    for size in (0, 1, 7, 8, 2047, 2048, 2049, 8191):
        out = np.zeros(9000, np.uint8)
        copy_bytes(out, 11, data, 3, size)
        assert (out[11 : 11 + size] == data[3 : 3 + size]).all()
        assert not out[:11].any()
        assert not out[11 + size :].any()


def test_copy_rows():
    data = np.random.default_rng(0).integers(1, 256, 9000, np.uint8)
    for size in (1, 2, 3, 4, 5, 8, 9, 16, 2100):
        out, want = np.zeros(9000, np.uint8), np.zeros(9000, np.uint8)
        for row in range(4):
            want[1 + row * size : 1 + (row + 1) * size] = data[5 + row * 2111 : 5 + row * 2111 + size]
        copy_rows(out, 1, size, data, 5, 2111, 4, size)
        assert (out == want).all()


def test_rows_without_gaps_are_one_run():
    data = np.random.default_rng(0).integers(1, 256, 9000, np.uint8)
    for size in (0, 1, 2, 4, 8, 9, 2100):
        out = np.zeros(9000, np.uint8)
        copy_rows(out, 1, size, data, 5, size, 4, size)
        assert (out[1 : 1 + 4 * size] == data[5 : 5 + 4 * size]).all()
        assert not out[:1].any()
        assert not out[1 + 4 * size :].any()
