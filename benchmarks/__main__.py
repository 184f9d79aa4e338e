"""`python -m benchmarks`: time the engines that are installed on the same work and print medians and ratios."""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS

OPERATIONS = ("write", "open_slice", "slice", "read_one")
PACKAGES = {"atlas": "atlas", "netcdf": "netCDF4", "zarr": "zarr"}


class Worker:
    """An engine's process."""

    def __init__(self, engine: str, workload: str, fraction: float) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", engine, workload, str(fraction)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, operation: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(operation + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(workload: str, engines: list[str], runs: int, fraction: float) -> list[dict[str, Any]]:
    """Rows of one workload. The first run of every operation warms up and is not counted."""
    workers = {engine: Worker(engine, workload, fraction) for engine in engines}
    rows = []
    try:
        for operation in OPERATIONS:
            answers: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
            for _ in range(runs + 1):
                for engine, worker in workers.items():
                    answers[engine].append(worker.run(operation))
            digests = {answer["digest"] for each in answers.values() for answer in each}
            if len(digests) != 1:
                raise SystemExit(f"{workload}/{operation}: the engines return different values")
            ours = statistics.median(answer["seconds"] for answer in answers[engines[0]][1:])
            for engine, each in answers.items():
                seconds = [answer["seconds"] for answer in each[1:]]
                median = statistics.median(seconds)
                rows.append(
                    {
                        "workload": workload,
                        "operation": operation,
                        "engine": engine,
                        "median_ms": median * 1e3,
                        "min_ms": min(seconds) * 1e3,
                        "ratio": median / ours,
                        "mib_on_disk": each[-1]["bytes"] / 2**20,
                        "peak_mib": each[-1]["peak_kib"] / 2**10,
                    }
                )
    finally:
        for worker in workers.values():
            worker.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), help=", ".join(WORKLOADS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the datasets, two counted runs")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of every operation")
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    arguments = parser.parse_args()
    engines = [engine for engine, package in PACKAGES.items() if importlib.util.find_spec(package)]
    rows = []
    print("workload   operation   engine    median ms     min ms    ratio      MiB   peak")
    for workload in arguments.workloads:
        runs, fraction = (2, 0.1) if arguments.quick else (arguments.runs, 1.0)
        for row in measure(workload, engines, runs, fraction):
            rows.append(row)
            print(
                f"{row['workload']:10} {row['operation']:11} {row['engine']:8} {row['median_ms']:10.2f} "
                f"{row['min_ms']:10.2f} {row['ratio']:8.1f} {row['mib_on_disk']:8.2f} {row['peak_mib']:6.0f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
