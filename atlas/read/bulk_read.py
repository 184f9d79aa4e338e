"""Reads one array of many datasets: in a list, stacked, or one after another; in the order of the selection."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from atlas.chunking.ragged import FlatBoxes, check_boxes, clip_boxes, take_boxes
from atlas.chunking.regions import check_region
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidValueError
from atlas.read.allocation import allocate_result
from atlas.read.ragged_array import RaggedArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.catalog.selection import ArraySelection, SchemaGroup
    from atlas.format.schema import ArraySchema
    from atlas.kernels import Boxes
    from atlas.read.snapshot import ReadSnapshot

__all__ = ["read_across", "read_ragged", "read_stacked"]


def read_across(
    selection: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None, snapshot: ReadSnapshot
) -> list[NDArray[Any] | None]:
    """Return the box of each array of the selection, None where a dataset or its array is missing.

    Arrays of one dtype whose boxes agree but along the first axis are read in one pass, and are views of its result.

    Raises `InvalidValueError`, which names the dataset, where the box leaves one of the arrays.
    """
    out: list[NDArray[Any] | None] = [None] * len(selection.names)
    _, _, of = selection.distinct_schemas
    for schemas, boxes, some in _passes(selection, start, shape):
        slot = np.full(int(of.max()) + 1, -1)
        slot[some] = np.arange(len(some))
        number = slot[of]
        at, number = selection.present[number >= 0], number[number >= 0]
        values, offsets = _read_rows(selection, at, schemas, number, boxes, snapshot)
        rows: Iterable[NDArray[Any]] = (values[first:stop] for first, stop in pairwise(offsets.tolist()))
        if not schemas[0].dims:
            rows = (row.reshape(()) for row in rows)
        for position, row in zip(at.tolist(), rows, strict=True):
            out[position] = row
    return out


def _passes(
    selection: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None
) -> list[tuple[list[ArraySchema], Boxes, list[int]]]:
    """Return what is read together: schemas, the box of each, and their numbers among the distinct ones.

    Raises `InvalidValueError`, which names the dataset, where a box leaves its array.
    """
    schemas = selection.distinct_schemas.schemas
    by_rank: dict[int, list[int]] = {}
    for number, schema in enumerate(schemas):
        by_rank.setdefault(len(schema.dims), []).append(number)
    passes = []
    for ranked in by_rank.values():
        try:
            boxes = check_boxes([schemas[number] for number in ranked], start, shape)
        except InvalidValueError:
            _refuse_box(selection, start, shape)
            raise
        alike: dict[tuple[object, ...], list[int]] = {}
        for at, (number, others) in enumerate(zip(ranked, boxes.extent[:, 1:].tolist(), strict=True)):
            alike.setdefault((schemas[number].datatype.name, *others), []).append(at)
        for some in alike.values():
            numbers = [ranked[at] for at in some]
            own = take_boxes(boxes, some)
            passes.append(([schemas[number] for number in numbers], own, numbers))
    return passes


def _refuse_box(selection: ArraySelection, start: Sequence[int] | None, shape: Sequence[int] | None) -> None:
    """Raise `InvalidValueError` for the first dataset whose array the box leaves."""
    for group in selection.groups:
        try:
            check_region(group.schema.shape, start, shape)
        except InvalidValueError as error:
            name = selection.names[int(group.at[0])]
            raise InvalidValueError(f"array {selection.array!r} of dataset {name!r}: {error}") from error


def _read_rows(
    selection: ArraySelection,
    at: NDArray[np.int64],
    schemas: Sequence[ArraySchema],
    number: NDArray[np.int64],
    boxes: Boxes,
    snapshot: ReadSnapshot,
    spans: NDArray[np.int64] | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the boxes of the datasets at the positions `at` (M,), one after another, and their offsets, (M + 1,).

    Each has one of S `schemas`, which `number` (M,) tells, and the box that `boxes` (S, ndim) have for it; `spans`
    (M, 2) has another first cell and length along the first axis for each.
    """
    ids, generations = selection.ids[at], selection.generations[at]
    if spans is not None:
        own = take_boxes(boxes, number)
        own.start[:, 0], own.extent[:, 0] = spans.T
        flat = FlatBoxes(own)
        return snapshot.read_flat(schemas, number, ids, generations, flat), flat.offsets
    if len(schemas) > 1:
        flat = FlatBoxes(take_boxes(boxes, number))
        return snapshot.read_flat(schemas, number, ids, generations, flat), flat.offsets
    # Arrays of one schema need no plan each.
    (schema,), axes = schemas, len(schemas[0].dims)
    corner, count = tuple(boxes.start[0, :axes].tolist()), tuple(boxes.extent[0].tolist())
    cells = snapshot.read(schema, ids, generations, corner, count[:axes])
    return cells.reshape(len(at) * count[0], *count[1:]), np.arange(len(at) + 1) * count[0]


