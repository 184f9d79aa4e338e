"""Chooses the versions that a compaction keeps. Pure policy; no I/O.

All of some last days are kept. By default the versions before that are thinned: of the last week the last version of
each hour stays, of the last month the last of each day. Hours and days are those of UTC, so that a version that one
compaction has kept stays the last of its hour for the next.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Kept", "Retention"]

_WHOLE_DAYS = 1.0
"""Days of which all versions are kept by default."""
_HOURLY = dt.timedelta(days=7)
"""Age up to which one version an hour is kept by default."""
_DAILY = dt.timedelta(days=30)
"""Age up to which one version a day is kept by default."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The versions to keep."""

    base: int
    """The version from which on all are kept."""
    earlier: tuple[int, ...]
    """Those that are kept before it, ascending."""


class Retention:
    """How many versions to keep: the last `versions` of them, and those that were the latest within the last `days`.

    `days` None is a day, before which versions are thinned. Constructing it raises `InvalidTypeError` or
    `InvalidValueError` for numbers that break these rules.
    """

    def __init__(self, versions: int, days: float | None) -> None:
        if isinstance(versions, bool) or not isinstance(versions, int):
            raise InvalidTypeError(
                f"keep_versions must be an int, not {type(versions).__name__} {versions!r}; "
                "pass 1 to keep only the latest version"
            )
        if isinstance(days, bool) or not isinstance(days, int | float | None):
            raise InvalidTypeError(
                f"keep_days must be an int, a float or None, not {type(days).__name__} {days!r}; "
                "pass 1 to keep the versions of the last day"
            )
        if versions < 1:
            raise InvalidValueError(
                f"keep_versions must be 1 or more, not {versions}; pass 1 to keep only the latest version"
            )
        if days is not None and not days >= 0:
            raise InvalidValueError(f"keep_days must be 0 or more, not {days}; pass 0 to keep no version for its age")
        self.versions = versions
        """Number of the last versions that are kept, whatever their age."""
        self.days = _DAILY.days if days is None else days
        """Days after which no version is kept for its age."""
        self._now = dt.datetime.now(dt.UTC)
        self._is_thinning = days is None
        self._since = _days_before(self._now, _WHOLE_DAYS if days is None else days)

    def choose(self, versions: Sequence[tuple[int, dt.datetime]], base: int) -> Kept:
        """Return which of `versions` to keep: each with the time when it was made, in order, `base` among them.

        Those from `base` on follow each other without gaps.
        """
        times = [time for _, time in versions]
        # A version is the latest, which readers open, until the next is made.
        outdated = next((at for at, time in enumerate(times[1:]) if time > self._since), len(times) - 1)
        whole = max(min(outdated, len(times) - self.versions), 0)
        known = next(at for at, (version, _) in enumerate(versions) if version == base)
        first = max(whole, known)
        earlier = [at for at in range(first) if at >= whole or self._stays(times[at], times[at + 1])]
        if first == known and len(earlier) < known and first + 1 < len(versions):
            earlier, first = [*earlier, first], first + 1  # what earlier versions are kept, only a new base can tell
        return Kept(versions[first][0], tuple(versions[at][0] for at in earlier))

    def _stays(self, time: dt.datetime, following: dt.datetime) -> bool:
        """Return whether a version is kept as the last of its hour or day; the next one was made at `following`."""
        age = self._now - time
        if not self._is_thinning or age > _DAILY:
            return False
        return time.date() != following.date() or (age <= _HOURLY and time.hour != following.hour)


def _days_before(now: dt.datetime, days: float) -> dt.datetime:
    """Return the moment `days` days before `now`; for 0 a moment that never comes."""
    most = (now - dt.datetime.min.replace(tzinfo=dt.UTC)).days
    if not days:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return now - dt.timedelta(days=min(most, days))  # most for infinity too
