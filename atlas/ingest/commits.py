"""When what was added is committed: early at first, so that a store that cannot be written shows it soon. No I/O."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.ingest.options import Every

__all__ = ["CommitPolicy"]

_FIRST_SECONDS = 2.0
"""Seconds after which the first commits are due, whatever was added. The span doubles up to the one asked for."""
_FIRST_FILES = 8
"""Sources after which the first commit is due, if it takes no longer. The number doubles."""


class CommitPolicy:
    """Counts what waits for a commit.

    The first commits come after a few sources, twice as many and so on, or a few seconds: they show early whether the
    place can be written, and cost little. From then on `every` decides.
    """

    def __init__(self, every: Every) -> None:
        self._every = every
        self._files, self._seconds = _FIRST_FILES, _FIRST_SECONDS
        self._size, self._since = 0, time.monotonic()
        self.waiting: list[int] = []
        """Numbers of the sources that were added since the last commit."""

    def add(self, number: int, size: int) -> None:
        """Count a source and the bytes of its cells."""
        self.waiting.append(number)
        self._size += size

    def is_due(self) -> bool:
        """Return whether what waits is to be committed."""
        every, count, seconds = self._every, len(self.waiting), time.monotonic() - self._since
        if not count:
            return False
        if every.files and count >= every.files:
            return True
        if every.size and self._size >= every.size:
            return True
        if seconds >= min(every.seconds or math.inf, self._seconds):
            return True
        return seconds < _FIRST_SECONDS and count >= self._files

    def committed(self) -> None:
        """Begin anew after a commit."""
        self._files *= 2
        self._seconds *= 2
        self._size, self._since = 0, time.monotonic()
        self.waiting.clear()
