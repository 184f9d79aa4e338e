"""Names of datasets and arrays: the rule for them, patterns, and the folder of an array name. Pure text; no I/O."""

from __future__ import annotations

import hashlib
import re
from fnmatch import translate

from atlas.errors import InvalidNameError, InvalidTypeError

__all__ = ["check_each", "check_name", "check_names", "folder_name", "matching_names"]

# Bytes that every file system and object store keeps unchanged.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_ALL_PLAIN = re.compile(f"[{re.escape(bytes(_PLAIN).decode())}]*")
# File systems allow 255 bytes in a name: a longer folder is cut, and a digest of the whole name makes it unique.
_LONGEST_FOLDER = 200
_A = {"dataset": "a", "array": "an"}


def check_name(kind: str, name: object) -> str:
    """Return `name` if it is valid for a `kind` ("dataset" or "array").

    A name is any non-empty text without `/` and NUL that does not begin with `_`, is not `.` or `..` and can be
    written as UTF-8.

    Raises `InvalidTypeError` for what is not a str and `InvalidNameError` for a name that breaks the rule.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"{_A[kind]} {kind} name is text, not {type(name).__name__}: {name!r}")
    if not name:
        raise InvalidNameError(f"{_A[kind]} {kind} name may not be empty")
    if "/" in name or "\0" in name or name.startswith("_") or name in {".", ".."}:
        raise InvalidNameError(
            f"{name!r} cannot name {_A[kind]} {kind}: use a name without '/' and NUL that does not begin with '_' "
            "and is not '.' or '..'"
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(
            f"{name!r} cannot name {_A[kind]} {kind}: it holds a surrogate, which UTF-8 lacks"
        ) from error
    return name


def matching_names(names: list[str], pattern: str) -> list[str]:
    """Return the names that match a shell pattern (`*`, `?`, `[seq]`, `[!seq]`), upper and lower case told apart."""
    matches = re.compile(translate(pattern)).match
    return [name for name in names if matches(name)]


def check_each(kind: str, names: list[str]) -> None:
    """Check many names, and raise as `check_name` does for the first that breaks the rule.

    Opening a store checks a million names: where all are valid, no Python loop runs.
    """
    if not set(map(type, names)) - {str}:
        text = "\0".join(["", *names, ""])
        # A leading dot is valid but rare: the loop tells such names from "." and "..".
        wrong = ("/", "\0_", "\0\0", "\0.")
        if text.count("\0") == len(names) + 1 and not any(part in text for part in wrong) and _is_utf8(text):
            return
    for name in names:
        check_name(kind, name)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_names(what: str, names: object) -> list[str]:
    """Return a sequence of names as a list; `what` is the name of the argument in messages.

    Raises `InvalidTypeError` for a single str, for what is not a sequence, and for a sequence of anything but str.
    """
    if isinstance(names, str):
        raise InvalidTypeError(f"{what} is a sequence of names, not the text {names!r}; write [{names!r}]")
    try:
        texts: list[str] = list(names)  # type: ignore[call-overload]
    except TypeError:
        raise InvalidTypeError(f"{what} is a sequence of names, not {type(names).__name__} {names!r}") from None
    if set(map(type, texts)) - {str}:  # valid names are checked without a Python loop
        for name in texts:
            if not isinstance(name, str):
                raise InvalidTypeError(f"{what} holds texts, not {type(name).__name__} {name!r}")
    return texts


def folder_name(name: str) -> str:
    """Folder for the array `name`: its UTF-8 bytes, those outside ``A-Z a-z 0-9 - _ .`` percent-encoded."""
    if len(name) <= _LONGEST_FOLDER and _ALL_PLAIN.fullmatch(name):
        return name
    folder = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())
    if len(folder) > _LONGEST_FOLDER:
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        folder = f"{folder[:_LONGEST_FOLDER]}%{digest}"
    return folder
