"""One sharded zarr 3 array per variable, read and written by the codec pipeline of zarrs.

Inner chunks are the unit of `stacked`. Shards have up to 16 MiB, so that there are enough for all cores. zstd level 1;
in `Zstd3` level 3, for smaller files.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from math import prod
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Unsupported
from benchmarks.engines.stacked import Stacked

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Packed", "Sharded", "Zstd3", "shard"]

_SHARD = 16 * 2**20


def shard(work: Workload, unit: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a shard: whole chunks of whole datasets, in whole units."""
    whole = tuple(-(-length // chunk) * chunk for length, chunk in zip(work.shape, work.chunk, strict=True))
    fitting = _SHARD // (4 * prod(whole) * unit[0])
    return (max(1, min(fitting, -(-work.datasets // unit[0]))) * unit[0], *whole)


class Sharded(Stacked):
    """The interface of zarr-python with the codecs of zarrs."""

    level = 1
    """Of zstd."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        if self.text:
            raise Unsupported("zarr does not shard strings")
        self._zarr: Any = import_module("zarr")
        self._zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

    @property
    def versions(self) -> str:
        return f"zarr {self._zarr.__version__}, zarrs {version('zarrs')}"

    def _create(self, variable: str, values: NDArray[Any]) -> None:
        array = self._zarr.create_array(
            self.path / variable,
            shape=values.shape,
            shards=shard(self.work, self.unit),
            chunks=self.unit,
            dtype="f4",
            compressors=self._zarr.codecs.ZstdCodec(level=self.level),
        )
        array[...] = values

    def _array(self, variable: str) -> Any:
        return self._zarr.open_array(self.path / variable, mode="r+")

    def _get(self, array: Any, region: tuple[slice | int, ...]) -> NDArray[Any]:
        found: NDArray[Any] = array[region]
        return found

    def _extend(self, array: Any, row: NDArray[Any], length: int) -> Any:
        array.resize((length, *self.work.shape))
        array[length - 1] = row
        return array


class Packed(Sharded):
    """The same with many datasets per unit."""

    packed = True


class Zstd3(Sharded):
    """The same with zstd level 3."""

    level = 3
