"""One blosc2 array per variable: bit-shuffle and zstd level 1, or shuffle and zstd level 5; one contiguous file each.

A blosc2 block, the unit of decompression, is the unit of `stacked`. A blosc2 chunk, the unit of rewriting and of
threading, is one dataset; when packed, as many datasets as fit in 4 MiB.
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

__all__ = ["Packed", "Shuffled", "StackedArrays"]

_CHUNK = 4 * 2**20


class StackedArrays(Stacked):
    """One NDArray file per variable."""

    package = "blosc2"
    shuffle = "BITSHUFFLE"
    level = 1
    """Of zstd."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self._module: Any = import_module("blosc2")

    def _file(self, variable: str) -> str:
        return str(self.path / f"{variable}.b2nd")

    def _create(self, variable: str, values: NDArray[Any]) -> None:
        work, blosc2 = self.work, self._module
        if self.text:
            values = values.astype("U")  # blosc2 strings have a fixed length
        rows = 1
        if self.packed:
            rows = self.unit[0] * max(1, _CHUNK // (4 * prod(work.shape) * self.unit[0]))
        chunks = (min(rows, work.datasets), *work.shape)
        filters = [getattr(blosc2.Filter, self.shuffle)]
        packing = blosc2.CParams(
            codec=blosc2.Codec.ZSTD, clevel=self.level, filters=filters, typesize=values.dtype.itemsize
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


class Packed(StackedArrays):
    """The same with many datasets per unit."""

    packed = True


class Shuffled(StackedArrays):
    """The same with shuffle and zstd level 5."""

    shuffle = "SHUFFLE"
    level = 5
