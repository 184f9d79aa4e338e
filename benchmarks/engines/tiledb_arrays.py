"""One dense TileDB array with one attribute per variable: bit-shuffle and zstd, tiles of about 128 KiB.

The first dimension is longer than the number of datasets, so that datasets can be appended as new fragments.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.base import Collection, Values

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

__all__ = ["StackedArray"]

_MAX_DATASETS = 2**30


class StackedArray(Collection):
    """One array with one attribute per variable."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._module: Any = import_module("tiledb")
        self._handle: Any = None
        self._length = 0

    @property
    def versions(self) -> str:
        return f"TileDB {'.'.join(map(str, self._module.libtiledb.version()))}, tiledb {self._module.__version__}"

    def prepare_write(self) -> None:
        self.clear()
        self._handle = None
        self._length = self.work.datasets

    @property
    def _uri(self) -> str:
        return str(self.path / "array")

    def write(self) -> None:
        tiledb, work = self._module, self.work
        tile = (work.per_block, *work.chunk)
        lengths = (_MAX_DATASETS, *work.shape)
        dims = [
            tiledb.Dim(name, domain=(0, length - 1), tile=extent, dtype=np.int64)
            for name, length, extent in zip(("dataset", *work.dims), lengths, tile, strict=True)
        ]
        packing = tiledb.FilterList(
            [tiledb.ZstdFilter(level=3)] if self.text else [tiledb.BitShuffleFilter(), tiledb.ZstdFilter(level=3)]
        )
        kind: dict[str, Any] = {"dtype": np.dtype("U"), "var": True} if self.text else {"dtype": np.float32}
        attrs = [tiledb.Attr(variable, filters=packing, **kind) for variable in work.variables]
        schema = tiledb.ArraySchema(tiledb.Domain(*dims), attrs=attrs, cell_order="row-major", tile_order="row-major")
        tiledb.Array.create(self._uri, schema)
        with tiledb.open(self._uri, "w") as array:
            array[0 : work.datasets] = self.data

    def _read(self, array: Any, box: tuple[slice, ...]) -> Values:
        found = array[(slice(0, self.work.datasets), *box)]
        return [found[variable] for variable in self.work.variables]

    def open(self) -> None:
        self._module.open(self._uri).close()

    def open_slice(self) -> Values:
        with self._module.open(self._uri) as array:
            return self._read(array, self.work.box)

    def _open(self) -> Any:
        if self._handle is None:
            self._handle = self._module.open(self._uri)
        return self._handle

    def slice(self) -> Values:
        return self._read(self._open(), self.work.box)

    def read_all(self) -> Values:
        return self._read(self._open(), self.work.whole)

    def read_one(self) -> Values:
        found = self._open().query(attrs=self.work.variables[:1])[self.work.one]
        return [found[self.work.variables[0]]]

    def append(self) -> None:
        with self._module.open(self._uri, "w") as array:
            array[self._length] = {variable: values[self.work.one] for variable, values in self.data.items()}
        self._length += 1

    def check_append(self) -> Values:
        with self._module.open(self._uri) as array:
            found = array[self._length - 1]
            return [found[variable] for variable in self.work.variables]
