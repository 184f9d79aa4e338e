"""What a read asks for and finds, and the stored bytes of the blocks it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import CorruptStoreError
from atlas.kernels import BlockTable
from atlas.planning.pieces import coalesce

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from atlas.engine.tables import Source
    from atlas.format.schema import ArraySchema

__all__ = ["Found", "Targets", "load_blocks"]


@dataclass(frozen=True, slots=True)
class Targets:
    """The arrays that are read, all of one schema."""

    array: str
    """Array name, for messages."""
    schema: ArraySchema
    """Their schema."""
    ids: NDArray[np.int64]
    """Dataset id of each."""
    generations: NDArray[np.int64]
    """Generation of each."""
    name_of: Callable[[int], str]
    """Dataset name of an id, for messages."""

    def damage(self, source: Source, reason: str, target: int) -> CorruptStoreError:
        """Return the error for damage met while reading the array number `target`."""
        dataset = self.name_of(int(self.ids[target]))
        return CorruptStoreError(
            f"{source.name} is damaged ({reason}): array {self.array!r} of dataset {dataset!r} cannot be read; "
            "restore the file from a copy",
            key=source.name,
            dataset=dataset,
            array=self.array,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Chunks of one source, in columns."""

    source: Source
    """Where their blocks are."""
    block: NDArray[np.int64]
    """Block in which each begins."""
    place: NDArray[np.int64]
    """Byte of that block at which it begins."""
    chunk: NDArray[np.int64]
    """Row in the region."""
    target: NDArray[np.int64]
    """Row in the result."""


def load_blocks(source: Source, blocks: NDArray[np.int64]) -> tuple[NDArray[np.uint8], BlockTable]:
    """Read the stored bytes of `blocks` (ascending) and return them with their table within the buffer."""
    table = source.blocks
    offset, stored = table.offset[blocks], table.stored[blocks]
    ranges = coalesce(offset, stored)
    buffer = np.empty(ranges.size, np.uint8)
    source.read_into(ranges.offset, ranges.length, buffer, ranges.place)
    return buffer, BlockTable(
        ranges.within,
        stored,
        table.raw[blocks],
        table.codec[blocks],
        table.filter[blocks],
        table.itemsize[blocks],
        table.checksum[blocks],
    )
