"""Datasets of the store as xarray datasets: one, or many stacked along a new dimension.

A variable is a dask array exactly where its chunk shape differs from its shape; index coordinates are always loaded
into memory, as xarray requires. Writes nothing, and reads no chunk of a lazy variable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from atlas.errors import CorruptStoreError, InvalidTypeError, InvalidValueError
from atlas.format.dtypes import exact_times
from atlas.format.names import check_names
from atlas.runtime.threads import run_io
from atlas.xarray.attribute_owners import DTYPE_KEY, ENCODING_KEY, FILL_KEY, assign_attributes
from atlas.xarray.encoding_record import common_encoding, decode_encoding
from atlas.xarray.fill_values import fill_attribute
from atlas.xarray.lazy import lazy_array, read_decoded
from atlas.xarray.recorded_dtypes import decode_recorded, decoded_dtype
from atlas.xarray.strings import PANDAS_DTYPES, is_string_record, widen_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.session import Session
    from atlas.xarray.interfaces import DatasetInterface, StoreInterface

__all__ = ["to_xarray", "to_xarray_many"]

_Encodings: TypeAlias = "dict[str | None, dict[str, Any]]"
"""Encodings by the variable that has them, None for the dataset."""

_SIDE_BY_SIDE = 4
"""Variables that are read at once."""
_PARALLEL_BYTES = 8 << 20
"""Smallest result, in bytes, whose variables are read in parallel: for less, starting threads takes longer."""


@dataclass(frozen=True, slots=True)
class _StoredArray:
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

    def variable(array: _StoredArray) -> xr.Variable:
        if array.chunk_shape == array.shape or array.indexed:
            data: Any = read_decoded(view, array.name, array.xarray_dtype)
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
        return xr.Variable(array.dims, _as_pandas(array, data), array.attrs, fastpath=as_stored)

    arrays, attrs, encodings = _read_metadata(session, view.name)
    ds = _assemble(view.name, arrays, attrs, variable)
    _set_encodings(ds, encodings)
    return ds


def to_xarray_many(
    store: StoreInterface,
    session: Session,
    names: Iterable[str],
    concat_dim: str = "dataset",
    parallel: bool = True,
) -> xr.Dataset:
    """Many datasets stacked along the new dimension `concat_dim`, whose coordinate is their names; all in memory.

    Coordinates and attributes are taken from the first dataset; every other array is of shape (N, *shape). With
    `parallel`, several variables are read at a time.

    Raises `InvalidValueError` for an empty `names` or shapes that differ, and KeyError where a dataset, or an array of
    the first dataset, is missing.
    """
    labels = check_names("names", names)
    if not isinstance(concat_dim, str):
        raise InvalidTypeError(f"concat_dim is the name of the new dimension, not {concat_dim!r}; write 'dataset'")
    if not isinstance(parallel, bool | np.bool_):
        raise InvalidTypeError(f"parallel is True or False, not {type(parallel).__name__} {parallel!r}")
    if not labels:
        raise InvalidValueError("names is empty; to_xarray_many needs at least one dataset name")
    first = store.open_dataset(labels[0])
    arrays, attrs, encodings = _read_metadata(session, labels[0])
    if any(concat_dim == array.name or concat_dim in array.dims for array in arrays):
        raise InvalidValueError(
            f"concat_dim {concat_dim!r} is an array or a dimension of dataset {labels[0]!r} already; choose another"
        )

    recorded = {
        array.name: _stackable_dtypes(session, array, labels)
        for array in arrays
        if array.xarray_dtype is not None and not is_string_record(array.xarray_dtype) and not array.coordinate
    }

    def variable(array: _StoredArray) -> xr.Variable:
        if array.coordinate:
            data = read_decoded(first, array.name, array.xarray_dtype)
            return xr.Variable(array.dims, _as_pandas(array, data), array.attrs)
        cells = _stacked_cells(store, session, array, labels, recorded.get(array.name, []))
        return xr.Variable((concat_dim, *array.dims), cells, array.attrs)

    # One read uses all cores by itself; threads only overlap the Python code between large reads.
    large = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays) * len(labels) >= _PARALLEL_BYTES
    if parallel and large and len(arrays) > 1:
        variables = dict(zip((array.name for array in arrays), run_io(variable, arrays, _SIDE_BY_SIDE), strict=True))
        stacked = _assemble(labels[0], arrays, attrs, lambda array: variables[array.name])
    else:
        stacked = _assemble(labels[0], arrays, attrs, variable)
    stacked = stacked.assign_coords({concat_dim: labels})
    _set_encodings(stacked, _common_encodings(session, encodings, labels, set(stacked.data_vars)))
    return stacked


def _read_metadata(session: Session, dataset: str) -> tuple[list[_StoredArray], dict[str, Any], _Encodings]:
    """Return the arrays of a dataset in the order of xarray, its attributes and its encodings."""
    entries = session.view.entries(dataset)
    attributes = assign_attributes(session.view.exact_attributes(dataset), entries)
    arrays = []
    for name, entry in entries.items():
        schema = entry.schema
        attrs = attributes.variables[name]
        xarray_dtype = attributes.dtypes.get(name)
        decoded = decoded_dtype(xarray_dtype, schema.datatype.name)
        if FILL_KEY in attrs:
            attrs[FILL_KEY] = attrs.pop(FILL_KEY)
        elif name in attributes.fills:
            attrs[FILL_KEY] = attributes.fills[name]
        elif schema.fill is not None:
            attrs[FILL_KEY] = fill_attribute(schema, decoded)
        arrays.append(
            _StoredArray(
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
        )
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


def _set_encodings(ds: xr.Dataset, encodings: _Encodings) -> None:
    # At the end, as xarray copies what a variable has several times while it makes a dataset.
    variables = ds.variables
    for owner, encoding in encodings.items():
        if owner is None:
            ds.encoding = encoding
        else:
            variables[owner].encoding = encoding


def _common_encodings(
    session: Session, owners: Iterable[str | None], labels: list[str], stacked: set[Any]
) -> _Encodings:
    """Return what the encodings of the datasets have in common, for each of `owners`; `stacked` are arrays of all."""
    stored = [session.view.attributes(label) for label in labels]
    common = {}
    for owner in owners:
        key: AttributeKey = (ENCODING_KEY,) if owner is None else (owner, ENCODING_KEY)
        try:
            common[owner] = common_encoding([attributes.get(key) for attributes in stored], stacked=owner in stacked)
        except InvalidValueError:
            for label in labels:
                _read_metadata(session, label)  # names the dataset
            raise
    return common


def _as_pandas(array: _StoredArray, data: Any) -> Any:
    """Return the cells of a variable, in the text dtype of pandas where that is recorded.

    Later versions of xarray make objects of it again where the variable has no index, with NA for missing cells.
    """
    if array.xarray_dtype not in PANDAS_DTYPES or not isinstance(data, np.ndarray) or data.ndim != 1:
        return data
    if not isinstance(pd.api.types.pandas_dtype(array.xarray_dtype), pd.StringDtype):  # "str" before pandas 3
        return data
    return (pd.Index if array.indexed else pd.array)(data, dtype=array.xarray_dtype)


def _stackable_dtypes(session: Session, array: _StoredArray, labels: list[str]) -> list[tuple[str, str | None]]:
    """Return the stored and the recorded dtype of the array in each dataset.

    Raises `InvalidValueError` where the integers of one dataset would be read as the dates or durations of another.
    """
    found = []
    for label in labels:
        datatype = session.view.array(label, array.name).schema.datatype
        xarray_dtype = session.view.attribute(label, (array.name, DTYPE_KEY))
        decoded = decoded_dtype(xarray_dtype, datatype.name)
        dtype = datatype.memory if decoded is None else decoded
        if dtype.kind != array.dtype.kind or (dtype.kind == "O" and xarray_dtype != array.xarray_dtype):
            raise InvalidValueError(
                f"array {array.name!r} is {array.xarray_dtype or array.dtype} in dataset {labels[0]!r} and "
                f"{xarray_dtype or dtype} in dataset {label!r}, which do not stack; stack datasets of one dtype and "
                "calendar"
            )
        found.append((datatype.name, None if decoded is None else str(xarray_dtype)))
    return found


def _stacked_cells(
    store: StoreInterface,
    session: Session,
    array: _StoredArray,
    labels: list[str],
    dtypes: list[tuple[str, str | None]],
) -> NDArray[Any]:
    """Return the array of every dataset, stacked. `dtypes` is what `_stackable_dtypes` returns, empty if not asked."""
    if array.xarray_dtype is not None and is_string_record(array.xarray_dtype):
        return widen_strings(store.read_array_across_stacked(array.name, labels), array.xarray_dtype)
    if len(set(dtypes)) < 2:
        try:
            cells = store.read_array_across_stacked(array.name, labels)
            return cells if array.xarray_dtype is None else decode_recorded(array.name, cells, array.xarray_dtype)
        except InvalidValueError:
            if dtypes or array.dtype.kind not in "mM":
                raise
            # Asked only now: a bulk read costs less than a look at each of many datasets.
            dtypes = _stackable_dtypes(session, array, labels)
    return _stack_times(store, array, labels, [xarray_dtype for _, xarray_dtype in dtypes])


def _stack_times(
    store: StoreInterface, array: _StoredArray, labels: list[str], xarray_dtypes: list[str | None]
) -> NDArray[Any]:
    """Return times of several units as one array, in a unit that keeps them all.

    Raises `InvalidValueError` where there is no such unit, or shapes differ.
    """
    parts = []
    for label, stored, xarray_dtype in zip(
        labels, store.read_array_across(array.name, labels), xarray_dtypes, strict=True
    ):
        if stored is None or stored.shape != array.shape:
            raise InvalidValueError(
                f"stacked arrays have one shape, but array {array.name!r} has {array.shape} in dataset {labels[0]!r} "
                f"and {None if stored is None else stored.shape} in dataset {label!r}; leave one of them out"
            )
        parts.append(stored if xarray_dtype is None else decode_recorded(array.name, stored, xarray_dtype))
    units = sorted({part.dtype.name for part in parts})
    try:
        dtype = np.result_type(*units)
        exact = [exact_times(part, dtype) for part in parts]
    except TypeError:  # months and days have no unit in common
        exact = [None]
    if any(part is None for part in exact):
        raise InvalidValueError(
            f"array {array.name!r} holds times of {' and '.join(units)}, which no unit keeps in 64 bits; stack "
            "datasets of one unit"
        )
    return np.stack([part for part in exact if part is not None])


def _assemble(
    name: str, arrays: list[_StoredArray], attrs: dict[str, Any], variable: Callable[[_StoredArray], xr.Variable]
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
        raise InvalidValueError(
            f"the arrays of dataset {name!r} do not fit in one xr.Dataset: {error}; read them with read_array"
        ) from error
    return ds
