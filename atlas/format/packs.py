"""Packs, in documents: the commits of a run of versions in one document. Values to JSON and back. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import CorruptStoreError
from atlas.format.changes import check_format
from atlas.format.dataset_columns import check_int, check_list
from atlas.format.segment import FORMAT_VERSION

if TYPE_CHECKING:
    from typing import Any

    from atlas.format.config import StoreConfig

__all__ = ["Pack", "pack_from_json", "pack_key", "pack_to_json", "run_of"]


@dataclass(frozen=True, slots=True)
class Pack:
    """The commits of a run of versions."""

    size: int
    """Number of commits that a pack of the store holds, where none was given up."""
    first: int
    """Version of the first."""
    documents: tuple[bytes, ...]
    """Each as it was written, with its checksum, but not compressed."""

    @property
    def versions(self) -> range:
        """The versions that the commits make."""
        return range(self.first, self.first + len(self.documents))


def run_of(config: StoreConfig, version: int) -> range:
    """Return the versions whose commits one pack of the store holds, `version` among them."""
    first = (version - 1) // config.pack_commits * config.pack_commits + 1
    return range(first, first + config.pack_commits)


def pack_key(config: StoreConfig, version: int) -> str:
    """Return the key of the pack that holds the commit of a version, where it exists."""
    return f"packs/{run_of(config, version)[-1]:020d}{config.encoding.compressed().extension}"


def pack_to_json(pack: Pack, store: str, config: StoreConfig) -> dict[str, Any]:
    """Return the document of a pack."""
    is_text = config.encoding.format == "json"
    commits = [document.decode() if is_text else document for document in pack.documents]
    head = {"atlas": "pack", "format": FORMAT_VERSION, "store": store, "pack": pack.size, "first": pack.first}
    return head | {"commits": commits}


def pack_from_json(document: dict[str, Any], last: int) -> Pack:
    """Return the pack of the commits up to version `last` that a document holds, or raise `CorruptStoreError`."""
    check_format(document, "pack")
    size, first = check_int(document.get("pack"), "its size"), check_int(document.get("first"), "its first version")
    commits = check_list(document, "commits")
    if not commits or len(commits) > size or first + len(commits) != last + 1 or last % size:
        raise CorruptStoreError(f"it holds {len(commits)} of {size} commits, from version {first}, not up to {last}")
    documents = tuple(commit.encode() if isinstance(commit, str) else commit for commit in commits)
    if not all(isinstance(commit, bytes) for commit in documents):
        raise CorruptStoreError("a commit of it is neither text nor bytes")
    return Pack(size, first, documents)
