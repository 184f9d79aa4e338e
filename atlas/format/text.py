"""Text that may hold stray bytes: as UTF-8, or refused with a line that converts it. Pure functions, no I/O."""

from __future__ import annotations

import re
from typing import Final

from atlas.errors import InvalidValueError

__all__ = ["decode_text", "is_utf8", "recover_text"]

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def recover_text(text: str) -> str:
    r"""Return text whose escaped bytes (`\udc80` to `\udcff`) are UTF-8 as what they stand for.

    Raises `InvalidValueError` for bytes and surrogates that are no UTF-8, which cannot be stored.
    """
    if is_utf8(text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        remedy = "text.encode('utf-8', 'replace').decode()"
    except UnicodeDecodeError:
        remedy = "text.encode('utf-8', 'surrogateescape').decode('latin-1')"
    raise InvalidValueError(f"text {text!r} is no UTF-8; convert it by its own encoding, for example with {remedy}")


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can hold a text: whether it has no surrogate."""
    return text.isascii() or not _SURROGATE.search(text)


def decode_text(data: bytes) -> str:
    """Return the text of UTF-8 bytes. Raises `InvalidValueError` for others, which cannot be stored as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidValueError(
            f"bytes {data!r} are no UTF-8; decode them by their own encoding, for example with data.decode('latin-1')"
        ) from None
