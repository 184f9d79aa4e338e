"""Creates a store: where there is none, or in place of an existing one."""

from __future__ import annotations

import datetime as dt
import re
from copy import copy
from typing import TYPE_CHECKING

from atlas.catalog.catalog import Catalog
from atlas.commit.commit_log import CommitLog, list_bases
from atlas.commit.commit_writer import CommitWriter
from atlas.commit.documents import try_read
from atlas.errors import AtlasError, CorruptStoreError, StorageError, StoreExistsError, UnsupportedFormatError
from atlas.format.bases import BaseRef
from atlas.format.changes import Changes
from atlas.format.commit_header import time_from_json, time_to_json
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.runtime.limits import DEFAULT, Limits
from atlas.storage.keys import unique_name

if TYPE_CHECKING:
    from atlas.format.config import StoreConfig
    from atlas.storage import Storage

__all__ = ["create_store"]

_FOLDERS = ("commits", "packs", "arrays", "pages")


def create_store(
    storage: Storage, config: StoreConfig, *, overwrite: bool, limits: Limits = DEFAULT
) -> tuple[CommitLog, Catalog]:
    """Create an empty store and return its log and catalog.

    With `overwrite` an existing store is replaced, in one step, by an empty version after its last one; its files are
    removed afterwards. Raises `StoreExistsError` where a store exists and `overwrite` is not set, and `StorageError`.
    """
    found = _checkpoints(storage)
    if not found:
        return _create(storage, config, limits)
    if not overwrite:
        raise StoreExistsError(
            f"there is a store at {storage.describe} already ({found[0]}); "
            "open it with Atlas.open, or replace it and all its data with overwrite=True"
        )
    try:
        log, catalog = CommitLog.open(storage, limits=limits)
    except (CorruptStoreError, UnsupportedFormatError):
        return _replace_unreadable(storage, config, found, limits)
    return _replace(log, catalog, config)


def _checkpoints(storage: Storage) -> list[str]:
    """Return the names of the checkpoints that exist."""
    return [name for name in CHECKPOINT_NAMES if try_read(storage, name) is not None]


def _empty(storage: Storage, config: StoreConfig, version: int, limits: Limits) -> tuple[CommitLog, Catalog]:
    """Return log and catalog of an empty store whose first version is `version`. Writes nothing."""
    catalog = Catalog()
    catalog.apply(Changes(version, 0), [])
    return CommitLog(storage, config, unique_name(), BaseRef(version, None), _now(), limits), catalog


def _now() -> dt.datetime:
    """Return the time at the resolution that documents keep."""
    return time_from_json(time_to_json(dt.datetime.now(dt.UTC)))


def _create(storage: Storage, config: StoreConfig, limits: Limits) -> tuple[CommitLog, Catalog]:
    """Create a store where there is none; raises `StoreExistsError` where another process does so first."""
    log, catalog = _empty(storage, config, 0, limits)
    name = config.encoding.checkpoint
    data = CommitWriter(log).sum_up(catalog)
    try:
        # A create that the storage repeats after a lost answer meets its own bytes, which name this store.
        made = storage.create(name, data) or try_read(storage, name) == data
    except StorageError:
        if try_read(storage, name) != data:
            raise
        made = True
    # Another process may have created one under another name at the same moment: at least one of the two sees both.
    if not made or _checkpoints(storage) != [name]:
        if made:
            storage.delete([name])
        raise StoreExistsError(
            f"another process has just created a store at {storage.describe}; open it with Atlas.open"
        )
    return log, catalog


def _replace(log: CommitLog, catalog: Catalog, config: StoreConfig) -> tuple[CommitLog, Catalog]:
    """Add an empty version to the history of the store, so that its writers conflict and its readers read on."""
    storage = log.storage
    while True:
        # Files that exist before the commit belong to the old store; later ones may belong to the new one.
        listed = [key for folder in _FOLDERS for key in storage.list(folder)]
        listed += [key for _, key in list_bases(storage)]
        changes = Changes(catalog.version + 1, catalog.next_id, reset=True)
        prepared = CommitWriter(log).prepare(changes, [], action="create", config=config)
        try:
            made = CommitWriter(log).commit(prepared)
        except StorageError:
            if not CommitWriter(log).landed(prepared):
                raise
            made = True
        if made:
            break
        log, catalog, _ = log.advance(catalog)
    catalog.apply(prepared.changes, [])
    before, log = log, copy(log)
    log.config, log.config_since, log.created = config, catalog.version, _now()
    if CommitWriter(log).checkpoint(catalog, force=True):
        storage.delete(key for key in listed if key != before.commit_key(catalog.version))
    return log, catalog


def _replace_unreadable(
    storage: Storage, config: StoreConfig, found: list[str], limits: Limits
) -> tuple[CommitLog, Catalog]:
    """Replace a store that cannot be opened: begin after all versions it may have had, so that its writers conflict."""
    listed = [key for folder in ("arrays", "pages", "packs") for key in storage.list(folder)]
    listed += [key for _, key in list_bases(storage)]
    version = _latest_version(storage, found) + 1
    while True:
        log, catalog = _empty(storage, config, version, limits)
        prepared = CommitWriter(log).prepare(Changes(version, 0, reset=True), [], action="create", config=config)
        # Under each name that the old store may have used for this commit, so that none of its writers finds it free.
        keys = {f"commits/{version:020d}{CHECKPOINT_NAMES[name].extension}" for name in found}
        made = [storage.create(key, prepared.data) for key in sorted(keys)]
        if all(made):
            break
        version += 1
    storage.replace(config.encoding.checkpoint, CommitWriter(log).sum_up(catalog))
    storage.delete(name for name in found if name != config.encoding.checkpoint)
    storage.delete(listed)
    return log, catalog


def _latest_version(storage: Storage, checkpoints: list[str]) -> int:
    """Return the last version that a store may have had, by the names of its files and its checkpoints; 0 for none."""
    keys = [key for folder in ("commits", "packs", "bases") for key in storage.list(folder)]
    numbers = [re.split("[.-]", key.rpartition("/")[2])[0] for key in keys]
    versions = [int(number) for number in numbers if number.isdecimal()]
    for name in checkpoints:
        data = try_read(storage, name)
        try:
            if data is not None:
                versions.append(int(CHECKPOINT_NAMES[name].decode(data)["version"]))
        except (AtlasError, ValueError, KeyError, TypeError):
            continue
    return max(versions, default=0)
