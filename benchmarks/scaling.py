"""`python -m benchmarks.scaling`: how our costs grow with datasets, chunks and flushes.

Each measurement runs in its own process, which first loads its kernels with a small store, and is repeated; the
smallest time and the largest memory count. Stores are written with the bulk calls; each dataset has two arrays of 24
float32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import machine_line, replace_between, table
from benchmarks.targets import number, verdict
from benchmarks.worker import begin_peak, bytes_on_disk, peak_since

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BEGIN", "END", "JOBS", "main", "run_job", "tables"]

BEGIN, END = "<!-- scaling: written by --page -->", "<!-- end of scaling -->"

_ARRAYS = ("a", "b")
_CELLS = 24
_CHUNK = 1024
_FEW = 1000
_NOISE = 1.2
"""Tolerance of "does not grow": repeated runs of one measurement differ by as much."""

Figures = dict[str, float]


class Clock:
    """A stopwatch: seconds since the last lap."""

    def __init__(self) -> None:
        self._before = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        passed, self._before = now - self._before, now
        return passed


def _names(count: int) -> list[str]:
    return [f"station_{at:07d}" for at in range(count)]


def _values(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(11).random(shape, np.float32)


def _make_fleet(path: Path, count: int) -> Figures:
    """Write datasets with the bulk calls, in one flush."""
    from atlas import Atlas  # noqa: PLC0415 - imported before memory is measured

    names, values = _names(count), _values(count, _CELLS)
    clock = Clock()
    store = Atlas.create(path)
    store.create_datasets(names)
    for array in _ARRAYS:
        store.write_array_across_stacked(array, names, values, ["x"])
    written = clock.lap()
    store.flush()
    return {"write": written, "flush": clock.lap()}


def _append(store: Any, name: str) -> None:
    dataset = store.create_dataset(name)
    for array in _ARRAYS:
        dataset.define_array(array, "float32", ["x"], [_CELLS])
        dataset.write_array(array, [0], np.arange(_CELLS, dtype=np.float32))
    store.flush()


def _write_fleet(folder: Path, count: int) -> Figures:
    """Write the store that `_read_fleet` reads."""
    _make_fleet(folder / "small", 4)
    return _make_fleet(folder / "fleet", count)


def _read_fleet(folder: Path, count: int) -> Figures:
    """Measure an open, two stacked reads and memory; then appends of single datasets."""
    from atlas import Atlas  # noqa: PLC0415

    held = begin_peak()
    small = Atlas.open(folder / "small")
    small.read_array_across_stacked("a", small.list_datasets())
    _append(small, f"more{time.time_ns()}")
    names = _names(count)
    clock = Clock()
    store = Atlas.open(folder / "fleet")
    found = {"open": clock.lap()}
    first = store.read_array_across_stacked("a", names)
    found["first"] = clock.lap()
    second = store.read_array_across_stacked("a", names)
    found["again"] = clock.lap()
    found["memory"] = peak_since(held) / 2**10
    found["size"] = bytes_on_disk(folder / "fleet") / (count * len(_ARRAYS) * _CELLS * 4)
    assert (first == _values(count, _CELLS)).all()
    assert (second == first).all()
    appended = []
    for at in range(7):
        clock.lap()
        _append(store, f"more{time.time_ns()}{at}")
        appended.append(clock.lap())
    found["append"] = float(np.median(appended))
    return found


def _stack(folder: Path, count: int) -> Figures:
    """Measure stacks of datasets that share a coordinate, and within them what is compared before cells are read."""
    from atlas import Atlas  # noqa: PLC0415

    names, values = _names(count), _values(count, _CELLS)
    store = Atlas.create(folder / "stack")
    for name, dataset in zip(names, store.create_datasets(names), strict=True):
        for key, value in {"station": name, "a.units": "K", "x.units": "s"}.items():
            dataset.set_attribute(key, value)
    store.write_array_across_stacked("a", names, values, ["x"])
    store.write_array_across_stacked("x", names, np.broadcast_to(np.sqrt(np.arange(_CELLS)), (count, _CELLS)), ["x"])
    store.flush()
    store = Atlas.open(folder / "stack")
    datasets, reader = store._session.view.datasets, store._session.reader  # noqa: SLF001 - parts of the two calls
    store.to_xarray_many(names[:2])
    found: dict[str, list[float]] = {name: [] for name in ("read", "xarray", "meaning", "coordinate")}
    clock = Clock()
    for _ in range(9 if count > _FEW else 101):
        for name, call in (("read", partial(store.read_array_across_stacked, "a")), ("xarray", store.to_xarray_many)):
            datasets._selections.clear()  # noqa: SLF001
            clock.lap()
            call(names)
            found[name].append(clock.lap())
        datasets._selections.clear()  # noqa: SLF001
        selection = datasets.arrays("a", names)
        clock.lap()
        datasets.check_one_meaning(selection)
        found["meaning"].append(clock.lap())
        assert reader.are_known_equal("x", names)
        found["coordinate"].append(clock.lap())
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def _read_flushed(folder: Path, cells: int) -> Figures:
    """Write 1,000 datasets in 100 flushes; measure bulk reads before and after `compact`."""
    from atlas import Atlas  # noqa: PLC0415

    names, values, path = _names(1000), _values(1000, cells), folder / "flushed"
    store = Atlas.create(path)
    for at in range(0, 1000, 10):
        store.create_datasets(names[at : at + 10])
        store.write_array_across_stacked("a", names[at : at + 10], values[at : at + 10], ["x"])
        store.flush()
    found = {}
    for when in ("before", "after"):
        opening, warm = [], []
        for _ in range(5):
            clock = Clock()
            handle = Atlas.open(path)
            read = handle.read_array_across_stacked("a", names)
            opening.append(clock.lap())
            assert (read == values).all()
            clock.lap()
            handle.read_array_across_stacked("a", names)
            warm.append(clock.lap())
        found |= {f"open {when}": min(opening), f"warm {when}": min(warm)}
        if when == "before":
            store.compact(keep_versions=1, keep_days=0)
    return found


def _write_chunks(path: Path, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    from atlas import Atlas  # noqa: PLC0415

    with Atlas.create(path) as store:
        dataset = store.create_dataset("one")
        dataset.define_array("a", "float32", ["y", "x"], values.shape, (1, _CHUNK))
        dataset.write_array("a", [0, 0], values)


def _chunks(folder: Path, count: int) -> Figures:
    """Write one array of many chunks of 4 KiB; measure reading all of it and one chunk."""
    from atlas import Atlas  # noqa: PLC0415

    values, path = _values(count, _CHUNK), folder / "chunked"
    _write_chunks(folder / "small", values[:40])
    Atlas.open(folder / "small").open_dataset("one").read_array("a")
    clock = Clock()
    _write_chunks(path, values)
    found = {"write": clock.lap()}
    handle = Atlas.open(path).open_dataset("one")
    clock.lap()
    read = handle.read_array("a")
    found["read"] = clock.lap()
    assert (read == values).all()
    row = np.empty((1, _CHUNK), np.float32)
    for at in range(count // 4, count, max(1, count // 16)):
        clock.lap()
        row = handle.read_array("a", [at, 0], [1, _CHUNK])
        found["one"] = min(found.get("one", 1.0), clock.lap())
        assert (row == values[at : at + 1]).all()
    return found


JOBS: dict[str, Callable[[Path, int], Figures]] = {
    "write": _write_fleet,
    "read": _read_fleet,
    "flushed": _read_flushed,
    "stack": _stack,
    "chunks": _chunks,
}


def run_job(job: str, folder: Path, count: int) -> Figures:
    """The figures of one job in a new process."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--job", job, str(folder), str(count)]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    figures: Figures = json.loads(process.stdout)
    return figures


