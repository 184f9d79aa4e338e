"""What to read: the files that folders, paths and patterns name, and what is passed over. Reads names."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from atlas.errors import AtlasError, InvalidNameError, InvalidTypeError, InvalidValueError, MissingExtraError
from atlas.format.names import check_name
from atlas.runtime.installation import missing_extra
from atlas.storage.urls import is_url, list_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atlas.ingest.options import Paths

__all__ = [
    "SUFFIXES",
    "FileSource",
    "Found",
    "Search",
    "check_engine",
    "check_netcdf",
    "check_zarr",
    "find_files",
    "path_text",
]

SUFFIXES = frozenset({".nc", ".nc3", ".nc4", ".cdf", ".netcdf"})
"""Suffixes of NetCDF files, compared in lower case."""
_ZARR_FILES = frozenset({"zarr.json", ".zgroup", ".zmetadata"})
"""Files that tell a Zarr store from other folders."""


@dataclass(frozen=True, slots=True)
class Search:
    """How files are found and named, see `find_files`."""

    names: Callable[[Path], str] | None = None
    """Returns the name of a dataset."""
    pattern: str | None = None
    """A shell pattern for the names of files in folders."""
    follow_links: bool = False
    """Whether folders that links lead to are searched."""
    engine: str | None = None
    """The engine of xarray that reads all files."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file, or a folder that is one Zarr store, that becomes a dataset."""

    path: Path
    """Where it is."""
    name: str
    """Name of the dataset."""
    reason: str | None = None
    """Why it cannot become one."""
    engine: str | None = None
    """The engine of xarray that reads it; None for NetCDF."""
    url: str | None = None
    """Where it is to be fetched from; `path` is then its name, and once it was fetched where it is."""

    @property
    def origin(self) -> str:
        """What the report calls it."""
        return path_text(self.path) if self.url is None else self.url


@dataclass(slots=True)
class Found:
    """What was found."""

    files: list[FileSource] = field(default_factory=list)
    """Files, in the order in which they were named; those of a folder are sorted."""
    others: list[str] = field(default_factory=list)
    """Files that are passed over, as their suffix is none of NetCDF or no pattern matches."""
    links: list[str] = field(default_factory=list)
    """Links to folders that are not followed."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Folders that could not be read, and why."""


def check_netcdf() -> None:
    """Raise `MissingExtraError` where netCDF4 or h5py is not installed."""
    for package in ("netCDF4", "h5py"):
        if importlib.util.find_spec(package) is None:
            raise missing_extra("netcdf", f"NetCDF files need {package}", package)


def check_zarr() -> None:
    """Raise `MissingExtraError` where zarr is not installed."""
    if importlib.util.find_spec("zarr") is None:
        raise missing_extra("zarr", "Zarr stores need zarr", "zarr")


def check_engine(engine: str | None) -> None:
    """Raise `InvalidValueError` for an engine that xarray does not have, `InvalidTypeError` for what is no name."""
    if engine is None:
        return
    if not isinstance(engine, str):
        raise InvalidTypeError(f"engine is the name of an engine of xarray, not {type(engine).__name__} {engine!r}")
    import xarray as xr  # noqa: PLC0415 - takes a while, and the command imports this module for its help

    installed = sorted(xr.backends.list_engines())
    if engine not in installed:
        raise InvalidValueError(
            f"xarray has no engine {engine!r}; installed are {', '.join(installed)}. Install the package that brings "
            "it, or choose one of these"
        )


def find_files(
    sources: Paths,
    *,
    pattern: str | None = None,
    follow_links: bool = False,
    name_of: Callable[[Path], str] | None = None,
    engine: str | None = None,
) -> Found:
    """Return the files that sources name: folders with what is below them, files, and patterns such as `data/*.nc`.

    A folder that is a Zarr store counts as a file. `engine` reads all of them. A URL names a file, or with "/" at its
    end all files below it, which are listed.

    `name_of` gets the path of a file below its folder, or its name where it was named itself, without the suffix; else
    "." stands for "/" in names. `pattern` chooses files of folders by their name, in place of the suffixes of NetCDF.

    Raises `InvalidValueError` where a source is neither a folder nor a file and matches none, or xarray does not have
    the engine, and `MissingExtraError` where netCDF4 is needed and not installed.
    """
    check_engine(engine)
    if not isinstance(pattern, str | None):
        raise InvalidTypeError(
            f"pattern is a shell pattern such as 'wrfout_*', not {type(pattern).__name__} {pattern!r}"
        )
    if not isinstance(follow_links, bool):
        raise InvalidTypeError(f"follow_links is True or False, not {type(follow_links).__name__} {follow_links!r}")
    if name_of is not None and not callable(name_of):
        raise InvalidTypeError(f"names is a function of a path, not {type(name_of).__name__} {name_of!r}")
    try:
        given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    except TypeError as error:
        raise InvalidTypeError(
            f"sources are paths or patterns, or a sequence of them, not {type(sources).__name__} {sources!r}"
        ) from error
    name_of = name_of or _with_dots
    found, below, stores = Found(), dict[Path | str, Path](), set[Path | str]()
    chosen = None if pattern is None else re.compile(translate(pattern)).match
    for source in given:
        if is_url(source):
            below |= {url: inner for url, inner in _behind(str(source), chosen, found) if url not in below}
            continue
        for path in _named(source):
            if path.is_dir() and not _is_zarr(path):
                for file, is_store in _below(path, chosen, found, follow_links=follow_links):
                    below.setdefault(file, file.relative_to(path))
                    stores |= {file} if is_store else set()
            else:
                below.setdefault(path, Path(path.name or path.absolute().name))
                stores |= {path} if path.is_dir() else set()
    names = {path: name_of(_without_suffix(inner, is_store=path in stores)) for path, inner in below.items()}
    shown = {path: str(name).encode("utf-8", "backslashreplace").decode() for path, name in names.items()}
    clashes = _clashes(shown)
    missing = None
    if stores and engine is None:
        try:
            check_zarr()
        except MissingExtraError as error:
            missing = str(error)
    for where, name in names.items():
        reason = _refusal(where, name) or clashes.get(where) or (missing if where in stores else None)
        engine_of = engine or ("zarr" if where in stores else None)
        url, file = (where, Path(below[where].name)) if isinstance(where, str) else (None, where)
        found.files.append(FileSource(file, shown[where], reason, engine_of, url))
    if engine is None and len(stores) < max(len(found.files), 1):
        check_netcdf()
    # Sources may overlap.
    found.others, found.links = list(dict.fromkeys(found.others)), list(dict.fromkeys(found.links))
    found.unreadable = list(dict.fromkeys(found.unreadable))
    return found


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _ZARR_FILES)


