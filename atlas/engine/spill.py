"""Encoded blocks that wait for a flush: in memory, and past a budget in a temporary file that has no name.

A killed process leaves nothing behind. A disk too full to spill to is no reason to lose data: blocks then stay in
memory.
"""

from __future__ import annotations

import logging
import tempfile
import weakref
from bisect import bisect_right
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Spill"]

_log = logging.getLogger("atlas.engine")
_COPY = 4 << 20


class Spill:
    """An append-only stretch of bytes. Not locked: the store's lock guards it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._parts: list[NDArray[np.uint8]] = []
        self._begins: list[int] = []
        self._spilled = 0
        self.size = 0
        """Bytes appended so far."""

    @property
    def in_memory(self) -> int:
        """Bytes that are held in memory."""
        return self.size - self._spilled

    def append(self, part: NDArray[np.uint8]) -> int:
        """Keep `part`, which nobody changes any more, and return where it begins."""
        begin = self.size
        self._parts.append(part)
        self._begins.append(begin)
        self.size += part.nbytes
        return begin

    def to_disk(self) -> None:
        """Move what is in memory to the file; where that fails it stays in memory and a warning is logged."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".tmp-", buffering=0)  # noqa: SIM115
                # A store may be dropped without a flush: its file then goes with it, and without a warning.
                weakref.finalize(self, self._file.close)
            self._file.seek(self._spilled)
            for part in self._parts:
                view = part.data
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            _log.warning("cannot spill pending data to disk, which stays in memory: %s", error)
            return
        self._spilled = self.size
        self._parts, self._begins = [], []

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], place: NDArray[np.int64]
    ) -> None:
        """Copy ranges to `out` at `place`. A range may cross parts."""
        for begin, count, at in zip(offset.tolist(), length.tolist(), place.tolist(), strict=True):
            done = 0
            while done < count:
                part = self._from(begin + done, count - done)
                out[at + done : at + done + len(part)] = part
                done += len(part)

    def _from(self, offset: int, most: int) -> NDArray[np.uint8]:
        if offset < self._spilled:
            assert self._file is not None
            self._file.seek(offset)
            data = np.frombuffer(self._file.read(min(most, self._spilled - offset)), np.uint8)
            if not len(data):
                raise OSError("the temporary file of pending data was cut short")
            return data
        at = bisect_right(self._begins, offset) - 1
        within = offset - self._begins[at]
        return self._parts[at][within : within + most]

    def stretch(self, begin: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the bytes from `begin` to `stop` in pieces of a few MiB."""
        while begin < stop:
            part = self._from(begin, min(_COPY, stop - begin))
            yield part
            begin += len(part)

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
        self._file, self._parts, self._begins = None, [], []
        self._spilled = self.size = 0
