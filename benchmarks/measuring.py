"""Starts one worker per engine, runs each operation on all of them in turn, and compares the values they read.

Runs are interleaved, with the order of engines reversed each round, so that other load on the machine affects all
engines alike. The first run of an operation is a warm-up and does not count, unless it takes longer than
`Effort.slow`: then it is the only run, except for our engine, which may have compiled and runs twice.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engines import ENGINES, OURS
from benchmarks.operations import OPERATIONS
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Effort", "Row", "Worker", "collect_rows", "link_package", "measure"]

_REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Effort:
    """How many datasets and runs to measure."""

    fraction: float
    """Share of the datasets of each workload."""
    runs: int
    """Counted runs of each operation."""
    short: float
    """Seconds below which an operation is run three times as often."""
    slow: float
    """Seconds beyond which the first run counts and is the only one."""
    once: frozenset[str] = frozenset()
    """Operations to run only once, besides those marked `once`."""


@dataclass(frozen=True)
class Row:
    """One operation of one engine on one workload."""

    workload: str
    operation: str
    engine: str
    median_ms: float
    min_ms: float
    runs: int
    ratio: float | None
    """The median over ours; None without ours."""
    peak_mib: float
    """Peak memory above what the process held before; the largest of all runs."""
    result_mib: float
    """Memory of the returned values."""
    mib_on_disk: float | None
    """After a write, else None."""
    agrees: bool
    """Whether the values equal those of the first engine."""
    paired: float | None = None
    """The median of our time over its time, over pairs of counted runs; None without our engine.

    The runs of a pair follow each other, so load on the machine affects both: this shows differences that are smaller
    than the noise of medians.
    """


def link_package(folder: Path) -> Path:
    """Return a folder that holds only this package.

    Workers run there, because in the repository our `atlas` would hide the `atlas` of atlas-python.
    """
    home = folder / "package"
    home.mkdir()
    (home / "benchmarks").symlink_to(_REPOSITORY / "benchmarks", target_is_directory=True)
    return home


class Worker:
    """The process of an engine; `ready` waits for it to start."""

    def __init__(self, python: str, engine: str, workload: str, fraction: float, samples: Path, package: Path) -> None:
        command = [python, "-m", "benchmarks.worker", engine, workload, str(fraction), str(samples)]
        paths = [str(package), str(_REPOSITORY)] if ENGINES[engine].environment is None else [str(package)]
        self.engine = engine
        self.operations: frozenset[str] = frozenset()
        self.versions = ""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=package,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def ready(self) -> str | None:
        """Wait until the process accepts operations; returns the reason if it cannot."""
        answer = self._answer()
        if "operations" not in answer:
            return str(answer.get("unsupported") or answer.get("error"))
        self.operations, self.versions = frozenset(answer["operations"]), answer["versions"]
        return None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended with status {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, operation: str) -> dict[str, Any]:
        """Seconds, digest, peak_kib and, after a write, bytes; or an error."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(operation + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"error": "the process has ended"}
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _wanted(engine: str, operation: str, first: float, effort: Effort) -> int:
    """The number of runs, including the first, which took `first` seconds."""
    if first <= effort.slow:
        return 1 + effort.runs * OPERATIONS[operation].times * (3 if first < effort.short else 1)
    return 2 if engine == OURS else 1  # the first of ours may have compiled


def _time(
    operation: str, workers: Sequence[Worker], effort: Effort, note: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """The answers of each engine that did not fail, in the order of the runs."""
    answers: dict[str, list[dict[str, Any]]] = {}
    running = {worker.engine: worker for worker in workers if operation in worker.operations}
    wanted = dict.fromkeys(running, 1)
    once = OPERATIONS[operation].once or operation in effort.once
    turn = 1
    while running:
        # Reversed each round, so that no engine always runs after the same other one.
        for engine, worker in list(running.items())[::turn]:
            answer = worker.run(operation)
            if "error" in answer:
                note(f"{operation} by {engine}: {answer['error']}")
                answers.pop(engine, None)
                del running[engine]
                continue
            mine = answers.setdefault(engine, [])
            mine.append(answer)
            if len(mine) == 1 and not once:
                wanted[engine] = _wanted(engine, operation, answer["seconds"], effort)
            if len(mine) >= wanted[engine]:
                del running[engine]
        turn = -turn
    return answers


def collect_rows(workload: str, operation: str, answers: Mapping[str, list[dict[str, Any]]]) -> list[Row]:
    """Rows of one operation from all answers of each engine; the first engine gives the expected values."""
    counted = {engine: [answer["seconds"] for answer in each[1:] or each] for engine, each in answers.items()}
    mine = counted.get(OURS)
    ours = statistics.median(mine) if mine else None
    expected = next(iter(answers.values()))[0]["digest"] if answers else ""
    rows = []
    for engine, each in answers.items():
        median = statistics.median(counted[engine])
        size = each[-1].get("bytes")
        pairs = zip(mine, counted[engine], strict=False) if mine else ()
        rows.append(
            Row(
                workload,
                operation,
                engine,
                median_ms=median * 1e3,
                min_ms=min(counted[engine]) * 1e3,
                runs=len(counted[engine]),
                ratio=None if ours is None else median / ours,
                peak_mib=max(answer["peak_kib"] for answer in each) / 2**10,
                result_mib=each[-1]["result_kib"] / 2**10,
                mib_on_disk=None if size is None else size / 2**20,
                agrees=all(answer["digest"] == expected for answer in each),
                paired=statistics.median(first / second for first, second in pairs) if mine else None,
            )
        )
    return rows


def measure(
    workload: str,
    pythons: Mapping[str, str],
    effort: Effort,
    *,
    samples: Path,
    package: Path,
    skip: frozenset[str] = frozenset(),
    note: Callable[[str], None] = print,
    versions: dict[str, str] | None = None,
) -> list[Row]:
    """Rows of one workload for the engines that `pythons` has an interpreter for, in that order.

    `samples` is the folder of real data, `package` the result of `link_package`, `skip` the operations not to run.
    Reports what is left out or fails by `note`, and adds the version of each engine to `versions`.
    """
    datasets = WORKLOADS[workload].scaled(effort.fraction).datasets
    started = []
    for engine, python in pythons.items():
        if not ENGINES[engine].takes(WORKLOADS[workload]):
            continue
        largest = ENGINES[engine].largest
        if largest is not None and datasets > largest:
            note(f"{workload} by {engine}: left out, {datasets:,} datasets take minutes per operation")
            continue
        started.append(Worker(python, engine, workload, effort.fraction, samples, package))
    try:
        workers = []
        for worker in started:
            problem = worker.ready()
            if problem:
                note(f"{workload} by {worker.engine}: {problem}")
                continue
            workers.append(worker)
            if versions is not None:
                versions[worker.engine] = worker.versions
        rows = []
        for name, operation in OPERATIONS.items():
            if name not in skip and operation.on(workload):
                rows += collect_rows(workload, name, _time(name, workers, effort, note))
    finally:
        for worker in started:
            worker.close()
    for row in rows:
        if not row.agrees:
            note(f"{workload}/{row.operation}: {row.engine} returns other values than the first engine")
    return rows
