"""Blocks in memory: what is kept, what goes first, and when memory is given back."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import atlas
from atlas import kernels
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.segment import BlockRows
from atlas.read import block_cache, cache_pool
from atlas.read.block_cache import BlockCache
from atlas.read.cache_pool import CachePool, pool_for
from atlas.storage import MemoryStorage

LENGTH = 10_000
"""Bytes of a block."""
PER_POOL = 64
BUDGET = PER_POOL * (LENGTH + 520)


class Files:
    """Some files of blocks, as a chunk index shows them. Every byte of a block is its number."""

    def __init__(self, *counts, length=LENGTH):
        columns = [np.full(sum(counts), value) for value in (0, length, length, 0, 0, 1, 0)]
        self.blocks = np.array([*columns, np.repeat(np.arange(len(counts)), counts)])
        self.base = np.cumsum((0, *counts[:-1]))
        self.sources = [
            SimpleNamespace(name=f"file {at}", blocks=BlockRows.of_matrix(self.blocks[:, : counts[at]]))
            for at in range(len(counts))
        ]


def read(cache, files, rows, at_once=1, order=1):
    """Read blocks, `at_once` in each read, and return which were in memory. The order -1 reads the last first."""
    hits = []
    for part in np.array_split(np.asarray(rows), -(-len(rows) // at_once))[::order]:
        found = cache.find(files, part)
        for begin, end, slab in found.held:
            for row, offset in zip(part[begin:end].tolist(), found.offset[begin:end].tolist(), strict=True):
                assert (slab.data[offset : offset + LENGTH] == row % 251).all()
                hits.append(row)
        missing, uses = part[found.missing], found.uses[found.missing]
        source = files.blocks[kernels.BLOCK_SOURCE, part]
        assert (source == source[0]).all()
        short = len(missing) * LENGTH <= cache.pool.short_bytes
        if len(missing) and cache.admits(len(missing) * LENGTH, uses, short=short):
            data = np.repeat((missing % 251).astype(np.uint8), LENGTH)
            blocks = missing - files.base[source[0]]
            cache.keep(files.sources[source[0]], blocks, data, np.arange(len(blocks)) * LENGTH, uses, short=short)
    return hits


def held(pool):
    return sum(slab.size for slab in pool.slabs.values())


@pytest.fixture
def pool():
    return CachePool(BUDGET)


@pytest.fixture
def cache(pool):
    return BlockCache(pool)


def test_blocks_are_kept_when_they_are_read_again(cache):
    files = Files(30, 30)
    rows = np.arange(25, 30)
    assert read(cache, files, rows) == []
    assert read(cache, files, rows) == []
    assert read(cache, files, rows) == rows.tolist()
    assert read(cache, files, rows + 5) == []


def test_half_of_the_blocks_of_a_read_must_have_been_read_before(cache):
    files = Files(100)
    window = np.arange(10)
    hits = [len(read(cache, files, window + step, at_once=10)) for step in range(12)]
    assert hits[:2] == [0, 0]
    assert min(hits[2:]) >= 8


def test_a_block_that_is_read_alone_is_kept_at_once(cache, monkeypatch):
    files = Files(40)
    decoded = []

    def load(source, blocks):
        decoded.append(blocks.item())
        return blocks.astype(np.uint8), None

    monkeypatch.setattr(block_cache, "load_blocks", load)
    monkeypatch.setattr(kernels, "decode_block", lambda buffer, *_: np.full(LENGTH, buffer[0], np.uint8))
    source = files.sources[0]
    for number in range(20):
        for _ in range(3):
            block = cache.load(source, number)
            assert (block == number).all()
            assert not block.flags.writeable
    assert decoded == list(range(20))
    assert (cache.get(source, 7) == 7).all()
    assert cache.get(source, 30) is None


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_scan_of_twice_the_pool_hits_the_same_part_each_time(cache, pool, at_once):
    files, rows = Files(2 * PER_POOL), np.arange(2 * PER_POOL)
    passes = [read(cache, files, rows, at_once) for _ in range(40)]
    assert len(passes[2]) >= 0.75 * PER_POOL
    assert all(sorted(hits) == sorted(passes[2]) for hits in passes[2:])
    assert held(pool) == pool.size <= BUDGET


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_scan_back_and_forth_hits_as_much(cache, at_once):
    files, rows = Files(2 * PER_POOL), np.arange(2 * PER_POOL)
    hits = [len(read(cache, files, rows, at_once, (-1) ** at)) for at in range(60)]
    assert sum(hits[2:]) >= 58 * 0.75 * PER_POOL


def test_a_scan_leaves_what_is_used_alone(cache):
    files = Files(40, 10 * PER_POOL)
    hot = np.arange(40)
    for _ in range(5):
        read(cache, files, hot, at_once=5)
    for _ in range(2):
        read(cache, files, 40 + np.arange(10 * PER_POOL), at_once=8)
    assert len(read(cache, files, hot, at_once=5)) == 40


@pytest.mark.parametrize("at_once", [1, 5])
def test_what_is_not_used_any_more_makes_room(cache, at_once):
    files = Files(PER_POOL, PER_POOL)
    old, new = np.arange(50), PER_POOL + np.arange(50)
    for _ in range(100):
        read(cache, files, old, at_once)
    assert any(len(read(cache, files, new, at_once)) == 50 for _ in range(30))


def test_counts_are_halved_from_time_to_time(cache, pool):
    files = Files(PER_POOL)
    for _ in range(7):
        read(cache, files, np.arange(4))
        pool.ask(pool.budget)
    before = max(slab.uses for slab in pool.slabs.values())
    pool.ask(8 * pool.budget)
    assert {slab.uses for slab in pool.slabs.values()} == {before // 2}
    pool.ask(1000 * pool.budget)
    assert {slab.uses for slab in pool.slabs.values()} == {0}


def test_reads_that_follow_each_other_closely_count_once(cache, pool):
    files = Files(PER_POOL)
    read(cache, files, [3])
    for _ in range(100):
        found = cache.find(files, np.array([3]))
        assert found.uses.item() >= 1
        pool._asked = 0
    assert found.uses.item() <= 2


def test_a_block_larger_than_the_pool_is_not_kept(pool):
    cache, files = BlockCache(pool), Files(2, length=BUDGET + 1)
    for _ in range(3):
        found = cache.find(files, np.array([1]))
        assert not found.held
        assert not cache.admits(BUDGET + 1, found.uses, short=False)
    data = np.empty(BUDGET + 1, np.uint8)
    cache.keep(files.sources[0], np.array([1]), data, np.zeros(1, int), found.uses, short=True)
    assert pool.size == 0


def test_of_two_threads_the_first_keeps_its_block(cache, pool):
    files = Files(9)
    first = np.zeros(LENGTH, np.uint8)
    for data in (first, first.copy()):
        cache.keep(files.sources[0], np.array([4]), data, np.zeros(1, int), np.array([2]), short=False)
    (slab,) = pool.slabs.values()
    assert slab.data is first
    assert not first.flags.writeable


def test_many_small_slabs_make_room_for_a_large_one(cache, pool):
    small, large = Files(800, length=1000), Files(100)
    for at in range(800):
        data = np.empty(1000, np.uint8)
        cache.keep(small.sources[0], np.array([at]), data, np.zeros(1, int), np.array([1]), short=False)
    data, uses = np.empty(20 * LENGTH, np.uint8), np.full(20, 9)
    other = SimpleNamespace(name="large", blocks=large.sources[0].blocks)
    assert cache.admits(data.nbytes, uses, short=False)
    cache.keep(other, np.arange(20), data, np.arange(20) * LENGTH, uses, short=False)
    assert any(slab.data is data for slab in pool.slabs.values())
    assert held(pool) == pool.size <= BUDGET


def test_counts_of_few_blocks_are_kept(cache, pool, monkeypatch):
    monkeypatch.setattr(block_cache, "_MOST_COUNTED", 50)
    files = Files(*[20] * 10)
    for _ in range(3):
        for source in range(10):
            read(cache, files, 20 * source + np.arange(3))
            assert sum(len(counts.slab) for counts in cache._counts.values()) == cache._counted <= 50
    assert {id(slab.counts) for slab in pool.slabs.values()} <= {id(counts) for counts in cache._counts.values()}
    assert held(pool) == pool.size


def test_a_file_gives_all_its_blocks_or_none_side_by_side(cache):
    files = Files(30)
    for _ in range(2):
        read(cache, files, np.arange(4, 8), at_once=4)
        read(cache, files, np.arange(8, 12), at_once=4)
    (source,) = files.sources
    data, begin = cache.span(source, 5, 7, 2 * LENGTH)
    assert (data[begin : begin + LENGTH] == 5).all()
    assert cache.span(source, 5, 8, 3 * LENGTH) is None
    assert cache.span(source, 5, 7, LENGTH) is None
    assert cache.span(source, 20, 20, 0) is None
    assert cache.span(SimpleNamespace(name="none"), 0, 0, 0) is None


def test_the_pool_is_shared_and_given_back_by_each_handle(pool):
    one, other, files = BlockCache(pool), BlockCache(pool), Files(20)
    for _ in range(2):
        read(one, files, np.arange(10))
        read(other, files, np.arange(5))
    assert held(pool) == pool.size
    assert len(pool.slabs) == 15
    gc.disable()
    try:
        del one
        assert len(pool.slabs) == 5
    finally:
        gc.enable()
    assert held(pool) == pool.size
    other.clear()
    assert (pool.size, len(pool.slabs)) == (0, 0)
    assert read(other, files, np.arange(5)) == []


def test_memory_is_given_back_while_another_thread_has_the_lock(pool):
    cache, files = BlockCache(pool), Files(20)
    for _ in range(2):
        read(cache, files, np.arange(10))
    with pool.lock:
        del cache
        assert len(pool.slabs) == 10
    assert not BlockCache(pool).admits(1, np.array([0]), short=False)
    BlockCache(pool).admits(1, np.array([1]), short=False)
    assert pool.size == 0


def test_a_forked_child_begins_empty(cache, pool):
    files = Files(20)
    for _ in range(2):
        read(cache, files, np.arange(10))
    pool.lock.acquire()
    pool.renew()
    assert pool.size == 0
    assert read(cache, files, np.arange(10)) == []
    assert read(cache, files, np.arange(10)) == list(range(10))


def test_nothing_is_kept_without_a_budget():
    cache, files = BlockCache(CachePool(0)), Files(20)
    for _ in range(3):
        assert read(cache, files, np.arange(10)) == []
    assert cache.pool.size == 0


def test_threads_may_use_it_together(cache, pool):
    files, wrong = Files(2 * PER_POOL), []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(150):
                first = rng.integers(0, 2 * PER_POOL - 9)
                read(cache, files, np.arange(first, first + rng.integers(1, 9)), at_once=4)
                assert pool.size <= BUDGET
        except BaseException as error:  # noqa: BLE001 - raised below
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert held(pool) == pool.size <= BUDGET


# The pool of the process


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.setattr(cache_pool, "_shared", [])
    monkeypatch.delenv("ATLAS_CACHE_BYTES", raising=False)


@pytest.mark.parametrize(("available", "budget"), [(1 << 40, 256 << 20), (80 << 20, 10 << 20), (0, 0)])
def test_handles_share_an_eighth_of_the_memory_at_hand(unset, monkeypatch, available, budget):
    asked = []
    monkeypatch.setattr(cache_pool, "available_memory", lambda: asked.append(1) or available)
    assert pool_for(None) is pool_for(None)
    assert (pool_for(None).budget, len(asked)) == (budget, 1)
    assert pool_for(7) is not pool_for(7)
    assert pool_for(np.int32(7)).budget == 7


@pytest.mark.parametrize(("text", "budget"), [("0", 0), (" 1000 ", 1000)])
def test_a_variable_sets_what_they_share(unset, monkeypatch, text, budget):
    monkeypatch.setenv("ATLAS_CACHE_BYTES", text)
    assert pool_for(None).budget == budget


@pytest.mark.parametrize("text", ["256M", "-1", "1e9", "٣"])
def test_a_variable_that_is_no_number_is_refused(unset, monkeypatch, text, tmp_path):
    monkeypatch.setenv("ATLAS_CACHE_BYTES", text)
    with pytest.raises(InvalidValueError, match=f"ATLAS_CACHE_BYTES is '{text}'; set it to a whole number"):
        atlas.Atlas.create(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    atlas.Atlas.create(tmp_path / "store", cache_bytes=0)


def test_bytes_that_are_no_number_are_refused(tmp_path):
    for value in ("1", 1.0, True, np.timedelta64(1, "s")):
        with pytest.raises(InvalidTypeError, match=r"cache_bytes is a whole number of bytes, not .*; pass"):
            atlas.Atlas.create(tmp_path / "store", cache_bytes=value)
    with pytest.raises(InvalidValueError, match="cache_bytes is -1; pass 0 or more"):
        atlas.Atlas.create(tmp_path / "store", cache_bytes=-1)
    assert not (tmp_path / "store").exists()
    storage = MemoryStorage()
    with atlas.Atlas.create(storage, cache_bytes=1 << 20) as store:
        assert store._session.reader.cache.pool.budget == 1 << 20
    with pytest.raises(InvalidTypeError):
        atlas.Atlas.open(storage, cache_bytes="1")
    assert atlas.Atlas.open(storage, cache_bytes=0)._session.reader.cache.pool.budget == 0
