"""CF decoding, on demand, of what was stored raw: numbers with a `scale_factor`, a `_FillValue` or `units` of time.

The decoders are those of xarray. What is stored as times, dates or flags is what it is and goes past them. Lazily
indexed cells stay so, and none is read.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.conventions import CF_RELATED_DATA, decode_cf_variables

from atlas.xarray.attribute_owners import FILL_KEY
from atlas.xarray.cftime_dates import is_cftime_dtype
from atlas.xarray.reading import StoredArray
from atlas.xarray.strings import PANDAS_DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode", "decode_dataset"]

_NAMING = ("coordinates", *CF_RELATED_DATA)
"""Attributes by which a variable names others, which the decoders make coordinates."""
_DECODED = (FILL_KEY, "missing_value", "_Encoding")
"""Attributes by which the decoders change text and bytes."""


def decode(
    arrays: list[StoredArray], variables: dict[Any, xr.Variable], attrs: dict[str, Any], decoders: Mapping[str, Any]
) -> tuple[dict[Any, xr.Variable], dict[str, Any], set[Any]]:
    """Return decoded variables and attributes of a dataset, and the names of the variables that are coordinates.

    For each variable that stays as it is, the decoders get zeros with those of its attributes that name others: they
    would read a cell of each text to see whether it is a date.
    """
    kept = {array.name: variables[array.name] for array in arrays if _stays(array, decoders)}
    given = dict(variables)
    for array in arrays:
        _type_fill(array, variables[array.name].attrs)
    for name, variable in kept.items():
        naming = {key: value for key, value in variable.attrs.items() if key in _NAMING}
        given[name] = xr.Variable(variable.dims, np.broadcast_to(np.int8(0), variable.shape), naming)
    decoded, left, coords = decode_cf_variables(given, attrs, **decoders)
    for name, variable in kept.items():
        zeros = decoded[name]
        variable.attrs = {
            key: value for key, value in variable.attrs.items() if key not in _NAMING or key in zeros.attrs
        }
        variable.encoding |= {key: value for key, value in zeros.encoding.items() if key in _NAMING}
    return {name: kept.get(name, variable) for name, variable in decoded.items()}, dict(left), set(coords)


def _type_fill(array: StoredArray, attrs: dict[Any, Any]) -> None:
    """Give a fill value the dtype of the cells, as the decoders expect it of a file; a store keeps a plain number."""
    fill, kind = attrs.get(FILL_KEY), array.dtype.kind
    if (type(fill) is int and kind in "iuf") or (type(fill) is float and kind == "f"):
        with suppress(OverflowError):
            attrs[FILL_KEY] = array.dtype.type(fill)


def _stays(array: StoredArray, decoders: Mapping[str, Any]) -> bool:
    """Return whether the decoders have nothing to do with a variable but with what its attributes name."""
    kind = array.dtype.kind
    if kind in "mMbT" or (array.indexed and array.xarray_dtype in PANDAS_DTYPES):
        return True
    if array.xarray_dtype is not None and is_cftime_dtype(array.xarray_dtype):
        return True
    joined = array.dtype == "S1" and decoders.get("concat_characters")
    return kind in "OS" and not joined and not any(key in array.attrs for key in _DECODED)


def decode_dataset(ds: xr.Dataset, decoders: Mapping[str, Any]) -> xr.Dataset:
    """Return a dataset that was read from a store, decoded. Raises what the decoders raise."""
    if not any(decoders.values()):
        return ds
    arrays = [
        StoredArray(
            str(name),
            tuple(map(str, variable.dims)),
            variable.shape,
            variable.shape,
            dtype=variable.dtype,
            xarray_dtype=None,
            attrs=variable.attrs,
            coordinate=name in ds.coords,
            indexed=name in ds.xindexes,
        )
        for name, variable in ds.variables.items()
    ]
    given = {name: variable.to_base_variable() for name, variable in ds.variables.items()}
    decoded, attrs, named = decode(arrays, given, dict(ds.attrs), decoders)
    changed = {name: variable for name, variable in decoded.items() if _differs(variable, ds.variables[name])}
    reindexed = [name for name in changed if name in ds.xindexes]
    out = ds.drop_indexes(reindexed).assign(changed).set_coords(named)
    out.attrs = attrs
    for name in reindexed:
        if name not in out.xindexes:  # assigned without one, as it does not have the name of its dimension
            out = out.set_xindex(name, type(ds.xindexes[name]))
    return out


def _differs(decoded: xr.Variable, given: xr.Variable) -> bool:
    """Return whether decoding has changed a variable."""
    return decoded.dtype != given.dtype or decoded.attrs != given.attrs or decoded.encoding != given.encoding
