"""Reads one NetCDF file; runs in a process of its own, which a damaged file may end.

Variables that are large are left to `read_block`. Dates that cannot be decoded keep their numbers. Imports netCDF4
when a file is opened.
"""

from __future__ import annotations

import importlib
import math
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas.errors import InvalidValueError
from atlas.format.names import check_name
from atlas.ingest.classic_netcdf import check_length
from atlas.ingest.decoding import UndecodedError, are_times, decode, unify_missing, unreadable
from atlas.ingest.netcdf_variables import lazy_variable, read_attributes, read_variable
from atlas.ingest.provenance import Fingerprint, fingerprint
from atlas.xarray import Contents

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LARGE_BYTES", "LargeVariable", "ReadFile", "ReadOptions", "read_block", "read_file"]

LARGE_BYTES = 64 << 20
"""Bytes from which a variable is read block by block."""
_CELL_BYTES = 8
"""The most bytes that a number has once it is decoded."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read."""

    drop: tuple[str, ...]
    """Variables to leave out."""
    raw: bool
    """Whether nothing is decoded."""
    drop_unsupported: bool
    """Whether variables that are not stored are left out; else they fail the file."""
    large_bytes: int = LARGE_BYTES
    """Bytes from which a variable is read block by block."""


@dataclass(frozen=True, slots=True)
class LargeVariable:
    """A variable whose cells are read block by block."""

    dims: tuple[Hashable, ...]
    """Names of its axes."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: np.dtype[Any]
    """dtype of its cells once they are decoded."""
    attrs: dict[str, Any]
    """Its attributes."""
    encoding: dict[str, Any]
    """Its encoding."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file holds."""

    contents: Contents
    """The dataset without the large variables; coordinates among those are named in its `coords`."""
    order: list[str]
    """Names of all variables, in their order."""
    large: dict[str, LargeVariable]
    """The large variables."""
    fingerprint: Fingerprint
    """What tells the file from its later forms."""
    dims: frozenset[str]
    """Names of the dimensions of the file."""
    variables: frozenset[str]
    """Names of its variables, those that were left out included."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Variables that are not stored, and why."""
    kept_raw: dict[str, str] = field(default_factory=dict)
    """Times that could not be decoded, and why."""


def read_file(path: Path, options: ReadOptions) -> ReadFile:
    """Read a file. Raises `InvalidValueError` for one that cannot be stored, and what netCDF4 and xarray raise."""
    before = fingerprint(path, digest=False)
    check_length(path)
    kept_raw: dict[str, str] = {}
    with _opened(path) as (file, skipped), _quiet():
        unsupported = _check_variables(path, file, skipped, options)
        dims, variables = frozenset(file.dimensions), frozenset((*file.variables, *skipped))
        leave_out = {*options.drop, *unsupported}
        while True:
            try:
                contents, large, order = _load(file, str(path.absolute()), leave_out, kept_raw, options)
                break
            except UndecodedError as error:
                kept_raw[error.variable] = error.reason
    after = fingerprint(path, digest=True)
    _check_unchanged(path, before, after)
    return ReadFile(contents, order, large, after, dims, variables, unsupported, kept_raw)


def read_block(
    path: Path,
    options: ReadOptions,
    read: Fingerprint,
    kept_raw: tuple[str, ...],
    variable: str,
    key: tuple[slice, ...],
) -> NDArray[Any]:
    """Read a block of a variable, decoded as `read_file` says, which gave `read` and left `options.drop` out.

    Raises `InvalidValueError` where the file has been changed since.
    """
    with _opened(path) as (file, _), _quiet():
        lazy = {name: lazy_variable(name, found) for name, found in file.variables.items() if name not in options.drop}
        found = decode(lazy, {}, (), kept_raw, raw=options.raw).variables[variable]
        try:
            cells = unify_missing(found[key].to_numpy(), found)
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable(variable, error) from error
    _check_unchanged(path, read, fingerprint(path, digest=False))
    return cells


