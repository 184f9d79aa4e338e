"""From boxes of many arrays, whose shapes may differ, to the chunks that meet them in one flat result. Pure; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from atlas.chunking.regions import Region, check_region, check_vector, plan_bytes
from atlas.errors import InvalidValueError
from atlas.kernels import Boxes, count_chunks, plan_chunks
from atlas.runtime.memory import check_room

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.format.schema import ArraySchema

__all__ = ["FlatBoxes", "check_boxes", "check_row_sizes", "clip_boxes", "take_boxes"]

_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class FlatBoxes:
    """Boxes of N arrays of one rank, which lie one after another along the first axis of a flat array."""

    boxes: Boxes
    """The boxes, whose extents agree but along the first axis. An array without axes counts as one of shape (1,)."""

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each box begins along the first axis of the flat array and, last, where that ends: (N + 1,)."""
        offsets = np.zeros(len(self.boxes.extent) + 1, np.int64)
        np.cumsum(self.boxes.extent[:, 0], out=offsets[1:])
        return offsets

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the flat array."""
        return int(self.offsets[-1]), *self.boxes.extent[0, 1:].tolist()

    @cached_property
    def _chunks(self) -> NDArray[np.int64]:
        """The number of chunks that each box meets, (N,)."""
        return count_chunks(self.boxes)

    def parts(self, chunks: int) -> list[tuple[int, int]]:
        """Return the boxes in parts, first number and the one after the last, of about so many chunks or one box."""
        part = (np.cumsum(self._chunks) - 1) // max(chunks, 1)
        edges = np.flatnonzero(part[1:] != part[:-1]) + 1
        return list(pairwise([0, *edges.tolist(), len(part)]))

    def plan(self, first: int, stop: int) -> Region:
        """Return the chunks that the boxes from number `first` up to `stop`, which is left out, meet.

        Raises `TooLargeError` where the plan exceeds the available memory.
        """
        boxes, counts = take_boxes(self.boxes, slice(first, stop)), self._chunks[first:stop]
        edges = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=edges[1:])
        chunks = int(edges[-1])
        what = f"a plan to read {chunks} chunks of {len(counts)} arrays"
        check_room(chunks * plan_bytes(len(self.shape)), what, "read a smaller box, or fewer datasets at a time")
        geometry, chunk, cells = plan_chunks(boxes, counts, self.offsets[first:stop], np.array(self.shape, np.int64))
        whole = bool((geometry.extent == geometry.part).all())
        return Region(geometry, chunk, cells, whole, edges)


def take_boxes(boxes: Boxes, at: slice | Sequence[int] | NDArray[np.int64]) -> Boxes:
    """Return the boxes at positions, each as often as it is named."""
    return Boxes(*(column[at] for column in boxes))


def check_boxes(schemas: Sequence[ArraySchema], start: Sequence[int] | None, shape: Sequence[int] | None) -> Boxes:
    """Return the box that `start` and `shape` name in arrays of each of S schemas of one rank: see `check_region`.

    Raises what `check_region` raises, for the first schema that is wrong.
    """
    shapes, chunk_shapes = _shapes(schemas)
    corner, _ = check_region(schemas[0].shape, start, shape)
    count = shapes
    first = np.zeros_like(shapes)
    if start is not None and corner:
        first[:] = corner
        count = shapes - first
    if shape is not None and corner:
        count = np.broadcast_to(np.array(shape, np.int64), shapes.shape)
    wrong = ((first > shapes) | (count < 0) | (count > shapes - first)).any(axis=1)
    if wrong.any():
        check_region(schemas[int(np.argmax(wrong))].shape, start, shape)
    return Boxes(shapes, chunk_shapes, first, np.ascontiguousarray(count))


def clip_boxes(schemas: Sequence[ArraySchema], start: Sequence[int] | None, shape: Sequence[int] | None) -> Boxes:
    """Return the box of arrays of each of S schemas: that of `start` and `shape`, clipped along the first axis.

    The arrays have one rank, at least 1. The box may leave them along the first axis only.

    Raises `InvalidValueError` where the box leaves one of them along another axis, or is of another rank,
    `OutOfRangeError` for negative numbers and `InvalidTypeError` for what are no integers.
    """
    shapes, chunk_shapes = _shapes(schemas)
    axes = shapes.shape[1]
    corner = (0,) * axes if start is None else check_vector("start", start)
    size = (_LARGEST,) * axes if shape is None else check_vector("shape", shape)
    for what, given in (("start", corner), ("shape", size)):
        if len(given) != axes:
            raise InvalidValueError(f"{what} {list(given)} has {len(given)} entries for arrays of {axes} dimensions")
    first = np.minimum(np.array(corner, np.int64), shapes)
    count = np.minimum(np.array(size, np.int64), shapes - first)
    wrong: NDArray[np.bool_] = np.array(corner, np.int64) > shapes
    if shape is not None:
        wrong |= np.array(size, np.int64) > shapes - first
    outside = wrong[:, 1:].any(axis=1)
    if outside.any():
        raise InvalidValueError(
            f"the region start={list(corner)}, shape={None if shape is None else list(size)} leaves an array of shape "
            f"{list(schemas[int(np.argmax(outside))].shape)} along another axis than the first, which alone is clipped"
        )
    return Boxes(shapes, chunk_shapes, first, count)


def check_row_sizes(row_sizes: Sequence[int] | NDArray[Any], rows: int) -> tuple[int, ...]:
    """Return the lengths of so many rows as whole numbers.

    Raises `InvalidValueError` for another number of them, `OutOfRangeError` for negative numbers and
    `InvalidTypeError` for what are no integers.
    """
    if isinstance(row_sizes, np.ndarray) and row_sizes.ndim == 1 and row_sizes.dtype.kind in "iu":
        row_sizes = row_sizes.tolist()
    sizes = check_vector("row_sizes", cast("Sequence[int]", row_sizes))
    if len(sizes) != rows:
        raise InvalidValueError(f"row_sizes has {len(sizes)} entries for {rows} datasets; give one for each")
    return sizes


def _shapes(schemas: Sequence[ArraySchema]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return shapes and chunk shapes of S schemas of one rank, (S, ndim) each; of arrays without axes (S, 1)."""
    axes = max(1, len(schemas[0].dims))
    return (
        np.array([schema.shape or (1,) for schema in schemas], np.int64).reshape(-1, axes),
        np.array([schema.chunk_shape or (1,) for schema in schemas], np.int64).reshape(-1, axes),
    )
