"""`python -m benchmarks.real_files FOLDER...`: what becomes of the NetCDF and HDF5 files of other people's packages.

A folder holds archives as `pip download` gets them, or folders, each of one package. All files in them are added to one
store. What is stored is compared with what xarray reads; of what failed, the table says why. Text forms (.cdl) are made
files by `ncgen`, where it is installed. Of HDF5 files the table names the variables that netCDF4 does not show.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import netCDF4
import numpy as np
import xarray as xr

from atlas import Atlas
from benchmarks.report import replace_between, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from atlas import SourceResult

__all__ = ["BEGIN", "END", "Outcome", "add_all", "collect", "lines", "main"]

BEGIN, END = "<!-- real files: written by --page -->", "<!-- end of real files -->"
SUFFIXES = (".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".ncdf", ".h5", ".hdf5", ".hdf", ".he5", ".cdl")
_KINDS = {b"CDF\x01": "NetCDF 3", b"CDF\x02": "NetCDF 3, 64-bit", b"CDF\x05": "NetCDF 3, CDF-5"}
_ADDED = ".added"
"""What the names of files are given, so that those that differ in their suffix alone become two datasets."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CLASSES = {
    getattr(h5py.h5t, name): name.lower()
    for name in "INTEGER FLOAT STRING BITFIELD OPAQUE COMPOUND REFERENCE ENUM VLEN ARRAY".split()  # noqa: SIM905
}
"""What HDF5 calls a kind of dtype."""
_SECONDS = 60.0
_NAMED = 3
"""Files that one row names; of more it names the first."""
_HIDDEN = "_nc4_non_coord_"
"""What netCDF4 leaves out of names: of variables named like a dimension that is not theirs."""
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    package: str
    """Name and version."""
    file: str
    """Path in the package."""
    kind: str
    """Its format."""
    became: str
    """"stored", "failed", "not made" of a text that is none, and what is wrong."""
    why: str = ""
    """Why it failed, and what of it is not shown."""


@dataclass(slots=True)
class _Collected:
    """Files in a folder, a subfolder for each package."""

    place: Path
    unmade: list[Outcome] = field(default_factory=list)
    """Texts of which no file could be made."""


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not Path(name).name.startswith("._")


def _package(path: Path) -> str:
    """The name and version that the name of an archive has."""
    stem = re.sub(r"\.(tar\.gz|tgz|zip|whl)$", "", path.name)
    return "-".join(stem.split("-")[:2]) if path.suffix == ".whl" else stem


def collect(folders: Iterable[Path], place: Path) -> _Collected:
    """Unpack or copy all files of a known suffix from archives and folders into a place, and make files of texts."""
    found = _Collected(place)
    for source in sorted(source for folder in folders for source in folder.iterdir()):
        package = place / _package(source)
        if source.is_dir():
            for path in filter(lambda path: path.is_file() and _is_wanted(path.name), source.rglob("*")):
                target = package / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        elif source.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(source) as archive:
                wanted = [member for member in archive.getmembers() if member.isfile() and _is_wanted(member.name)]
                archive.extractall(package, wanted, filter="data")
        elif source.suffix in {".whl", ".zip"}:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(package, [name for name in archive.namelist() if _is_wanted(name)])
    for path in sorted(place.rglob("*.cdl")):
        reason = _make(path)
        if reason is not None:
            found.unmade.append(Outcome(*_name(path, place), "CDL", "not made", reason))
        path.unlink()
    for path in [path for path in place.rglob("*") if path.is_file() and path.suffix != _ADDED]:
        path.rename(path.with_name(path.name + _ADDED))
    return found


def _make(text: Path) -> str | None:
    """Make a file of a text, and return why not."""
    ncgen = shutil.which("ncgen")
    if ncgen is None:
        return "ncgen is not installed"
    made = text.with_name(text.name + _ADDED)
    done = subprocess.run([ncgen, "-o", made, text.name], check=False, capture_output=True, text=True, cwd=text.parent)
    if done.returncode == 0 and made.exists():
        return None
    made.unlink(missing_ok=True)
    said = " ".join((done.stderr or done.stdout).split()).removeprefix("ncgen: ") or f"exit code {done.returncode}"
    return f"ncgen: {said.replace(text.name, 'FILE')[:100]}"


