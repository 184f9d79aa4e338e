"""Features: names in a document of what a reader must know to read what the document declares. No I/O.

A release that adds a dtype gives it a name here. Earlier releases then refuse the documents that declare it, rather
than take them for damaged. The names `filter:…` and `field:…` are kept for later use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError, UnsupportedFormatError
from atlas.format.dtypes import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["check_features", "features_of"]

_FIRST_DTYPES = frozenset({
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
    "timestamp_nanoseconds", "string",
})  # fmt: skip
"""Those that every reader of format version 1 knows; they have no name."""
_KNOWN = frozenset(f"dtype:{name}" for name in DATATYPES if name not in _FIRST_DTYPES)
_MOST = 1000
"""Most names in a document. Only forged ones have more."""


def features_of(dtypes: Iterable[str]) -> list[str]:
    """Return the features that a reader of arrays of these dtypes must know, sorted."""
    return [f"dtype:{name}" for name in sorted(set(dtypes) - _FIRST_DTYPES)]


def check_features(document: dict[str, Any]) -> None:
    """Raise `UnsupportedFormatError` for a document with a feature that is not known here, and name it."""
    names = document.get("features", [])
    if not isinstance(names, list) or len(names) > _MOST or not all(isinstance(name, str) for name in names):
        raise CorruptStoreError("its field 'features' is not a list of names")
    unknown = sorted(set(names) - _KNOWN)
    if unknown:
        one = len(unknown) == 1
        raise UnsupportedFormatError(
            f"it needs the feature{'' if one else 's'} {', '.join(map(repr, unknown))}, which this version does not "
            "know; install a later version of atlas-store"
        )
