"""One array of many datasets: arrays of one schema are read together, and returned in the order of the selection."""

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
    from atlas.read.snapshot import ReadSnapshot

__all__ = ["read_across", "read_stacked"]


class ReadOne(Protocol):
    """Reads a box of the array of one dataset."""

    def __call__(
        self, identity: int, entry: ArrayEntry, start: Sequence[int] | None, shape: Sequence[int] | None
    ) -> NDArray[Any]:
        """Read."""


def read_across(
    selection: ArraySelection,
    start: Sequence[int] | None,
    shape: Sequence[int] | None,
    snapshot: ReadSnapshot,
    read_one: ReadOne,
) -> list[NDArray[Any] | None]:
    """Return the box of each array, None where a dataset or its array is missing."""
    out: list[NDArray[Any] | None] = [None] * len(selection.names)
    groups = []
    for group in selection.groups:
        try:
            groups.append((group, check_region(group.schema.shape, start, shape)))
        except InvalidValueError as error:
            name = selection.names[int(group.at[0])]
            raise InvalidValueError(f"array {selection.array!r} of dataset {name!r}: {error}") from error
    for group, (corner, count) in groups:
        if len(group.at) == 1:
            # Fleets of profiles have a length each; read one by one they still share decoded blocks, by the cache.
            at = int(group.at[0])
            out[at] = read_one(int(group.ids[0]), selection.entries[int(selection.entry[at])], start, shape)
            continue
        boxes = snapshot.read(group.schema, group.ids, group.generations, corner, count)
        for position, box in zip(group.at.tolist(), boxes, strict=True):
            out[position] = box if isinstance(box, np.ndarray) else np.asarray(box, boxes.dtype)
    return out


def read_stacked(
    selection: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None, snapshot: ReadSnapshot
) -> NDArray[Any]:
    """Return the box of every array as one (N, *box); all must be there, and of one shape and dtype."""
    if not selection.complete:
        lacking = int(np.argmax(selection.entry < 0))
        if selection.ids[lacking] < 0:
            raise DatasetNotFoundError(f"there is no dataset {selection.names[lacking]!r} in the store")
        raise ArrayNotFoundError(f"dataset {selection.names[lacking]!r} has no array {selection.array!r}")
    first, *others = selection.groups
    for group in others:
        _check_alike(selection, int(group.at[0]), group.schema, first.schema)
    corner, count = check_region(first.schema.shape, start, shape)
    if not others:
        return snapshot.read(first.schema, first.ids, first.generations, corner, count)
    out = allocate_result((len(selection.names), *count), first.schema.memory_dtype, selection.array)
    for group in selection.groups:
        out[group.at] = snapshot.read(group.schema, group.ids, group.generations, corner, count)
    return out


def _check_alike(selection: ArraySelection, at: int, schema: ArraySchema, first: ArraySchema) -> None:
    for what, mine, other in (
        ("shape", schema.shape, first.shape),
        ("dtype", schema.datatype.name, first.datatype.name),
    ):
        if mine != other:
            raise InvalidValueError(
                f"array {selection.array!r} is of {what} {mine} in dataset {selection.names[at]!r} and of {other} in "
                "others, which cannot be stacked; read it with read_array_across"
            )
