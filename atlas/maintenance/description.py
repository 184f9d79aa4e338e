"""What a store holds and what it takes on disk, from its metadata and the sizes of its files; reads no values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.commit.documents import size_or_none
from atlas.format.segment import FORMAT_VERSION

if TYPE_CHECKING:
    from atlas.catalog.view import StoreView
    from atlas.commit.commit_log import CommitLog

__all__ = ["ArrayDescription", "StoreDescription", "describe"]


@dataclass(frozen=True, slots=True)
class ArrayDescription:
    """One array name over all datasets."""

    name: str
    """The name."""
    dtypes: tuple[str, ...]
    """Stored dtypes it has in datasets, sorted; usually one."""
    datasets: int
    """Datasets that have it."""
    cells: int
    """Cells of all of them, by their shapes."""
    raw: int
    """Bytes these cells take as plain arrays; strings by the bytes that are stored of them before compression."""
    segments: int
    """Files that hold it."""
    stored: int
    """Bytes of these files, deleted data included."""


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """A store as it was last committed."""

    place: str
    """Where it lies."""
    format: int
    """Format version."""
    version: int
    """Number of the last commit."""
    codec: str
    """Codec of new data."""
    filter: str
    """Filter of new data, or "auto"."""
    metadata_name: str
    """Name of the checkpoint document, which tells how documents are written."""
    datasets: int
    """Number of datasets."""
    arrays: tuple[ArrayDescription, ...]
    """Its array names, sorted; those that only deleted datasets had are among them while they take space."""
    metadata: int
    """Bytes of all files but segments that belong to the store."""

    @property
    def raw(self) -> int:
        """Bytes of all arrays as plain arrays."""
        return sum(array.raw for array in self.arrays)

    @property
    def stored(self) -> int:
        """Bytes of all segments and metadata."""
        return sum(array.stored for array in self.arrays) + self.metadata


def describe(view: StoreView, log: CommitLog) -> StoreDescription:
    """Return what is committed; pending changes are left out."""
    with view.locks.state:
        catalog = view.catalog
        live = np.bincount(catalog.layouts[catalog.live_rows()], minlength=len(catalog.layout_table)).tolist()
        arrays: dict[str, tuple[set[str], int, int, int]] = {}
        for count, layout in zip(live, catalog.layout_table, strict=True):
            for entry in layout if count else ():
                dtypes, datasets, cells, raw = arrays.get(entry.name, (set(), 0, 0, 0))
                datatype = entry.schema.datatype
                size = 0 if datatype.cell is None else entry.schema.size * datatype.itemsize
                arrays[entry.name] = (
                    dtypes | {datatype.name},
                    datasets + count,
                    cells + count * entry.schema.size,
                    raw + count * size,
                )
        described = []
        for name in sorted(arrays.keys() | catalog.segments.keys()):
            dtypes, datasets, cells, raw = arrays.get(name, (set(), 0, 0, 0))
            refs = catalog.segments.get(name, [])
            if "string" in dtypes and len(dtypes) == 1:
                # The length of text is known to the blocks alone.
                raw = sum(int(source.blocks.raw.sum()) for source in view.chunk_index(name).sources)
            stored = sum(ref.size for ref in refs)
            described.append(ArrayDescription(name, tuple(sorted(dtypes)), datasets, cells, raw, len(refs), stored))
        return StoreDescription(
            log.storage.describe,
            FORMAT_VERSION,
            catalog.version,
            log.config.codec,
            log.config.filter,
            log.config.encoding.checkpoint,
            len(catalog),
            tuple(described),
            _metadata_size(log),
        )


def _metadata_size(log: CommitLog) -> int:
    storage = log.storage
    keys = [log.config.encoding.checkpoint]
    keys += [key for folder in ("commits", "bases", "pages") for key in storage.list(folder)]
    return sum(size_or_none(storage, key) for key in keys)
