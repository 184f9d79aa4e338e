"""Where a dataset came from: the file, its size, time and digest, when and by what it was added."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import xxhash

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

__all__ = ["Fingerprint", "describe_source", "fingerprint", "read_fingerprint"]

_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a file from its later forms."""

    path: str
    """Where it was."""
    size: int
    """Bytes."""
    mtime_ns: int
    """When it was changed last, in nanoseconds since 1970."""
    digest: str | None = None
    """XXH3 of its bytes, 128 bits in hexadecimal."""

    def is_unchanged(self, other: Fingerprint) -> bool:
        """Return whether size, time and place are the same, which the digest need not be compared for."""
        return (self.path, self.size, self.mtime_ns) == (other.path, other.size, other.mtime_ns)

    def has_equal_bytes(self, other: Fingerprint) -> bool:
        """Return whether both have a digest, and the same."""
        return self.digest is not None and (self.size, self.digest) == (other.size, other.digest)


def fingerprint(path: Path, *, digest: bool) -> Fingerprint:
    """Return that of a file; with `digest`, all of it is read. Raises `OSError`.

    Size and time are those after the digest was made: one that differs in neither from an earlier fingerprint has not
    been changed meanwhile.
    """
    made = None
    if digest:
        state = xxhash.xxh3_128()
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                state.update(block)
        made = state.hexdigest()
    found = path.stat()
    return Fingerprint(str(path.absolute()), found.st_size, found.st_mtime_ns, made)


def describe_source(found: Fingerprint, version: str, now: dt.datetime) -> str:
    """Return as JSON where a dataset comes from, when it was added and by which version of this package."""
    return orjson.dumps(asdict(found) | {"added": now.isoformat(timespec="seconds"), "by": version}).decode()


def read_fingerprint(text: object) -> Fingerprint | None:
    """Return the fingerprint in what `describe_source` made, None for another text: it came from disk."""
    try:
        found: Any = orjson.loads(text)  # type: ignore[arg-type]
        made = Fingerprint(found["path"], found["size"], found["mtime_ns"], found["digest"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    kinds = zip((made.path, made.size, made.mtime_ns, made.digest), (str, int, int, str | None), strict=True)
    return made if all(isinstance(value, kind) for value, kind in kinds) else None
