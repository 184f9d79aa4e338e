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
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                pickle.dump((name, arguments), process.stdin, protocol=5)
                process.stdin.flush()
                self._wait(process.stdout)
                reason, answer = pickle.load(process.stdout)  # noqa: S301 - from a process of our own
            except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
                self._end()
                raise ReadError(f"the process that read it ended: {_how(process.returncode)}") from error
            except BaseException:
                self._end()  # an answer on the way would be taken for that of the next call
                raise
        if reason is not None:
            raise ReadError(reason)
        return answer

    def _wait(self, pipe: Any) -> None:
        """Wait until an answer begins. Raises `ReadError` where that takes too long."""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(self._seconds):
                raise ReadError(f"reading it took longer than {self._seconds:g} s and was stopped")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            command = [sys.executable, "-m", "atlas.ingest.worker"]
            self._process = subprocess.Popen(  # noqa: S603 - this package
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)

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
