"""Bases and the links between them, in documents: from which version on all can be opened.

Values to JSON and back. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.changes import check_format, check_key
from atlas.format.dataset_columns import check_int, check_list
from atlas.format.segment import FORMAT_VERSION

if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseRef", "base_from_json", "base_to_json", "link_from_json", "link_to_json"]


@dataclass(frozen=True, slots=True)
class BaseRef:
    """The version from which on all are kept. Later ones are reached from it commit by commit."""

    version: int
    """The version."""
    key: str | None
    """Key of the document that holds it, None where that version is empty."""


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
