"""The library's own threads: tasks over disjoint ranges, run side by side while kernels and I/O hold no GIL."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from atlas.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["run_all", "thread_count"]

_T = TypeVar("_T")
_R = TypeVar("_R")


def thread_count() -> int:
    """Return how many threads may work at once: `ATLAS_NUM_THREADS`, else the processors this process may use."""
    text = os.environ.get("ATLAS_NUM_THREADS", "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise InvalidValueError(
            f"ATLAS_NUM_THREADS is {text!r}; set it to a whole number of 1 or more, or leave it unset"
        )
    return int(text)


class _Pool:
    """One executor a process, made when first needed and again in a forked child, which has no threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._size = 0

    def get(self, size: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or self._size != size:
                # An executor of another size finishes what it was given and goes.
                self._executor = ThreadPoolExecutor(size, thread_name_prefix="atlas")
                self._size = size
            return self._executor

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._executor = None


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def run_all(task: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return `task` of each item, in order, run by the pool; the caller's thread takes part.

    All tasks have ended when this returns or raises; the first exception in the order of the items is raised.
    """
    threads = 1 if len(items) <= 1 else thread_count()
    if threads == 1:
        return [task(item) for item in items]
    results: list[_R | None] = [None] * len(items)
    errors: list[tuple[int, BaseException]] = []
    upcoming = iter(range(len(items)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                at = next(upcoming, None)
                if at is None or errors:
                    return
            try:
                results[at] = task(items[at])
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                errors.append((at, error))
                return

    helpers = min(threads, len(items)) - 1
    executor = _pool.get(max(threads - 1, 1))
    futures = [executor.submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        # A helper that has not begun is not needed any more: everything was taken. Waiting for it would deadlock
        # when the pool itself calls run_all.
        if not future.cancel():
            future.result()
    if errors:
        raise min(errors, key=lambda entry: entry[0])[1]
    return results  # type: ignore[return-value]
