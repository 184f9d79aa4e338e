"""The keys of attributes: how each is shown, and which array it belongs to. Pure functions, no I/O.

An attribute is shown by one text, its name in the dataset, and no two attributes of a dataset are shown alike. One
whose text is the name of an array, a dot and more belongs to that array, however and whenever it was set; of several
such arrays the longest name counts. Every other one is the dataset's own.

Documents do not depend on arrays: they keep apart what `may_be_of_array`, which the key alone decides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from atlas.errors import InvalidNameError, InvalidTypeError
from atlas.format.text import is_utf8

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "DTYPE_KEY",
    "ENCODING_KEY",
    "EXACT_FILL_KEY",
    "INDEXES_KEY",
    "INGESTED_KEY",
    "ORDER_KEY",
    "SOURCE_KEY",
    "ArrayPrefixes",
    "AttributeKey",
    "are_shown_apart",
    "array_keys",
    "check_key",
    "check_text",
    "find_key",
    "flatten_key",
    "is_hidden",
    "is_plain_key",
    "key_places",
    "may_be_of_array",
    "own_keys",
    "shown_keys",
]

DTYPE_KEY: Final = "_atlas_dtype"
"""Reserved attribute of an array: the dtype that its variable had in xarray, where the stored dtype does not tell."""
SOURCE_KEY: Final = "_atlas_source"
"""Reserved attribute of a dataset: the file that it came from, `source` in the encodings of xarray."""
INGESTED_KEY: Final = "_atlas_ingested"
"""Reserved attribute of a dataset: the file it was read from, with its size, time and digest, as JSON."""
INDEXES_KEY: Final = "_atlas_indexes"
"""Dataset attribute: the names of the coordinates that have an index, as a JSON list; stored where they are not just
those named like their only dimension."""
ORDER_KEY: Final = "_atlas_order"
"""Dataset attribute: the names of all variables, as a JSON list; stored where the coordinates do not come after the
data variables."""
EXACT_FILL_KEY: Final = "_atlas_fill"
"""Variable attribute: the `_FillValue` that a variable had in xarray, where the fill value of the array would come back
as something else."""
ENCODING_KEY: Final = "_atlas_encoding"
"""Variable and dataset attribute: its `encoding` as text (see `atlas.xarray`)."""
HIDDEN_KEYS: Final = frozenset(
    {INDEXES_KEY, ORDER_KEY, DTYPE_KEY, EXACT_FILL_KEY, ENCODING_KEY, SOURCE_KEY, INGESTED_KEY}
)
"""What `DatasetView.attributes` does not show, of the dataset or of an array."""
_OF_DATASETS: Final = frozenset({SOURCE_KEY, INGESTED_KEY})
"""Reserved attributes that mostly differ between datasets."""

AttributeKey: TypeAlias = str | tuple[str] | tuple[str, str]
"""`"key"` as a user set it on a dataset, where text that begins with `json:` may stand for a list; `("key",)` or
`("array", "key")` for a value that is just what it is."""

_MOST_KEYSETS: Final = 256
"""Lists of keys that are looked at once: most datasets have the same ones."""
_MOST_KEYS: Final = 4096
"""Keys that are looked at once: programs set the same ones on all datasets."""
_MOST_DOTS: Final = 16
"""Dots of a text up to which each may be where the name of an array ends; a forged key may have a million."""


def flatten_key(key: AttributeKey) -> str:
    """Return the text that an attribute is shown by: `"array.key"` for one of an array, else the key."""
    return key if isinstance(key, str) else ".".join(key)


def may_be_of_array(key: AttributeKey) -> bool:
    """Return whether an attribute may be of an array, or is reserved and alike in most datasets.

    What this is false for is the dataset's own, whatever its arrays are.
    """
    text = flatten_key(key)
    return "." in text or (text.startswith("_") and text not in _OF_DATASETS)


def own_keys(keys: Iterable[AttributeKey]) -> list[AttributeKey]:
    """Return the keys of attributes that can be of no array, in their order."""
    return [key for key in keys if not may_be_of_array(key)]


def array_keys(keys: Iterable[AttributeKey]) -> list[AttributeKey]:
    """Return the keys of attributes that may be of an array, in their order."""
    return [key for key in keys if may_be_of_array(key)]


def check_key(key: object) -> None:
    """Raise `InvalidTypeError` for what cannot be an attribute key."""
    if not isinstance(key, str) and not (isinstance(key, tuple) and all(isinstance(part, str) for part in key)):
        raise InvalidTypeError(f"an attribute key is text, not {type(key).__name__} {key!r}")


def check_text(key: AttributeKey) -> None:
    """Raise `InvalidNameError` for a key that UTF-8 cannot hold."""
    if not is_utf8(flatten_key(key)):
        raise InvalidNameError(f"attribute key {key!r} holds a surrogate, which UTF-8 lacks")


@lru_cache(_MOST_KEYS)
def is_plain_key(key: str) -> bool:
    """Return whether a user may set an attribute of that key on a dataset: it is not hidden, and is UTF-8."""
    return not is_hidden(key) and is_utf8(key)


def find_key(attributes: Collection[AttributeKey], text: str) -> AttributeKey | None:
    """Return the key that is shown as `text`, None where there is none."""
    if text in attributes:
        return text
    if "." not in text:
        return (text,) if (text,) in attributes else None
    if text.count(".") > _MOST_DOTS:
        return next((key for key in attributes if flatten_key(key) == text), None)
    if (text,) in attributes:
        return (text,)
    dot = text.find(".")
    while dot >= 0:
        if (text[:dot], text[dot + 1 :]) in attributes:
            return text[:dot], text[dot + 1 :]
        dot = text.find(".", dot + 1)
    return None


@lru_cache(_MOST_KEYSETS)
def are_shown_apart(keys: tuple[AttributeKey, ...]) -> bool:
    """Return whether no two keys are shown by the same text."""
    return len({flatten_key(key) for key in keys}) == len(keys)


def is_hidden(key: AttributeKey) -> bool:
    """Return whether an attribute is one of `HIDDEN_KEYS`, of the dataset or of an array."""
    return flatten_key(key).rpartition(".")[2] in HIDDEN_KEYS


@lru_cache(_MOST_KEYSETS)
def key_places(keys: tuple[AttributeKey, ...]) -> tuple[int, ...]:
    """Return where the value of each key is, counted from 1: those of `own_keys` come before those of `array_keys`."""
    place = {key: at for at, key in enumerate([*own_keys(keys), *array_keys(keys)], 1)}
    return tuple(place[key] for key in keys)


@lru_cache(_MOST_KEYSETS)
def shown_keys(keys: tuple[AttributeKey, ...]) -> tuple[tuple[str, int], ...]:
    """Return the text of each key that is not hidden, and its place among `key_places`."""
    return tuple(
        (flatten_key(key), place) for key, place in zip(keys, key_places(keys), strict=True) if not is_hidden(key)
    )


class ArrayPrefixes:
    """The names of the arrays of a dataset, to find the owners of its attributes."""

    __slots__ = ("_lengths", "_names")

    def __init__(self, arrays: Iterable[str]) -> None:
        self._names = set(arrays)
        self._lengths = sorted({len(name) for name in self._names}, reverse=True)

    def split(self, text: str) -> tuple[str | None, str]:
        """Return the array that owns the attribute shown as `text`, None for the dataset, and its name there."""
        # Loop over the lengths of names, not over the dots of the text: it may have a million.
        for end in self._lengths:
            if end < len(text) and text[end] == "." and text[:end] in self._names:
                return text[:end], text[end + 1 :]
        return None, text
