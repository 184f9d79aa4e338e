"""Columns that grow at their end: adding one value to a million does not copy a million. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["AppendColumn"]


class AppendColumn:
    """A one-dimensional array that grows. Arrays that were handed out never change: values only follow them."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._buffer = values
        self.values = values
        """All values so far. The caller must not write to them."""

    def append(self, more: NDArray[Any]) -> None:
        """Add values, cast to the dtype of those before."""
        used, size = len(self.values), len(self.values) + len(more)
        if not used:
            self._buffer = more.astype(self.values.dtype)
        elif size > len(self._buffer):
            # Room for an eighth more: added one by one, each value is copied eight times at most.
            self._buffer = np.empty(size + size // 8, self.values.dtype)
            self._buffer[:used] = self.values
            self._buffer[used:size] = more
        else:
            self._buffer[used:size] = more
        self.values = self._buffer[:size]

    def replaced(self, at: NDArray[np.int64], values: NDArray[Any] | int) -> AppendColumn:
        """Return a copy with other values at the positions `at`."""
        copied = self.values.copy()
        copied[at] = values
        return AppendColumn(copied)