def _without_suffix(path: Path, *, is_store: bool) -> Path:
    """Return a path without its suffix; that of a folder may be part of a name, such as run1.5."""
    return path.with_suffix("") if not is_store or path.suffix.lower() == ".zarr" else path


def _with_dots(path: Path) -> str:
    return ".".join(path.parts)


def _named(source: object) -> list[Path]:
    """Return the folder or file that a source names, or those that match it."""
    if not isinstance(source, str | os.PathLike):
        raise InvalidTypeError(f"a source is a path or a pattern, not {type(source).__name__} {source!r}")
    path = Path(source).expanduser()
    if path.exists():
        return [path]
    matches = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - a pattern may be absolute
    if not matches:
        raise InvalidValueError(f"{str(source)!r} is neither a folder nor a file, and matches none")
    return matches


def _behind(url: str, chosen: Callable[[str], object] | None, found: Found) -> list[tuple[str, Path]]:
    """Return the URLs of a file, or of those below it, each with its path below that, and note what is passed over."""
    if not url.endswith("/"):
        return [(url, Path(unquote(url.rpartition("/")[2])))]
    try:
        urls = list_urls(url)
    except (MissingExtraError, InvalidValueError):
        raise
    except (AtlasError, OSError) as error:
        found.unreadable.append((url, str(error)))
        return []
    files = []
    for one in urls:
        inner = Path(unquote(one).removeprefix(unquote(url)))
        if _is_wanted(inner, chosen):
            files.append((one, inner))
        else:
            found.others.append(one)
    return files


def _is_wanted(path: Path, chosen: Callable[[str], object] | None, *, is_store: bool = False) -> bool:
    """Return whether a file of a folder is a source: its pattern decides, else its suffix and that it is a store."""
    return bool(chosen(path.name)) if chosen else is_store or path.suffix.lower() in SUFFIXES


def _below(
    folder: Path, chosen: Callable[[str], object] | None, found: Found, *, follow_links: bool
) -> list[tuple[Path, bool]]:
    """Return the files below a folder, sorted, each with whether it is a Zarr store, and note what is passed over."""
    files = []
    for path, names in _folders(folder, found, follow_links=follow_links):
        is_store = not _ZARR_FILES.isdisjoint(names)
        for file in [path] if is_store else [path / name for name in names]:
            if _is_wanted(file, chosen, is_store=is_store):
                files.append((file, is_store))
            else:
                found.others.append(path_text(file))
    return sorted(files)


def _folders(folder: Path, found: Found, *, follow_links: bool) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, each with the names of its files, and note what is passed over.

    No folder comes twice. Links are followed last, so that one has its own path rather than that of a link. What is
    below a Zarr store belongs to it.
    """
    waiting, searched = deque([folder]), set[str]()

    def note(error: OSError) -> None:
        found.unreadable.append((path_text(Path(error.filename)), error.strerror or str(error)))

    while waiting:
        top = waiting.popleft()
        for root, folders, names in os.walk(top, onerror=note):
            path = Path(root)
            if follow_links:
                real = os.path.realpath(root)
                if real in searched:
                    folders.clear()
                    if path == top:
                        found.links.append(path_text(path))
                    continue
                searched.add(real)
            if not _ZARR_FILES.isdisjoint(names):
                folders.clear()
            folders.sort()
            names.sort()
            links = [path / name for name in folders if (path / name).is_symlink()]
            if follow_links:
                waiting.extend(links)
            else:
                found.links += map(path_text, links)
            yield path, names


def _clashes(names: dict[Path | str, str]) -> dict[Path | str, str]:
    """Return the reason for each file that shares its dataset name with another; none of them is stored."""
    by_name = defaultdict(list)
    for path, name in names.items():
        by_name[name].append(path)
    reasons = {}
    for name, paths in by_name.items():
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(_text(other) for other in paths if other != path)
            reasons[path] = f"{others} would also be dataset {name!r}; rename all but one, or choose other names"
    return reasons


def _refusal(path: Path | str, name: object) -> str | None:
    """Return why a file cannot become a dataset of that name."""
    try:
        if isinstance(path, Path):
            os.fsencode(path.absolute()).decode()
    except UnicodeDecodeError:
        return "its path is not valid UTF-8; rename the file or its folder"
    try:
        check_name("dataset", name)
    except (InvalidNameError, InvalidTypeError) as error:
        return str(error)
    return None


def _text(path: Path | str) -> str:
    return path if isinstance(path, str) else path_text(path)


def path_text(path: Path) -> str:
    """Return a path as text, with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
