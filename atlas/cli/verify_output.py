"""The output of `verify`: a summary, then damaged chunks in tables, grouped by file and fault. No I/O."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from atlas.cli.formatting import count_text, size_text, table_lines, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.verification import VerifyReport

__all__ = ["report_json", "report_lines"]


def report_json(report: VerifyReport) -> str:
    """Return the report as one JSON object, with a field `ok`."""
    return json.dumps({"ok": report.ok} | asdict(report), ensure_ascii=False, indent=2)


def report_lines(report: VerifyReport, *, repair: bool) -> Iterator[str]:
    """Yield the summary, all damage, and what was repaired and exported; `repair` is whether that was asked for."""
    version = str(report.version) if report.version >= 0 else "none can be opened"
    facts = {
        "store": report.store,
        "version": f"{version}, {count_text(report.datasets, 'dataset')}",
        "read": f"{count_text(report.files, 'file')}, {count_text(report.blocks, 'block')}, "
        f"{count_text(report.chunks, 'chunk')}, {size_text(report.bytes)}",
    }
    if report.orphans:
        facts["orphans"] = f"{count_text(report.orphans, 'file')} that no version needs; `atlas compact` removes them"
    facts["found"] = "no damage" if report.ok else count_text(len(report.damage), "damaged piece")
    for name, fact in facts.items():
        yield wrapped(f"{name:<10}", fact, 0)
    yield from _damage_lines(report)
    for what in report.repaired:
        yield wrapped("repaired  ", what, 0)
    if repair and not report.repaired:
        why = "nothing to repair" if report.ok else "nothing; only a damaged checkpoint can be rewritten"
        yield wrapped("repaired  ", why, 0)
    if report.exported is not None:
        missing = f", without {count_text(len(report.left_out), 'array')}:" if report.left_out else ", nothing left out"
        yield wrapped("exported  ", f"undamaged data to {report.exported}{missing}", 0)
        rows = [(dataset, array or "") for dataset, array in report.left_out]
        yield from table_lines(("dataset", "array"), rows, indent=4) if rows else ()


def _damage_lines(report: VerifyReport) -> Iterator[str]:
    for file, of_file in groupby(report.damage, lambda damage: damage.file):
        yield file
        for what, pieces in groupby(of_file, lambda damage: damage.what):
            yield wrapped("", what, 2)
            cells = [damage.cells() for damage in pieces if damage.dataset is not None]
            rows = [(dataset, array, chunk) for _, array, dataset, chunk, _ in cells]
            yield from table_lines(("dataset", "array", "chunk"), rows, indent=4) if rows else ()
