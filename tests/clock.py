"""A clock that commits and compactions go by, so that days pass in no time."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lend_clock"]

_MODULES = ("commit.commit_writer", "commit.creation", "maintenance.gc", "maintenance.retention")


@contextmanager
def lend_clock(speed: float = 1, at: dt.datetime | None = None) -> Iterator[Any]:
    """Lend a clock, `speed` times as fast from now on, in forked processes too; `ago` is how far it is behind.

    It begins now, or at the moment `at`.
    """
    real = dt.datetime
    begun = real.now(dt.UTC)

    class Clock(dt.datetime):
        ago = dt.timedelta(0)

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return ((at or begun) + (real.now(dt.UTC) - begun) * speed - cls.ago).astimezone(tz)

    with ExitStack() as patches:
        for module in _MODULES:
            patches.enter_context(mock.patch(f"atlas.{module}.dt.datetime", Clock))
        yield Clock
