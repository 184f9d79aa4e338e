"""Calls on one fleet, run in turn: they return the same values, and their times and peak memory are compared."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas import Atlas, RaggedArray
from benchmarks import fleets
from benchmarks.targets import number, verdict
from benchmarks.worker import begin_peak, peak_since

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["HEAD", "SMALL", "Call", "Fleet", "Table", "measure", "peak", "rows"]

HEAD = ["result", "call", "ms", "over the first of the result", "peak, MiB"]
SMALL = 4
"""Datasets of a small store."""


class Fleet:
    """Datasets in a folder, and one handle that calls share."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store"
        self.store = Atlas.open(self.path)
        self.names = self.store.list_datasets()
        files = sorted((folder / "files").glob("*.nc"), key=lambda path: path.stem)
        self.series = [list(paths) for _, paths in groupby(files, lambda path: fleets.series_of(path.stem))]
        """The same datasets as NetCDF files, by series; some fleets have none."""


@dataclass(frozen=True)
class Call:
    """One row of a table."""

    result: str
    """What it makes. Calls of one result return equal values; their times are divided by that of the first."""
    title: str
    run: Callable[[Fleet], Any]
    wanted: float | None = None
    """What that ratio should be."""
    least: bool = True
    """Whether `wanted` is the least that it should be, or the most."""
    most_ms: float | None = None
    """The most that its time should be."""


@dataclass(frozen=True)
class Table:
    """Calls on one fleet."""

    title: str
    make: Callable[[Path, int], None]
    """Writes a number of datasets to a folder."""
    datasets: int
    """The number that the targets are set for."""
    calls: Sequence[Call]


def _values(result: Any) -> list[xr.Dataset]:
    """What a call returned, in memory."""
    if isinstance(result, RaggedArray):
        cells: dict[str, Any] = {"t": ("level", result.values), "row_size": ("dataset", result.row_sizes)}
        return [xr.Dataset(cells, {"dataset": result.names})]
    if isinstance(result, float):
        return [xr.Dataset({"mean": result})]
    return [ds.compute() for ds in (result if isinstance(result, list) else [result])]


def _close(result: Any) -> None:
    """Close the files that datasets are read from."""
    for one in result if isinstance(result, list) else [result]:
        if isinstance(one, xr.Dataset):
            one.close()


def _compare(fleet: Fleet, calls: Sequence[Call]) -> None:
    """Raise where calls of one result return other values; means may differ in their last digits."""
    first: dict[str, list[xr.Dataset]] = {}
    for call in calls:
        result = call.run(fleet)
        found = _values(result)
        _close(result)
        for one, other in zip(first.setdefault(call.result, found), found, strict=True):
            try:
                xr.testing.assert_allclose(one, other, rtol=1e-9, atol=0)
            except AssertionError as error:
                message = f"{call.title} returns other values than the first call of {call.result!r}: {error}"
                raise ValueError(message) from error


def measure(fleet: Fleet, calls: Sequence[Call], runs: int) -> list[float]:
    """Median milliseconds of each call. Raises if calls of one result return other values."""
    _compare(fleet, calls)
    taken: list[list[float]] = [[] for _ in calls]
    for run in range(runs):
        turns = list(zip(calls, taken, strict=True))
        for call, own in turns if run % 2 else reversed(turns):
            gc.collect()  # what the call before has left
            began = time.perf_counter()
            result = call.run(fleet)
            own.append(time.perf_counter() - began)
            _close(result)
    return [median(own) * 1e3 for own in taken]


def peak(call: Call, small: Fleet, fleet: Fleet) -> float:
    """Peak memory of a call, in MiB above what this process holds once the call has run on a small store."""
    _close(call.run(small))
    gc.collect()
    held = begin_peak()
    result = call.run(fleet)
    reached = peak_since(held)
    _close(result)
    return reached / 2**10


def rows(calls: Sequence[Call], medians: Sequence[float], peaks: Sequence[float], *, aimed: bool) -> list[list[str]]:
    """The cells of a table under `HEAD`; `aimed` tells whether to show targets, in bold where missed."""
    found, first = [], dict[str, float]()
    for call, ms, mib in zip(calls, medians, peaks, strict=True):
        shown = number(ms) if call.most_ms is None or not aimed else verdict(ms, call.most_ms, least=False)
        ratio = ms / first.get(call.result, ms)
        over = number(ratio) if call.wanted is None or not aimed else verdict(ratio, call.wanted, least=call.least)
        found.append([call.result, call.title, shown, over if call.result in first else "", number(mib)])
        first.setdefault(call.result, ms)
    return found
