"""Calls of `add_many` to be killed, and the processes that read for them, all forked from one prepared process.

It has no threads and has imported everything: a process begun anew would take a second for that.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from atlas import Atlas
from atlas.cli.app import main as command
from atlas.ingest import IngestInterruptedError, worker
from atlas.session import Session
from tests.reliability.ingest_files import CRASHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.ingest import IngestReport

__all__ = ["Task", "begin", "serve"]

_CONTEXT = get_context("forkserver")
"""How lives are begun. They share their server with the processes that they begin themselves."""
_PATIENCE = 120
"""Seconds after which a life that nobody killed ends."""


@dataclass(frozen=True)
class Task:
    """A life that begins."""

    store: str
    """Where the store lies."""
    sources: str
    """Folder of the files that are added."""
    options: dict[str, Any]
    """Of `add_many`."""
    by_command: bool
    """Whether `atlas add` runs, which a signal ends with what was read; else the call."""
    report: str
    """Where the report is written."""
    log: str
    """Where goes what it prints."""
    readers_log: str
    """Where goes what those that read for it print: one whose parent was killed may say so."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What is put in place of things of atlas, by dotted name."""


def serve() -> None:
    """Begin the server, unless this process has one."""
    _CONTEXT.set_forkserver_preload(["pytest", "tests.reliability.ingest_server"])
    root = str(Path(__file__).parents[2])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join([root, *sys.path]), OPENBLAS_NUM_THREADS="1"):
        forkserver.ensure_running()


def begin(task: Task, said: Connection) -> Any:
    """Begin a life and return its process. It sends on `said` what it does.

    Tuples are sent: ("begun",) at first; ("flush", names) before a commit, with the datasets that are to be in the
    store after it; ("flushed",) after it; ("reader", process number) of a process that reads.
    """
    process = _CONTEXT.Process(target=_live, args=(task, said))
    process.start()
    return process


def _begun(log: str) -> None:
    """Have a forked process begin as one that was started anew."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(_PATIENCE)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), line_buffering=True) for fd in (1, 2))


def _live(task: Task, said: Connection) -> None:
    """Add the files, and write the report."""
    _begun(task.log)
    said.send(("begun",))
    flush = Session.flush

    def reporting(self: Session, *arguments: Any, **named: Any) -> Any:
        said.send(("flush", list(self.view.dataset_names())))
        result = flush(self, *arguments, **named)
        said.send(("flushed",))
        return result

    def forked(*arguments: Any, **named: Any) -> _Forked:
        begun = _Forked(task.readers_log, *arguments, **named)
        said.send(("reader", begun.pid))
        return begun

    mock.patch.object(Session, "flush", reporting).start()
    mock.patch("subprocess.Popen", forked).start()
    # A process that the server forked shares it, as the documentation says, but would begin another first.
    mock.patch("multiprocessing.forkserver.ForkServer.ensure_running").start()
    for name, change in task.changes.items():
        mock.patch(name, change).start()
    if task.by_command:
        given = [text for name, value in task.options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        command(["add", task.sources, task.store, "--report", task.report, *given])
    else:
        _call(task)


def _call(task: Task) -> None:
    code = 0
    try:
        store = Atlas.open(task.store)
        report = store.add_many(task.sources, on_error="skip", **task.options)
    except IngestInterruptedError as error:
        report, code = error.report, 130
    except KeyboardInterrupt:
        sys.exit(130)
    _write(report, task.report)
    sys.exit(code)


def _write(report: IngestReport, place: str) -> None:
    Path(place).write_text(json.dumps(report.to_dict()))


class _Forked:
    """What `subprocess.Popen` is for a Python process that runs a module, forked from the prepared one."""

    def __init__(
        self,
        log: str,
        command: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        pass_fds: Sequence[int],
        env: dict[str, str],
        start_new_session: bool,
    ) -> None:
        assert (stdin, stdout, start_new_session) == (subprocess.PIPE, subprocess.DEVNULL, True)
        module, *arguments = command[list(command).index("-m") + 1 :]
        assert module == worker.__name__
        inner, outer = os.pipe()
        fds = {0: inner, **{fd: os.dup(fd) for fd in pass_fds}}
        given = {number: Connection(fd) for number, fd in fds.items()}
        self._process = _CONTEXT.Process(target=_read, args=(log, given, arguments))
        try:
            self._process.start()
        except BaseException:
            os.close(outer)
            raise
        finally:
            for connection in given.values():
                connection.close()
        self.stdin = os.fdopen(outer, "wb")
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return code


def _read(log: str, given: dict[int, Connection], arguments: list[str]) -> None:
    """Read files, as the process does that an `atlas.ingest.workers.Worker` begins."""
    _begun(log)
    os.setsid()
    apart = {number: fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, max(given) + 1) for number, one in given.items()}
    for connection in given.values():
        connection.close()
    for number, fd in apart.items():
        os.dup2(fd, number)
        os.close(fd)
    sys.argv = [worker.__name__, *arguments]
    sys.addaudithook(_crash)
    worker.main()


def _crash(event: str, arguments: tuple[Any, ...]) -> None:
    """End the process as it opens a file of the kind that is to crash its reader."""
    if event == "open" and str(arguments[0]).endswith(CRASHING):
        os.kill(os.getpid(), signal.SIGSEGV)
