"""What each engine does for each operation, a file an engine.

Nothing of an engine is imported before `make` makes it, in its own process.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.engines.base import Engine, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

__all__ = ["APART", "ENGINES", "OURS", "PACKED", "PEERS", "Engine", "Unsupported", "make"]

OURS = "atlas"


@dataclass(frozen=True)
class Entry:
    """An engine of the table."""

    title: str
    where: str
    """Its file in this folder and its class there."""
    environment: str | None
    """Its environment in `environments.PINS`, None for the current one."""
    largest: int | None = None
    """Datasets beyond which one operation takes minutes: larger fleets are left out."""
    workloads: tuple[str, ...] = ()
    """Those it is measured on; empty for all."""


ENGINES = {
    OURS: Entry("atlas", "store.Ours", None),
    "unsynced": Entry("not synchronised", "safety.Unsynced", None, workloads=("profile",)),
    "unchecked": Entry("nor checked", "safety.Unchecked", None, workloads=("profile",)),
    "disk": Entry("the disk alone", "safety.Disk", None, workloads=("profile",)),
    "limit": Entry("limit", "limit.Limit", None),
    "plain": Entry("NumPy, dask", "plain.Plain", None),
    "seed": Entry("atlas-python 0.9.1", "store.Store", "seed"),
    "zarrs": Entry("zarr sharded", "zarr_sharded.Sharded", "zarr"),
    "tensorstore": Entry("tensorstore", "tensorstore_arrays.ArraySelection", "tensorstore"),
    "blosc2": Entry("blosc2", "blosc2_arrays.ArraySelection", "blosc2"),
    "zarrs_packed": Entry("zarr sharded, packed", "zarr_sharded.Packed", "zarr"),
    "tensorstore_packed": Entry("tensorstore, packed", "tensorstore_arrays.Packed", "tensorstore"),
    "blosc2_packed": Entry("blosc2, packed", "blosc2_arrays.Packed", "blosc2"),
    "tiledb": Entry("TileDB", "tiledb_arrays.ArraySelection", "tiledb"),
    "zarr": Entry("zarr, N stores", "zarr_stores.Stores", "zarr", largest=5000),
    "netcdf": Entry("netCDF4, N files", "netcdf_files.Files", "netcdf", largest=5000),
}

APART = ("tensorstore", "zarrs", "blosc2")
"""One large array a variable, each dataset encoded by itself."""
PACKED = tuple(f"{engine}_packed" for engine in APART)
"""The same with many datasets in a unit."""
PEERS = tuple(engine for engine, entry in ENGINES.items() if entry.environment is not None)


def make(name: str, work: Workload, folder: Path) -> Engine:
    """Import an engine's package and return it, ready for one workload in one folder."""
    module, _, kind = ENGINES[name].where.partition(".")
    engine: Engine = getattr(importlib.import_module(f"benchmarks.engines.{module}"), kind)(work, folder)
    engine.name = name
    return engine
