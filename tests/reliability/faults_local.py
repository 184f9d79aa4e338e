"""Faults of a folder: every call of the system in turn, a real full disk, and a real limit of a file's size.

What is promised is what `tests.reliability.faults` checks: the error is told, nothing is lost, a retry succeeds.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atlas.storage import LocalStorage
from tests.reliability.faults import Figures, World, run_world
from tests.reliability.faulty import Injector
from tests.reliability.faulty_system import faulty_system
from tests.reliability.full_disk import run_disk, run_limit

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def system_world() -> Iterator[World]:
    """A folder, synchronised, in which the system's calls fail one by one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:  # noqa: PTH112
        root, injector = os.path.join(os.path.realpath(folder), "s"), Injector()  # noqa: PTH118
        storage = LocalStorage(root)
        world = World(root, LocalStorage(root), injector, lambda: [*storage.list(), *storage.list_orphans()])
        with faulty_system(root, injector):
            yield world


def run(full: bool) -> dict[str, int]:
    """Run every scenario in a folder, and fill a disk."""
    figures = Figures()
    run_world(system_world, figures, every=1 if full else 199)
    rounds = 100 if full else 4
    told = figures.told() | run_limit(rounds)
    # Where no file system can be mounted, the figures lack those of the disk.
    return told | (run_disk(rounds) or {}) if full else told
