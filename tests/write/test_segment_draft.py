"""What a segment takes of the chunks that were staged: live ones, of equal ones of a coordinate one, or none at all."""

from functools import partial
from tempfile import TemporaryFile

import numpy as np
import pytest

from atlas.catalog.chunk_index import ChunkIndex
from atlas.format.digests import DIGEST, content_of
from atlas.format.schema import make_schema
from atlas.format.segment import FOOTER_SIZE, SHARED, decode_footer, decode_index
from atlas.runtime.limits import Limits
from atlas.write.encoding import ChunkKeys, ChunkRun, PendingChunk
from atlas.write.staging import Staging

NUMBERS = make_schema("int32", ["t"], [8], [4])
FILLED = make_schema("int32", ["t"], [8], [4], fill_value=1)
TEXT = make_schema("string", ["t"], [8], [4])
CELLS = np.array([1, 2, 3, 4], "i4")
WORDS = np.array(["b", "é", None, "a" * 200], object)


@pytest.fixture
def staging():
    staging = Staging("t", "zstd", "auto", TemporaryFile, limits=Limits(digested_bytes=0))
    yield staging
    staging.close()


def put(staging, dataset, cells, schema=NUMBERS, chunk=0):
    staging.put(dataset, chunk, PendingChunk(schema, 0, np.array(cells), coordinate=True))


def tables(draft):
    data = b"".join(bytes(part) for part in draft.parts())
    footer = decode_footer(data[-FOOTER_SIZE:], len(data))
    return decode_index(data[footer.index_offset : footer.index_offset + footer.index_length], footer)


def stored(*digests):
    """What tells that chunks of these digests are stored elsewhere."""
    return lambda contents: np.array([content.digest in digests for content in contents], bool)


def raising(error):
    def call():
        raise error

    return call


def located(rows):
    return list(zip(rows.dataset.tolist(), rows.block.tolist(), rows.offset.tolist(), strict=True))


def test_equal_chunks_have_one_place_and_their_statistics(staging):
    for dataset in range(3):
        put(staging, dataset, CELLS)
        put(staging, dataset, CELLS[::-1], chunk=1)
    index = tables(staging.draft(None))
    assert len(set(located(index.chunks))) == 6
    places = {place[1:] for place in located(index.chunks)}
    assert len(places) == len(index.blocks) * 2 == 2
    assert index.chunks.minimum.tolist() == [1] * 6
    assert index.chunks.maximum.tolist() == [4] * 6
    assert index.digests.tobytes() == content_of(NUMBERS, CELLS).digest + content_of(NUMBERS, CELLS[::-1]).digest


@pytest.mark.parametrize("first", ["put", "run"])
def test_chunks_that_come_later_and_otherwise_are_found(staging, first):
    keys = ChunkKeys(np.arange(2), np.zeros(2, np.int64), np.zeros(2, np.int64))
    run = ChunkRun(NUMBERS, keys, np.array([4, 4]), lambda: np.concatenate([CELLS, CELLS]), coordinate=True)
    if first == "put":
        put(staging, 7, CELLS)
        staging.encode()
        staging.put_runs([run], lambda: None)
    else:
        staging.put_runs([run], lambda: None)
        put(staging, 7, CELLS)
    index = tables(staging.draft(None))
    assert located(index.chunks) == [(0, 0, 0), (1, 0, 0), (7, 0, 0)]
    assert len(index.blocks) == len(index.digests) == 1


def test_text_shares_chunks_and_the_texts_of_its_extremes(staging):
    for dataset in range(3):
        put(staging, dataset, WORDS, TEXT)
    put(staging, 3, WORDS[:1], TEXT)
    index = tables(staging.draft(None))
    assert [row[2] for row in located(index.chunks)][:3] == [0, 0, 0]
    assert index.chunks.nulls.tolist() == [1, 1, 1, 0]
    assert len(set(index.chunks.maximum.tolist()[:3])) == 1
    assert [index.texts[at] for at in range(len(index.texts))].count(b"b") == 1


def test_cells_that_are_null_in_one_and_not_in_the_other_are_apart(staging):
    put(staging, 0, CELLS, NUMBERS)
    put(staging, 1, CELLS, FILLED)
    index = tables(staging.draft(None))
    assert index.chunks.nulls.tolist() == [0, 1]
    assert len(index.digests) == 2


def test_constant_chunks_need_neither_block_nor_digest(staging):
    for dataset in range(3):
        put(staging, dataset, [5, 5, 5, 5])
    index = tables(staging.draft(stored(content_of(NUMBERS, np.array([5] * 4, "i4")).digest)))
    assert index.chunks.block.tolist() == [-1] * 3
    assert index.chunks.offset.tolist() == [5] * 3
    assert (len(index.blocks), len(index.digests)) == (0, 0)


