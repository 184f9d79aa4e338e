"""Rules for keys, the names of stored objects; the same on every storage.

A key is one or more parts joined by `/`, relative to the store: `atlas.json`, `arrays/temperature/3fe2.seg`.
Pure functions on text; no I/O. No key is trusted, also none that was read from a file.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache

from atlas.errors import InvalidTypeError, InvalidValueError

__all__ = ["TEMPORARY_PREFIX", "check_folder", "check_key", "is_key", "is_temporary", "unique_name"]

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of the last part of every unfinished file's name; no part of a key may begin with it."""

# Backslashes separate folders on Windows, object stores refuse control characters, surrogates have no UTF-8.
_REFUSED = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


def _fault(key: str) -> str | None:
    parts = key.split("/")
    if "" in parts:
        return "has an empty part; use a relative name whose parts are joined by single slashes"
    if "." in parts or ".." in parts:
        return "has a part `.` or `..`"
    if _REFUSED.search(key):
        return "holds a backslash, a control character or a lone surrogate"
    if any(part.startswith(TEMPORARY_PREFIX) for part in parts):
        return f"has a part beginning with {TEMPORARY_PREFIX!r}, which is reserved for unfinished files"
    return None


@lru_cache(maxsize=4096)
def check_key(key: str) -> str:
    """Return `key` as it is.

    Raises `InvalidTypeError` for anything but text and `InvalidValueError` for text that is not a key: empty,
    absolute, with an empty part, `.`, `..`, a backslash, a control character, or a reserved name.
    """
    if not isinstance(key, str):
        raise InvalidTypeError(f"a key is a str, not {type(key).__name__}")
    fault = _fault(key)
    if fault is not None:
        raise InvalidValueError(f"key {key!r} {fault}")
    return key


def is_key(text: str) -> bool:
    """Whether `check_key` accepts `text`."""
    return _fault(text) is None


def check_folder(prefix: str) -> str:
    """Return the folder that `prefix` names, without its closing slash; `""` is the whole store.

    `commits` and `commits/` are the same folder; `comm` is a folder of that name, not a pattern.
    """
    return check_key(prefix.removesuffix("/")) if prefix else ""


def is_temporary(text: str) -> bool:
    """Whether `text` names an unfinished file: a key except for its reserved last part."""
    folder, _, name = text.rpartition("/")
    return name.startswith(TEMPORARY_PREFIX) and not _REFUSED.search(name) and (not folder or is_key(folder))


def unique_name() -> str:
    """Return 24 random hexadecimal digits, a name that no other writer picks."""
    return secrets.token_hex(12)
