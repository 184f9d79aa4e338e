"""The fleets of `benchmarks.many`. Each function writes datasets to the store `store` of a folder.

Some write the same datasets as NetCDF files too, to the folder `files` beside it. What follows the last "_" of their
names is the place of a dataset in a series, which begins with the same.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cmip6", "days", "grids", "profiles", "series_of", "stations"]


def _created(folder: Path) -> Any:
    from atlas import Atlas  # noqa: PLC0415

    return Atlas.create(folder / "store", durable=False)


def grids(folder: Path, count: int) -> None:
    """Write two variables (50, 168), float32 with two decimals, on one grid, and a latitude: one shape for all."""
    import xarray as xr  # noqa: PLC0415

    work = replace(WORKLOADS["walks"], datasets=count)
    t, s = work.data().values()
    grid, dims = {"depth": np.arange(50) * 5.0, "hour": np.arange(168)}, ("depth", "hour")
    latitudes = np.random.default_rng(3).uniform(-90, 90, count).round(4)
    with _created(folder) as store:
        for at, name in enumerate(work.names):
            cells = {"t": (dims, t[at]), "s": (dims, s[at]), "lat": ((), latitudes[at])}
            store.add_xr_dataset(xr.Dataset(cells, grid, {"project": "demo"}), name)


def profiles(folder: Path, count: int) -> None:
    """Write profiles of 20 to 391 cells, those of the workload `ragged`."""
    work = replace(WORKLOADS["ragged"], datasets=count)
    (cells,) = work.data().values()
    with _created(folder) as store:
        store.create_datasets(work.names)
        store.write_array_across_ragged("t", work.names, cells, work.row_sizes, ["level"])


def stations(folder: Path, count: int) -> None:
    """Write two variables of 24 float32, a coordinate that all have in common, a scalar and an attribute."""
    names = [f"station{at:07d}" for at in range(count)]
    source = np.random.default_rng(11)
    with _created(folder) as store:
        for at, dataset in enumerate(store.create_datasets(names)):
            dataset.set_attribute("number", at)
        for array in ("a", "b"):
            store.write_array_across_stacked(array, names, source.random((count, 24), np.float32), ["x"])
        store.write_array_across_stacked("x", names, np.broadcast_to(np.arange(24.0), (count, 24)), ["x"])
        store.write_array_across_stacked("lat", names, source.uniform(-90, 90, count), [])


def days(folder: Path, count: int) -> None:
    """Write days of (24, 50, 60) float32 with two decimals, on one grid: one series, as files too."""
    import xarray as xr  # noqa: PLC0415

    (folder / "files").mkdir()
    source = np.random.default_rng(5)
    field = source.normal(15, 5, (50, 60))
    coords = {"lat": np.linspace(40, 60, 50), "lon": np.linspace(-10, 20, 60)}
    hours = np.arange(24) * np.timedelta64(1, "h")
    with _created(folder) as store:
        for at in range(count):
            coords["time"] = np.datetime64("2001-01-01", "ns") + np.timedelta64(at, "D") + hours
            cells = (field + source.normal(0, 0.2, (24, 50, 60)).cumsum(axis=0)).round(2).astype(np.float32)
            ds = xr.Dataset({"t": (("time", "lat", "lon"), cells)}, coords, {"project": "demo"})
            ds.to_netcdf(folder / "files" / f"day_{at:03d}.nc")
            store.add_xr_dataset(ds, f"day_{at:03d}")


def series_of(name: str) -> str:
    """What the names of a series begin with."""
    return name.rpartition("_")[0]


def cmip6(source: Path, folder: Path, count: int) -> None:
    """Write the NetCDF files below the folder `source`: series of several files, until there are `count` datasets."""
    import xarray as xr  # noqa: PLC0415

    (folder / "files").mkdir()
    every = sorted(source.rglob("*.nc"), key=lambda path: path.stem)
    with _created(folder) as store:
        for _, series in groupby(every, lambda path: series_of(path.stem)):
            paths = list(series)
            if len(paths) == 1 or len(store) >= count:
                continue
            for path in paths:
                (folder / "files" / path.name).symlink_to(path.resolve())
                with xr.open_dataset(path) as ds:
                    store.add_xr_dataset(ds, path.stem)
