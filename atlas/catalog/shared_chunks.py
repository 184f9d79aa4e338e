"""Chunks that lie in one segment and belong to several datasets, found by their digests. No I/O.

Equal chunks of coordinates are stored once. Within a segment their rows name one block and offset; a row of another
segment names the digest alone, until `resolve_shared` has found the chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.format.digests import DIGEST
from atlas.format.segment import NO_DIGEST, OF_THE_CHUNK, SHARED, ChunkRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["DigestedChunks", "ResolvedRows", "digests_of", "resolve_shared"]


class DigestedChunks(NamedTuple):
    """Chunks with digests that some sources store, of equal ones of a source one: K of them, in columns."""

    digests: NDArray[np.bytes_]
    """Digest of each, (K,)."""
    source: NDArray[np.int64]
    """Number of the source that stores it, (K,)."""
    rows: ChunkRows
    """A row of it, (K,)."""

    @classmethod
    def among(cls, rows: ChunkRows, source: NDArray[np.int64], digests: Sequence[NDArray[np.bytes_]]) -> DigestedChunks:
        """Return those among `rows` (N,), of the sources `source` (N,), which have the digests `digests`, by source."""
        at = np.flatnonzero((rows.digest != NO_DIGEST) & (rows.block >= 0)) if any(map(len, digests)) else source[:0]
        key = source[at] << 32 | rows.digest[at]
        first = at[:1] if len(at) and (key == key[0]).all() else at[np.unique(key, return_index=True)[1]]
        rows, source = rows.take(first), source[first]
        return cls(digests_of(rows, source, digests), source, rows)

    @classmethod
    def joined(cls, parts: Sequence[DigestedChunks]) -> DigestedChunks:
        """Return the chunks of all of `parts`, of which there is at least one."""
        digests, source, rows = zip(*parts, strict=True)
        return cls(np.concatenate(digests), np.concatenate(source), ChunkRows.joined(list(rows)))

    def take(self, at: NDArray[np.int64]) -> DigestedChunks:
        """Return those at the positions `at`."""
        return DigestedChunks(self.digests[at], self.source[at], self.rows.take(at))

    def find(self, wanted: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Return the position of a chunk with each of the digests `wanted` (W,), -1 where there is none: (W,)."""
        # Those wanted are few, and are sorted; those stored may be a million.
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        begin, end = (np.searchsorted(ordered, self.digests, side) for side in ("left", "right"))
        found = np.full(len(wanted), -1, np.int64)
        for at in np.flatnonzero(begin < end).tolist():
            found[order[begin[at] : end[at]]] = at
        return found


def digests_of(rows: ChunkRows, source: NDArray[np.int64], digests: Sequence[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """Return the digest of each of `rows` (N,), which all have one among those of its source, `digests[source]`."""
    found = np.empty(len(rows), DIGEST)
    for number in np.unique(source).tolist():
        mine = source == number
        found[mine] = digests[number][rows.digest[mine]]
    return found


class ResolvedRows(NamedTuple):
    """The rows of one source, where those that share a chunk have become rows of that chunk."""

    rows: ChunkRows
    """The rows. What says where a chunk lies, and its statistics, are of the source in `source`."""
    source: NDArray[np.int64]
    """Number of the source that has the chunk of each row, (N,)."""
    lost: ChunkRows
    """The rows that share a chunk which no source has. They are not among `rows`."""


def resolve_shared(rows: ChunkRows, number: int, digests: NDArray[np.bytes_], stored: DigestedChunks) -> ResolvedRows:
    """Return the rows of the source `number`, which has the `digests`, where they share chunks that are `stored`."""
    source, shared = np.full(len(rows), number), np.flatnonzero(rows.block == SHARED)
    if not len(shared):
        return ResolvedRows(rows, source, rows.take(shared))
    wanted, which = np.unique(digests[rows.digest[shared]], return_inverse=True)
    found = stored.find(wanted)[which]
    known, at = shared[found >= 0], found[found >= 0]
    columns = {name: values.copy() for name, values in rows.columns().items()}
    for name in (*OF_THE_CHUNK, "digest"):
        columns[name][known] = getattr(stored.rows, name)[at]
    source[known] = stored.source[at]
    lost = shared[found < 0]
    kept = np.delete(np.arange(len(rows)), lost)
    return ResolvedRows(ChunkRows(**columns).take(kept), source[kept], rows.take(lost))
