"""Reads boxes of one array from many datasets: finds their chunks, and reads those of numbers or of strings.

Knows no staged cells: `ReadSnapshot.read` copies those over.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels
from atlas.errors import TooLargeError
from atlas.read.allocation import allocate_result
from atlas.read.numbers import read_numbers
from atlas.read.strings import read_strings
from atlas.runtime.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.chunk_index import ChunkIndex
    from atlas.chunking.ragged import FlatBoxes
    from atlas.chunking.regions import Region
    from atlas.read.block_cache import BlockCache
    from atlas.read.fetch import Targets

__all__ = ["read_boxes", "read_flat"]


def read_boxes(
    indexes: Sequence[ChunkIndex],
    targets: Targets,
    region: Region,
    limits: Limits = DEFAULT,
    cache: BlockCache | None = None,
) -> NDArray[Any]:
    """Return the box of `region` from each of the N targets: (N, *box) in the schema's memory dtype.

    `indexes` come newest first: a chunk is taken from the first that has it. A chunk that none has reads as the fill
    value. Blocks that are in `cache` are not read; without one every block is, and compared with its checksum.

    Raises `CorruptStoreError`, which names file, dataset and array, for damage, and `TooLargeError` where the result
    and what its read takes exceed the available memory.
    """
    schema = targets.schema
    box = tuple(region.geometry.box.tolist())
    dtype = schema.datatype.cell or np.dtype(object)
    out = allocate_result((len(targets.ids), *box), dtype, targets.array)
    if out.size == 0:
        return schema.datatype.in_memory(out)
    # The rows of chunks that are found take memory too: those of a million datasets would exceed the result.
    step = max(1, limits.lookup_chunks // len(region.chunk))
    with _memory_named(targets.array):
        for first in range(0, len(out), step):
            some = targets.some(first, first + step)
            _read_targets(indexes, some, region, out[first : first + step], limits, cache)
    return schema.datatype.in_memory(out)


def read_flat(
    indexes: Sequence[ChunkIndex],
    targets: Targets,
    flat: FlatBoxes,
    limits: Limits = DEFAULT,
    cache: BlockCache | None = None,
) -> NDArray[Any]:
    """Return the boxes `flat` of N targets, one after another along the first axis, in their memory dtype.

    All else is as for `read_boxes`.
    """
    datatype = targets.schema.datatype
    out = allocate_result((1, *flat.shape), datatype.cell or np.dtype(object), targets.array)
    with _memory_named(targets.array):
        for first, stop in flat.parts(limits.lookup_chunks) if out.size else ():
            _read_targets(indexes, targets.some(first, stop), flat.plan(first, stop), out, limits, cache)
    return datatype.in_memory(out[0])


@contextmanager
def _memory_named(array: str) -> Iterator[None]:
    """Raise `TooLargeError`, which names the array, where memory runs out: the result may have taken almost all."""
    try:
        yield
    except MemoryError as error:
        if isinstance(error, TooLargeError):
            raise
        raise TooLargeError(
            f"reading array {array!r} takes more memory than there is: {error}; read a smaller box, or fewer datasets "
            "at a time"
        ) from error


def _read_targets(
    indexes: Sequence[ChunkIndex],
    targets: Targets,
    region: Region,
    out: NDArray[Any],
    limits: Limits,
    cache: BlockCache | None,
) -> None:
    """Read the box of each target into `out`, which is writable and C-contiguous.

    Its shape is (N, *box), or (1, *box) for a region whose targets have rows of their own.
    """
    strings, edges = out.dtype == object, region.edges
    chunks = len(region.chunk) * (1 if edges is not None else len(targets.ids))
    taken = np.zeros(chunks, np.uint8) if len(indexes) > 1 or edges is not None else None
    found = [
        kernels.find_chunks(
            index.index, index.base, targets.ids, targets.generations, region.chunk, region.cells, taken, edges
        )
        for index in indexes
    ]
    if sum(part.pieces.shape[1] + part.constant.shape[1] for part in found) < chunks:
        if edges is None or taken is None:
            schema = targets.schema
            out[...] = schema.fill_text if strings else np.frombuffer(schema.fill_bits, out.dtype)[0]
        else:
            _fill_unwritten(out, np.flatnonzero(taken == 0), targets, region)
    for index, part in zip(indexes, found, strict=True):
        if part.constant.shape[1]:
            _fill_constant(out, part.constant, targets, region)
        if part.pieces.shape[1]:
            read = read_strings if strings else read_numbers
            kept = cache if index.sources[0].written_once else None
            read(index, part.pieces, targets, region, out, limits, kept)


def _fill_unwritten(out: NDArray[Any], chunk: NDArray[np.int64], targets: Targets, region: Region) -> None:
    """Write the fill values of targets to the boxes of chunks, rows `chunk` (C,) of `region`, in `out` (1, *box)."""
    pieces = np.zeros((kernels.PIECE_TARGET + 1, len(chunk)), np.int64)
    pieces[kernels.PIECE_CHUNK] = chunk
    if out.dtype != object:
        schemas, number = targets.schemas_of(region.arrays_of(pieces))
        fills = np.frombuffer(b"".join(schema.fill_bits.ljust(8, b"\0") for schema in schemas), "<i8")
        pieces[kernels.PIECE_OFFSET] = fills[number]
    _fill_constant(out, pieces, targets, region)


def _fill_constant(out: NDArray[Any], constant: NDArray[np.int64], targets: Targets, region: Region) -> None:
    """Write the boxes of constant chunks, pieces (6, C) with the bits of the cell as `PIECE_OFFSET`, into `out`.

    A constant chunk of text holds the fill value of its array.
    """
    bits, chunk, target = constant[[kernels.PIECE_OFFSET, kernels.PIECE_CHUNK, kernels.PIECE_TARGET]]
    if out.dtype != object:
        kernels.fill_boxes(out, bits.view(np.uint64), chunk, target, region.geometry)
        return
    schemas, number = targets.schemas_of(region.arrays_of(constant))
    fills = [schema.fill_text for schema in schemas]
    for k, n, at in zip(chunk.tolist(), target.tolist(), number.tolist(), strict=True):
        cells: tuple[int | slice, ...] = (n, *region.in_box(k))
        out[cells] = fills[at]
