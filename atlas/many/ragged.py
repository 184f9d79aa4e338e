"""Many datasets as one, ragged: what lies along one dimension, one dataset after another; lazily.

The result is a contiguous ragged array of the CF conventions for discrete sampling geometries (chapter 9.3.3): the
count variable `row_size` says how many cells along its `sample_dimension` belong to each dataset. Reads metadata, and
cells of coordinates that do not lie along that dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from xarray.conventions import CF_RELATED_DATA

from atlas.errors import InvalidValueError
from atlas.many.assembling import assemble
from atlas.many.rows import dimension_of_rows, flat_variable, row_sizes, select_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from atlas.many.blocks import Blocks
    from atlas.many.bulk_reads import PinnedReads
    from atlas.many.fleet import Fleet
    from atlas.many.options import ManyOptions
    from atlas.many.plans import Plan
    from atlas.many.stacked_variables import StackedVariables

__all__ = ["ROW_SIZE", "SAMPLE_KEY", "count_variable", "open_ragged"]

ROW_SIZE = "row_size"
"""Name of the count variable."""
SAMPLE_KEY = "sample_dimension"
"""Its attribute that names the dimension along which cells follow one another."""


def count_variable(sample: str, dim: str, sizes: NDArray[np.int64]) -> xr.Variable:
    """Return the variable that tells how many cells along the sample dimension each dataset along `dim` has."""
    return xr.Variable((dim,), sizes, {"long_name": "number of cells of each dataset", SAMPLE_KEY: sample})


def open_ragged(
    fleet: Fleet, stacked: StackedVariables, reads: PinnedReads, options: ManyOptions, blocks: Blocks
) -> xr.Dataset:
    """Return the datasets of a fleet as one, ragged. `stacked` reads what does not lie along the sample dimension.

    Raises `InvalidValueError` where no dimension can be the sample dimension, or arrays cannot be one variable.
    """
    if ROW_SIZE in fleet.names:
        raise InvalidValueError(
            f"these datasets have an array {ROW_SIZE!r}, the name of the variable that tells the lengths of the rows; "
            "leave it out with variables="
        )
    sample = dimension_of_rows(fleet, options)
    plans = fleet.plans(
        options.variables, options.missing, uneven={sample}, isel=options.isel, filled=fleet.scalars(options.attributes)
    )
    flat = select_rows(plans, sample)
    sizes = row_sizes(fleet, sample, flat)
    offsets = np.append(0, np.cumsum(sizes))
    variables: dict[str, xr.Variable] = {
        plan.name: flat_variable(fleet, plan, offsets, reads, options, blocks) if plan in flat else stacked.read(plan)
        for plan in plans
    }
    variables[ROW_SIZE] = count_variable(sample, options.new_dim, sizes)
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
