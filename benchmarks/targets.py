"""The targets of the library, as data: each is computed from the medians of one run. Measures nothing itself.

Against several peers, the best of them counts. A target whose figures are missing is left blank.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.engines import OURS, PACKED, PEERS, STRONG, UNPACKED
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.measuring import Row

__all__ = ["READS", "TARGETS", "Figures", "MissingError", "Target", "number", "verdict"]

READS = ("open_slice", "slice", "to_xarray_many")


class MissingError(LookupError):
    """The run does not have this figure."""


@dataclass(frozen=True)
class Figures:
    """The figures of one workload."""

    rows: Mapping[tuple[str, str], Row]
    """Rows by operation and engine."""

    def _rows(self, operation: str, engines: Iterable[str]) -> list[Row]:
        found = [self.rows[operation, engine] for engine in engines if (operation, engine) in self.rows]
        if not found:
            raise MissingError(operation)
        return found

    def ms(self, operation: str, *engines: str) -> float:
        """The median of the fastest of the engines; of ours if none is named."""
        return min(row.median_ms for row in self._rows(operation, engines or [OURS]))

    def times(self, operation: str, *engines: str) -> float:
        """The time of the fastest of the engines over ours."""
        return self.ms(operation, *engines) / self.ms(operation)

    def smaller(self, *engines: str) -> float:
        """The bytes on disk of the smallest of the engines over ours."""
        sizes = [row.mib_on_disk for row in self._rows("write", engines) if row.mib_on_disk]
        (ours,) = self._rows("write", [OURS])
        if not sizes or not ours.mib_on_disk:
            raise MissingError("bytes on disk")
        return min(sizes) / ours.mib_on_disk

    def memory(self, *operations: str) -> float:
        """Peak memory of ours above its result, in MiB; the largest of the operations."""
        rows = [row for operation in operations for row in self.rows.values()
                if (row.operation, row.engine) == (operation, OURS)]  # fmt: skip
        if not rows:
            raise MissingError("memory")
        return max(row.peak_mib - row.result_mib for row in rows)

    def over(self, operation: str, engine: str) -> float:
        """Our extra time over that of the engine, as a share of the engine's time, from paired runs."""
        (row,) = self._rows(operation, [engine])
        if row.paired is None:
            raise MissingError(operation)
        return row.paired - 1


@dataclass(frozen=True)
class Target:
    """One target: a row of the table."""

    title: str
    wanted: Mapping[str, float]
    """Target values by workload."""
    reached: Callable[[Figures], float] = field(repr=False)
    least: bool = True
    """Whether the target is a lower bound."""

    def of(self, workload: str, figures: Figures) -> str:
        """The cell of the table for a workload; blank without a target or a figure."""
        if workload not in self.wanted:
            return ""
        try:
            return verdict(self.reached(figures), self.wanted[workload], least=self.least)
        except MissingError:
            return ""


