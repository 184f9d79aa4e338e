"""`python -m benchmarks.calls`: what single calls take, beside atlas-python, and how long reads wait in many threads.

Each library works in its own process. Measurements are interleaved, and the smallest time counts: other load on the
machine only ever adds to it. Of single calls it is the time of the processor, of whole workloads that of the clock. The
fleet has three arrays of 24 float32 and three attributes a dataset; every call is made for one dataset after another,
so what a library remembers of the last few thousand does not decide.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.environments import EnvironmentFailedError, default_folder, interpreter
from benchmarks.measuring import link_package
from benchmarks.report import insert_section, table
from benchmarks.targets import number, verdict
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["BEGIN", "CALLS", "END", "OWN", "Calls", "main", "measure", "tables"]

BEGIN, END = "<!-- calls: written by --page -->", "<!-- end of calls -->"

_ARRAYS = ("x", "y", "z")
_CELLS = 24
_PUBLISHED = {"sensors": 300, "profile": 200}
"""Datasets of each workload in the comparison that atlas-python publishes."""
_SLOW = 1000
"""Datasets of the calls that take a hundred microseconds."""
_THREADS = 16
_SECONDS = 1.0
"""Seconds that the threads run."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Call:
    """A call of both libraries."""

    title: str
    target: float
    """The least that its time in atlas-python over ours should be."""
    unit: str = "us"


CALLS = {
    "open": Call("`open_dataset`", 0.6),
    "attributes": Call("`attributes`", 0.7),
    "set": Call("`open_dataset`, three `set_attribute`", 0.5),
    "create": Call("`create_dataset`, `define_array`, `write_array`", 0.5),
    "meta": Call("`array_meta`", 0.6),
    "read": Call("`read_array`", 0.8),
    "read_beside": Call("`read_array` beside pending writes", 0.8),
    "add": Call("`add_xr_dataset`", 0.6),
    "to_xarray": Call("`to_xarray`", 0.8),
    **{
        f"{kind}_{name}": Call(f"{title}, {size} x {name}", target, "ms")
        for name, size in _PUBLISHED.items()
        for kind, title, target in (
            ("add", "`add_xr_dataset` of all and `flush`", 0.95),
            ("loop", "`to_xarray` and a quarter loaded, one after another", 0.95),
            ("many", "`to_xarray_many`", 1.5),
        )
    },
}
"""The calls that are compared, by measurement."""

OWN = {
    "first_name": ("first lookups: the last names of the fleet / the first", 1.2),
    "beside": ("`read_array` beside pending writes / alone", 1.5),
    "deleted": ("first stacked read after one deletion / before", 1.5),
    "p99": (f"`read_array` in {_THREADS} threads / the bare function, 99th percentile", 2.0),
}
"""Our own ratios by measurement: title and the most that they should be."""


