"""Reads one file; runs in a process of its own, which a damaged file may end.

Variables that are large are left to `read_block`. Dates that cannot be decoded keep their numbers.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import xarray as xr

from atlas.errors import InvalidValueError
from atlas.format.names import check_name
from atlas.ingest.classic_netcdf import check_length
from atlas.ingest.decoding import UndecodedError, UnreadableError, are_times, decode, unify_missing
from atlas.ingest.engines import open_by_engine
from atlas.ingest.hidden_contents import hides_nothing
from atlas.ingest.netcdf_file import open_netcdf
from atlas.ingest.plain_netcdf import open_plain
from atlas.ingest.provenance import Fingerprint, fingerprint
from atlas.xarray import Contents, LoadedVariable

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from atlas.ingest.open_files import FileVariable, OpenFile

__all__ = ["LARGE_BYTES", "LargeVariable", "ReadFile", "ReadOptions", "read_block", "read_file"]

LARGE_BYTES = 64 << 20
"""Bytes from which a variable is read block by block."""
_SMALL_BYTES = 1 << 20
"""Bytes of a file that is read at once."""
_MOST_NAMES = 4096
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
    keep_undecoded: bool = False
    """Whether variables that cannot be decoded keep their cells; else they fail the file."""
    flatten: bool = False
    """Whether what is in groups counts as in the root; else groups fail the file."""
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
    untouched: dict[str, str] = field(default_factory=dict)
    """Others that could not be decoded, and why."""
    lost_attributes: dict[str, str] = field(default_factory=dict)
    """Attributes that could not be read, those of a variable after its name and a dot, and why."""


def read_file(path: Path, options: ReadOptions, engine: str | None = None, origin: str | None = None) -> ReadFile:
    """Read a file, by netCDF4 or an engine of xarray; `origin` is where it came from, if it is a copy.

    Raises `InvalidValueError` for one that cannot be stored, and what netCDF4 and xarray raise.
    """
    before, origin = fingerprint(path, digest=False), origin or str(path.absolute())
    data = path.read_bytes() if engine is None and before.size <= _SMALL_BYTES else None
    if data is not None:
        check_length(path.name, BytesIO(data))
    elif engine is None or path.is_file():
        with path.open("rb") as file:
            check_length(path.name, file)
    kept_raw: dict[str, str] = {}
    untouched: dict[str, str] = {}
    with _quiet(), _opened(path, engine, options, data) as file:
        unsupported = _check_variables(path, engine, file, options)
        while True:
            try:
                leave_out = {*options.drop, *unsupported}
                contents, large, order = _load(file, origin, leave_out, kept_raw, untouched, options)
                break
            except UndecodedError as error:
                kept_raw[error.variable] = error.reason
            except UnreadableError as error:
                if not options.keep_undecoded or error.variable in untouched:
                    raise
                untouched[error.variable] = error.reason
        dims, variables, lost = frozenset(file.dims), frozenset((*file.names, *unsupported)), file.lost_attributes
    after = fingerprint(path, digest=True, data=data)
    _check_unchanged(path, before, after)
    return ReadFile(
        contents,
        order,
        large,
        replace(after, path=origin),
        dims,
        variables,
        dropped=unsupported,
        kept_raw=kept_raw,
        untouched=untouched,
        lost_attributes=lost,
    )


def read_block(
    path: Path,
    options: ReadOptions,
    engine: str | None,
    read: Fingerprint,
    kept_raw: tuple[str, ...],
    untouched: tuple[str, ...],
    variable: str,
    key: tuple[slice, ...],
) -> NDArray[Any]:
    """Read a block of a variable, decoded as `read_file` says, which gave `read` and left `options.drop` out.

    Raises `InvalidValueError` where the file has been changed since.
    """
    with _quiet(), _opened(path, engine, options) as file:
        lazy = {name: file.open(name) for name in file.names if name not in options.drop}
        found = decode(lazy, {}, file.coords, (), kept_raw, untouched, raw=options.raw).variables[variable]
        assert isinstance(found, xr.Variable)  # a file that is opened for a block is not plain
        try:
            cells = unify_missing(found[key].to_numpy(), found)
        except MemoryError:
            raise
        except Exception as error:
            raise UnreadableError(variable, error, found.encoding) from error
    _check_unchanged(path, read, replace(fingerprint(path, digest=False), path=read.path))
    return cells


def _check_unchanged(path: Path, before: Fingerprint, after: Fingerprint) -> None:
    if not before.is_unchanged(after):
        raise InvalidValueError(f"{path.name} was changed while it was read; add it again once it is whole")


@contextmanager
def _opened(path: Path, engine: str | None, options: ReadOptions, data: bytes | None = None) -> Iterator[OpenFile]:
    """Open a file; `data` are the bytes of a small one."""
    if engine is not None:
        with open_by_engine(engine, path) as file:
            yield file
        return
    if data is not None and hides_nothing(data):
        with open_plain(path, data, options.large_bytes // _CELL_BYTES) as plain:
            if plain is not None:
                yield plain
                return
    with open_netcdf(path, flatten=options.flatten) as file:
        yield file


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings: xarray has one for each odd encoding, and raises what it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_variables(path: Path, engine: str | None, file: OpenFile, options: ReadOptions) -> dict[str, str]:
    """Return which variables are not stored, and why.

    Raises `InvalidValueError` where there are any and they are not to be dropped, and for a file with groups.
    """
    groups = file.groups
    if groups:
        by = "" if engine is None else f"engine={engine!r}, "
        flatten = "Take all as one dataset with groups='flatten' (--groups flatten), or w" if engine is None else "W"
        raise InvalidValueError(
            f"{path.name} has the group{'s' if len(groups) > 1 else ''} {', '.join(groups)}; only files whose "
            f"variables are all in the root can be stored. {flatten}rite each group to a file of its own first: "
            f"xarray.open_dataset({path.name!r}, {by}group={groups[0]!r}).to_netcdf(...)"
        )
    reasons = file.unsupported()
    found = {name: reasons.get(name) or _refused_name(name) for name in file.names} | reasons
    unsupported = {name: reason for name, reason in found.items() if reason is not None and name not in options.drop}
    if unsupported and not options.drop_unsupported:
        name, reason = next(iter(unsupported.items()))
        raise InvalidValueError(
            f"variable {name!r} {reason}; leave it out with drop=[{name!r}] (--drop {name} of the command), or all "
            "such with on_unsupported='drop' (--on-unsupported drop)"
        )
    return unsupported


@lru_cache(_MOST_NAMES)
def _refused_name(name: str) -> str | None:
    """Return why a variable of that name is not stored."""
    try:
        check_name("array", name)
    except ValueError as error:
        return f"has a name that no array may have: {error}"
    return None


def _load(
    file: OpenFile,
    origin: str,
    leave_out: Collection[str],
    kept_raw: Collection[str],
    untouched: Collection[str],
    options: ReadOptions,
) -> tuple[Contents, dict[str, LargeVariable], list[str]]:
    """Read all variables of a file but the large ones, which are described; with the names of all.

    Raises `UndecodedError` for dates that cannot be decoded, and else what names the variable that cannot be read.
    """
    read: dict[str, FileVariable] = {}
    in_memory = set[str]()
    for name in file.names:
        if name in leave_out:
            continue
        try:
            read[name] = variable = file.open(name)
            if _is_number(variable.dtype) and variable.size <= options.large_bytes // _CELL_BYTES:
                if isinstance(variable, xr.Variable):
                    variable.load()
                in_memory.add(name)
        except MemoryError:
            raise
        except Exception as error:
            raise UnreadableError(name, error) from error
        if "source" in variable.encoding:
            variable.encoding["source"] = origin
    decoded = decode(read, file.attrs, file.coords, in_memory, kept_raw, untouched, raw=options.raw)
    large: dict[str, LargeVariable] = {}
    variables: dict[str, FileVariable] = {}
    for name, variable in decoded.variables.items():
        is_large = variable.nbytes > options.large_bytes and variable.dims != (name,)
        if name in decoded.lazy:
            decodes_dates = not options.raw and name not in kept_raw and name not in untouched
            _read_cells(name, variable, options, is_large=is_large, decodes_dates=decodes_dates)
        if is_large:
            large[name] = LargeVariable(
                variable.dims, variable.shape, variable.dtype, variable.attrs, variable.encoding
            )
        else:
            variables[name] = variable
    encoding = file.encoding | {"source": origin}
    indexes = {name: variables[name].dtype for name in decoded.coords if decoded.variables[name].dims == (name,)}
    found = cast("dict[str, xr.Variable]", variables)
    return Contents(found, decoded.coords, indexes, decoded.attrs, encoding), large, list(decoded.variables)


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iuf" and dtype.isnative


def _read_cells(
    name: str, variable: FileVariable, options: ReadOptions, *, is_large: bool, decodes_dates: bool
) -> None:
    """Read the cells of a variable; of a large one only its dates, to know that they can be decoded.

    Raises `UndecodedError` for dates that cannot, and else what names the variable.
    """
    decodes_dates = decodes_dates and are_times(variable)
    try:
        if isinstance(variable, LoadedVariable):
            variable.data = unify_missing(variable.data, variable)
        elif not is_large:
            variable.data = unify_missing(variable.load().data, variable)
        elif decodes_dates:
            _check_times(variable, options.large_bytes)
    except MemoryError:
        raise
    except Exception as error:
        if decodes_dates:
            raise UndecodedError(name, error) from error
        raise UnreadableError(name, error, variable.encoding) from error


def _check_times(variable: xr.Variable, block_bytes: int) -> None:
    """Decode times block by block: what they become, and whether they can be, is known once all are."""
    rows = max(1, block_bytes * variable.shape[0] // variable.nbytes)
    for start in range(0, variable.shape[0], rows):
        found = variable[start : start + rows].to_numpy().dtype
        if found != variable.dtype:
            raise InvalidValueError(f"some are out of the range of {variable.dtype}")
