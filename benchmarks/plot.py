"""Draws rows: one panel for each workload and measure, bars on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.engines import ENGINES, OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measuring import Row

__all__ = ["draw"]

_MEASURES = {
    "open_slice": "open + slice, ms",
    "slice": "slice, warm handle, ms",
    "write": "write all, ms",
    "bytes": "on disk, MiB",
}
_OURS, _LIMIT, _PEER = "#c0392b", "#b0b0b0", "#4a6fa5"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG."""
    workloads = list(dict.fromkeys(row.workload for row in rows))
    engines = [engine for engine in ENGINES if any(row.engine == engine for row in rows)]
    figure = Figure((3.2 * len(workloads) + 1, 2.3 * len(_MEASURES)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(_MEASURES), len(workloads), squeeze=False, sharey=True)
    for down, (measure, title) in enumerate(_MEASURES.items()):
        operation = "write" if measure == "bytes" else measure
        for across, workload in enumerate(workloads):
            axes = panels[down][across]
            mine = {row.engine: row for row in rows if (row.workload, row.operation) == (workload, operation)}
            values = {e: (row.mib_on_disk or 0) if measure == "bytes" else row.median_ms for e, row in mine.items()}
            shown = [(at, engine) for at, engine in enumerate(engines) if values.get(engine)]
            if shown:
                bars = axes.barh(
                    [at for at, _ in shown],
                    [values[engine] for _, engine in shown],
                    color=[{OURS: _OURS, "limit": _LIMIT}.get(engine, _PEER) for _, engine in shown],
                )
                axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
                axes.set_xscale("log")
                axes.margins(x=0.25)
            axes.set_title(f"{workload}: {title}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_yticks(range(len(engines)), [ENGINES[engine].title for engine in engines])
    panels[0][0].invert_yaxis()
    figure.savefig(path, dpi=110)
