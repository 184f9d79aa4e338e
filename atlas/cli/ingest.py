"""A folder of NetCDF files into a store, one dataset a file; what cannot be stored is named and left out.

A file is stored whole or not at all: one with groups, or of a name that another file shares, is not. Nothing is on disk
before the one flush at the end, or at an interruption.
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
from atlas.cli.layout import count_text
from atlas.errors import InvalidTypeError, OutOfRangeError, StorageError, UnsupportedDtypeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SUFFIXES", "Outcome", "Reading", "dataset_name", "find_files", "ingest"]

SUFFIXES = frozenset({".nc", ".nc3", ".nc4", ".cdf", ".netcdf"})
"""What a file name ends in to be taken, in any case."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read."""

    separator: str
    """What stands for the `/` of a path in the name of a dataset."""
    chunks: Mapping[str, int]
    """Chunk lengths by dimension."""
    drop: Sequence[str]
    """Variables to leave out."""
    raw: bool
    """Whether values stay packed and times numbers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files."""

    stored: int
    """Files that are datasets now."""
    present: int
    """Files whose dataset had been in the store before."""
    failed: int
    """Files that could not be stored."""
    interrupted: bool
    """Whether the user stopped it before the last file."""
    lost: bool = False
    """Whether the user stopped it once more, while it was written, so that nothing of it was stored."""


def find_files(folder: Path) -> list[Path]:
    """Return the NetCDF files in `folder` and below, sorted; links to folders are not followed."""
    return sorted(
        Path(root) / name
        for root, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - names, not paths
    )


def dataset_name(folder: Path, path: Path, separator: str) -> str:
    """Return the path relative to `folder`, without its suffix, `/` replaced by `separator`."""
    return separator.join(path.relative_to(folder).with_suffix("").parts)


def ingest(store: Atlas, folder: Path, files: Sequence[Path], reading: Reading) -> Outcome:
    """Add `files` to `store` and flush.

    Raises what `Atlas.flush` raises, and `StorageError` where the place of the store fails.
    """
    begun = store.describe()
    before = set(store.list_datasets())
    names = {path: dataset_name(folder, path, reading.separator) for path in files}
    clashes = _clashes(folder, names)
    seen = _Seen(set(), set())
    stored = present = failed = 0
    interrupted = lost = False
    # No bar where nobody watches.
    with tqdm(files, unit="file", disable=None, leave=False, dynamic_ncols=True) as bar:
        try:
            for path in bar:
                if path not in clashes and names[path] in before:
                    present += 1
                    continue
                reason = clashes.get(path) or _add(store, path, names[path], reading, seen)
                if reason is None:
                    stored += 1
                else:
                    failed += 1
                    _say(f"not stored: {_path_text(path)}: {reason}")
        except KeyboardInterrupt:
            interrupted = True
    try:
        store.flush()
    except KeyboardInterrupt:
        # It may have come when the commit was made already.
        lost = Atlas.open(begun.place).describe().version == begun.version
    if present:
        _say(f"{count_text(present, 'file')} left alone, whose datasets are there already")
    if not interrupted and not lost:
        _warn_of_needless(reading, seen)
    return Outcome(stored, present, failed, interrupted, lost)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the files that could be read hold."""

    dims: set[str]
    """Names of dimensions."""
    variables: set[str]
    """Names of variables, also of those left out."""


def _clashes(folder: Path, names: Mapping[Path, str]) -> dict[Path, str]:
    """Return why files whose names are alike are not stored: none of them has more right to the name."""
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
            reasons[path] = f"{others} would be dataset {name!r} too; {remedy}"
    return reasons


def _warn_of_needless(reading: Reading, seen: _Seen) -> None:
    """Tell of options that named nothing in any file; of none where no file was read."""
    if not seen.dims and not seen.variables:
        return
    for dim, length in reading.chunks.items():
        if dim not in seen.dims:
            _say(f"Warning: --chunk {dim}={length} did nothing: no file read has a dimension {dim!r}")
    for name in reading.drop:
        if name not in seen.variables:
            _say(f"Warning: --drop {name} did nothing: no file read has a variable {name!r}")


def _path_text(path: Path) -> str:
    """Return a path for people; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _say(message: str) -> None:
    with tqdm.external_write_mode():
        click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)


def _add(store: Atlas, path: Path, name: str, reading: Reading, seen: _Seen) -> str | None:
    """Add one file; return why it could not be added."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return "its name, or that of a folder it is in, is no UTF-8 text; rename it"
    try:
        contents = atlas.xarray.inspect_netcdf(path)
        seen.dims.update(contents.dims)
        seen.variables.update(contents.variables)
        with atlas.xarray.open_netcdf(path, chunks=reading.chunks, drop=reading.drop, raw=reading.raw) as ds:
            store.add_xr_dataset(ds, name)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - files are damaged in more ways than libraries have errors for
        return _reason(error, raw=reading.raw)
    return None


def _reason(error: Exception, *, raw: bool) -> str:
    """Return one line; where values are what does not fit, with the options that help."""
    text = " ".join(str(error).split()) or type(error).__name__
    # What xarray advises when it cannot decode times is for those who call it themselves.
    text, undecoded, _ = text.partition(" Try opening your dataset with decode_times")
    if not (undecoded or isinstance(error, InvalidTypeError | OutOfRangeError | UnsupportedDtypeError)):
        return text
    remedy = "leave the variable out with --drop NAME"
    if not raw:
        remedy = "try --raw, which stores values as they lie in the file, or " + remedy
    return f"{text.removesuffix('.')}; {remedy}"
