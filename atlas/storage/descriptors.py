"""Open files kept for reading, so that a segment is opened once and not for every slice.

Knows descriptors and keys only; its owner says how to open a key. Writes nothing. Starts empty in a forked child.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.runtime.forks import renew_in_children
from atlas.runtime.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DescriptorCache", "read_at"]

_seek_lock = ForkSafeLock()


def read_at(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` of the file and return the number of bytes read, which is smaller only at its end."""
    filled = 0
    while filled < len(view):
        rest = view[filled:]
        if hasattr(os, "preadv"):
            count = os.preadv(descriptor, [rest], offset + filled)
        else:
            # Windows reads at no offset, so threads take turns with the one position of the file.
            with _seek_lock:
                os.lseek(descriptor, offset + filled, os.SEEK_SET)
                data = os.read(descriptor, len(rest))
            count = len(data)
            rest[:count] = data
        if count == 0:
            break
        filled += count
    return filled


@dataclass(slots=True)
class _Open:
    descriptor: int
    users: int
    kept: bool = True


class DescriptorCache:
    """The most recently used descriptors, at most `limit` of them besides those in use.

    A descriptor in use is never closed. One whose file was deleted or replaced meanwhile is opened again.
    """

    def __init__(self, opener: Callable[[str], int], limit: int) -> None:
        self._opener = opener
        self._limit = limit
        self._entries: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()
        renew_in_children(self)
        self._finalizer = weakref.finalize(self, _close_all, self._entries)

    @contextmanager
    def borrow(self, key: str) -> Iterator[tuple[int, int]]:
        """Lend the descriptor of `key` and the file's size in bytes; errors are those of the opener."""
        entry, size = self._take(key)
        try:
            yield entry.descriptor, size
        finally:
            self._give_back(entry)

    def forget(self, key: str) -> None:
        """Close the descriptor of `key`, once it is out of use."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._retire(entry)

    def _take(self, key: str) -> tuple[_Open, int]:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.users += 1
                self._entries.move_to_end(key)
        if entry is not None:
            try:
                status = os.fstat(entry.descriptor)
            except OSError:  # such as ESTALE, where the file was replaced on a server: open it again
                status = None
            # A file that any process deleted, or replaced by a rename, has no name left.
            if status is not None and status.st_nlink > 0:
                return entry, status.st_size
            self._give_back(entry)
        entry = _Open(self._opener(key), users=1)
        try:
            size = os.fstat(entry.descriptor).st_size
        except OSError:
            os.close(entry.descriptor)
            raise
        with self._lock:
            older = self._entries.pop(key, None)
            if older is not None:
                self._retire(older)
            self._entries[key] = entry
            while len(self._entries) > self._limit:
                self._retire(self._entries.popitem(last=False)[1])
        return entry, size

    def _give_back(self, entry: _Open) -> None:
        with self._lock:
            entry.users -= 1
            if entry.users == 0 and not entry.kept:
                os.close(entry.descriptor)

    def _retire(self, entry: _Open) -> None:
        entry.kept = False
        if entry.users == 0:
            os.close(entry.descriptor)

    def renew(self) -> None:
        """Start empty in a forked child, where no reader of the parent runs on."""
        self._lock = threading.Lock()
        _close_all(self._entries)


def _close_all(entries: OrderedDict[str, _Open]) -> None:
    while entries:
        os.close(entries.popitem()[1].descriptor)
