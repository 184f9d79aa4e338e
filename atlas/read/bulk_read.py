"""Reads one array of many datasets: arrays of one schema in one go, results in the order of the selection."""

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
        """Return the box of `shape` at `start` of the array `entry` of the dataset with the id `identity`."""


def read_across(
    selection: ArraySelection,
    start: Sequence[int] | None,
    shape: Sequence[int] | None,
    snapshot: ReadSnapshot,
    read_one: ReadOne,
) -> list[NDArray[Any] | None]:
    """Return the box of each array of the selection, None where a dataset or its array is missing.

    Raises `InvalidValueError`, which names the dataset, where the box leaves one of the arrays.
    """
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
            # Profiles often have a length of their own each: `read_one` finds their shared blocks in the cache.
            position = int(group.at[0])
            entry = selection.entries[int(selection.entry[position])]
            out[position] = read_one(int(group.ids[0]), entry, start, shape)
            continue
        boxes = snapshot.read(group.schema, group.ids, group.generations, corner, count)
        for position, box in zip(group.at.tolist(), boxes, strict=True):
            out[position] = box if isinstance(box, np.ndarray) else np.asarray(box, boxes.dtype)
    return out


def read_stacked(
    selection: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None, snapshot: ReadSnapshot
) -> NDArray[Any]:
    """Return the box of every array of the selection as one array, (N, *box).

    Raises `DatasetNotFoundError` or `ArrayNotFoundError` where one is missing, `InvalidValueError` where the arrays
    differ in shape or dtype or the box leaves them.
    """
    if not selection.complete:
        missing = int(np.argmax(selection.entry < 0))
        name = selection.names[missing]
        if selection.ids[missing] < 0:
            raise DatasetNotFoundError(
                f"there is no dataset {name!r} in the store; list_datasets() returns those that exist, and "
                "read_array_across() returns None for the others"
            )
        raise ArrayNotFoundError(
            f"dataset {name!r} has no array {selection.array!r}; leave the dataset out, or call read_array_across(), "
            "which returns None for it"
        )
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
    """Raise `InvalidValueError` where the array number `at` of the selection cannot be stacked with the first."""
    for what, mine, other in (
        ("shape", schema.shape, first.shape),
        ("dtype", schema.datatype.name, first.datatype.name),
    ):
        if mine != other:
            raise InvalidValueError(
                f"stacked arrays have one {what}, but array {selection.array!r} has {mine} in dataset "
                f"{selection.names[at]!r} and {other} in others; call read_array_across(), which returns a list"
            )
