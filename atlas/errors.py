"""Every error of the library: one family under `AtlasError`, each also of the builtin kind a caller would expect.

The bottom floor: this module imports nothing of the package. A message names the rule that was broken, the
value that broke it and what to do; facts a program may want are attributes too.
"""

from __future__ import annotations

__all__ = [
    "ArrayExistsError",
    "ArrayNotFoundError",
    "AtlasError",
    "ConditionalPutError",
    "ConflictError",
    "CorruptStoreError",
    "DatasetExistsError",
    "DatasetNotFoundError",
    "InvalidNameError",
    "InvalidTypeError",
    "InvalidValueError",
    "MissingAttributeError",
    "MissingExtraError",
    "OutOfRangeError",
    "StaleHandleError",
    "StorageError",
    "StoreExistsError",
    "StoreNotFoundError",
    "TooLargeError",
    "UnsupportedDtypeError",
    "UnsupportedFormatError",
    "VersionNotFoundError",
]


class AtlasError(Exception):
    """Base of every error the library raises on purpose."""


class InvalidValueError(AtlasError, ValueError):
    """A value breaks a rule: an unknown codec or dtype name, a region out of bounds or of the wrong rank."""


class InvalidNameError(InvalidValueError):
    """A dataset, array or dimension name that the store cannot keep."""


class InvalidTypeError(AtlasError, TypeError):
    """Data, a fill value or an attribute of the wrong type."""


class OutOfRangeError(AtlasError, OverflowError):
    """An integer outside what its dtype, or an index, can hold."""


class UnsupportedDtypeError(AtlasError, NotImplementedError):
    """A dtype that is not stored, bool arrays among them."""


class _LookupError(AtlasError, KeyError):
    # KeyError shows the repr of its argument; a message meant for people is shown as it is.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DatasetNotFoundError(_LookupError):
    """No dataset of that name in the store."""


class ArrayNotFoundError(_LookupError):
    """No array of that name in the dataset, or in any dataset asked for."""


class MissingAttributeError(_LookupError):
    """No attribute of that name in the dataset."""


class VersionNotFoundError(_LookupError):
    """No such version of the store: not made yet, or no longer kept; `version` is the one asked for."""

    def __init__(self, message: str, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version
        """The version asked for."""


class DatasetExistsError(AtlasError, FileExistsError):
    """The dataset is there already."""


class ArrayExistsError(AtlasError, FileExistsError):
    """The array is there already."""


class StoreExistsError(AtlasError, FileExistsError):
    """`create` met an existing store."""


class StoreNotFoundError(AtlasError, FileNotFoundError):
    """`open` met no store."""


class StorageError(AtlasError, OSError):
    """The storage failed: disk full, no permission, network. `errno` and `filename` are kept where known."""


class ConditionalPutError(StorageError):
    """The storage cannot create an object only if it is absent, on which it rests that no writer overwrites another."""


class MissingExtraError(AtlasError, ImportError):
    """A feature needs an optional package that is not installed."""


class CorruptStoreError(AtlasError, RuntimeError):
    """The stored bytes are damaged, missing or not of a store; `key` names the file."""

    def __init__(
        self, message: str, *, key: str | None = None, dataset: str | None = None, array: str | None = None
    ) -> None:
        super().__init__(message)
        self.key = key
        """Key of the damaged file within the store, where known."""
        self.dataset = dataset
        """Name of the dataset whose data is concerned, where known."""
        self.array = array
        """Name of the array whose data is concerned, where known."""


class UnsupportedFormatError(AtlasError, RuntimeError):
    """A store written in a format that this version does not read."""


class TooLargeError(AtlasError, MemoryError):
    """What was asked for, or what a file declares, takes more memory than there is; nothing of it was touched."""

    def __init__(self, message: str, *, asked: int | None = None, available: int | None = None) -> None:
        super().__init__(message)
        self.asked = asked
        """Bytes it takes, where known."""
        self.available = available
        """Bytes of memory that were at hand, where known."""


class StaleHandleError(AtlasError, RuntimeError):
    """What the handle shows is no longer kept: the store was compacted or replaced since. Open it again."""


class ConflictError(AtlasError, RuntimeError):
    """Another writer has changed the same thing; the pending data of this handle is kept."""

    def __init__(self, message: str, collisions: tuple[tuple[str, str | None], ...] = ()) -> None:
        super().__init__(message)
        self.collisions = collisions
        """What both have changed: a dataset's name, and the name of its array or None for the dataset itself."""