def test_a_chunk_that_was_replaced_is_not_written_unless_another_has_it(staging):
    put(staging, 0, CELLS)
    put(staging, 1, CELLS + 1)
    staging.encode()
    put(staging, 0, CELLS + 2)
    put(staging, 2, CELLS + 1)
    staging.encode()
    staging.drop(1)
    index = tables(staging.draft(None))
    digests = [content_of(NUMBERS, CELLS + 1).digest, content_of(NUMBERS, CELLS + 2).digest]
    assert sorted(bytes(part) for part in np.split(index.digests.view("u1"), 2)) == sorted(digests)
    assert index.chunks.dataset.tolist() == [0, 2]


def test_a_run_that_was_interrupted_costs_no_other_chunk(monkeypatch):
    """It has left blocks without rows; then a chunk comes that is known."""
    limits = Limits(own_block=16, shared_block=16, large_bytes=16, parallel_bytes=40)
    staging = Staging("t", "none", "none", TemporaryFile, limits=limits)

    def put_runs(*runs):
        for dataset, *cells in runs:
            keys = ChunkKeys(np.arange(dataset, dataset + len(cells)), *np.zeros((2, len(cells)), np.int64))
            load = partial(np.concatenate, cells)
            staging.put_runs([ChunkRun(NUMBERS, keys, np.full(len(cells), 4), load, coordinate=True)], lambda: None)

    put_runs([0, CELLS], [1, CELLS + 1])
    with monkeypatch.context() as patch:
        patch.setattr(staging, "spill", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            put_runs([2, CELLS + 2, CELLS + 3, CELLS + 4])
    put_runs([5, CELLS], [6, CELLS + 6])
    staging.drop(0)
    staging.drop(5)
    draft = staging.draft(None)
    data, index = b"".join(bytes(part) for part in draft.parts()), tables(draft)
    assert index.chunks.dataset.tolist() == [1, 6]
    for block, cells in zip(index.chunks.block.tolist(), (CELLS + 1, CELLS + 6), strict=True):
        begin = int(index.blocks.offset[block])
        assert data[begin : begin + 16] == cells.tobytes()
    staging.close()


class TestElsewhere:
    def test_what_others_store_is_left_out(self, staging):
        put(staging, 0, CELLS)
        put(staging, 1, CELLS + 1)
        put(staging, 2, CELLS)
        draft = staging.draft(stored(content_of(NUMBERS, CELLS).digest))
        index = tables(draft)
        assert index.chunks.block.tolist() == [SHARED, 0, SHARED]
        for name in ("offset", "nulls", "nans", "minimum", "maximum"):
            assert getattr(index.chunks, name).tolist()[::2] == [0, 0]
        assert draft.shares
        assert draft.digests.tobytes() == content_of(NUMBERS, CELLS + 1).digest
        assert len(index.blocks) == 1
        # Nothing is lost: the next draft can do without the others.
        alone = staging.draft(None)
        assert not alone.shares
        assert tables(alone).chunks.block.min() == 0

    def test_a_chunk_stays_where_its_block_does(self, staging):
        """It was encoded with others before anybody could tell."""
        put(staging, 0, CELLS)
        put(staging, 1, CELLS + 1)
        staging.encode()
        index = tables(staging.draft(stored(content_of(NUMBERS, CELLS).digest)))
        assert index.chunks.block.tolist() == [0, 0]
        assert (
            tables(staging.draft(lambda contents: np.ones(len(contents), bool))).chunks.block.tolist() == [SHARED] * 2
        )

    def test_pending_reads_do_not_need_the_others(self, staging):
        put(staging, 0, CELLS)
        staging.draft(stored(content_of(NUMBERS, CELLS).digest))
        index = staging.encoded_index()
        assert isinstance(index, ChunkIndex)
        assert index.rows.block.tolist() == [0]

    def test_texts_of_what_is_left_out_are_left_out_too(self, staging):
        put(staging, 0, WORDS[:2], TEXT)
        put(staging, 1, WORDS[1:], TEXT)
        index = tables(staging.draft(stored(content_of(TEXT, WORDS[:2]).digest)))
        assert index.chunks.block.tolist() == [SHARED, 0]
        assert b"b" not in [index.texts[at] for at in range(len(index.texts))]


@pytest.mark.parametrize(("least", "kept"), [(0, 3), (16, 3), (17, 0), (1000, 0)])
def test_a_short_chunk_is_not_worth_a_digest(least, kept):
    staging = Staging("t", "zstd", "auto", TemporaryFile, limits=Limits(digested_bytes=least))
    for dataset, more in enumerate((0, 0, 1, 2)):
        put(staging, dataset, CELLS + more)
    index = tables(staging.draft(None))
    assert index.digests.dtype == DIGEST
    assert len(index.digests) == kept
    assert (index.chunks.digest >= 0).tolist() == [kept > 0] * 4
    assert index.chunks.offset.tolist() == [0, 0, 16, 32]
    asked = []
    staging.draft(lambda contents: asked.append(len(contents)) or np.zeros(len(contents), bool))
    assert asked == [kept] * (kept > 0)
    staging.close()