def _name(path: Path, place: Path) -> tuple[str, str]:
    """The package of a file and its path there, without the folder that all of an archive is in."""
    package, *parts = path.relative_to(place).with_name(path.name.removesuffix(_ADDED)).parts
    return package, "/".join(parts[1:] if parts[0].lower() == package.lower() else parts)


def add_all(found: _Collected, store: Path) -> list[Outcome]:
    """Add all files to a new store and return what became of each."""
    report = Atlas.create(store).add_many(
        found.place,
        names=lambda path: ":".join(path.parts),  # without that suffix
        pattern="*",
        on_error="skip",
        timeout=_SECONDS,
    )
    assert len(report.results) == report.sources == sum(path.is_file() for path in found.place.rglob("*"))
    outcomes = [*_outcomes(store, report.results, found.place), *found.unmade]
    return sorted(outcomes, key=lambda one: (one.package.lower(), Path(one.file).parts))


def _outcomes(store: Path, results: Iterable[SourceResult], place: Path) -> Iterator[Outcome]:
    """Look into the files again in a process of its own, which some of them end."""
    processes = ProcessPoolExecutor(1, get_context("spawn"))
    for result in results:
        try:
            yield processes.submit(_outcome, store, result, place).result()
        except BrokenProcessPool:
            processes = ProcessPoolExecutor(1, get_context("spawn"))
            name = _name(Path(result.source), place)
            yield Outcome(*name, _kind(Path(result.source)), result.status, _reason(result))
    processes.shutdown()


def _reason(result: SourceResult) -> str:
    """Why a file failed, in words that are the same for others."""
    path = Path(result.source)
    return (result.reason or "").replace(f"{path.parent}/", "").replace(path.name, "FILE").removesuffix(".")


def _outcome(store: Path, result: SourceResult, place: Path) -> Outcome:
    path = Path(result.source)
    package, file = _name(path, place)
    told = [] if result.reason is None else [_reason(result)]
    became: str = result.status
    if result.status == "stored":
        different = _difference(Atlas.open(store), result, path)
        if different is not None:
            became, told = "**stored, and other than xarray reads it**", [different]
        told += [f"{name} keeps its numbers: {reason}" for name, reason in result.kept_raw.items()]
    elif _reads(path):
        told.append("xarray reads it")
    unseen = [one for one in _unseen(path) if f"'{one.partition(' ')[0]}'" not in "".join(told)]
    if unseen:
        told.append(f"**netCDF4 does not show {', '.join(unseen)}**")
    return Outcome(package, file, _kind(path), became, "; ".join(told))


def _kind(path: Path) -> str:
    """What the bytes of a file say that it is."""
    held = path.read_bytes()
    if held.startswith(_HDF5):
        return "NetCDF 4" if b"_NCProperties" in held else "HDF5"
    return _KINDS.get(held[:4], "other" if held else "empty")


