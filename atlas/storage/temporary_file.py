"""A file under a temporary name, and the errors of the system as those of a storage.

Holds a path and a descriptor; makes, writes and syncs nothing.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from atlas.errors import AtlasError, StorageError

__all__ = ["StorageErrors", "TemporaryFile"]


@dataclass(slots=True)
class TemporaryFile:
    """A file under a temporary name."""

    descriptor: int | None
    """A descriptor for writing; None where the file is synced and closed already, or another owner closes it."""
    path: str
    """The name."""
    size: int = 0
    """Bytes that were written."""
    is_renamed: bool = False
    """Whether it has another name instead."""

    def fileno(self) -> int:
        """Return the descriptor."""
        assert self.descriptor is not None
        return self.descriptor

    def give_away(self) -> int:
        """Return the descriptor, for a new owner, who closes it."""
        descriptor, self.descriptor = self.fileno(), None
        return descriptor

    def rename(self, path: str) -> None:
        """Give it the name `path`, also where another file has it."""
        os.replace(self.path, path)  # noqa: PTH105 - paths are text
        self.is_renamed = True


class StorageErrors:
    """Makes `StorageError` with `path` of errors of the system.

    A class, as a generator takes several times as long to enter, which each file does a few times.
    """

    __slots__ = ("_missing_is_builtin", "_path")

    def __init__(self, path: str, *, missing_is_builtin: bool = False) -> None:
        self._path = path
        self._missing_is_builtin = missing_is_builtin

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise the error that it makes, if any."""
        if not isinstance(error, OSError) or isinstance(error, AtlasError):
            return
        if self._missing_is_builtin and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "no such object", self._path) from None
        raise StorageError(error.errno, error.strerror or str(error), self._path) from error
