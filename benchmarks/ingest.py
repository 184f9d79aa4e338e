"""`python -m benchmarks.ingest`: what adding a folder of NetCDF files takes, beside loops that only read them.

The files are profiles of 20 to 199 levels, three variables of decimal float32 with a fill value, a time and a position.
The loops read all cells and attributes, through netCDF4 and through xarray. Each way runs in a process of its own,
which counts all of it but its imports; the ways run in turn, and medians count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.report import insert_section, table
from benchmarks.targets import number, verdict

__all__ = ["BEGIN", "END", "WAYS", "main", "make_files", "rows"]

BEGIN, END = "<!-- ingest: written by --page -->", "<!-- end of ingest -->"
_ROOT = Path(__file__).resolve().parent.parent
_AIMED = 10_000
"""Files that the targets are set for."""
WAYS = {
    "netcdf4": ("loop, netCDF4", None),
    "xarray": ("loop, xarray", None),
    "one": ("`add_many`", 0.9),
    "two": ("`add_many(workers=2)`", 1.4),
}
"""Ways by name: title, and the least speed in that of the first."""


def make_files(folder: Path, count: int) -> None:
    """Make profiles, one a file."""
    import netCDF4  # noqa: PLC0415

    rng = np.random.default_rng(3)
    folder.mkdir()
    for at in range(count):
        levels = int(rng.integers(20, 200))
        with netCDF4.Dataset(folder / f"p{at:05d}.nc", "w") as file:
            file.setncatts({"title": "profiles", "platform": f"P{at % 50}", "cycle": np.int32(at)})
            file.createDimension("level", levels)
            for name, unit in (("temp", "degC"), ("psal", "1"), ("pres", "dbar")):
                variable = file.createVariable(name, "f4", ("level",), fill_value=np.float32(99999))
                variable.setncatts({"units": unit, "long_name": name})
                variable[:] = rng.normal(10, 3, levels).round(2)
            time_variable = file.createVariable("juld", "f8", ())
            time_variable.units = "days since 1950-01-01"
            time_variable[...] = 27_000 + at
            for name in ("latitude", "longitude"):
                file.createVariable(name, "f8", ())[...] = at / 100


def _read_by_netcdf4(folder: Path) -> None:
    import netCDF4  # noqa: PLC0415

    for path in sorted(folder.glob("*.nc")):
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            for owner in (file, *file.variables.values()):
                _ = {name: owner.getncattr(name) for name in owner.ncattrs()}
            _ = [variable[...] for variable in file.variables.values()]


def _read_by_xarray(folder: Path) -> None:
    import xarray as xr  # noqa: PLC0415

    for path in sorted(folder.glob("*.nc")):
        with xr.open_dataset(path, decode_timedelta=False) as ds:
            ds.load()


def _add(folder: Path, workers: int) -> None:
    from atlas import Atlas  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="atlas-ingest-", dir=folder.parent) as place:
        report = Atlas.create(Path(place) / "store").add_many(folder, workers=workers)
        assert report.is_complete, report


def _run(way: str, folder: Path) -> None:
    """Run one way, and print its seconds and its peak memory over that after the imports, in MiB."""
    import netCDF4  # noqa: F401, PLC0415
    import xarray  # noqa: F401, PLC0415

    import atlas.ingest.adding  # noqa: F401, PLC0415

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if way in ("one", "two"):
        _add(folder, 1 if way == "one" else 2)
    else:
        {"netcdf4": _read_by_netcdf4, "xarray": _read_by_xarray}[way](folder)
    seconds = time.perf_counter() - began
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def rows(folder: Path, count: int, runs: int) -> list[list[str]]:
    """The rows of the table; `folder` has `count` files."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    for _ in range(runs):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.ingest", "--way", way, str(folder)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT).stdout.split()
            seconds[way].append(float(printed[0]))
            memory[way] = max(memory[way], float(printed[1]))
    loop = median(seconds["netcdf4"])
    found = []
    for way, (title, wanted) in WAYS.items():
        speed = loop / median(seconds[way])
        reached = number(speed) if wanted is None or count != _AIMED else verdict(speed, wanted, least=True)
        found.append([f"{count:,}", title, number(median(seconds[way])), reached, number(memory[way])])
    return found


def main() -> None:
    """Measure and print the table; with `--way`, which it uses for its own processes, run one way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--files", type=int, default=_AIMED, metavar="N")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the markers of a page")
    parser.add_argument("--way", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        _run(arguments.way[0], Path(arguments.way[1]))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="atlas-ingest-files-") as place:
        folder = Path(place) / "files"
        make_files(folder, arguments.files)
        body = rows(folder, arguments.files, arguments.runs)
    lines = table(["files", "way", "s", "speed in that of netCDF4", "peak, MiB"], body)
    print("\n".join(lines))
    if arguments.page:
        insert_section(arguments.page, BEGIN, END, "python -m benchmarks.ingest", load, lines)


if __name__ == "__main__":
    main()
