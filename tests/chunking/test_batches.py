from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.chunking.batches import batches_by_bytes, equal_groups, equal_runs, first_alike, slices_by_bytes

sizes = st.lists(st.integers(0, 30), max_size=40)
limits = st.integers(1, 50)


def test_a_batch_ends_with_the_item_that_fills_it():
    assert list(batches_by_bytes([3, 4, 5, 20, 1, 1], 7, int)) == [[3, 4], [5, 20], [1, 1]]
    assert list(batches_by_bytes([], 7, int)) == []


def test_items_are_taken_when_their_batch_is_asked_for():
    items = iter([5, 5, 5])
    batches = batches_by_bytes(items, 5, int)
    assert next(batches) == [5]
    assert list(items) == [5, 5]


def test_slices_end_at_multiples_of_the_limit_and_where_the_group_changes():
    nbytes = np.array([4, 4, 4, 4, 30, 3])
    assert slices_by_bytes(nbytes, 8) == [slice(0, 2), slice(2, 4), slice(4, 5), slice(5, 6)]
    assert slices_by_bytes(nbytes, 100) == [slice(0, 6)]
    assert slices_by_bytes(nbytes, 100, np.array([0, 0, 0, 1, 1, 1])) == [slice(0, 3), slice(3, 6)]
    assert slices_by_bytes(nbytes[:0], 8) == []


@given(sizes, limits)
def test_batches_hold_every_item_once_and_exceed_the_limit_by_less_than_one(nbytes, limit):
    lists = list(batches_by_bytes(nbytes, limit, int))
    slices = [nbytes[some] for some in slices_by_bytes(np.array(nbytes, np.int64), limit)]
    for batches in (lists, slices):
        assert [item for batch in batches for item in batch] == nbytes
        assert all(batches)
        assert all(sum(batch) < limit + max(batch, default=0) for batch in batches if sum(batch))
    assert all(sum(batch) >= limit for batch in lists[:-1])


@given(sizes, limits, st.data())
def test_a_batch_is_of_one_group(nbytes, limit, data):
    group = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(nbytes), max_size=len(nbytes))), np.int64)
    slices = slices_by_bytes(np.array(nbytes, np.int64), limit, group)
    assert all(len(set(group[some].tolist())) == 1 for some in slices)
    assert [at for some in slices for at in range(len(nbytes))[some]] == list(range(len(nbytes)))


@given(st.lists(st.integers(0, 2), max_size=30))
def test_runs_are_the_longest_of_equal_neighbours(values):
    runs = equal_runs(np.array(values, np.int64))
    assert [value for run in runs for value in values[run]] == values
    assert all(len(set(values[run])) == 1 for run in runs)
    assert all(values[one.start] != values[two.start] for one, two in pairwise(runs))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_equal_rows_are_told_by_the_first_of_them(rows):
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    first, of = first_alike(*columns)
    assert [rows[at] for at in first.tolist()] == sorted(set(rows))
    assert all(rows.index(rows[at]) == at for at in first.tolist())
    assert [rows[first[which]] for which in of.tolist()] == rows


@given(st.lists(st.integers(-2, 2), max_size=12))
def test_equal_values_are_grouped(values):
    groups = [group.tolist() for group in equal_groups(np.array(values, np.int64))]
    assert groups == [[at for at, value in enumerate(values) if value == one] for one in sorted(set(values))]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=12).map(sorted))
def test_equal_rows_of_three_columns_are_told_by_the_first_of_them(rows):
    first, of = first_alike(*np.array(rows, np.int64).reshape(-1, 3).T)
    assert [rows[at] for at in first.tolist()] == sorted(set(rows))
    assert [rows[first[which]] for which in of.tolist()] == rows
