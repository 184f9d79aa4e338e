"""Objects in a bucket or container, through an obstore handle.

Never retries, because obstore does. Checks the length of every answer. Refuses to write without conditional puts unless
a single writer is asserted, and to work in a forked child after obstore was used in its parent.
"""

# ruff: noqa: D102 - `Storage` documents the methods

from __future__ import annotations

import datetime as dt
import errno
import os
import pickle
import re
import threading
import uuid
from contextlib import contextmanager, suppress
from itertools import chain
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import obstore.exceptions
import obstore.store

from atlas.errors import AtlasError, ConditionalPutError, InvalidTypeError, StorageError
from atlas.runtime.forks import renew_in_children
from atlas.runtime.threads import run_io
from atlas.storage.base import Keys, Part, Storage, view_bytes
from atlas.storage.conditional_put import PROBES, has_conditional_put
from atlas.storage.keys import check_folder, check_key, is_key, is_temporary
from atlas.storage.obstore_handle import ALREADY_EXISTS, DENIED, FAILURES, MISSING
from atlas.storage.ranges import (
    Int64Array,
    Uint8Array,
    check_range,
    check_ranges,
    cut_ranges,
    join_adjacent,
    short_read,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from atlas.storage.obstore_handle import ObstoreHandle

__all__ = ["ObjectStorage"]

# Past so many bytes two requests at once are faster than one; see `coalesce_gap` for what is assumed.
_LARGEST_REQUEST = 8 * 1024 * 1024
# S3 takes 10,000 parts per object, so 160 GB at this size; at most 4 of them are held for upload.
_UPLOAD_PART = 16 * 1024 * 1024
_UPLOADS_AT_ONCE = 4
# S3 deletes up to 1,000 objects per request.
_DELETED_AT_ONCE = 1000
# The settings of a handle that identify its location and are no secret.
_LOCATION = ("bucket", "account_name", "container_name", "endpoint", "region")


class ObjectStorage(Storage):
    """The objects behind an obstore handle; pickles if the handle does.

    `create` needs a store with conditional puts (S3, GCS, Azure and most of their kin). A probe finds out before the
    first write; where they work they are used, whatever `single_writer` says. Whether an object survives a power cut is
    up to the service; obstore's own LocalStore makes no such promise, so pass a path instead.
    """

    coalesce_gap = 1024 * 1024
    """Assumed, not measured against a cloud: a request takes tens of milliseconds before its first byte, and then reads
    some 100 MB/s, so that 1 MiB is read faster than skipped."""

    answers_late = True

    def __init__(self, handle: ObstoreHandle, *, single_writer: bool = False) -> None:
        self._handle = handle
        self.single_writer = single_writer
        self._conditional: bool | None = None  # whether it has conditional puts, None until probed
        self._probing = threading.Lock()
        location = _location(handle)
        self._describe = location or type(handle).__name__
        # A location without a name gets a random one, which is pickled along.
        self._token = location or f"{self._describe}-{uuid.uuid4().hex}"

    def __getstate__(self) -> dict[str, object]:
        try:
            pickle.dumps(self._handle)
        except TypeError as error:
            raise InvalidTypeError(
                f"{self.describe} cannot be pickled, for its handle cannot: {error}; use a store that other "
                "processes can reach too"
            ) from error
        except (pickle.PicklingError, AttributeError):
            # Such as a class of __main__, which plain pickle refuses and cloudpickle may yet take.
            pass
        return {"handle": self._handle, "token": self._token, "single_writer": self.single_writer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["handle"], single_writer=state["single_writer"])  # type: ignore[misc]
        self._token = state["token"]

    @property
    def describe(self) -> str:
        return self._describe

    @property
    def token(self) -> str:
        return self._token

    # -- reading

    def read(self, key: str) -> bytes:
        check_key(key)
        with self._errors(key, missing_is_builtin=True):
            return bytes(self._handle.get(key).buffer())

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        return bytes(self._get_range(key, offset, length)) if length else b""

    def read_into(
        self, key: str, offsets: Int64Array, lengths: Int64Array, out: Uint8Array, out_offsets: Int64Array
    ) -> None:
        check_key(key)
        check_ranges(offsets, lengths, out, out_offsets)
        requests = cut_ranges(*join_adjacent(offsets, lengths, out_offsets), _LARGEST_REQUEST)

        def fetch(request: tuple[int, int, int]) -> None:
            offset, length, begin = request
            out[begin : begin + length] = np.frombuffer(self._get_range(key, offset, length), np.uint8)

        run_io(fetch, list(zip(*(column.tolist() for column in requests), strict=True)))

    def size(self, key: str) -> int:
        check_key(key)
        with self._errors(key, missing_is_builtin=True):
            return int(self._handle.head(key)["size"])

    def list(self, prefix: str = "") -> Keys:
        folder = check_folder(prefix)
        start = f"{folder}/" if folder else ""
        with self._errors(prefix):
            batches = self._handle.list(prefix=folder or None)
            keys = [str(entry["path"]) for batch in batches for entry in batch]
        return sorted(key for key in keys if key.startswith(start) and is_key(key))

    # -- reading what others have stored, under any key

    def find(self, prefix: str) -> Keys:
        """Return the keys of all objects below a folder; "" is the whole location. Errors as for `list`."""
        with self._errors(prefix):
            batches = self._handle.list(prefix=prefix.rstrip("/") or None)
            return [str(entry["path"]) for batch in batches for entry in batch]

    def stat(self, key: str) -> tuple[int, int]:
        """Return the size in bytes and the time, in nanoseconds since 1970. Errors as for `size`."""
        with self._errors(key, missing_is_builtin=True):
            found = self._handle.head(key)
        return int(found["size"]), _nanoseconds(found["last_modified"])

    def download(self, key: str, file: IO[bytes]) -> int:
        """Write an object to a file, block by block, and return its time as `stat` does. Errors as for `size`."""
        with self._errors(key, missing_is_builtin=True):
            answer = self._handle.get(key)
            for block in answer.stream():
                file.write(block)
        return _nanoseconds(answer.meta["last_modified"])

    # -- writing

    def create(self, key: str, data: bytes) -> bool:
        check_key(key)
        content = bytes(view_bytes(data))
        with self._errors(key):
            if not self._check_conditional(key):
                with suppress(*MISSING):
                    self._handle.head(key)
                    return False
                self._handle.put(key, content, mode="overwrite", use_multipart=False)
                return True
            try:
                self._handle.put(key, content, mode="create", use_multipart=False)
            except ALREADY_EXISTS:
                return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        check_key(key)
        with self._errors(key):
            self._check_conditional(key)
            self._handle.put(key, bytes(view_bytes(data)), mode="overwrite", use_multipart=False)

    def write(self, key: str, parts: Iterable[Part]) -> int:
        check_key(key)
        with self._errors(key):
            self._check_conditional(key)
        blocks = _Blocks(parts)
        first, second = next(blocks, b""), next(blocks, None)
        try:
            if second is None:
                self.replace(key, first)
            else:
                with self._errors(key):
                    self._handle.put(
                        key,
                        chain((first, second), blocks),
                        use_multipart=True,
                        chunk_size=_UPLOAD_PART,
                        max_concurrency=_UPLOADS_AT_ONCE,
                    )
        except StorageError:
            if blocks.failure is not None:
                raise blocks.failure from None
            raise
        return blocks.total

    def delete(self, keys: Iterable[str]) -> None:
        waiting = [key if is_temporary(key) else check_key(key) for key in keys]
        for start in range(0, len(waiting), _DELETED_AT_ONCE):
            batch = waiting[start : start + _DELETED_AT_ONCE]
            with self._errors(batch[0]):
                try:
                    self._handle.delete(batch)
                except FileNotFoundError:
                    # Some stores stop at the first missing object.
                    for key in batch:
                        with suppress(FileNotFoundError):
                            self._handle.delete([key])

    def check_writable(self) -> None:
        """Raise `StorageError` for a kind of store that is read-only; makes no request."""
        if isinstance(self._handle, obstore.store.HTTPStore):
            raise StorageError(
                errno.EROFS,
                f"{self._describe} is read-only, being plain HTTP; write through the service's own interface, such as "
                "obstore.store.S3Store, or to a path",
            )

    def list_orphans(self) -> Keys:
        """Return the objects of probes, also of one that runs now: it can lose its object without harm."""
        with self._errors(PROBES):
            keys = [str(entry["path"]) for batch in self._handle.list(prefix=PROBES) for entry in batch]
        return sorted(key for key in keys if is_temporary(key))

    # -- steps

    def _check_conditional(self, key: str) -> bool:
        """Return whether the store has conditional puts; raise where it has none and there may be other writers.

        Precedes every write, so that nothing is overwritten or uploaded in vain.
        """
        self.check_writable()
        with self._probing:
            if self._conditional is None:
                self._conditional = has_conditional_put(self._handle)
        if not self._conditional and not self.single_writer:
            raise ConditionalPutError(
                errno.ENOTSUP,
                f"{self._describe} lacks conditional puts: it does not refuse to create an object that is there "
                "already, so that two writers could overwrite each other; where one writer alone is guaranteed, pass "
                "single_writer=True to Atlas.create or Atlas.open",
                key,
            )
        return self._conditional

    def _get_range(self, key: str, start: int, length: int) -> memoryview:
        with self._errors(key, missing_is_builtin=True):
            try:
                data = memoryview(self._handle.get_range(key, start=start, length=length))
            except obstore.exceptions.BaseError as error:
                # A range that begins past the end is refused, with a message that differs from store to store.
                if "range" not in str(error).lower():
                    raise
                size = self.size(key)
                if start + length <= size:
                    raise
                raise short_read(key, start, length, size) from error
        if data.nbytes != length:
            raise short_read(key, start, length, self.size(key))
        return data

    @contextmanager
    def _errors(self, key: str, *, missing_is_builtin: bool = False) -> Iterator[None]:
        _obstore_use.note()
        try:
            yield
        except AtlasError:
            raise
        except FAILURES as error:
            if missing_is_builtin and isinstance(error, MISSING):
                raise FileNotFoundError(errno.ENOENT, f"no such object in {self._describe}", key) from None
            number = errno.EACCES if isinstance(error, DENIED) else getattr(error, "errno", None)
            raise StorageError(number or errno.EIO, f"{self._describe}: {_first_line(error)}", key) from error


class _Blocks:
    """The bytes of parts, cut into blocks of the size of one upload; remembers their total and their failure."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.total = 0
        self.failure: BaseException | None = None
        self._blocks = self._cut(parts)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block = next(self._blocks)
        except StopIteration:
            raise
        except BaseException as error:
            self.failure = error
            raise
        self.total += len(block)
        return block

    def _cut(self, parts: Iterable[Part]) -> Iterator[bytes]:
        block = bytearray()
        for part in parts:
            view = view_bytes(part)
            while view:
                taken = view[: _UPLOAD_PART - len(block)]
                block += taken
                view = view[len(taken) :]
                if len(block) == _UPLOAD_PART:
                    yield bytes(block)
                    block.clear()
        if block:
            yield bytes(block)


def _nanoseconds(time: dt.datetime) -> int:
    return (time - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1) * 1000


def _first_line(error: BaseException) -> str:
    # The other lines are for debugging; the query of a URL may hold a signature.
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\?\S*|//[^/\s@]*@", lambda found: "//" if found[0].startswith("//") else "?...", line)


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path


def _location(handle: object) -> str | None:
    """Return the location behind a handle, without secrets; None where nothing tells it from another of its kind."""
    settings: dict[str, str] = {}
    config = getattr(handle, "config", None)
    if isinstance(config, dict):
        settings = {name: _without_secrets(str(config[name])) for name in _LOCATION if config.get(name)}
    url = getattr(handle, "url", None)
    if isinstance(url, str):
        settings["url"] = _without_secrets(url)
    prefix = getattr(handle, "prefix", None)
    if isinstance(handle, obstore.store.LocalStore):
        settings["prefix"] = os.path.realpath(prefix or "/")
    elif settings and prefix:
        settings["prefix"] = str(prefix)
    if not settings:
        return None
    return f"{type(handle).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


class _ObstoreUse:
    """Whether obstore can be used in this process: a forked child does not have the threads that obstore runs."""

    def __init__(self) -> None:
        self._used = self._lost = False
        renew_in_children(self)

    def renew(self) -> None:
        """Note, in a forked child, whether the threads were lost."""
        self._lost = self._used

    def note(self) -> None:
        """Note a use; `StorageError` in a forked child of a process that used obstore, where it would hang."""
        if self._lost:
            raise StorageError(
                errno.ENOTSUP,
                "obstore was in use before this process was forked and cannot be used after it; start processes with "
                "the multiprocessing method 'spawn' or 'forkserver'",
            )
        self._used = True


_obstore_use = _ObstoreUse()
