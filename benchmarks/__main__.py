"""`python -m benchmarks`: set up the peers, time all engines on the same work, print, save and plot the results."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.engines import ENGINES
from benchmarks.environments import EnvironmentFailedError, default_folder, interpreter
from benchmarks.measuring import Effort, Row, link_package, measure
from benchmarks.operations import OPERATIONS
from benchmarks.samples import extract
from benchmarks.workloads import WORKLOADS

SLOWEST = "zarr"
"""Takes as long as all other engines together, so quick runs leave it out."""
NOT_QUICK = ("soundings", "weather", "topography", "nemo", "walks")
"""Workloads left out of quick runs, which have similar ones."""
QUICK = Effort(fraction=0.02, runs=1, short=0.05, slow=1.0, once=frozenset({"imports", "first_read"}))
WHOLE = Effort(fraction=1.0, runs=5, short=0.2, slow=2.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"of {', '.join(WORKLOADS)}; default: all; with --quick all but {', '.join(NOT_QUICK)}",
    )
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), metavar="ENGINE",
                        help=f"of {', '.join(ENGINES)}; default: all; with --quick all but {SLOWEST}")  # fmt: skip
    parser.add_argument("--operations", nargs="+", choices=list(OPERATIONS), default=list(OPERATIONS), metavar="NAME",
                        help=f"of {', '.join(OPERATIONS)}; default: all; writing is always included")  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="a fiftieth of the datasets and few runs; takes some minutes"
    )
    parser.add_argument(
        "--runs", type=int, help="counted runs of every operation; short operations get three times as many"
    )
    parser.add_argument("--environments", type=Path, default=default_folder(), metavar="DIR",
                        help="folder for the environments and real data; default: %(default)s")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot to FILE as PNG (needs matplotlib)")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables between the markers of the page FILE"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; use one of {', '.join(WORKLOADS)}")
    return arguments


def _interpreters(engines: list[str], folder: Path, notes: list[str]) -> dict[str, str]:
    """The Python interpreter of each engine; engines whose environment cannot be set up are noted and left out."""
    pythons: dict[str, str] = {}
    interpreters: dict[str | None, str | None] = {None: sys.executable}
    for engine in engines:
        environment = ENGINES[engine].environment
        if environment not in interpreters:
            assert environment is not None
            try:
                interpreters[environment] = interpreter(environment, folder)
            except (EnvironmentFailedError, OSError) as error:
                notes.append(f"{environment} cannot be set up and is left out: {error}")
                interpreters[environment] = None
        python = interpreters[environment]
        if python:
            pythons[engine] = python
    return pythons


def _without_paths(words: list[str]) -> list[str]:
    """A command line without the options that only give paths."""
    kept, paths = [], {"--environments", "--json", "--plot", "--page"}
    for before, word in zip(["", *words], words, strict=False):
        if before not in paths and word.split("=")[0] not in paths:
            kept.append(word)
    return kept


def _save(result: report.Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        arguments.json.write_text(result.as_json())
    if arguments.page:
        report.insert(result, arguments.page)
    if arguments.plot:
        try:
            from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib is optional
        except ImportError as error:
            print(f"note: no plot: {error}", file=sys.stderr)
        else:
            draw(result.rows, arguments.plot)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary folders are removed
    arguments = _arguments()
    chosen = QUICK if arguments.quick else WHOLE
    effort = replace(chosen, runs=arguments.runs or chosen.runs)
    notes: list[str] = []
    versions: dict[str, str] = {}
    rows: list[Row] = []
    loads = [os.getloadavg()[0]]
    engines = arguments.engines or [engine for engine in ENGINES if not (arguments.quick and engine == SLOWEST)]
    if arguments.quick and SLOWEST not in engines:
        notes.append(f"{ENGINES[SLOWEST].title} is slow and left out of quick runs that do not name it")
    pythons = _interpreters(engines, arguments.environments, notes)
    began = time.monotonic()
    print(report.HEADING, flush=True)
    with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as name:
        folder = Path(name)
        package = link_package(folder)
        skip = frozenset(OPERATIONS) - {"write", *arguments.operations}
        workloads = arguments.workloads
        if not workloads:
            workloads = [name for name in WORKLOADS if not (arguments.quick and name in NOT_QUICK)]
            if arguments.quick:
                notes.append(f"{', '.join(NOT_QUICK)} are left out of quick runs that do not name them")
        for workload in workloads:
            if WORKLOADS[workload].kind == "real":
                problem = extract(workload, folder, arguments.environments / "data")
                if problem:
                    notes.append(problem)
                    continue
            found = measure(
                workload, pythons, effort, samples=folder, package=package, skip=skip, note=notes.append,
                versions=versions,
            )  # fmt: skip
            rows += found
            loads.append(os.getloadavg()[0])
            print("\n".join(map(report.line, found)), flush=True)
            # After every workload, so that an interrupted run keeps its results.
            _save(
                report.Report(
                    command=" ".join(["python -m benchmarks", *_without_paths(sys.argv[1:])]),
                    machine=report.machine(),
                    load=(min(loads), max(loads)),
                    seconds=time.monotonic() - began,
                    fraction=effort.fraction,
                    versions=versions,
                    rows=rows,
                    notes=notes,
                ),
                arguments,
            )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print("\n" + report.summary(rows))
    if text := report.costs(rows):
        print("\nours over engines that do less; in bold the median over pairs of runs:\n" + text)
    if effort.fraction == 1:  # targets are set for all datasets
        print("\n" + report.against_targets(rows))
    if not all(row.agrees for row in rows):
        sys.exit("the engines return different values")


if __name__ == "__main__":
    main()
