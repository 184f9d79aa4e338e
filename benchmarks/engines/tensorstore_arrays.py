"""One sharded zarr 3 array per variable, by tensorstore; shards, inner chunks and codec as in `zarr_sharded`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Unsupported
from benchmarks.engines.stacked import Stacked
from benchmarks.engines.zarr_sharded import shard

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Packed", "StackedArrays"]


class StackedArrays(Stacked):
    """The zarr3 driver over local files."""

    package = "tensorstore"

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        if self.text:
            raise Unsupported("the zarr3 driver of tensorstore has no strings of variable length")
        self._module: Any = import_module("tensorstore")

    def _spec(self, variable: str) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{self.path / variable}/"}}

    def _create(self, variable: str, values: NDArray[Any]) -> None:
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        inner = [little, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
        sharding = {
            "chunk_shape": self.unit,
            "codecs": inner,
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        metadata = {
            "shape": values.shape,
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard(self.work, self.unit)}},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        }
        array = self._module.open(self._spec(variable) | {"metadata": metadata, "create": True}).result()
        array.write(values).result()

    def _array(self, variable: str) -> Any:
        return self._module.open(self._spec(variable), open=True, read=True, write=True).result()

    def _get(self, array: Any, region: tuple[slice | int, ...]) -> NDArray[Any]:
        found: NDArray[Any] = array[region].read().result()
        return found

    def _read(self, arrays: list[Any], box: tuple[slice, ...]) -> list[NDArray[Any]]:
        region = (slice(0, self.work.datasets), *box)
        reads = [array[region].read() for array in arrays]  # started together: they run in parallel
        return [read.result() for read in reads]

    def _extend(self, array: Any, row: NDArray[Any], length: int) -> Any:
        longer = array.resize(exclusive_max=(length, *self.work.shape)).result()
        longer[length - 1].write(row).result()
        return longer


class Packed(StackedArrays):
    """The same with many datasets per unit."""

    packed = True
