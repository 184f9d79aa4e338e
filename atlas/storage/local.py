"""Objects as files in a folder, written so that a power cut at any moment leaves each whole or absent.

A file is written under a temporary name in its folder and linked or renamed into place. `create` and `replace`
synchronise before that step all that was written since the last of them, and the folder after it. Symbolic links inside
the folder are never followed, so a store from elsewhere cannot lead out of it.
"""

# ruff: noqa: D102 - what each method does is said in `Storage`
# ruff: noqa: PTH100, PTH105, PTH108, PTH111, PTH112 - paths are text on the way of every read and write: `pathlib` would add some 7 us to each

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from atlas.errors import AtlasError, ConditionalPutError, StorageError
from atlas.runtime.memory import check_room
from atlas.storage.base import Keys, Part, Storage
from atlas.storage.descriptors import DescriptorCache, read_at
from atlas.storage.durable import (
    gather,
    is_abandoned,
    make_folder,
    name_if_absent,
    open_temporary,
    remove_abandoned,
    sync_ancestors,
    sync_file,
    sync_folder,
    write_all,
)
from atlas.storage.keys import TEMPORARY_PREFIX, check_folder, check_key, is_key, is_temporary
from atlas.storage.ranges import Integers, Octets, check_range, check_ranges, join_adjacent, short_read
from atlas.storage.sync_queue import SyncQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["LocalStorage"]

# O_NONBLOCK so that a pipe laid in a file's place cannot hang the reader; O_BINARY is for Windows.
_READ_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NAMES_OF_OPEN_FILES = sys.platform == "linux"
"""Whether /proc gives open files a name, by which one without another can be linked into place and opened anew."""


