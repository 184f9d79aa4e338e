"""What lies along one dimension of many datasets, one dataset after another: which, how long, and as variables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import InvalidValueError
from atlas.many.lazy_cells import FlatCells
from atlas.many.part_cells import variable_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.many.blocks import Blocks
    from atlas.many.bulk_reads import PinnedReads, Reads
    from atlas.many.fleet import Fleet
    from atlas.many.options import ManyOptions
    from atlas.many.plans import Plan

__all__ = ["dimension_of_rows", "flat_variable", "lengths_of", "read_flat", "row_sizes", "select_rows"]


def dimension_of_rows(fleet: Fleet, options: ManyOptions) -> str:
    """Return the dimension along which the datasets are put one after another.

    That is the one asked for, else the only one whose lengths differ, else the only first one of an array.
    """
    single = {dim for dim, entry in (options.isel or {}).items() if not isinstance(entry, slice)}
    lengths = {dim: found for dim, found in fleet.lengths(options.variables).items() if dim not in single}
    if options.dim is not None:
        if options.dim not in lengths:
            raise InvalidValueError(
                f"dim {options.dim!r} is no dimension of these datasets, which have {', '.join(map(repr, lengths))}"
            )
        return options.dim
    differ = [dim for dim, found in lengths.items() if len(found) > 1]
    choices = differ or [dim for dim in fleet.first_dimensions(options.variables) if dim in lengths]
    if len(choices) == 1:
        return choices[0]
    what = "lengths differ along" if differ else "no lengths differ, and arrays begin with"
    some = ", ".join(map(repr, choices)) or "no dimension"
    raise InvalidValueError(
        f"{what} {some}: name the dimension along which datasets follow one another with dim=, or choose arrays with "
        "variables="
    )


def select_rows(plans: Sequence[Plan], dim: str) -> list[Plan]:
    """Return the variables that lie along a dimension.

    Raises `InvalidValueError` where it is not the first one of an array.
    """
    found = [plan for plan in plans if dim in plan.dims]
    for plan in found:
        for part in plan.parts:
            if part.array.dims[0] != dim or part.array.dims.count(dim) > 1:
                raise InvalidValueError(
                    f"array {plan.name!r} of dataset {part.label!r} has the dimensions {list(part.array.dims)}, and "
                    f"only what has {dim!r} first, and once, can follow one another; leave it out with variables="
                )
    return found


def row_sizes(fleet: Fleet, dim: str, plans: Sequence[Plan]) -> NDArray[np.int64]:
    """Return the length of each dataset along a dimension: (N,), 0 where it has no array along it.

    Raises `InvalidValueError` where two arrays of a dataset differ in it.
    """
    sizes = np.full(len(fleet.labels), -1)
    along = [plan for plan in plans if dim in plan.dims]
    for number, plan in enumerate(along):
        own = lengths_of(plan, dim, len(fleet.labels), -1)
        wrong = np.flatnonzero((sizes >= 0) & (own >= 0) & (sizes != own))
        if len(wrong):
            first = int(wrong[0])
            other = next(one.name for one in along[:number] if any(first in some.at for some in one.parts))
            raise InvalidValueError(
                f"dataset {fleet.labels[first]!r} has {int(sizes[first])} cells along {dim!r} in array {other!r} and "
                f"{int(own[first])} in {plan.name!r}; leave one out with variables="
            )
        sizes = np.maximum(sizes, own)
    known: NDArray[np.int64] = np.maximum(sizes, 0)
    return known


def lengths_of(plan: Plan, dim: str, count: int, missing: int = 0) -> NDArray[np.int64]:
    """Return the length of a variable along a dimension in each of `count` datasets, `missing` where one lacks it."""
    lengths = np.full(count, missing)
    for part in plan.parts:
        lengths[part.at] = part.array.shape[part.array.dims.index(dim)]
    return lengths


def read_flat(
    reads: Reads, names: list[str], plan: Plan, offsets: NDArray[np.int64]
) -> tuple[NDArray[Any], list[dict[str, Any]]]:
    """Return the cells of a variable of one axis, one dataset after another, and the attributes left of each part.

    `offsets` (N + 1,) are the edges of the datasets.
    """
    dtype, decoded = variable_dtype(plan, filled=False)
    return FlatCells(reads, names, plan, offsets, (int(offsets[-1]),), dtype)[(slice(None),)], decoded


def flat_variable(
    fleet: Fleet, plan: Plan, offsets: NDArray[np.int64], reads: PinnedReads, options: ManyOptions, blocks: Blocks
) -> xr.Variable:
    """Return a variable whose first axis is that of all rows, the edges of which are `offsets` (N + 1,)."""
    shape = (int(offsets[-1]), *plan.shape[1:])
    cells_of = partial(FlatCells, reads, fleet.labels, plan, offsets, shape)
    return blocks.variable(plan, plan.dims, options.combine_attrs, cells_of, filled=not fleet.has_all(plan))
