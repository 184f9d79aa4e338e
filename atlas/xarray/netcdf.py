"""NetCDF files as xarray datasets, ready to be added to a store.

netCDF4 is optional and is not safe to enter from two threads: files are opened one at a time, and what is read in
pieces is read by the thread that asks. Only variables in the root of a file are read; a file with groups is refused.
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

from atlas.errors import InvalidValueError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Contents", "check_netcdf", "inspect_netcdf", "open_netcdf"]

_PIECE = 64 << 20
"""Bytes of a variable that are read at a time; a larger variable is stored in chunks of about this size."""


def check_netcdf() -> None:
    """Raise `MissingExtraError` where NetCDF files cannot be read."""
    if importlib.util.find_spec("netCDF4") is None:
        raise MissingExtraError(
            'NetCDF files need netCDF4, which is not installed: pip install "atlas-store[netcdf]"', name="netCDF4"
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """Names in the root of a file, before anything is decoded or left out."""

    dims: frozenset[str]
    """Those of dimensions."""
    variables: frozenset[str]
    """Those of variables."""


def inspect_netcdf(path: Path) -> Contents:
    """Names of what the file holds; none of its values is read.

    Raises `InvalidValueError` where it has groups, which would be lost, and what netCDF4 raises for what is no NetCDF.
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
        return Contents(frozenset(file.dimensions), frozenset(file.variables))


@contextmanager
def open_netcdf(
    path: Path, *, chunks: Mapping[str, int] | None = None, drop: Sequence[str] = (), raw: bool = False
) -> Iterator[xr.Dataset]:
    """Open a file for the time of a `with` block.

    `chunks` gives chunk lengths by dimension; those of dimensions that the file lacks are ignored. A variable that
    has no such dimension is in one piece up to 64 MiB, and cut along its dimensions beyond. `drop` names variables to
    leave out. `raw` leaves packed values, missing values and times as they lie in the file; characters are joined to
    text in any case, since a character of several bytes cannot be kept one byte a cell. Groups are not looked for: see
    `inspect_netcdf`.

    Raises what netCDF4 and xarray raise for files they cannot read.
    """
    with warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        # Odd encodings are the rule in archives; what cannot be decoded raises.
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