def _check_unchanged(path: Path, before: Fingerprint, after: Fingerprint) -> None:
    if not before.is_unchanged(after):
        raise InvalidValueError(f"{path.name} was changed while it was read; add it again once it is whole")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Open a file as netCDF4 does, which leaves out variables of some dtypes: with their names and why.

    Raises what netCDF4 raises.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        file = importlib.import_module("netCDF4").Dataset(path)
    found = (re.search(r"variable '(.*)' has unsupported (.*)datatype", str(one.message)) for one in warned)
    with file:
        yield file, {match[1]: f"is of a {match[2]}dtype that netCDF4 cannot read" for match in found if match}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings: xarray has one for each odd encoding, and raises what it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_variables(path: Path, file: Any, skipped: dict[str, str], options: ReadOptions) -> dict[str, str]:
    """Return which variables are not stored, and why.

    Raises `InvalidValueError` where there are any and they are not to be dropped, and for a file with groups.
    """
    if file.groups:
        groups = list(file.groups)
        raise InvalidValueError(
            f"{path.name} has the group{'s' if len(groups) > 1 else ''} {', '.join(groups)}; only files whose "
            "variables are all in the root can be stored. Write each group to a file of its own first: "
            f"xarray.open_dataset({path.name!r}, group={groups[0]!r}).to_netcdf(...)"
        )
    found = {name: _unsupported(name, variable.datatype) for name, variable in file.variables.items()} | skipped
    unsupported = {name: reason for name, reason in found.items() if reason is not None and name not in options.drop}
    if unsupported and not options.drop_unsupported:
        name, reason = next(iter(unsupported.items()))
        raise InvalidValueError(
            f"variable {name!r} {reason}; leave it out with drop=[{name!r}] (--drop {name} of the command), or all "
            "such with on_unsupported='drop' (--on-unsupported drop)"
        )
    return unsupported


def _unsupported(name: str, datatype: Any) -> str | None:
    """Return why a variable is not stored."""
    netCDF4 = importlib.import_module("netCDF4")  # noqa: N806 - its own spelling
    if isinstance(datatype, netCDF4.CompoundType):
        return f"is of the compound dtype {datatype.name!r}, and compound dtypes are not stored"
    if isinstance(datatype, netCDF4.VLType) and datatype.dtype is not str:
        return f"has lists of {datatype.dtype} of different lengths (vlen), which are not stored"
    try:
        check_name("array", name)
    except ValueError as error:
        return f"has a name that no array may have: {error}"
    return None


def _load(
    file: Any, source: str, leave_out: Collection[str], kept_raw: Collection[str], options: ReadOptions
) -> tuple[Contents, dict[str, LargeVariable], list[str]]:
    """Read all variables of a file but the large ones, which are described; with the names of all.

    Raises `UndecodedError` for dates that cannot be decoded, and else what names the variable that cannot be read.
    """
    read, in_memory = dict[str, xr.Variable](), set[str]()
    for name, stored in file.variables.items():
        if name in leave_out:
            continue
        is_small = stored.dimensions == (name,) or math.prod(stored.shape) * _CELL_BYTES <= options.large_bytes
        try:
            variable = read_variable(stored, source) if is_small else None
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable(name, error) from error
        if variable is not None:
            in_memory.add(name)
        read[name] = lazy_variable(name, stored) if variable is None else variable
    decoded = decode(read, read_attributes(file), in_memory, kept_raw, raw=options.raw)
    large: dict[str, LargeVariable] = {}
    variables: dict[str, xr.Variable] = {}
    for name, variable in decoded.variables.items():
        is_large = variable.nbytes > options.large_bytes and variable.dims != (name,)
        if name in decoded.lazy:
            decodes_dates = not options.raw and name not in kept_raw
            _read_cells(name, variable, options, is_large=is_large, decodes_dates=decodes_dates)
        if is_large:
            large[name] = LargeVariable(
                variable.dims, variable.shape, variable.dtype, variable.attrs, variable.encoding
            )
        else:
            variables[name] = variable
    encoding = {
        "unlimited_dims": {name for name, dim in file.dimensions.items() if dim.isunlimited()},
        "source": source,
    }
    indexes = {name: variables[name].dtype for name in decoded.coords if read[name].dims == (name,)}
    return Contents(variables, decoded.coords, indexes, decoded.attrs, encoding), large, list(decoded.variables)


def _read_cells(name: str, variable: xr.Variable, options: ReadOptions, *, is_large: bool, decodes_dates: bool) -> None:
    """Read the cells of a variable; of a large one only its dates, to know that they can be decoded.

    Raises `UndecodedError` for dates that cannot, and else what names the variable.
    """
    decodes_dates = decodes_dates and are_times(variable)
    try:
        if not is_large:
            variable.data = unify_missing(variable.load().data, variable)
        elif decodes_dates:
            _check_times(variable, options.large_bytes)
    except MemoryError:
        raise
    except Exception as error:
        if decodes_dates:
            raise UndecodedError(name, error) from error
        raise unreadable(name, error) from error


def _check_times(variable: xr.Variable, block_bytes: int) -> None:
    """Decode times block by block: what they become, and whether they can be, is known once all are."""
    rows = max(1, block_bytes * variable.shape[0] // variable.nbytes)
    for start in range(0, variable.shape[0], rows):
        found = variable[start : start + rows].to_numpy().dtype
        if found != variable.dtype:
            raise InvalidValueError(f"some are out of the range of {variable.dtype}")
