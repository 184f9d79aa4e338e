"""Objects in a dictionary: the storage of tests and of throw-away stores.

Lives and dies with the process that made it, so it cannot be pickled. No files, no network. A forked child has a copy
of its own.
"""

# ruff: noqa: D102 - what each method does is said in `Storage`

from __future__ import annotations

import errno
import uuid
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from atlas.errors import InvalidTypeError
from atlas.runtime.locks import ForkSafeLock
from atlas.storage.base import Keys, Part, Storage, view_bytes
from atlas.storage.keys import check_folder, check_key, is_temporary
from atlas.storage.ranges import Int64Array, Uint8Array, check_range, check_ranges, join_adjacent, short_read

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MemoryStorage"]


class MemoryStorage(Storage):
    """Keeps every object in memory, under the same contract as the others; barriers have nothing to sync."""

    writes_at_once = 1

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = ForkSafeLock()
        self._name = f"memory-{uuid.uuid4().hex}"

    @property
    def describe(self) -> str:
        return self._name

    @property
    def token(self) -> str:
        return self._name

    def read(self, key: str) -> bytes:
        data = self._objects.get(check_key(key))
        if data is None:
            raise FileNotFoundError(errno.ENOENT, f"no such object in {self._name}", key)
        return data

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        data = self.read(key)
        if offset + length > len(data):
            raise short_read(key, offset, length, len(data))
        return data[offset : offset + length]

    def read_into(
        self, key: str, offsets: Int64Array, lengths: Int64Array, out: Uint8Array, out_offsets: Int64Array
    ) -> None:
        check_ranges(offsets, lengths, out, out_offsets)
        data = np.frombuffer(self.read(key), np.uint8)
        joined = join_adjacent(offsets, lengths, out_offsets)
        for offset, length, out_offset in zip(*(column.tolist() for column in joined), strict=True):
            if offset + length > data.size:
                raise short_read(key, offset, length, data.size)
            out[out_offset : out_offset + length] = data[offset : offset + length]

    def size(self, key: str) -> int:
        return len(self.read(key))

    def create(self, key: str, data: bytes) -> bool:
        check_key(key)
        content = bytes(view_bytes(data))
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = content
            return True

    def replace(self, key: str, data: bytes) -> None:
        check_key(key)
        content = bytes(view_bytes(data))
        with self._lock:
            self._objects[key] = content

    def write(self, key: str, parts: Iterable[Part]) -> int:
        check_key(key)
        content = bytearray()
        for part in parts:
            content += view_bytes(part)
        self.replace(key, bytes(content))
        return len(content)

    def list(self, prefix: str = "") -> Keys:
        folder = check_folder(prefix)
        start = f"{folder}/" if folder else ""
        with self._lock:
            return sorted(key for key in self._objects if key.startswith(start))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            if not is_temporary(key):
                check_key(key)
            with self._lock:
                self._objects.pop(key, None)

    def __reduce__(self) -> NoReturn:
        raise InvalidTypeError(
            f"{self._name} cannot be pickled: only the process that made a memory storage has its bytes; "
            "use a folder or an object store to share it with other processes"
        )
