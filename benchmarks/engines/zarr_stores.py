"""One zarr 3 group per dataset.

Zstd, the default of zarr; chunks as given. Arrays are opened by their own path, without their group, and a warm handle
keeps all of them open.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Collection, Values

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

__all__ = ["Stores"]


class Stores(Collection):
    """One group per dataset."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._zarr: Any = import_module("zarr")
        self._handles: list[list[Any]] | None = None

    @property
    def versions(self) -> str:
        return f"zarr {self._zarr.__version__}"

    def prepare_write(self) -> None:
        self.clear()
        self._handles = None

    def _add(self, name: str, at: int) -> None:
        work = self.work
        group = self._zarr.create_group(self.path / name)
        for variable, values in self.data.items():
            kind = str if self.text else "f4"
            array = group.create_array(variable, shape=work.shape, chunks=work.chunk, dtype=kind)
            array[...] = values[at]

    def write(self) -> None:
        for at, name in enumerate(self.work.names):
            self._add(name, at)

    def _array(self, name: str, variable: str) -> Any:
        return self._zarr.open_array(self.path / name / variable, mode="r")

    def _arrays(self) -> list[list[Any]]:
        work = self.work
        return [[self._array(name, variable) for name in work.names] for variable in work.variables]

    def _read(self, handles: list[list[Any]], box: tuple[slice, ...]) -> Values:
        return [np.stack([array[box] for array in arrays]) for arrays in handles]

    def open(self) -> None:
        self._arrays()

    def open_slice(self) -> Values:
        return self._read(self._arrays(), self.work.box)

    def prepare_slice(self) -> None:
        if self._handles is None:
            self._handles = self._arrays()

    def slice(self) -> Values:
        assert self._handles is not None
        return self._read(self._handles, self.work.box)

    prepare_read_all = prepare_slice

    def read_all(self) -> Values:
        assert self._handles is not None
        return self._read(self._handles, self.work.whole)

    def read_one(self) -> Values:
        return [self._array(self.work.names[self.work.one], self.work.variables[0])[...]]

    def prepare_append(self) -> None:
        self._appended = getattr(self, "_appended", 0) + 1

    def append(self) -> None:
        self._add(f"appended{self._appended}", self.work.one)

    def check_append(self) -> Values:
        return [self._array(f"appended{self._appended}", variable)[...] for variable in self.work.variables]