def _unseen(path: Path) -> list[str]:
    """The datasets in the root of an HDF5 file that netCDF4 does not show, with the kinds of their dtypes."""
    try:
        with h5py.File(path) as root:
            links = {name: root.get(name) for name in root}  # None of one that leads nowhere
            held = {
                name: _CLASSES.get(one.id.get_type().get_class(), "time")
                for name, one in links.items()
                if _is_variable(one)
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with netCDF4.Dataset(path) as file:
                shown = set(file.variables)
    except OSError:  # no HDF5, or none that can be opened
        return []
    return [f"{name} ({dtype})" for name, dtype in held.items() if name.removeprefix(_HIDDEN) not in shown]


def _is_variable(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and not item.attrs.get("NAME", b"").startswith(_NO_VARIABLE)


def _reads(path: Path) -> bool:
    """Whether xarray reads all of a file, which has no groups then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_dataset(path, engine="netcdf4", decode_timedelta=False) as ds:
                ds.load()
            with netCDF4.Dataset(path) as file:
                return not file.groups
    except Exception:  # noqa: BLE001 - damaged files raise errors of any type
        return False


def _difference(store: Atlas, result: SourceResult, path: Path) -> str | None:
    """Return in what a stored dataset differs from what xarray reads."""
    raw = dict.fromkeys(result.kept_raw, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_dataset(path, engine="netcdf4", decode_timedelta=False, decode_times=raw or True) as ds:
            wanted = ds.load()
        found = store.to_xarray(result.dataset).load()
    names = [name for name in wanted.variables if name in found.variables]
    wanted = wanted.assign({name: _by_the_rules(found.variables[name], wanted.variables[name]) for name in names})
    try:
        xr.testing.assert_identical(found, wanted)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


def _by_the_rules(found: xr.Variable, wanted: xr.Variable) -> xr.Variable:
    """Return what xarray has read, but as the table above says where that is otherwise."""
    fill, cells, attrs = wanted.encoding.get("_FillValue"), wanted.values, dict(wanted.attrs)
    names = (getattr(wanted.encoding.get("dtype"), "metadata", None) or {}).get("enum")
    if names is not None and found.attrs["flag_values"].tolist() == list(names.values()):
        attrs |= {key: found.attrs[key] for key in ("flag_values", "flag_meanings")}
    if found.dtype.kind in "iu" and cells.dtype.kind == "f" and (names is not None or found.dtype.itemsize == 8):
        is_same = np.array_equal(np.where(found.values == fill, np.nan, found.values), cells, equal_nan=True)
        cells, attrs = (found.values, attrs | {"_FillValue": fill}) if is_same else (cells, attrs)
    if "char_dim_name" in wanted.encoding and isinstance(fill, bytes):
        blank = [isinstance(cell, bytes) and bool(cell) and not cell.strip(fill) for cell in cells.flat]
        cells = np.where(np.reshape(blank, cells.shape), None, cells)
    return xr.Variable(wanted.dims, cells, attrs, wanted.encoding)


def _rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """The rows of the table; files of a package of which there is the same to say share one."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in outcomes:
        alike[one.package, one.kind, one.became, one.why.replace("|", "\\|")].append(one.file)
    return [[_names(files), *same] for same, files in alike.items()]


def _names(files: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    named = ", ".join(f"`{file}`" for file in files[: _NAMED if len(files) <= _NAMED else 1])
    return named if len(files) <= _NAMED else f"{named} and {len(files) - 1:,} more"


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The section: how many files of each package became what, and the table."""
    packages = {
        one.package: Counter(other.became for other in outcomes if other.package == one.package) for one in outcomes
    }
    total = Counter(one.became for one in outcomes)
    titles = list(total)
    counts = [[name, *(f"{count[title]:,}" for title in titles)] for name, count in [*packages.items(), ("all", total)]]
    head, _, *body = table(["file", "package", "format", "became", "why"], _rows(outcomes))
    return [*table(["package", *titles], counts), "", head, "|---|---|---|---|---|", *body]


def main() -> None:
    """Add the files, and print the table or write it into a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_files", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with archives or folders of packages")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the markers of a page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atlas-real-files-") as place:
        found = collect(arguments.folders, Path(place, "files"))
        told = lines(add_all(found, Path(place, "store")))
    print("\n".join(told))
    if arguments.page:
        versions = ", ".join(f"{one.__name__} {one.__version__}" for one in (netCDF4, h5py, xr))
        replace_between(
            arguments.page,
            BEGIN,
            END,
            [
                f"With {versions}, HDF5 {netCDF4.__hdf5libversion__} and NetCDF {netCDF4.__netcdf4libversion__}:",
                "",
                *told,
            ],
        )


if __name__ == "__main__":
    main()
