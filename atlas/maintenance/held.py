"""Estimates the bytes that only earlier versions need, by sizes of files and indexes of segments. Reads no chunks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.sorted_search import find_sorted
from atlas.commit.documents import size_or_none
from atlas.format.segment import CONSTANT
from atlas.runtime.threads import run_all

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from numpy.typing import NDArray

    from atlas.catalog.catalog import Catalog
    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.format.segment import ChunkRows
    from atlas.storage import Storage

__all__ = ["dead_size", "names_with_dead", "unnamed_sizes"]


def unnamed_sizes(storage: Storage, named: Container[str]) -> dict[str, int]:
    """Return the bytes of each segment and page that is not `named`, by key."""
    keys = sorted(key for key in {*storage.list("arrays"), *storage.list("pages")} if key not in named)
    return dict(zip(keys, run_all(lambda key: size_or_none(storage, key), keys), strict=True))


def names_with_dead(catalog: Catalog) -> set[str]:
    """Return the array names that have more rows than live chunks: `dead_size` needs their indexes."""
    chunks = _Declared(catalog).chunks
    return {
        name for name, refs in catalog.segments.items() if 0 < chunks[name] < sum(ref.footer.chunks for ref in refs)
    }


def dead_size(catalog: Catalog, indexes: Mapping[str, ChunkIndex]) -> int:
    """Return about how many bytes the dead chunks take in the segments that a version names.

    A chunk takes the part of its blocks' stored bytes that it has of their decoded bytes. `indexes` are those of
    `names_with_dead`, without damaged ones. The caller must hold `locks.state`.
    """
    declared = _Declared(catalog)
    dead = 0
    for name, refs in catalog.segments.items():
        rows, chunks = sum(ref.footer.chunks for ref in refs), declared.chunks[name]
        if rows > chunks:
            size = sum(ref.size for ref in refs)
            if not chunks:
                dead += size
            elif name in indexes:
                dead += _dead_bytes(name, size, indexes[name], declared)
            else:  # damaged; the numbers of rows still tell about how much
                dead += size * (rows - chunks) // rows
    return dead


class _Declared:
    """The arrays that live datasets have, by array name."""

    def __init__(self, catalog: Catalog) -> None:
        rows = catalog.live_rows()
        self.ids = catalog.ids[rows]
        self.layouts = catalog.layouts[rows]
        self.chunks: Counter[str] = Counter()
        """Chunks, unwritten ones included."""
        self.generations: defaultdict[str, dict[int, int]] = defaultdict(dict)
        """Generation by layout."""
        count = np.bincount(self.layouts, minlength=len(catalog.layout_table)).tolist()
        for number, layout in enumerate(catalog.layout_table):
            for entry in layout if count[number] else ():
                self.chunks[entry.name] += count[number] * entry.schema.chunks
                self.generations[entry.name][number] = entry.generation
        self._layouts = len(catalog.layout_table)

    def is_live(self, array: str, rows: ChunkRows) -> NDArray[np.bool_]:
        """Return whether each row (M,) is a chunk of an array that a dataset has."""
        declared, generation = np.zeros(self._layouts, bool), np.zeros(self._layouts, np.int64)
        for layout, number in self.generations[array].items():
            declared[layout], generation[layout] = True, number
        at = find_sorted(self.ids, rows.dataset)
        layouts = self.layouts[at]
        same: NDArray[np.bool_] = generation[layouts] == rows.generation
        return same & declared[layouts] & (at >= 0)


def _dead_bytes(array: str, size: int, index: ChunkIndex, declared: _Declared) -> int:
    """Return about how many of the `size` bytes of an array's segments belong to no live chunk; some dataset has it."""
    live = declared.is_live(array, index.rows)
    dead = 0.0
    for at, source in enumerate(index.sources):
        stored, raw = (np.append(0, np.cumsum(column)) for column in (source.blocks.stored, source.blocks.raw))
        rows = np.flatnonzero((index.source == at) & (index.rows.block != CONSTANT))
        # A chunk that datasets share is live where one of them is.
        begin, of = np.unique(
            raw[index.rows.block[rows]] + index.rows.offset[rows].astype(np.int64), return_inverse=True
        )
        is_live = np.bincount(of, live[rows], len(begin)) > 0
        # A chunk reaches to the next one; rows that newer segments replace are not in the index.
        edges = np.interp(np.append(begin, raw[-1]), raw, stored)
        dead += float(stored[-1] - np.diff(edges)[is_live].sum())
    # A forged index can give any number, and NaN, which the first comparison takes out.
    return round(min(max(0.0, dead), size))
