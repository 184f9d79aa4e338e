"""The system's calls on files below one folder, as the library makes them, with an injector before each. Linux only."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.reliability.faulty import Injector

_BY_PATH = ("open", "link", "replace", "unlink", "mkdir", "rmdir", "lstat", "scandir")
_BY_DESCRIPTOR = ("fsync", "fstat")
_TRANSFERS = ("write", "pwrite", "preadv")


@contextmanager
def faulty_system(folder: str, injector: Injector) -> Iterator[None]:
    """Let the injector stand before every call that concerns `folder`, within the block."""
    patched = [(name, _path_call) for name in _BY_PATH]
    patched += [(name, _descriptor_call) for name in (*_BY_DESCRIPTOR, *_TRANSFERS)]
    with ExitStack() as stack:
        for name, wrap in patched:
            stack.enter_context(mock.patch.object(os, name, wrap(name, getattr(os, name), folder, injector)))
        yield


def _error(_: int, fault: str) -> OSError:
    number = getattr(errno, fault, errno.EIO)
    return OSError(number, os.strerror(number))


def _path_call(name: str, call: Callable[..., Any], folder: str, injector: Injector) -> Callable[..., Any]:
    def wrapped(path: Any, *arguments: Any, **options: Any) -> Any:
        # The target decides: links come from /proc where a file gets its first name.
        places = [place for place in (path, *arguments[:1]) if isinstance(place, str)]
        if not any(place.startswith(folder) for place in places):
            return call(path, *arguments, **options)
        what = f"{name} {places[-1].removeprefix(folder)}"
        kind = "query" if name in {"open", "scandir"} else "call"
        return injector.run(kind, what, lambda: call(path, *arguments, **options), _error)

    return wrapped


def _descriptor_call(name: str, call: Callable[..., Any], folder: str, injector: Injector) -> Callable[..., Any]:
    def wrapped(descriptor: int, *arguments: Any) -> Any:
        try:
            place = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - the text as it is
        except OSError:
            place = ""
        if not place.startswith(folder):
            return call(descriptor, *arguments)

        def effect(*, partly: bool = False) -> Any:
            if not partly:
                return call(descriptor, *arguments)
            # At least one byte, for none would be the end of the file.
            data, *rest = arguments
            view = memoryview(data[0] if name == "preadv" else data).cast("B")
            some = view[: (len(view) + 1) // 2]
            return call(descriptor, [some] if name == "preadv" else some, *rest)

        kind = "transfer" if name in _TRANSFERS else "call"
        return injector.run(kind, f"{name} {place.removeprefix(folder)}", effect, _error)

    return wrapped
