"""The base classes of engines, and what the worker expects of them.

An engine has a method for each of the `operations.OPERATIONS` that it supports. A timed method returns the values it
read, if any. `prepare_<operation>` runs before it. `check_<operation>` runs after it and returns values to compare,
for an operation that reads nothing. Neither is timed.
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
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Collection", "Engine", "Unsupported", "chunked", "digest", "run_python", "scanned"]

Values = list["NDArray[Any]"]


class Unsupported(Exception):  # noqa: N818 - not an error
    """The engine cannot store such data; the message says why."""


def digest(values: Values) -> str:
    """A hash of the dtype, shape and values of arrays; string arrays of any kind count as one dtype."""
    hasher = hashlib.sha256()
    for array in values:
        if array.dtype.kind in "OUT":
            hasher.update(f"text{array.shape}".encode() + "\0".join(map(str, array.reshape(-1).tolist())).encode())
        else:
            hasher.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return hasher.hexdigest()


def chunked() -> NDArray[np.float32]:
    """The values of a lazy array of 1,000 chunks of shape (1, 64)."""
    return np.random.default_rng(3).random((1000, 64), np.float32)


def scanned(fields: int) -> NDArray[np.float32]:
    """The values of a lazy array of many chunks of 240 KB, 8 of them per field."""
    return np.random.default_rng(9).random((fields, 100, 100, 48), np.float32)


def run_python(*arguments: str, variables: dict[str, str] | None = None) -> str:
    """Run this interpreter in a new process with extra environment variables; returns its output."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | (variables or {}), check=True
    ).stdout  # fmt: skip


class Engine:
    """One engine on one workload in one folder. The constructor imports its package and does nothing else."""

    name: str
    """Key in `ENGINES`; `make` sets it."""

    def __init__(self, work: Workload, folder: Path) -> None:
        self.work = work
        self.folder = folder
        self.path = folder / "data"

    package = ""
    """Name of the package that does the work; empty where `versions` says more."""

    @property
    def versions(self) -> str:
        """Versions of the packages that do the work, for the report."""
        return f"{self.package} {version(self.package)}" if self.package else ""

    @cached_property
    def data(self) -> dict[str, NDArray[Any]]:
        """Every variable as (datasets, *shape)."""
        return self.work.data()

    @property
    def text(self) -> bool:
        return self.work.kind == "strings"

    def clear(self) -> None:
        """Empty the folder to write to, and load the data into memory."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        assert self.data
        if hasattr(os, "sync"):
            # Otherwise an engine that waits for the disk would also wait for earlier writes and deletions.
            os.sync()


class Collection(Engine):
    """An engine that stores datasets on disk and can read one of them."""

    prepare_write = Engine.clear

    @abstractmethod
    def write(self) -> None:
        """Write all datasets, as durably as the engine does, into the empty folder `path`."""

    @abstractmethod
    def read_one(self) -> Values:
        """Read all of the first variable of dataset `work.one`; opens what is not open."""

    def check_write(self) -> Values:
        return self.read_one()

    @abstractmethod
    def open_slice(self) -> Values:
        """Open, and read a quarter of each dimension of every variable of every dataset."""

    def first_read(self) -> Values:
        """Start Python, import, open, and read one variable across all datasets: what a short script waits for."""
        return self.first_read_with({})

    def first_read_with(self, variables: dict[str, str]) -> Values:
        """The same with extra environment variables."""
        work = replace(self.work, arrays=1)
        what = json.dumps({"engine": self.name, "work": asdict(work), "folder": str(self.folder)})
        answer = run_python("-m", "benchmarks.worker", "--first", what, variables=variables)
        return [np.frombuffer(bytes.fromhex(answer.strip()), np.uint8)]
