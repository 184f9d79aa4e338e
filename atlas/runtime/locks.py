"""Locks that survive a fork: a child begins with every lock free, whoever held it in the parent."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FreeInChildren", "Gate", "HandleLocks", "renew_in_children"]


class Gate:
    """Lets many threads pass side by side, or one that closes it alone."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be on the way; waits while the gate is closed."""
        me = threading.get_ident()
        with self._moved:
            self._passing[me] += 1
        try:
            yield
        finally:
            with self._moved:
                self._passing[me] -= 1
                self._passing += Counter()  # drops threads that have none left
                self._moved.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Wait until no other thread is on the way, and let none begin meanwhile."""
        me = threading.get_ident()
        with self._moved:
            self._moved.wait_for(lambda: set(self._passing) <= {me})
            yield

    def renew(self) -> None:
        """Begin anew, open and empty."""
        self._moved = threading.Condition()
        self._passing: Counter[int] = Counter()


class _Both:
    """Two locks, taken in order and held together."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: threading.RLock, second: threading.RLock) -> None:
        self._first, self._second = first, second

    def __enter__(self) -> None:
        self._first.acquire()
        self._second.acquire()

    def __exit__(self, *_: object) -> None:
        self._second.release()
        self._first.release()


class HandleLocks:
    """The locks of one open store. Take several in the order `building`, `writing`, `state`."""

    def __init__(self) -> None:
        self.building = Gate()
        """Passed by calls that build a dataset in many steps, so that no flush commits half of one."""
        self.renew()

    def renew(self) -> None:
        """Make the locks anew, for a forked child; the gate renews itself."""
        self.writing = threading.RLock()
        """Held by a call that changes the handle, and by a flush from beginning to end."""
        self.state = threading.RLock()
        """Guards the view of the store. Held for as long as memory takes, never for a disk."""
        self.changing = _Both(self.writing, self.state)
        """Both: held while the handle is changed in memory."""


class FreeInChildren:
    """A lock that lives as long as the process."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()


class _Renewable(Protocol):
    def renew(self) -> None: ...


_renewable: weakref.WeakSet[_Renewable] = weakref.WeakSet()


def renew_in_children(owner: _Renewable) -> None:
    """Call `owner.renew()`, which makes its locks anew, in every forked child for as long as it lives."""
    _renewable.add(owner)


def _renew_all() -> None:
    # The thread that held a lock does not exist in the child and would never release it.
    for owner in list(_renewable):
        owner.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
