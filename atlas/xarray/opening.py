"""Datasets of the store as xarray's backends give them: variables that are indexed lazily, decoded on demand.

Cells are those of `reading.to_xarray`, or what `decoding` makes of them. Opening reads no cell but of some indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.core import indexing

from atlas.xarray.array_reads import ArrayReads, read_decoded
from atlas.xarray.backend_array import StoredBackendArray
from atlas.xarray.decoding import decode
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
        variables, attrs, named = decode(arrays, variables, attrs, decoders)
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
