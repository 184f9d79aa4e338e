"""Shows how far adding has come: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from atlas.ingest.report import IngestReport

__all__ = ["Progress"]

_LINE_SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""
_COUNT_SECONDS = 0.5
"""Seconds between two counts of what became of the sources, of which there may be a million."""


class Progress:
    """Shows counts, rate and the time left, on stderr. Call it after each source, and close it."""

    def __init__(self, unit: str = "file", *, has_total: bool = True) -> None:
        """Count in `unit`; without `has_total`, the report counts sources as they come."""
        self._unit, self._has_total = unit, has_total
        self._out: TextIO = sys.stderr
        self._begun = self._shown = time.monotonic()
        self._counted = -math.inf
        self._bar = tqdm(unit=unit, file=self._out, leave=False, dynamic_ncols=True, disable=None)

    def __call__(self, report: IngestReport) -> None:
        """Show what has become of the sources so far."""
        if self._has_total and self._bar.total is None:
            self._bar.reset(report.sources)
        now = time.monotonic()
        if self._bar.disable:
            if now - self._shown >= _LINE_SECONDS:
                self._shown = now
                print(self._line(report, now - self._begun), file=self._out, flush=True)
            return
        is_last = self._has_total and len(report.results) == report.sources
        if now - self._counted >= _COUNT_SECONDS or is_last:
            self._counted = now
            self._bar.set_postfix(stored=report.count("stored"), failed=len(report.failures), refresh=False)
        self._bar.update()

    def _line(self, report: IngestReport, seconds: float) -> str:
        done = len(report.results)
        rate = done / seconds
        total = f" of {report.sources:,}" if self._has_total else ""
        left = f", {tqdm.format_interval((report.sources - done) / rate)} left" if self._has_total else ""
        units = f"{self._unit}s"
        return f"{done:,}{total} {units}, {len(report.failures):,} failed, {rate:.3g} {units}/s{left}"

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
