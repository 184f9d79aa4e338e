"""Datasets of the store as xarray's backends give them: variables that are indexed lazily, and CF decoding on demand.

Cells are those of `reading.to_xarray`. The decoders of xarray then decode what was stored raw: numbers with a
`scale_factor`, a `_FillValue` or `units` of time among their attributes. What is stored as times, dates or flags is
what it is and goes past them. Opening reads no cell but of some indexes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.conventions import CF_RELATED_DATA, decode_cf_variables
from xarray.core import indexing

from atlas.xarray.array_reads import ArrayReads, read_decoded
from atlas.xarray.attribute_owners import FILL_KEY
from atlas.xarray.backend_array import StoredBackendArray
from atlas.xarray.cftime_dates import is_cftime_dtype
from atlas.xarray.reading import as_pandas, misfit, read_metadata
from atlas.xarray.recorded_dtypes import decode_recorded
from atlas.xarray.strings import PANDAS_DTYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from atlas.session import Session
    from atlas.xarray.interfaces import DatasetInterface
    from atlas.xarray.reading import Metadata, StoredArray

__all__ = ["open_lazily"]

_NAMING = ("coordinates", *CF_RELATED_DATA)
"""Attributes by which a variable names others, which the decoders make coordinates."""
_DECODED = (FILL_KEY, "missing_value", "_Encoding")
"""Attributes by which the decoders change text and bytes."""


def open_lazily(
    view: DatasetInterface,
    session: Session,
    decoders: Mapping[str, Any] | None = None,
    *,
    dropped: Collection[str] = (),
    metadata: Metadata | None = None,
    loaded: Mapping[str, NDArray[Any]] | None = None,
    indexes: bool = False,
) -> xr.Dataset:
    """The dataset `view` of the store without the variables `dropped`, as lazily indexed arrays without dask.

    `decoders` are arguments of `decode_cf_variables`; where none is set, nothing is decoded. `metadata`, which becomes
    that of the result, and `loaded`, the cells of arrays as stored, are what was read already. Without `indexes`,
    coordinates have only those that xarray does not make of what an engine opens.

    Raises `InvalidValueError` where arrays differ in the length of a dimension, and what the decoders raise.
    """
    arrays, attrs, encodings = read_metadata(session, view.name) if metadata is None else metadata
    arrays = [array for array in arrays if array.name not in dropped]
    variables: dict[Any, xr.Variable] = {}
    for array in arrays:
        data = _data(view, array, (loaded or {}).get(array.name))
        variables[array.name] = variable = xr.Variable(array.dims, data, array.attrs)
        # What the attributes say is so of the cells as stored, which an encoding of the same name does not describe.
        recorded = encodings.get(array.name, {})
        variable.encoding = {key: value for key, value in recorded.items() if key not in array.attrs}
        if array.dims:
            # The grid is regular, so that a length says all, and a million chunks take no tuple of a million.
            lengths = [max(chunk, 1) for chunk in array.chunk_shape]
            variable.encoding["preferred_chunks"] = dict(zip(array.dims, lengths, strict=True))
    coords = {array.name for array in arrays if array.coordinate}
    if decoders is not None and any(decoders.values()):
        variables, attrs, named = _decode(arrays, variables, attrs, decoders)
        coords |= named
    indexed = [array for array in arrays if array.indexed]
    usual = {array.name for array in indexed} == {array.name for array in arrays if array.dims == (array.name,)}
    if not indexes:
        indexed = [array for array in indexed if array.dims != (array.name,) or array.xarray_dtype in PANDAS_DTYPES]
    coordinates: Any = {name: variable for name, variable in variables.items() if name in coords}
    at_once = indexes and usual  # in less time
    try:
        ds = xr.Dataset(
            {name: variable for name, variable in variables.items() if name not in coords},
            coordinates if at_once else xr.Coordinates(coordinates, indexes={}),
            attrs,
        )
        for array in () if at_once else indexed:
            ds = ds.set_xindex(array.name)
    except ValueError as error:
        raise misfit(view.name, error) from error
    if list(ds.variables) != list(variables):
        ds = ds[list(variables)]
    ds.encoding = dict(encodings.get(None, {}))
    return ds


def _data(view: DatasetInterface, array: StoredArray, loaded: NDArray[Any] | None) -> Any:
    """Return the cells of a variable: in memory, or to be indexed lazily."""
    if loaded is not None and array.xarray_dtype is not None:
        loaded = decode_recorded(array.name, loaded, array.xarray_dtype, widens=True)
    elif loaded is None and array.indexed and array.xarray_dtype in PANDAS_DTYPES:
        # Only an index keeps the text dtypes of pandas.
        loaded = read_decoded(view, array.name, array.xarray_dtype, widens=True)
    if loaded is not None:
        return as_pandas(array, loaded)
    reads = ArrayReads(view, array.name, view.array_meta(array.name), array.xarray_dtype)
    return indexing.LazilyIndexedArray(StoredBackendArray(reads, array.shape, array.dtype))


def _decode(
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
