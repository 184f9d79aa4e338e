"""atlas: the array store for fleets of datasets.

The rooms, from the top down; each imports only from rows below its own:

- `cli`               the command line
- `store`, `dataset`  `Atlas` and `DatasetView`: what users hold
- `xarray`            xarray and dask
- `verification`      reads everything, names what is damaged
- `session`           one open store, composed of the rooms below
- `maintenance`       compaction, retention, garbage collection
- `commit`            versions: the commit log, conflicts, merges
- `read`, `write`     cells out of and into a store; neither knows the other
- `catalog`           datasets, schemas and attributes in memory; the chunk index
- `chunking`          the grid and regions of chunks
- `kernels`, `format`, `storage`   compiled loops; bytes <-> values; bytes by key
- `runtime`           memory, threads, forks, the log, what is installed
- `errors`            every error
"""

from __future__ import annotations

from importlib import metadata

from atlas.dataset import DatasetView
from atlas.errors import AtlasError
from atlas.runtime.installation import warn_of_namesake
from atlas.runtime.tracing import init_tracing
from atlas.store import Atlas, verify

try:
    __version__ = metadata.version("atlas-store")
except metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
warn_of_namesake()

__all__ = ["Atlas", "AtlasError", "DatasetView", "__version__", "init_tracing", "verify"]