def _best(rounds: Sequence[Figures]) -> Figures:
    return {
        name: (max if name == "memory" else min)(figures[name] for figures in rounds) for name in rounds[0]
    }  # fmt: skip


def _fleet(count: int, runs: int) -> Figures:
    rounds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as name:
            folder = Path(name)
            rounds.append(run_job("write", folder, count) | run_job("read", folder, count))
    return _best(rounds)


def _repeat(job: str, count: int, runs: int) -> Figures:
    rounds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="atlas-benchmark-") as name:
            rounds.append(run_job(job, Path(name), count))
    return _best(rounds)


@dataclass(frozen=True)
class Measurements:
    """All measurements, the best of the runs: seconds, MiB and shares."""

    fleets: dict[int, Figures]
    """Figures by number of datasets."""
    chunks: dict[int, Figures]
    """Figures by number of chunks."""
    flushed: dict[int, Figures]
    """Figures by cells of an array."""
    stacks: dict[int, Figures]
    """Figures by number of datasets."""


def _targets(measured: Measurements) -> list[list[str]]:
    """Title and verdict of each target."""
    lines = []
    sizes = sorted(measured.fleets)
    small, large = measured.fleets[sizes[0]], measured.fleets[min(sizes[-1], 100_000)]
    of = f"at {min(sizes[-1], 100_000):,} over at {sizes[0]:,}"
    growth = min(sizes[-1], 100_000) / sizes[0]
    for title, name in (("flush", "flush"), ("open", "open"), ("first stacked read", "first")):
        lines.append([f"{title}, a dataset, {of}", verdict(large[name] / small[name] / growth, _NOISE, least=False)])
    lines.append([f"append one + flush, {of}", verdict(large["append"] / small["append"], _NOISE, least=False)])
    if 100_000 in measured.fleets:
        fleet = measured.fleets[100_000]
        lines += [
            ["100,000: open, s", verdict(fleet["open"], 0.5, least=False)],
            ["100,000: first stacked read, s", verdict(fleet["first"], 0.5, least=False)],
            ["100,000: memory above import, MiB", verdict(fleet["memory"], 300, least=False)],
            ["100,000: bytes on disk over raw", verdict(fleet["size"], 1.5, least=False)],
        ]
    for count, found in measured.stacks.items():
        check = found["meaning"] + found["coordinate"]
        if count == _FEW:
            for title, what, name in (("stacked read", found["meaning"], "read"), ("to_xarray_many", check, "xarray")):
                share = what / (found[name] - what)
                lines.append([f"{count:,}: what {title} compares over the rest", verdict(share, 0.1, least=False)])
        if count == 1_000_000:
            lines.append([f"{count:,}: what to_xarray_many compares, s", verdict(check, 0.05, least=False)])
    few, many = min(measured.chunks), max(measured.chunks)
    for title, name in (("write", "write"), ("read", "read")):
        ratio = measured.chunks[many][name] / measured.chunks[few][name] / (many / few)
        lines.append([f"{title}, a chunk, at {many:,} over at {few:,}", verdict(ratio, _NOISE, least=False)])
    for cells, found in measured.flushed.items():
        for title, name in (("opening", "open"), ("warm", "warm")):
            ratio = found[f"{name} before"] / found[f"{name} after"]
            title = f"100 flushes of {cells:,} cells, {title} read over after compact"  # noqa: PLW2901
            lines.append([title, verdict(ratio, 1.5, least=False)])
    return lines


