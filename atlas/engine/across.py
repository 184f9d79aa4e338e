"""One array of many datasets: arrays of one schema are read together, and put where their datasets stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidValueError
from atlas.planning.regions import check_region

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from atlas.engine.datasets import Arrays
    from atlas.format.registry import ArrayEntry
    from atlas.format.schema import ArraySchema

__all__ = ["Fleet", "read_across", "read_stacked"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The arrays that are asked for."""

    array: str
    """Array name."""
    names: list[str]
    """Dataset names, in the order asked for."""
    arrays: Arrays
    """What was found of them."""


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
    fleet: Fleet,
    start: Sequence[int] | None,
    shape: Sequence[int] | None,
    read_group: ReadGroup,
    read_one: ReadOne,
) -> list[NDArray[Any] | None]:
    """Return the box of each array, None where a dataset or its array is missing."""
    out: list[NDArray[Any] | None] = [None] * len(fleet.names)
    groups = []
    for group in fleet.arrays.groups():
        try:
            groups.append((group, check_region(group[0].shape, start, shape)))
        except InvalidValueError as error:
            name = fleet.names[int(group[1][0])]
            raise InvalidValueError(f"array {fleet.array!r} of dataset {name!r}: {error}") from error
    for (schema, at, generations), (corner, count) in groups:
        if len(at) == 1:
            # Fleets of profiles have a length each; read one by one they still share decoded blocks, by the cache.
            entry = fleet.arrays.entries[int(fleet.arrays.entry[at[0]])]
            out[int(at[0])] = read_one(fleet.array, int(fleet.arrays.ids[at[0]]), entry, start, shape)
            continue
        boxes = read_group(fleet.array, schema, fleet.arrays.ids[at], generations, corner, count)
        for position, box in zip(at.tolist(), boxes, strict=True):
            out[position] = box if isinstance(box, np.ndarray) else np.asarray(box, boxes.dtype)
    return out


def read_stacked(
    fleet: Fleet, start: Sequence[int] | None, shape: Sequence[int] | None, read_group: ReadGroup
) -> NDArray[Any]:
    """Return the box of every array as one (N, *box); all must be there, and of one shape and dtype."""
    arrays = fleet.arrays
    if (arrays.entry < 0).any():
        lacking = int(np.argmax(arrays.entry < 0))
        if arrays.ids[lacking] < 0:
            raise DatasetNotFoundError(f"there is no dataset {fleet.names[lacking]!r} in the store")
        raise ArrayNotFoundError(f"dataset {fleet.names[lacking]!r} has no array {fleet.array!r}")
    groups = list(arrays.groups())
    first = groups[0][0]
    for schema, at, _ in groups[1:]:
        _check_alike(fleet, int(at[0]), schema, first)
    corner, count = check_region(first.shape, start, shape)
    if len(groups) == 1:
        return read_group(fleet.array, first, arrays.ids, groups[0][2], corner, count)
    out: NDArray[Any] = np.empty((len(fleet.names), *count), first.memory_dtype)
    for schema, at, generations in groups:
        out[at] = read_group(fleet.array, schema, arrays.ids[at], generations, corner, count)
    return out


def _check_alike(fleet: Fleet, at: int, schema: ArraySchema, first: ArraySchema) -> None:
    for what, mine, other in (
        ("shape", schema.shape, first.shape),
        ("dtype", schema.datatype.name, first.datatype.name),
    ):
        if mine != other:
            raise InvalidValueError(
                f"array {fleet.array!r} is of {what} {mine} in dataset {fleet.names[at]!r} and of {other} in others, "
                "which cannot be stacked; read it with read_array_across"
            )
