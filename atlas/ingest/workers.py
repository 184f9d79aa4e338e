"""Processes that read files, each of which may crash, hang or run out of memory without taking the rest along."""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ReadError", "Worker"]


_BEGIN_SECONDS = 120.0
"""The longest time that a process may take to begin."""


class ReadError(AtlasError, ValueError):
    """A file could not be read."""


class Worker:
    """A process that reads one file, or one block of one, at a time; begun when it is needed, and again after a crash.

    Many threads may call: one waits for another.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def call(self, name: str, *arguments: object) -> Any:
        """Return what a call in the process returns.

        Raises `ReadError` for what it raises, and where the process crashes or takes longer than its time.
        """
        with self._lock:
            if self._is_closed:
                raise ReadError("reading was stopped")
            try:
                process = self._running()
                pickle.dump((name, arguments), process.stdin, protocol=5)  # type: ignore[arg-type]  # it is a pipe
                process.stdin.flush()  # type: ignore[union-attr]
                reason, answer = self._answer(process, self._seconds)
            except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
                raise ReadError(f"the process that read it ended: {_how(self._end())}") from error
            except BaseException:
                self._end()  # an answer on the way would be taken for that of the next call
                raise
        if reason is not None:
            raise ReadError(reason)
        return answer

    @staticmethod
    def _answer(process: subprocess.Popen[bytes], seconds: float) -> Any:
        """Return the next answer. Raises `ReadError` where it does not begin in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            if not selector.select(seconds):
                raise ReadError(f"reading it took longer than {seconds:g} s and was stopped")
        return pickle.load(process.stdout)  # type: ignore[arg-type]  # noqa: S301 - from a process of our own

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, which is ready; its beginning counts for no file."""
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            command = [sys.executable, "-m", "atlas.ingest.worker"]
            self._process = subprocess.Popen(  # noqa: S603 - this package
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            self._answer(self._process, max(self._seconds, _BEGIN_SECONDS))
        return self._process

    def _end(self) -> int | None:
        """End the process, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Another thread may be in a call, which ends with its process.
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()


def _close(pipe: Any) -> None:
    with suppress(BrokenPipeError):  # what was buffered for a process that has crashed
        pipe.close()


def _how(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = "; it may have run out of memory" if name == "SIGKILL" else ", as a damaged file may make it"
        return f"{name}{hint}"
    return f"exit code {code}"
