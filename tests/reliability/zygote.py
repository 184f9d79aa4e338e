"""The process from which those that are killed are forked: everything is imported and compiled, and it has no threads.

Run as `python -m tests.reliability.zygote CONNECTION REPORTS...`: descriptors of a connection on which it is told what
to do, and of a pipe for each of the processes that live at once. It ends when the other end of the connection is
closed; what it forked ends by itself after some seconds.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from atlas import Atlas
from atlas.storage import MemoryStorage
from tests.reliability.lives import LIMITS, act
from tests.reliability.twins import Twin, content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model import ModelDataset

REPORT = struct.Struct("<cI")
"""How a step is reported: b"b" as it begins, b"a" once it has returned, and its number."""
_LONGEST = 60
"""Seconds after which a process that nobody killed ends."""


@dataclass(frozen=True, slots=True)
class Task:
    """A life that begins."""

    place: str
    """Where the store lies."""
    seed: int
    """By which it takes its course."""
    prefix: str
    """How its datasets are named."""
    alone: bool
    """Whether no other process changes the store."""
    datasets: dict[str, ModelDataset]
    """What the store holds of it."""
    named: dict[str, dict[str, ModelDataset]]
    """What it may go back to."""
    changes: dict[str, Any]
    """What is put in place of things of atlas, by dotted name."""


class _Reporting(Twin):
    """Reports each commit on a descriptor, before and after."""

    def __init__(self, task: Task, reports: int) -> None:
        super().__init__(Atlas.open(task.place))
        self.become(task.datasets)
        self.named = task.named
        self._reports = reports
        self._number = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        os.write(self._reports, REPORT.pack(b"b", self._number))
        yield
        os.write(self._reports, REPORT.pack(b"a", self._number))
        self._number += 1


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    reports = [int(argument) for argument in sys.argv[2:]]
    _warm_up()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads must not be forked"
    connection.send("ready")
    children: list[int] = []
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        if task is None:  # they were killed
            connection.send([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
            children.clear()
            continue
        child = os.fork()
        if not child:
            _live(task, reports[len(children)])
        children.append(child)
        connection.send(child)


def _live(task: Task, reports: int) -> None:
    """Change the store until killed."""
    try:
        signal.alarm(_LONGEST)
        rng = random.Random(task.seed)
        if rng.random() < 0.5:
            mock.patch("atlas.runtime.limits.DEFAULT", LIMITS).start()
        for name, change in task.changes.items():
            mock.patch(name, change).start()
        twin = _Reporting(task, reports)
        while True:
            act(rng, twin, task.prefix, alone=task.alone)
    except BaseException:  # noqa: BLE001 - told, and seen by the exit status
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _warm_up() -> None:
    """Have all kernels compiled, without a thread."""
    with mock.patch.dict(os.environ, {"ATLAS_NUM_THREADS": "1"}):
        for seed in range(3):
            rng, place = random.Random(seed), MemoryStorage()
            twin = Twin(Atlas.create(place))
            for _ in range(200):
                act(rng, twin)
            twin.flush()
            assert content(Atlas.open(place)) == twin.flushed()


if __name__ == "__main__":
    main()
