"""The memory that decoded blocks are kept in: one pool for all handles of a process, or one for a handle alone.

Blocks come and go as slabs, those that one thread decoded together. A slab is worth the times that it was asked for:
reads that follow each other closely count once, and all counts are halved from time to time. While there is room every
slab is kept. Then a new one replaces others only if it was asked for more often, by two times at least, so that a scan
of more than the pool leaves what is kept alone, and reads that part again and again. A small part of the pool holds the
slabs of short reads by age alone: a program that reads chunk after chunk of one block finds it there.

Knows no files and decodes nothing; `block_cache` finds the blocks of one handle.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.forks import renew_in_children
from atlas.runtime.locks import ForkSafeLock
from atlas.runtime.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CachePool", "Slab", "UseCounts", "pool_for"]

_LARGEST_SHARED = 256 << 20
"""Most bytes of the process's pool by default: a variable of a hundred megabytes fits, and few machines notice."""
_SHARE = 8
"""By default the pool takes this part of the memory at hand at most."""
_VARIABLE = "ATLAS_CACHE_BYTES"

_MOST_USES = 255
"""Uses that are counted: a count is one byte for each block."""
_TICKS = 64
"""Ticks in which as many bytes are asked for as the pool has. Uses within a tick count once."""
_HALVED_AFTER = 8 * _TICKS
"""Ticks after which all counts are halved. A scan of up to eight times the pool still finds its counts."""
_MARGIN = 2
"""By so many uses a new slab must exceed those it replaces. In a scan that is repeated, counts differ by one."""
_RECENT_PART = 8
"""This part of the pool holds the slabs of short reads by age."""
_SHORT = 256
"""A read of at most this part of the pool is short: a box of a chunk or two, which others of them follow."""
_SLABS, _LARGEST_SLAB = 64, 1 << 20
"""A pool takes so many slabs at least, and a slab of several blocks no more bytes: one kernel call copies them."""
_EXAMINED = 16
"""Slabs of which the least used is replaced."""
_OVERHEAD = 512
"""Bytes that a slab takes beside its blocks."""


class UseCounts:
    """How often the blocks of one file were asked for, and which slab holds each. The pool's lock guards it."""

    __slots__ = ("_halvings", "last", "offset", "slab", "uses")

    def __init__(self, blocks: int, halvings: int) -> None:
        self.slab = np.full(blocks, -1)
        """Number of the slab that held each block last, -1 before the first, (blocks,); it may be gone."""
        self.offset = np.zeros(blocks, np.int64)
        """Where each block begins in that slab, (blocks,)."""
        self.uses = np.zeros(blocks, np.uint8)
        """Ticks in which each block was asked for while no slab held it, or that its last slab had counted."""
        self.last = np.zeros(blocks, np.int64)
        """The last tick in which each block was asked for while no slab held it, 0 before the first."""
        self._halvings = halvings

    def count(self, blocks: NDArray[np.int64], tick: int) -> NDArray[np.int64]:
        """Count that `blocks` (N,), which no slab holds, were asked for, and return how often, (N,); 0 at the first."""
        last = self.last[blocks]
        self.last[blocks] = tick
        if not last.any():  # a first scan must not take longer for being counted
            self.uses[blocks] = 1
            return np.zeros(len(blocks), np.int64)
        uses = self.uses[blocks].astype(np.int64)
        uses += (last != tick) & (uses < _MOST_USES)
        self.uses[blocks] = uses
        return np.where(last > 0, np.maximum(uses, 1), 0)

    def halve(self, halvings: int) -> None:
        """Halve the counts until they have been halved `halvings` times."""
        if halvings > self._halvings:
            self.uses >>= min(halvings - self._halvings, 8)
            self._halvings = halvings


