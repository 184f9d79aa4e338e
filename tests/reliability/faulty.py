"""Storages and obstore handles that fail as told: at a given operation, before it, after it, half way, or twice."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import obstore.exceptions

from atlas.errors import StorageError
from atlas.storage import Storage
from atlas.storage.ranges import short_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FAULTS = {
    "before": "fails before the effect",
    "lost": "takes effect, and the answer is lost",
    "timeout": "fails after a delay, without effect",
    "late": "answers late",
    "twice": "is carried out twice, as a client does that tries again",
    "after the next": "fails, and takes effect after the next request",
    "before the retry": "fails, and takes effect before the call is made again",
    "after the retry": "fails, and takes effect after the call was made again",
    "short": "returns fewer bytes than there are",
    "flip": "returns a bit flipped",
    "ENOSPC": "finds the disk full",
    "EIO": "finds the disk broken",
    "EACCES": "is not permitted",
    "EFBIG": "passes the limit of a file's size",
    "partly": "moves half of the bytes, as it may",
}
"""Every fault, and what an operation does that meets it."""

BY_KIND = {
    "bytes": ("before", "timeout", "late", "short", "flip"),
    "fact": ("before", "timeout", "late"),
    "change": ("before", "lost", "timeout", "late", "twice", "after the next", "before the retry", "after the retry"),
    "query": ("ENOSPC", "EIO", "EACCES", "EFBIG"),
    "call": ("ENOSPC", "EIO", "EACCES", "EFBIG", "lost"),
    "transfer": ("ENOSPC", "EIO", "EACCES", "EFBIG", "partly"),
}
"""What can befall an operation that returns bytes, one that returns something else, one that changes something, a call
of the system that returns what is to be closed, any other, and one that moves bytes, of which it may move some only."""

_HELD = ("after the next", "before the retry", "after the retry")
_DELAY = 0.001
_ERRNOS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ETIMEDOUT)
_RANDOM = re.compile("[0-9a-f]{24,}")
"""The part of a key that differs between two runs of the same steps."""


class Injector:
    """Numbers and names operations from when it is armed, and decides which of them meets what fault.

    A name is what the operation does, to which key, and how many of that name came before. Unlike the number it does
    not depend on the order in which threads share the calls of a step.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: Mapping[int | str, str] = {}
        self._counts: Counter[str] = Counter()
        self._held: list[tuple[str, Callable[[], object]]] = []
        self._on = False
        self.log: list[tuple[str, str]] = []
        """Operations since it was armed: kind and name."""
        self.met: list[str] = []
        """Faults that were met."""

    def arm(self, faults: Mapping[int | str, str]) -> None:
        """Begin to count, and let operations fail by their numbers or names."""
        self.log, self.met, self._held, self._faults, self._on = [], [], [], faults, True
        self._counts.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing and let nothing fail within the block."""
        self._on, before = False, self._on
        try:
            yield
        finally:
            self._on = before

    def release(self, moment: str) -> None:
        """Let those requests take effect that were held back until `moment`."""
        held = [effect for until, effect in self._held if until == moment]
        self._held = [(until, effect) for until, effect in self._held if until != moment]
        for effect in held:
            # Nobody waits for the answer any more.
            with suppress(Exception):
                effect()

    def run(self, kind: str, what: str, effect: Callable[[], Any], error: Callable[[int, str], BaseException]) -> Any:
        """Carry out one operation, or what is to befall it."""
        with self._lock:
            if not self._on:
                return effect()
            at = len(self.log)
            what = _RANDOM.sub("*", what)
            self._counts[what] += 1
            name = f"{what} ({self._counts[what]})"
            self.log.append((kind, name))
            fault = self._faults.get(at, self._faults.get(name))
            if fault not in BY_KIND[kind]:
                fault = None
            else:
                self.met.append(f"{at} {name}: {fault}")
            due = bool(self._held)
        try:
            return self._befall(fault, effect, partial(error, at, str(fault)))
        finally:
            if due:
                self.release("after the next")

    def _befall(self, fault: str | None, effect: Callable[..., Any], error: Callable[[], BaseException]) -> Any:
        if fault in {"timeout", "late"}:
            time.sleep(_DELAY)
        if fault in {"before", "timeout", "ENOSPC", "EIO", "EACCES", "EFBIG"}:
            raise error()
        if fault in _HELD:
            self._held.append((fault, effect))
            raise error()
        if fault == "partly":
            return effect(partly=True)
        answer = effect()
        if fault == "lost":
            raise error()
        if fault == "twice":
            return effect()
        return _spoiled(answer, fault) if fault in {"short", "flip"} else answer


def _spoiled(data: Any, fault: str) -> bytes:
    """Return an answer with its last third missing, or one bit of it flipped."""
    octets = bytearray(memoryview(data))
    if fault == "short":
        return bytes(octets[: len(octets) * 2 // 3])
    if octets:
        octets[len(octets) * 3 // 5] ^= 4
    return bytes(octets)


class FaultyStorage(Storage):
    """A storage before which an injector stands."""

    answers_late = True

    def __init__(self, inner: Storage, injector: Injector) -> None:
        self.inner = inner
        self.injector = injector

    def _call(self, kind: str, method: str, key: Any, *arguments: Any) -> Any:
        def error(at: int, _: str) -> StorageError:
            number = _ERRNOS[at % len(_ERRNOS)]
            return StorageError(number, os.strerror(number), str(key))

        return self.injector.run(kind, f"{method} {key}", lambda: getattr(self.inner, method)(key, *arguments), error)

    @property
    def describe(self) -> str:
        return f"faulty {self.inner.describe}"

    @property
    def token(self) -> str:
        return self.inner.token

    @property
    def coalesce_gap(self) -> int:
        return self.inner.coalesce_gap

    def read(self, key):
        return self._call("bytes", "read", key)

    def read_range(self, key, offset, length):
        data = self._call("bytes", "read_range", key, offset, length)
        if len(data) != length:
            raise short_read(key, offset, length, offset + len(data))
        return data

    def read_into(self, key, offsets, lengths, out, places):
        # All of it through one operation; what comes back short is what a storage has to notice.
        for offset, length, place in zip(offsets.tolist(), lengths.tolist(), places.tolist(), strict=True):
            if length:
                out[place : place + length] = np.frombuffer(self.read_range(key, offset, length), np.uint8)

    def size(self, key):
        return self._call("fact", "size", key)

    def list(self, prefix=""):
        return self._call("fact", "list", prefix)

    def list_orphans(self):
        return self.inner.list_orphans()

    def create(self, key, data):
        return self._call("change", "create", key, bytes(data))

    def replace(self, key, data):
        return self._call("change", "replace", key, bytes(data))

    def write(self, key, parts):
        # Copied, for it may be stored twice, or later.
        return self._call("change", "write", key, [bytes(memoryview(part).cast("B")) for part in parts if len(part)])

    def delete(self, keys):
        return self._call("change", "delete", [*keys])


class _Got:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def buffer(self) -> bytes:
        return self._data


class FaultyHandle:
    """An obstore handle before which an injector stands; fails as obstore does once it has given up."""

    def __init__(self, inner: Any, injector: Injector) -> None:
        self.inner = inner
        self.injector = injector

    def _run(self, kind: str, what: str, effect: Callable[[], Any]) -> Any:
        return self.injector.run(kind, what, effect, self._error)

    @staticmethod
    def _error(at: int, _: str) -> BaseException:
        return (
            obstore.exceptions.GenericError("Generic S3 error: Error performing PUT http://h/b/k in 180s: timed out"),
            ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
            obstore.exceptions.PermissionDeniedError("The operation lacked the necessary privileges"),
            TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)),
        )[at % 4]

    def put(self, path, file, **options):
        content = file if isinstance(file, bytes) else list(file)

        def effect():
            return self.inner.put(path, content if isinstance(content, bytes) else iter(content), **options)

        return self._run("change", f"put {path}", effect)

    def get(self, path):
        return _Got(self._run("bytes", f"get {path}", lambda: bytes(self.inner.get(path).buffer())))

    def get_range(self, path, *, start, length):
        def effect():
            return bytes(self.inner.get_range(path, start=start, length=length))

        return self._run("bytes", f"get_range {path}", effect)

    def head(self, path):
        return self._run("fact", f"head {path}", lambda: self.inner.head(path))

    def list(self, prefix=None):
        return self._run("fact", f"list {prefix}", lambda: [list(batch) for batch in self.inner.list(prefix)])

    def delete(self, paths):
        return self._run("change", f"delete {paths}", lambda: self.inner.delete(paths))
