"""atlas: the array store for fleets of datasets.

The rooms, from the top down; each imports only from rows below its own:

- `cli`               the command line
- `engine`            the engine `atlas` of xarray
- `store`, `dataset`, `array`, `attributes`   `Atlas`, `DatasetView`, `ArrayView` and `Attributes`: what users hold
- `ingest`            files of others become datasets
- `many`              many datasets as one `xr.Dataset`; `xr.Dataset.atlas`
- `xarray`            xarray and dask
- `verification`      reads everything, names what is damaged
- `session`           one open store, composed of the rooms below
- `maintenance`       compaction, retention, garbage collection
- `commit`            versions: the commit log, conflicts, merges
- `read`, `write`     cells out of and into a store; neither knows the other
- `catalog`           datasets, schemas and attributes in memory; the chunk index
- `chunking`          the grid and regions of chunks
- `kernels`, `format`, `storage`   compiled loops; bytes <-> values; bytes by key
- `runtime`           memory, threads, forks, the log, what is installed, checks of arguments
- `errors`            every error
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from atlas import errors
from atlas.errors import AtlasError
from atlas.runtime.import_hook import on_import
from atlas.runtime.installation import warn_of_namesake
from atlas.runtime.late_names import late_names

if TYPE_CHECKING:
    from atlas.array import ArrayView
    from atlas.attributes import Attributes
    from atlas.catalog.attribute_values import AttributeColumn
    from atlas.dataset import ArrayMeta, DatasetView
    from atlas.read.ragged_array import RaggedArray
    from atlas.read.statistics import ArrayStatistics, DetailedStatistics
    from atlas.read.statistics_columns import ArrayStatsColumns
    from atlas.runtime.limits import Limits
    from atlas.runtime.tracing import init_tracing
    from atlas.storage import StoreSource
    from atlas.store import Atlas, verify

try:
    __version__ = metadata.version("atlas-store")
except metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
warn_of_namesake()
on_import("xarray", lambda: import_module("atlas.many.accessor"))  # registers `xr.Dataset.atlas`

__all__ = [
    "ArrayMeta",
    "ArrayStatistics",
    "ArrayStatsColumns",
    "ArrayView",
    "Atlas",
    "AtlasError",
    "AttributeColumn",
    "Attributes",
    "DatasetView",
    "DetailedStatistics",
    "Limits",
    "RaggedArray",
    "StoreSource",
    "__version__",
    "errors",
    "init_tracing",
    "verify",
]

_MODULES = {
    "ArrayMeta": "dataset",
    "ArrayStatistics": "read.statistics",
    "ArrayStatsColumns": "read.statistics_columns",
    "ArrayView": "array",
    "Atlas": "store",
    "AttributeColumn": "catalog.attribute_values",
    "Attributes": "attributes",
    "DatasetView": "dataset",
    "DetailedStatistics": "read.statistics",
    "Limits": "runtime.limits",
    "RaggedArray": "read.ragged_array",
    "StoreSource": "storage",
    "init_tracing": "runtime.tracing",
    "verify": "store",
}
"""The module of each name that is loaded on first use: xarray imports this package to learn of its engine."""


__getattr__ = late_names(__name__, _MODULES)


def __dir__() -> list[str]:
    """Return the public names, which notebooks complete."""
    return __all__
