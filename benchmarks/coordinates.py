"""`python -m benchmarks.coordinates`: bytes on disk of fleets whose datasets have coordinates in common.

First datasets on one grid, 96 x 192 float32 with one decimal, with latitudes, longitudes and the area of each cell;
then, with `--cmip6 FOLDER`, all NetCDF files below a folder, such as those of the package esmvaltool-sample-data. Each
fleet is stored as it is and once more with no array taken for a coordinate, so that each dataset stores its own.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from benchmarks.report import table
from benchmarks.worker import bytes_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

__all__ = ["main"]

_FLUSHED = 1000
"""Datasets of a flush."""


def gridded(count: int) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield names and datasets on one grid."""
    import xarray as xr  # noqa: PLC0415 - imported by the benchmark that needs it

    rng = np.random.default_rng(5)
    latitude, longitude = np.sort(rng.uniform(-80, 80, 96)), np.sort(rng.uniform(0, 360, 192))
    area, field = rng.random((96, 192)), rng.normal(280, 5, (96, 192))
    for at in range(count):
        cells = (field + at % 7).astype(np.float32).round(1)
        coords = {"lat": latitude, "lon": longitude, "area": (("lat", "lon"), area)}
        yield f"field {at:06d}", xr.Dataset({"t": (("lat", "lon"), cells)}, coords)


def files(folder: Path) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield names and datasets of the NetCDF files below a folder."""
    import xarray as xr  # noqa: PLC0415

    for path in sorted(folder.rglob("*.nc")):
        with xr.open_dataset(path) as ds:
            yield path.relative_to(folder).with_suffix("").as_posix().replace("/", "."), ds.load()


def _stored(fleet: Iterator[tuple[str, xr.Dataset]]) -> tuple[int, int, int]:
    """Store a fleet and return its number of datasets, the bytes of the store, and those of coordinates and bounds."""
    from atlas import Atlas  # noqa: PLC0415

    names = set[str]()
    with tempfile.TemporaryDirectory(prefix="atlas-coordinates-") as folder:
        store = Atlas.create(folder, durable=False)
        while some := list(islice(fleet, _FLUSHED)):
            for name, ds in some:
                store.add_xr_dataset(ds, name)
                names |= {str(coord) for coord in ds.coords}
                names |= {str(ds[coord].attrs.get("bounds")) for coord in ds.coords} & set(map(str, ds.variables))
            store.flush()
        arrays = Path(folder) / "arrays"
        own = sum(bytes_on_disk(arrays / name) for name in names if (arrays / name).is_dir())
        return len(store), bytes_on_disk(Path(folder)), own


def measure(title: str, fleet: Callable[[], Iterator[tuple[str, xr.Dataset]]]) -> list[str]:
    """Return the cells of the row of a fleet."""
    count, total, shared = _stored(fleet())
    with mock.patch("atlas.catalog.dataset_state.DatasetState.is_coordinate", return_value=False):
        _, total_apart, apart = _stored(fleet())
    numbers = (count, total - shared, shared, apart)
    return [title, *(f"{number:,}" for number in numbers), f"{total_apart / total:.2f}"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coordinates", description=__doc__)
    parser.add_argument("--datasets", type=int, default=10_000, metavar="N")
    parser.add_argument("--cmip6", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    rows = [measure("one grid", lambda: gridded(arguments.datasets))]
    if arguments.cmip6:
        rows.append(measure("CMIP6", lambda: files(arguments.cmip6)))
    head = ["fleet", "datasets", "data and documents, bytes", "coordinates, bytes", "each its own, bytes"]
    print("\n".join(table([*head, "store with each its own over store"], rows)))


if __name__ == "__main__":
    main()
