"""How each engine does each operation; one file per engine.

Never imports an engine before `make` is called for it, in its own process.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.engines.base import Engine, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

__all__ = ["ENGINES", "OURS", "PACKED", "PEERS", "STRONG", "UNPACKED", "Engine", "Unsupported", "make"]

OURS = "atlas"


@dataclass(frozen=True)
class Entry:
    """An engine: a column of the tables."""

    title: str
    location: str | None
    """Its module in this package and its class, as "module.Class"; None for one that is only measured on profiles."""
    environment: str | None
    """Its environment in `environments.PINS`; None for the current one."""
    largest: int | None = None
    """The most datasets it is measured on: beyond, one operation takes minutes."""
    workloads: tuple[str, ...] = ()
    """Workloads that it is measured on; empty for all."""
    ragged: str | None = None
    """Its class in the module `ragged`, for datasets of different lengths; None for an engine without them."""

    def takes(self, work: Workload) -> bool:
        """Whether it is measured on a workload."""
        if work.kind == "ragged":
            return self.ragged is not None
        return self.location is not None and (not self.workloads or work.name in self.workloads)


ENGINES = {
    OURS: Entry("atlas", "store.Ours", None, ragged="Ours"),
    "unsynced": Entry("not synchronised", "safety.Unsynced", None, workloads=("profile",)),
    "unchecked": Entry("nor checked", "safety.Unchecked", None, workloads=("profile",)),
    "disk": Entry("the disk alone", "safety.Disk", None, workloads=("profile",)),
    "limit": Entry("limit", "limit.Limit", None),
    "plain": Entry("NumPy, dask", "plain.Plain", None),
    "seed": Entry("atlas-python 0.9.1", "store.Store", "seed", ragged="Seed"),
    "zarrs": Entry("zarr sharded", "zarr_sharded.Sharded", "zarr"),
    "tensorstore": Entry("tensorstore", "tensorstore_arrays.StackedArrays", "tensorstore", ragged="TensorStore"),
    "blosc2": Entry("blosc2", "blosc2_arrays.StackedArrays", "blosc2", ragged="Blosc2"),
    "zarr_zstd3": Entry("zarr (zstd 3)", "zarr_sharded.Zstd3", "zarr"),
    "blosc2_shuffle5": Entry("blosc2 (shuffle, zstd 5)", "blosc2_arrays.Shuffled", "blosc2"),
    "zarrs_packed": Entry("zarr sharded, packed", "zarr_sharded.Packed", "zarr"),
    "tensorstore_packed": Entry("tensorstore, packed", "tensorstore_arrays.Packed", "tensorstore"),
    "blosc2_packed": Entry("blosc2, packed", "blosc2_arrays.Packed", "blosc2"),
    "tiledb": Entry("TileDB", "tiledb_arrays.StackedArray", "tiledb"),
    "parquet": Entry("Parquet list column", None, "parquet", ragged="Parquet"),
    "zarr": Entry("zarr, N stores", "zarr_stores.Stores", "zarr", largest=5000),
    "netcdf": Entry("netCDF4, N files", "netcdf_files.Files", "netcdf", largest=5000),
}

UNPACKED = ("tensorstore", "zarrs", "blosc2")
"""Engines with one large array per variable, in which each dataset has its own chunks."""
STRONG = ("zarr_zstd3", "blosc2_shuffle5")
"""Two of them with stronger compression."""
PACKED = tuple(f"{engine}_packed" for engine in UNPACKED)
"""The same engines with many datasets per chunk."""
PEERS = tuple(engine for engine, entry in ENGINES.items() if entry.environment is not None)


def make(name: str, work: Workload, folder: Path) -> Engine:
    """Import an engine and return it, ready for one workload in one folder."""
    entry = ENGINES[name]
    module, _, kind = (f"ragged.{entry.ragged}" if work.kind == "ragged" else str(entry.location)).partition(".")
    engine: Engine = getattr(importlib.import_module(f"benchmarks.engines.{module}"), kind)(work, folder)
    engine.name = name
    return engine
