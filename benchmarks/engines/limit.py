"""The lower bound of a bulk read: decode and copy the blocks of our own store from memory, and do nothing else.

Records every call of `kernels.gather_boxes` during one slice read of a real store, with the stored bytes, tables and
pieces. Times the same calls again, with as many threads, into new results: the C library decompresses; the kernels
check, unfilter and copy. No files, no metadata, no planning.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Engine, Unsupported, Values
from benchmarks.engines.store import Ours

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Limit"]

_Filled = tuple["NDArray[Any]", list[Any]]


class Limit(Engine):
    """Replays the kernel calls of a bulk read."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        if self.text:
            raise Unsupported("gather does not read strings")
        self._calls: dict[str, list[_Filled]] = {}
        """By codec: the result of each variable, and the calls that filled it."""
        self._pool: ThreadPoolExecutor | None = None

    @property
    def versions(self) -> str:
        return "kernels of atlas"

    def _prepare(self, codec: str) -> None:
        """Write and read a store, and record the calls."""
        from atlas.runtime.threads import thread_count  # noqa: PLC0415

        if codec in self._calls:
            return
        kernels: Any = import_module("atlas.kernels")
        self._threads = thread_count()
        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        store = Ours(self.work, self.folder)
        store.prepare_write()
        store.write_as(codec)
        calls = []
        self._gather = kernels.gather_boxes

        def record(*request: Any) -> None:
            stored, *others = request
            calls.append((stored.copy(), *others))  # the next call reuses its memory
            self._gather(*request)

        kernels.gather_boxes = record
        try:
            store.slice_of(codec)
        finally:
            kernels.gather_boxes = self._gather
        filled: list[_Filled] = []
        for *request, out in calls:
            home = next((mine for result, mine in filled if result is out), None)
            if home is None:
                home = []
                filled.append((out, home))
            home.append(request)
        self._calls[codec] = filled

    def _slice(self, codec: str) -> Values:
        assert self._pool is not None
        read = []
        for result, calls in self._calls[codec]:
            out = np.empty_like(result)
            if len(calls) == 1:
                self._gather(*calls[0], out)
            else:
                list(self._pool.map(lambda call, out=out: self._gather(*call, out), calls))
            read.append(out)
        return read

    def prepare_slice(self) -> None:
        self._prepare("zstd")

    def slice(self) -> Values:
        return self._slice("zstd")

    def prepare_slice_lz4(self) -> None:
        self._prepare("lz4")

    def slice_lz4(self) -> Values:
        return self._slice("lz4")
