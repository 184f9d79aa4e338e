"""Stacks whose shorter arrays are filled at the end: as a dataset, with the lengths. Metadata only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from atlas.errors import InvalidValueError
from atlas.many.assembling import assemble
from atlas.many.rows import row_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from atlas.many.fleet import Fleet
    from atlas.many.options import StackOptions
    from atlas.many.plans import Plan

__all__ = ["PADDED_KEY", "assemble_stack", "length_variable"]

PADDED_KEY = "padded_dimension"
"""Attribute of the lengths that names the dimension along which they are."""


def length_variable(dim: str, new_dim: str, sizes: NDArray[np.int64]) -> tuple[str, xr.Variable]:
    """Return name and variable of the coordinate that tells the lengths (N,) of datasets along a dimension."""
    attrs = {"long_name": f"number of cells of each dataset along {dim}", PADDED_KEY: dim}
    return f"{dim}_size", xr.Variable((new_dim,), sizes, attrs)


def _length_variables(fleet: Fleet, plans: Sequence[Plan], new_dim: str) -> dict[str, xr.Variable]:
    """Return for each dimension along which datasets differ their lengths (N,), by the name `<dimension>_size`.

    Raises `InvalidValueError` where two arrays of a dataset differ in a length, or that name is taken.
    """
    uneven = dict.fromkeys(
        dim
        for plan in plans
        if plan.is_padded
        for axis, dim in enumerate(plan.dims)
        if len({plan.shape_of(part)[axis] for part in plan.parts}) > 1
    )
    lengths = {}
    for dim in uneven:
        name, variable = length_variable(dim, new_dim, row_sizes(fleet, dim, plans))
        if name in fleet.names or name == new_dim:
            raise InvalidValueError(
                f"these datasets have an array {name!r}, the name of the coordinate that tells their lengths along "
                f"{dim!r}; leave it out with variables="
            )
        lengths[name] = variable
    return lengths


def assemble_stack(
    variables: Mapping[str, xr.Variable], plans: Sequence[Plan], fleet: Fleet, options: StackOptions
) -> xr.Dataset:
    """Return the dataset of the stacked variables of a fleet, with the lengths of what is padded.

    Raises `InvalidValueError` as `assemble` does, where two arrays of a dataset differ in a length, and where the name
    of a coordinate of lengths is taken.
    """
    lengths = _length_variables(fleet, plans, options.concat_dim)
    ds = assemble(variables, plans, fleet, options.concat_dim, fleet.attributes(options.combine_attrs))
    return ds.assign_coords(lengths) if lengths else ds
