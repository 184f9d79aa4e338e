"""Reads one NetCDF file as a dataset in memory; runs in a process of its own, which a damaged file may end.

Variables that are large are left to `read_block`. Times that cannot be decoded keep their numbers. Imports netCDF4
when a file is opened.
"""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.backends import NetCDF4DataStore

from atlas.errors import InvalidValueError
from atlas.format.names import check_name
from atlas.ingest.classic_netcdf import check_length
from atlas.ingest.provenance import Fingerprint, fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LARGE_BYTES", "LargeVariable", "ReadFile", "ReadOptions", "read_block", "read_file"]

LARGE_BYTES = 64 << 20
"""Bytes from which a variable is read block by block."""


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

    dims: tuple[str, ...]
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

    ds: xr.Dataset
    """The dataset without the large variables; coordinates among those are named in `coords`."""
    order: list[str]
    """Names of all variables, in their order."""
    coords: frozenset[str]
    """Names of the coordinates."""
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
    with _opened(path) as (file, skipped):
        unsupported = _check_variables(path, file, skipped, options)
        dims, variables = frozenset(file.dimensions), frozenset((*file.variables, *skipped))
        while True:
            try:
                loaded, large, names, coords = _load(file, (*options.drop, *unsupported), kept_raw, options)
                break
            except _UndecodedError as error:
                kept_raw[error.variable] = error.reason
    loaded.encoding["source"] = str(path.absolute())
    after = fingerprint(path, digest=True)
    _check_unchanged(path, before, after)
    return ReadFile(loaded, names, coords, large, after, dims, variables, unsupported, kept_raw)


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
    with _opened(path) as (file, _), _decoded(file, options.drop, kept_raw, options) as ds:
        found = ds.variables[variable]
        try:
            cells: NDArray[Any] = found[key].to_numpy()
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable(variable, error) from error
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


class _UndecodedError(Exception):
    """Times of a variable cannot be decoded."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(variable, reason)
        self.variable, self.reason = variable, reason


def _load(
    file: Any, leave_out: tuple[str, ...], kept_raw: Collection[str], options: ReadOptions
) -> tuple[xr.Dataset, dict[str, LargeVariable], list[str], frozenset[str]]:
    """Read all variables of a file but the large ones, which are described.

    Raises `_UndecodedError` for times that cannot be decoded, and else what names the variable that cannot be read.
    """
    large: dict[str, LargeVariable] = {}
    with _decoded(file, leave_out, kept_raw, options) as ds:
        names, coords = [str(name) for name in ds.variables], frozenset(map(str, ds.coords))
        for name, variable in zip(names, ds.variables.values(), strict=True):
            is_large = variable.nbytes > options.large_bytes and name not in ds.indexes
            are_times = not options.raw and name not in kept_raw and _are_times(variable)
            try:
                if not is_large:
                    variable.load()
                elif are_times:
                    _check_times(variable, options.large_bytes)
            except MemoryError:
                raise
            except Exception as error:
                if are_times:
                    raise _UndecodedError(name, _one_line(error)) from error
                raise _unreadable(name, error) from error
            if is_large:
                dims, attrs, encoding = tuple(map(str, variable.dims)), dict(variable.attrs), dict(variable.encoding)
                large[name] = LargeVariable(dims, variable.shape, variable.dtype, attrs, encoding)
        loaded = ds.drop_vars(list(large))
        loaded.encoding = ds.encoding
        return loaded, large, names, coords


def _check_times(variable: xr.Variable, block_bytes: int) -> None:
    """Decode times block by block: what they become, and whether they can be, is known once all are."""
    rows = max(1, block_bytes * variable.shape[0] // variable.nbytes)
    for start in range(0, variable.shape[0], rows):
        found = variable[start : start + rows].to_numpy().dtype
        if found != variable.dtype:
            raise InvalidValueError(f"some are out of the range of {variable.dtype}")


def _unreadable(name: str, error: Exception) -> InvalidValueError:
    return InvalidValueError(
        f"variable {name!r} cannot be read: {_one_line(error)}; leave it out with drop=[{name!r}] (--drop {name} of "
        "the command)"
    )


@contextmanager
def _decoded(
    file: Any, leave_out: tuple[str, ...], kept_raw: Collection[str], options: ReadOptions
) -> Iterator[xr.Dataset]:
    """Yield the dataset in a file; the times `kept_raw` keep their numbers. Raises `_UndecodedError`."""
    with warnings.catch_warnings():
        # Archives are full of odd encodings, which xarray warns about; values that it cannot decode raise.
        warnings.simplefilter("ignore")
        decode_times = not options.raw and (dict.fromkeys(kept_raw, False) or True)
        try:
            ds = _dataset(file, leave_out, decode_times, options)
        except MemoryError:
            raise
        except Exception as error:  # xarray does not say which variable it is
            undecoded = None if options.raw else _find_undecoded(file, leave_out, kept_raw, options)
            if undecoded is not None:
                raise _UndecodedError(undecoded, _one_line(error)) from error
            for name in file.variables:
                others = tuple(other for other in file.variables if other != name)
                if name not in leave_out and not _opens(file, others, decode_times, options):
                    raise _unreadable(name, error) from error
            raise
        yield ds


def _dataset(file: Any, leave_out: tuple[str, ...], decode_times: object, options: ReadOptions) -> xr.Dataset:
    return xr.open_dataset(
        NetCDF4DataStore(file),  # type: ignore[no-untyped-call]
        mask_and_scale=not options.raw,
        decode_times=decode_times,  # type: ignore[arg-type]
        decode_timedelta=False,
        decode_coords=not options.raw,
        concat_characters=True,
        drop_variables=list(leave_out) or None,
        cache=False,
    )


def _opens(file: Any, leave_out: tuple[str, ...], decode_times: object, options: ReadOptions) -> bool:
    try:
        _dataset(file, leave_out, decode_times, options)
    except Exception:  # noqa: BLE001 - what is wrong in a file leads to errors of any type
        return False
    return True


def _find_undecoded(
    file: Any, leave_out: tuple[str, ...], kept_raw: Collection[str], options: ReadOptions
) -> str | None:
    """Return the first variable of times that cannot be decoded, by decoding them one by one."""
    if not _opens(file, leave_out, decode_times=False, options=options):
        return None
    raw = _dataset(file, leave_out, decode_times=False, options=options).variables
    times = [str(name) for name, variable in raw.items() if _are_times(variable)]
    bounds = [raw[name].attrs.get("bounds") for name in times]  # they have the units of their times
    names = dict.fromkeys([*times, *(name for name in bounds if isinstance(name, str) and name in raw)])
    for name in names:
        if name not in kept_raw:
            chosen = {other: other == name for other in names}
            if not _opens(file, leave_out, chosen, options):
                return name
    return None


def _are_times(variable: xr.Variable) -> bool:
    """Return whether a variable has, or had before it was decoded, units of times, as xarray knows them."""
    units = (found.get("units") for found in (variable.attrs, variable.encoding))
    return any(isinstance(text, str) and "since" in text for text in units)


def _one_line(error: Exception) -> str:
    """Return what an error says, without advice on arguments of xarray."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(" Try opening your dataset with decode_times")[0].removesuffix(".")
