"""Objects as files in a folder, written so that a power cut at any moment leaves each whole or absent.

A file is written under a temporary name in its folder, and then linked or renamed to its own. `create` and `replace`
sync all pending files before that step, and the folder after it. Symbolic links inside the folder are never followed,
so a copied store cannot lead out of it. No locks between processes: the atomic link or rename decides who wins.
"""

# ruff: noqa: D102 - `Storage` documents the methods
# ruff: noqa: PTH100, PTH108, PTH111, PTH112 - paths are text in every read and write: `pathlib` would add some 7 us to each

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from atlas.errors import ConditionalPutError, InvalidValueError, StorageError
from atlas.runtime.memory import check_room
from atlas.storage.base import Keys, Part, Storage
from atlas.storage.descriptors import DescriptorCache, read_at
from atlas.storage.durable import (
    is_orphan,
    join_small_parts,
    link_if_absent,
    make_folder,
    open_temporary,
    remove_orphan,
    sync_ancestors,
    sync_file,
    sync_folder,
    write_all,
)
from atlas.storage.keys import TEMPORARY_PREFIX, check_folder, check_key, is_key, is_temporary
from atlas.storage.ranges import Int64Array, Uint8Array, check_range, check_ranges, join_adjacent, short_read
from atlas.storage.sync_queue import SyncQueue
from atlas.storage.temporary_file import StorageErrors, TemporaryFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["LocalStorage"]

# O_NONBLOCK so that a pipe under a file's name cannot hang the reader; O_BINARY is for Windows.
_READ_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NAMES_OF_OPEN_FILES = sys.platform == "linux"
"""Whether /proc names open files, so that a file without a name can be linked and opened again."""


