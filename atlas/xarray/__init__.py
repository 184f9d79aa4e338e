"""xarray and dask on top of the store: the only room that imports them, and only when one of them is needed.

- `writing`: an `xr.Dataset` becomes a dataset of the store, one dask block at a time.
- `reading`: a dataset of the store becomes an `xr.Dataset`; many become one, stacked.
- `lazy`: one stored array as a dask array, one layer whatever the number of chunks.
- `netcdf`: NetCDF files as `xr.Dataset`s.
- `times`, `calendars`, `strings`: what xarray holds in several ways and the store in one.
- `attrs`: which attribute is whose.
- `accessor`: `xr.Dataset.atlas`.
- `import_hook`: has the accessor registered once xarray is imported.
- `protocols`: what all of these need of a store and of a dataset; they import neither.

xarray and dask take a second to import. The modules that need them do so at their top, and the names below load
those modules when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from atlas.xarray.import_hook import on_arrival

if TYPE_CHECKING:
    from atlas.xarray.accessor import AtlasAccessor
    from atlas.xarray.netcdf import check_netcdf, inspect_netcdf, open_netcdf
    from atlas.xarray.reading import to_xarray, to_xarray_many
    from atlas.xarray.writing import add

__all__ = [
    "AtlasAccessor",
    "add",
    "check_netcdf",
    "inspect_netcdf",
    "open_netcdf",
    "to_xarray",
    "to_xarray_many",
]

_HOMES = {
    "AtlasAccessor": "accessor",
    "add": "writing",
    "check_netcdf": "netcdf",
    "inspect_netcdf": "netcdf",
    "open_netcdf": "netcdf",
    "to_xarray": "reading",
    "to_xarray_many": "reading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


on_arrival("xarray", lambda: import_module(f"{__name__}.accessor"))
