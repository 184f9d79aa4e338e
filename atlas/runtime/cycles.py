"""Python's collector of reference cycles, while very many small objects are made that stay."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atlas.runtime.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collecting_rarely"]

_RARE = 100_000
"""New objects after which the collector looks for cycles. After some hundreds, as Python has it, it looks at all that
waits for a commit again and again, which takes a fifth of the time of adding many datasets."""
_lock = ForkSafeLock()
_users = 0
_before = gc.get_threshold()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Let the collector of this process run rarely; it stays off where it is off. Calls of many threads may overlap."""
    global _users, _before  # noqa: PLW0603 - there is one collector
    with _lock:
        if not _users:
            _before = gc.get_threshold()
            if 0 < _before[0] < _RARE:
                gc.set_threshold(_RARE, *_before[1:])
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and gc.get_threshold()[0] == _RARE:
                gc.set_threshold(*_before)
