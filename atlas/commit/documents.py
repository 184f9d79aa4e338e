"""Reads documents of a store; errors name the file. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import orjson

from atlas.errors import AtlasError, CorruptStoreError, UnsupportedFormatError
from atlas.format.documents import CHECKPOINT_NAMES, HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atlas.format.documents import Encoding
    from atlas.storage import Storage

__all__ = ["decode_document", "holds_checkpoint", "is_missing_file", "missing_file", "size_or_none", "try_read"]

_T = TypeVar("_T")


def try_read(storage: Storage, key: str) -> bytes | None:
    """Return the bytes of a file, None where there is none."""
    try:
        return storage.read(key)
    except FileNotFoundError:
        return None


def size_or_none(storage: Storage, key: str) -> int:
    """Return the size of a file in bytes, 0 where it is missing or the storage fails."""
    try:
        return storage.size(key)
    except (FileNotFoundError, AtlasError):
        return 0


def holds_checkpoint(storage: Storage) -> bool:
    """Return whether there is a checkpoint, of this package and not of another, by its first bytes."""
    for key, encoding in CHECKPOINT_NAMES.items():
        size = size_or_none(storage, key)
        if size and encoding.begins(storage.read_range(key, 0, min(size, HEAD_BYTES))):
            return True
    return False


def missing_file(key: str) -> CorruptStoreError:
    """Return the error for a missing file that another file names."""
    error = CorruptStoreError(f"{key} is missing; restore it from a copy", key=key)
    error.__cause__ = FileNotFoundError(key)
    return error


def is_missing_file(error: BaseException) -> bool:
    """Return whether a missing file is among the causes of an error, however far back."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FileNotFoundError):
        cause = cause.__cause__
    return cause is not None


def decode_document(
    key: str, data: bytes, encoding: Encoding, read: Callable[[dict[str, Any]], _T]
) -> tuple[dict[str, Any], _T]:
    """Return a document and what `read` returns for it.

    Raises `CorruptStoreError` or `UnsupportedFormatError`, which name the file.
    """
    try:
        document = encoding.decode(data)
        return document, read(document)
    except (CorruptStoreError, RecursionError) as error:  # the message shows nested values, which may be too deep
        _refuse_seed_store(key, data)
        raise CorruptStoreError(f"{key} is damaged: {error}; restore it from a copy", key=key) from error
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{key}: {error}") from error


def _refuse_seed_store(key: str, data: bytes) -> None:
    """Raise `UnsupportedFormatError` for the metadata of a store of the package atlas-python."""
    if key == "atlas.json":
        try:
            document = orjson.loads(data)
        except ValueError:
            return
        if isinstance(document, dict) and "xxh3" not in document and {"version", "datasets"} <= set(document):
            raise UnsupportedFormatError(
                "this is a store of atlas-python, whose format this release does not read: read it with the package "
                "that wrote it and add its datasets to a new store"
            )
