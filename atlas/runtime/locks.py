"""Locks that survive a fork: a child begins with every lock free, whichever thread held it in the parent.

For locks within one process; nothing here keeps other processes out.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atlas.errors import ReadOnlyError
from atlas.runtime.forks import renew_in_children
from atlas.runtime.interrupts import deferred_interrupts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["ChangeCount", "ForkSafeLock", "Gate", "HandleLocks"]


class Gate:
    """A lock that many threads share while they pass, or one thread holds alone while it is closed."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Hold the lock with others; waits while the gate is closed. A thread may pass several times at once."""
        me = threading.get_ident()
        with self._moved:
            self._passing[me] += 1
        try:
            yield
        finally:
            with self._moved:
                self._passing[me] -= 1
                if not self._passing[me]:
                    del self._passing[me]
                    self._moved.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Hold the lock alone; waits until no other thread passes. A thread that passes may close it too."""
        me = threading.get_ident()
        with self._moved:
            self._moved.wait_for(lambda: set(self._passing) <= {me})
            yield

    def renew(self) -> None:
        """Begin anew in a forked child, open and empty."""
        self._moved = threading.Condition()
        self._passing: Counter[int] = Counter()


class ChangeCount:
    """How many changes have begun and have ended, for lookups that take no lock.

    Such a lookup notes `ended`, looks, and then compares `begun` with what it noted. Where they are equal, no change
    was under way while it looked; otherwise it must look again with the lock. Threads that wait for a lock in turn make
    each other wait for the interpreter: with 16 of them, small reads took 300 times longer with a lock than without.
    """

    __slots__ = ("begun", "ended")

    def __init__(self) -> None:
        self.begun = 0
        """Changes that have begun, those inside others too."""
        self.ended = 0
        """Those of them that have ended."""


class _Changing:
    """Two locks, taken in order and held together by a call that counts as a change."""

    __slots__ = ("_changes", "_first", "_second")

    def __init__(self, first: threading.RLock, second: threading.RLock, changes: ChangeCount) -> None:
        self._first, self._second, self._changes = first, second, changes

    def __enter__(self) -> None:
        self._first.acquire()
        self._second.acquire()
        self._changes.begun += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._changes.ended += 1
        self._second.release()
        self._first.release()


class _Refused:
    """Stands for the lock that changes of a read-only handle would hold."""

    __slots__ = ()

    def __enter__(self) -> None:
        raise ReadOnlyError('this handle was opened with mode="r", to read; open the store with mode="r+" to change it')

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def _moving(both: _Changing) -> Iterator[None]:
    with deferred_interrupts(), both:
        yield


class HandleLocks:
    """The locks of one open store. Take several in the order `building`, `encoding`, `writing`, `loading`, `state`.

    Those of a `read_only` handle refuse every change: `changing` raises `ReadOnlyError`.
    """

    def __init__(self, *, read_only: bool = False) -> None:
        self.read_only = read_only
        """Whether the handle refuses changes."""
        self.building = Gate()
        """Passed by calls that change the store in many steps, so that no flush commits half of them."""
        self.changes = ChangeCount()
        """Tells lookups without a lock whether something changed meanwhile."""
        self.renew()

    def renew(self) -> None:
        """Make the locks anew, for a forked child; the gate renews itself."""
        self.encoding = threading.RLock()
        """Held by a call that encodes pending chunks, beside small ones. A flush has the gate closed instead."""
        self.writing = threading.RLock()
        """Held for as long as memory takes by a call that changes the handle, and by a flush from beginning to end."""
        self.state = threading.RLock()
        """Guards the view of the store. Held for as long as memory takes."""
        self.changes.ended = self.changes.begun
        self._both = _Changing(self.writing, self.state, self.changes)
        self.changing: _Changing | _Refused = _Refused() if self.read_only else self._both
        """Both: held while the handle is changed in memory."""
        self._loading: dict[str, threading.Lock] = {}

    @property
    def moving(self) -> AbstractContextManager[None]:
        """Both: held while the handle moves to another version. Interrupts wait, so that it never stops half-way."""
        return _moving(self._both)

    def loading(self, array: str) -> threading.Lock:
        """Return the lock of a thread that reads the chunk index of an array name: others wait for what it finds."""
        return self._loading.setdefault(array, threading.Lock())

    def check_writable(self) -> None:
        """Raise `ReadOnlyError` where the handle refuses changes."""
        if self.read_only:
            with self.changing:
                pass


class ForkSafeLock:
    """A lock, not reentrant, that is free in a forked child."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Make the lock anew in a forked child."""
        self._lock = threading.Lock()
