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

    from atlas.catalog.selection import ArraySelection, SchemaGroup
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

    Axes are those of the first dataset: others are matched by their names and transposed.

    Raises `InvalidValueError` where the arrays differ in dtype, in the names of their axes or in their lengths, or the
    box leaves them. They must have been found to mean the same, see `check_complete`.
    """
    first, *others = sorted(selection.groups, key=lambda group: int(group.at[0]))
    axes = [_axes_of(selection, int(group.at[0]), group.schema, first.schema) for group in others]
    corner, count = check_region(first.schema.shape, start, shape)
    if not others:
        return snapshot.read(first.schema, first.ids, first.generations, corner, count)
    out = allocate_result((len(selection.names), *count), first.schema.memory_dtype, selection.array)
    for group, order in zip((first, *others), (tuple(range(len(count))), *axes), strict=True):
        box = [(corner[axis], count[axis]) for axis in order]
        cells = snapshot.read(
            group.schema, group.ids, group.generations, tuple(c for c, _ in box), tuple(n for _, n in box)
        )
        if group is not first:
            cells = _with_fill_of(selection, group, first.schema, cells)
        out[group.at] = np.moveaxis(cells, range(1, cells.ndim), [1 + axis for axis in order])
    return out


def _with_fill_of(
    selection: ArraySelection, group: SchemaGroup, first: ArraySchema, cells: NDArray[Any]
) -> NDArray[Any]:
    """Return the cells of a group, (M, *box), with the fill value of the first array in place of the group's own.

    A fill value that is NaN or not-a-time is like any other NaN, and changes nothing.

    Raises `InvalidValueError` where a cell would become missing, or be missing no more.
    """
    schema = group.schema
    own, other = (None if one.fill_is_nan else one.fill_cell for one in (schema, first))
    if own == other:
        return cells
    is_missing = np.zeros(cells.shape, np.bool_) if own is None else np.asarray(cells == own)
    wrong = np.zeros(cells.shape, np.bool_) if other is None else np.asarray(cells == other) & ~is_missing
    if other is None and not first.fill_is_nan:
        wrong |= is_missing
    if wrong.any():
        at = np.argwhere(wrong)[0]
        name = selection.names[int(group.at[at[0]])]
        raise InvalidValueError(
            f"array {selection.array!r} has the fill value {first.fill!r} in dataset {selection.names[0]!r} and "
            f"{schema.fill!r} in dataset {name!r}, where a cell {cells[tuple(at)]!r} would become missing, or be "
            "missing no more; call read_array_across(), which returns a list"
        )
    if own is not None:
        cells[is_missing] = first.fill_cell
    return cells


def check_complete(selection: ArraySelection) -> None:
    """Raise `DatasetNotFoundError` or `ArrayNotFoundError` where a dataset or its array is missing."""
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


def _axes_of(selection: ArraySelection, at: int, schema: ArraySchema, first: ArraySchema) -> tuple[int, ...]:
    """Return, for each axis of the array number `at` of the selection, the axis of the first array that it is.

    Raises `InvalidValueError` where the two cannot be stacked.
    """

    def refuse(what: str, mine: object, other: object) -> InvalidValueError:
        return InvalidValueError(
            f"stacked arrays have one {what}, but array {selection.array!r} has {other} in dataset "
            f"{selection.names[0]!r} and {mine} in dataset {selection.names[at]!r}; call read_array_across(), which "
            "returns a list"
        )

    same = schema.dims == first.dims
    if not same and (len(set(first.dims)) < len(first.dims) or sorted(schema.dims) != sorted(first.dims)):
        raise refuse("set of dimensions", list(schema.dims), list(first.dims))
    order = tuple(range(len(first.dims))) if same else tuple(first.dims.index(dim) for dim in schema.dims)
    shape = tuple(first.shape[axis] for axis in order)
    if schema.shape != shape:
        # As the first array has its axes.
        mine = tuple(schema.shape[order.index(axis)] for axis in range(len(order)))
        raise refuse("shape", mine, first.shape)
    if schema.datatype is not first.datatype:
        raise refuse("dtype", schema.datatype.name, first.datatype.name)
    return order
