"""How blocks are read: near ones in one go, as far as their source and the memory at hand recommend."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.catalog.chunk_index import NO_ROWS, ChunkIndex
from atlas.format.digests import NO_DIGESTS
from atlas.format.segment import BlockRows
from atlas.kernels import PIECE_BLOCK
from atlas.read.fetch import ReadBatches
from atlas.runtime.limits import DEFAULT, Limits


class Source:
    """Blocks of `stored` bytes each, `step` bytes from one to the next; byte n of the file is n % 251."""

    def __init__(self, coalesce_gap, blocks, stored, step):
        self.name, self.coalesce_gap, self.digests = "arrays/t/a.seg", coalesce_gap, NO_DIGESTS
        whole = np.full(blocks, stored, np.int64)
        small, sums = np.zeros(blocks, np.uint8), np.zeros(blocks, np.uint64)
        self.blocks = BlockRows(np.arange(blocks) * step, whole, whole, small, small, small + 1, sums)
        self.asked = []

    def read_into(self, offset, length, out, target):
        for begin, count, at in zip(offset.tolist(), length.tolist(), target.tolist(), strict=True):
            self.asked.append((begin, count))
            out[at : at + count] = np.arange(begin, begin + count) % 251


def load_all(*sources, limits=DEFAULT):
    """Read every block of the sources and check its bytes; return the largest buffer that took."""
    index = ChunkIndex.of([(source, NO_ROWS) for source in sources])
    pieces = np.zeros((8, index.blocks.shape[1]), np.int64)
    pieces[PIECE_BLOCK] = np.arange(pieces.shape[1])
    batches, largest = ReadBatches(index, pieces, limits), 0
    for batch in range(len(batches)):
        buffer = batches.load(batch)
        largest = max(largest, len(buffer))
        first, stop = batches.blocks(batch)
        rows, within = batches.wanted[:2, first:stop]
        for (offset, stored), at in zip(index.blocks[:2, rows].T.tolist(), within.tolist(), strict=True):
            assert (buffer[at : at + stored] == np.arange(offset, offset + stored) % 251).all()
    return largest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "1")


@pytest.mark.parametrize(("gap", "reads"), [(0, 20), (899, 20), (900, 1), (1 << 20, 1)])
def test_gaps_are_read_through_as_the_source_says(gap, reads):
    source = Source(gap, 20, 100, 1000)
    load_all(source)
    assert len(source.asked) == reads


def test_of_sources_of_several_kinds_the_largest_gap_counts():
    near, far = Source(0, 20, 100, 1000), Source(1 << 20, 20, 100, 1000)
    load_all(near, far)
    assert (len(near.asked), len(far.asked)) == (1, 1)


def test_small_blocks_far_apart_do_not_fill_the_memory():
    limits = Limits(buffer_bytes=200_000)
    source = Source(1 << 20, 400, 10, 1000)
    assert load_all(source, limits=limits) <= 400 * 10 + 200_000
    assert len(source.asked) == 400
    # Where some lie close to each other, they are still read together.
    source = Source(1 << 20, 400, 10, 400)
    assert load_all(source, limits=limits) <= 400 * 10 + 200_000
    assert len(source.asked) == 1
