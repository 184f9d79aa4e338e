"""Bytes by key: a folder of files, an object store, or memory, all under the contract of `Storage`.

- `base`             the contract; `keys` the rules for names; `ranges` pure functions on byte ranges
- `local`            files in a folder
- `descriptors`      its open files; `durable` its single steps; `sync_queue` its files that are not synced yet
- `objects`          objects behind an obstore handle
- `obstore_handle`   the methods that it calls; `conditional_put` the probe for an atomic put-if-absent
- `urls`             files behind URLs, to read, whatever their names
- `memory`           a dictionary, for tests and throw-away stores

`open_storage` makes one from what a user passes. obstore is imported only for an object store, by `objects`,
`obstore_handle`, `urls` and `conditional_put`. No knowledge of what the bytes mean.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.installation import missing_extra
from atlas.storage.base import Part, Storage
from atlas.storage.local import LocalStorage
from atlas.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from atlas.storage.obstore_handle import ObstoreHandle

__all__ = ["LocalStorage", "MemoryStorage", "Part", "Storage", "StoreSource", "open_storage"]

StoreSource: TypeAlias = "str | os.PathLike[str] | ObstoreHandle | Storage"
"""Where a store is: a folder, a bucket behind an obstore handle or a wrapper around one, or a storage."""

# `pathlib` makes one slash of two, so a URL that went through a Path is known by its scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(?:s3a?|gs|gcs|az|azure|abfss?|adl|https?|file|memory):/")
_HANDLE_METHODS = ("put", "get", "get_range", "head", "list", "delete")


def open_storage(source: object, *, create: bool = False, durable: bool = True, single_writer: bool = False) -> Storage:
    """Return the storage that `source` stands for.

    A path (`~` is expanded) is a folder of files, an obstore handle a bucket or container, a `Storage` itself.
    `create` makes a missing folder at once, so that a location that cannot be written fails before any work; otherwise
    nothing is touched. `durable=False` skips syncs of files, see `LocalStorage`, and changes nothing for object stores.
    `single_writer` asserts a single writer; needed only where the location has no atomic put-if-absent. A `Storage`
    keeps the values it was made with.

    Raises `InvalidValueError` for the text of a URL or a `~` without a home folder, `InvalidTypeError` for anything
    else, `MissingExtraError` for a handle where obstore is not installed, `StorageError` where the folder cannot be
    made.
    """
    if isinstance(source, Storage):
        return source
    if isinstance(source, str | os.PathLike):
        return _open_folder(os.fspath(source), create=create, durable=durable, single_writer=single_writer)
    if not isinstance(source, type) and all(callable(getattr(source, name, None)) for name in _HANDLE_METHODS):
        return _open_objects(source, create=create, single_writer=single_writer)
    raise InvalidTypeError(
        "a store lies at a path (str or os.PathLike) or behind an obstore handle such as obstore.store.S3Store(...); "
        f"got {type(source).__name__}"
    )


def _open_folder(path: str | bytes, *, create: bool, durable: bool, single_writer: bool) -> LocalStorage:
    if isinstance(path, bytes):
        raise InvalidTypeError("a path is a str; decode it with os.fsdecode first")
    if not path or "\0" in path:
        raise InvalidValueError(f"{path!r} is not a path")
    if _URL.match(path):
        raise InvalidValueError(
            f"{path!r} looks like a URL; pass an obstore handle instead, as obstore.store.from_url(...) makes"
        )
    storage = LocalStorage(path, durable, single_writer=single_writer)
    if create:
        storage.make_root()
    return storage


def _open_objects(handle: Any, *, create: bool, single_writer: bool) -> Storage:
    try:
        from atlas.storage.objects import ObjectStorage  # noqa: PLC0415 - obstore is optional
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "obstore":
            raise
        raise missing_extra("cloud", "object stores need obstore", "obstore") from error
    storage = ObjectStorage(handle, single_writer=single_writer)
    if create:
        storage.check_writable()
    return storage
