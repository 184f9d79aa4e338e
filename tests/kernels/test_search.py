"""Finding index rows against a dict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import PIECE_BLOCK, PIECE_OFFSET, Index, find_chunks, find_first_apart
from tests import reference


def find(index, wants, chunks, constant=(), sources=None, taken=None):
    """Row of the index for each (target, chunk) found, read back from the pieces; the rest is checked here."""
    columns = np.array(index, np.int64).reshape(-1, 3)
    names = np.array(wants, np.int64).reshape(-1, 2)
    chunks = np.array(chunks, np.int64)
    rows = np.arange(len(index))
    block = np.where(np.isin(rows, constant), -1, rows // 3)
    source = np.zeros(len(index), np.int64) if sources is None else np.array(sources, np.int64)[rows]
    table = Index(columns[:, 0], columns[:, 1], columns[:, 2], block, rows * 10, source)
    base = np.array([7, 7007, 10**6])
    found = find_chunks(table, base, names[:, 0], names[:, 1], chunks, chunks + 5, taken)
    assert found.pieces.flags.c_contiguous
    at = {}
    for part in (found.pieces, found.constant):
        for of_block, offset, begin, cells, k, n in part.T.tolist():
            row = offset // 10
            wanted = -1 if row in constant else base[source[row]] + block[row]
            assert (of_block, begin, cells) == (wanted, 0, chunks[k] + 5)
            assert (n, k) not in at
            at[n, k] = row
    assert (np.diff(found.pieces[PIECE_BLOCK]) >= 0).all()
    assert set((found.constant[PIECE_OFFSET] // 10).tolist()) <= set(constant)
    return at


small = st.integers(0, 6)


@given(
    st.dictionaries(st.tuples(small, small), st.integers(0, 1)),
    st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 1))),
    st.lists(st.integers(-1, 7), unique=True).map(sorted),
)
def test_any_index_and_wants(index, wants, chunks):
    rows = [(dataset, index[dataset, chunk], chunk) for dataset, chunk in sorted(index)]
    assert find(rows, wants, chunks) == reference.find_chunks(rows, wants, chunks)


def test_a_long_index_in_every_order():
    rng = np.random.default_rng(4)
    keys = sorted({(int(a), int(b)) for a, b in rng.integers(0, 60, (700, 2))})
    rows = [(dataset, dataset % 3, chunk) for dataset, chunk in keys]
    wants = [(dataset, dataset % 3) for dataset in range(-2, 63)]
    for order in (wants, wants[::-1], wants[::7], [wants[i] for i in rng.permutation(len(wants))]):
        assert find(rows, order, [0, 5, 6, 59]) == reference.find_chunks(rows, order, [0, 5, 6, 59])


@given(
    st.dictionaries(st.tuples(small, st.integers(0, 2)), st.tuples(st.integers(0, 1), st.integers(-1, 1), small)),
    st.lists(st.tuples(small, st.integers(0, 1)), min_size=1),
    st.lists(st.integers(0, 3), unique=True).map(sorted),
)
def test_the_first_dataset_whose_chunks_lie_elsewhere(index, wants, chunks):
    """Two blocks of either source are the same two, of another source others."""
    keys = sorted(index)
    generation, block, offset = (np.array([index[key][part] for key in keys], np.int64) for part in range(3))
    dataset, chunk = (np.array([key[part] for key in keys], np.int64) for part in (0, 1))
    table = Index(dataset, generation, chunk, block, offset // 2, offset % 2)
    names = np.array(wants, np.int64)

    def lies(name, own, at):
        row = index.get((name, at))
        if row is None or row[0] != own:
            return None
        return (row[1], row[2] // 2) if row[1] < 0 else (row[1], row[2] // 2, row[2] % 2)

    where = [[lies(name, own, at) for at in chunks] for name, own in wants]
    expected = next((n for n, own in enumerate(where) if own != where[0]), len(wants))
    assert find_first_apart(table, np.array([0, 50]), names[:, 0], names[:, 1], np.array(chunks, np.int64)) == expected


def test_columns_of_other_lengths_are_refused():
    column = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="differ in length"):
        find_first_apart(Index(*[column] * 5, column[:2]), column, column, column, column)
    with pytest.raises(ValueError, match="differ in length"):
        find_first_apart(Index(*[column] * 6), column, column, column[:1], column)


def test_a_source_that_is_not_there_is_nothing_equal():
    column = np.arange(3)
    same = np.zeros(3, np.int64)
    table = Index(column, same, same, same, same, same + 5)
    assert find_first_apart(table, np.zeros(1, np.int64), column, same, same[:1]) == 0


def test_another_generation_is_not_found():
    assert find([(1, 4, 0), (1, 5, 1)], [(1, 4)], [0, 1]) == {(0, 0): 0}


def test_constant_chunks_are_apart():
    rows = [(dataset, 0, chunk) for dataset in range(9) for chunk in range(3)]
    wants = [(dataset, 0) for dataset in (4, 0, 8, 8)]
    assert find(rows, wants, [0, 2], constant=(0, 2, 14, 24)) == reference.find_chunks(rows, wants, [0, 2])


@given(st.lists(st.integers(0, 2), min_size=12, max_size=12), st.permutations(range(6)))
def test_chunks_of_many_sources_come_source_by_source(sources, order):
    rows = [(dataset, 0, chunk) for dataset in range(6) for chunk in range(2)]
    wants = [(dataset, 0) for dataset in order]
    assert find(rows, wants, [0, 1], sources=sources) == reference.find_chunks(rows, wants, [0, 1])


def test_what_is_taken_is_passed_over_and_what_is_found_is_taken():
    taken = np.array([[0, 1], [0, 0]], np.uint8)
    rows = [(1, 0, 0), (1, 0, 1), (2, 0, 1)]
    assert find(rows, [(1, 0), (2, 0)], [0, 1], taken=taken) == {(0, 0): 0, (1, 1): 2}
    assert taken.tolist() == [[1, 1], [0, 1]]


def test_empty():
    assert find([], [(1, 0)], [0]) == {}
    assert find([(1, 0, 0)], [], [0]) == {}
    assert find([(1, 0, 0)], [(1, 0)], []) == {}


def test_columns_of_different_lengths():
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    index = Index(one, one, one, one, one, one)
    assert find_chunks(index, one, one, one, one, one).pieces.shape == (6, 1)
    for wrong in (
        (index._replace(chunk=two), one, one, one, one, one),
        (index, one, one, two, one, one),
        (index, one, one, one, one, two),
        (index, one, one, one, one, one, np.zeros(2, np.uint8)),
        (index._replace(source=one + 1), one, one, one, one, one),
        (index._replace(source=one - 1), one, one, one, one, one),
    ):
        with pytest.raises(ValueError):
            find_chunks(*wrong)


@given(
    st.dictionaries(st.tuples(small, small), st.integers(0, 1)),
    st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 1), st.lists(st.integers(-1, 7), unique=True).map(sorted))),
)
def test_each_dataset_may_want_chunks_of_its_own(index, wants):
    rows = [(dataset, index[dataset, chunk], chunk) for dataset, chunk in sorted(index)]
    columns = np.array(rows, np.int64).reshape(-1, 3)
    at = np.arange(len(rows))
    table = Index(columns[:, 0], columns[:, 1], columns[:, 2], at // 3, at * 10, at * 0)
    chunks = np.array([chunk for *_, own in wants for chunk in own], np.int64)
    edges = np.cumsum([0, *(len(own) for *_, own in wants)])
    names = np.array([want[:2] for want in wants], np.int64).reshape(-1, 2)
    taken = np.zeros(len(chunks), np.uint8)
    found = find_chunks(table, np.zeros(1), names[:, 0], names[:, 1], chunks, chunks + 5, taken, edges)
    expected = {
        int(edges[n] + k): row
        for n, (dataset, generation, own) in enumerate(wants)
        for (_, k), row in reference.find_chunks(rows, [(dataset, generation)], own).items()
    }
    assert {k: offset // 10 for _, offset, _, _, k, _ in found.pieces.T.tolist()} == expected
    assert not found.pieces[5].any()
    assert np.flatnonzero(taken).tolist() == sorted(expected)


@pytest.mark.parametrize("edges", [[0, 1], [1, 1, 2], [0, 2, 1], [0, 1, 3], [0, 3, 2]])
def test_edges_that_do_not_ascend_to_the_last_chunk_are_refused(edges):
    two, none = np.arange(2), np.empty(0, np.int64)
    with pytest.raises(ValueError, match="ascend from 0 to 2"):
        find_chunks(Index(*[none] * 6), none, two, two, two, two, None, np.array(edges))
