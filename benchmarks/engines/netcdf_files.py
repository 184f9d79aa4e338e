"""One netCDF4 file per dataset, the most common way to store many datasets.

Shuffle and zlib level 1: level 4 saves a few percent of size and takes several times as long to write. Chunks as given;
automatic masking and filling off. Each read opens a file once for all of its variables. There are no `open` and
`slice`, because no program keeps thousands of files open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Collection, Values

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Files"]


class Files(Collection):
    """One file per dataset."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        import netCDF4  # noqa: PLC0415

        self._module: Any = netCDF4
        self._open_file: Any = netCDF4.Dataset

    @property
    def versions(self) -> str:
        return f"netCDF4 {self._module.__version__}, HDF5 {self._module.__hdf5libversion__}"

    def _add(self, name: str, at: int) -> None:
        work = self.work
        packing: dict[str, Any] = {} if self.text else {"zlib": True, "complevel": 1, "shuffle": True}
        with self._open_file(self.path / f"{name}.nc", "w") as file:
            file.set_fill_off()
            for dim, length in zip(work.dims, work.shape, strict=True):
                file.createDimension(dim, length)
            for variable, values in self.data.items():
                kind = str if self.text else "f4"
                stored = file.createVariable(variable, kind, work.dims, chunksizes=work.chunk, **packing)
                stored[...] = values[at]

    def write(self) -> None:
        for at, name in enumerate(self.work.names):
            self._add(name, at)

    def open_slice(self) -> Values:
        box = self.work.box
        rows: dict[str, list[NDArray[Any]]] = {variable: [] for variable in self.work.variables}
        for name in self.work.names:
            with self._open_file(self.path / f"{name}.nc") as file:
                file.set_auto_mask(False)
                for variable, stack in rows.items():
                    stack.append(file[variable][box])
        return [np.stack(stack) for stack in rows.values()]

    def _read(self, name: str, variables: list[str]) -> Values:
        with self._open_file(self.path / f"{name}.nc") as file:
            file.set_auto_mask(False)
            return [file[variable][...] for variable in variables]

    def read_one(self) -> Values:
        return self._read(self.work.names[self.work.one], self.work.variables[:1])

    def append(self) -> None:
        self._add("appended", self.work.one)

    def check_append(self) -> Values:
        return self._read("appended", self.work.variables)
