"""The data, the same for every engine, and the boxes that are read. Imports only NumPy: every environment has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["WORKLOADS", "Workload", "located"]


@dataclass(frozen=True)
class Workload:
    """Many datasets with the same arrays.

    Properties are cached, so that no timing includes making names.
    """

    name: str
    datasets: int
    arrays: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None = None
    kind: str = "random"
    """"random" and "walks" (float32), "strings", "real" (float32, from `source`), or "ragged": float32 with two
    decimals, of lengths from 20 to that of `shape`, one dataset after another."""
    source: str | None = None
    """File of the values that `samples` extracted, for real data."""

    @cached_property
    def names(self) -> list[str]:
        return [f"dataset{at:06d}" for at in range(self.datasets)]

    @cached_property
    def row_sizes(self) -> NDArray[np.int64]:
        """Length of each dataset of a ragged workload."""
        return np.random.default_rng(8).integers(20, self.shape[0], self.datasets, np.int64, endpoint=True)

    @cached_property
    def variables(self) -> list[str]:
        return [f"variable{at}" for at in range(self.arrays)]

    @cached_property
    def dims(self) -> list[str]:
        return [f"axis{at}" for at in range(len(self.shape))]

    @cached_property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk of one array."""
        return self.chunks or self.shape

    @cached_property
    def quarter(self) -> tuple[int, ...]:
        """Shape of the box at the origin that slice reads: a quarter of each dimension."""
        return tuple(max(1, length // 4) for length in self.shape)

    @cached_property
    def box(self) -> tuple[slice, ...]:
        return tuple(slice(0, length) for length in self.quarter)

    @cached_property
    def whole(self) -> tuple[slice, ...]:
        """The box of all cells of an array."""
        return tuple(slice(0, length) for length in self.shape)

    @cached_property
    def one(self) -> int:
        """The dataset that single reads use."""
        return min(3, self.datasets - 1)

    @cached_property
    def per_block(self) -> int:
        """Datasets per chunk of about 128 KiB, for engines that store all datasets in one large array."""
        return min(self.datasets, max(1, 2**17 // (4 * prod(self.chunk))))

    def data(self) -> dict[str, NDArray[Any]]:
        """Every variable as (datasets, *shape), the same values in every process: float32, or str in object arrays."""
        if self.kind == "real":
            assert self.source is not None
            with np.load(self.source) as file:
                return {variable: file[variable] for variable in self.variables}
        return {variable: self._generate(at) for at, variable in enumerate(self.variables)}

    def _generate(self, at: int) -> NDArray[Any]:
        source = np.random.default_rng([7, at])
        shape = (self.datasets, *self.shape)
        if self.kind == "ragged":
            steps = source.normal(0, 0.2, int(self.row_sizes.sum())).cumsum()
            first = np.repeat(np.cumsum(self.row_sizes) - self.row_sizes, self.row_sizes)
            return (15 + steps - steps[first]).round(2).astype(np.float32)
        if self.kind == "random":
            return source.random(shape, np.float32)
        if self.kind == "walks":
            return (15 + source.normal(0, 0.2, shape).cumsum(axis=-1)).round(2).astype(np.float32)
        words = np.array(
            [f"{kind} {n}" for kind in ("buoy", "drifter", "station", "océan") for n in range(200)], object
        )
        return words[source.integers(0, len(words), shape)]

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Workload:
        """The workload of `dataclasses.asdict` after JSON, which turns tuples into lists."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**given)

    def scaled(self, fraction: float) -> Workload:
        """The same workload with fewer datasets, at least 4."""
        if self.kind == "real":
            return self
        return replace(self, datasets=min(self.datasets, max(4, int(self.datasets * fraction))))

    def __str__(self) -> str:
        chunks = f" in chunks {self.chunks}" if self.chunks else ""
        if self.kind == "ragged":
            return f"{self.name}: {self.datasets:,} x {self.arrays} x (20 to {self.shape[0]},)"
        return f"{self.name}: {self.datasets:,} x {self.arrays} x {self.shape}{chunks}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        # Real data first, and noise, which no store can make much smaller, last.
        Workload("salinity", 251, 1, (12, 401), kind="real"),
        Workload("temperature", 36, 1, (251, 401), (126, 201), kind="real"),
        Workload("soundings", 270, 2, (1225,), kind="real"),
        Workload("weather", 36, 6, (744,), kind="real"),
        Workload("topography", 16, 1, (86, 100), kind="real"),
        Workload("casts", 48, 2, (40,), kind="real"),
        Workload("nemo", 3, 3, (330, 360), kind="real"),
        Workload("ragged", 20_000, 1, (391,), kind="ragged"),
        Workload("walks", 200, 2, (50, 168), kind="walks"),
        Workload("strings", 1000, 2, (50,), kind="strings"),
        Workload("sensors", 1000, 3, (24,)),
        Workload("profile", 1000, 4, (50, 168)),
        Workload("gridded", 60, 3, (100, 100, 48), (50, 50, 24)),
        Workload("tiny", 20_000, 2, (20,)),
    )
}


def located(name: str, fraction: float, samples: Path | str) -> Workload:
    """The workload of that name, scaled, with its real values taken from the folder `samples`."""
    workload = WORKLOADS[name].scaled(fraction)
    return replace(workload, source=str(Path(samples) / f"{name}.npz")) if workload.kind == "real" else workload
