"""What the worker expects of an engine.

An engine has a method for each of `operations.OPERATIONS` that it can do, and none for the others. A method that is
timed returns the values it read, if any. `prepare_<operation>` runs before it and `check_<operation>`, which returns
values to compare where the operation itself reads nothing, after it; neither is timed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from abc import abstractmethod
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Collection", "Engine", "Unsupported", "chunked", "digest", "run_python"]

Values = list["NDArray[Any]"]


class Unsupported(Exception):  # noqa: N818 - it is no fault
    """The engine cannot hold such data; the message says why."""


def digest(values: Values) -> str:
    """One text for arrays of equal dtype, shape and values; str arrays of any kind count as one dtype."""
    made = hashlib.sha256()
    for array in values:
        if array.dtype.kind in "OUT":
            made.update(f"text{array.shape}".encode() + "\0".join(map(str, array.reshape(-1).tolist())).encode())
        else:
            made.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return made.hexdigest()


def chunked() -> NDArray[np.float32]:
    """The values of a lazy array of 1,000 chunks of shape (1, 64)."""
    return np.random.default_rng(3).random((1000, 64), np.float32)


def run_python(*arguments: str, variables: dict[str, str] | None = None) -> str:
    """Run this interpreter in a new process, with environment variables set; returns what it prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | (variables or {}), check=True
    ).stdout  # fmt: skip


class Engine:
    """One engine on one workload in one folder; imports its package when made, and touches nothing else then."""

    name: str
    """Key in `ENGINES`; `make` sets it."""

    def __init__(self, work: Workload, folder: Path) -> None:
        self.work = work
        self.folder = folder
        self.path = folder / "data"

    @property
    def versions(self) -> str:
        """Versions of what does the work, for the report."""
        return ""

    @cached_property
    def data(self) -> dict[str, NDArray[Any]]:
        """Every variable as (datasets, *shape)."""
        return self.work.data()

    @property
    def text(self) -> bool:
        return self.work.kind == "strings"

    def clear(self) -> None:
        """An empty folder to write to, and the data in memory."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        assert self.data
        if hasattr(os, "sync"):
            # Else who waits for the disk would wait for what is left of earlier writes and deletions, of others too.
            os.sync()


class Collection(Engine):
    """An engine that keeps datasets on disk and finds one of them again."""

    prepare_write = Engine.clear

    @abstractmethod
    def write(self) -> None:
        """Write all, durably as the engine understands it, into the empty folder `path`."""

    @abstractmethod
    def read_one(self) -> Values:
        """The first variable of dataset `work.one`, whole; opens what is not open."""

    def check_write(self) -> Values:
        return self.read_one()

    @abstractmethod
    def open_slice(self) -> Values:
        """A quarter of each dimension of every variable of every dataset, from what is not open."""

    def first_read(self) -> Values:
        """Start Python, import, open and read one variable across all: what a script that does little waits for."""
        return self.first_read_with({})

    def first_read_with(self, variables: dict[str, str]) -> Values:
        """The same with environment variables set."""
        work = replace(self.work, arrays=1)
        what = json.dumps({"engine": self.name, "work": asdict(work), "folder": str(self.folder)})
        answer = run_python("-m", "benchmarks.worker", "--first", what, variables=variables)
        return [np.frombuffer(bytes.fromhex(answer.strip()), np.uint8)]
