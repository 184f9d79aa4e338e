"""Bytes by key: a folder of files, an object store, or memory, all under the contract of `Storage`.

`open_storage` makes one of what a user hands over. Only `atlas.storage.objects` and `probing` import obstore, and only
when an object store is asked for. No knowledge of what the bytes mean.
"""

from __future__ import annotations

import os
import re
from typing import Any

from atlas.errors import InvalidTypeError, InvalidValueError, MissingExtraError
from atlas.storage.base import Part, Storage
from atlas.storage.local import LocalStorage
from atlas.storage.memory import MemoryStorage

__all__ = ["LocalStorage", "MemoryStorage", "Part", "Storage", "open_storage"]

# `pathlib` makes one slash of two, so a URL that went through a Path is known by its scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(?:s3a?|gs|gcs|az|azure|abfss?|adl|https?|file|memory):/")
_HANDLE_METHODS = ("put", "get", "get_range", "head", "list", "delete")


def open_storage(source: object, *, create: bool = False, durable: bool = True, single_writer: bool = False) -> Storage:
    """Return the storage that `source` stands for.

    A path (`~` is expanded) is a folder of files, an obstore handle a bucket or container, and a `Storage` itself.
    `create` makes a missing folder at once, so that a place that cannot be written is known before any work; else
    nothing is touched. `durable=False` makes a folder that nobody waits for, see `LocalStorage`; a bucket waits for its
    service all the same. `single_writer` is the user's word that nobody else writes there, without which a place that
    lacks conditional puts refuses to be written. A `Storage` was told both when it was made.

    Raises `InvalidValueError` for the text of a URL, `InvalidTypeError` for anything else, `MissingExtraError`
    for a handle where obstore is not installed, `StorageError` where the folder cannot be made.
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
        raise MissingExtraError(
            'object stores need obstore, which is not installed: pip install "atlas-store[cloud]"', name="obstore"
        ) from error
    storage = ObjectStorage(handle, single_writer=single_writer)
    if create:
        storage.check_writable()
    return storage
