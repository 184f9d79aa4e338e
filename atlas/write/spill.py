"""Encoded blocks that wait for a flush: in memory, and past a limit in a temporary file that has no name.

A thread writes the file while later blocks are encoded; the file can become the segment as it is. A killed process
leaves nothing behind. Where the disk is full, blocks stay in memory and no data are lost. A forked child reads the file
that it shares with its parent, and writes to one of its own.

One thread at a time may move bytes to the file; any number may append and read meanwhile. They never wait for the disk.
"""

from __future__ import annotations

import errno
import logging
import threading
import weakref
from bisect import bisect_right
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import numpy as np

from atlas.errors import StorageError
from atlas.runtime.forks import renew_in_children
from atlas.runtime.threads import run_behind
from atlas.storage.descriptors import read_at
from atlas.storage.durable import write_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Spill"]

_log = logging.getLogger(__name__)
_COPY = 4 << 20


class _File:
    """A temporary file, closed once nothing refers to it: reads, and a thread that writes, may outlast the spill."""

    __slots__ = ("__weakref__", "file")

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        """The open file."""
        # A store may be dropped without a flush: its file then goes with it, and without a warning.
        weakref.finalize(self, file.close)


class _Writer:
    """A thread that writes parts to a file, and then has `sync_early` sync them."""

    def __init__(
        self,
        file: _File,
        begins: list[int],
        parts: list[NDArray[np.uint8]],
        sync_early: Callable[[IO[bytes]], None],
        before: _Writer | None,
    ) -> None:
        self.parts = parts
        """What it writes; empty once that is in the file."""
        self.begins = begins
        """Where each part begins."""
        self.error: OSError | None = OSError("the process was forked while it wrote")
        """What went wrong, once it has written."""
        self._file = file
        self._sync_early = sync_early
        self._before = before
        self._written = threading.Event()
        self.thread = run_behind(self._run)
        """Where it runs; it goes on for a while after the parts are written."""

    def _run(self) -> None:
        try:
            for part, begin in zip(self.parts, self.begins, strict=True):
                write_at(self._file.file.fileno(), part.data, begin)
            self.error = None
        except OSError as error:
            self.error = error
        self.parts = [] if self.error is None else self.parts
        before, self._before = self._before, None
        self._written.set()
        if before is None or not before.thread.is_alive():
            # A flush then has little left to wait for. It meets again what goes wrong here, or finds the file closed.
            with suppress(OSError, ValueError):
                self._sync_early(self._file.file)

    def wait(self) -> None:
        """Wait until the parts are written or have failed."""
        while self.thread.is_alive() and not self._written.wait(0.1):
            pass


class Spill:
    """An append-only sequence of bytes after a header. Threads may read it while its file is handed over."""

    def __init__(
        self,
        open_file: Callable[[], IO[bytes]],
        header: bytes = b"",
        sync_early: Callable[[IO[bytes]], None] = lambda _: None,
    ) -> None:
        self._open_file = open_file
        self._header = header
        self._sync_early = sync_early
        self._file: _File | None = None
        self._handed_over = False  # whether the file has another owner, so that nothing may be written to it
        self._writer: _Writer | None = None
        self._parts: list[NDArray[np.uint8]] = []
        self._begins: list[int] = []
        self._spilled = len(header)
        self.size = len(header)
        """Bytes appended so far, and the header."""
        self._lock = threading.Lock()
        renew_in_children(self)

    @property
    def in_memory(self) -> int:
        """Bytes that are held in memory and not being written."""
        return self.size - self._spilled

    def is_spilled(self, offset: int) -> bool:
        """Whether the byte at `offset` is read back from the file; waits for what is being written."""
        if offset < self._spilled:
            self._wait_for_writer()
        return offset < self._spilled

    def append(self, part: NDArray[np.uint8]) -> int:
        """Append `part`, which must not change any more, and return its offset."""
        with self._lock:
            begin = self.size
            self._parts.append(part)
            self._begins.append(begin)
            self.size += part.nbytes
            return begin

    def to_disk(self) -> None:
        """Start moving what is in memory to the file. Where that fails it stays in memory, and a warning is logged."""
        self._wait_for_writer()
        if not self._parts:
            return
        try:
            file = self._writable_file()
        except OSError as error:
            _warn(error)
            return
        with self._lock:
            self._writer = _Writer(file, self._begins, self._parts, self._sync_early, self._writer)
            self._spilled = self.size
            self._parts, self._begins = [], []

    def _writable_file(self) -> _File:
        if self._file is not None and not self._handed_over:
            return self._file
        opened = self._open_file()
        file = _File(opened)
        write_at(opened.fileno(), memoryview(self._header), 0)
        at = len(self._header)
        for part in self.read_range(at, self._spilled):
            write_at(opened.fileno(), part.data, at)
            at += len(part)
        with self._lock:
            self._file, self._handed_over = file, False
        return file

    def _wait_for_writer(self) -> None:
        """Wait for the writer. What it could not write is in memory again."""
        writer = self._writer
        if writer is None:
            return
        writer.wait()
        if writer.error is None or not writer.parts:
            return
        with self._lock:
            if self._writer is writer:
                _warn(writer.error)
                self._parts, self._begins = writer.parts + self._parts, writer.begins + self._begins
                self._spilled = self._begins[0]
                self._writer = None

    def hand_over(self, tail: bytes, take: Callable[[IO[bytes]], bool]) -> bool:
        """Complete the file with what is in memory and `tail`, offer it to `take`, and return whether `take` took it.

        False also where there is no file. The bytes stay readable. Nothing may be appended meanwhile.
        """
        if self._file is None or self._handed_over:
            return False
        self.to_disk()
        self._wait_for_writer()
        if self.in_memory:
            return False
        file = self._file.file
        try:
            write_at(file.fileno(), memoryview(tail), self.size)
            file.truncate(self.size + len(tail))
        except OSError:
            return False
        self._handed_over = take(file)
        return self._handed_over

    def read_into(
        self, offset: NDArray[np.int64], length: NDArray[np.int64], out: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> None:
        """Copy ranges of bytes to `out`, each at its offset in `target`. A range may cross parts."""
        for begin, count, at in zip(offset.tolist(), length.tolist(), target.tolist(), strict=True):
            done = 0
            while done < count:
                part = self._from(begin + done, count - done)
                out[at + done : at + done + len(part)] = part
                done += len(part)

    def _from(self, offset: int, most: int) -> NDArray[np.uint8]:
        with self._lock:
            file, end, parts, begins = self._file, self._spilled, self._parts, self._begins
            if offset < end and self._writer is not None:
                # Its parts stay in memory until all of them are in the file.
                parts, begins = self._writer.parts, self._writer.begins
                end = begins[0] if parts else end
        if offset >= end:
            at = bisect_right(begins, offset) - 1
            within = offset - begins[at]
            return parts[at][within : within + most]
        assert file is not None
        data = np.empty(min(most, end - offset), np.uint8)
        if read_at(file.file.fileno(), data.data, offset) < len(data):
            raise StorageError(errno.EIO, "the temporary file of pending data was cut short")
        return data

    def read_range(self, begin: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the bytes from `begin` to `stop`, a few MiB at a time."""
        while begin < stop:
            part = self._from(begin, min(_COPY, stop - begin))
            yield part
            begin += len(part)

    def renew(self) -> None:
        """Leave the file to the parent, in a forked child: both share it, and each would see what the other writes."""
        self._handed_over = True
        self._lock = threading.Lock()


def _warn(error: OSError) -> None:
    _log.warning("cannot spill pending data to disk, which stays in memory: %s", error)
