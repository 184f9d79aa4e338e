"""The cells written since the last flush, by array name, within bounds of memory.

Not locked: the caller must hold the handle's locks, as `staging` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.write.encoding import Compression
from atlas.write.single_chunks import draft_single_chunks
from atlas.write.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from threading import RLock
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.catalog.id_shift import IdShift
    from atlas.format.config import StoreConfig
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.runtime.limits import Limits
    from atlas.storage import Storage
    from atlas.write.encoding import PendingChunk
    from atlas.write.segment_draft import AreStored
    from atlas.write.single_chunks import Draft
    from atlas.write.staging import Overlay

__all__ = ["PendingWrites"]


class PendingWrites:
    """Staged chunks of any number of arrays."""

    def __init__(self, storage: Storage, limits: Limits, config: StoreConfig) -> None:
        self._limits = limits
        self._storage = storage
        self.config = config
        """Options of the store, as of the version that the handle shows."""
        self._unbounded = 0
        self.by_array: dict[str, Staging] = {}
        """What is staged, by array name."""

    def __bool__(self) -> bool:
        """Return whether anything is pending."""
        # A write of no cells, and one that failed, leave what stages nothing.
        return any(staging.holds_any() for staging in list(self.by_array.values()))

    def new_staging(self, array: str) -> Staging:
        """Return an empty staging for an array name, which does not belong to what is pending."""
        return Staging(
            array,
            self.config.codec,
            self.config.filter,
            self._storage.spill_file,
            self._storage.sync_early,
            self._limits,
        )

    def staging(self, array: str) -> Staging:
        """Return what is staged of an array name, which may be nothing yet."""
        staging = self.by_array.get(array)
        if staging is None:
            staging = self.by_array[array] = self.new_staging(array)
        return staging

    # Staging

    def put(self, array: str, dataset: int, chunk: int, pending: PendingChunk) -> None:
        """Stage one chunk, replacing what was staged of it before."""
        self._unbounded += (self.by_array.get(array) or self.staging(array)).put(dataset, chunk, pending)

    def drop(self, dataset: int, arrays: Iterable[str]) -> None:
        """Forget what is staged of arrays of a dataset."""
        for array in arrays:
            if array in self.by_array:
                self.by_array[array].drop(dataset)

    def move(self, dataset: int, to: int, arrays: Mapping[str, ArrayEntry]) -> None:
        """Give what is staged of a new dataset to another one, whose arrays are `arrays`. See `Staging.move`."""
        for array, entry in arrays.items():
            if array in self.by_array:
                self.by_array[array].move(dataset, to, entry.generation)

    # Memory

    def is_full(self, state: RLock) -> bool:
        """Whether `bound_memory` must be called. Takes `state` where much was staged since it last looked."""
        # Not at every chunk: a store may have thousands of array names to add up.
        if self._unbounded <= self._limits.checked_bytes:
            return False
        with state:
            stagings = list(self.by_array.values())
            raw = sum(staging.raw_bytes for staging in stagings)
            encoded = sum(staging.encoded_bytes for staging in stagings)
            return raw > self._limits.raw_bytes or encoded > self._limits.encoded_bytes

    def bound_memory(self, state: RLock) -> None:
        """Encode what waits, and spill what is encoded, where it takes more memory than it may.

        The caller must hold `encoding`, and no lock but the gate besides; `state` is taken where it is needed.
        """
        with state:
            stagings = list(self.by_array.values())
            full = sum(staging.raw_bytes for staging in stagings) > self._limits.raw_bytes
            waiting = [(staging, staging.waiting()) for staging in stagings] if full else []
        for staging, chunks in waiting:
            encoded = staging.encode_waiting(chunks)
            with state:
                staging.replace_waiting(chunks, encoded)
        self.spill_excess()

    def spill_excess(self) -> None:
        """Spill encoded blocks where they take more memory than they may. The caller must hold `encoding`."""
        stagings = list(self.by_array.values())
        excess = sum(staging.encoded_bytes for staging in stagings) - self._limits.encoded_bytes
        if excess > 0:
            # The largest first, so that few files are made.
            for staging in sorted(stagings, key=lambda staging: -staging.encoded_bytes):
                if excess > 0:
                    excess -= staging.encoded_bytes
                    staging.spill()

    # Reading

    def may_hold(self, array: str, dataset: int, chunk: int) -> bool:
        """Return whether a chunk is pending; True also where only `encoded_index` could tell. Needs no lock."""
        staging = self.by_array.get(array)
        return staging is not None and staging.may_hold(dataset, chunk)

    def find_waiting(self, array: str, dataset: int) -> NDArray[Any] | None:
        """Return an array of one chunk that is not encoded yet, in its memory dtype; None for any other. Needs no lock.

        It must not be written to.
        """
        staging = self.by_array.get(array)
        return None if staging is None else staging.find_waiting(dataset)

    def encoded_index(self, array: str) -> ChunkIndex | None:
        """Return the index of the encoded chunks of an array name, None where there are none."""
        staging = self.by_array.get(array)
        return None if staging is None else staging.encoded_index()

    def overlay_of(self, array: str, ids: Iterable[int]) -> Overlay:
        """Return what lays the chunks that are not encoded yet over a box of an array name that is staged."""
        return self.by_array[array].overlay_of(ids)

    # Flushing

    def drafts(self, are_stored: Callable[[str], AreStored]) -> list[tuple[str, Draft]]:
        """Encode everything and return the segments to write, by array name; empty where nothing is pending.

        `are_stored` returns, for an array name, what tells which chunks its other segments store.
        """
        single = {array: staging.find_single() for array, staging in self.by_array.items()}
        chunks = {array: chunk for array, chunk in single.items() if chunk is not None}
        compression = Compression(self.config.codec, self.config.filter, self._limits)
        drafts: dict[str, Draft] = dict(
            zip(chunks, draft_single_chunks(list(chunks.values()), compression), strict=True)
        )
        for array, staging in self.by_array.items():
            draft = None if array in drafts else staging.draft(are_stored(array))
            if draft is not None:
                drafts[array] = draft
        return list(drafts.items())

    def shift(self, shift: IdShift) -> None:
        """Follow datasets whose ids were raised."""
        for staging in self.by_array.values():
            staging.shift(shift)

    def renew_generation(self, before: int, after: int) -> None:
        """Give chunks of the generation `before` the generation `after`."""
        for staging in self.by_array.values():
            staging.renew_generation(before, after)

    def clear(self) -> None:
        """Forget everything."""
        for staging in self.by_array.values():
            staging.close()
        self.by_array = {}
