"""Which chunks of coordinates the committed segments of an array store, so that a flush need not store them again.

A digest alone is not trusted: a chunk counts as stored once it has been read and its cells have that digest, so that no
flush depends on one that is damaged. The caller must hold the handle's locks.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from atlas.catalog.chunk_index import ChunkIndex
from atlas.chunking.batches import slices_by_bytes
from atlas.chunking.regions import plan_region
from atlas.errors import AtlasError, CorruptStoreError, StaleHandleError
from atlas.format.digests import DIGEST, NO_DIGESTS, content_of
from atlas.format.segment import ChunkRows
from atlas.read.fetch import Targets
from atlas.read.gather import read_boxes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from atlas.catalog.shared_chunks import DigestedChunks
    from atlas.catalog.view import StoreView
    from atlas.format.digests import Content
    from atlas.format.schema import ArraySchema
    from atlas.runtime.limits import Limits
    from atlas.write.segment_draft import AreStored

__all__ = ["StoredCoordinates", "holds_digests"]

_logger = logging.getLogger(__name__)
_MOST_CHECKED = 1 << 16
"""Chunks of which it is kept that they were read and compared."""


class StoredCoordinates:
    """The chunks of coordinates in the segments of the version that a handle shows."""

    def __init__(self, view: StoreView) -> None:
        self._view = view
        self._checked: set[tuple[str, bytes]] = set()

    def finder(self, array: str, dropped: Collection[str] = (), joined: NDArray[np.bytes_] = NO_DIGESTS) -> AreStored:
        """Return what tells which chunks are stored by the segments of an array but those `dropped`, by key.

        Chunks with the digests `joined` count as stored too: a segment that replaces those dropped has them.
        """
        return partial(self._are_stored, array, dropped, joined)

    def _are_stored(
        self,
        array: str,
        dropped: Collection[str],
        joined: NDArray[np.bytes_],
        contents: Sequence[Content],
    ) -> NDArray[np.bool_]:
        wanted = np.frombuffer(b"".join([content.digest for content in contents]), DIGEST)
        known = np.isin(wanted, joined)
        try:
            index = self._view.load_index(array)
        except StaleHandleError:  # another handle has compacted; the flush goes on top of that
            return known
        except AtlasError as error:  # the flush stores its own; the next read of the array raises the error
            _logger.warning("chunks of array %r are stored once more, as its index cannot be read: %s", array, error)
            return known
        stored = index.digested_chunks()
        if dropped:
            kept = np.array([source.name not in dropped for source in index.sources], bool)
            stored = stored.take(np.flatnonzero(kept[stored.source]))
        at = stored.find(wanted)
        names = {
            n: (index.sources[int(stored.source[at[n]])].name, contents[n].digest)
            for n in np.flatnonzero((at >= 0) & ~known).tolist()
        }
        new = [n for n, name in names.items() if name not in self._checked]
        schemas, cells = ([getattr(contents[n], name) for n in new] for name in ("schema", "cells"))
        if len(self._checked) > _MOST_CHECKED:
            self._checked = set(names.values()) & self._checked
        with suppress(AtlasError):
            holds = holds_digests(index, array, stored.take(at[new]), schemas, cells, self._view.limits)
            self._checked.update(names[n] for n, is_held in zip(new, holds.tolist(), strict=True) if is_held)
        for n, name in names.items():
            known[n] = name in self._checked
        return known


def holds_digests(
    index: ChunkIndex,
    array: str,
    stored: DigestedChunks,
    schemas: Sequence[ArraySchema],
    cells: Sequence[int],
    limits: Limits,
) -> NDArray[np.bool_]:
    """Return which of the chunks `stored` (K,), which `index` leads to, can be read and have their digests.

    They have as many `cells` (K,) of the dtypes and with the fill values of `schemas` (K,). Raises `StorageError` and
    `TooLargeError`.
    """
    holds = np.zeros(len(cells), bool)
    kinds: dict[tuple[str, bytes | None, int], list[int]] = {}
    for at, (schema, count) in enumerate(zip(schemas, cells, strict=True)):
        fill = None if schema.fill is None else schema.fill_bits
        kinds.setdefault((schema.datatype.name, fill, count), []).append(at)
    for some in kinds.values():
        count = cells[some[0]]
        one = replace(schemas[some[0]], dims=("cell",), shape=(count,), chunk_shape=(count,))
        nbytes = np.full(len(some), count * max(one.datatype.itemsize, one.memory_dtype.itemsize))
        for batch in slices_by_bytes(nbytes, limits.copied_bytes):
            mine = np.array(some[batch])
            with suppress(CorruptStoreError):
                holds[mine] = _digests(index, array, one, stored.take(mine), limits) == stored.digests[mine]
    return holds


def _digests(
    index: ChunkIndex, array: str, schema: ArraySchema, stored: DigestedChunks, limits: Limits
) -> NDArray[np.bytes_]:
    """Return the digests of the cells of the chunks `stored` (K,), read as whole arrays of `schema`: (K,)."""
    number, zeros = np.arange(len(stored.digests)), np.zeros(len(stored.digests), np.int64)
    rows = ChunkRows(**(stored.rows.columns() | {"dataset": number, "generation": zeros, "chunk": zeros}))
    apart = ChunkIndex(rows, stored.source, index.sources, index.blocks, index.base)
    targets = Targets(array, schema, number, zeros, str)
    boxes = read_boxes([apart], targets, plan_region(schema, (0,), schema.shape), limits)
    cells = boxes if schema.datatype.cell is None else boxes.view(schema.datatype.cell)
    return np.frombuffer(b"".join([content_of(schema, own).digest for own in cells]), DIGEST)
