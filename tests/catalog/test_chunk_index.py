from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.chunk_index import NO_BLOCKS, NO_ROWS, ChunkIndex, load_chunk_index, load_segment, merge_rows
from atlas.errors import CorruptStoreError
from atlas.format.digests import NO_DIGESTS
from atlas.format.segment import HEADER, BlockRows, ChunkRows, SegmentRef, encode_tail
from atlas.kernels import BLOCK_OFFSET
from atlas.storage import MemoryStorage

keys = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), unique=True, max_size=12).map(sorted)


def make_rows(pairs, generation=0):
    n = len(pairs)
    dataset, chunk = (np.array([pair[part] for pair in pairs], np.int64) for part in (0, 1))
    zeros, bits = np.zeros(n, np.int64), np.zeros(n, np.uint64)
    return ChunkRows(dataset, zeros + generation, chunk, zeros - 1, bits, zeros, zeros, bits, bits, zeros - 1)


def source_of(blocks):
    """A source of so many blocks, each stored behind the one before."""
    ones = np.ones(blocks, np.int64)
    small = ones.astype(np.uint8)
    rows = BlockRows(np.arange(blocks), ones, ones, small, small, small, ones.view(np.uint64))
    return SimpleNamespace(blocks=rows, coalesce_gap=blocks, digests=NO_DIGESTS)


def write(storage, key, rows):
    tail, footer = encode_tail(NO_BLOCKS, rows, len(HEADER))
    size = storage.write(key, [HEADER, tail])
    return SegmentRef("t", key, size, footer)


@given(st.lists(keys, max_size=5))
def test_of_rows_with_one_chunk_the_newest_holds(parts):
    rows, origin = merge_rows(
        [make_rows(pairs, at) for at, pairs in enumerate(parts)],
        [np.full(len(pairs), at) for at, pairs in enumerate(parts)],
    )
    newest = {pair: at for at, pairs in enumerate(parts) for pair in pairs}
    assert list(zip(rows.dataset.tolist(), rows.chunk.tolist(), strict=True)) == sorted(newest)
    assert rows.generation.tolist() == origin.tolist() == [newest[pair] for pair in sorted(newest)]


@given(st.lists(keys, min_size=1, max_size=4))
def test_a_table_grows_as_if_made_at_once(parts):
    sources = [source_of(at) for at in range(len(parts))]
    whole = ChunkIndex.of(
        [(source, make_rows(pairs, at)) for at, (source, pairs) in enumerate(zip(sources, parts, strict=True))]
    )
    grown = ChunkIndex.of([])
    for at, (source, pairs) in enumerate(zip(sources, parts, strict=True)):
        grown = grown.added(source, make_rows(pairs, at))
    assert grown.sources == whole.sources == tuple(sources)
    np.testing.assert_array_equal(grown.source, whole.source)
    for name, values in whole.rows.columns().items():
        np.testing.assert_array_equal(getattr(grown.rows, name), values)
    np.testing.assert_array_equal(grown.blocks, whole.blocks)
    np.testing.assert_array_equal(grown.base, whole.base)
    assert grown.coalesce_gap == whole.coalesce_gap == max(range(len(parts)))
    for block in range(whole.blocks.shape[1]):
        source = whole.source_of(block)
        at = block - int(whole.base[[other is source for other in sources].index(True)])
        assert source.blocks.offset[at] == whole.blocks[BLOCK_OFFSET, block] == at


def test_tables_that_grow_from_one_table_are_apart():
    base = ChunkIndex.of([(source_of(2), make_rows([(1, 0), (1, 5)], 0))]).added(source_of(1), make_rows([(2, 0)], 1))
    one = base.added(source_of(1), make_rows([(3, 0), (4, 0)], 2))
    two = base.added(source_of(3), make_rows([(5, 1)], 3))
    assert [table.rows.dataset.tolist() for table in (base, one, two)] == [[1, 1, 2], [1, 1, 2, 3, 4], [1, 1, 2, 5]]
    assert [table.rows.generation.tolist() for table in (base, one, two)] == [[0, 0, 1], [0, 0, 1, 2, 2], [0, 0, 1, 3]]
    assert [table.blocks.shape[1] for table in (base, one, two)] == [3, 4, 6]
    assert [table.source.tolist() for table in (base, one, two)] == [[0, 0, 1], [0, 0, 1, 2, 2], [0, 0, 1, 2]]


def test_no_segments_make_an_empty_table():
    table = load_chunk_index(MemoryStorage(), [])
    assert (len(table.rows), table.sources) == (0, ())
    assert len(NO_ROWS) == len(NO_BLOCKS) == 0


def test_segments_are_merged_in_their_order():
    storage = MemoryStorage()
    refs = [
        write(storage, f"arrays/t/{at}.seg", make_rows(pairs, at))
        for at, pairs in enumerate([[(0, 0), (2, 1)], [(2, 1), (3, 0)], [(0, 0)]])
    ]
    table = load_chunk_index(storage, refs)
    assert table.rows.generation.tolist() == table.source.tolist() == [2, 1, 1]
    assert [source.name for source in table.sources] == [ref.key for ref in refs]


def test_ids_are_shifted_from_a_number_on():
    storage = MemoryStorage()
    ref = write(storage, "arrays/t/a.seg", make_rows([(1, 0), (4, 0), (5, 0)]))
    shifted = SegmentRef(ref.array, ref.key, ref.size, ref.footer, 4, 10)
    assert load_segment(storage, shifted)[1].dataset.tolist() == [1, 14, 15]


def test_a_shift_past_the_largest_id_is_damage():
    storage = MemoryStorage()
    ref = write(storage, "arrays/t/a.seg", make_rows([(1, 0), (4, 0)]))
    with pytest.raises(CorruptStoreError, match=r"arrays/t/a.seg"):
        load_segment(storage, SegmentRef(ref.array, ref.key, ref.size, ref.footer, 4, 2**63 - 1))


def test_a_missing_segment_is_damage_with_a_name():
    storage = MemoryStorage()
    ref = write(storage, "arrays/t/a.seg", make_rows([(1, 0)]))
    storage.delete([ref.key])
    with pytest.raises(CorruptStoreError, match="it is missing") as caught:
        load_segment(storage, ref)
    assert (caught.value.key, caught.value.array) == (ref.key, "t")


@pytest.mark.parametrize("change", ["cut", "index"])
def test_a_damaged_segment_is_named(change):
    storage = MemoryStorage()
    ref = write(storage, "arrays/t/a.seg", make_rows([(1, 0), (2, 0), (2, 9)]))
    data = storage.read(ref.key)
    storage.replace(ref.key, data[:40] if change == "cut" else data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    with pytest.raises(CorruptStoreError) as caught:
        load_segment(storage, ref)
    assert (caught.value.key, caught.value.array) == (ref.key, "t")
    assert "restore it from a copy" in str(caught.value)


def test_blocks_of_a_segment_that_is_gone_are_damage():
    storage = MemoryStorage()
    ref = write(storage, "arrays/t/a.seg", make_rows([(1, 0)]))
    source, _ = load_segment(storage, ref)
    storage.delete([ref.key])
    column = np.array([0])
    with pytest.raises(CorruptStoreError, match="is missing") as caught:
        source.read_into(column, column + 1, np.zeros(1, np.uint8), column)
    assert caught.value.key == ref.key
