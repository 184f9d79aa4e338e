"""Processes that read files, each of which may crash, hang or run out of memory without taking the rest along."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ReadError", "Worker"]

_BEGIN_SECONDS = 120.0
"""The longest time that a process may take to begin, which is no time of a file."""
_END_SECONDS = 1.0
"""The longest time to wait for the exit code of a process that has closed its pipe."""
_NO_LIMIT_SECONDS = 1e6
"""A time that is none to wait for, as the operating system takes it in milliseconds, 31 bits."""


class ReadError(AtlasError, ValueError):
    """A file could not be read."""


class Worker:
    """A process that reads one file, or one block of one, at a time; begun when it is needed, and again after a crash.

    Many threads may call: one waits for another. Leaving it ends the process at once, also while it reads.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: BinaryIO | None = None
        self._is_closed = False

    def call(self, name: str, *arguments: object) -> Any:
        """Return what a call in the process returns.

        Raises `ReadError` for what it raises, and where the process crashes or takes longer than its time.
        """
        with self._lock:
            if self._is_closed:
                raise ReadError("reading was stopped")
            if self._process is not None and self._process.poll() is not None:
                self._end()  # while it had nothing to read
            if self._process is None:
                self._begin()
            reason, answer = self._exchange(name, arguments, self._seconds, "reading it")
        if reason is not None:
            raise ReadError(reason)
        return answer

    def _begin(self) -> None:
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - "" is the current folder
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        # -P: no module of the current folder, unless this process too imports from there.
        command = [sys.executable, "-P", "-m", "atlas.ingest.worker"]
        answers, inner = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this package
                [*command, str(inner)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(inner,),
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            os.close(answers)
            raise ReadError(f"no process could be begun to read it: {error}") from error
        finally:
            os.close(inner)
        self._answers = os.fdopen(answers, "rb")
        self._exchange("begin", (), _BEGIN_SECONDS, "starting the process that reads it")

    def _exchange(self, name: str, arguments: tuple[object, ...], seconds: float, what: str) -> tuple[str | None, Any]:
        """Send a request and return the answer: why it failed, or what it returns."""
        process, answers = self._process, self._answers
        assert process is not None
        assert process.stdin is not None
        assert answers is not None
        try:
            pickle.dump((name, arguments), process.stdin, protocol=5)
            process.stdin.flush()
            is_late = not wait([answers.fileno()], seconds if seconds < _NO_LIMIT_SECONDS else None)
            answer = (None, None) if is_late else pickle.load(answers)  # noqa: S301 - from a process of our own
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            self._end()
            raise ReadError(f"the process that read it ended: {_how(process.returncode)}") from error
        except BaseException:
            self._end()  # an answer on the way would be taken for that of the next call
            raise
        if is_late:
            self._end()
            raise ReadError(f"{what} took longer than {seconds:g} s and was stopped")
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        answers, self._answers = self._answers, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, answers):
                if pipe is not None:
                    _close(pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        while not self._lock.acquire(timeout=0.05):  # another thread waits for an answer
            process = self._process
            if process is not None:
                process.kill()
        self._end()
        self._lock.release()


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
