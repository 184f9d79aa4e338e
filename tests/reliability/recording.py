"""Who notes what a program does to the files below a folder, and what it looks at there.

Both wrap functions of `os`, for all threads. `Recorder` notes effects in the order they took place and compares at the
end what it believes with what lies on the disk, so that an effect it missed is an error. Linux only.
"""

# ruff: noqa: PTH100, PTH118, PTH123, PTH206 - paths are the texts that the wrapped functions are given

from __future__ import annotations

import io
import os
import threading
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from tests.reliability.disks import ROOT, Disk, Effect, Named, Synced, Tree, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Recorder", "Watcher"]


class Recorder:
    """Notes the effects on the folder `world` and below, from within `recording`.

    What is there already is durable, or what earlier `effects` have made of an empty folder.
    """

    def __init__(self, world: Path, effects: Sequence[Effect] = ()) -> None:
        self.effects: list[Effect] = []
        """All effects so far, in the order they took place; those that made what was there come first."""
        self._world = os.path.realpath(world)
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._data: dict[int, bytes] = {}
        self._descriptors: dict[int, int] = {}
        self._last = ROOT
        self._lock = threading.RLock()
        if effects:
            self._follow(effects)
        else:
            self._take(world, ROOT)

    def _take(self, place: Path, folder: int) -> None:
        for path in place.iterdir():
            number = self._make()
            if path.is_dir():
                self._names[number] = {}
                self._name(folder, {path.name: number}, new_folder=True)
                self._take(path, number)
            else:
                self._data[number] = b""
                self._name(folder, {path.name: number})
                self._set(number, path.read_bytes())
                self.effects.append(Synced(number))
        self.effects.append(Synced(folder))

    def _follow(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Named):
                numbers = [number for number in effect.changes.values() if number is not None]
                for number in numbers:
                    if effect.new_folder:
                        self._names[number] = {}
                    else:
                        self._data.setdefault(number, b"")
                self._last = max([self._last, *numbers])
                self._name(effect.folder, effect.changes, new_folder=effect.new_folder)
            else:
                self.effects.append(effect)
                if isinstance(effect, Written):
                    self._data[effect.file] = effect.data
                    self._last = max(self._last, effect.file)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record; leaves `os` as it was, and compares the record with the disk."""
        wrappers: dict[str, Callable[..., Callable[..., Any]]] = {
            "open": self._open, "close": self._close, "dup": self._dup, "fdopen": self._fdopen,
            "write": self._write, "pwrite": self._write, "writev": self._write, "pwritev": self._write,
            "ftruncate": self._write, "posix_fallocate": self._write, "sendfile": self._write,
            "copy_file_range": self._refuse, "truncate": self._refuse, "symlink": self._refuse,
            "fsync": self._sync, "fdatasync": self._sync,
            "mkdir": self._mkdir, "rmdir": self._unlink, "unlink": self._unlink, "remove": self._unlink,
            "link": self._link, "rename": self._rename, "replace": self._rename,
        }  # fmt: skip
        originals = {name: getattr(os, name) for name in wrappers if hasattr(os, name)}
        for name, original in originals.items():
            setattr(os, name, self._locked(wraps(original)(wrappers[name](original))))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(os, name, original)
        self._compare()

    def _locked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        # Effects of many threads: each takes place and is noted before the next begins.
        @wraps(call)
        def locked(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                return call(*arguments, **options)

        return locked

    def _compare(self) -> None:
        with self._lock:
            disk = Disk()
            for effect in self.effects:
                disk.apply(effect)
            believed = disk.tree({})[0]
            found: Tree = {}
            for folder, folders, files in os.walk(self._world):
                where = os.path.relpath(folder, self._world)
                at = "" if where == "." else f"{where}/"
                found |= {f"{at}{name}": None for name in folders}
                for name in files:
                    with open(os.path.join(folder, name), "rb") as file:
                        found[f"{at}{name}"] = file.read()
            assert believed == found, f"the record is not what is on the disk: {set(believed) ^ set(found)}"

    # Where things are

    def _find(self, path: Any) -> tuple[int, str] | None:
        """The folder and the name of a path in the world, None for paths elsewhere."""
        if isinstance(path, int):
            return None
        text = os.path.abspath(os.fsdecode(path))
        if text == self._world:
            return ROOT, ""
        if not text.startswith(f"{self._world}{os.sep}"):
            return None
        *above, name = text[len(self._world) + 1 :].split(os.sep)
        folder = ROOT
        for part in above:
            folder = self._names[folder][part]
        return folder, name

    def _number(self, place: tuple[int, str]) -> int | None:
        return place[0] if not place[1] else self._names[place[0]].get(place[1])

    def _make(self) -> int:
        self._last += 1
        return self._last

    def _name(self, folder: int, changes: dict[str, int | None], *, new_folder: bool = False) -> None:
        self.effects.append(Named(folder, changes, new_folder))
        for name, number in changes.items():
            self._names[folder].pop(name, None)
            if number is not None:
                self._names[folder][name] = number

    # What changes them

    def _open(self, original: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            descriptor = original(path, flags, *arguments, **options)
            self._descriptors.pop(descriptor, None)
            place = self._find(path)
            if place is None:
                return descriptor
            number = self._number(place)
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                number = self._make()
                self._data[number] = b""
            elif number is None:
                number = self._make()
                self._data[number] = b""
                self._name(place[0], {place[1]: number})
            elif flags & os.O_TRUNC:
                self._set(number, b"")
            self._descriptors[descriptor] = number
            return descriptor

        return call

    def _close(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(descriptor: int) -> None:
            self._descriptors.pop(descriptor, None)
            original(descriptor)

        return call

    def _dup(self, original: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int) -> int:
            copy = original(descriptor)
            self._descriptors.pop(copy, None)
            if descriptor in self._descriptors:
                self._descriptors[copy] = self._descriptors[descriptor]
            return copy

        return call

    def _fdopen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        recorder = self

        class Recorded(io.FileIO):
            def truncate(self, size: int | None = None) -> int:
                with recorder._lock:
                    result = super().truncate(size)
                    recorder._reread(self.fileno())
                    return result

            def write(self, data: Any) -> Any:
                raise AssertionError("a write that is not recorded")

        def call(descriptor: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if descriptor in self._descriptors and "r" not in mode:
                assert options.get("buffering") == 0, "a file that is written through a buffer is not recorded"
                return Recorded(descriptor, mode)
            return original(descriptor, mode, *arguments, **options)

        return call

    def _set(self, number: int, data: bytes) -> None:
        if data != self._data[number]:
            self._data[number] = data
            self.effects.append(Written(number, data))

    def _reread(self, descriptor: int) -> None:
        """Note what the file behind a descriptor holds now, which may be open for writing only."""
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            self._set(self._descriptors[descriptor], file.read())

    def _write(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *arguments: Any) -> Any:
            result = original(descriptor, *arguments)
            if descriptor in self._descriptors:
                self._reread(descriptor)
            return result

        return call

    def _sync(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(descriptor: int) -> None:
            original(descriptor)
            if descriptor in self._descriptors:
                self.effects.append(Synced(self._descriptors[descriptor]))

        return call

    def _mkdir(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *arguments: Any, **options: Any) -> None:
            original(path, *arguments, **options)
            place = self._find(path)
            if place is not None:
                number = self._make()
                self._names[number] = {}
                self._name(place[0], {place[1]: number}, new_folder=True)

        return call

    def _unlink(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, **options: Any) -> None:
            original(path, **options)
            place = self._find(path)
            if place is not None:
                self._name(place[0], {place[1]: None})

        return call

    def _link(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any, **options: Any) -> None:
            original(source, target, **options)
            place = self._find(target)
            if place is None:
                return
            head, _, tail = os.fsdecode(source).rpartition("/")
            if head == "/proc/self/fd":
                number: int | None = self._descriptors[int(tail)]
            else:
                origin = self._find(source)
                assert origin is not None
                number = self._number(origin)
            self._name(place[0], {place[1]: number})

        return call

    def _rename(self, original: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any) -> None:
            original(source, target)
            origin, place = self._find(source), self._find(target)
            if origin is None and place is None:
                return
            assert origin is not None
            assert place is not None
            assert origin[0] == place[0], "a rename from folder to folder is not modelled"
            self._name(place[0], {origin[1]: None, place[1]: self._number(origin)})

        return call

    def _refuse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            assert not any(self._find(some) for some in arguments if isinstance(some, str | os.PathLike)), (
                f"os.{original.__name__} is not modelled"
            )
            return original(*arguments, **options)

        return call


class Watcher:
    """Notes what is looked at below a folder, from within `watching`: the more it notes, the more is enumerated."""

    def __init__(self, world: Path) -> None:
        self.seen: set[str] = set()
        """Paths whose name was looked up, whether it was there or not."""
        self.read: set[str] = set()
        """Paths of files that were opened."""
        self.listed: set[str] = set()
        """Paths of folders that were listed."""
        self._world = os.path.realpath(world)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch; leaves `os` as it was."""
        notes = dict.fromkeys(("stat", "lstat", "access", "mkdir", "rmdir", "unlink", "remove", "readlink"), 1)
        notes |= {"open": 1, "scandir": 1, "listdir": 1, "link": 2, "rename": 2, "replace": 2, "truncate": 1}
        originals = {name: getattr(os, name) for name in notes}
        for name, original in originals.items():
            setattr(os, name, self._noting(name, original, notes[name]))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(os, name, original)

    def _noting(self, name: str, original: Callable[..., Any], paths: int) -> Callable[..., Any]:
        into = {"open": self.read, "scandir": self.listed, "listdir": self.listed}.get(name)

        @wraps(original)
        def call(*arguments: Any, **options: Any) -> Any:
            for argument in arguments[:paths]:
                path = None if isinstance(argument, int) else os.fsdecode(argument)
                if path is not None and path.startswith(f"{self._world}{os.sep}"):
                    below = path[len(self._world) + 1 :]
                    self.seen.add(below)
                    if into is not None:
                        into.add(below)
            return original(*arguments, **options)

        return call