def _seconds(found: Figures, names: Sequence[str], count: int) -> list[str]:
    """Table cells: seconds, and in brackets microseconds per item of `count`."""
    return [f"{found[name]:.5f} ({found[name] / count * 1e6:.2f})" for name in names]


def tables(measured: Measurements) -> str:
    """All tables, as Markdown."""
    out = ["In bold what fell short:", "", *table(["target", "reached"], _targets(measured)), ""]
    head = ["datasets", "write, s", "flush, s", "open, s", "first stacked read, s", "again, s"]
    head += ["append one + flush, ms", "memory above import, MiB", "bytes on disk over raw"]
    body = []
    for count, found in measured.fleets.items():
        seconds = _seconds(found, ("write", "flush", "open", "first", "again"), count)
        rest = [number(found["append"] * 1e3), number(found["memory"]), f"{found['size']:.3f}"]
        body.append([f"{count:,}", *seconds, *rest])
    out += ["Fleets, two arrays of 24 float32 a dataset; in brackets microseconds a dataset:", ""]
    out += [
        *table(head, body),
        "",
        "Stacks of one array and a coordinate that all share; in brackets microseconds a dataset:",
        "",
    ]
    head = ["datasets", "stacked read, s", "to_xarray_many, s", "compares attributes, s", "compares a coordinate, s"]
    body = [
        [f"{count:,}", *_seconds(found, ("read", "xarray", "meaning", "coordinate"), count)]
        for count, found in measured.stacks.items()
    ]
    out += [*table(head, body), "", "One array in chunks of 4 KiB; in brackets microseconds a chunk:", ""]
    body = [
        [f"{count:,}", *_seconds(found, ("write", "read"), count), number(found["one"] * 1e3)]
        for count, found in measured.chunks.items()
    ]
    out += [*table(["chunks", "write + flush, s", "first read of all, s", "read of one chunk, ms"], body), ""]
    names = [f"{name} {when}" for name in ("open", "warm") for when in ("before", "after")]
    head = ["cells", *(f"{name.replace('open', 'opening')} compact, ms" for name in names)]
    body = [[f"{cells:,}", *(number(found[name] * 1e3) for name in names)] for cells, found in measured.flushed.items()]
    out += ["1,000 datasets in 100 flushes, one array read across all, before and after `compact`:", ""]
    return "\n".join([*out, *table(head, body)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--datasets", type=int, nargs="+", default=[1000, 10_000, 100_000], metavar="N")
    parser.add_argument("--chunks", type=int, nargs="+", default=[100, 1000, 10_000], metavar="N")
    parser.add_argument("--million", action="store_true", help="also measure 1,000,000 datasets, once")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables between the markers of the page FILE"
    )
    parser.add_argument("--job", nargs=3, metavar=("JOB", "FOLDER", "N"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print all; with `--job`, which it uses for its own processes, run one job and print JSON."""
    arguments = _arguments()
    if arguments.job:
        job, folder, count = arguments.job
        print(json.dumps(JOBS[job](Path(folder), int(count))))
        return
    load = os.getloadavg()[0]
    fleets = {count: _fleet(count, arguments.runs) for count in arguments.datasets}
    if arguments.million:
        fleets[1_000_000] = _fleet(1_000_000, 1)
    measured = Measurements(
        fleets,
        {count: _repeat("chunks", count, arguments.runs) for count in arguments.chunks},
        {cells: _repeat("flushed", cells, arguments.runs) for cells in (_CELLS, 8400)},
        {
            count: _repeat("stack", count, 1 if count > 100_000 else arguments.runs)
            for count in (*arguments.datasets, *([1_000_000] if arguments.million else []))
        },
    )
    text = tables(measured)
    print(text)
    if arguments.page:
        command = f"`python -m benchmarks.scaling{' --million' if arguments.million else ''}`"
        where = f"{machine_line()} Load average {load:.1f} before, {os.getloadavg()[0]:.1f} after."
        replace_between(arguments.page, BEGIN, END, [command, "", where, "", text])


if __name__ == "__main__":
    main()
