"""Rows as lines, tables, JSON, and the page in docs. Ratios are a peer's median over ours: above 1, ours is faster."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.engines import ENGINES, OURS, PACKED, PEERS, STRONG, UNPACKED
from benchmarks.operations import OPERATIONS
from benchmarks.targets import TARGETS, Figures, MissingError, number
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.measuring import Row

__all__ = [
    "HEADING",
    "Report",
    "against_targets",
    "costs",
    "insert",
    "line",
    "machine",
    "machine_line",
    "replace_between",
    "summary",
    "table",
    "tables",
]

HEADING = (
    f"{'workload':11} {'operation':17} {'engine':18} {'median ms':>10} {'min ms':>10} {'runs':>4} {'ratio':>7} "
    f"{'peak MiB':>8} {'disk MiB':>8}"
)
BEGIN, END = "<!-- tables: written by --page -->", "<!-- end of tables -->"
COSTS_BEGIN, COSTS_END = "<!-- costs: written by --page -->", "<!-- end of costs -->"


@dataclass(frozen=True)
class Report:
    """The results of a run."""

    command: str
    machine: dict[str, str]
    load: tuple[float, float]
    """Smallest and largest one-minute load average, before, between and after the workloads."""
    seconds: float
    fraction: float
    """Share of the datasets of each workload."""
    versions: dict[str, str]
    """Versions by engine."""
    rows: list[Row]
    notes: list[str]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def machine() -> dict[str, str]:
    """The machine, without names or paths."""
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
        f"{row.workload:11} {row.operation:17} {row.engine:18} {row.median_ms:10.2f} {row.min_ms:10.2f} {row.runs:4} "
        f"{ratio:>7} {row.peak_mib:8.1f} {disk:>8}" + ("" if row.agrees else "  OTHER VALUES")
    )


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    ratio = "" if row.ratio is None or row.engine == OURS else f" **{number(row.ratio)}x**"
    return f"{number(row.median_ms)} ({number(row.min_ms)}){ratio}" + ("" if row.agrees else " OTHER VALUES")


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, numbers right-aligned."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def _by_key(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row.workload, row.operation, row.engine): row for row in rows}


def tables(rows: Sequence[Row], fraction: float) -> str:
    """Markdown: one table per workload, one line per operation, one column per engine."""
    found = _by_key(rows)
    out: list[str] = []
    for workload in dict.fromkeys(row.workload for row in rows):
        compared = [name for name, operation in OPERATIONS.items() if not operation.cost]
        engines = [engine for engine in ENGINES if any((workload, o, engine) in found for o in compared)]
        operations = [o for o in compared if any((workload, o, engine) in found for engine in engines)]
        body = [[OPERATIONS[o].title, *(_cell(found.get((workload, o, e))) for e in engines)] for o in operations]
        sizes = [found[workload, "write", e].mib_on_disk if (workload, "write", e) in found else None for e in engines]
        body.append(["on disk, MiB", *("" if size is None else number(size) for size in sizes)])
        for operation in ("write", "open_slice", "slice"):
            peaks = [found.get((workload, operation, e)) for e in engines]
            title = f"peak memory of {OPERATIONS[operation].title}, MiB"
            body.append([title, *("" if row is None else number(row.peak_mib) for row in peaks)])
        out += ["", f"### {WORKLOADS[workload].scaled(fraction)}", ""]
        out += table(["ms", *(ENGINES[engine].title for engine in engines)], body)
    return "\n".join(out).strip()


def _figures(rows: Sequence[Row]) -> dict[str, Figures]:
    """The figures by workload."""
    return {
        workload: Figures({(row.operation, row.engine): row for row in rows if row.workload == workload})
        for workload in dict.fromkeys(row.workload for row in rows)
    }


_RATIOS: dict[str, Callable[[Figures], float]] = {
    "bytes on disk: smallest of zarr (zstd 3), blosc2 (shuffle, zstd 5)": lambda f: f.smaller(*STRONG),
    "warm read of all: fastest of the same": lambda f: f.times("read_all", *STRONG),
    "warm slice: fastest of the same": lambda f: f.times("slice", *STRONG),
    "open + slice: atlas-python": lambda f: f.times("open_slice", "seed"),
    "warm slice: atlas-python": lambda f: f.times("slice", "seed"),
    "warm read of all: atlas-python": lambda f: f.times("read_all", "seed"),
    "one dataset after another: atlas-python": lambda f: f.times("boxes", "seed"),
    "open + slice: fastest of tensorstore, zarrs, blosc2": lambda f: f.times("open_slice", *UNPACKED),
    "warm slice: fastest of tensorstore, zarrs, blosc2": lambda f: f.times("slice", *UNPACKED),
    "open + slice: fastest of the same, packed": lambda f: f.times("open_slice", *PACKED),
    "warm slice: fastest of the same, packed": lambda f: f.times("slice", *PACKED),
    "warm slice: limit": lambda f: f.times("slice", "limit"),
    "write: atlas-python": lambda f: f.times("write", "seed"),
    "write: fastest of tensorstore, zarrs, blosc2": lambda f: f.times("write", *UNPACKED),
    "write: fastest of all peers": lambda f: f.times("write", *PEERS),
    "write dataset by dataset: atlas-python": lambda f: f.times("write_each", "seed"),
    "append one: atlas-python": lambda f: f.times("append", "seed"),
    "bytes on disk: smallest of tensorstore, zarrs, blosc2": lambda f: f.smaller(*UNPACKED),
    "bytes on disk: smallest of all peers": lambda f: f.smaller(*PEERS),
}


def summary(rows: Sequence[Row]) -> str:
    """Markdown: the main ratios of peers to ours; above 1, ours is better."""
    figures = _figures(rows)

    def cell(ratio: Callable[[Figures], float], workload: str) -> str:
        try:
            return number(ratio(figures[workload]))
        except MissingError:
            return ""

    body = [[title, *(cell(ratio, workload) for workload in figures)] for title, ratio in _RATIOS.items()]
    return "\n".join(table(["theirs over ours", *figures], body))


def against_targets(rows: Sequence[Row]) -> str:
    """Markdown: one target per line, with the value reached and the target; in bold where it was missed."""
    figures = _figures(rows)
    aimed = [workload for workload in figures if any(workload in target.wanted for target in TARGETS)]
    body = [[target.title, *(target.of(workload, figures[workload]) for workload in aimed)] for target in TARGETS]
    return "\n".join(table(["target", *aimed], [line for line in body if any(line[1:])]))


def costs(rows: Sequence[Row]) -> str:
    """Markdown: what safety costs, one operation per line, as our time over that of engines that do less.

    Empty if it was not measured.
    """
    found = _by_key(row for row in rows if OPERATIONS[row.operation].cost)
    engines = [engine for engine in ENGINES if any(key[2] == engine for key in found)]

    def cell(row: Row | None) -> str:
        if row is None:
            return ""
        paired = "" if row.paired is None or row.engine == OURS else f" **{row.paired:.3f}**"
        return f"{number(row.median_ms)} ({number(row.min_ms)}){paired}" + ("" if row.agrees else " OTHER VALUES")

    body = [
        [f"{workload}: {OPERATIONS[operation].title}", *(cell(found.get((workload, operation, e))) for e in engines)]
        for workload, operation in dict.fromkeys(key[:2] for key in found)
    ]
    return "\n".join(table(["ms", *(ENGINES[engine].title for engine in engines)], body)) if body else ""


def machine_line() -> str:
    """The machine, as a sentence."""
    return f"Machine: {', '.join(f'{key} {value}' for key, value in machine().items())}."


def replace_between(page: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Replace the lines between two markers of a page."""
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        message = f"{page} needs the markers {begin} and, after it, {end}; add both lines"
        raise ValueError(message)
    page.write_text("\n".join([before + begin, "", *lines, "", end + after]))


