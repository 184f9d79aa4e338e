"""xarray and dask on top of the store; the only folder that imports them.

- `writing`: an `xr.Dataset` becomes a dataset of the store, one dask block at a time.
- `reading`: a dataset of the store becomes an `xr.Dataset`; many become one, stacked.
- `lazy`: one stored array as a dask array, one layer whatever the number of chunks.
- `times`, `calendars`, `texts`: what xarray holds in several ways and the store in one.
- `attrs`: which attribute is whose.
- `accessor`: `xr.Dataset.atlas`.
- `protocols`: what all of these need of a store and of a dataset; they import neither.
"""

from __future__ import annotations

from atlas.interop.accessor import AtlasAccessor
from atlas.interop.reading import to_xarray, to_xarray_many
from atlas.interop.writing import add

__all__ = ["AtlasAccessor", "add", "to_xarray", "to_xarray_many"]
