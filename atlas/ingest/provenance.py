"""Where a dataset came from: the file, its size, time and digest, when and by what it was added.

A folder that is one source, such as a Zarr store, counts as a file that has the files in it, one after another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import xxhash

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

__all__ = ["Fingerprint", "describe_source", "fingerprint", "read_fingerprint"]

_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a file from its later forms."""

    path: str
    """Where it was."""
    size: int
    """Bytes; of all files of a folder."""
    mtime_ns: int
    """When it was changed last, in nanoseconds since 1970; of a folder, when the latest file was."""
    digest: str | None = None
    """XXH3 of its bytes, 128 bits in hexadecimal; of a folder with the paths and sizes of its files."""
    listing: str | None = None
    """Of a folder, XXH3 of the paths, sizes and times of its files."""

    def is_unchanged(self, other: Fingerprint) -> bool:
        """Return whether size, time and place are the same, which the digest need not be compared for."""
        stamps = ((one.path, one.size, one.mtime_ns, one.listing) for one in (self, other))
        return next(stamps) == next(stamps)

    def has_equal_bytes(self, other: Fingerprint) -> bool:
        """Return whether both have a digest, and the same."""
        return self.digest is not None and (self.size, self.digest) == (other.size, other.digest)


def fingerprint(path: Path, *, digest: bool, data: bytes | None = None) -> Fingerprint:
    """Return that of a file or folder; with `digest`, all of it is read, but for `data` of a file. Raises `OSError`.

    Size and time are those after the digest was made: one that differs in neither from an earlier fingerprint has not
    been changed meanwhile.
    """
    if path.is_dir():
        return _of_folder(path, digest=digest)
    made = None
    if digest:
        state = xxhash.xxh3_128()
        if data is None:
            _digest_file(path, state)
        else:
            state.update(data)
        made = state.hexdigest()
    found = path.stat()
    return Fingerprint(str(path.absolute()), found.st_size, found.st_mtime_ns, made)


def _of_folder(folder: Path, *, digest: bool) -> Fingerprint:
    state = xxhash.xxh3_128()
    for name in _files(folder) if digest else ():
        path = folder / name
        state.update(b"%s\0%d\0" % (os.fsencode(name), path.stat().st_size))
        _digest_file(path, state)
    listing, size, latest = xxhash.xxh3_128(), 0, 0
    for name in _files(folder):
        found = (folder / name).stat()
        listing.update(b"%s\0%d\0%d\0" % (os.fsencode(name), found.st_size, found.st_mtime_ns))
        size, latest = size + found.st_size, max(latest, found.st_mtime_ns)
    made = state.hexdigest() if digest else None
    return Fingerprint(str(folder.absolute()), size, latest, made, listing.hexdigest())


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, relative to it with "/", sorted within each folder."""

    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(names):
            yield (Path(root) / name).relative_to(folder).as_posix()


def _digest_file(path: Path, state: xxhash.xxh3_128) -> None:
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            state.update(block)


def describe_source(found: Fingerprint, version: str, now: dt.datetime) -> str:
    """Return as JSON where a dataset comes from, when it was added and by which version of this package."""
    told = {"path": found.path, "size": found.size, "mtime_ns": found.mtime_ns, "digest": found.digest}
    if found.listing is not None:
        told["listing"] = found.listing
    return orjson.dumps(told | {"added": now.isoformat(timespec="seconds"), "by": version}).decode()


def read_fingerprint(text: object) -> Fingerprint | None:
    """Return the fingerprint in what `describe_source` made, None for another text: it came from disk."""
    try:
        found: Any = orjson.loads(text)  # type: ignore[arg-type]
        made = Fingerprint(found["path"], found["size"], found["mtime_ns"], found["digest"], found.get("listing"))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None
    values = (made.path, made.size, made.mtime_ns, made.digest, made.listing)
    kinds = zip(values, (str, int, int, str | None, str | None), strict=True)
    return made if all(isinstance(value, kind) for value, kind in kinds) else None
