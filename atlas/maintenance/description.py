"""Describes what a store holds and the bytes it takes, by its metadata and the sizes of its files. Reads no chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.commit.commit_records import named_files
from atlas.commit.documents import size_or_none
from atlas.errors import AtlasError
from atlas.format.dtypes import DATATYPES
from atlas.format.segment import FORMAT_VERSION
from atlas.maintenance.held import dead_size, names_with_dead, unnamed_sizes

if TYPE_CHECKING:
    from typing import Self

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.view import StoreView
    from atlas.commit.commit_log import CommitLog

__all__ = ["ArrayDescription", "StoreDescription", "describe"]


@dataclass(frozen=True, slots=True)
class ArrayDescription:
    """One array name over all datasets."""

    name: str
    """The name."""
    dtypes: tuple[str, ...]
    """Its dtypes over all datasets, sorted; usually one."""
    datasets: int
    """Number of datasets that have it."""
    cells: int
    """Number of cells over all datasets, by the shapes."""
    raw: int
    """Bytes that these cells take in memory; of strings the encoded bytes before compression."""
    segments: int
    """Number of segments that hold it."""
    stored: int
    """Bytes of these segments, deleted data included."""


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """A store as of one version."""

    location: str
    """Location of the store: a path, or bucket and key."""
    format: int
    """Format version."""
    version: int
    """Number of the version."""
    codec: str
    """Codec of new data."""
    filter: str
    """Filter of new data, or "auto"."""
    metadata_name: str
    """Name of the checkpoint, whose extension gives the encoding of documents."""
    datasets: int
    """Number of datasets."""
    arrays: tuple[ArrayDescription, ...]
    """Its arrays by name, sorted; array names of deleted datasets are among them as long as they have segments."""
    metadata: int
    """Bytes of its documents and pages."""
    on_disk: int
    """Bytes of all segments, documents and pages, those that only other versions name included."""
    held: int
    """Bytes of segments and pages that only other versions need: what `compact(keep_days=0)` frees, documents aside.

    Exact after a compaction; else estimated, as a block may hold live and deleted chunks.
    """

    @property
    def raw(self) -> int:
        """Bytes that all arrays take in memory; see `ArrayDescription.raw`."""
        return sum(array.raw for array in self.arrays)

    @property
    def stored(self) -> int:
        """Bytes of the segments of this version, and of all documents and pages."""
        return sum(array.stored for array in self.arrays) + self.metadata


def describe(view: StoreView, log: CommitLog) -> StoreDescription:
    """Describe the version that the handle shows; pending changes are left out.

    The caller must hold no lock: the storage is asked without one. Raises what `StoreView.load_index` raises, perhaps
    only because another thread moves the handle meanwhile.
    """
    damaged: set[str] = set()
    while True:
        with view.locks.state:
            outline = _Outline.of(view, damaged)
        if not outline.missing:
            break
        for name in outline.missing:
            try:
                view.load_index(name)
            except AtlasError:
                if name in outline.needed:
                    raise
                damaged.add(name)
    storage, metadata = log.storage, _metadata_size(log)
    unnamed = unnamed_sizes(storage, outline.named)
    segments = sum(array.stored for array in outline.arrays)
    segments += sum(size for key, size in unnamed.items() if key.startswith("arrays/"))
    return StoreDescription(
        storage.describe,
        FORMAT_VERSION,
        outline.version,
        log.config.codec,
        log.config.filter,
        log.config.encoding.checkpoint,
        outline.datasets,
        outline.arrays,
        metadata,
        segments + metadata,
        sum(unnamed.values()) + outline.dead,
    )


@dataclass(frozen=True, slots=True)
class _Outline:
    """What memory tells of one version."""

    missing: set[str]
    """Array names whose chunk indexes must be read before the rest is known."""
    needed: set[str]
    """Array names that cannot be described without their indexes."""
    version: int
    """Number of the version."""
    datasets: int
    """Number of datasets."""
    named: set[str]
    """Keys of the segments and pages that it names."""
    arrays: tuple[ArrayDescription, ...]
    """Its arrays."""
    dead: int
    """Bytes of dead chunks."""

    @classmethod
    def of(cls, view: StoreView, damaged: set[str]) -> Self:
        """Return that of the version shown. The caller must hold `state`.

        The indexes of the array names `damaged` cannot be read.
        """
        catalog, indexes = view.catalog, view.indexes
        found = _count_cells(catalog)
        # Only blocks know the length of strings.
        strings = {
            name for name, (dtypes, *_) in found.items() if all(DATATYPES[dtype].cell is None for dtype in dtypes)
        }
        needed = strings & catalog.segments.keys()
        missing = (needed | names_with_dead(catalog)) - indexes.keys() - damaged
        described, dead = [], 0
        for name in () if missing else sorted(found.keys() | catalog.segments.keys()):
            dtypes, datasets, cells, raw = found.get(name, (set(), 0, 0, 0))
            refs = catalog.segments.get(name, [])
            if name in needed:
                raw = sum(int(source.blocks.raw.sum()) for source in indexes[name].sources)
            stored = sum(ref.size for ref in refs)
            described.append(ArrayDescription(name, tuple(sorted(dtypes)), datasets, cells, raw, len(refs), stored))
        if not missing:
            dead = dead_size(catalog, indexes)
        named = set(named_files(catalog))
        return cls(missing, needed, catalog.version, len(catalog), named, tuple(described), dead)


def _count_cells(catalog: Catalog) -> dict[str, tuple[set[str], int, int, int]]:
    """Return the dtypes of each array name that a dataset has, and the number of datasets, cells and bytes of these."""
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
    return arrays


def _metadata_size(log: CommitLog) -> int:
    storage = log.storage
    keys = [log.config.encoding.checkpoint]
    keys += [key for folder in ("commits", "packs", "bases", "pages") for key in storage.list(folder)]
    return sum(size_or_none(storage, key) for key in keys)
