"""`python -m benchmarks.many`: many datasets opened as one, beside reads of arrays and what xarray makes one by one.

Each table has a store of its own in a temporary folder. One round compares the values of calls that make one result;
then they run in turn, and medians count. All share one handle, which has read the same before, but for those that open
a new one. The peak memory of each call is measured in a new process, which has run it on a small store before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from atlas import Atlas, RaggedArray
from benchmarks import fleets
from benchmarks.compared import HEAD, SMALL, Call, Fleet, Table, measure, peak, rows
from benchmarks.report import insert_section, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BEGIN", "END", "TABLES", "lines", "main"]

BEGIN, END = "<!-- many: written by --page -->", "<!-- end of many -->"
_ROOT = Path(__file__).resolve().parent.parent


def _concatenated(each: Sequence[xr.Dataset], dim: Any, data_vars: Any) -> xr.Dataset:
    """Concatenate without comparing anything, which is the fastest way to the same values."""
    return xr.concat(each, dim, data_vars, coords="minimal", compat="override", join="override")


def _stacked_one_by_one(fleet: Fleet) -> xr.Dataset:
    each = [fleet.store.to_xarray(name) for name in fleet.names]
    return _concatenated(each, pd.Index(fleet.names, name="dataset"), "all")


def _mean(array: str, chunks: Any = None) -> Callable[[Fleet], float]:
    return lambda fleet: fleet.store.open_many(chunks=chunks)[array].mean(dtype=np.float64).compute().item()


def _mean_of_read(array: str) -> Callable[[Fleet], float]:
    """Read all as an array, and leave out NaN like xarray."""
    return lambda fleet: float(np.nanmean(fleet.store.read_array_across_stacked(array, fleet.names), dtype=np.float64))


def _means(array: str) -> list[Call]:
    result = f"mean of `{array}`"
    return [
        Call(result, "`read_array_across_stacked`", _mean_of_read(array)),
        Call(result, "`open_many()`", _mean(array)),
        Call(result, '`open_many(chunks="auto")`', _mean(array, "auto")),
    ]


def _stations(datasets: int, most_ms: float) -> Table:
    opened = [
        Call("lazy", "`open_many()`", lambda fleet: fleet.store.open_many(), most_ms=most_ms),
        Call("lazy", "`open_many()`, new handle", lambda fleet: Atlas.open(fleet.path).open_many(), most_ms=most_ms),
    ]
    return Table("small datasets", fleets.stations, datasets, [*opened, *_means("a")])


def _read_ragged(store: Atlas) -> RaggedArray:
    return store.read_array_across_ragged("t", store.list_datasets())


def _open_ragged(store: Atlas, chunks: Any = None) -> xr.Dataset:
    return store.open_many(combine="ragged", variables=["t"], chunks=chunks)


def _load_ragged(store: Atlas, chunks: Any = None) -> xr.Dataset:
    return _open_ragged(store, chunks).load()


def _ragged(handle: str, open_store: Callable[[Fleet], Atlas]) -> list[Call]:
    return [
        Call(handle, "`read_array_across_ragged`", lambda fleet: _read_ragged(open_store(fleet))),
        Call(handle, "open", lambda fleet: _open_ragged(open_store(fleet))),
        Call(handle, "open, load", lambda fleet: _load_ragged(open_store(fleet)), 1.25, least=False),
        Call(handle, 'open, `chunks="auto"`', lambda fleet: _open_ragged(open_store(fleet), "auto")),
        Call(handle, 'open, load, `chunks="auto"`', lambda fleet: _load_ragged(open_store(fleet), "auto")),
    ]


def _series(fleet: Fleet, chunks: Any = None, *, new: bool = False) -> list[xr.Dataset]:
    store = Atlas.open(fleet.path) if new else fleet.store
    return [
        store.open_many([path.stem for path in paths], combine="concat", dim="time", chunks=chunks)
        for paths in fleet.series
    ]


def _series_one_by_one(fleet: Fleet) -> list[xr.Dataset]:
    return [
        _concatenated([fleet.store.to_xarray(path.stem) for path in paths], "time", "minimal") for paths in fleet.series
    ]


def _series_of_files(fleet: Fleet, **options: str) -> list[xr.Dataset]:
    return [xr.open_mfdataset(paths, data_vars="minimal", **options) for paths in fleet.series]


_COMPARED = {"coords": "different", "compat": "no_conflicts", "join": "outer"}
"""What `xr.open_mfdataset` does without arguments; newer versions warn of another default."""
_UNCOMPARED = {"combine": "nested", "concat_dim": "time", "coords": "minimal", "compat": "override", "join": "override"}
"""What spares it all comparisons."""


def _one_after_another(wanted: float | None = None) -> list[Call]:
    ways: list[tuple[str, Callable[[Fleet], list[xr.Dataset]], float | None]] = [
        ("`open_many`, new handle", partial(_series, new=True), None),
        ("`open_many`", _series, None),
        ('`open_many(chunks="auto")`', partial(_series, chunks="auto"), None),
        ("`xr.concat` of `to_xarray`", _series_one_by_one, None),
        ("`xr.open_mfdataset`", partial(_series_of_files, **_COMPARED), wanted),
        ("`xr.open_mfdataset`, comparing nothing", partial(_series_of_files, **_UNCOMPARED), None),
    ]
    return [
        *(Call("lazy", title, run, aim) for title, run, aim in ways),
        *(Call("loaded", title, partial(_loaded, run), aim) for title, run, aim in ways),
    ]


def _loaded(run: Callable[[Fleet], list[xr.Dataset]], fleet: Fleet) -> list[xr.Dataset]:
    return [ds.load() for ds in run(fleet)]


TABLES = {
    "stack": Table(
        "datasets of one shape", fleets.grids, 1000,
        [
            Call("stack", "`open_many()`", lambda fleet: fleet.store.open_many()),
            Call("stack", "`xr.concat` of `to_xarray`", _stacked_one_by_one, 50),
            Call("stack", "`to_xarray_many`", lambda fleet: fleet.store.to_xarray_many(fleet.names)),
            Call("stack", "`open_many().load()`", lambda fleet: fleet.store.open_many().load()),
            *_means("t"),
        ],
    ),
    "ragged": Table(
        "profiles of 20 to 391 cells", fleets.profiles, 20_000,
        [
            *_ragged("warm handle", lambda fleet: fleet.store),
            *_ragged("new handle", lambda fleet: Atlas.open(fleet.path)),
        ],
    ),
    "10,000": _stations(10_000, 1000),
    "100,000": _stations(100_000, 10_000),
    "concat": Table("days of (24, 50, 60), one after another", fleets.days, 365, _one_after_another()),
    "cmip6": Table("files of CMIP6, those of each model one after another", partial(fleets.cmip6, Path()), 300,
                   _one_after_another(10)),
}  # fmt: skip
"""The tables by name; `--cmip6` says where the files of the last one are."""


def lines(name: str, chosen: Table, most: int, runs: int) -> list[str]:
    """A table of `most` datasets at most, as Markdown with a heading."""
    datasets = min(most, chosen.datasets)
    with tempfile.TemporaryDirectory(prefix="atlas-many-") as temporary:
        folder = Path(temporary)
        for part, count in (("small", SMALL), ("all", datasets)):
            (folder / part).mkdir()
            chosen.make(folder / part, count)
        fleet = Fleet(folder / "all")
        medians = measure(fleet, chosen.calls, runs)
        peaks = [_peak(folder, name, at) for at in range(len(chosen.calls))]
    body = rows(chosen.calls, medians, peaks, aimed=datasets == chosen.datasets)
    return [f"### {len(fleet.names):,} {chosen.title}", "", *table(HEAD, body), ""]


def _peak(folder: Path, name: str, at: int) -> float:
    """Peak memory of a call of a table in a new process, in MiB."""
    command = [sys.executable, "-m", "benchmarks.many", "--peak", str(folder), name, str(at)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT).stdout)


def main() -> None:
    """Measure and print the tables; with `--peak`, which it uses for its own processes, the memory of one call."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE")
    parser.add_argument("--datasets", type=int, default=sys.maxsize, metavar="N", help="of each table at most")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--cmip6", type=Path, metavar="FOLDER", help="of the NetCDF files of esmvaltool-sample-data")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables between the markers of a page")
    parser.add_argument("--peak", nargs=3, metavar=("FOLDER", "TABLE", "CALL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        folder, name, at = arguments.peak
        print(peak(TABLES[name].calls[int(at)], *(Fleet(Path(folder) / part) for part in ("small", "all"))))
        return
    tables = {name: TABLES[name] for name in arguments.tables if name != "cmip6" or arguments.cmip6}
    if "cmip6" in tables:
        tables["cmip6"] = replace(tables["cmip6"], make=partial(fleets.cmip6, arguments.cmip6))
    load, text = os.getloadavg()[0], list[str]()
    for name, chosen in tables.items():
        own = lines(name, chosen, arguments.datasets, arguments.runs)
        print("\n".join(own), flush=True)
        text += own
    if arguments.page:
        insert_section(arguments.page, BEGIN, END, "python -m benchmarks.many", load, text[:-1])


if __name__ == "__main__":
    main()