def number(value: float) -> str:
    """A number with three significant digits, or with all digits before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(value: float, wanted: float, *, least: bool) -> str:
    """The value reached and the target; in bold where it was missed."""
    shown = number(value) if number(value) != number(wanted) else f"{value:.5g}"
    if (value >= wanted) if least else (value <= wanted):
        return f"{shown} {'≥' if least else '≤'} {wanted:g}"
    return f"**{shown} {'<' if least else '>'} {wanted:g}**"


def _per_workload(sensors: float, profile: float, gridded: float, tiny: float) -> dict[str, float]:
    return {"sensors": sensors, "profile": profile, "gridded": gridded, "tiny": tiny}


def _all(wanted: float) -> dict[str, float]:
    return _per_workload(wanted, wanted, wanted, wanted)


_BLOSC2 = "blosc2_shuffle5"

TARGETS = (
    Target("bytes on disk: smallest of zarr (zstd 3), blosc2 (shuffle, zstd 5) / ours",
           {"salinity": 1.5, "temperature": 1.5, "walks": 2, "profile": 0.99}, lambda f: f.smaller(*STRONG)),
    Target("warm read of all: blosc2 (shuffle, zstd 5) / ours", {"salinity": 1.5, "temperature": 1.5, "walks": 1.5},
           lambda f: f.times("read_all", _BLOSC2)),
    Target("warm slice: blosc2 (shuffle, zstd 5) / ours", {"salinity": 1.2, "temperature": 1.5, "walks": 1.5},
           lambda f: f.times("slice", _BLOSC2)),
    Target("one dataset after another: atlas-python / ours", dict.fromkeys(WORKLOADS, 0.8),
           lambda f: f.times("boxes", "seed")),
    Target("dask mean of 125 MB, first read: atlas-python / ours", {"gridded": 1.8},
           lambda f: f.times("dask_first", "seed")),
    Target("dask mean of 125 MB, third read: atlas-python / ours", {"gridded": 1},
           lambda f: f.times("dask_mean", "seed")),
    Target("dask sum of 125 MB, third read: atlas-python / ours", {"gridded": 1},
           lambda f: f.times("dask_sum", "seed")),
    Target("dask rechunk of 125 MB, third read: atlas-python / ours", {"gridded": 1},
           lambda f: f.times("dask_rechunk", "seed")),
    Target("small chunks one after another, microseconds a chunk", {"sensors": 10},
           lambda f: f.ms("small_chunks"), least=False),
    Target("ragged, values and row sizes: Parquet list column / ours", {"ragged": 1},
           lambda f: f.times("read_flat", "parquet")),
    Target("ragged, opening, values and row sizes: Parquet list column / ours", {"ragged": 1},
           lambda f: f.times("open_flat", "parquet")),
    Target("ragged, values and row sizes: ours / flat array of tensorstore", {"ragged": 2},
           lambda f: 1 / f.times("read_flat", "tensorstore"), least=False),
    Target("ragged, opening, values and row sizes: ours / flat array of tensorstore", {"ragged": 2},
           lambda f: 1 / f.times("open_flat", "tensorstore"), least=False),
    Target("ragged, list of all: atlas-python / ours", {"ragged": 10}, lambda f: f.times("read_list", "seed")),
    Target("ragged, list of every 20th: atlas-python / ours", {"ragged": 5}, lambda f: f.times("part_list", "seed")),
    Target("ragged, 1,000 datasets: one after another / list of all", {"ragged": 1},
           lambda f: f.ms("in_turn") / f.ms("first_list")),
    Target("ragged, write and flush: over as many cells in rows of one length", {"ragged": 1.5},
           lambda f: f.ms("write") / f.ms("write_even"), least=False),
    Target("opening slice: atlas-python / ours", _per_workload(40, 10, 25, 80),
           lambda f: f.times("open_slice", "seed")),
    Target("warm slice: atlas-python / ours", _per_workload(30, 3, 4, 50), lambda f: f.times("slice", "seed")),
    Target("opening slice: fastest of tensorstore, zarrs, blosc2 / ours", _per_workload(8, 3, 2.5, 40),
           lambda f: f.times("open_slice", *UNPACKED)),
    Target("warm slice: fastest of tensorstore, zarrs, blosc2 / ours", _per_workload(8, 3, 2.5, 40),
           lambda f: f.times("slice", *UNPACKED)),
    Target("warm slice: blosc2, packed, of fixed width / ours", {"strings": 1},
           lambda f: f.times("slice", "blosc2_packed")),
    Target("array_stats of all: atlas-python / ours", {"strings": 1}, lambda f: f.times("array_stats", "seed")),
    Target("write and flush: atlas-python / ours", _per_workload(1.2, 3, 4, 3), lambda f: f.times("write", "seed")),
    Target("write and flush: fastest peer / ours", _per_workload(1, 1.2, 1, 1), lambda f: f.times("write", *PEERS)),
    Target("write and flush: fastest of tensorstore, zarrs, blosc2 / ours", {"profile": 1, "gridded": 1},
           lambda f: f.times("write", *UNPACKED)),
    Target("write and flush, durable=False: fastest of the three, packed / ours", {"profile": 0.8, "gridded": 0.8},
           lambda f: f.ms("write", *PACKED) / f.ms("write_unsynced")),
    Target("bytes on disk: smallest of all peers / ours", _per_workload(1, 1, 1, 2), lambda f: f.smaller(*PEERS)),
    Target("warm slice: ours / limit", {"profile": 1.3, "gridded": 1.3}, lambda f: 1 / f.times("slice", "limit"),
           least=False),
    Target("warm slice, lz4: ours / limit", {"profile": 1.3, "gridded": 1.3},
           lambda f: 1 / f.times("slice_lz4", "limit"), least=False),
    Target("read_array of one, 1,000 times: atlas-python / ours", {"sensors": 1, "tiny": 1},
           lambda f: f.times("read_often", "seed")),
    Target("to_xarray of one: atlas-python / ours", _all(1), lambda f: f.times("to_xarray", "seed")),
    Target("opening 1,000 lazy chunks: delayed objects / ours", {"sensors": 20}, lambda f: f.times("lazy", "plain")),
    Target("codec none: np.copyto / ours", {"profile": 0.7, "gridded": 0.7}, lambda f: f.times("read_plain", "plain")),
    Target("bulk reads: peak beside the result, MiB", _all(64), lambda f: f.memory(*READS), least=False),
    Target("write: peak above what the user holds, MiB", _all(256), lambda f: f.memory("write", "write_dask"),
           least=False),
    Target("checksums: over a warm slice without", {"profile": 0.1},
           lambda f: f.over("cost_slice", "unchecked"), least=False),
    Target("checksums: over a warm read of all without", {"profile": 0.1},
           lambda f: f.over("cost_read", "unchecked"), least=False),
    Target("checksums and fsync: over a write and flush without", {"profile": 0.25},
           lambda f: f.over("cost_write", "unchecked"), least=False),
    Target("import: ours / xarray and dask.array", {"sensors": 1.3}, lambda f: 1 / f.times("imports", "plain"),
           least=False),
    Target("import + first read: ours / atlas-python", {"sensors": 1.3}, lambda f: 1 / f.times("first_read", "seed"),
           least=False),
    Target("import + first read, empty JIT cache, s", {"sensors": 8}, lambda f: f.ms("first_read_empty") / 1e3,
           least=False),
)  # fmt: skip
