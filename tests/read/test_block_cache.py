from __future__ import annotations

import threading

import numpy as np

from atlas.read.block_cache import BlockCache


def block(size, value=0):
    return np.full(size, value, np.uint8)


def test_blocks_are_found_by_file_and_number():
    cache = BlockCache(1000)
    kept = block(10)
    cache.put(("a", 1), kept)
    assert cache.get(("a", 1)) is kept
    assert cache.get(("a", 2)) is cache.get(("b", 1)) is None


def test_the_block_not_used_for_longest_goes_first():
    cache = BlockCache(400)
    for at in range(4):
        cache.put(("a", at), block(100))
    assert cache.get(("a", 0)) is not None
    cache.put(("a", 4), block(50))
    assert [at for at in range(5) if cache.get(("a", at)) is not None] == [0, 2, 3, 4]


def test_the_budget_holds():
    cache = BlockCache(1000)
    for at in range(200):
        cache.put(("a", at), block(at % 250 + 1))
        assert sum(kept.nbytes for kept in cache._blocks.values()) == cache._size <= 1000


def test_a_block_that_would_push_out_the_others_is_not_kept():
    cache = BlockCache(400)
    cache.put(("a", 0), block(101))
    cache.put(("a", 1), block(100))
    assert cache.get(("a", 0)) is None
    assert cache.get(("a", 1)) is not None


def test_the_first_block_under_a_key_stays():
    cache = BlockCache(400)
    first = block(50)
    cache.put(("a", 0), first)
    cache.put(("a", 0), block(60))
    assert cache.get(("a", 0)) is first
    assert cache._size == 50


def test_threads_may_use_it_together():
    cache = BlockCache(5000)
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for at in rng.integers(0, 60, 2000).tolist():
            found = cache.get(("a", at))
            if found is None:
                cache.put(("a", at), block(100 + at, at))
            elif found[0] != at or len(found) != 100 + at:
                wrong.append(at)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert sum(kept.nbytes for kept in cache._blocks.values()) == cache._size <= 5000
