"""Many datasets as one, concatenated: one after another along a dimension that they have; lazily.

Datasets are put in the order of their labels along it. What does not lie along it must be equal in all, and is taken
once; scalars that differ are repeated along it. Reads metadata, labels, and what must be compared.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.many.assembling import assemble
from atlas.many.rows import dimension_of_rows, flat_variable, read_flat, row_sizes, select_rows
from atlas.many.sequence import Labels, find_break, find_order
from atlas.many.stacked_variables import StackedVariables
from atlas.xarray.reading import as_pandas
from atlas.xarray.recorded_dtypes import decode_recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.many.blocks import Blocks
    from atlas.many.bulk_reads import PinnedReads
    from atlas.many.fleet import Fleet
    from atlas.many.options import ManyOptions
    from atlas.many.plans import Plan

__all__ = ["open_concatenated"]


def open_concatenated(fleet: Fleet, reads: PinnedReads, options: ManyOptions, blocks: Blocks) -> xr.Dataset:
    """Return the datasets of a fleet one after another.

    Raises `InvalidValueError` where no dimension can be that along which they follow one another, labels overlap, or
    arrays cannot be one variable. Warns of gaps.
    """
    dim = dimension_of_rows(fleet, options)

    def plan_all(fleet: Fleet) -> list[Plan]:
        return fleet.plans(options.variables, options.missing, uneven={dim}, isel=options.isel)

    plans = plan_all(fleet)
    sizes = row_sizes(fleet, dim, select_rows(plans, dim))
    labelled = next((plan for plan in plans if plan.dims == (dim,) == (plan.name,) and plan.first.indexed), None)
    labels = None if labelled is None else _read_labels(fleet, labelled, sizes, reads)
    if labels is not None:
        order = find_order(dim, fleet.labels, labels, sizes) if options.sort else np.arange(len(sizes))
        if not np.array_equal(order, np.arange(len(order))):
            labels = labels.in_order(order, sizes)
            fleet, sizes = fleet.in_order(order), sizes[order]
            plans = plan_all(fleet)
        told = find_break(dim, fleet.labels, labels, sizes)
        if told is not None:
            warnings.warn(told, UserWarning, stacklevel=5)
    offsets = np.append(0, np.cumsum(sizes))
    stacked = StackedVariables(reads, fleet.labels, options.stack)
    variables: dict[str, xr.Variable] = {}
    for plan in plans:
        if labels is not None and plan.name == dim:
            variables[dim] = xr.Variable((dim,), as_pandas(plan.first, labels.cells), stacked.attributes(plan))
        elif dim in plan.dims:
            variables[plan.name] = flat_variable(fleet, plan, offsets, reads, options, blocks)
        else:
            variables[plan.name] = _beside(stacked, plan, dim, sizes)
    return assemble(variables, plans, fleet, None, fleet.attributes(options.combine_attrs))


def _beside(stacked: StackedVariables, plan: Plan, dim: str, sizes: NDArray[np.int64]) -> xr.Variable:
    """Return a variable that does not lie along a dimension, once; a scalar that differs is repeated along it."""
    if plan.dims:
        return stacked.read_equal(plan)
    found = stacked.read(plan, once=True)
    return found if found.dims == plan.dims else xr.Variable((dim,), np.repeat(found.data, sizes), found.attrs)


def _read_labels(fleet: Fleet, plan: Plan, sizes: NDArray[np.int64], reads: PinnedReads) -> Labels:
    """Return the labels of all datasets, one after another."""
    if not fleet.has_all(plan):
        lacking = np.setdiff1d(np.arange(len(fleet.labels)), plan.at)
        raise InvalidValueError(
            f"dataset {fleet.labels[int(lacking[0])]!r} has no labels {plan.name!r}, which others have; leave "
            "it out, or leave the labels out with missing='drop'"
        )
    offsets = np.append(0, np.cumsum(sizes))
    recorded = {part.array.xarray_dtype for part in plan.parts}
    if plan.decode or len(recorded) > 1 or None in recorded:
        cells, _ = read_flat(reads, fleet.labels, plan, offsets)
        return Labels(cells, cells)
    stored, _ = read_flat(reads, fleet.labels, plan.as_stored(), offsets)
    return Labels(decode_recorded(plan.name, stored, str(plan.first.xarray_dtype), widens=True), stored)
