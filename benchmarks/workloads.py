"""The data: float32 noise, the same for every engine. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True)
class Workload:
    """A fleet of datasets that look alike."""

    name: str
    datasets: int
    arrays: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None = None

    @property
    def names(self) -> list[str]:
        return [f"dataset{at:06d}" for at in range(self.datasets)]

    @property
    def variables(self) -> list[str]:
        return [f"variable{at}" for at in range(self.arrays)]

    @property
    def dims(self) -> list[str]:
        return [f"axis{at}" for at in range(len(self.shape))]

    @property
    def quarter(self) -> tuple[int, ...]:
        """Shape of the box at the origin that slice reads take: a quarter of each dimension."""
        return tuple(max(1, length // 4) for length in self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * 4 * self.arrays * self.datasets

    def data(self) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
        """Every dataset with its arrays; the same values in every process."""
        for at, name in enumerate(self.names):
            source = np.random.default_rng([7, at])
            yield name, {v: source.standard_normal(self.shape, np.float32) for v in self.variables}

    def scaled(self, fraction: float) -> Workload:
        """The same with fewer datasets."""
        return Workload(self.name, max(10, int(self.datasets * fraction)), self.arrays, self.shape, self.chunks)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("sensors", 1000, 3, (24,)),
        Workload("profile", 1000, 4, (50, 168)),
        Workload("gridded", 60, 3, (100, 100, 48), (50, 50, 24)),
        Workload("tiny", 20_000, 2, (20,)),
    )
}
