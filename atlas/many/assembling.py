"""Variables of many datasets as one `xr.Dataset`, with the names of the datasets and the indexes. Reads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex

from atlas.errors import InvalidValueError
from atlas.many.encodings import set_common_encodings
from atlas.many.unaligned_index import UnalignedIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas.many.fleet import Fleet
    from atlas.many.plans import Plan

__all__ = ["assemble"]


def assemble(
    variables: Mapping[str, xr.Variable],
    plans: Sequence[Plan],
    fleet: Fleet,
    dim: str | None,
    attrs: Mapping[str, Any],
    unindexed: str | None = None,
) -> xr.Dataset:
    """Return the dataset of some variables of a fleet, the names of whose datasets are the coordinate of `dim`, if any.

    Encodings are those that the datasets have in common. Along the dimension `unindexed` labels get no index. Raises
    `InvalidValueError` where the variables do not fit.
    """
    coordinates = {plan.name for plan in plans if plan.first.coordinate}
    coords: dict[Any, Any] = {name: variables[name] for name in variables if name in coordinates}
    if dim is not None:
        coords[dim] = _names_variable(fleet.labels, dim)
    unaligned = [plan.name for plan in plans if plan.labels_axis and variables[plan.name].ndim > 1]
    indexed = {plan.name for plan in plans if plan.first.indexed and plan.dims != (unindexed,)}
    usual = not unaligned and all(
        (plan.name in indexed) == (plan.dims == (plan.name,)) for plan in plans if plan.name in coordinates
    )
    data = {name: variable for name, variable in variables.items() if name not in coordinates}
    try:
        ds = xr.Dataset(data, coords if usual else xr.Coordinates(coords, indexes={}), attrs)
        ds = ds if usual or dim is None else ds.set_xindex(dim)
        for plan in () if usual else plans:
            if plan.name in unaligned:
                ds = ds.set_xindex(plan.name, UnalignedIndex)
            elif plan.name in indexed & coordinates and variables[plan.name].dims == plan.dims:
                ds = ds.set_xindex(plan.name)
    except ValueError as error:
        raise InvalidValueError(
            f"the arrays of dataset {fleet.labels[0]!r} do not fit in one xr.Dataset: {error}; read them with "
            "read_array_across_stacked or read_array_across_ragged"
        ) from error
    order = [*variables] if dim is None else [*variables, dim]
    ds = ds if list(ds.variables) == order else ds[order]
    set_common_encodings(ds, fleet.records, plans)
    return ds


def _names_variable(names: Sequence[str], dim: str) -> xr.Variable:
    """Return the names of the datasets as xarray has them, with the index that it would make, in half the time."""
    index = pd.Index(np.array(names, object), dtype=object)
    as_text = np.dtype(f"U{max(map(len, names))}")
    return PandasIndex(index, dim, as_text).create_variables()[dim]