class Calls:
    """Measures one library: each method returns microseconds a call, or milliseconds of the whole."""

    def __init__(self, folder: Path, datasets: int) -> None:
        import xarray as xr  # noqa: PLC0415

        import atlas  # noqa: PLC0415 - each environment has its own

        self._atlas: Any = atlas.Atlas
        self._xr = xr
        self._folder = folder
        self._numbers = count()
        self.names = [f"station_{at:07d}" for at in range(datasets)]
        self._few = self.names[:_SLOW]
        self._cells = np.random.default_rng(3).random((datasets, _CELLS), np.float32)
        self._path = folder / "fleet"
        store = self._atlas.create(self._path)
        for at, name in enumerate(self.names):
            dataset = store.create_dataset(name)
            for array in _ARRAYS:
                dataset.define_array(array, "float32", ["time"], [_CELLS])
                dataset.write_array(array, [0], self._cells[at])
            for key, value in (("station", name), ("latitude", at / 7), ("number", at)):
                dataset.set_attribute(key, value)
        store.flush()
        self.store = self._atlas.open(self._path)
        self.views = [self.store.open_dataset(name) for name in self.names]
        for view in self.views:
            view.read_array("x")
        self._edited = self._atlas.open(self._path)
        self._beside = self._atlas.open(self._path)
        self._beside_views = [self._beside.open_dataset(name) for name in self.names]
        for view in self._beside_views:
            view.read_array("x")
        self._beside_views[-1].write_array("x", [0], self._cells[0])
        coords = {"time": np.arange(float(_CELLS))}
        self._sample = xr.Dataset(
            dict.fromkeys(_ARRAYS, ("time", self._cells[0])), coords, {"station": "one", "latitude": 1.5}
        )
        self._published: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def _new_store(self) -> Any:
        return self._atlas.create(self._folder / f"store{next(self._numbers)}")

    def open(self) -> float:
        call = self.store.open_dataset
        return _each(self.names, lambda names: [call(name) for name in names])

    def attributes(self) -> float:
        return _each(self.views, lambda views: [view.attributes() for view in views])

    def set(self) -> float:
        def run(names: list[str]) -> None:
            for name in names:
                dataset = self._edited.open_dataset(name)
                dataset.set_attribute("height", 1.5)
                dataset.set_attribute("owner", "KNMI")
                dataset.set_attribute("levels", 3)

        return _each(self.names, run)

    def create(self) -> float:
        store, cells = self._new_store(), self._cells[0]

        def run(names: list[str]) -> None:
            for name in names:
                dataset = store.create_dataset(name)
                dataset.define_array("x", "float32", ["time"], [_CELLS])
                dataset.write_array("x", [0], cells)

        return _each(self._few, run)

    def meta(self) -> float:
        return _each(self.views, lambda views: [view.array_meta("y") for view in views])

    def read(self) -> float:
        return _each(self.views, lambda views: [view.read_array("x") for view in views])

    def read_beside(self) -> float:
        return _each(self._beside_views[:-1], lambda views: [view.read_array("x") for view in views])

    def add(self) -> float:
        store = self._new_store()
        return _each(self._few, lambda names: [store.add_xr_dataset(self._sample, name) for name in names])

    def to_xarray(self) -> float:
        return _each(self._few, lambda names: [self.store.to_xarray(name) for name in names])

    # As published

    def _of(self, workload: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The datasets of a workload by name, and the store that holds them under "store"."""
        if workload not in self._published:
            work = WORKLOADS[workload].scaled(_PUBLISHED[workload] / WORKLOADS[workload].datasets)
            data = work.data()
            fleet = {
                name: self._xr.Dataset({variable: (work.dims, data[variable][at]) for variable in work.variables})
                for at, name in enumerate(work.names)
            }
            path = self._folder / workload
            with self._atlas.create(path) as store:
                for name, ds in fleet.items():
                    store.add_xr_dataset(ds, name)
            self._published[workload] = (
                fleet,
                {"store": self._atlas.open(path), "box": dict(zip(work.dims, work.box, strict=True))},
            )
        return self._published[workload]

    def add_all(self, workload: str) -> float:
        fleet, _ = self._of(workload)
        store = self._new_store()
        began = time.perf_counter()
        for name, ds in fleet.items():
            store.add_xr_dataset(ds, name)
        store.flush()
        return (time.perf_counter() - began) * 1e3

    def loop(self, workload: str) -> float:
        fleet, made = self._of(workload)
        began = time.perf_counter()
        for name in fleet:
            made["store"].to_xarray(name).isel(made["box"]).load()
        return (time.perf_counter() - began) * 1e3

    def many(self, workload: str) -> float:
        fleet, made = self._of(workload)
        names = list(fleet)
        began = time.perf_counter()
        made["store"].to_xarray_many(names)
        return (time.perf_counter() - began) * 1e3

    # Ours alone

    def first_name(self) -> float:
        """First lookups by a new handle: the time of the last tenth over that of the first."""
        store, part = self._atlas.open(self._path), max(1, len(self.names) // 10)
        store.open_dataset(self.names[len(self.names) // 2])
        times = []
        for begin in range(0, len(self.names), part):
            some = self.names[begin : begin + part]
            times.append(_each(some, lambda names: [store.open_dataset(name).array_meta("y") for name in names]))
        return times[-1] / times[0]

    def deleted(self) -> float:
        """First stacked reads by a new handle: the time after one deletion over the time before."""
        path = self._folder / f"deleted{next(self._numbers)}"
        shutil.copytree(self._path, path)
        times = []
        for names in (self.names, self.names[:-1]):
            own = []
            for _ in range(3):
                store = self._atlas.open(path)
                began = time.perf_counter()
                store.read_array_across_stacked("x", names)
                own.append(time.perf_counter() - began)
            times.append(min(own))
            if len(times) == 1:
                store.delete_dataset(self.names[-1])
                store.flush()
        shutil.rmtree(path)
        return times[1] / times[0]

    def p99(self) -> float:
        """Small reads in many threads: the 99th percentile over that of a function of the same length."""
        views, length = self.views, len(self.views)
        single = min(self.read() for _ in range(3))
        some = 1000
        loops = int(single / _each(range(some), lambda _: _turn(100 * some)) * 100)
        read = _percentile(lambda at: views[at % length].read_array("x"))
        return read / _percentile(lambda _: _turn(loops))


def _turn(loops: int) -> None:
    """Keep the interpreter for a while, and do nothing."""
    for _ in range(loops):
        pass


def _each(items: Any, run: Callable[[Any], object]) -> float:
    """Microseconds of the processor, an item."""
    began = time.process_time()
    run(items)
    return (time.process_time() - began) / len(items) * 1e6


def _percentile(call: Callable[[int], object]) -> float:
    """The 99th percentile of what a call takes in many threads, in microseconds."""
    started, stop = threading.Barrier(_THREADS + 1), threading.Event()
    found: list[list[float]] = [[] for _ in range(_THREADS)]

    def work(own: list[float], at: int) -> None:
        clock, add, ended = time.perf_counter, own.append, stop.is_set
        started.wait()
        while not ended():
            at += 1
            before = clock()
            call(at)
            add(clock() - before)

    threads = [threading.Thread(target=work, args=(own, at * 997)) for at, own in enumerate(found)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return float(np.percentile(np.concatenate(found), 99)) * 1e6


def _measurement(calls: Calls, name: str) -> float:
    kind, _, workload = name.partition("_")
    if workload in _PUBLISHED:
        method = calls.add_all if kind == "add" else getattr(calls, kind)
        return float(method(workload))
    return float(getattr(calls, name)())


def _serve(folder: Path, datasets: int) -> None:
    """Answer measurements, one a line, with numbers."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        calls = Calls(Path(name), datasets)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            print(json.dumps(_measurement(calls, line.strip())), flush=True)


class _Library:
    """A library in its own process."""

    def __init__(self, python: str, package: Path, folder: Path, datasets: int, *, own: bool) -> None:
        root = Path(__file__).resolve().parent.parent
        paths = [str(package), *([str(root)] if own else [])]
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.calls", "--serve", str(folder), str(datasets)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=package,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = f"the process ended with status {self._process.wait()}"
            raise RuntimeError(message)
        return json.loads(line)

    def measure(self, name: str) -> float:
        assert self._process.stdin is not None
        print(name, file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        self._process.communicate()


def measure(pythons: Mapping[str, str], datasets: int, rounds: int, names: Iterable[str]) -> dict[str, Figures]:
    """The figures by library, "ours" and, where `pythons` has it, "seed": smallest times, medians of own ratios."""
    found: dict[str, Figures] = {library: {} for library in pythons}
    with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as name:
        folder = Path(name)
        package = link_package(folder)
        libraries = {
            library: _Library(python, package, folder, datasets, own=library == "ours")
            for library, python in pythons.items()
        }
        try:
            for measurement in names:
                figures: dict[str, list[float]] = {
                    library: [] for library in libraries if library == "ours" or measurement in CALLS
                }
                for _ in range(rounds):
                    for library, own in figures.items():
                        own.append(libraries[library].measure(measurement))
                for library, own in figures.items():
                    found[library][measurement] = min(own) if measurement in CALLS else float(np.median(own))
        finally:
            for process in libraries.values():
                process.close()
    ours = found["ours"]
    if {"read", "read_beside"} <= ours.keys():
        ours["beside"] = ours["read_beside"] / ours["read"]
    return found


def tables(found: Mapping[str, Figures]) -> str:
    """Both tables, as Markdown."""
    ours, seed = found["ours"], found.get("seed", {})
    body = []
    for name, call in CALLS.items():
        if name in ours:
            ratio = seed[name] / ours[name] if name in seed else None
            reached = "" if ratio is None else verdict(ratio, call.target, least=True)
            theirs = number(seed[name]) if name in seed else ""
            body.append([f"{call.title}, {call.unit}", number(ours[name]), theirs, reached])
    lines = table(["call", "ours", "atlas-python", "atlas-python / ours"], body)
    own = [[title, verdict(ours[name], most, least=False)] for name, (title, most) in OWN.items() if name in ours]
    return "\n".join(["In bold what fell short:", "", *lines, "", *table(["ours alone", "reached"], own)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--environments", type=Path, default=default_folder(), metavar="FOLDER")
    parser.add_argument("--datasets", type=int, default=10_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", nargs="+", choices=[*CALLS, *OWN], default=[*CALLS, *OWN], metavar="CALL")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables between the markers of a page")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "N"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print all; with `--serve`, which it uses for its own processes, measure one library."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary folders are removed
    arguments = _arguments()
    if arguments.serve:
        folder, datasets = arguments.serve
        _serve(Path(folder), int(datasets))
        return
    pythons, load = {"ours": sys.executable}, os.getloadavg()[0]
    try:
        pythons["seed"] = interpreter("seed", arguments.environments)
    except (EnvironmentFailedError, OSError) as error:
        print(f"note: atlas-python is left out: {error}", file=sys.stderr)
    names = [name for name in arguments.calls if name != "beside"]
    text = tables(measure(pythons, arguments.datasets, arguments.rounds, names))
    print(text)
    if arguments.page:
        insert_section(arguments.page, BEGIN, END, "python -m benchmarks.calls", load, [text])


if __name__ == "__main__":
    main()
