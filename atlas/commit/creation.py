"""Making a store: where there is none, or in place of one that is there."""

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

_FOLDERS = ("commits", "arrays", "pages")


def create_store(
    storage: Storage, config: StoreConfig, *, overwrite: bool, limits: Limits = DEFAULT
) -> tuple[CommitLog, Catalog]:
    """Create an empty store.

    With `overwrite` a store that is there is replaced, in one step, by an empty version after its last; its files go
    afterwards. Raises `StoreExistsError` where there is one and it shall not be overwritten.
    """
    found = _checkpoints(storage)
    if not found:
        return _create(storage, config, limits)
    if not overwrite:
        raise StoreExistsError(
            f"there is a store at {storage.describe} already ({found[0]}); "
            "open it with Atlas.open, or pass overwrite=True"
        )
    try:
        log, catalog = CommitLog.open(storage, limits=limits)
    except (CorruptStoreError, UnsupportedFormatError):
        return _replace_unreadable(storage, config, found, limits)
    return _replace(log, catalog, config)


def _checkpoints(storage: Storage) -> list[str]:
    return [name for name in CHECKPOINT_NAMES if try_read(storage, name) is not None]


def _empty(storage: Storage, config: StoreConfig, version: int, limits: Limits) -> tuple[CommitLog, Catalog]:
    catalog = Catalog()
    catalog.apply(Changes(version, 0), [])
    return CommitLog(storage, config, unique_name(), BaseRef(version, None), _now(), limits), catalog


def _now() -> dt.datetime:
    """Return the time as documents keep it."""
    return time_from_json(time_to_json(dt.datetime.now(dt.UTC)))


def _create(storage: Storage, config: StoreConfig, limits: Limits) -> tuple[CommitLog, Catalog]:
    log, catalog = _empty(storage, config, 0, limits)
    name = config.encoding.checkpoint
    data = CommitWriter(log).sum_up(catalog)
    try:
        # A create that is tried again after its answer was lost meets its own bytes, which name this store.
        made = storage.create(name, data) or try_read(storage, name) == data
    except StorageError:
        if try_read(storage, name) != data:
            raise
        made = True
    # Under another name another process may have made one at the same moment: at least one of the two sees it.
    if not made or _checkpoints(storage) != [name]:
        if made:
            storage.delete([name])
        raise StoreExistsError(
            f"another process has just created a store at {storage.describe}; open it with Atlas.open"
        )
    return log, catalog


def _replace(log: CommitLog, catalog: Catalog, config: StoreConfig) -> tuple[CommitLog, Catalog]:
    """Go on with an empty version in the same history, so that no writer or reader of the store is led astray."""
    storage = log.storage
    while True:
        # What is there before the commit is of the store that goes; what comes later may be of the one that begins.
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
    """Begin anew after every version that may have been, so that handles of the damaged store conflict."""
    listed = [key for folder in ("arrays", "pages") for key in storage.list(folder)]
    listed += [key for _, key in list_bases(storage)]
    version = _latest_version(storage, found) + 1
    while True:
        log, catalog = _empty(storage, config, version, limits)
        prepared = CommitWriter(log).prepare(Changes(version, 0, reset=True), [], action="create", config=config)
        # In each way that the store may have written its commits, which stay: their numbers must not be free.
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
    """Return the last version of a store that need not be readable."""
    numbers = [
        re.split("[.-]", key.rpartition("/")[2])[0] for folder in ("commits", "bases") for key in storage.list(folder)
    ]
    versions = [int(number) for number in numbers if number.isdecimal()]
    for name in checkpoints:
        data = try_read(storage, name)
        try:
            if data is not None:
                versions.append(int(CHECKPOINT_NAMES[name].decode(data)["version"]))
        except (AtlasError, ValueError, KeyError, TypeError):
            continue
    return max(versions, default=0)
