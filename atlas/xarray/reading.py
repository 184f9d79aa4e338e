"""A dataset of the store as an xarray dataset.

A variable is a dask array exactly where its chunk shape differs from its shape; index coordinates are always loaded
into memory, as xarray requires. Writes nothing, and reads no chunk of a lazy variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from atlas.errors import CorruptStoreError, InvalidValueError
from atlas.xarray.array_reads import read_decoded
from atlas.xarray.attribute_owners import FILL_KEY, assign_attributes
from atlas.xarray.encoding_record import decode_encoding
from atlas.xarray.fill_values import fill_attribute
from atlas.xarray.lazy import lazy_array
from atlas.xarray.recorded_dtypes import decoded_dtype
from atlas.xarray.strings import PANDAS_DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from atlas.format.schema import ArraySchema
    from atlas.session import Session
    from atlas.xarray.attribute_owners import OwnedAttributes
    from atlas.xarray.interfaces import DatasetInterface

__all__ = [
    "Encodings",
    "Metadata",
    "StoredArray",
    "as_pandas",
    "describe_array",
    "misfit",
    "read_metadata",
    "set_encodings",
    "to_xarray",
]

Encodings: TypeAlias = "dict[str | None, dict[str, Any]]"
"""Encodings by the variable that has them, None for the dataset."""
Metadata: TypeAlias = "tuple[list[StoredArray], dict[str, Any], Encodings]"
"""The arrays of a dataset in the order of xarray, its attributes and its encodings."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Metadata of a stored array, from which an `xr.Variable` is made."""

    name: str
    """Name of the array."""
    dims: tuple[str, ...]
    """Names of its dimensions."""
    shape: tuple[int, ...]
    """Lengths of its dimensions."""
    chunk_shape: tuple[int, ...]
    """Shape of a chunk."""
    dtype: np.dtype[Any]
    """dtype of the variable in xarray."""
    xarray_dtype: str | None
    """Recorded dtype (see `recorded_dtypes`), None for cells as stored."""
    attrs: dict[str, Any]
    """Attributes, `_FillValue` last."""
    coordinate: bool
    """Whether the variable is a coordinate."""
    indexed: bool
    """Whether the coordinate has an index, which xarray keeps in memory."""


def to_xarray(view: DatasetInterface, session: Session) -> xr.Dataset:
    """The dataset `view` of the store as an `xr.Dataset`.

    Raises `InvalidValueError` where arrays differ in the length of a dimension.
    """

    def variable(array: StoredArray) -> xr.Variable:
        if array.chunk_shape == array.shape or array.indexed:
            data: Any = read_decoded(view, array.name, array.xarray_dtype, widens=True)
        else:
            data = lazy_array(
                view,
                array.name,
                array.shape,
                array.chunk_shape,
                token=session.token(view.name, array.name),
                dtype=array.dtype,
                xarray_dtype=array.xarray_dtype,
            )
        # xarray converts what is given otherwise, times through pandas. Cells as stored need no conversion.
        as_stored = array.xarray_dtype is None and array.dtype.kind != "O"
        return xr.Variable(array.dims, as_pandas(array, data), array.attrs, fastpath=as_stored)

    arrays, attrs, encodings = read_metadata(session, view.name)
    ds = _assemble(view.name, arrays, attrs, variable)
    set_encodings(ds, encodings)
    return ds


def read_metadata(session: Session, dataset: str) -> Metadata:
    """Return the arrays of a dataset in the order of xarray, its attributes and its encodings."""
    entries = session.view.entries(dataset)
    attributes = assign_attributes(session.view.exact_attributes(dataset), entries)
    arrays = [describe_array(name, entry.schema, attributes) for name, entry in entries.items()]
    order = {name: position for position, name in enumerate(attributes.order or ())}
    arrays.sort(key=lambda array: order.get(array.name, len(order)) if order else array.coordinate)
    try:
        encodings = {
            owner: decode_encoding(record, attributes.source) for owner, record in attributes.encodings.items()
        }
    except InvalidValueError as error:
        raise CorruptStoreError(
            f"an encoding of dataset {dataset!r} is damaged: {error}; restore the store from a copy, or read the cells "
            "with read_array",
            dataset=dataset,
        ) from error
    return arrays, attributes.dataset, encodings


def describe_array(name: str, schema: ArraySchema, attributes: OwnedAttributes) -> StoredArray:
    """Return what a variable is made from: an array with its attributes among those of its dataset."""
    attrs = attributes.variables[name].copy()  # other arrays may be described by the same attributes
    xarray_dtype = attributes.dtypes.get(name)
    decoded = decoded_dtype(xarray_dtype, schema.datatype.name)
    if FILL_KEY in attrs:
        attrs[FILL_KEY] = attrs.pop(FILL_KEY)
    elif name in attributes.fills:
        attrs[FILL_KEY] = attributes.fills[name]
    elif schema.fill is not None:
        attrs[FILL_KEY] = fill_attribute(schema, decoded)
    return StoredArray(
        name,
        schema.dims,
        schema.shape,
        schema.chunk_shape,
        dtype=decoded or schema.memory_dtype,
        xarray_dtype=str(xarray_dtype) if decoded else None,
        attrs=attrs,
        coordinate=schema.dims == (name,) or name in (attributes.coords or ()),
        indexed=schema.dims == (name,) if attributes.indexes is None else name in attributes.indexes,
    )


def set_encodings(ds: xr.Dataset, encodings: Encodings) -> None:
    """Set the encoding of a dataset and of its variables."""
    # At the end, as xarray copies what a variable has several times while it makes a dataset.
    variables = ds.variables
    for owner, encoding in encodings.items():
        if owner is None:
            ds.encoding = encoding
        else:
            variables[owner].encoding = encoding


def as_pandas(array: StoredArray, data: Any) -> Any:
    """Return the cells of a variable, in the text dtype of pandas where that is recorded.

    Later versions of xarray make objects of it again where the variable has no index, with NA for missing cells.
    """
    if array.xarray_dtype not in PANDAS_DTYPES or not isinstance(data, np.ndarray) or data.ndim != 1:
        return data
    if not isinstance(pd.api.types.pandas_dtype(array.xarray_dtype), pd.StringDtype):  # "str" before pandas 3
        return data
    return (pd.Index if array.indexed else pd.array)(data, dtype=array.xarray_dtype)


def _assemble(
    name: str, arrays: list[StoredArray], attrs: dict[str, Any], variable: Callable[[StoredArray], xr.Variable]
) -> xr.Dataset:
    variables = {array.name: variable(array) for array in arrays}
    coords: Any = {array.name: variables[array.name] for array in arrays if array.coordinate}
    # xarray makes the usual indexes by itself, in less time.
    usual = all(array.indexed == (array.dims == (array.name,)) for array in arrays if array.coordinate)
    try:
        ds = xr.Dataset(
            data_vars={array.name: variables[array.name] for array in arrays if not array.coordinate},
            coords=coords if usual else xr.Coordinates(coords, indexes={}),
            attrs=attrs,
        )
        for array in () if usual else arrays:
            if array.coordinate and array.indexed:
                ds = ds.set_xindex(array.name)
        if list(ds.variables) != list(variables):
            ds = ds[list(variables)]
    except ValueError as error:
        raise misfit(name, error) from error
    return ds


def misfit(dataset: str, error: ValueError) -> InvalidValueError:
    """Return the error for arrays that xarray refuses to make one dataset of, as they differ in a length."""
    return InvalidValueError(
        f"the arrays of dataset {dataset!r} do not fit in one xr.Dataset: {error}; read them with read_array"
    )
