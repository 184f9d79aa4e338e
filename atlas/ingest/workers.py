"""Processes that read files, each of which may crash, hang or run out of memory without taking the rest along."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from atlas.errors import AtlasError
from atlas.ingest.answers import ANSWER_HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

__all__ = ["ReadError", "Worker"]

_BEGIN_SECONDS = 120.0
"""The longest time that a process may take to begin, which is no time of a file."""
_END_SECONDS = 1.0
"""The longest time to wait for the exit code of a process that has closed its pipe."""
_PART_BYTES = 1 << 20
"""The most bytes that are received at once: all that a pipe holds."""
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
        self._answers: int | None = None
        self._received = bytearray()
        self._waiting = select.poll()
        self._is_closed = False

    def call(self, name: str, *arguments: object) -> Any:
        """Return what a call in the process returns.

        Raises `ReadError` for what it raises, and where the process crashes or takes longer than its time.
        """
        answer = self.call_each(name, [arguments])[0]
        if isinstance(answer, ReadError):
            raise answer
        return answer

    def call_each(self, name: str, each: Sequence[tuple[object, ...]]) -> list[Any]:
        """Return what calls in the process return, or the `ReadError` of each, one for each tuple of arguments.

        The process makes one after the other and does not wait for this one. Where answers would take too much memory,
        the last ones are left out. One that crashes the process costs none of the others.
        """
        answers: list[Any] = []
        with self._lock:
            while len(answers) < len(each) and not self._is_closed:
                left, is_enough = each[len(answers) :], False
                try:
                    if self._process is not None and self._process.poll() is not None:
                        self._end()  # while it had nothing to read
                    if self._process is None:
                        self._begin()
                    self._send(name, left)
                    for _ in left:
                        answer = self._receive(self._seconds, "reading it")
                        is_enough = is_enough or answer is None
                        if answer is not None:
                            answers.append(answer[1] if answer[0] is None else ReadError(answer[0]))
                except ReadError as error:
                    answers.append(error)
                if is_enough:
                    return answers
        return answers + [ReadError("reading was stopped")] * (len(each) - len(answers))

    def _begin(self) -> None:
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - "" is the current folder
        # Threads for linear algebra, which reading never uses, spin as they begin.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
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
        self._answers = answers
        self._waiting.register(answers, select.POLLIN)
        self._send("begin", [()])
        self._receive(_BEGIN_SECONDS, "starting the process that reads it")

    def _send(self, name: str, each: Sequence[tuple[object, ...]]) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with self._ending_on_errors():
            pickle.dump((name, list(each)), process.stdin, protocol=5)
            process.stdin.flush()

    def _receive(self, seconds: float, what: str) -> tuple[str | None, Any] | None:
        """Return the next answer: why a call failed, or what it returned; None for one that was left out."""
        with self._ending_on_errors():
            if self._fill(ANSWER_HEAD.size, seconds):
                size = ANSWER_HEAD.unpack_from(self._received)[0]
                if self._fill(ANSWER_HEAD.size + size, seconds):
                    with memoryview(self._received)[ANSWER_HEAD.size :] as data:
                        answer: tuple[str | None, Any] | None = pickle.loads(data)  # noqa: S301 - from a process of our own
                    del self._received[: ANSWER_HEAD.size + size]
                    return answer
        self._end()
        raise ReadError(f"{what} took longer than {seconds:g} s and was stopped")

    def _fill(self, size: int, seconds: float) -> bool:
        """Receive up to so many bytes at least; False where nothing comes for too long. Raises `EOFError`."""
        answers = self._answers
        assert answers is not None
        while len(self._received) < size:
            if not self._waiting.poll(seconds * 1000 if seconds < _NO_LIMIT_SECONDS else None):
                return False
            part = os.read(answers, _PART_BYTES)
            if not part:
                raise EOFError
            self._received += part
        return True

    @contextmanager
    def _ending_on_errors(self) -> Iterator[None]:
        """End the process where an error comes up; `ReadError` says how it ended by itself."""
        try:
            yield
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            process = self._process
            assert process is not None
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            self._end()
            raise ReadError(f"the process that read it ended: {_how(process.returncode)}") from error
        except BaseException:
            self._end()  # an answer on the way would be taken for that of the next call
            raise

    def _end(self) -> None:
        process, self._process = self._process, None
        answers, self._answers = self._answers, None
        self._received.clear()
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                _close(process.stdin)
        if answers is not None:
            self._waiting.unregister(answers)
            os.close(answers)

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
