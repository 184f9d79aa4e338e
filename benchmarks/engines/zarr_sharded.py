"""One sharded zarr 3 array a variable, read and written by the codec pipeline of zarrs.

Inner chunks of about 128 KiB (`Workload.per_block` datasets), shards of up to 16 MiB so that all processors have some
to work on, and the Zstd codec with zarr's default level.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Unsupported
from benchmarks.engines.stacked import Stacked

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.workloads import Workload

__all__ = ["Sharded", "shard_and_chunk"]

_SHARD = 16 * 2**20


def shard_and_chunk(work: Workload) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of shards and of inner chunks; whole chunks in whole shards."""
    inner = (work.per_block, *work.chunk)
    whole = tuple(-(-length // chunk) * chunk for length, chunk in zip(work.shape, work.chunk, strict=True))
    row = 4
    for length in whole:
        row *= length
    blocks = max(1, min(_SHARD // (row * work.per_block), -(-work.datasets // work.per_block)))
    return (blocks * work.per_block, *whole), inner


class Sharded(Stacked):
    """zarr-python's interface, zarrs' codecs."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        if self.text:
            raise Unsupported("zarr does not shard texts")
        self._zarr: Any = import_module("zarr")
        self._zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

    @property
    def versions(self) -> str:
        return f"zarr {self._zarr.__version__}, zarrs {version('zarrs')}"

    def _create(self, variable: str, values: NDArray[Any]) -> None:
        shards, chunks = shard_and_chunk(self.work)
        array = self._zarr.create_array(
            self.path / variable, shape=values.shape, shards=shards, chunks=chunks, dtype="f4"
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
