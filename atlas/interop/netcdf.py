"""NetCDF files as xarray datasets, ready to be added to a store.

netCDF4 is optional and is not safe to enter from two threads: files are opened one at a time, and what is read in
pieces is read by the thread that asks.
"""

from __future__ import annotations

import importlib.util
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
import xarray as xr

from atlas.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["check_netcdf", "open_netcdf"]

_PIECE = 64 << 20
"""Bytes of a variable that are read at a time; a larger variable is stored in chunks of about this size."""


def check_netcdf() -> None:
    """Raise `MissingExtraError` where NetCDF files cannot be read."""
    if importlib.util.find_spec("netCDF4") is None:
        raise MissingExtraError(
            'NetCDF files need netCDF4, which is not installed: pip install "atlas-store[netcdf]"', name="netCDF4"
        )


@contextmanager
def open_netcdf(
    path: Path, *, chunks: Mapping[str, int] | None = None, drop: Sequence[str] = (), raw: bool = False
) -> Iterator[xr.Dataset]:
    """Open a file for the time of a `with` block.

    `chunks` gives chunk lengths by dimension; those of dimensions that the file lacks are ignored. A variable that
    has no such dimension is in one piece up to 64 MiB, and cut along its dimensions beyond. `drop` names variables to
    leave out. `raw` leaves packed values, missing values and times as they lie in the file.

    Raises what netCDF4 and xarray raise for files they cannot read.
    """
    with warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        # Odd encodings are the rule in archives; what cannot be decoded raises.
        warnings.simplefilter("ignore")
        with xr.open_dataset(
            path,
            engine="netcdf4",
            decode_cf=not raw,
            decode_timedelta=None if raw else False,
            drop_variables=list(drop) or None,
            cache=False,
        ) as ds:
            yield _cut(ds, path, chunks or {})


def _cut(ds: xr.Dataset, path: Path, chunks: Mapping[str, int]) -> xr.Dataset:
    """Make variables lazy, in pieces, where they shall be cut or are large."""
    pieces: dict[Any, xr.Variable] = {}
    for name, variable in ds.variables.items():
        if name in ds.indexes or not variable.size:
            continue
        lengths: dict[Any, Any] = {dim: chunks[dim] for dim in variable.dims if dim in chunks}  # type: ignore[index]
        if not lengths and variable.nbytes > _PIECE:
            rows = max(1, variable.shape[0] * _PIECE // variable.nbytes)
            lengths = {variable.dims[0]: rows} if variable.dtype == object else dict.fromkeys(variable.dims, "auto")
        if lengths:
            # Named, as dask would else hash what it has to read first.
            with dask.config.set({"array.chunk-size": _PIECE}):
                pieces[name] = variable.chunk({d: lengths.get(d, -1) for d in variable.dims}, name=f"{path}:{name}")
    coords = {name: piece for name, piece in pieces.items() if name in ds.coords}
    return ds.assign({name: piece for name, piece in pieces.items() if name not in coords}).assign_coords(coords)
