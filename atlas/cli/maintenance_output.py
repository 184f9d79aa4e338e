"""What `rm` and `compact` say of versions and of the space that they hold. No I/O."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from atlas.cli.formatting import count_text, size_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from atlas.maintenance.compaction_report import CompactionReport
    from atlas.maintenance.description import StoreDescription

__all__ = ["compact_line", "held_after_compact_lines", "held_after_rm_lines"]


def compact_line(
    report: CompactionReport, before: StoreDescription, after: StoreDescription, versions: Sequence[int]
) -> str:
    """Return what a compaction has done; `versions` are those that are kept, ascending."""
    removed = report.bytes_freed
    first, last = versions[0], versions[-1]
    which = (
        f"versions {first} to {last} are"
        if len(versions) == last - first + 1
        else (f"{len(versions):,} of the versions {first} to {last} are")
    )
    kept = f"version {last} is kept" if first == last else f"{which} kept"
    if last == before.version:
        return f"reclaimed {size_text(removed)}; {kept}" if removed else f"nothing to reclaim; {kept}"
    # What it has removed, it may have written again without the deleted data.
    less = before.on_disk - after.on_disk
    grown = f"; the store grew by {size_text(-less)}" if less < 0 else ""
    was, now = (sum(array.segments for array in found.arrays) for found in (before, after))
    merged = f"; {count_text(was, 'segment')} became {now:,}" if now < was else ""
    return f"reclaimed {size_text(max(less, 0))}{grown}{merged}; {kept}"


def held_after_rm_lines(store: str, held: int | None) -> Iterator[str]:
    """Yield how to free what earlier versions hold; `held` is its size, None if that cannot be determined."""
    if held != 0:
        size = "their data" if held is None else f"about {size_text(held)}"
        yield wrapped("", f"earlier versions still hold {size}; to give them up and free the space:", 0)
        yield _compact_command(store)


def held_after_compact_lines(store: str, report: CompactionReport) -> Iterator[str]:
    """Yield what the earlier versions hold, until when, and how to free it; nothing if they hold nothing."""
    if report.held_by is not None:
        first, last = report.held_by
        which = f"version {first} still holds" if first == last else f"versions {first} to {last} still hold"
        until = report.held_until
        when = f", of which a compaction after {until:%Y-%m-%d %H:%M} UTC frees the last" if until is not None else ""
        yield wrapped("", f"{which} {size_text(report.bytes_held)}{when}; to free it now:", 0)
        yield _compact_command(store)


def _compact_command(store: str) -> str:
    # Not wrapped, so that it can be pasted. A path that begins with "-" would be taken for an option.
    return f"  atlas compact {shlex.quote('./' + store if store.startswith('-') else store)} --keep-days 0"
