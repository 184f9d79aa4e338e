"""A cache of decoded blocks and chunks, limited in bytes: reads of dataset after dataset decode each block once."""

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
    """Keeps what was used most recently, up to `budget` bytes. Many threads may use it at once."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._blocks: OrderedDict[tuple[str | int, ...], NDArray[Any]] = OrderedDict()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Replace the lock: a child process calls this after a fork, as another thread may have held it."""
        self._lock = threading.Lock()

    def get(self, key: tuple[str | int, ...]) -> NDArray[Any] | None:
        """Return the array under a key, which must not be written to; None where it is not cached."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def load(self, source: Source, block: int) -> NDArray[np.uint8]:
        """Return the block number `block` of a source, decoded: 1-D uint8 that must not be written to.

        A block that is not cached is read, decoded and cached.

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
        """Cache an array under a key that never names another one. From now on nobody may write to the array."""
        with self._lock:
            if key in self._blocks or block.nbytes > self._budget // 4:
                return
            self._blocks[key] = block
            self._size += block.nbytes
            while self._size > self._budget:
                self._size -= self._blocks.popitem(last=False)[1].nbytes
