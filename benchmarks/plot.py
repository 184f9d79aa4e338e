"""Plots rows: one line of panels per workload, one column per measure, bars on logarithmic axes of whole decades."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.engines import ENGINES, OURS, PACKED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.measuring import Row

__all__ = ["draw"]

_MEASURES = {
    "open_slice": "open + slice, ms",
    "slice": "slice, warm handle, ms",
    "write": "write all, ms",
    "bytes": "on disk, MiB",
}
_COLOURS = {OURS: "#c0392b", "limit": "#b0b0b0"} | dict.fromkeys(PACKED, "#9db4d6")
_PEER = "#4a6fa5"


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _panel(axes: Axes, engines: list[str], values: dict[str, float]) -> None:
    shown = [(at, engine, values[engine]) for at, engine in enumerate(engines) if values.get(engine)]
    axes.set_yticks(range(len(engines)), [ENGINES[engine].title for engine in engines])
    axes.tick_params(labelsize=7, bottom=False, labelbottom=False, left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if not shown:
        return
    bars = axes.barh(
        [at for at, _, _ in shown],
        [value for _, _, value in shown],
        color=[_COLOURS.get(engine, _PEER) for _, engine, _ in shown],
    )
    axes.bar_label(bars, [_text(value) for _, _, value in shown], fontsize=7, padding=2)
    axes.set_xscale("log")
    axes.minorticks_off()
    least, largest = min(value for _, _, value in shown), max(value for _, _, value in shown)
    # Begin a whole decade below the shortest bar, so that equal lengths mean equal values in all panels.
    begin, end = floor(log10(least)) - 1, ceil(log10(largest))
    axes.set_xlim(10.0**begin, 10.0 ** (end + 0.25 * (end - begin)))


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG."""
    workloads = list(dict.fromkeys(row.workload for row in rows))
    shown = {row.engine for row in rows if row.operation in _MEASURES}
    engines = [engine for engine in ENGINES if engine in shown]
    height = 0.4 + 0.145 * len(engines)
    figure = Figure((3.0 * len(_MEASURES) + 1, height * len(workloads)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(workloads), len(_MEASURES), squeeze=False, sharey=True)
    for down, workload in enumerate(workloads):
        for across, (measure, title) in enumerate(_MEASURES.items()):
            operation = "write" if measure == "bytes" else measure
            mine = {row.engine: row for row in rows if (row.workload, row.operation) == (workload, operation)}
            values = {e: (row.mib_on_disk or 0.0) if measure == "bytes" else row.median_ms for e, row in mine.items()}
            panels[down][across].set_title(f"{workload}: {title}", fontsize=8)
            _panel(panels[down][across], engines, values)
    panels[0][0].invert_yaxis()
    figure.suptitle("logarithmic axes; the shorter the better", fontsize=9)
    figure.savefig(path, dpi=110)
