"""`python -m benchmarks.metadata`: what metadata of many datasets take as columns, beside a loop over the datasets.

Each dataset has an array of 24 float32, one of 2 strings, five attributes of its own, of which two are shared, and one
of an array. Loop and columns run in turn, on one handle that has read them before; the median of each counts, and that
of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import insert_section, table
from benchmarks.targets import number, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BEGIN", "COMPARISONS", "END", "Comparison", "main", "make_fleet", "measure", "rows"]

BEGIN, END = "<!-- metadata: written by --page -->", "<!-- end of metadata -->"
_AIMED = 100_000
"""Datasets that the targets are set for."""


@dataclass(frozen=True)
class Comparison:
    """One row of the table."""

    title: str
    loop: Callable[[Any, Sequence[str]], list[Any]]
    """Asks for the metadata of one dataset after the other; what it returns is that of each."""
    columns: Callable[[Any, Sequence[str]], list[Any]]
    """The same with one call; what it returns is a part of the columns as lists."""
    same: Callable[[list[Any]], list[Any]]
    """Makes what `columns` returns of what `loop` returns."""
    wanted: float | None = None
    """Time of the loop over that of the columns, at least."""


def _statistics(title: str, array: str, wanted: float | None = None) -> Comparison:
    return Comparison(
        title,
        lambda store, names: [store.open_dataset(name).array_stats(array) for name in names],
        lambda store, _: [(found := store.array_stats_across(array)).min, found.max],
        lambda each: [[stats[end] for stats in each] for end in ("min", "max")],
        wanted,
    )


def _attributes(title: str, key: str, wanted: float | None = None, **options: Any) -> Comparison:
    shown = f"{options['array']}.{key}" if "array" in options else key
    return Comparison(
        title,
        lambda store, names: [store.open_dataset(name).attributes() for name in names],
        lambda store, _: [store.attributes_across(**options)[key].values],
        lambda each: [[attributes[shown] for attributes in each]],
        wanted,
    )


COMPARISONS = (
    _statistics("statistics of float32", "a", 68),
    _statistics("statistics of strings", "t"),
    _attributes("all attributes", "lat", 4),
    _attributes("one attribute", "lat", keys=["lat"]),
    _attributes("attributes of an array", "units", array="a"),
)


def make_fleet(path: Path, count: int) -> None:
    """Write the datasets."""
    from atlas import Atlas  # noqa: PLC0415

    rng = np.random.default_rng(3)
    names = [f"station_{at:07d}" for at in range(count)]
    places = rng.uniform(-90, 90, (count, 2)).round(4).tolist()
    words = np.array([f"code {at}" for at in range(2 * count)], object).reshape(count, 2)
    with Atlas.create(path, durable=False) as store:
        for at, dataset in enumerate(store.create_datasets(names)):
            lat, lon = places[at]
            own = {"station": names[at], "lat": lat, "lon": lon, "network": "A", "level": at % 50, "a.units": "K"}
            for key, value in own.items():
                dataset.set_attribute(key, value)
        store.write_array_across_stacked("a", names, rng.random((count, 24), np.float32), ["x"])
        store.write_array_across_stacked("t", names, words, ["y"])


def measure(store: Any, comparison: Comparison, runs: int) -> tuple[float, float, float]:
    """Median seconds of the loop and of the columns, and the median ratio. Raises if they say different things."""
    names = store.list_datasets()
    found = [values.tolist() for values in comparison.columns(store, names)]
    if found != comparison.same(comparison.loop(store, names)):
        message = f"{comparison.title}: the loop says something else than the columns"
        raise ValueError(message)
    seconds: dict[str, list[float]] = {"loop": [], "columns": []}
    for run in range(runs):
        calls = [("loop", comparison.loop), ("columns", comparison.columns)]
        for name, call in calls if run % 2 else reversed(calls):
            began = time.perf_counter()
            call(store, names)
            seconds[name].append(time.perf_counter() - began)
    ratios = [loop / columns for loop, columns in zip(*seconds.values(), strict=True)]
    return median(seconds["loop"]), median(seconds["columns"]), median(ratios)


def rows(count: int, runs: int) -> list[list[str]]:
    """The rows of the table for a number of datasets."""
    from atlas import Atlas  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="atlas-metadata-") as name:
        path = Path(name) / "fleet"
        make_fleet(path, count)
        store, found = Atlas.open(path), []
        for comparison in COMPARISONS:
            loop, columns, ratio = measure(store, comparison, runs)
            aimed = comparison.wanted is not None and count == _AIMED
            reached = verdict(ratio, comparison.wanted, least=True) if aimed else number(ratio)
            found.append([f"{count:,}", comparison.title, number(loop * 1e3), number(columns * 1e3), reached])
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metadata", description=__doc__)
    parser.add_argument("--datasets", type=int, nargs="+", default=[1000, _AIMED], metavar="N")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the table between the markers of the page FILE"
    )
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    body = [row for count in arguments.datasets for row in rows(count, arguments.runs)]
    lines = table(["datasets", "metadata", "loop, ms", "columns, ms", "loop / columns"], body)
    print("\n".join(lines))
    if arguments.page:
        insert_section(arguments.page, BEGIN, END, "python -m benchmarks.metadata", load, lines)


if __name__ == "__main__":
    main()
