from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.append_column import AppendColumn


@given(st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=12))
def test_columns_grow_and_what_was_handed_out_stays(parts):
    column = AppendColumn(np.array([7], np.int32))
    expected, seen = [7], []
    for part in parts:
        column.append(np.array(part, np.int64))
        expected = expected + part
        seen.append((column.values, expected))
    for values, wanted in seen:
        assert values.dtype == np.int32
        assert values.tolist() == wanted


def test_the_values_a_column_begins_with_belong_to_their_owner():
    mine = np.array([1, 2], np.int64)
    column = AppendColumn(np.empty(0, np.int64))
    column.append(mine)
    column.append(np.array([3]))
    mine[0] = 9
    assert column.values.tolist() == [1, 2, 3]
