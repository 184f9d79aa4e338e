"""Reads one source by an engine of xarray; runs in a process of its own, which the engine may end.

The result is that of `atlas.ingest.reading`: variables that are large are left to `read_engine_block`, times that
cannot be decoded keep their numbers. What an engine keeps in encodings that has no text, such as a codec object of
zarr, is left out.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from atlas.errors import InvalidValueError
from atlas.format.names import check_name
from atlas.ingest.classic_netcdf import check_length
from atlas.ingest.provenance import fingerprint
from atlas.ingest.reading import LargeVariable, ReadFile
from atlas.xarray.encoding_record import encode_encoding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from atlas.ingest.provenance import Fingerprint
    from atlas.ingest.reading import ReadOptions

__all__ = ["read_engine_block", "read_with_engine"]


def read_with_engine(engine: str, path: Path, options: ReadOptions) -> ReadFile:
    """Read a source. Raises `InvalidValueError` for one that cannot be stored, and what the engine raises."""
    before = fingerprint(path, digest=False)
    if path.is_file():
        check_length(path)
    source = _Source(engine, path, options)
    source.check_groups()
    dims, variables, unsupported = source.describe()
    kept_raw: dict[str, str] = {}
    while True:
        try:
            loaded, large, names, coords = _load(source, (*options.drop, *unsupported), kept_raw)
            break
        except _UndecodedError as error:
            kept_raw[error.variable] = error.reason
    loaded.encoding["source"] = str(path.absolute())
    after = fingerprint(path, digest=True)
    _check_unchanged(path, before, after)
    return ReadFile(loaded, names, coords, large, after, dims, variables, unsupported, kept_raw)


def read_engine_block(
    engine: str,
    path: Path,
    options: ReadOptions,
    read: Fingerprint,
    kept_raw: tuple[str, ...],
    variable: str,
    key: tuple[slice, ...],
) -> NDArray[Any]:
    """Read a block of a variable, decoded as `read_with_engine` says, which gave `read` and left `options.drop` out.

    Raises `InvalidValueError` where the source has been changed since.
    """
    with _Source(engine, path, options).decoded(options.drop, kept_raw) as ds:
        try:
            cells: NDArray[Any] = ds.variables[variable][key].to_numpy()
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable(variable, error) from error
    _check_unchanged(path, read, fingerprint(path, digest=False))
    return cells


def _check_unchanged(path: Path, before: Fingerprint, after: Fingerprint) -> None:
    if not before.is_unchanged(after):
        raise InvalidValueError(f"{path.name} was changed while it was read; add it again once it is whole")


class _UndecodedError(Exception):
    """Times of a variable cannot be decoded."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(variable, reason)
        self.variable, self.reason = variable, reason


class _Source:
    """What an engine opens."""

    def __init__(self, engine: str, path: Path, options: ReadOptions) -> None:
        self.options = options
        self._engine, self._path = engine, path
        self._entrypoint = xr.backends.list_engines()[engine]

    @contextmanager
    def opened(
        self, leave_out: Collection[str], decode_times: object = True, *, raw: bool = False
    ) -> Iterator[xr.Dataset]:
        """Open it; `raw` decodes nothing. Raises what the engine raises."""
        with warnings.catch_warnings():
            # Archives are full of odd encodings, which xarray warns about; values that it cannot decode raise.
            warnings.simplefilter("ignore")
            arguments = self._arguments(decode_times, raw=raw or self.options.raw)
            left_out = list(leave_out) or None
            ds = xr.open_dataset(self._path, engine=self._engine, drop_variables=left_out, cache=False, **arguments)
            with ds:
                yield ds

    def _arguments(self, decode_times: object, *, raw: bool) -> dict[str, Any]:
        """Return those of the arguments below that the engine takes: one of others need not know any."""
        arguments = {
            "mask_and_scale": not raw,
            "decode_times": not raw and decode_times,
            "decode_timedelta": False,
            "decode_coords": not raw,
            "concat_characters": True,
            "indexpath": "",  # else cfgrib writes an index beside each file
        }
        taken = self._entrypoint.open_dataset_parameters or ()
        return {name: value for name, value in arguments.items() if name in taken}

    def opens(self, leave_out: Collection[str], decode_times: object = True, *, raw: bool = False) -> bool:
        """Return whether it can be opened like that."""
        try:
            with self.opened(leave_out, decode_times, raw=raw):
                return True
        except Exception:  # noqa: BLE001 - what is wrong in a file leads to errors of any type
            return False

    @contextmanager
    def decoded(self, leave_out: Collection[str], kept_raw: Collection[str]) -> Iterator[xr.Dataset]:
        """Open it; the times `kept_raw` keep their numbers. Raises `_UndecodedError`, or names what cannot be read."""
        decode_times = dict.fromkeys(kept_raw, False) or True
        with ExitStack() as stack:
            try:
                ds = stack.enter_context(self.opened(leave_out, decode_times))
            except MemoryError:
                raise
            except Exception as error:  # xarray does not say which variable it is
                self._raise_by_variable(error, leave_out, kept_raw, decode_times)
                raise
            yield ds

    def _raise_by_variable(
        self, error: Exception, leave_out: Collection[str], kept_raw: Collection[str], decode_times: object
    ) -> None:
        """Raise for the variable that an error is of; return where the source cannot be opened whatever is left out."""
        if not self.opens(leave_out, raw=True):
            return
        with self.opened(leave_out, raw=True) as ds:
            variables = {str(name): dict(variable.attrs) for name, variable in ds.variables.items()}
        if not self.options.raw and self.opens(leave_out, decode_times=False):
            times = [name for name, attrs in variables.items() if _has_units_of_times(attrs)]
            bounds = [variables[name].get("bounds") for name in times]  # they have the units of their times
            candidates = dict.fromkeys([*times, *(name for name in bounds if name in variables)])
            for name in candidates:
                chosen = {other: other == name for other in candidates}
                if name not in kept_raw and not self.opens(leave_out, chosen):
                    raise _UndecodedError(name, _one_line(error)) from error
        for name in variables:
            others = [*leave_out, *(other for other in variables if other != name)]
            if not self.opens(others, decode_times):
                raise _unreadable(name, error) from error

    def check_groups(self) -> None:
        """Raise `InvalidValueError` for a source with groups."""
        if type(self._entrypoint).open_groups_as_dict is BackendEntrypoint.open_groups_as_dict:
            return  # an engine that knows no groups
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = self._arguments(decode_times=False, raw=True)
            left_out = self.options.drop or None
            found = self._entrypoint.open_groups_as_dict(self._path, drop_variables=left_out, **arguments)
        for ds in found.values():
            ds.close()
        groups = [name.strip("/") for name in found if name.strip("/")]
        if groups:
            raise InvalidValueError(
                f"{self._path.name} has the group{'s' if len(groups) > 1 else ''} {', '.join(groups)}; only sources "
                "whose variables are all in the root can be stored. Write each group to a file of its own first: "
                f"xarray.open_dataset({self._path.name!r}, engine={self._engine!r}, group={groups[0]!r}).to_netcdf(...)"
            )

    def describe(self) -> tuple[frozenset[str], frozenset[str], dict[str, str]]:
        """Return the names of dimensions, those of variables, and which variables are not stored, and why.

        Raises `InvalidValueError` where there are any of these and they are not to be dropped.
        """
        drop = self.options.drop
        with self.opened(() if self.opens((), raw=True) else drop, raw=True) as ds:
            variables = {str(name): variable.dtype for name, variable in ds.variables.items()}
            dims = frozenset(map(str, ds.dims))
        found = {name: _unsupported(name, dtype) for name, dtype in variables.items() if name not in drop}
        unsupported = {name: reason for name, reason in found.items() if reason is not None}
        if unsupported and not self.options.drop_unsupported:
            name, reason = next(iter(unsupported.items()))
            raise InvalidValueError(
                f"variable {name!r} {reason}; leave it out with drop=[{name!r}] (--drop {name} of the command), or all "
                "such with on_unsupported='drop' (--on-unsupported drop)"
            )
        return dims, frozenset(variables), unsupported


