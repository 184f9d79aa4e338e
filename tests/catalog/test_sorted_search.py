from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.sorted_search import find_sorted

numbers = st.lists(st.integers(-5, 12) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=20)


def test_what_is_absent_is_minus_one():
    column = np.array([3, 5, 9])
    assert find_sorted(column, np.array([9, 4, 3, 10, -1])).tolist() == [2, -1, 0, -1, -1]
    assert find_sorted(column[:0], np.array([3, 4])).tolist() == [-1, -1]
    assert find_sorted(column, column[:0]).tolist() == []


@given(numbers, numbers)
def test_positions_are_those_of_a_list(column, values):
    column = sorted(column)
    found = find_sorted(np.array(column, np.int64), np.array(values, np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [column.index(value) if value in column else -1 for value in values]