def read_ragged(
    selection: ArraySelection,
    start: Sequence[int] | None,
    shape: Sequence[int] | None,
    snapshot: ReadSnapshot,
    spans: NDArray[np.int64] | None = None,
) -> RaggedArray:
    """Return the box of every array of the selection, clipped along the first axis, one after another.

    `spans` (N, 2) are instead the first cell and the length of each row, which must lie within its array; all datasets
    must have it then.

    Raises `InvalidValueError` where the arrays differ in dtype, in the names of their axes or in the lengths of those
    after the first, have no axis, or the box leaves them along another than the first. They must have been found to
    mean the same.
    """
    at = selection.present
    schemas, first, number = selection.distinct_schemas
    main = schemas[int(number[0])]
    for schema, where in zip(schemas, first.tolist(), strict=True):
        if schema.datatype is not main.datatype:
            raise _refuse(selection, where, "ragged", "dtype", schema.datatype.name, main.datatype.name)
        if schema.dims != main.dims:
            raise _refuse(selection, where, "ragged", "list of dimensions", list(schema.dims), list(main.dims))
    if not main.dims:
        raise InvalidValueError(
            f"array {selection.array!r} has no axis along which rows could differ; call read_array_across_stacked()"
        )
    boxes = clip_boxes(schemas, start, shape)
    other = (boxes.extent[:, 1:] != boxes.extent[int(number[0]), 1:]).any(axis=1)
    if other.any():
        where = int(np.argmax(other))
        mine, theirs = schemas[where].shape[1:], main.shape[1:]
        raise _refuse(selection, int(first[where]), "ragged", "shape after the first axis", mine, theirs)
    values, offsets = _read_rows(selection, at, schemas, number, boxes, snapshot, spans)
    _unify_fills(selection, main, schemas, number, values, offsets)
    row_sizes = np.zeros(len(selection.names), np.int64)
    row_sizes[at] = np.diff(offsets)
    all_offsets = np.zeros(len(row_sizes) + 1, np.int64)
    np.cumsum(row_sizes, out=all_offsets[1:])
    return RaggedArray(values, row_sizes, all_offsets, selection.names.copy(), selection.schema >= 0)


def _fill_key(schema: ArraySchema) -> bytes | None:
    """Return the bits of a fill value, None where none was declared."""
    return None if schema.fill is None else schema.fill_bits


