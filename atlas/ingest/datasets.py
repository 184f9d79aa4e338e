"""Sources that are xarray datasets of this process: taken one at a time, never listed. Reads no cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, cast

import xarray as xr

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.ingest.options import IngestOptions
from atlas.ingest.sources import Search

if TYPE_CHECKING:
    from collections.abc import Generator

    from atlas.ingest.options import Paths, Sources

__all__ = ["Elements", "check_pair", "split_sources"]

Elements: TypeAlias = Iterator[object]
"""What is to be pairs of a name and a dataset, see `check_pair`."""

_ACCEPTED = (
    "sources are paths or patterns, a mapping {name: ds} of xarray datasets, or pairs (name, ds) of them, also from an "
    "iterator"
)
_OF_FILES = ("drop", "raw", "on_unsupported", "resume", "workers", "seconds", "groups")
"""Options of reading files."""


def split_sources(
    sources: Sources, search: Search, options: IngestOptions
) -> tuple[Paths, None] | tuple[None, Elements]:
    """Return sources that are paths, or what gives pairs of a name and a dataset.

    Of an iterator the first element is taken to see which. What it raises is raised again when that element is due.

    Raises `InvalidTypeError` for what holds neither, and `InvalidValueError` for options of files beside datasets.
    """
    if isinstance(sources, str | os.PathLike):
        return sources, None
    if isinstance(sources, xr.Dataset | xr.DataArray | xr.DataTree) or not isinstance(sources, Iterable):
        raise InvalidTypeError(f"{_ACCEPTED}; got {type(sources).__name__}")
    if isinstance(sources, Mapping):
        _check_options(search, options)
        return None, iter(sources.items())
    elements: Elements = iter(sources)
    try:
        first = next(elements)
    except StopIteration:
        return [], None
    except Exception as error:  # noqa: BLE001 - of the caller's iterator
        return None, _raising(error)
    if isinstance(first, str | os.PathLike):
        return cast("Paths", chain((first,), elements)), None  # `find_files` checks each
    _check_options(search, options)
    check_pair(first)
    return None, _put_back(first, elements)


def _put_back(first: object, rest: Elements) -> Generator[object, None, None]:
    """Yield what was taken, and then the rest; unlike `chain`, keep no first dataset until the end."""
    yield first
    del first
    yield from rest


def _raising(error: Exception) -> Generator[object, None, None]:
    yield from ()
    raise error


def check_pair(element: object) -> tuple[str, xr.Dataset]:
    """Return an element as the pair that it is to be; `InvalidTypeError` for another."""
    match element:
        case (str() as name, xr.Dataset() as ds):
            return name, ds
        case (name, found):
            got = f"({name!r}, {type(found).__name__})"
        case _:
            got = type(element).__name__
    raise InvalidTypeError(f"{_ACCEPTED}; got {got}")


def _check_options(search: Search, options: IngestOptions) -> None:
    """Raise `InvalidValueError` for an option that is about files."""
    usual, usual_search = IngestOptions(), Search()
    given = [name for name in Search.__slots__ if getattr(search, name) != getattr(usual_search, name)]
    given += [name for name in _OF_FILES if getattr(options, name) != getattr(usual, name)]
    if given:
        told = ", ".join("timeout=" if name == "seconds" else f"{name}=" for name in given)
        raise InvalidValueError(f"the sources are datasets, which are added as they are: leave out {told}")