class Slab:
    """Decoded blocks of one file that are kept together."""

    __slots__ = ("blocks", "counts", "data", "last", "owner", "size", "uses")

    def __init__(self, owner: int, counts: UseCounts, blocks: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        data.flags.writeable = False
        self.owner = owner
        """Number of the cache that it belongs to."""
        self.counts = counts
        """The counts of its file."""
        self.blocks = blocks
        """Numbers of its blocks in the file, ascending, (blocks,)."""
        self.data = data
        """The decoded blocks back to back, uint8; nobody may write to it."""
        self.size = data.nbytes + _OVERHEAD + 8 * len(blocks)
        """Bytes that it takes."""
        self.uses = 0
        """Ticks in which it was asked for."""
        self.last = 0
        """The last of them."""


class CachePool:
    """Slabs of at most `budget` bytes. Callers hold `lock` around every call but `release`."""

    def __init__(self, budget: int, cache_bytes: int | None = None) -> None:
        self.cache_bytes = cache_bytes
        """What `pool_for` made it for, None where it is shared."""
        self.budget = budget
        """Bytes that it may take; with 0 it keeps nothing."""
        self.short_bytes = budget // _SHORT
        """Reads of at most so many bytes that are missing are short."""
        self.slab_bytes = max(1, min(budget // _SLABS, _LARGEST_SLAB))
        """Bytes that a slab of several blocks should take."""
        self._recent_budget = budget // _RECENT_PART
        self._tick_bytes = max(1, budget // _TICKS)
        self._numbers = count()
        self._released: deque[int] = deque()
        self.tick = 1
        """Counts time in bytes that were asked for."""
        self.halvings = 0
        """How often counts were halved."""
        self._asked = 0
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin anew, empty, in a forked child: another thread may have been changing the pool."""
        self.lock = threading.Lock()
        """Guards the pool, and the counts of those who use it."""
        self.slabs: dict[int, Slab] = {}
        """All slabs by number. No number is used twice."""
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._recent: OrderedDict[int, None] = OrderedDict()
        self.size = 0
        """Bytes that the slabs take."""
        self._recent_size = 0

    # Use

    def ask(self, nbytes: int) -> None:
        """Count time: blocks of so many bytes were asked for."""
        self._asked += nbytes
        if self._asked < self._tick_bytes:
            return
        before = self.tick
        self.tick += self._asked // self._tick_bytes
        self._asked %= self._tick_bytes
        halvings = self.tick // _HALVED_AFTER - before // _HALVED_AFTER
        if halvings:
            self.halvings += halvings
            for slab in self.slabs.values():
                slab.uses >>= min(halvings, 8)

    def use(self, number: int) -> Slab | None:
        """Return the slab of that number and count the use, None where it is gone."""
        slab = self.slabs.get(number)
        if slab is None:
            return None
        if slab.last != self.tick:
            slab.last = self.tick
            slab.uses = min(slab.uses + 1, _MOST_USES)
            if number in self._recent:
                self._recent.move_to_end(number)
        return slab

    # Admission

    def admits(self, nbytes: int, uses: int, *, short: bool) -> bool:
        """Return whether a slab of so many bytes that was asked for `uses` times would be kept now.

        `short` slabs are kept among the recent ones first, whatever their uses.
        """
        self._drain()
        if short and nbytes <= self._recent_budget:
            return True
        return self._has_room(nbytes) or self._victims(nbytes, uses) is not None

    def add(self, slab: Slab, offset: NDArray[np.int64], uses: int, *, short: bool) -> None:
        """Keep a slab that was asked for `uses` times, if there is room or it is worth more than others.

        `offset` (blocks,) is where its blocks begin.

        Nothing is kept where another thread was first with one of its blocks.
        """
        self._drain()
        if any(number in self.slabs for number in slab.counts.slab[slab.blocks].tolist()):
            return
        slab.uses, slab.last = uses, self.tick
        slab.counts.offset[slab.blocks] = offset
        if not (short and slab.size <= self._recent_budget):
            self._keep(next(self._numbers), slab)
            return
        number = next(self._numbers)
        self._insert(number, slab)
        self._recent[number] = None
        self._recent_size += slab.size
        while self._recent_size > self._recent_budget:
            oldest, _ = self._recent.popitem(last=False)
            leaving = self.slabs[oldest]
            self._recent_size -= leaving.size
            self._remove(oldest)
            self._keep(oldest, leaving)

    def _keep(self, number: int, slab: Slab) -> None:
        """Keep a slab for good, in place of others where there is no room."""
        if not self._has_room(slab.size):
            victims = self._victims(slab.size, slab.uses)
            if victims is None:
                return
            for victim in victims:
                del self._kept[victim]
                self._remove(victim)
        self._insert(number, slab)
        self._kept[number] = None

    def _has_room(self, nbytes: int) -> bool:
        return self.size - self._recent_size + nbytes <= self.budget - self._recent_budget

    def _victims(self, nbytes: int, uses: int) -> list[int] | None:
        """Return the slabs that one of `nbytes` bytes and `uses` uses replaces, None where it is not worth them."""
        needed = self.size - self._recent_size + nbytes - (self.budget - self._recent_budget)
        if uses < _MARGIN or nbytes > self.budget - self._recent_budget:
            return None
        # Large slabs replace many small ones: as many are examined as twice that takes.
        average = max(1, (self.size - self._recent_size) // max(1, len(self._kept)))
        examined = list(islice(self._kept, max(_EXAMINED, 2 * needed // average)))
        for number in examined:  # the next call examines others
            self._kept.move_to_end(number)
        chosen = []
        for number in sorted(examined, key=lambda number: self.slabs[number].uses):
            if self.slabs[number].uses + _MARGIN > uses:
                return None
            chosen.append(number)
            needed -= self.slabs[number].size
            if needed <= 0:
                return chosen
        return None

    def _insert(self, number: int, slab: Slab) -> None:
        self.slabs[number] = slab
        self.size += slab.size
        slab.counts.slab[slab.blocks] = number

    def _remove(self, number: int) -> None:
        slab = self.slabs.pop(number)
        self.size -= slab.size
        slab.counts.halve(self.halvings)
        slab.counts.uses[slab.blocks] = slab.uses
        slab.counts.last[slab.blocks] = slab.last

    # Giving back

    def release(self, owner: int) -> None:
        """Give back the slabs of a cache. Takes the lock itself, and never waits: a garbage collection may call it."""
        self._released.append(owner)
        if self.lock.acquire(blocking=False):  # otherwise the next admission does it
            try:
                self._drain()
            finally:
                self.lock.release()

    def _drain(self) -> None:
        while self._released:
            owner = self._released.popleft()
            self.forget(number for number, slab in self.slabs.items() if slab.owner == owner)

    def forget(self, numbers: Iterable[int]) -> None:
        """Give back the slabs of these numbers."""
        for number in list(numbers):
            if number in self._recent:
                del self._recent[number]
                self._recent_size -= self.slabs[number].size
            else:
                del self._kept[number]
            self._remove(number)


_shared: list[CachePool] = []
_shared_lock = ForkSafeLock()


def pool_for(cache_bytes: int | None) -> CachePool:
    """Return a new pool of `cache_bytes` bytes, 0 for none, or for None the one that handles of the process share.

    That takes `ATLAS_CACHE_BYTES` bytes, else an eighth of the memory at hand when it is first needed, at most 256 MiB.

    Raises `InvalidTypeError` and `InvalidValueError` for what is no number of bytes, also in the variable.
    """
    if cache_bytes is not None:
        if isinstance(cache_bytes, bool | np.timedelta64) or not isinstance(cache_bytes, int | np.integer):
            raise InvalidTypeError(
                f"cache_bytes is a whole number of bytes, not {type(cache_bytes).__name__} {cache_bytes!r}; pass one "
                "such as 64 << 20, 0 for no cache, or None for the one that handles share"
            )
        if cache_bytes < 0:
            raise InvalidValueError(
                f"cache_bytes is {cache_bytes}; pass 0 or more bytes, or None for the cache that handles share"
            )
        return CachePool(int(cache_bytes), int(cache_bytes))
    with _shared_lock:
        if not _shared:
            _shared.append(CachePool(_shared_bytes()))
        return _shared[0]


def _shared_bytes() -> int:
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return min(_LARGEST_SHARED, available_memory() // _SHARE)
    if not (text.isascii() and text.isdecimal()):
        raise InvalidValueError(
            f"{_VARIABLE} is {text!r}; set it to a whole number of bytes, 0 for no cache, or leave it unset"
        )
    return int(text)