class LocalStorage(Storage):
    """The files under one folder, which the first write makes if need be.

    `path` may begin with `~`. `durable=False` leaves out every wait for the disk: still atomic for other processes,
    whoever is killed, but a power cut may take the last objects, or their bytes and leave their names. `descriptors`
    files stay open for reading. Pickles as its path, `durable` and `single_writer`.

    `create` needs a file system with hard links, or Linux and one whose renames can refuse to overwrite, as FAT's can.
    """

    coalesce_gap = 32 * 1024
    """Between two costs of one more range: 2 us from the page cache (measured), which copies 16 KiB in that time, and
    some 100 us from a disk (assumed), which reads 100 KiB or more."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        durable: bool = True,
        *,
        descriptors: int = 64,
        single_writer: bool = False,
    ) -> None:
        self._root = os.path.abspath(os.path.expanduser(os.fspath(path)))
        self._durable = durable
        self._limit = descriptors
        self.single_writer = single_writer
        self._creates = single_writer  # whether `create` is known to work here
        self._open = DescriptorCache(self._open_file, descriptors)
        self._unsettled = SyncQueue()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self._root, self._durable, self._limit, self.single_writer)

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return Path(self._root)

    @property
    def describe(self) -> str:
        return self._root

    @property
    def token(self) -> str:
        return f"local:{os.path.realpath(self._root)}"

    @property
    def durable(self) -> bool:
        return self._durable

    def make_root(self) -> None:
        """Make the folder, and those above it, unless it is there; `StorageError` where that cannot be.

        Either way its name outlives a power cut then, as far as it lies on one file system.
        """
        self._make_root()
        if self._durable:
            with _storage_errors(self._root):
                sync_ancestors(self._root)

    def _make_root(self) -> None:
        with _storage_errors(self._root):
            if not os.path.isdir(self._root):
                make_folder(self._root, durable=self._durable)

    # -- reading

    def read(self, key: str) -> bytes:
        descriptor = self._open_file(key)
        with _storage_errors(self._place(key)), os.fdopen(descriptor, "rb", buffering=0) as file:
            check_room(os.fstat(descriptor).st_size, f"{key!r}", "the machine is too small for this store")
            return file.read()

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        with (
            _storage_errors(self._place(key), missing_is_builtin=True),
            self._open.borrow(key) as (descriptor, size),
        ):
            if offset + length > size:
                raise short_read(key, offset, length, size)
            check_room(2 * length, f"a part of {key!r}", "the machine is too small for this store")
            data = bytearray(length)
            count = read_at(descriptor, memoryview(data), offset)
            if count != length:
                raise short_read(key, offset, length, offset + count)
        return bytes(data)

    def read_into(self, key: str, offsets: Integers, lengths: Integers, out: Octets, places: Integers) -> None:
        check_ranges(offsets, lengths, out, places)
        columns = [column.tolist() for column in join_adjacent(offsets, lengths, places)]
        view = out.data
        with (
            _storage_errors(self._place(key), missing_is_builtin=True),
            self._open.borrow(key) as (descriptor, size),
        ):
            for offset, length, place in zip(*columns, strict=True):
                if offset + length > size:
                    raise short_read(key, offset, length, size)
                count = read_at(descriptor, view[place : place + length], offset)
                if count != length:
                    raise short_read(key, offset, length, offset + count)

    def size(self, key: str) -> int:
        descriptor = self._open_file(key)
        try:
            with _storage_errors(self._place(key)):
                return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def list(self, prefix: str = "") -> Keys:
        return sorted(key for key in self._walk(check_folder(prefix)) if is_key(key))

    def leftovers(self) -> Keys:
        """Return the temporaries of writers that were killed; those of living writers, in any process, are left out."""
        return sorted(key for key in self._walk("") if is_temporary(key) and self._is_abandoned(key))

    def _is_abandoned(self, key: str) -> bool:
        path = self._place(key)
        with _storage_errors(path):
            return is_abandoned(path)

    def spill_file(self) -> IO[bytes]:
        if not os.path.isdir(self._root):
            return super().spill_file()
        try:
            # Without O_EXCL, so that it may be given a name.
            descriptor = os.open(self._root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except (AttributeError, OSError):  # not every system and file system has files without names
            return tempfile.TemporaryFile(dir=self._root, prefix=TEMPORARY_PREFIX, buffering=0)
        return os.fdopen(descriptor, "w+b", buffering=0)

    def hasten(self, file: IO[bytes]) -> None:
        if not self._durable or not _NAMES_OF_OPEN_FILES:
            return
        # By an opening of its own: each is told once of a write that was lost, and the commit's must be among them.
        descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # -- writing

    def create(self, key: str, data: bytes) -> bool:
        path = self._place(check_key(key))
        with _storage_errors(path):
            folder = self._folder_of(key, make=True)
        if self._is_there(path):
            # Whoever made it may have failed just before this step, and be the caller who now tries again.
            self._sync(folder)
            return False
        with self._temporary(path, folder, (data,)) as (temporary, descriptor, _):
            if self._durable:
                # The names beside it too: whoever made the last of them may not have waited for it, or in vain.
                self._unsettled.add_names(folder)
            self._settle(descriptor)
            made = name_if_absent(temporary, path)
            if made is None:
                made = self._name_alone(temporary, path)
        self._creates = True
        self._sync(folder)
        return made

    def replace(self, key: str, data: bytes) -> None:
        path = self._place(check_key(key))
        with _storage_errors(path):
            folder = self._folder_of(key, make=True)
            self._check_creates(folder)
        with self._temporary(path, folder, (data,)) as (temporary, descriptor, _):
            self._settle(descriptor)
            os.replace(temporary, path)
        self._open.forget(key)
        self._sync(folder)

    def write(self, key: str, parts: Iterable[Part]) -> int:
        path = self._place(check_key(key))
        with _storage_errors(path):
            folder = self._folder_of(key, make=True)
        with (
            self._temporary(path, folder, parts) as (temporary, descriptor, total),
            self._unsettled_file(path, descriptor),
        ):
            os.replace(temporary, path)
        self._open.forget(key)
        return total

    def adopt(self, key: str, file: IO[bytes]) -> bool:
        path = self._place(check_key(key))
        descriptor = file.fileno()
        with _storage_errors(path):
            self._folder_of(key, make=True)
            try:
                with self._unsettled_file(path, descriptor):
                    # The descriptor given for a folder is not used, but asks for the call that follows links.
                    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
            except (OSError, NotImplementedError):  # of another file system, or one that knows no such step
                return False
        return True

    def delete(self, keys: Iterable[str]) -> None:
        folders: dict[str, None] = {}
        for key in keys:
            if not is_temporary(key):
                check_key(key)
            path = self._place(key)
            self._open.forget(key)
            self._unsettled.forget(path)
            with _storage_errors(path), suppress(FileNotFoundError, NotADirectoryError):
                folder = self._folder_of(key, make=False)
                if is_temporary(key):
                    remove_abandoned(path)
                else:
                    os.unlink(path)
                folders[folder] = None
        for folder in folders:
            self._sync(folder)

    # -- the ground

    def _place(self, key: str) -> str:
        return f"{self._root}{os.sep}{key.replace('/', os.sep)}"

    def _folder_of(self, key: str, *, make: bool) -> str:
        # Each folder is looked at every time, some 2 us apiece, so that no order of events can slip in a link.
        if make:
            self._make_root()
        folder = self._root
        for part in key.split("/")[:-1]:
            folder = f"{folder}{os.sep}{part}"
            try:
                mode = os.lstat(folder).st_mode
            except FileNotFoundError:
                if not make:
                    raise
                make_folder(folder, durable=False)
                mode = os.lstat(folder).st_mode
            if stat.S_ISLNK(mode):
                raise StorageError(errno.ELOOP, "symbolic links inside a store are not followed", folder)
            if make and self._durable:
                # Also where it was there: whoever made it may not have waited for its name.
                self._unsettled.add_folder(folder)
        return folder

    def _name_alone(self, temporary: str, path: str) -> bool:
        """Give a file its name where nothing but the user's word keeps others from it."""
        if not self.single_writer:
            raise self._no_create()
        if self._is_there(path):
            return False
        os.replace(temporary, path)
        return True

    def _check_creates(self, folder: str) -> None:
        """Raise before something is overwritten that `create` would have refused to lead to."""
        if self._creates:
            return
        descriptor, temporary = open_temporary(folder)
        try:
            self._creates = name_if_absent(temporary, f"{temporary}-") is not None
        finally:
            os.close(descriptor)
            for name in (temporary, f"{temporary}-"):
                with suppress(FileNotFoundError):
                    os.unlink(name)
        if not self._creates:
            raise self._no_create()

    def _no_create(self) -> ConditionalPutError:
        return ConditionalPutError(
            errno.ENOTSUP,
            "the file system has neither hard links nor renames that refuse to overwrite, so that two writers could "
            "overwrite each other; keep the store elsewhere, or, where one writer alone is guaranteed, pass "
            "single_writer=True to Atlas.create or Atlas.open",
            self._root,
        )

    def _is_there(self, path: str) -> bool:
        with _storage_errors(path):
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return False
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "a folder lies in the object's place", path)
            return True

    def _open_file(self, key: str) -> int:
        path = self._place(check_key(key))
        with _storage_errors(path, missing_is_builtin=True):
            self._folder_of(key, make=False)
            descriptor = os.open(path, _READ_FLAGS)
            try:
                mode = os.fstat(descriptor).st_mode
            except OSError:
                os.close(descriptor)
                raise
        if stat.S_ISREG(mode):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise FileNotFoundError(errno.ENOENT, "a folder, not a stored object", path)
        raise StorageError(errno.EINVAL, "not a regular file", path)

    @contextmanager
    def _temporary(self, path: str, folder: str, parts: Iterable[Part]) -> Iterator[tuple[str, int | None, int]]:
        """Lend name, descriptor and size of a temporary file; neither name nor descriptor is left afterwards.

        The descriptor is None where the file is synchronised and closed already.

        Failures of the file become `StorageError` and name `path`; those of `parts` come through as they are.
        """
        with _storage_errors(path):
            descriptor, temporary = open_temporary(folder)
        try:
            total = 0
            for view in gather(parts):
                with _storage_errors(path):
                    write_all(descriptor, view)
                total += len(view)
            with _storage_errors(path):
                if os.name == "nt":
                    # There an open file cannot be renamed; elsewhere it stays open, for its lock says "in use".
                    if self._durable:
                        sync_file(descriptor)
                    os.close(descriptor)
                    descriptor = -1
                yield temporary, None if descriptor < 0 else descriptor, total
        finally:
            with suppress(OSError):
                os.unlink(temporary)
            if descriptor >= 0:
                os.close(descriptor)

    @contextmanager
    def _unsettled_file(self, path: str, descriptor: int | None) -> Iterator[None]:
        """Note that the file of `descriptor` gets its name within the block and is to be waited for."""
        kept = os.dup(descriptor) if self._durable and descriptor is not None else None
        try:
            yield
        except BaseException:
            if kept is not None:
                os.close(kept)
            raise
        if kept is not None:
            self._unsettled.add_file(path, kept)

    def _settle(self, descriptor: int | None) -> None:
        """Wait for all that was written, and for the file that is about to get its name."""
        if self._durable:
            self._unsettled.settle(*([] if descriptor is None else [descriptor]))

    def _sync(self, folder: str) -> None:
        if self._durable:
            with _storage_errors(folder):
                sync_folder(folder)

    def _walk(self, folder: str) -> Iterator[str]:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            path = self._place(folder) if folder else self._root
            with _storage_errors(path):
                try:
                    if folder:
                        self._folder_of(f"{folder}/", make=False)
                    entries = os.scandir(path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                with entries:
                    for entry in entries:
                        key = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(key)
                        elif entry.is_file(follow_symlinks=False):
                            yield key


def _reopen(path: str, durable: bool, descriptors: int, single_writer: bool = False) -> LocalStorage:
    return LocalStorage(path, durable, descriptors=descriptors, single_writer=single_writer)


@contextmanager
def _storage_errors(path: str, *, missing_is_builtin: bool = False) -> Iterator[None]:
    try:
        yield
    except AtlasError:
        raise
    except OSError as error:
        if missing_is_builtin and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "no such object", path) from None
        raise StorageError(error.errno, error.strerror or str(error), path) from error
