"""The header of a commit, in documents: which version it makes, when, by which action, and the writer's message.

Values to JSON and back. No I/O.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.dataset_columns import check_int

if TYPE_CHECKING:
    from typing import Any

__all__ = ["ACTIONS", "CommitHeader", "header_from_json", "time_from_json", "time_to_json"]

ACTIONS = ("create", "flush", "compact", "rollback")
"""What makes a version."""


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """What describes a commit, apart from its changes."""

    version: int
    """Version of the store after it."""
    time: dt.datetime
    """When its writer made it, by that writer's clock."""
    action: str
    """One of `ACTIONS`."""
    message: str | None
    """Text of the writer for people."""


def time_to_json(time: dt.datetime) -> str:
    """Return a time as documents have it."""
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def time_from_json(value: object) -> dt.datetime:
    """Return the time of a document, or raise `CorruptStoreError`."""
    try:
        time = dt.datetime.fromisoformat(str(value))
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise CorruptStoreError(f"{value!r} is not a time") from None


def header_from_json(document: dict[str, Any]) -> CommitHeader:
    """Return the header of a commit's document, or raise `CorruptStoreError`."""
    action, message = document.get("action"), document.get("message")
    if action not in ACTIONS:
        raise CorruptStoreError(f"its action is {action!r}, not one of {', '.join(ACTIONS)}")
    if not (message is None or isinstance(message, str)):
        raise CorruptStoreError("its message is not text")
    version = check_int(document.get("version"), "version")
    return CommitHeader(version, time_from_json(document.get("time")), str(action), message)
