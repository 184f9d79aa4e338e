"""Opens NetCDF files as xarray datasets that can be added to a store.

Never imports netCDF4 before a file is opened: it is optional. netCDF4 is not thread-safe: a file is read only by the
thread that opened it, dask blocks included. Only variables in the root group are read; files with groups are refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.runtime.installation import missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["RootNames", "check_netcdf", "inspect_netcdf", "open_netcdf"]

_CHUNK_BYTES = 64 << 20
"""Bytes of a variable that are read at a time; a larger variable is stored in chunks of about this size."""


def check_netcdf() -> None:
    """Raise `MissingExtraError` where netCDF4 is not installed."""
    if importlib.util.find_spec("netCDF4") is None:
        raise missing_extra("netcdf", "NetCDF files need netCDF4", "netCDF4")


@dataclass(frozen=True, slots=True)
class RootNames:
    """Names in the root group of a file, before anything is decoded or left out."""

    dims: frozenset[str]
    """Names of dimensions."""
    variables: frozenset[str]
    """Names of variables."""


def inspect_netcdf(path: Path) -> RootNames:
    """Names of the dimensions and variables in a file; reads no values.

    Raises `InvalidValueError` for a file with groups, which would be lost, and what netCDF4 raises for a file that is
    not NetCDF.
    """
    netCDF4 = importlib.import_module("netCDF4")  # noqa: N806 - its own spelling
    with netCDF4.Dataset(path) as file:
        groups = list(file.groups)
        if groups:
            raise InvalidValueError(
                f"{path.name} has the group{'s' if len(groups) > 1 else ''} {', '.join(groups)}; only files whose "
                "variables are all in the root can be stored. Write each group to a file of its own first: "
                f"xarray.open_dataset({path.name!r}, group={groups[0]!r}).to_netcdf(...)"
            )
        return RootNames(frozenset(file.dimensions), frozenset(file.variables))


@contextmanager
def open_netcdf(
    path: Path, *, chunks: Mapping[str, int] | None = None, drop: Sequence[str] = (), raw: bool = False
) -> Iterator[xr.Dataset]:
    """Open a file as a context manager.

    `chunks` gives chunk lengths by dimension; dimensions that the file lacks are ignored. A variable without any of
    these dimensions is one chunk, or chunks of about 64 MiB if it is larger. `drop` names variables to leave out.
    `raw` keeps packed values, missing values and times as stored in the file; character arrays are joined all the
    same, to text where the file says how it is encoded, else to bytes. Groups are ignored here: `inspect_netcdf`
    refuses them.

    Raises what netCDF4 and xarray raise for files that they cannot read.
    """
    with warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        # Archives are full of odd encodings, which xarray warns about; values that it cannot decode raise.
        warnings.simplefilter("ignore")
        with xr.open_dataset(
            path,
            engine="netcdf4",
            mask_and_scale=not raw,
            decode_times=not raw,
            decode_timedelta=False,
            decode_coords=not raw,
            concat_characters=True,
            drop_variables=list(drop) or None,
            cache=False,
        ) as ds:
            yield _rechunk(ds, path, chunks or {})


def _rechunk(ds: xr.Dataset, path: Path, chunks: Mapping[str, int]) -> xr.Dataset:
    """Turn variables that have a dimension of `chunks`, or are large, into dask arrays; leave the others."""
    chunked: dict[Any, xr.Variable] = {}
    for name, variable in ds.variables.items():
        if name in ds.indexes or not variable.size:
            continue
        lengths: dict[Any, Any] = {dim: chunks[dim] for dim in variable.dims if dim in chunks}  # type: ignore[index]
        if not lengths and variable.nbytes > _CHUNK_BYTES:
            rows = max(1, variable.shape[0] * _CHUNK_BYTES // variable.nbytes)
            lengths = {variable.dims[0]: rows} if variable.dtype == object else dict.fromkeys(variable.dims, "auto")
        if lengths:
            # With an explicit name: otherwise dask would read the whole variable to hash it.
            with dask.config.set({"array.chunk-size": _CHUNK_BYTES}):
                chunked[name] = variable.chunk({d: lengths.get(d, -1) for d in variable.dims}, name=f"{path}:{name}")
    coords = {name: variable for name, variable in chunked.items() if name in ds.coords}
    return ds.assign({name: variable for name, variable in chunked.items() if name not in coords}).assign_coords(coords)
