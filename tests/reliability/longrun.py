"""A program that appends for months: files, documents and memory per flush level out once the first month is over.

Each step appends a dataset, changes an older one now and then, flushes and reads; now and then the store is compacted
with what is kept by default, and its history listed. The clock of the commits is set forward with every flush, so that
months pass in minutes. Counts of files and documents are asserted, times and memory only told.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atlas import Atlas, Limits
from atlas.storage import LocalStorage
from tests.clock import lend_clock

__all__ = ["run"]

_ARRAYS = ("t", "u", "time")
_CELLS = 64
_FOLDERS = ("commits", "packs", "bases", "pages", "arrays")


@dataclass(frozen=True)
class Course:
    """How long and how fast a run goes."""

    minutes: float | None
    """Minutes that it takes, None for a number of flushes."""
    flushes: int
    """Flushes without `minutes`."""
    per_day: int
    """Flushes in a day of the commits' clock."""
    compact_every: int
    """Flushes between two compactions."""
    limits: Limits


QUICK = Course(None, 280, 4, 8, Limits(pack_commits=8, page_rows=50))
_MONTH = 31
"""Days after which no more versions are added than are given up."""


class CountingStorage(LocalStorage):
    """Counts the files that are read and made, by folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, durable=False)
        self.made: Counter[str] = Counter()
        self.looked_at: Counter[str] = Counter()

    def read(self, key: str) -> bytes:
        self.looked_at[key.partition("/")[0]] += 1
        return super().read(key)

    def create(self, key: str, data: bytes) -> bool:
        self.made[key.partition("/")[0]] += 1
        return super().create(key, data)

    def replace(self, key: str, data: bytes) -> None:
        self.made[key.partition("/")[0]] += 1
        super().replace(key, data)

    def write(self, key: str, parts: Any) -> int:
        self.made[key.partition("/")[0]] += 1
        return super().write(key, parts)


@dataclass
class Lap:
    """What was measured between two compactions, and after the second."""

    flushes: int
    """Flushes since the beginning."""
    files: Counter[str] = field(default_factory=Counter)
    """Files by folder, after the compaction."""
    made: float = 0.0
    """Files made per flush."""
    documents_read: int = 0
    """Documents that the compaction and the history read."""
    flushing: float = 0.0
    """Milliseconds per flush."""
    reading: float = 0.0
    """Milliseconds per read."""
    compacting: float = 0.0
    """Milliseconds of the compaction."""
    listing: float = 0.0
    """Milliseconds of the history."""
    memory: int = 0
    """Bytes of the process in memory."""
    stored: int = 0
    """Bytes of all files."""


def run(full: bool, minutes: float = 20.0) -> dict[str, int]:
    """Run for some minutes, or a short run of a fixed number of flushes, and return the figures."""
    course = Course(minutes, 0, 200, 100, Limits()) if full else QUICK
    with tempfile.TemporaryDirectory(prefix="atlas-longrun-") as folder:
        laps, figures = _run(Path(folder) / "store", course)
    steady = [lap for lap in laps if lap.flushes > _MONTH * course.per_day + course.compact_every]
    _check(steady, course)
    if full:
        _tell(laps)
    return figures | {
        "files after the first month": steady[0].files.total(),
        "files at most since": max(lap.files.total() for lap in steady),
        "files at the end": steady[-1].files.total(),
    }


def _run(place: Path, course: Course) -> tuple[list[Lap], dict[str, int]]:
    storage, chance, laps, flushes, compactions, reads = CountingStorage(place), random.Random(1), [], 0, 0, 0
    begun = time.monotonic()
    with lend_clock() as clock:
        # Little memory for decoded blocks: it is filled in minutes, so that what else grows shows.
        store = Atlas.create(storage, limits=course.limits, cache_bytes=8 << 20)
        while True:
            is_over = flushes >= course.flushes
            if course.minutes is not None:
                is_over = time.monotonic() - begun > 60 * course.minutes and len(laps) > 20
            if is_over:
                break
            lap = Lap(flushes)
            made = storage.made.total()
            for _ in range(course.compact_every):
                _append(store, flushes, chance)
                clock.ago -= dt.timedelta(days=1 / course.per_day)
                at = time.perf_counter()
                store.flush(message=f"flush {flushes}")
                lap.flushing += time.perf_counter() - at
                flushes += 1
                at = time.perf_counter()
                _read(store, flushes, chance)
                lap.reading += time.perf_counter() - at
                reads += 1
            lap.made = (storage.made.total() - made) / course.compact_every
            storage.looked_at.clear()
            at = time.perf_counter()
            store.compact()
            lap.compacting = 1000 * (time.perf_counter() - at)
            compactions += 1
            at = time.perf_counter()
            history = store.history()
            lap.listing = 1000 * (time.perf_counter() - at)
            lap.documents_read = storage.looked_at.total()
            assert history[-1].version == store.version
            lap.flushes = flushes
            lap.flushing *= 1000 / course.compact_every
            lap.reading *= 1000 / course.compact_every
            lap.files = Counter({name: len(storage.list(name)) for name in _FOLDERS})
            lap.memory, lap.stored = _memory(), sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            laps.append(lap)
        kept = [version.version for version in store.history()]
        for version in chance.sample(kept, min(20, len(kept))):
            _check_version(Atlas.open(storage, version=version))
        _check_version(Atlas.open(storage))
    return laps, {"flushes": flushes, "compactions": compactions, "reads": reads}


def _value(number: int, array: str) -> np.ndarray:
    return np.arange(_CELLS, dtype="f4") + 1000 * number + len(array)


def _append(store: Atlas, number: int, chance: random.Random) -> None:
    view = store.create_dataset(f"d{number:07d}")
    for array in _ARRAYS:
        view.define_array(array, "float32", [array], [_CELLS])
        view.write_array(array, [0], _value(number, array))
    view.set_attribute("number", number)
    if number and number % 7 == 0:
        older = store.open_dataset(f"d{chance.randrange(number):07d}")
        older.write_array("u", [3], np.array([-1], "f4"))
        older.set_attribute("changed", number)


def _read(store: Atlas, count: int, chance: random.Random) -> None:
    for number in (count - 1, chance.randrange(count)):
        cells = store.open_dataset(f"d{number:07d}").read_array("t")
        np.testing.assert_array_equal(cells, _value(number, "t"))
    names = [f"d{number:07d}" for number in range(max(0, count - 10), count)]
    assert store.read_array_across_stacked("u", names, [0], [2]).shape == (len(names), 2)


def _check_version(store: Atlas) -> None:
    """Assert that a version holds the datasets that were appended up to it."""
    names = store.list_datasets()
    assert names == [f"d{number:07d}" for number in range(len(names))]
    for name in names[:: max(1, len(names) // 20)]:
        np.testing.assert_array_equal(store.open_dataset(name).read_array("time"), _value(int(name[1:]), "time"))


def _check(steady: list[Lap], course: Course) -> None:
    """Assert that what is counted has levelled out."""
    assert len(steady) >= 4, "the run is too short to tell"
    half = len(steady) // 2
    early, late = steady[:half], steady[half:]
    # Packs and links are for good, but few: one for each run of commits, and one for each compaction.
    lasting = (late[-1].flushes - early[0].flushes) * (1 / course.limits.pack_commits + 1 / course.compact_every)
    counts = [[lap.files.total() for lap in laps] for laps in (early, late)]
    assert max(counts[1]) <= 1.1 * max(counts[0]) + lasting + 10, counts
    assert all(lap.files["commits"] <= course.limits.pack_commits + 2 for lap in steady), steady
    per_flush = [sum(lap.made for lap in laps) / len(laps) for laps in (early, late)]
    assert per_flush[1] <= 1.1 * per_flush[0] + 0.2, per_flush
    read = [[lap.documents_read for lap in laps] for laps in (early, late)]
    assert max(read[1]) <= 1.5 * max(read[0]) + 20, read


def _tell(laps: list[Lap]) -> None:
    """Print twenty laps of the run."""
    print(
        "| flushes | files | commits | packs | bases | pages | segments | made per flush | MB on disk | MB in memory |"
        " ms per flush | ms per read | ms to compact | documents read | ms of history |\n" + "|---" * 15 + "|",
        file=sys.stderr,
    )
    for number in range(20):
        some = laps[number * len(laps) // 20 : (number + 1) * len(laps) // 20]
        last = some[-1]
        means = [
            sum(getattr(lap, name) for lap in some) / len(some)
            for name in ("flushing", "reading", "compacting", "documents_read", "listing")
        ]
        cells = [f"{last.flushes:,}", f"{last.files.total():,}", *(f"{last.files[name]:,}" for name in _FOLDERS)]
        cells += [f"{last.made:.2f}", f"{last.stored / 1e6:.1f}", f"{last.memory / 1e6:.0f}"]
        cells += [f"{mean:.1f}" for mean in means]
        print("| " + " | ".join(cells) + " |", file=sys.stderr)


def _memory() -> int:
    """Return the bytes that the process has in memory, 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
