"""Every error of the library: all derive from `AtlasError`, and each from the builtin error that a caller would expect.

Never imports another module of the package. A message states the rule, the value that broke it and what to do; facts
that a program may need are attributes too.
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
    "IngestError",
    "InvalidIndexError",
    "InvalidNameError",
    "InvalidTypeError",
    "InvalidValueError",
    "MissingAttributeError",
    "MissingExtraError",
    "OutOfRangeError",
    "ReadOnlyError",
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
    """Base of every error that the library raises on purpose."""


class InvalidValueError(AtlasError, ValueError):
    """A value breaks a rule: for example an unknown codec or dtype, or a box outside its array or of the wrong rank."""


class InvalidNameError(InvalidValueError):
    """A dataset, array, dimension or attribute name that cannot be stored."""


class InvalidIndexError(AtlasError, IndexError):
    """An index that NumPy would refuse too: out of bounds, of too many axes, or of a type that is no index."""


class InvalidTypeError(AtlasError, TypeError):
    """Data, a fill value or an attribute of the wrong type."""


class OutOfRangeError(AtlasError, OverflowError):
    """A number, index or time outside the range of its dtype."""


class UnsupportedDtypeError(AtlasError, NotImplementedError):
    """A dtype that cannot be stored, such as complex numbers."""


class _LookupError(AtlasError, KeyError):
    # KeyError shows the repr of its argument; this shows the message itself.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DatasetNotFoundError(_LookupError):
    """The store has no dataset of that name."""


class ArrayNotFoundError(_LookupError):
    """The dataset, or every dataset of a read, lacks an array of that name."""


class MissingAttributeError(_LookupError):
    """The dataset has no attribute of that name."""


class VersionNotFoundError(_LookupError):
    """The store does not have that version: it was never committed, or is no longer kept."""

    def __init__(self, message: str, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version
        """The version requested, where known."""


class DatasetExistsError(AtlasError, FileExistsError):
    """The store already has a dataset of that name."""


class ArrayExistsError(AtlasError, FileExistsError):
    """The dataset already has an array of that name."""


class StoreExistsError(AtlasError, FileExistsError):
    """A store already exists at the location where one was to be created."""


class StoreNotFoundError(AtlasError, FileNotFoundError):
    """There is no store at the location."""


class StorageError(AtlasError, OSError):
    """The storage failed: disk full, no permission, network. `errno` and `filename` are set where known."""


class ReadOnlyError(AtlasError, PermissionError):
    """A change through a handle that was opened with mode "r"."""


class ConditionalPutError(StorageError):
    """The storage lacks atomic put-if-absent, without which two writers could overwrite each other."""


class MissingExtraError(AtlasError, ImportError):
    """A feature needs an optional package that is not installed."""


class CorruptStoreError(AtlasError, RuntimeError):
    """Stored bytes are damaged, missing, or not those of a store."""

    def __init__(
        self, message: str, *, key: str | None = None, dataset: str | None = None, array: str | None = None
    ) -> None:
        super().__init__(message)
        self.key = key
        """Key of the damaged file within the store, where known."""
        self.dataset = dataset
        """Name of the affected dataset, where known."""
        self.array = array
        """Name of the affected array, where known."""


class UnsupportedFormatError(AtlasError, RuntimeError):
    """The store is in a format that this release does not read."""


# MemoryError first: it allocates instances in its own way, and tblib, which dask.distributed pickles errors with, calls
# `__new__` of the first base.
class TooLargeError(MemoryError, AtlasError):
    """A request, or the size that a file declares, exceeds the available memory. The store is unchanged."""

    def __init__(self, message: str, *, asked: int | None = None, available: int | None = None) -> None:
        super().__init__(message)
        self.asked = asked
        """Bytes needed, where known."""
        self.available = available
        """Bytes of memory that were available, where known."""


class IngestError(AtlasError, ValueError):
    """A source could not be stored. What was read before it is committed."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report
        """What became of each source (`atlas.ingest.report.IngestReport`)."""


class StaleHandleError(AtlasError, RuntimeError):
    """The version of the handle is no longer kept: the store was compacted or replaced. Open the store again."""


class ConflictError(AtlasError, RuntimeError):
    """Another writer has committed a change to the same dataset or array; this handle keeps its pending data."""

    def __init__(self, message: str, collisions: tuple[tuple[str, str | None], ...] = ()) -> None:
        super().__init__(message)
        self.collisions = collisions
        """What both writers changed: the name of a dataset, and of its array or None for the dataset itself."""
