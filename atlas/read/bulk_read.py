"""One array of many datasets: arrays of one schema are read together, and put where their datasets stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from atlas.chunking.regions import check_region
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidValueError
from atlas.read.allocation import allocate_result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.selection import ArraySelection
    from atlas.format.dataset_columns import ArrayEntry
    from atlas.format.schema import ArraySchema

__all__ = ["read_across", "read_stacked"]


class ReadGroup(Protocol):
    """Reads one box of arrays that have one schema: (N, *count)."""

    def __call__(
        self,
        array: str,
        schema: ArraySchema,
        ids: NDArray[np.int64],
        generations: NDArray[np.int64],
        start: tuple[int, ...],
        count: tuple[int, ...],
    ) -> NDArray[Any]:
        """Read."""


class ReadOne(Protocol):
    """Reads a box of the array of one dataset."""

    def __call__(
        self, array: str, identity: int, entry: ArrayEntry, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read."""


def read_across(
    arrays: ArraySelection,
    start: Sequence[int] | None,
    shape: Sequence[int] | None,
    read_group: ReadGroup,
    read_one: ReadOne,
) -> list[NDArray[Any] | None]:
    """Return the box of each array, None where a dataset or its array is missing."""
    out: list[NDArray[Any] | None] = [None] * len(arrays.names)
    groups = []
    for group in arrays.groups:
        try:
            groups.append((group, check_region(group.schema.shape, start, shape)))
        except InvalidValueError as error:
            name = arrays.names[int(group.at[0])]
            raise InvalidValueError(f"array {arrays.array!r} of dataset {name!r}: {error}") from error
    for group, (corner, count) in groups:
        if len(group.at) == 1:
            # Fleets of profiles have a length each; read one by one they still share decoded blocks, by the cache.
            at = int(group.at[0])
            out[at] = read_one(arrays.array, int(group.ids[0]), arrays.entries[int(arrays.entry[at])], start, shape)
            continue
        boxes = read_group(arrays.array, group.schema, group.ids, group.generations, corner, count)
        for position, box in zip(group.at.tolist(), boxes, strict=True):
            out[position] = box if isinstance(box, np.ndarray) else np.asarray(box, boxes.dtype)
    return out


def read_stacked(
    arrays: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None, read_group: ReadGroup
) -> NDArray[Any]:
    """Return the box of every array as one (N, *box); all must be there, and of one shape and dtype."""
    if not arrays.complete:
        lacking = int(np.argmax(arrays.entry < 0))
        if arrays.ids[lacking] < 0:
            raise DatasetNotFoundError(f"there is no dataset {arrays.names[lacking]!r} in the store")
        raise ArrayNotFoundError(f"dataset {arrays.names[lacking]!r} has no array {arrays.array!r}")
    first, *others = arrays.groups
    for group in others:
        _check_alike(arrays, int(group.at[0]), group.schema, first.schema)
    corner, count = check_region(first.schema.shape, start, shape)
    if not others:
        return read_group(arrays.array, first.schema, first.ids, first.generations, corner, count)
    out = allocate_result((len(arrays.names), *count), first.schema.memory_dtype, arrays.array)
    for group in arrays.groups:
        out[group.at] = read_group(arrays.array, group.schema, group.ids, group.generations, corner, count)
    return out


def _check_alike(arrays: ArraySelection, at: int, schema: ArraySchema, first: ArraySchema) -> None:
    for what, mine, other in (
        ("shape", schema.shape, first.shape),
        ("dtype", schema.datatype.name, first.datatype.name),
    ):
        if mine != other:
            raise InvalidValueError(
                f"array {arrays.array!r} is of {what} {mine} in dataset {arrays.names[at]!r} and of {other} in others, "
                "which cannot be stacked; read it with read_array_across"
            )
