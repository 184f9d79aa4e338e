"""xarray, dask and NetCDF files on top of the store: one dataset at a time. Never imports `atlas.store`.

Only this package and `atlas.many` import xarray and dask.

- `contents`: what an `xr.Dataset` holds, or what else becomes a dataset.
- `writing`: contents become a dataset of the store, one dask block at a time.
- `chunk_shapes`: the chunk shape of each variable.
- `dask_blocks`: the blocks of a dask array, checked against what dask declared.
- `reading`: a dataset of the store becomes an `xr.Dataset`.
- `lazy`: one stored array as a dask array; a single graph layer, whatever the number of chunks.
- `backend_array`: one stored array as xarray indexes it lazily, without dask.
- `array_reads`: the reads that both of these make, of an array that may have been declared anew since.
- `entrypoint`: the engine of xarray; `opening`: datasets as it gives them; `trees`: many of them as a tree; `decoding`:
  what was stored raw, decoded as CF says.
- `time_encoding`, `cftime_dates`: times, durations and dates to stored integers and back.
- `strings`: which cells of an object array are strings.
- `encoding_record`: `encoding` of variables and datasets to text and back.
- `attribute_owners`: assigns each stored attribute to the dataset or to one of its variables.
- `interfaces`: the calls that this package makes on a store and on a dataset.

xarray and dask take a second to import. The modules that need them import them at the top, and each name below loads
its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.runtime.late_names import late_names

if TYPE_CHECKING:
    from atlas.xarray.contents import Contents, LoadedVariable, contents_of, dataset_of
    from atlas.xarray.decoding import decode_dataset
    from atlas.xarray.opening import open_lazily
    from atlas.xarray.reading import to_xarray
    from atlas.xarray.trees import open_each, to_datatree
    from atlas.xarray.writing import add, replace

__all__ = [
    "Contents",
    "LoadedVariable",
    "add",
    "contents_of",
    "dataset_of",
    "decode_dataset",
    "open_each",
    "open_lazily",
    "replace",
    "to_datatree",
    "to_xarray",
]

_MODULES = {
    "Contents": "contents",
    "LoadedVariable": "contents",
    "add": "writing",
    "contents_of": "contents",
    "dataset_of": "contents",
    "decode_dataset": "decoding",
    "open_each": "trees",
    "open_lazily": "opening",
    "replace": "writing",
    "to_datatree": "trees",
    "to_xarray": "reading",
}


__getattr__ = late_names(__name__, _MODULES)