def insert_section(page: Path, begin: str, end: str, command: str, load: float, lines: Sequence[str]) -> None:
    """Write the lines that a command has made between two markers of a page; `load` is the load average before."""
    where = f"{machine_line()} Load average {load:.1f} before, {os.getloadavg()[0]:.1f} after."
    replace_between(page, begin, end, [f"`{command}`", "", where, "", *lines])


def _aims(report: Report) -> list[str]:
    if report.fraction < 1:
        return ["Targets are set for all datasets, and this run had fewer."]
    return ["What was reached and what is aimed at; in bold what fell short:", "", against_targets(report.rows)]


def insert(report: Report, page: Path) -> None:
    """Write a report between the markers of a page: each part of the page that the run has rows for."""
    cost = [row for row in report.rows if OPERATIONS[row.operation].cost]
    if cost:
        replace_between(page, COSTS_BEGIN, COSTS_END, _head(report) + _aims(replace(report, rows=cost)) + [
            "", "Medians, minima, and in bold how many times as long ours takes:", "", costs(cost),
        ])  # fmt: skip
    if any(row not in cost and row.operation != "write" for row in report.rows):  # writing is always included
        _insert_tables(report, page)


def _head(report: Report) -> list[str]:
    load = (
        f"Load average {report.load[0]:.1f} to {report.load[1]:.1f}, the benchmark's own included; "
        f"{report.seconds / 60:.0f} minutes."
    )
    return [f"`{report.command}`", "", f"{machine_line()} {load}", ""]


def _insert_tables(report: Report, page: Path) -> None:
    versions = [f"{ENGINES[engine].title}: {what}" for engine, what in report.versions.items() if what]
    lines = [
        *_head(report),
        "; ".join(versions) + ".",
        "",
        *_aims(report),
        "",
        summary(report.rows),
        "",
        tables(report.rows, report.fraction),
    ]
    if report.notes:
        lines += ["", "Left out or failed:", "", *(f"- {note}" for note in report.notes)]
    replace_between(page, BEGIN, END, lines)
