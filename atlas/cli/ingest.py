"""A folder of NetCDF files into a store, one dataset a file; what cannot be stored is named and left out.

A file is stored whole or not at all. Nothing is on disk before the one flush at the end, or at an interruption.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from atlas.errors import StorageError
from atlas.interop.netcdf import open_netcdf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas import Atlas

__all__ = ["Outcome", "Reading", "dataset_name", "find_files", "ingest"]

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
    before = set(store.list_datasets())
    stored = present = failed = 0
    interrupted = False
    # No bar where nobody watches.
    with tqdm(files, unit="file", disable=None, leave=False, dynamic_ncols=True) as bar:
        try:
            for path in bar:
                name = dataset_name(folder, path, reading.separator)
                if name in before:
                    present += 1
                    _say(f"there already: {path} is dataset {name!r}")
                    continue
                reason = _add(store, path, name, reading)
                if reason is None:
                    stored += 1
                else:
                    failed += 1
                    _say(f"not stored: {path}: {reason}")
        except KeyboardInterrupt:
            interrupted = True
    store.flush()
    return Outcome(stored, present, failed, interrupted)


def _say(message: str) -> None:
    with tqdm.external_write_mode():
        click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)


def _add(store: Atlas, path: Path, name: str, reading: Reading) -> str | None:
    """Add one file; return why it could not be added."""
    try:
        with open_netcdf(path, chunks=reading.chunks, drop=reading.drop, raw=reading.raw) as ds:
            store.add_xr_dataset(ds, name)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - files are damaged in more ways than libraries have errors for
        return " ".join(str(error).split()) or type(error).__name__
    return None
