"""Bytes by key: the contract that every storage keeps and that the rest of the package relies on.

Keys are relative names whose parts are joined by `/` (see `atlas.storage.keys`). Objects are written once and never
changed, but for the one document that `replace` overwrites. Every method may be called from many threads at once.
No knowledge of what the bytes mean; nothing above this floor is imported.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np

from atlas.errors import InvalidTypeError
from atlas.storage.keys import TEMPORARY_PREFIX, check_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from atlas.storage.ranges import Integers, Octets

__all__ = ["Keys", "Part", "Storage", "view_bytes"]

Part: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.uint8]"
"""What `Storage.write` takes: anything contiguous with the buffer protocol; its bytes are stored as they lie."""

Keys: TypeAlias = "list[str]"
"""Keys in sorted order; named because `Storage.list` hides the builtin inside the classes."""


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

    Errors, on every storage: `InvalidValueError` for a text that is no key, builtin `FileNotFoundError` where an
    object that is read is missing, `StorageError` where the storage itself fails (disk full, no permission, network).
    After a `StorageError` from `create`, `replace` or `write` the object is there in full or not at all, and the
    same call may be made again; a `create` that was carried out although its answer was lost then meets itself.

    `create` and `replace` are barriers: what they store outlives a power cut once they have returned, and never without
    all that was written through the same storage before. What `write` and `adopt` store need not last until then, so
    that many objects are waited for at once.
    """

    coalesce_gap: int = 0
    """Bytes between two wanted ranges of an object up to which it is cheaper to read them too than to read twice.

    Who plans reads joins ranges by it before `read_into`, which reads the ranges that it is given and no others.
    """

    single_writer: bool = False
    """Whether the user has said that nobody else writes to the place; see `create`."""

    answers_late: bool = False
    """Whether a write that failed may still take effect later, as a request can that was given up for lost."""

    @property
    @abstractmethod
    def describe(self) -> str:
        """The place, for messages and reprs; holds no secrets."""

    @property
    @abstractmethod
    def token(self) -> str:
        """A text that names the place: equal for two storages of one place, wherever that can be known."""

    @property
    def durable(self) -> bool:
        """Whether barriers wait for the disk, as said above; False where who made the storage gave that up."""
        return True

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the whole object as it is now."""

    @abstractmethod
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`.

        Raises `CorruptStoreError`, naming the key, the range and the true size, where the object does not have
        them all. Nothing is allocated for bytes that are not there.
        """

    @abstractmethod
    def read_into(self, key: str, offsets: Integers, lengths: Integers, out: Octets, places: Integers) -> None:
        """Read many ranges of one object straight into a buffer: `out[places[i]:][:lengths[i]]` is range `i`.

        `offsets`, `lengths` and `places` are int64 of equal length in any order, `out` a contiguous uint8 array.
        Ranges may be empty and may overlap in the object; places must not overlap. Bytes of `out` outside the
        places are left alone. Errors as for `read_range`; after one the places hold anything.
        A storage need not look for an object of which nothing is wanted, and reads no byte that is not: see
        `coalesce_gap`.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """Return the bytes of the object."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless the key is there already, in one step that only one of many callers can win.

        Returns False, with nothing changed, where the key is there. Either way the object that is there when this
        returns outlives a power cut, and never without those that were beside it before, whoever made them.
        Raises `StorageError` where an object written before cannot be made to last.

        Where the place has no such step, this and every other write that comes before the first `create` raise
        `ConditionalPutError`, with nothing changed, unless `single_writer` says that nobody competes; then it looks
        and writes. Reading never asks.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Store `data` in place of what may be there: readers meet the old bytes or the new, never a mixture.

        A power cut leaves the old bytes or the new as well.
        """

    @abstractmethod
    def write(self, key: str, parts: Iterable[Part]) -> int:
        """Store the parts, one after the other, as one new object and return its size in bytes.

        The parts are taken one at a time and never held all at once; a part's memory may be used again as soon as
        the next is asked for. Nobody sees the object before it is whole; an error, of `parts` too, leaves none.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Keys:
        """Return the sorted keys in the folder `prefix` and the folders in it; `""` is the whole store.

        `prefix` is a folder's name, with or without a closing slash, not the beginning of a name. Unfinished files
        are left out; a folder that is not there is empty.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, in the order given; missing ones are fine.

        Takes the names of `leftovers` too, and leaves those of which a writer turns out to live.
        """

    def leftovers(self) -> Keys:
        """Return the sorted names of unfinished files whose writers are gone, for `delete`."""
        return []

    def spill_file(self) -> IO[bytes]:
        """Return a new file without a name for data that waits, which goes when it is closed; errors are `OSError`."""
        return tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, buffering=0)

    def hasten(self, file: IO[bytes]) -> None:  # noqa: B027 - most storages copy the file and wait for the copy
        """Bring a file from `spill_file` to the disk early, where a barrier has less to wait for then.

        Promises nothing: what goes wrong here, an `OSError` or a file closed meanwhile, the barrier meets again.
        """

    def adopt(self, key: str, file: IO[bytes]) -> bool:  # noqa: ARG002 - for storages of files
        """Make a file from `spill_file` the new object `key` without copying it, where that can be done.

        Returns False where it cannot, with nothing changed: `write` its bytes then. Nobody may write to the file
        afterwards.
        """
        check_key(key)
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe}>"
