"""Extracts the values of the real workloads from the NetCDF files of the package iris-sample-data.

Runs once, in the current environment, so that peers need neither that package nor netCDF4.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["extract"]


def _nemo(folder: Path) -> list[NDArray[Any]]:
    """Three months of sea surface temperature and their coordinates, each (3, 330, 360)."""
    import netCDF4  # noqa: PLC0415 - needed for real data only

    months: dict[str, list[NDArray[Any]]] = {"tos": [], "nav_lat": [], "nav_lon": []}
    for path in sorted((folder / "NEMO").glob("*.nc")):
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            for name, fields in months.items():
                fields.append(np.squeeze(file[name][...]))
    return [np.stack(fields) for fields in months.values()]


def _casts(folder: Path) -> list[NDArray[Any]]:
    """Salinity and temperature at 48 locations in the Atlantic and 40 depths, each (48, 40)."""
    import netCDF4  # noqa: PLC0415

    with netCDF4.Dataset(folder / "atlantic_profiles.nc") as file:
        file.set_auto_mask(False)
        return [np.ascontiguousarray(file[name][...].reshape(40, 48).T) for name in ("salinity", "theta")]


def extract(name: str, folder: Path) -> str | None:
    """Write the values of the real workload `name` to `folder`; returns the reason if the packages are missing."""
    try:
        import iris_sample_data  # noqa: PLC0415

        fields = {"nemo": _nemo, "casts": _casts}[name](Path(iris_sample_data.path))
    except ImportError as error:
        return f"{name} is left out: {error}"
    named: dict[str, Any] = {f"variable{at}": values for at, values in enumerate(fields)}
    np.savez(folder / f"{name}.npz", **named)
    return None