def _unsupported(name: str, dtype: np.dtype[Any]) -> str | None:
    """Return why a variable is not stored."""
    if dtype.kind == "V":
        return f"is of the compound dtype {dtype}, and compound dtypes are not stored"
    try:
        check_name("array", name)
    except ValueError as error:
        return f"has a name that no array may have: {error}"
    return None


def _load(
    source: _Source, leave_out: Collection[str], kept_raw: Collection[str]
) -> tuple[xr.Dataset, dict[str, LargeVariable], list[str], frozenset[str]]:
    """Read all variables of a source but the large ones, which are described.

    Raises `_UndecodedError` for times that cannot be decoded, and else what names the variable that cannot be read.
    """
    large: dict[str, LargeVariable] = {}
    with source.decoded(leave_out, kept_raw) as ds:
        names, coords = [str(name) for name in ds.variables], frozenset(map(str, ds.coords))
        for name, variable in zip(names, ds.variables.values(), strict=True):
            _, lost = encode_encoding(variable.encoding, None)
            for key in lost:
                del variable.encoding[key]
            is_large = variable.nbytes > source.options.large_bytes and name not in ds.indexes
            are_times = name not in kept_raw and _has_units_of_times({**variable.attrs, **variable.encoding})
            try:
                if not is_large:
                    variable.load()
                elif are_times and not source.options.raw:
                    _check_times(variable, source.options.large_bytes)
            except MemoryError:
                raise
            except Exception as error:
                if are_times and not source.options.raw:
                    raise _UndecodedError(name, _one_line(error)) from error
                raise _unreadable(name, error) from error
            if is_large:
                dims, attrs, encoding = tuple(map(str, variable.dims)), dict(variable.attrs), dict(variable.encoding)
                large[name] = LargeVariable(dims, variable.shape, variable.dtype, attrs, encoding)
        loaded = ds.drop_vars(list(large))
        _, lost = encode_encoding(ds.encoding, None)
        loaded.encoding = {key: value for key, value in ds.encoding.items() if key not in lost}
        return loaded, large, names, coords


def _check_times(variable: xr.Variable, block_bytes: int) -> None:
    """Decode times block by block: what they become, and whether they can be, is known once all are."""
    rows = max(1, block_bytes * variable.shape[0] // variable.nbytes)
    for start in range(0, variable.shape[0], rows):
        found = variable[start : start + rows].to_numpy().dtype
        if found != variable.dtype:
            raise InvalidValueError(f"some are out of the range of {variable.dtype}")


def _has_units_of_times(attrs: Mapping[Any, Any]) -> bool:
    units = attrs.get("units")
    return isinstance(units, str) and "since" in units


def _unreadable(name: str, error: Exception) -> InvalidValueError:
    return InvalidValueError(
        f"variable {name!r} cannot be read: {_one_line(error)}; leave it out with drop=[{name!r}] (--drop {name} of "
        "the command)"
    )


def _one_line(error: Exception) -> str:
    """Return what an error says, without advice on arguments of xarray."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(" Try opening your dataset with decode_times")[0].removesuffix(".")
