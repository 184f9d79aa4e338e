"""`python -m benchmarks.names`: what a flush of many array names takes, beside a bare loop that makes as many files.

Each name has one array of 20 float32: all in one dataset, or each in a dataset of its own. The loop has 16 threads; for
each name it makes a folder, writes a file of as many bytes as the segment has, and syncs file and folder. Flush and
loop run in turn; the median of each counts, and that of the ratios of neighbouring runs. Nothing is deleted before all
have run: for some time after files were deleted, ext4 takes several times longer to make new ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.report import insert_section, table
from benchmarks.targets import number, verdict

__all__ = ["BEGIN", "END", "FLEETS", "flush", "main", "make_files", "rows"]

BEGIN, END = "<!-- names: written by --page -->", "<!-- end of names -->"
FLEETS = {"in one dataset": True, "in a dataset each": False}
"""Whether all arrays are in one dataset, by the title of the row."""
_AIMED = 10_000
"""Names that the target is set for."""
_WANTED = 1.5
_CELLS = 20
_THREADS = 16


def flush(path: Path, count: int, *, together: bool, durable: bool = True) -> float:
    """Seconds of the flush of as many array names to a new store."""
    from atlas import Atlas  # noqa: PLC0415

    store = Atlas.create(path, durable=durable)
    cells = np.random.default_rng(3).random((count, _CELLS), np.float32)
    datasets = store.create_datasets(["all"] if together else [f"dataset{at:06d}" for at in range(count)])
    for at in range(count):
        dataset, name = datasets[0 if together else at], f"array{at:06d}"
        dataset.define_array(name, "float32", ["x"], [_CELLS])
        dataset.write_array(name, [0], cells[at])
    began = time.perf_counter()
    store.flush()
    return time.perf_counter() - began


def make_files(path: Path, count: int, nbytes: int) -> float:
    """Seconds of the bare loop over as many files of `nbytes` bytes."""
    path.mkdir()
    content = np.random.default_rng(3).bytes(nbytes)

    def make(at: int) -> None:
        folder = f"{path}{os.sep}array{at:06d}"
        os.mkdir(folder)  # noqa: PTH102 - the bare call
        descriptor = os.open(f"{folder}{os.sep}content", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.close(descriptor)
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(make, range(count)))
    return time.perf_counter() - began


def rows(path: Path, count: int, runs: int) -> list[list[str]]:
    """The rows of the table for a number of array names; fills the folder `path`."""
    found = []
    for title, together in FLEETS.items():
        seconds: dict[str, list[float]] = {"loop": [], "flush": []}
        for run in range(runs):
            place = path / f"{title} {count} {run}"
            place.mkdir()
            for what in ("loop", "flush") if run % 2 else ("flush", "loop"):
                if what == "flush":
                    taken = flush(place / "store", count, together=together)
                else:
                    taken = make_files(place / "files", count, _segment_bytes(path))
                seconds[what].append(taken)
        ratio = median(ours / bare for bare, ours in zip(*seconds.values(), strict=True))
        reached = verdict(ratio, _WANTED, least=False) if count == _AIMED else number(ratio)
        found.append([f"{count:,}", title, *(number(median(each) * 1e3) for each in seconds.values()), reached])
    return found


def _segment_bytes(path: Path) -> int:
    """Bytes of the segment of one name."""
    place = path / "one"
    if not place.exists():
        flush(place, 1, together=True)
    (segment,) = place.rglob("*.seg")
    return segment.stat().st_size


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.names", description=__doc__)
    parser.add_argument("--names", type=int, nargs="+", default=[1000, _AIMED], metavar="N")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="on whose disk the files are made")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the table between the markers of the page FILE"
    )
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="atlas-names-", dir=arguments.folder) as name:
        _segment_bytes(Path(name))  # compiles what the flush needs
        body = [row for count in arguments.names for row in rows(Path(name), count, arguments.runs)]
        lines = table(["array names", "arrays", "loop, ms", "flush, ms", "flush / loop"], body)
        print("\n".join(lines), flush=True)  # the files of all runs take a while to delete
    if arguments.page:
        insert_section(arguments.page, BEGIN, END, "python -m benchmarks.names", load, lines)


if __name__ == "__main__":
    main()
