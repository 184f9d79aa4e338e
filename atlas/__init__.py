"""atlas: the array store for fleets of datasets.

The house, from the top floor down; each imports only from floors below it:

- `atlas.cli`        the command line
- `atlas.store`      `Atlas`, a store
- `atlas.dataset`    `DatasetView`, one dataset of it
- `atlas.interop`    xarray and dask
- `atlas.engine`     runs plans: threads, caches, pending data, commits; the only caller of kernels
- `atlas.planning`   pure functions from a request to a plan
- `atlas.storage`    bytes by key: local files, object stores, memory
- `atlas.format`     bytes <-> values
- `atlas.kernels`    compiled kernels: arrays in, arrays out
- `atlas.memory`     how much of it is at hand
- `atlas.errors`     every error
"""

from __future__ import annotations

from importlib import metadata

from atlas.dataset import DatasetView
from atlas.errors import AtlasError
from atlas.store import Atlas, verify
from atlas.tracing import init_tracing

try:
    __version__ = metadata.version("atlas-store")
except metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Atlas", "AtlasError", "DatasetView", "__version__", "init_tracing", "verify"]
