"""What each engine does for each operation. An engine imports its package when it is made, in its own process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["ENGINES", "Engine"]


class Engine(Protocol):
    """One engine on one workload in one folder."""

    def write(self) -> None:
        """Write everything, durably as the engine understands it, into an empty folder."""

    def open_slice(self) -> list[NDArray[Any]]:
        """Open and read the quarter box of every variable across all datasets: one (N, *box) a variable."""

    def slice(self) -> list[NDArray[Any]]:
        """The same on a handle that is open and has read before."""

    def read_one(self) -> list[NDArray[Any]]:
        """Read one array of one dataset whole, on that handle."""


class Atlas:
    """This library."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        import atlas  # noqa: PLC0415

        self._atlas = atlas.Atlas
        self._work = workload
        self._path = folder / "store"
        self._data = list(workload.data())
        self._handle: Any = None

    def write(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        work = self._work
        with self._atlas.create(self._path) as store:
            for name, arrays in self._data:
                dataset = store.create_dataset(name)
                for variable, values in arrays.items():
                    dataset.define_array(variable, "float32", work.dims, work.shape, work.chunks)
                    dataset.write_array(variable, [0] * len(work.shape), values)
        self._handle = None

    def _read(self, store: Any) -> list[NDArray[Any]]:
        work = self._work
        origin = [0] * len(work.shape)
        return [
            store.read_array_across_stacked(variable, work.names, origin, work.quarter) for variable in work.variables
        ]

    def open_slice(self) -> list[NDArray[Any]]:
        return self._read(self._atlas.open(self._path))

    def _open(self) -> Any:
        if self._handle is None:
            self._handle = self._atlas.open(self._path)
        return self._handle

    def slice(self) -> list[NDArray[Any]]:
        return self._read(self._open())

    def read_one(self) -> list[NDArray[Any]]:
        return [self._open().open_dataset(self._work.names[3]).read_array(self._work.variables[0])]


class NetcdfFiles:
    """One netCDF4 file a dataset, zlib level 1 with shuffle; the way most fleets are kept today."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        import netCDF4  # noqa: PLC0415

        self._open_file = netCDF4.Dataset
        self._work = workload
        self._folder = folder / "files"
        self._data = list(workload.data())

    def write(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        work = self._work
        for name, arrays in self._data:
            with self._open_file(self._folder / f"{name}.nc", "w") as file:
                for dim, length in zip(work.dims, work.shape, strict=True):
                    file.createDimension(dim, length)
                for variable, values in arrays.items():
                    stored = file.createVariable(
                        variable, "f4", work.dims, zlib=True, complevel=1, shuffle=True, chunksizes=work.chunks
                    )
                    stored[:] = values

    def open_slice(self) -> list[NDArray[Any]]:
        box = tuple(slice(0, length) for length in self._work.quarter)
        rows: dict[str, list[NDArray[Any]]] = {variable: [] for variable in self._work.variables}
        for name in self._work.names:
            with self._open_file(self._folder / f"{name}.nc") as file:
                file.set_auto_mask(False)
                for variable, stack in rows.items():
                    stack.append(file[variable][box])
        return [np.stack(stack) for stack in rows.values()]

    def slice(self) -> list[NDArray[Any]]:
        return self.open_slice()  # thousands of files are not held open

    def read_one(self) -> list[NDArray[Any]]:
        with self._open_file(self._folder / f"{self._work.names[3]}.nc") as file:
            file.set_auto_mask(False)
            return [file[self._work.variables[0]][...]]


class ZarrStores:
    """One zarr group a dataset, as zarr 3 writes it by default."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        import zarr  # noqa: PLC0415

        self._zarr = zarr
        self._work = workload
        self._folder = folder / "zarr"
        self._data = list(workload.data())

    def write(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        work = self._work
        for name, arrays in self._data:
            group = self._zarr.open_group(self._folder / name, mode="w")
            for variable, values in arrays.items():
                array = group.create_array(variable, shape=work.shape, chunks=work.chunks or work.shape, dtype="f4")
                array[...] = values

    def open_slice(self) -> list[NDArray[Any]]:
        box = tuple(slice(0, length) for length in self._work.quarter)
        groups = [self._zarr.open_group(self._folder / name, mode="r") for name in self._work.names]
        return [np.stack([group[variable][box] for group in groups]) for variable in self._work.variables]

    def slice(self) -> list[NDArray[Any]]:
        return self.open_slice()

    def read_one(self) -> list[NDArray[Any]]:
        return [self._zarr.open_group(self._folder / self._work.names[3], mode="r")[self._work.variables[0]][...]]


ENGINES: dict[str, Any] = {"atlas": Atlas, "netcdf": NetcdfFiles, "zarr": ZarrStores}


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
