"""The single steps by which a file survives a power cut, and by which one of many writers wins a name.

A file is durable once its bytes are synced, it has its name, and the folder with that name is synced. Paths and
descriptors only; errors are the builtin `OSError`. No order of steps: that is for the caller.
"""

# ruff: noqa: PTH102, PTH106, PTH108, PTH112, PTH116, PTH120 - paths are text: `pathlib` would add some 7 us to each

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from atlas.storage.base import Part, view_bytes
from atlas.storage.keys import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

if sys.platform != "win32":
    import fcntl

__all__ = [
    "is_orphan",
    "join_small_parts",
    "link_if_absent",
    "make_folder",
    "open_temporary",
    "remove_orphan",
    "sync_ancestors",
    "sync_file",
    "sync_folder",
    "write_all",
    "write_at",
]

# Parts of _DIRECT bytes or more are written by themselves, runs of smaller ones joined. Measured with 64 MiB in parts
# of 2 KB: 220 ms one by one, 90 joined; from 64 KiB on there was no difference.
_DIRECT = 64 * 1024
_JOINED = 256 * 1024
_BINARY = getattr(os, "O_BINARY", 0)
# The errors of a file system without hard links (FAT returns EPERM), and of one without renames with flags.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_FLAGS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


def sync_file(descriptor: int) -> None:
    """Sync the bytes of the file to the disk."""
    if sys.platform == "darwin":
        # On macOS fsync stops at the cache of the drive; not every file system takes the stronger call.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)
    else:
        os.fsync(descriptor)


def sync_folder(folder: str) -> None:
    """Sync the names in the folder to the disk; does nothing where folders cannot be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems fail like this, and a program can do nothing more.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


def sync_ancestors(folder: str) -> None:
    """Sync the names of the folder and of those above it, whichever process made them.

    Goes up to the root of the file system, or to a folder without permission to read.
    """
    folder = os.path.realpath(folder)
    device = os.stat(folder).st_dev
    parent = os.path.dirname(folder)
    while parent != folder and os.stat(parent).st_dev == device:
        try:
            sync_folder(parent)
        except PermissionError:
            return
        folder, parent = parent, os.path.dirname(parent)


def make_folder(folder: str, *, durable: bool) -> None:
    """Make a folder and those above it that are missing, and sync the parent of each.

    One whose name cannot be synced is removed again, so that a retry does not take it for durable.
    """
    parent = os.path.dirname(folder)
    try:
        _make_one(folder)
    except FileNotFoundError:
        if parent == folder:
            raise
        make_folder(parent, durable=durable)
        # A second failure has another reason than the parent: file systems like /proc make no folders.
        _make_one(folder)
    if durable:
        try:
            sync_folder(parent)
        except OSError:
            with suppress(OSError):
                os.rmdir(folder)
            raise


def _make_one(folder: str) -> None:
    try:
        os.mkdir(folder)
    except FileExistsError:
        # Another writer made it just now and may not have synced it yet; a file of that name is an error.
        if not os.path.isdir(folder):
            raise


def open_temporary(folder: str) -> tuple[int, str]:
    """Make an empty file with a random name in `folder`; return its descriptor, for writing, and its path.

    The file is locked while the descriptor is open, which tells `is_orphan` that its writer is alive.
    """
    while True:
        path = f"{folder}{os.sep}{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | _BINARY
        descriptor = os.open(path, flags, 0o666)
        if _is_locked(descriptor):
            return descriptor, path
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Lock a temporary file that was just made; False if another process has removed it as an orphan before."""
    if sys.platform != "win32":
        try:
            # Waits for a process that checks or removes it, which takes a moment.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            # Without locks on this file system the file counts as an orphan, as every unlocked one does.
            return True
        return os.fstat(descriptor).st_nlink > 0
    return True


def link_if_absent(temporary: str, path: str) -> bool | None:
    """Give a file its name in one atomic step; False if the name exists, None if the file system has no such step.

    The step is a hard link or, without those, a rename that refuses to overwrite. The name `temporary` may remain or
    not.
    """
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except (AttributeError, NotImplementedError):
        return _rename_if_absent(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _rename_if_absent(temporary, path)
    return True


def _rename_if_absent(temporary: str, path: str) -> bool | None:
    if os.name == "nt":
        # On Windows a rename never overwrites.
        try:
            os.rename(temporary, path)  # noqa: PTH104 - as above
        except FileExistsError:
            return False
        return True
    rename = _renameat2()
    if rename is None:
        return None
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in _NO_FLAGS:
        return None
    raise OSError(number, os.strerror(number), path)


@cache
def _renameat2() -> Callable[..., int] | None:
    """Return a system call of Linux that Python lacks, None on other systems."""
    if sys.platform != "linux":
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        call.restype = ctypes.c_int
    return call


def is_orphan(path: str) -> bool:
    """Whether no living writer has the temporary file open; True if that cannot be known."""
    if sys.platform == "win32":
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    else:
        return True
    finally:
        os.close(descriptor)


def remove_orphan(path: str) -> None:
    """Remove a temporary file, unless a living writer has it open."""
    if sys.platform == "win32":
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Held until the file is removed, so that a writer that has just made it finds out.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:  # no locks on this file system
        os.unlink(path)
    else:
        os.unlink(path)
    finally:
        os.close(descriptor)


def join_small_parts(parts: Iterable[Part]) -> Iterator[memoryview]:
    """Yield the bytes of the parts in order: large ones as they are, runs of small ones copied together.

    A view is valid until the next is requested; at most 256 KiB are held.
    """
    joined = bytearray()
    for part in parts:
        view = view_bytes(part)
        if len(view) >= _DIRECT or len(joined) + len(view) > _JOINED:
            yield memoryview(joined)
            joined = bytearray()
        if len(view) >= _DIRECT:
            yield view
        else:
            joined += view
    yield memoryview(joined)


def write_all(descriptor: int, view: memoryview) -> None:
    """Write every byte at the position of the file, in as many calls as it takes."""
    while view:
        view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write every byte from `offset` of the file on; the caller keeps other threads from writing to it."""
    if not hasattr(os, "pwrite"):
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, view)
        return
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
