"""The lengths of datasets whose shorter arrays are filled at the end. Metadata only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from atlas.errors import InvalidValueError
from atlas.many.rows import row_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.many.fleet import Fleet
    from atlas.many.plans import Plan

__all__ = ["PADDED_KEY", "length_name", "length_variables"]

PADDED_KEY = "padded_dimension"
"""Attribute of the lengths that names the dimension along which they are."""


def length_name(dim: str) -> str:
    """Return the name of the coordinate that tells the lengths of datasets along a dimension."""
    return f"{dim}_size"


def length_variables(fleet: Fleet, plans: Sequence[Plan], new_dim: str) -> dict[str, xr.Variable]:
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
        name = length_name(dim)
        if name in fleet.names or name == new_dim:
            raise InvalidValueError(
                f"these datasets have an array {name!r}, the name of the coordinate that tells their lengths along "
                f"{dim!r}; leave it out with variables="
            )
        attrs = {"long_name": f"number of cells of each dataset along {dim}", PADDED_KEY: dim}
        lengths[name] = xr.Variable((new_dim,), row_sizes(fleet, dim, plans), attrs)
    return lengths
