"""Decoded blocks and chunks kept within a budget of bytes, so that reading datasets one by one decodes each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.read.fetch import load_blocks
from atlas.runtime.forks import renew_in_children

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import Source

__all__ = ["BlockCache"]


class BlockCache:
    """What was decoded and used most recently; safe from many threads."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._blocks: OrderedDict[tuple[str | int, ...], NDArray[Any]] = OrderedDict()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def get(self, key: tuple[str | int, ...]) -> NDArray[Any] | None:
        """Return what is kept under a key, None where nothing is."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def load(self, source: Source, block: int) -> NDArray[np.uint8]:
        """Return a decoded block, which must not be written to; what is not kept is read, decoded and kept.

        Raises `BlockError` where it is damaged.
        """
        key = (source.name, block)
        raw = self.get(key)
        if raw is None:
            buffer, blocks = load_blocks(source, np.array([block]))
            raw = kernels.decode_block(buffer, blocks, 0)
            self.put(key, raw)
        return raw

    def put(self, key: tuple[str | int, ...], block: NDArray[Any]) -> None:
        """Keep an array, which nobody may write to any more, under a key that never stands for another."""
        with self._lock:
            if key in self._blocks or block.nbytes > self._budget // 4:
                return
            self._blocks[key] = block
            self._size += block.nbytes
            while self._size > self._budget:
                self._size -= self._blocks.popitem(last=False)[1].nbytes
