"""Finding index rows against a dict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import find_rows
from tests import reference


def find(index, wants, chunks):
    columns = np.array(index, np.int64).reshape(-1, 3)
    names = np.array(wants, np.int64).reshape(-1, 2)
    rows = find_rows(columns[:, 0], columns[:, 1], columns[:, 2], names[:, 0], names[:, 1], np.array(chunks, np.int64))
    assert rows.dtype == np.int64
    assert rows.shape == (len(wants), len(chunks))
    return rows.tolist()


small = st.integers(0, 6)


@given(
    st.dictionaries(st.tuples(small, small), st.integers(0, 1)),
    st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 1))),
    st.lists(st.integers(-1, 7), unique=True).map(sorted),
)
def test_any_index_and_wants(index, wants, chunks):
    rows = [(dataset, index[dataset, chunk], chunk) for dataset, chunk in sorted(index)]
    assert find(rows, wants, chunks) == reference.find_rows(rows, wants, chunks)


def test_a_long_index_in_every_order():
    rng = np.random.default_rng(4)
    keys = sorted({(int(a), int(b)) for a, b in rng.integers(0, 60, (700, 2))})
    rows = [(dataset, dataset % 3, chunk) for dataset, chunk in keys]
    wants = [(dataset, dataset % 3) for dataset in range(-2, 63)]
    for order in (wants, wants[::-1], wants[::7], [wants[i] for i in rng.permutation(len(wants))]):
        assert find(rows, order, [0, 5, 6, 59]) == reference.find_rows(rows, order, [0, 5, 6, 59])


def test_another_generation_is_not_found():
    assert find([(1, 4, 0), (1, 5, 1)], [(1, 4)], [0, 1]) == [[0, -1]]


def test_empty():
    assert find([], [(1, 0)], [0]) == [[-1]]
    assert find([(1, 0, 0)], [], [0]) == []
    assert find([(1, 0, 0)], [(1, 0)], []) == [[]]


def test_columns_of_different_lengths():
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ValueError):
        find_rows(one, two, one, one, one, one)
    with pytest.raises(ValueError):
        find_rows(one, one, one, one, two, one)
