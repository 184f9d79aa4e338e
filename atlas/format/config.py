"""How the files of a store are written: codec, filter and encoding of documents. Values to JSON and back; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.documents import CHECKPOINT_NAMES, Encoding

if TYPE_CHECKING:
    from typing import Any

__all__ = ["StoreConfig", "config_from_json", "config_to_json"]

_CHOICES = {
    "codec": tuple(CODECS),
    "filter": ("auto", *FILTERS),
    "checkpoint": tuple(CHECKPOINT_NAMES),
}


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What `create` set for good."""

    codec: str
    """"zstd", "lz4" or "none"."""
    filter: str
    """"auto", or the one filter to use."""
    encoding: Encoding
    """How documents are encoded."""


def config_to_json(config: StoreConfig) -> dict[str, Any]:
    """Return the fields `codec`, `filter` and `checkpoint` of a document."""
    return {"codec": config.codec, "filter": config.filter, "checkpoint": config.encoding.checkpoint}


def config_from_json(document: dict[str, Any]) -> StoreConfig:
    """Return the configuration that a document holds, or raise `CorruptStoreError`."""
    for field, choices in _CHOICES.items():
        if document.get(field) not in choices:
            raise CorruptStoreError(f"its {field} is {document.get(field)!r}")
    return StoreConfig(document["codec"], document["filter"], CHECKPOINT_NAMES[document["checkpoint"]])
