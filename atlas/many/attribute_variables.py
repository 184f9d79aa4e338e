"""Attributes of many datasets as variables along the dimension of the datasets. Metadata only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.errors import InvalidValueError
from atlas.format.attribute_keys import ArrayPrefixes, is_hidden
from atlas.xarray.attribute_owners import COORDS_KEY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.catalog.attribute_values import AttributeColumn
    from atlas.many.fleet import Fleet
    from atlas.many.options import ManyOptions
    from atlas.session import Session

__all__ = ["attribute_variables"]


def attribute_variables(ds: xr.Dataset, fleet: Fleet, session: Session, options: ManyOptions) -> xr.Dataset:
    """Return the dataset with the attributes asked for as variables, which it has as attributes no more.

    Names of arrays without axes are left to those who read arrays. Raises `InvalidValueError` for an attribute that no
    dataset has, and for one that has the name of a variable.
    """
    wanted = options.attributes
    if wanted is False or wanted == ():
        return ds
    arrays = fleet.scalars(wanted)
    keys = None if wanted is True else list(wanted)
    columns = session.view.attribute_columns(fleet.labels, keys, None, is_hidden)
    if wanted is True:
        prefixes = ArrayPrefixes(fleet.names)
        columns = {
            key: column for key, column in columns.items() if prefixes.split(key)[0] is None and key != COORDS_KEY
        }
    made: dict[str, Any] = {}
    for key, column in columns.items():
        if key in arrays and not column.present.any():
            continue
        if key in ds.variables or key in ds.dims:
            raise InvalidValueError(
                f"attribute {key!r} has the name of a variable or dimension; leave it out of attributes="
            )
        if not column.present.any():
            raise InvalidValueError(f"none of the datasets has an attribute {key!r}; leave it out of attributes=")
        made[key] = xr.Variable((options.new_dim,), _with_missing(column))
    ds = ds.assign(made)
    ds.attrs = {key: value for key, value in ds.attrs.items() if key not in made}
    return ds


def _with_missing(column: AttributeColumn) -> NDArray[Any]:
    """Return the values of a column, in a dtype that can say what is missing."""
    values = column.values
    if column.present.all() or values.dtype.kind not in "biu":
        return values
    floats = values.astype(np.float64)
    if values.dtype.kind == "b" or not np.array_equal(floats.astype(values.dtype), values):
        cells = values.astype(object)
        cells[~column.present] = None
        return cells
    floats[~column.present] = np.nan
    return floats
