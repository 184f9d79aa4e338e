"""Opens earlier versions: those before the base that are kept, each in a document of its own, which the base lists.

A version before the base that is not listed was given up. A listed one whose document is missing is damage, unless
another process has made a later base meanwhile.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar

from atlas.catalog.catalog import Catalog
from atlas.commit.documents import is_missing_file
from atlas.errors import CorruptStoreError

if TYPE_CHECKING:
    from atlas.commit.commit_log import CommitLog

__all__ = ["open_earlier"]

_Log = TypeVar("_Log", bound="CommitLog")


def open_earlier(log: _Log, version: int) -> tuple[_Log, Catalog | None]:
    """Return log and catalog of a version before the base; no catalog where another process has made a later base.

    Raises `VersionNotFoundError` where the version is not kept, and `CorruptStoreError`.
    """
    known = log.base
    try:
        opened = copy(log.read_base()[0])
        key = next((kept.key for kept in opened.earlier if kept.version.version == version), None)
        catalog = None if key is None else _read(log, key, version)
    except CorruptStoreError as error:
        if is_missing_file(error) and log.find_base() != known:
            return log, None
        raise
    if log.find_base() != known:
        return log, None
    if catalog is None:
        raise log.not_kept(version, type(log).open(log.storage)[1].version)
    opened.config_since = known.version
    return opened, catalog


def _read(log: CommitLog, key: str, version: int) -> Catalog:
    """Return the catalog that the document of a version holds. Raises `CorruptStoreError`."""
    changes = log.read_state(key)[1]
    if changes.version != version:
        raise CorruptStoreError(
            f"{key} is damaged: it is of version {changes.version}, not {version}; restore it from a copy", key=key
        )
    catalog = Catalog()
    log.apply(catalog, key, changes)
    return catalog
