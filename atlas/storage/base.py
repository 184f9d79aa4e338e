"""Bytes by key: the contract that every storage keeps and that the rest of the package relies on.

Keys are relative names whose parts are joined by `/` (see `atlas.storage.keys`). Objects are written once and never
changed, except the one document that `replace` overwrites. Every method may be called from many threads at once.
No knowledge of what the bytes mean; imports no room above `runtime`.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError
from atlas.runtime.threads import IO_THREADS
from atlas.storage.keys import TEMPORARY_PREFIX, check_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from atlas.storage.ranges import Int64Array, Uint8Array

__all__ = ["Keys", "Part", "Storage", "view_bytes"]

Part: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.uint8]"
"""What `Storage.write` takes: any contiguous buffer. Its bytes are stored unchanged."""

Keys: TypeAlias = "list[str]"
"""Sorted keys; an alias because `Storage.list` hides the builtin inside the classes."""


def view_bytes(part: Part) -> memoryview:
    """Return the bytes of `part` without a copy; `InvalidTypeError` where they are not contiguous or not a buffer."""
    try:
        view = part.data if isinstance(part, np.ndarray) else memoryview(part)
    except TypeError:
        raise InvalidTypeError(f"stored bytes come from a buffer, not from {type(part).__name__}") from None
    if not view.c_contiguous:
        raise InvalidTypeError("stored bytes come from a contiguous buffer; make a contiguous copy first")
    # A view with a zero in its shape cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


class Storage(ABC):
    """Objects of bytes under keys.

    Errors, on every storage: `InvalidValueError` for a text that is no key, builtin `FileNotFoundError` where an object
    to read is missing, `StorageError` where the storage itself fails (disk full, no permission, network). After a
    `StorageError` from `create`, `replace` or `write` the object exists in full or not at all, and the caller may
    repeat the call; a `create` that succeeded although its answer was lost then returns False.

    `create` and `replace` are barriers: once they return, what they stored survives a power cut, and so does everything
    that was written through the same storage before. `write` and `link_file` need not be durable until the next
    barrier, so that many objects are synced at once.

    A storage pickles as its location, for other processes. One that only its process can reach refuses with
    `InvalidTypeError`.
    """

    coalesce_gap: int = 0
    """Largest gap, in bytes, between two wanted ranges of an object at which one read of both, with the gap, is cheaper
    than two reads.

    The planner of a read coalesces ranges by it. `read_into` reads the ranges that it is given and no others.
    """

    writes_at_once: int = IO_THREADS
    """Small objects to write side by side: requests wait for a service. Files go to memory first, and threads that
    make them would only wait for each other."""

    single_writer: bool = False
    """Asserts that nobody else writes to the location. Needed only without an atomic put-if-absent, see `create`."""

    answers_late: bool = False
    """Whether a write that failed may still take effect later, as a request can that timed out."""

    @property
    @abstractmethod
    def describe(self) -> str:
        """The location, for messages and reprs; holds no secrets."""

    @property
    @abstractmethod
    def token(self) -> str:
        """A text that identifies the location: equal for two storages of one location, where that can be known."""

    @property
    def durable(self) -> bool:
        """Whether barriers sync, as the class promises; False for a storage that was made without it."""
        return True

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the whole object as it is now."""

    @abstractmethod
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`.

        Raises `CorruptStoreError`, naming the key, the range and the true size, where the object is shorter. Nothing
        is allocated for bytes that do not exist.
        """

    @abstractmethod
    def read_into(
        self, key: str, offsets: Int64Array, lengths: Int64Array, out: Uint8Array, out_offsets: Int64Array
    ) -> None:
        """Read many ranges of one object straight into a buffer: range `i` to `out[out_offsets[i]:][:lengths[i]]`.

        `offsets`, `lengths` and `out_offsets` are int64 of equal length in any order, `out` is a contiguous uint8
        array. Ranges may be empty and may overlap in the object, but not in `out`. The other bytes of `out` keep their
        values. Errors as for `read_range`; after one the ranges of `out` hold anything. Only the named bytes are read,
        see `coalesce_gap`; where there are none, a missing object need not be noticed.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """Return the size of the object in bytes."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless the key exists, in one atomic step that only one of many callers can win.

        Returns False, with nothing changed, where the key exists. Either way the object under the key survives a power
        cut once this returns, and so do the objects that were in its folder before, of any writer. Raises
        `StorageError` where an object written before cannot be synced.

        A storage without such a step raises `ConditionalPutError` with nothing changed, from this method and from any
        other write before the first `create`. With `single_writer` it checks for the key and then writes instead.
        Reads never need the step.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Store `data` and overwrite the object under the key, if any.

        Readers see the old bytes or the new, never a mixture; so does a reader after a power cut.
        """

    @abstractmethod
    def write(self, key: str, parts: Iterable[Part]) -> int:
        """Store the concatenated parts as one new object and return its size in bytes.

        The parts are taken one at a time and never held all at once; the caller may reuse a part's memory as soon as
        the next is requested. The object is invisible until it is whole. An error, also one that `parts` raises, leaves
        no object.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Keys:
        """Return the sorted keys in the folder `prefix` and its subfolders; `""` is the whole store.

        `prefix` is the name of a folder, with or without a closing slash, not the beginning of a name. A missing folder
        is empty. Unfinished files are left out, see `list_orphans`.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, in the order given; missing ones are skipped.

        Also takes names from `list_orphans`, and skips those whose writer turns out to be alive.
        """

    def list_orphans(self) -> Keys:
        """Return the sorted names of unfinished files whose writers have died, for `delete`."""
        return []

    def spill_file(self) -> IO[bytes]:
        """Return a new file without a name for staged data, which disappears when closed; errors are `OSError`."""
        return tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, buffering=0)

    def sync_early(self, file: IO[bytes]) -> None:  # noqa: B027 - most storages copy the file and sync the copy
        """Sync a file from `spill_file` ahead of the next barrier, if the barrier then has less to wait for.

        Promises nothing. It raises `OSError`, or `ValueError` for a file that was closed meanwhile, which the caller
        may ignore: the barrier meets the error again.
        """

    def link_file(self, key: str, file: IO[bytes]) -> bool:  # noqa: ARG002 - for storages of files
        """Make a file from `spill_file` the new object `key` without copying it.

        Returns False, with nothing changed, where that is impossible; the caller then copies it with `write`. Nobody
        may write to the file afterwards.
        """
        check_key(key)
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe}>"
