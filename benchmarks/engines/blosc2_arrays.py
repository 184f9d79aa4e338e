"""One blosc2 array a variable: bit-shuffle and zstd, a contiguous file each.

A block, which is what is decompressed, is a unit as `stacked` tells. A chunk, which is what is written again as a whole
and what threads share out, is a dataset, or packed as many as make up to 4 MiB.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines.stacked import Stacked

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["ArraySelection", "Packed"]

_CHUNK = 4 * 2**20


class ArraySelection(Stacked):
    """NDArray files."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._module: Any = import_module("blosc2")

    @property
    def versions(self) -> str:
        return f"blosc2 {self._module.__version__}"

    def _file(self, variable: str) -> str:
        return str(self.path / f"{variable}.b2nd")

    def _create(self, variable: str, values: NDArray[Any]) -> None:
        work, blosc2 = self.work, self._module
        if self.text:
            values = values.astype("U")  # its texts are of one length
        rows = 1
        if self.packed:
            rows = self.unit[0] * max(1, _CHUNK // (4 * prod(work.shape) * self.unit[0]))
        chunks = (min(rows, work.datasets), *work.shape)
        packing = blosc2.CParams(
            codec=blosc2.Codec.ZSTD, clevel=1, filters=[blosc2.Filter.BITSHUFFLE], typesize=values.dtype.itemsize
        )
        blosc2.asarray(values, urlpath=self._file(variable), mode="w", chunks=chunks, blocks=self.unit, cparams=packing)

    def _array(self, variable: str) -> Any:
        return self._module.open(self._file(variable), mode="a")

    def _get(self, array: Any, region: tuple[slice | int, ...]) -> NDArray[Any]:
        return np.asarray(array[region])

    def _extend(self, array: Any, row: NDArray[Any], length: int) -> Any:
        array.resize((length, *self.work.shape))
        array[length - 1] = row.astype("U") if self.text else row
        return array


class Packed(ArraySelection):
    """The same with many datasets in a unit."""

    packed = True
