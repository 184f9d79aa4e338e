"""Many datasets as one, ragged: what lies along one dimension, one dataset after another; lazily.

The result is a contiguous ragged array of the CF conventions for discrete sampling geometries (chapter 9.3.3): the
count variable `row_size` says how many cells along its `sample_dimension` belong to each dataset. Reads metadata, and
cells of coordinates that do not lie along that dimension.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from xarray.conventions import CF_RELATED_DATA

from atlas.errors import InvalidValueError
from atlas.many.assembling import assemble
from atlas.many.lazy_cells import FlatCells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.many.blocks import Blocks
    from atlas.many.fleet import Fleet
    from atlas.many.options import ManyOptions
    from atlas.many.pinned_reads import PinnedReads
    from atlas.many.plans import Plan
    from atlas.many.stacked_variables import StackedVariables

__all__ = ["ROW_SIZE", "open_ragged"]

ROW_SIZE = "row_size"
"""Name of the count variable."""


def open_ragged(
    fleet: Fleet, stacked: StackedVariables, reads: PinnedReads, options: ManyOptions, blocks: Blocks
) -> xr.Dataset:
    """Return the datasets of a fleet as one, ragged. `stacked` reads what does not lie along the sample dimension.

    Raises `InvalidValueError` where no dimension can be the sample dimension, or arrays cannot be one variable.
    """
    sample = _sample_dimension(fleet, options)
    plans = fleet.plans(options.variables, options.missing, along=sample)
    flat = [plan for plan in plans if sample in plan.dims]
    sizes = _row_sizes(fleet, sample, flat)
    offsets = np.append(0, np.cumsum(sizes))
    variables: dict[str, xr.Variable] = {}
    for plan in plans:
        if plan not in flat:
            variables[plan.name] = stacked.read(plan)
            continue
        shape = (int(offsets[-1]), *plan.first.shape[1:])
        cells_of = partial(FlatCells, reads, fleet.labels, plan, offsets, shape)
        variables[plan.name] = blocks.variable(fleet, plan, plan.dims, options.combine_attrs, cells_of)
    counts = {"long_name": "number of cells of each dataset", "sample_dimension": sample}
    variables[ROW_SIZE] = xr.Variable((options.new_dim,), sizes, counts)
    attrs = fleet.attributes(options.combine_attrs)
    if options.feature_type is not None:
        attrs["featureType"] = options.feature_type
    ds = assemble(variables, plans, fleet, options.new_dim, attrs, unindexed=sample)
    if options.feature_type is not None:
        ds[options.new_dim].attrs["cf_role"] = f"{options.feature_type.lower()}_id"
        _name_coordinates(ds, flat, options.new_dim)
    return ds


def _name_coordinates(ds: xr.Dataset, flat: Sequence[Plan], dim: str) -> None:
    """Name in the encodings of ragged data the coordinates of their cells, those of whole datasets, along `dim`, too.

    By itself, xarray names in a file neither these nor a coordinate with the name of the sample dimension. As there,
    what another attribute names, such as `grid_mapping`, is no coordinate.
    """
    related = {
        word.rstrip(":")
        for variable in ds.variables.values()
        for key in CF_RELATED_DATA
        for word in str(variable.encoding.get(key, "")).split()
    }
    for plan in flat:
        if plan.first.coordinate:
            continue
        others = {dim, *plan.dims[1:], *related}
        named = [
            name
            for name in sorted(map(str, ds.coords))
            if name not in others and " " not in name and {dim, *plan.dims}.issuperset(ds.variables[name].dims)
        ]
        if named:
            variable = ds.variables[plan.name]
            variable.encoding = {**variable.encoding, "coordinates": " ".join(named)}


def _sample_dimension(fleet: Fleet, options: ManyOptions) -> str:
    """Return the dimension along which the datasets are put one after another.

    That is the one asked for, else the only one whose lengths differ, else the only first one of an array.
    """
    lengths = fleet.lengths(options.variables)
    if ROW_SIZE in fleet.names:
        raise InvalidValueError(
            f"these datasets have an array {ROW_SIZE!r}, the name of the variable that tells the lengths of the rows; "
            "leave it out with variables="
        )
    if options.dim is not None:
        if options.dim not in lengths:
            raise InvalidValueError(
                f"dim {options.dim!r} is no dimension of these datasets, which have {', '.join(map(repr, lengths))}"
            )
        return options.dim
    differ = [dim for dim, found in lengths.items() if len(found) > 1]
    choices = differ or list(fleet.first_dimensions(options.variables))
    if len(choices) == 1:
        return choices[0]
    what = "lengths differ along" if differ else "no lengths differ, and arrays begin with"
    some = ", ".join(map(repr, choices)) or "no dimension"
    raise InvalidValueError(
        f"{what} {some}: name the dimension along which datasets follow one another with dim=, or choose arrays with "
        "variables="
    )


def _row_sizes(fleet: Fleet, sample: str, plans: Sequence[Plan]) -> NDArray[np.int64]:
    """Return the length of each dataset along the sample dimension, 0 where it has no array along it."""
    sizes = np.full(len(fleet.labels), -1)
    for number, plan in enumerate(plans):
        for part in plan.parts:
            if part.array.dims[0] != sample or part.array.dims.count(sample) > 1:
                raise InvalidValueError(
                    f"array {plan.name!r} of dataset {part.label!r} has the dimensions {list(part.array.dims)}, and "
                    f"only what has {sample!r} first, and once, can follow one another; leave it out with variables="
                )
            length = part.array.shape[0]
            wrong = part.at[(sizes[part.at] >= 0) & (sizes[part.at] != length)]
            if len(wrong):
                first = int(wrong[0])
                other = next(one.name for one in plans[:number] if any(first in some.at for some in one.parts))
                raise InvalidValueError(
                    f"dataset {fleet.labels[first]!r} has {int(sizes[first])} cells along {sample!r} in array "
                    f"{other!r} and {length} in {plan.name!r}; leave one out with variables="
                )
            sizes[part.at] = length
    known: NDArray[np.int64] = np.maximum(sizes, 0)
    return known
