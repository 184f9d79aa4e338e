"""One write of a region of an array: whole chunks, and chunks of which the present cells must be read first.

What takes the storage or much time is done without a lock that small calls need: present cells are read, and many
chunks encoded, beside other calls. With the locks the write then looks whether each chunk is still as it was read, and
reads it again where another thread was faster. The cells of a write are seen all at once or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.catalog.view import IndexNotLoadedError
from atlas.chunking.batches import slices_by_bytes
from atlas.chunking.regions import chunk_box
from atlas.write.encoding import PendingChunk
from atlas.write.splitting import chunk_runs, divide_chunks, merged_part, whole_chunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from atlas.catalog.dataset_state import DatasetState
    from atlas.catalog.view import StoreView
    from atlas.chunking.regions import Region
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema
    from atlas.write.encoding import Key
    from atlas.write.pending import PendingWrites
    from atlas.write.staging import EncodedRows, Staging

    ReadBox: TypeAlias = Callable[[tuple[int, ...], tuple[int, ...]], NDArray[Any]]
    """Reads a box of one array as it was at some moment; to be called without a lock."""
    TakeReader: TypeAlias = Callable[[ArrayEntry, int], ReadBox]
    """Returns what reads an array of the dataset with an id. The caller must hold the lock `state`."""

__all__ = ["RegionWrite", "TakeReader"]


class _RedeclaredError(Exception):
    """The array is not the one that the write was planned for."""


class _Seen(NamedTuple):
    """What decides the cells of a chunk, as far as it can change while no version is shown anew."""

    dataset: int
    """Id of its dataset."""
    generation: int
    """Generation of its array."""
    waiting: PendingChunk | None
    """The chunk where it is pending and not encoded."""
    row: tuple[int, ...] | None
    """Its row where it is pending and encoded."""

    def holds_for(self, now: _Seen) -> bool:
        """Return whether the chunk has the same cells now."""
        return self.waiting is now.waiting and self[:2] == now[:2] and self.row == now.row


class RegionWrite:
    """One write of `cells`, (*box), to the region of an array: where `taken`, (*box), is True, or of all cells."""

    def __init__(
        self,
        view: StoreView,
        pending: PendingWrites,
        take_reader: TakeReader,
        key: tuple[str, str],
        schema: ArraySchema,
        region: Region,
        cells: NDArray[Any],
        taken: NDArray[np.bool_] | None = None,
    ) -> None:
        self._view, self._pending, self._take_reader = view, pending, take_reader
        self._dataset, self._array = key
        self._schema, self._region, self._cells, self._taken = schema, region, cells, taken
        self._cut = divide_chunks(cells, region, view.limits, taken=taken)
        self._part_bytes = region.cells[self._cut.part] * cells.dtype.itemsize
        self._present: dict[int, tuple[_Seen, NDArray[Any]]] = {}  # cells that were read, by row of the region
        self._of: tuple[int, int] | None = None  # dataset and generation of what is encoded
        self._encoded: list[EncodedRows] = []
        self._parts: dict[int, tuple[_Seen, NDArray[np.uint8] | None]] = {}  # encoded ones: seen, cells written
        self._encoded_parts: list[EncodedRows] = []

    def run(self) -> bool:
        """Write; False where the array has got another schema since the write was planned. Nothing is written then.

        The caller must hold no lock of the handle but the gate `building`.
        """
        locks = self._view.locks
        many = len(self._cut.at_once) > 0 or int(self._part_bytes.sum()) > self._view.limits.partial_bytes
        try:
            if not many:
                with locks.changing:
                    if not self._put():
                        return True
            with locks.building.passing():  # so that the handle shows one version until all is written
                if many:
                    with locks.encoding:
                        self._encode()
                        self._read_and_put()
                else:
                    self._read_and_put()
        except _RedeclaredError:
            return False
        return True

    def _target(self) -> tuple[DatasetState, ArrayEntry, Staging]:
        """Return the array as it is now. The caller must hold `state`."""
        state = self._view.datasets.state(self._dataset)
        entry = state.array(self._array)
        if entry.schema is not self._schema and entry.schema != self._schema:
            raise _RedeclaredError
        if self._of is not None and self._of != (state.identity, entry.generation):
            raise _RedeclaredError
        return state, entry, self._pending.staging(self._array)

    def _see(self, state: DatasetState, entry: ArrayEntry, staging: Staging, k: int) -> _Seen:
        chunk = int(self._region.chunk[k])
        waiting = staging.find_chunk(state.identity, chunk)
        row = staging.find_row(state.identity, chunk) if waiting is None else None
        return _Seen(state.identity, entry.generation, waiting, row)

    def _read(self, read: ReadBox, k: int) -> NDArray[Any]:
        found = read(*chunk_box(self._schema, int(self._region.chunk[k]))).reshape(-1)
        cell = self._schema.datatype.cell
        return found if cell is None else found.view(cell)

    def _reader(self, state: DatasetState, entry: ArrayEntry) -> ReadBox:
        return self._take_reader(entry, state.identity)

    def _merge(self, state: DatasetState, entry: ArrayEntry, k: int, present: NDArray[Any]) -> PendingChunk:
        """Return the chunk of a row with the cells of the write in the place of `present` ones, which it changes."""
        # An array that no other handle can write to needs no note of which cells were written here.
        shared = not state.new and entry.generation != self._view.datasets.generation
        written = merged_part(self._cells, self._region, k, present, self._taken, shared=shared)
        return PendingChunk(entry.schema, entry.generation, present, written, state.is_coordinate(entry))

    def _read_and_put(self) -> None:
        """Read what is missing and put all, as often as another thread changes a chunk meanwhile."""
        while True:
            try:
                with self._view.locks.changing:
                    missing = self._put()
                    if not missing:
                        return
                    state, entry, _ = self._target()
                    read = self._reader(state, entry)
            except IndexNotLoadedError:
                self._view.load_index(self._array)
                continue
            for k, seen in missing.items():
                self._present[k] = seen, self._read(read, k)

    def _put(self) -> dict[int, _Seen]:
        """Put all; or nothing, and return the rows of the chunks of which the present cells must be read.

        The caller must hold the locks of a change.
        """
        state, entry, staging = self._target()
        of, region = state.identity, self._region
        missing: dict[int, _Seen] = {}
        present: dict[int, NDArray[Any]] = {}
        fresh: set[Key] = set()
        for k in self._cut.part.tolist():
            now = self._see(state, entry, staging, k)
            encoded, read = self._parts.get(k), self._present.get(k)
            if encoded is not None and encoded[0].holds_for(now):
                fresh.add((of, int(region.chunk[k])))
            elif now.waiting is not None:
                present[k] = now.waiting.cells
            elif read is not None and read[0].holds_for(now):
                present[k] = read[1]
            elif state.new and now.row is None:  # never written
                present[k] = self._read(self._reader(state, entry), k)
            else:
                missing[k] = now
        if missing:
            return missing
        parts = [(k, self._merge(state, entry, k, cells.copy())) for k, cells in present.items()]
        whole = whole_chunks(self._cells, region, self._cut.whole)
        coordinate = state.is_coordinate(entry)
        # From here on nothing fails.
        for k, (_, written) in self._parts.items():
            if (of, int(region.chunk[k])) in fresh:
                staging.note_part(of, int(region.chunk[k]), written)
        staging.replace(self._encoded)
        staging.replace(self._encoded_parts, fresh)
        for k, chunk in parts:
            self._pending.put(self._array, of, int(region.chunk[k]), chunk)
        for k, cells in whole:
            chunk = PendingChunk(entry.schema, entry.generation, cells, coordinate=coordinate)
            self._pending.put(self._array, of, int(region.chunk[k]), chunk)
        self._view.changed()
        return {}

    def _encode(self) -> None:
        """Encode whole chunks that are many; chunks that are covered in part too, where they take much memory."""
        state_lock, limits, region = self._view.locks.state, self._view.limits, self._region
        with state_lock:
            state, entry, staging = self._target()
            self._of = state.identity, entry.generation
            coordinate = state.is_coordinate(entry)
        runs = chunk_runs(
            self._cells, entry, state.identity, region, self._cut.at_once, coordinate=coordinate, limits=limits
        )
        self._encoded = list(staging.encode_runs(runs, self._pending.spill_excess))
        if int(self._part_bytes.sum()) <= limits.partial_bytes:
            return
        for some in (self._cut.part[batch] for batch in slices_by_bytes(self._part_bytes, limits.partial_bytes)):
            chunks: list[tuple[Key, PendingChunk]] = []
            while True:
                try:
                    with state_lock:
                        state, entry, staging = self._target()
                        seen = {k: self._see(state, entry, staging, k) for k in some.tolist()}
                        read = self._reader(state, entry)
                    break
                except IndexNotLoadedError:
                    self._view.load_index(self._array)
            for k, now in seen.items():
                present = self._read(read, k) if now.waiting is None else now.waiting.cells.copy()
                chunk = self._merge(state, entry, k, present)
                self._parts[k] = now, None if chunk.written is None else np.packbits(chunk.written)
                chunks.append(((state.identity, int(region.chunk[k])), chunk._replace(written=None)))
            chunks.sort(key=lambda item: item[0])
            self._encoded_parts += staging.encode_waiting(chunks)
            self._pending.spill_excess()
