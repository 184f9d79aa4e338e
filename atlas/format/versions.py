"""What a store tells of its versions, and the earlier versions that a base lists. Values to JSON and back. No I/O.

An *earlier version* is one before the base: versions around it were given up, and it has a document of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.changes import check_key
from atlas.format.commit_header import header_from_json, time_to_json
from atlas.format.dataset_columns import check_int, check_list, check_object

if TYPE_CHECKING:
    import datetime as dt
    from typing import Any

__all__ = ["EarlierVersion", "Version", "earlier_from_json", "earlier_to_json"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a store: when and how it was made, and what it changed."""

    version: int
    """Number of the version, as `Atlas.open` takes it."""
    time: dt.datetime
    """When it was made, in UTC, by the clock of its writer."""
    action: str
    """What made it: "create", "flush", "compact" or "rollback"."""
    message: str | None
    """The message of `flush(message=...)` or `rollback`, None where there is none."""
    created: int
    """Number of datasets that it created."""
    changed: int
    """Number of datasets whose arrays or attributes it declared, set or deleted."""
    deleted: int
    """Number of datasets that it deleted."""
    arrays: tuple[str, ...]
    """Names of the arrays that it wrote to, sorted."""

    def __str__(self) -> str:
        """Return it in one line."""
        counts = [
            f"{sign}{count}" for sign, count in (("+", self.created), ("~", self.changed), ("-", self.deleted)) if count
        ]
        datasets = f"datasets {' '.join(counts)}" if counts else ""
        arrays = f"arrays {', '.join(self.arrays)}" if self.arrays else ""
        what = "; ".join(part for part in (datasets, arrays, self.message) if part)
        return f"{self.version:>6}  {self.time:%Y-%m-%d %H:%M:%S}  {self.action:<8}  {what}".rstrip()


@dataclass(frozen=True, slots=True)
class EarlierVersion:
    """A version before the base that is kept."""

    version: Version
    """What it is."""
    key: str
    """Key of the document that holds it."""


def earlier_to_json(earlier: tuple[EarlierVersion, ...]) -> list[dict[str, Any]]:
    """Return the field `earlier` of a base."""
    documents = []
    for kept in earlier:
        of = kept.version
        document = {"key": kept.key, "version": of.version, "time": time_to_json(of.time), "action": of.action}
        document |= {} if of.message is None else {"message": of.message}
        counts = {"created": of.created, "changed": of.changed, "deleted": of.deleted}
        documents.append(document | counts | {"arrays": list(of.arrays)})
    return documents


def earlier_from_json(document: dict[str, Any], base: int) -> tuple[EarlierVersion, ...]:
    """Return the earlier versions that the base of version `base` lists, or raise `CorruptStoreError`."""
    if "earlier" not in document:
        return ()
    found = tuple(_one_from_json(check_object(one, "an earlier version")) for one in check_list(document, "earlier"))
    numbers = [*(kept.version.version for kept in found), base]
    if any(later <= number for number, later in pairwise(numbers)):
        raise CorruptStoreError(f"its earlier versions {numbers[:-1]} do not ascend to its own, {base}")
    return found


def _one_from_json(document: dict[str, Any]) -> EarlierVersion:
    head, arrays = header_from_json(document), check_list(document, "arrays")
    created, changed, deleted = (check_int(document.get(name), name) for name in ("created", "changed", "deleted"))
    if not all(isinstance(array, str) for array in arrays):
        raise CorruptStoreError("names of arrays of an earlier version are not text")
    version = Version(head.version, head.time, head.action, head.message, created, changed, deleted, tuple(arrays))
    return EarlierVersion(version, check_key(document.get("key"), "bases"))
