"""Digests tell chunks apart by cells, dtype and fill value, and are what docs/format.md says."""

import numpy as np
import pytest
import xxhash

from atlas.format.digests import DIGEST, NO_DIGESTS, content_of
from atlas.format.schema import make_schema


def schema(dtype, fill=None, shape=4):
    return make_schema(dtype, ["x"], [shape], fill_value=fill)


CELLS = np.array([0.0, 1.5, -2.0, np.nan])
WORDS = np.array(["a", None, "Ålesund", ""], object)


def test_a_digest_is_the_xxh3_of_the_bytes_of_the_chunk_seeded_with_dtype_and_fill():
    seed = xxhash.xxh3_64_intdigest(b"float64\0" + np.float64(-9).tobytes())
    assert content_of(schema("float64", -9.0), CELLS).digest == xxhash.xxh3_128_digest(CELLS.tobytes(), seed)
    lengths = np.array([1, 2**32 - 1, 8, 0], "<u4").tobytes()
    seed = xxhash.xxh3_64_intdigest(b"string")
    assert content_of(schema("string"), WORDS).digest == xxhash.xxh3_128_digest(lengths + "aÅlesund".encode(), seed)


@pytest.mark.parametrize(
    ("dtype", "fill", "cells"),
    [
        ("float64", None, CELLS + 0.0),
        ("float64", -9.0, CELLS),
        ("float64", 0.0, CELLS),
        ("float64", -0.0, CELLS),
        ("int64", None, CELLS.view("i8")),
        ("uint64", None, CELLS.view("u8")),
        ("float64", None, np.where(CELLS == 0, -0.0, CELLS)),
        ("float64", None, CELLS[:3]),
        ("string", None, WORDS),
        ("string", "", WORDS),
        ("bytes", None, np.array([b"a", None, "Ålesund".encode(), b""], object)),
    ],
)
def test_other_cells_another_dtype_and_another_fill_have_another_digest(dtype, fill, cells):
    own = schema(dtype, fill, len(cells))
    digest = content_of(own, cells).digest
    assert len(digest) == DIGEST.itemsize
    assert content_of(make_schema(dtype, ["y", "z"], [len(cells), 2], [2, 2], fill), cells.copy()).digest == digest
    same = (dtype, fill) == ("float64", None) and cells.tobytes() == CELLS.tobytes()
    assert (digest == content_of(schema("float64"), CELLS).digest) is same


def test_arrays_of_digests_keep_the_zeros_at_their_ends():
    found = np.frombuffer(bytes(15) + b"\1" + bytes(16) + b"\1" + bytes(15), DIGEST)
    assert len(np.unique(found)) == 3
    assert np.searchsorted(np.sort(found), found).tolist() == [1, 0, 2]
    assert NO_DIGESTS.dtype == DIGEST
