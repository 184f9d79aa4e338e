"""Rows that name a digest become rows of the chunk that another segment stores."""

from types import SimpleNamespace

import numpy as np
import pytest

from atlas.catalog.chunk_index import NO_ROWS, ChunkIndex
from atlas.catalog.shared_chunks import DigestedChunks, resolve_shared
from atlas.errors import CorruptStoreError
from atlas.format.digests import DIGEST
from atlas.format.segment import SHARED, BlockRows, ChunkRows

BITS = {"offset", "minimum", "maximum"}


def digests_of(*names):
    return np.frombuffer(b"".join(name.encode().ljust(16, b"\0") for name in names), DIGEST)


def rows_of(*rows):
    """Rows (dataset, chunk, block, digest); the statistics tell the block."""
    dataset, chunk, block, digest = np.array(rows, np.int64).reshape(-1, 4).T
    stored = np.where(block < 0, 0, 10 * block + 7)
    columns = {"dataset": dataset, "generation": dataset * 0, "chunk": chunk, "block": block, "digest": digest}
    columns |= {name: stored.astype("u8" if name in BITS else "i8") for name in ("offset", "nulls", "nans")}
    return ChunkRows(**columns, minimum=stored.astype("u8"), maximum=stored.astype("u8"))


def source_of(name, blocks, *names):
    ones = np.ones(blocks, np.int64)
    small = ones.astype(np.uint8)
    table = BlockRows(np.arange(blocks), ones, ones, small, small, small, ones.view(np.uint64))
    return SimpleNamespace(name=name, blocks=table, coalesce_gap=0, digests=digests_of(*names))


FIRST = source_of("first", 3, "a", "b"), rows_of((1, 0, 0, 1), (1, 1, 2, 0), (2, 0, 1, -1))
SECOND = source_of("second", 1, "b", "c"), rows_of((3, 0, SHARED, 0), (3, 1, -1, -1), (4, 0, 0, 1))
THIRD = source_of("third", 0, "c", "a"), rows_of((1, 0, SHARED, 0), (5, 0, SHARED, 1), (5, 1, SHARED, 0))


def located(index):
    """Where each chunk lies: source and block, and that its statistics are of there."""
    rows, found = index.rows, {}
    for at in range(len(rows)):
        block = int(rows.block[at])
        if block >= 0:
            assert {int(rows.nulls[at]), int(rows.offset[at]), int(rows.minimum[at])} == {10 * block + 7}
        found[int(rows.dataset[at]), int(rows.chunk[at])] = index.sources[int(index.source[at])].name, block
    return found


EXPECTED = {
    (1, 0): ("second", 0),
    (1, 1): ("first", 2),
    (2, 0): ("first", 1),
    (3, 0): ("first", 0),
    (3, 1): ("second", -1),
    (4, 0): ("second", 0),
    (5, 0): ("first", 2),
    (5, 1): ("second", 0),
}


def test_shared_chunks_are_found_whichever_segment_stores_them():
    assert located(ChunkIndex.of([FIRST, SECOND, THIRD])) == EXPECTED


def test_an_index_that_grows_finds_what_its_rows_lead_to():
    grown = ChunkIndex.of([FIRST]).added(*SECOND).added(*THIRD)
    assert located(grown) == EXPECTED
    assert sorted(grown.digested_chunks().digests.tolist()) == sorted(
        ChunkIndex.of([FIRST, SECOND, THIRD]).digested_chunks().digests.tolist()
    )


def test_a_chunk_that_was_written_anew_is_found_where_the_index_is_read_whole():
    newer = source_of("newer", 1), rows_of((4, 0, 0, -1))
    assert located(ChunkIndex.of([FIRST, SECOND, newer, THIRD]))[1, 0] == ("second", 0)
    # The index shows no row of it any more: it has to be read again.
    index = ChunkIndex.of([FIRST, SECOND, newer])
    with pytest.raises(CorruptStoreError, match="third shares 2 chunks") as caught:
        index.added(*THIRD)
    assert caught.value.key == "third"


def test_chunks_of_segments_beside_are_found_and_their_rows_left_out():
    index = ChunkIndex.of([SECOND, THIRD], beside=[FIRST])
    shown = {key: place for key, place in EXPECTED.items() if key not in {(1, 1), (2, 0)}}
    assert located(index) == shown
    assert [source.name for source in index.sources] == ["second", "third", "first"]


def test_a_chunk_that_no_segment_stores_is_refused_or_told():
    with pytest.raises(CorruptStoreError, match="second shares 1 chunks"):
        ChunkIndex.of([SECOND])
    lost = {}
    index = ChunkIndex.of([SECOND, THIRD], lost=lost)
    assert {name: rows.dataset.tolist() for name, rows in lost.items()} == {"second": [3], "third": [5]}
    assert located(index) == {
        (1, 0): ("second", 0),
        (3, 1): ("second", -1),
        (4, 0): ("second", 0),
        (5, 1): ("second", 0),
    }


def test_shared_rows_do_not_lead_to_one_another():
    other = source_of("other", 0, "b"), rows_of((9, 0, SHARED, 0))
    with pytest.raises(CorruptStoreError):
        ChunkIndex.of([SECOND, other])


def test_nothing_is_found_among_nothing():
    nothing = DigestedChunks.among(NO_ROWS, NO_ROWS.block, [])
    assert nothing.find(digests_of("a", "b")).tolist() == [-1, -1]
    assert len(resolve_shared(NO_ROWS, 0, digests_of(), nothing).rows) == 0
    assert DigestedChunks.joined([nothing, nothing]).take(np.empty(0, np.int64)).digests.shape == (0,)


def test_equal_digests_that_are_wanted_twice_are_found_twice():
    stored = DigestedChunks.among(FIRST[1], np.zeros(3, np.int64), [FIRST[0].digests])
    at = stored.find(digests_of("b", "x", "a", "b"))
    assert [-1 if one < 0 else int(stored.rows.block[one]) for one in at] == [0, -1, 2, 0]
