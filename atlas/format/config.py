"""How the files of a store are written: codec, filter and encoding of documents. Values to JSON and back; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.block_types import CODECS, FILTERS
from atlas.format.dataset_columns import check_int
from atlas.format.documents import CHECKPOINT_NAMES, Encoding
from atlas.runtime.limits import MOST_PACK_COMMITS

if TYPE_CHECKING:
    from typing import Any

__all__ = ["PACK_COMMITS", "StoreConfig", "config_from_json", "config_to_json"]

PACK_COMMITS = 256
"""Number of commits that a pack holds where a store does not say otherwise."""
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
    pack_commits: int = PACK_COMMITS
    """Number of commits that a pack holds."""


def config_to_json(config: StoreConfig) -> dict[str, Any]:
    """Return the fields `codec`, `filter`, `checkpoint` and, unless it is the usual one, `pack` of a document."""
    fields = {"codec": config.codec, "filter": config.filter, "checkpoint": config.encoding.checkpoint}
    return fields | ({} if config.pack_commits == PACK_COMMITS else {"pack": config.pack_commits})


def config_from_json(document: dict[str, Any]) -> StoreConfig:
    """Return the configuration that a document holds, or raise `CorruptStoreError`."""
    for field, choices in _CHOICES.items():
        if document.get(field) not in choices:
            raise CorruptStoreError(f"its {field} is {document.get(field)!r}")
    size = check_int(document.get("pack", PACK_COMMITS), "the number of commits of a pack")
    if not 1 < size <= MOST_PACK_COMMITS:
        raise CorruptStoreError(f"its packs hold {size} commits")
    return StoreConfig(document["codec"], document["filter"], CHECKPOINT_NAMES[document["checkpoint"]], size)