class LocalStorage(Storage):
    """The files under one folder, which the first write makes if it is missing.

    `path` may begin with `~`, and is refused where that stands for no home folder. `durable=False` skips every sync:
    writes are still atomic for other processes, also if this one is killed, but a power cut may lose the last objects,
    or their bytes and not their names. `descriptors` files stay open for reading. Pickles as its path, `durable` and
    `single_writer`.

    `create` needs a file system with hard links, or Linux and one whose renames can refuse to overwrite, as FAT's can.
    """

    writes_at_once = 1
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
        expanded = os.path.expanduser(os.fspath(path))
        if expanded.startswith("~"):  # left as it is where the user database knows neither the user nor a home folder
            raise InvalidValueError(
                f"{expanded!r} begins with ~ for the home folder of a user, and there is none: set HOME, or pass an "
                "absolute path"
            )
        with StorageErrors(expanded):  # the working folder may be gone
            self._root = os.path.abspath(expanded)
        self._durable = durable
        self._limit = descriptors
        self.single_writer = single_writer
        self._atomic_create = single_writer  # whether an atomic create is known to work here, or not needed
        self._open = DescriptorCache(self._open_file, descriptors)
        self._sync_queue = SyncQueue()

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
        """Make the folder and those above it, if missing; `StorageError` where that fails.

        Afterwards its name survives a power cut, even if another process made it, within one file system.
        """
        self._make_root()
        if self._durable:
            with StorageErrors(self._root):
                sync_ancestors(self._root)

    def _make_root(self) -> None:
        with StorageErrors(self._root):
            if not os.path.isdir(self._root):
                make_folder(self._root, durable=self._durable)

    # -- reading

    def read(self, key: str) -> bytes:
        descriptor = self._open_file(key)
        with StorageErrors(self._path_of(key)), os.fdopen(descriptor, "rb", buffering=0) as file:
            check_room(os.fstat(descriptor).st_size, f"{key!r}", "the machine is too small for this store")
            return file.read()

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        with (
            StorageErrors(self._path_of(key), missing_is_builtin=True),
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

    def read_into(
        self, key: str, offsets: Int64Array, lengths: Int64Array, out: Uint8Array, out_offsets: Int64Array
    ) -> None:
        check_ranges(offsets, lengths, out, out_offsets)
        columns = [column.tolist() for column in join_adjacent(offsets, lengths, out_offsets)]
        view = out.data
        with (
            StorageErrors(self._path_of(key), missing_is_builtin=True),
            self._open.borrow(key) as (descriptor, size),
        ):
            for offset, length, begin in zip(*columns, strict=True):
                if offset + length > size:
                    raise short_read(key, offset, length, size)
                count = read_at(descriptor, view[begin : begin + length], offset)
                if count != length:
                    raise short_read(key, offset, length, offset + count)

    def size(self, key: str) -> int:
        descriptor = self._open_file(key)
        try:
            with StorageErrors(self._path_of(key)):
                return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def list(self, prefix: str = "") -> Keys:
        return sorted(key for key in self._walk(check_folder(prefix)) if is_key(key))

    def list_orphans(self) -> Keys:
        """Return the temporary files of killed writers; those of living writers, in any process, are left out."""
        return sorted(key for key in self._walk("") if is_temporary(key) and self._is_orphan(key))

    def _is_orphan(self, key: str) -> bool:
        path = self._path_of(key)
        with StorageErrors(path):
            return is_orphan(path)

    def spill_file(self) -> IO[bytes]:
        if not os.path.isdir(self._root):
            return super().spill_file()
        try:
            # Without O_EXCL, so that it can be linked.
            descriptor = os.open(self._root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except (AttributeError, OSError):  # not every system and file system has files without names
            return tempfile.TemporaryFile(dir=self._root, prefix=TEMPORARY_PREFIX, buffering=0)
        return os.fdopen(descriptor, "w+b", buffering=0)

    def sync_early(self, file: IO[bytes]) -> None:
        if not self._durable or not _NAMES_OF_OPEN_FILES:
            return
        # On a descriptor of its own: each reports a lost write once, and the barrier must not miss the report.
        descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # -- writing

    def create(self, key: str, data: bytes) -> bool:
        path = self._path_of(check_key(key))
        with StorageErrors(path):
            folder = self._folder_of(key, make=True)
        if self._exists(path):
            # Its writer may have failed just before this step, and be the caller that now retries.
            self._sync_folder(folder)
            return False
        with self._temporary(path, folder, (data,)) as temporary:
            if self._durable:
                # The other names in the folder too: their writers may not have synced them, or failed to.
                self._sync_queue.add_names(folder)
            self._sync_pending(temporary)
            made = link_if_absent(temporary.path, path)
            if made is None:
                made = self._rename_unless_exists(temporary, path)
        self._atomic_create = True
        self._sync_folder(folder)
        return made

    def replace(self, key: str, data: bytes) -> None:
        path = self._path_of(check_key(key))
        with StorageErrors(path):
            folder = self._folder_of(key, make=True)
            self._check_atomic_create(folder)
        with self._temporary(path, folder, (data,)) as temporary:
            self._sync_pending(temporary)
            temporary.rename(path)
        self._open.forget(key)
        self._sync_folder(folder)

    def write(self, key: str, parts: Iterable[Part]) -> int:
        path = self._path_of(check_key(key))
        with StorageErrors(path):
            self._sync_queue.make_room()
            folder = self._folder_of(key, make=True)
        with self._temporary(path, folder, parts) as temporary:
            temporary.rename(path)
            if self._durable and temporary.descriptor is not None:
                self._sync_queue.add_file(path, temporary.give_away())
        self._open.forget(key)
        return temporary.size

    def link_file(self, key: str, file: IO[bytes]) -> bool:
        path = self._path_of(check_key(key))
        descriptor = file.fileno()
        with StorageErrors(path):
            self._sync_queue.make_room()
            self._folder_of(key, make=True)
            kept = os.dup(descriptor) if self._durable else None
            try:
                # The descriptor given for a folder is not used, but asks for the call that follows links.
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
            except (OSError, NotImplementedError):  # on another file system, or one without hard links
                if kept is not None:
                    os.close(kept)
                return False
            if kept is not None:
                self._sync_queue.add_file(path, kept)
        return True

    def delete(self, keys: Iterable[str]) -> None:
        folders: dict[str, None] = {}
        for key in keys:
            if not is_temporary(key):
                check_key(key)
            path = self._path_of(key)
            self._open.forget(key)
            self._sync_queue.discard(path)
            with StorageErrors(path), suppress(FileNotFoundError, NotADirectoryError):
                folder = self._folder_of(key, make=False)
                if is_temporary(key):
                    remove_orphan(path)
                else:
                    os.unlink(path)
                folders[folder] = None
        for folder in folders:
            self._sync_folder(folder)

    # -- steps

    def _path_of(self, key: str) -> str:
        return f"{self._root}{os.sep}{key.replace('/', os.sep)}"

    def _folder_of(self, key: str, *, make: bool) -> str:
        # Each folder is checked every time, some 2 us each, so that no link can slip in between.
        parts = key.split("/")[:-1]
        if make and not parts:
            self._make_root()
        folder = self._root
        for part in parts:
            folder = f"{folder}{os.sep}{part}"
            try:
                mode = os.lstat(folder).st_mode
            except FileNotFoundError:
                if not make:
                    raise
                if part is parts[0]:
                    self._make_root()
                make_folder(folder, durable=False)
                mode = os.lstat(folder).st_mode
            if stat.S_ISLNK(mode):
                raise StorageError(errno.ELOOP, "symbolic links inside a store are not followed", folder)
            if make and self._durable:
                # Also if it existed: its maker may not have synced its name.
                self._sync_queue.add_folder(folder)
        return folder

    def _rename_unless_exists(self, temporary: TemporaryFile, path: str) -> bool:
        """Rename a file unless the name exists; not atomic, so only for a single writer."""
        if not self.single_writer:
            raise self._refuse_writers()
        if self._exists(path):
            return False
        temporary.rename(path)
        return True

    def _check_atomic_create(self, folder: str) -> None:
        """Raise `ConditionalPutError` before anything is overwritten in a location where `create` would refuse."""
        if self._atomic_create:
            return
        descriptor, temporary = open_temporary(folder)
        try:
            self._atomic_create = link_if_absent(temporary, f"{temporary}-") is not None
        finally:
            os.close(descriptor)
            for name in (temporary, f"{temporary}-"):
                with suppress(FileNotFoundError):
                    os.unlink(name)
        if not self._atomic_create:
            raise self._refuse_writers()

    def _refuse_writers(self) -> ConditionalPutError:
        return ConditionalPutError(
            errno.ENOTSUP,
            "the file system has neither hard links nor renames that refuse to overwrite, so that two writers could "
            "overwrite each other; keep the store elsewhere, or, where one writer alone is guaranteed, pass "
            "single_writer=True to Atlas.create or Atlas.open",
            self._root,
        )

    def _exists(self, path: str) -> bool:
        with StorageErrors(path):
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return False
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "a folder has the name of the object", path)
            return True

    def _open_file(self, key: str) -> int:
        path = self._path_of(check_key(key))
        with StorageErrors(path, missing_is_builtin=True):
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
    def _temporary(self, path: str, folder: str, parts: Iterable[Part]) -> Iterator[TemporaryFile]:
        """Write a temporary file and lend it. Its name is gone afterwards, and its descriptor unless it is given away.

        Failures of the file become `StorageError` and name `path`; those of `parts` are raised unchanged.
        """
        errors = StorageErrors(path)
        with errors:
            temporary = TemporaryFile(*open_temporary(folder))
        try:
            for view in join_small_parts(parts):
                with errors:
                    write_all(temporary.fileno(), view)
                temporary.size += len(view)
            with errors:
                if os.name == "nt":
                    # Windows renames no open file. Elsewhere it stays open, because its lock marks it as in use.
                    if self._durable:
                        sync_file(temporary.fileno())
                    os.close(temporary.give_away())
                yield temporary
        finally:
            if not temporary.is_renamed:
                with suppress(OSError):
                    os.unlink(temporary.path)
            if temporary.descriptor is not None:
                os.close(temporary.descriptor)

    def _sync_pending(self, temporary: TemporaryFile) -> None:
        """Sync all that was written, and the file that is about to get its name."""
        if self._durable:
            self._sync_queue.sync(*([] if temporary.descriptor is None else [temporary.descriptor]))

    def _sync_folder(self, folder: str) -> None:
        if self._durable:
            with StorageErrors(folder):
                sync_folder(folder)

    def _walk(self, folder: str) -> Iterator[str]:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            path = self._path_of(folder) if folder else self._root
            with StorageErrors(path):
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