def _unify_fills(
    selection: ArraySelection,
    main: ArraySchema,
    schemas: Sequence[ArraySchema],
    number: NDArray[np.int64],
    values: NDArray[Any],
    offsets: NDArray[np.int64],
) -> None:
    """Put the fill value of the schema `main` in place of those of others in rows of `values`: see `_with_fill_of`."""
    alike: dict[object, list[int]] = {}
    for at, schema in enumerate(schemas):
        alike.setdefault(_fill_key(schema), []).append(at)
    for key, some in alike.items():
        if key == _fill_key(main):
            continue
        row = np.repeat(np.isin(number, some), np.diff(offsets))
        cells = np.flatnonzero(row)

        def name_of(cell: int, cells: NDArray[np.int64] = cells) -> str:
            found = int(np.searchsorted(offsets, cells[cell], side="right")) - 1
            return selection.names[int(selection.present[found])]

        values[cells] = _with_fill_of(selection, schemas[some[0]], main, values[cells], name_of)


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
            names = partial(_name_in, selection, group)
            cells = _with_fill_of(selection, group.schema, first.schema, cells, names)
        out[group.at] = np.moveaxis(cells, range(1, cells.ndim), [1 + axis for axis in order])
    return out


def _name_in(selection: ArraySelection, group: SchemaGroup, row: int) -> str:
    return selection.names[int(group.at[row])]


def _with_fill_of(
    selection: ArraySelection,
    schema: ArraySchema,
    first: ArraySchema,
    cells: NDArray[Any],
    name_of: Callable[[int], str],
) -> NDArray[Any]:
    """Return cells (M, ...) of `schema` with the fill value of the first array in place of their own.

    A fill value that is NaN or not-a-time is like any other NaN, and changes nothing. `name_of` returns the dataset of
    a position along the first axis.

    Raises `InvalidValueError` where a cell would become missing, or be missing no more.
    """
    own, other = (None if one.fill_is_nan else one.fill_cell for one in (schema, first))
    if own == other:
        return cells
    is_missing = np.zeros(cells.shape, np.bool_) if own is None else np.asarray(cells == own)
    wrong = np.zeros(cells.shape, np.bool_) if other is None else np.asarray(cells == other) & ~is_missing
    if other is None and not first.fill_is_nan:
        wrong |= is_missing
    if wrong.any():
        at = np.argwhere(wrong)[0]
        one = selection.names[int(selection.present[0])]
        raise InvalidValueError(
            f"array {selection.array!r} has the fill value {first.fill!r} in dataset {one!r} and {schema.fill!r} in "
            f"dataset {name_of(int(at[0]))!r}, where a cell {cells[tuple(at)]!r} would become missing, or be "
            "missing no more; call read_array_across(), which returns a list"
        )
    if own is not None:
        cells[is_missing] = first.fill_cell
    return cells


def check_complete(selection: ArraySelection) -> None:
    """Raise `DatasetNotFoundError` or `ArrayNotFoundError` where a dataset or its array is missing."""
    if not selection.complete:
        missing = int(np.argmax(selection.schema < 0))
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
    same = schema.dims == first.dims
    if not same and (len(set(first.dims)) < len(first.dims) or sorted(schema.dims) != sorted(first.dims)):
        raise _refuse(selection, at, "stacked", "set of dimensions", list(schema.dims), list(first.dims))
    order = tuple(range(len(first.dims))) if same else tuple(first.dims.index(dim) for dim in schema.dims)
    shape = tuple(first.shape[axis] for axis in order)
    if schema.shape != shape:
        # As the first array has its axes.
        mine = tuple(schema.shape[order.index(axis)] for axis in range(len(order)))
        raise _refuse(selection, at, "stacked", "shape", mine, first.shape)
    if schema.datatype is not first.datatype:
        raise _refuse(selection, at, "stacked", "dtype", schema.datatype.name, first.datatype.name)
    return order


def _refuse(selection: ArraySelection, at: int, how: str, what: str, mine: object, other: object) -> InvalidValueError:
    """Return the error for two datasets whose arrays differ in `what`: that at position `at`, and the first present."""
    return InvalidValueError(
        f"{how} arrays have one {what}, but array {selection.array!r} has {other} in dataset "
        f"{selection.names[int(selection.present[0])]!r} and {mine} in dataset {selection.names[at]!r}; call "
        "read_array_across(), which returns a list"
    )
