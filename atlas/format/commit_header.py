"""What documents say of versions: who committed one, when and why; and which the oldest is that can still be opened.

Values to JSON and back. No I/O.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.dataset_columns import check_int, check_list
from atlas.format.registry import check_format, check_key
from atlas.format.segment import FORMAT_VERSION

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ACTIONS",
    "BaseRef",
    "CommitHead",
    "base_from_json",
    "base_to_json",
    "head_from_json",
    "link_from_json",
    "link_to_json",
    "time_from_json",
    "time_to_json",
]

ACTIONS = ("create", "flush", "compact", "rollback")
"""What makes a version."""


@dataclass(frozen=True, slots=True)
class CommitHead:
    """What a commit says of itself."""

    version: int
    """Version of the store after it."""
    time: dt.datetime
    """When it was made, by the clock of its writer."""
    action: str
    """One of `ACTIONS`."""
    message: str | None
    """What the writer wanted said of it."""


@dataclass(frozen=True, slots=True)
class BaseRef:
    """The oldest version of a store that is kept, from which later ones are reached commit by commit."""

    version: int
    """The version."""
    key: str | None
    """Key of the checkpoint that holds it, None where it is empty."""


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


def head_from_json(document: dict[str, Any]) -> CommitHead:
    """Return what the document of a commit says of it, or raise `CorruptStoreError`."""
    action, message = document.get("action"), document.get("message")
    if action not in ACTIONS:
        raise CorruptStoreError(f"its action is {action!r}, not one of {', '.join(ACTIONS)}")
    if not (message is None or isinstance(message, str)):
        raise CorruptStoreError("its message is not text")
    version = check_int(document.get("version"), "version")
    return CommitHead(version, time_from_json(document.get("time")), str(action), message)


def base_to_json(base: BaseRef) -> list[Any]:
    """Return the field `base` of a checkpoint."""
    return [base.version, base.key]


def base_from_json(document: dict[str, Any]) -> BaseRef:
    """Return the base that a checkpoint names, or raise `CorruptStoreError`."""
    base = check_list(document, "base")
    if len(base) != 2:
        raise CorruptStoreError(f"its base is {base!r}")
    return BaseRef(
        check_int(base[0], "the version of its base"), None if base[1] is None else check_key(base[1], "bases")
    )


def link_to_json(base: BaseRef, store: str) -> dict[str, Any]:
    """Return the document that leads from one base of a store to the next, which is `base`."""
    return {"atlas": "link", "format": FORMAT_VERSION, "store": store, "version": base.version, "key": base.key}


def link_from_json(document: dict[str, Any], store: str, after: int) -> BaseRef:
    """Return the base that a link leads to, which must be of that store and later than the version `after`."""
    check_format(document, "link")
    version = check_int(document.get("version"), "its version")
    if document.get("store") != store or version <= after:
        raise CorruptStoreError(
            f"it leads from version {after} to version {version} of store {document.get('store')!r}"
        )
    return BaseRef(version, check_key(document.get("key"), "bases"))
