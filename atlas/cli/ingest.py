"""Adds a folder of NetCDF files to a store, one dataset per file; reports and skips files that it cannot store.

A file is stored whole or not at all. Files with groups, and files that would get the same dataset name, are skipped.
Nothing is on disk before the single flush, which comes at the end or when the user interrupts.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

import atlas.xarray
from atlas import Atlas
from atlas.cli.formatting import count_text
from atlas.errors import InvalidTypeError, OutOfRangeError, StorageError, UnsupportedDtypeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SUFFIXES", "Outcome", "ReadOptions", "dataset_name", "find_files", "ingest"]

SUFFIXES = frozenset({".nc", ".nc3", ".nc4", ".cdf", ".netcdf"})
"""Suffixes of NetCDF files, compared in lower case."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read the files."""

    separator: str
    """Text that replaces the `/` of a path in a dataset name."""
    chunks: Mapping[str, int]
    """Chunk lengths by dimension."""
    drop: Sequence[str]
    """Variables to leave out."""
    raw: bool
    """Whether to store packed values, missing values and times undecoded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many files were stored, skipped or refused, and whether the user interrupted."""

    stored: int
    """Files that were added as datasets."""
    present: int
    """Files skipped because the store already had their dataset."""
    failed: int
    """Files that could not be stored."""
    interrupted: bool
    """Whether the user interrupted before the last file."""
    lost: bool = False
    """Whether the user interrupted the flush, so that nothing was stored."""


def find_files(folder: Path) -> list[Path]:
    """Return the NetCDF files in `folder` and its subfolders, sorted; links to folders are not followed."""
    return sorted(
        Path(root) / name
        for root, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - names, not paths
    )


def dataset_name(folder: Path, path: Path, separator: str) -> str:
    """Return the path relative to `folder`, without its suffix, `/` replaced by `separator`."""
    return separator.join(path.relative_to(folder).with_suffix("").parts)


def ingest(store: Atlas, folder: Path, files: Sequence[Path], options: ReadOptions) -> Outcome:
    """Add `files` to `store` and flush.

    Raises what `Atlas.flush` raises, and `StorageError` where the storage of the store fails.
    """
    initial = store.version
    before = set(store.list_datasets())
    names = {path: dataset_name(folder, path, options.separator) for path in files}
    clashes = _name_clashes(folder, names)
    seen = _SeenNames(set(), set())
    stored = present = failed = 0
    interrupted = lost = False
    # `disable=None` shows the bar only in a terminal.
    with tqdm(files, unit="file", disable=None, leave=False, dynamic_ncols=True) as bar:
        try:
            for path in bar:
                if path not in clashes and names[path] in before:
                    present += 1
                    continue
                reason = clashes.get(path) or _add(store, path, names[path], options, seen)
                if reason is None:
                    stored += 1
                else:
                    failed += 1
                    _print_message(f"not stored: {_path_text(path)}: {reason}")
        except KeyboardInterrupt:
            interrupted = True
    try:
        store.flush()
    except KeyboardInterrupt:
        # The commit may have been made before the interrupt arrived.
        lost = Atlas.open(store.describe().location).version == initial
    if present:
        _print_message(f"{count_text(present, 'file')} skipped: already in the store")
    if not interrupted and not lost:
        _warn_of_unused_options(options, seen)
    return Outcome(stored, present, failed, interrupted, lost)


@dataclass(frozen=True, slots=True)
class _SeenNames:
    """Names in all the files that could be read."""

    dims: set[str]
    """Names of dimensions."""
    variables: set[str]
    """Names of variables, dropped ones included."""


def _name_clashes(folder: Path, names: Mapping[Path, str]) -> dict[Path, str]:
    """Return the reason for each file that shares its dataset name with another; none of them is stored."""
    by_name = defaultdict(list)
    for path, name in names.items():
        by_name[name].append(path)
    reasons = {}
    for name, paths in by_name.items():
        remedy = "rename all but one"
        if len({path.with_suffix("") for path in paths}) == len(paths):
            remedy = "choose another --separator, or " + remedy
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(_path_text(other.relative_to(folder)) for other in paths if other != path)
            reasons[path] = f"{others} would also be dataset {name!r}; {remedy}"
    return reasons


def _warn_of_unused_options(options: ReadOptions, seen: _SeenNames) -> None:
    """Warn about options that matched nothing in any file; say nothing if no file was read."""
    if not seen.dims and not seen.variables:
        return
    for dim, length in options.chunks.items():
        if dim not in seen.dims:
            _print_message(f"Warning: --chunk {dim}={length} had no effect: no file read has a dimension {dim!r}")
    for name in options.drop:
        if name not in seen.variables:
            _print_message(f"Warning: --drop {name} had no effect: no file read has a variable {name!r}")


def _path_text(path: Path) -> str:
    """Return a path as text, with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _print_message(message: str) -> None:
    with tqdm.external_write_mode():
        click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)


def _add(store: Atlas, path: Path, name: str, options: ReadOptions, seen: _SeenNames) -> str | None:
    """Add one file; return the reason if it could not be added, else None."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "its path is not valid UTF-8; rename the file or its folder"
    try:
        contents = atlas.xarray.inspect_netcdf(path)
        seen.dims.update(contents.dims)
        seen.variables.update(contents.variables)
        with atlas.xarray.open_netcdf(path, chunks=options.chunks, drop=options.drop, raw=options.raw) as ds:
            store.add_xr_dataset(ds, name)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged files raise errors of any type
        return _reason(error, raw=options.raw)
    return None


def _reason(error: Exception, *, raw: bool) -> str:
    """Return the error as one line, with the options that help if values are what cannot be stored."""
    text = " ".join(str(error).split()) or type(error).__name__
    # Cut off the advice of xarray on times: it is about arguments of xarray.
    text, undecoded, _ = text.partition(" Try opening your dataset with decode_times")
    if not (undecoded or isinstance(error, InvalidTypeError | OutOfRangeError | UnsupportedDtypeError)):
        return text
    remedy = "leave the variable out with --drop NAME"
    if not raw:
        remedy = "try --raw, which stores values undecoded, or " + remedy
    return f"{text.removesuffix('.')}; {remedy}"
