"""Columns that grow at their end, so that adding one dataset to a million does not copy a million."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["AppendColumn"]


class AppendColumn:
    """A one-dimensional array. What was handed out stays as it is: values are only ever put behind it."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._buffer = values
        self.values = values
        """All values so far; not to be written to."""

    def append(self, more: NDArray[Any]) -> None:
        """Add values, cast to the dtype of those before."""
        used, size = len(self.values), len(self.values) + len(more)
        if not used:
            self._buffer = more.astype(self.values.dtype)
        elif size > len(self._buffer):
            # An eighth to spare: each value is copied eight times at most, however many are added one by one.
            self._buffer = np.empty(size + size // 8, self.values.dtype)
            self._buffer[:used] = self.values
            self._buffer[used:size] = more
        else:
            self._buffer[used:size] = more
        self.values = self._buffer[:size]
