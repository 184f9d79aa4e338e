"""Draws `many.png`, the shapes of many datasets as one: `python docs/many.py`, with the extra `demo` installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

COLOURS = ("#8fb8de", "#f4b67e", "#9fcf95", "#cfa6d6")
"""One for each dataset."""
LENGTHS = (3, 2, 5, 3)
"""Their lengths, where these differ."""
EDGE = "#444444"
RESULT = 8.8
"""Where results begin, in cells."""


def _cell(ax: Axes, x: float, y: float, colour: str, text: object = "") -> None:
    ax.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=EDGE, linewidth=0.9))
    ax.text(x + 0.5, y + 0.52, str(text), ha="center", va="center", fontsize=9.5, color="#222222")


def _missing(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor="#999999", hatch="////", linewidth=0))
    ax.add_patch(Rectangle((x, y), 1, 1, facecolor="none", edgecolor=EDGE, linewidth=0.9))


def _panel(ax: Axes, title: str, rows: Sequence[Sequence[int]]) -> None:
    """Draw the title, and the datasets on the left with the labels of their cells."""
    ax.set(xlim=(-0.2, 22.2), ylim=(5.2, -1.7), aspect="equal")
    ax.axis("off")
    ax.text(0, -1.2, title, fontsize=11, fontweight="bold", va="center")
    for at, labels in enumerate(rows):
        for x, label in enumerate(labels):
            _cell(ax, x, 1.25 * at, COLOURS[at], label)
    ax.annotate("", (7.6, 2.4), (5.7, 2.4), arrowprops={"arrowstyle": "-|>", "color": EDGE, "lw": 1.6})


def _across(ax: Axes, y: float, length: int, text: str) -> None:
    """Name the axis of a result that runs to the right, above it."""
    ax.text(RESULT + length / 2, y - 0.45, text, ha="center", va="center", fontsize=10)


def _stack(ax: Axes, title: str, rows: Sequence[Sequence[int]]) -> None:
    _panel(ax, title, rows)
    width = max(map(len, rows))
    for at, labels in enumerate(rows):
        for x in range(width):
            if x < len(labels):
                _cell(ax, RESULT + x, 0.4 + at, COLOURS[at], labels[x])
            else:
                _missing(ax, RESULT + x, 0.4 + at)
    _across(ax, 0.4, width, f"level: {width}")
    ax.text(RESULT + width + 0.3, 2.4, f"dataset: {len(rows)}", va="center", fontsize=10)
    if width > min(map(len, rows)):
        _missing(ax, RESULT + width + 4.6, 1.9)
        ax.text(RESULT + width + 5.9, 2.4, "missing", va="center", fontsize=10)


def _row(ax: Axes, y: float, rows: Sequence[Sequence[int]], text: str) -> None:
    """Draw the cells of all datasets one after another."""
    cells = [(at, label) for at, labels in enumerate(rows) for label in labels]
    for x, (at, label) in enumerate(cells):
        _cell(ax, RESULT + x, y, COLOURS[at], label)
    _across(ax, y, len(cells), f"{text}: {len(cells)}")


def _concatenated(ax: Axes, title: str, rows: Sequence[Sequence[int]]) -> None:
    _panel(ax, title, rows)
    _row(ax, 1.9, rows, "time")


def _ragged(ax: Axes, title: str, rows: Sequence[Sequence[int]]) -> None:
    _panel(ax, title, rows)
    _row(ax, 0.9, rows, "level")
    for at, labels in enumerate(rows):
        _cell(ax, RESULT + at, 3.5, COLOURS[at], len(labels))
    _across(ax, 3.5, len(rows), f"dataset: {len(rows)}")
    ax.text(RESULT + len(rows) + 0.3, 4.0, "row_size", va="center", fontsize=10, family="monospace")


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure((11, 4.0), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    figure.subplots_adjust(left=0.01, right=0.99, top=1, bottom=0.07, wspace=0.05, hspace=0)
    levels = [range(length) for length in LENGTHS]
    starts = [sum(LENGTHS[:at]) for at in range(len(LENGTHS))]
    times = [range(start, start + length) for start, length in zip(starts, LENGTHS, strict=True)]
    _stack(panels[0][0], "stack: equal lengths", [range(3)] * 4)
    _stack(panels[0][1], "padded stack: lengths that differ", levels)
    _concatenated(panels[1][0], "concatenated along time: one axis in parts", times)
    _ragged(panels[1][1], "ragged: lengths that differ, nothing added", levels)
    caption = "A colour is a dataset, a number in it the label of a cell; row_size counts the cells of each."
    figure.text(0.5, 0.03, caption, ha="center", fontsize=10)
    figure.savefig(path)


if __name__ == "__main__":
    draw(Path(*sys.argv[1:]) if sys.argv[1:] else Path(__file__).with_suffix(".png"))
