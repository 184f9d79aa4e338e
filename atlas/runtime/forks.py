"""What a forked child must begin anew: locks, threads, files that it shares with its parent.

The only hook of the package into `fork`. Owners register themselves with `renew_in_children`; nothing here knows what
they renew. Only forks that Python makes are seen (`os.fork`, `multiprocessing`), not those of C code.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Protocol
from weakref import WeakValueDictionary

__all__ = ["Renewable", "hold_over_forks", "renew_in_children"]


class Renewable(Protocol):
    """An owner of locks, threads or files that must not be shared with a forked child."""

    def renew(self) -> None:
        """Begin anew. Called in the child before any other code of the package, in its only thread.

        Must take no lock that the owner had before the fork: a thread of the parent may have held it, and the child
        does not have that thread to release it.
        """


class Lock(Protocol):
    """A lock of another package, which a thread that has it may acquire again."""

    def acquire(self) -> object:
        """Wait for it and take it."""

    def release(self) -> object:
        """Give it back."""


_owners: WeakValueDictionary[int, Renewable] = WeakValueDictionary()
_numbers = count()
_held: list[Lock] = []


def renew_in_children(owner: Renewable) -> None:
    """Call `owner.renew()` in every forked child for as long as the owner lives, in the order of registration.

    The owner is held weakly, so registering it does not keep it alive.
    """
    _owners[next(_numbers)] = owner


def hold_over_forks(lock: Lock) -> None:
    """Hold a lock that cannot be renewed while the process forks: the child then has no other thread's half of a work.

    A fork waits for the thread that has it.
    """
    _held.append(lock)


def _acquire_held() -> None:
    for lock in _held:
        lock.acquire()


def _release_held() -> None:
    for lock in _held:
        lock.release()


def _begin_child() -> None:
    _release_held()
    _renew_all()


def _renew_all() -> None:
    errors = []
    for reference in _owners.valuerefs():
        owner = reference()
        try:
            if owner is not None:
                owner.renew()
        except Exception as error:  # noqa: BLE001 - an owner that fails must not leave the locks of the others held
            errors.append(error)
    if errors:
        # Python reports it on stderr and lets the child go on.
        raise ExceptionGroup("objects that could not be renewed in a forked child", errors)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire_held, after_in_parent=_release_held, after_in_child=_begin_child)
