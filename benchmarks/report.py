"""Rows to lines, tables, JSON, and the page in docs. Ratios are a peer's median over ours: above 1, ours is faster."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.engines import ENGINES, OURS
from benchmarks.operations import OPERATIONS
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.measuring import Row

__all__ = ["HEADING", "Report", "insert", "line", "machine", "summary", "tables"]

HEADING = (
    f"{'workload':9} {'operation':17} {'engine':12} {'median ms':>10} {'min ms':>10} {'runs':>4} {'ratio':>7} "
    f"{'peak MiB':>8} {'disk MiB':>8}"
)
BEGIN, END = "<!-- tables: written by --page -->", "<!-- end of tables -->"

_STACKS = ("zarrs", "tensorstore", "blosc2")


@dataclass(frozen=True)
class Report:
    """All that came of a run."""

    command: str
    machine: dict[str, str]
    load: tuple[float, float]
    """Smallest and largest load average of a minute, before, between and after the workloads."""
    seconds: float
    fraction: float
    """Of the datasets of each workload."""
    versions: dict[str, str]
    """By engine."""
    rows: list[Row]
    notes: list[str]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def machine() -> dict[str, str]:
    """What it runs on, without names or paths."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")), model)
    except OSError:
        pass
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def line(row: Row) -> str:
    """One row for the terminal, under `HEADING`."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    disk = "" if row.mib_on_disk is None else f"{row.mib_on_disk:.2f}"
    return (
        f"{row.workload:9} {row.operation:17} {row.engine:12} {row.median_ms:10.2f} {row.min_ms:10.2f} {row.runs:4} "
        f"{ratio:>7} {row.peak_mib:8.1f} {disk:>8}" + ("" if row.agrees else "  OTHER VALUES")
    )


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    ratio = "" if row.ratio is None or row.engine == OURS else f" **{_number(row.ratio)}x**"
    return f"{_number(row.median_ms)} ({_number(row.min_ms)}){ratio}" + ("" if row.agrees else " OTHER VALUES")


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def _by_key(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row.workload, row.operation, row.engine): row for row in rows}


def tables(rows: Sequence[Row], fraction: float) -> str:
    """Markdown: one table a workload, an operation a line and an engine a column."""
    found = _by_key(rows)
    out: list[str] = []
    for workload in dict.fromkeys(row.workload for row in rows):
        engines = [engine for engine in ENGINES if any((workload, o, engine) in found for o in OPERATIONS)]
        operations = [o for o in OPERATIONS if any((workload, o, engine) in found for engine in engines)]
        body = [[OPERATIONS[o], *(_cell(found.get((workload, o, e))) for e in engines)] for o in operations]
        sizes = [found[workload, "write", e].mib_on_disk if (workload, "write", e) in found else None for e in engines]
        body.append(["on disk, MiB", *("" if size is None else _number(size) for size in sizes)])
        for operation in ("write", "open_slice", "slice"):
            peaks = [found.get((workload, operation, e)) for e in engines]
            title = f"peak memory of {OPERATIONS[operation]}, MiB"
            body.append([title, *("" if row is None else _number(row.peak_mib) for row in peaks)])
        out += ["", f"### {WORKLOADS[workload].scaled(fraction)}", ""]
        out += _table(["ms", *(ENGINES[engine].title for engine in engines)], body)
    return "\n".join(out).strip()


def _ratio(numerator: float | None, denominator: float | None) -> str:
    return "" if numerator is None or not denominator else _number(numerator / denominator)


def summary(rows: Sequence[Row]) -> str:
    """Markdown: what decides which engine to take, as ratios to ours; above 1 is in our favour."""
    found = _by_key(rows)
    workloads = list(dict.fromkeys(row.workload for row in rows))

    def time(workload: str, operation: str, engines: Iterable[str]) -> float | None:
        times = [found[workload, operation, e].median_ms for e in engines if (workload, operation, e) in found]
        return min(times, default=None)

    def size(workload: str, engines: Iterable[str]) -> float | None:
        written = [found[workload, "write", e].mib_on_disk for e in engines if (workload, "write", e) in found]
        return min((each for each in written if each is not None), default=None)

    peers = [engine for engine in ENGINES if engine not in {OURS, "limit"}]
    lines = [
        ("open + slice: atlas-python", "open_slice", ["seed"]),
        ("warm slice: atlas-python", "slice", ["seed"]),
        ("open + slice: fastest of zarrs, tensorstore, blosc2", "open_slice", _STACKS),
        ("warm slice: fastest of zarrs, tensorstore, blosc2", "slice", _STACKS),
        ("warm slice: limit", "slice", ["limit"]),
        ("write: atlas-python", "write", ["seed"]),
        ("write: fastest peer", "write", peers),
    ]
    body = [
        [title, *(_ratio(time(w, operation, engines), time(w, operation, [OURS])) for w in workloads)]
        for title, operation, engines in lines
    ]
    each = [_ratio(time(w, "write_each", ["seed"]), time(w, "write_each", [OURS])) for w in workloads]
    body.append(["write dataset by dataset: atlas-python", *each])
    body.append(["bytes on disk: smallest peer", *(_ratio(size(w, peers), size(w, [OURS])) for w in workloads)])
    return "\n".join(_table(["theirs over ours", *workloads], body))


def insert(report: Report, page: Path) -> None:
    """Replace what stands between the markers of a page by a report."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    machine_line = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    versions = [f"{ENGINES[engine].title}: {what}" for engine, what in report.versions.items() if what]
    load = (
        f"Load average {report.load[0]:.1f} to {report.load[1]:.1f}, the benchmark's own included; "
        f"{report.seconds / 60:.0f} minutes."
    )
    made = [
        BEGIN,
        "",
        f"`{report.command}`",
        "",
        f"Machine: {machine_line}. {load}",
        "",
        "; ".join(versions) + ".",
        "",
        summary(report.rows),
        "",
        tables(report.rows, report.fraction),
        "",
        *(["Left out or failed:", "", *(f"- {note}" for note in report.notes), ""] if report.notes else []),
        END,
    ]
    page.write_text(before + "\n".join(made) + after)
