"""The package's own threads: a pool for work, a pool for waits, and single threads in the background.

The pools are made when first needed and anew in a forked child. `run_all` is for tasks that keep a processor busy while
they hold no GIL (kernels); `run_io` is for tasks that wait for a disk or a network. Both return once their tasks have
ended. `run_behind` returns at once, and `run_ahead` yields results in order. No other module starts a thread. Nothing
here cancels a task that has begun.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from atlas.errors import InvalidValueError
from atlas.runtime.forks import renew_in_children

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

__all__ = ["IO_THREADS", "run_ahead", "run_all", "run_behind", "run_io", "thread_count"]

_T = TypeVar("_T")
_R = TypeVar("_R")

IO_THREADS = 16
"""Waits that one call makes side by side at most. Services answer so many requests at once; a disk gains from fewer."""


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


class _Batch(Generic[_T, _R]):
    """Items that several threads take one after the other."""

    def __init__(self, task: Callable[[_T], _R], items: Sequence[_T]) -> None:
        self._task: Callable[[_T], _R] | None = task
        self._items = items
        self._upcoming = iter(range(len(items)))
        self._lock = threading.Lock()
        self._results: list[_R | None] = [None] * len(items)
        self._errors: list[tuple[int, BaseException]] = []

    def work(self) -> None:
        """Run the task of items that no other thread has taken, until none is left or one has failed."""
        task, items = self._task, self._items
        while task is not None:
            with self._lock:
                at = next(self._upcoming, None)
            if at is None or self._errors:
                return
            try:
                self._results[at] = task(items[at])
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                self._errors.append((at, error))

    def take(self) -> list[_R]:
        """Return the results, in order, or raise the first error; forgets everything.

        A thread that has ended `work` holds it for a moment longer, and must not hold with it what was read.
        """
        results, errors = self._results, self._errors
        self._task, self._items, self._results, self._errors = None, (), [], []
        if errors:
            raise min(errors, key=lambda entry: entry[0])[1]
        return results  # type: ignore[return-value]


class _Pool:
    """Threads of one kind, kept from call to call: to start one takes longer than many a task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, task: Callable[[_T], _R], items: Sequence[_T], threads: int, size: int) -> list[_R]:
        """Return `task` of each item, in order, run by the caller and up to `threads - 1` threads out of `size`."""
        if threads <= 1 or len(items) <= 1:
            return [task(item) for item in items]
        batch = _Batch(task, items)
        helpers: list[Future[None]] = []
        # When the interpreter exits or the system gives no more threads, the caller runs what is left.
        with suppress(RuntimeError):
            executor = self._get(size)
            helpers.extend(executor.submit(batch.work) for _ in range(min(threads, len(items)) - 1))
        batch.work()
        for helper in helpers:
            # A helper that has not begun has nothing left to do. Where a thread of the pool made the call, it would
            # never begin.
            if not helper.cancel():
                helper.result()
        return batch.take()

    def _get(self, size: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or self._size != size:
                # An executor of another size finishes what it was given and goes.
                self._executor = ThreadPoolExecutor(size, thread_name_prefix=self._name)
                self._size = size
            return self._executor


_work = _Pool("atlas-work")
_io = _Pool("atlas-io")


def run_all(task: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return `task` of each item, in order, run by `thread_count` threads, the caller's among them.

    All tasks that have begun have ended when this returns or raises. After an exception no further task begins; the
    first in the order of the items is raised.
    """
    threads = 1 if len(items) <= 1 else thread_count()
    return _work.run(task, items, threads, max(threads - 1, 1))


def run_io(task: Callable[[_T], _R], items: Sequence[_T], at_once: int = IO_THREADS) -> list[_R]:
    """Return `task` of each item as `run_all` does, `at_once` of them side by side (at most `IO_THREADS`).

    The threads serve all calls of the process together, so a call may get fewer; its own thread always takes part.
    """
    return _io.run(task, items, min(at_once, IO_THREADS), IO_THREADS - 1)


def run_ahead(task: Callable[[_T], _R], items: Iterable[_T], threads: int, ahead: int) -> Generator[_R, None, None]:
    """Yield `task` of each item, in order, run by threads of its own, `ahead` of what is asked for.

    Raises what the task of an item raises in its place. Tasks that have not begun when the caller stops never do.
    """
    executor = ThreadPoolExecutor(threads, "atlas-ahead")
    waiting: deque[Future[_R]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(task, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def run_behind(task: Callable[[], None]) -> threading.Thread:
    """Run `task`, which must not raise, in a daemon thread of its own, and return the thread.

    When the interpreter exits or the system gives no more threads, the caller runs it: the thread is then not alive.
    """
    thread = threading.Thread(target=task, name="atlas-behind", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        task()
    return thread
