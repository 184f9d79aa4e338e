"""What a compaction has freed, what earlier versions still hold, and what frees that. A value; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["CompactionReport"]


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction has done to the files of a store."""

    bytes_freed: int
    """Bytes of the files that it removed."""
    files_freed: int
    """Number of these files."""
    bytes_held: int
    """Bytes of the segments and pages that only earlier versions need, as these are kept; their commits aside."""
    held_by: tuple[int, int] | None
    """First and last of the earlier versions that are kept, None where they hold nothing."""
    held_until: dt.datetime | None
    """When none of them is kept for its age any more: a later compaction frees the rest. None where that is unknown."""

    @property
    def free_rest(self) -> str | None:
        """The call that frees the rest at once and gives up the earlier versions, None where nothing is held."""
        return "compact(keep_days=0)" if self.held_by else None

    def __str__(self) -> str:
        """Return it in one line."""
        text = f"freed {self.bytes_freed:,} bytes in {self.files_freed:,} files"
        if self.held_by is None:
            return text
        first, last = self.held_by
        which = f"version {first} holds" if first == last else f"versions {first} to {last} hold"
        until = "" if self.held_until is None else f", until a compaction after {self.held_until:%Y-%m-%d %H:%M} UTC"
        return f"{text}; {which} {self.bytes_held:,} bytes more{until}; {self.free_rest} frees them now"
