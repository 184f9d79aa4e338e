"""Datasets of the store as xarray datasets: one, or many stacked along a new dimension.

A variable is a dask array exactly where its chunk shape differs from its shape; index coordinates are always loaded
into memory, as xarray requires. Writes nothing, and reads no chunk of a lazy variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.threads import run_io
from atlas.xarray.attribute_owners import DTYPE_KEY, FILL_KEY, assign_attributes
from atlas.xarray.lazy import lazy_array, read_decoded
from atlas.xarray.time_encoding import decode_times, decoded_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from atlas.session import Session
    from atlas.xarray.interfaces import DatasetInterface, StoreInterface

__all__ = ["to_xarray", "to_xarray_many"]

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
    """Recorded dtype of times (see `time_encoding`), None for cells as stored."""
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
        return xr.Variable(array.dims, data, array.attrs)

    arrays, attrs = _read_metadata(session, view.name)
    return _assemble(view.name, arrays, attrs, variable)


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
    if isinstance(names, str):
        raise InvalidTypeError(f"names is a list of dataset names, not the text {names!r}; write [{names!r}]")
    if not isinstance(names, Iterable):
        raise InvalidTypeError(f"names is a list of dataset names, not {names!r}; store.list_datasets() has them all")
    if not isinstance(concat_dim, str):
        raise InvalidTypeError(f"concat_dim is the name of the new dimension, not {concat_dim!r}; write 'dataset'")
    labels = list(names)
    if not labels:
        raise InvalidValueError("names is empty; to_xarray_many needs at least one dataset name")
    first = store.open_dataset(labels[0])
    arrays, attrs = _read_metadata(session, labels[0])
    if any(concat_dim == array.name or concat_dim in array.dims for array in arrays):
        raise InvalidValueError(
            f"concat_dim {concat_dim!r} is an array or a dimension of dataset {labels[0]!r} already; choose another"
        )

    for array in arrays:
        if array.xarray_dtype is not None and not array.coordinate:
            _check_stackable(session, array, labels)

    def variable(array: _StoredArray) -> xr.Variable:
        if array.coordinate:
            return xr.Variable(array.dims, read_decoded(first, array.name, array.xarray_dtype), array.attrs)
        cells = store.read_array_across_stacked(array.name, labels)
        return xr.Variable((concat_dim, *array.dims), _decode_if_exact(array, cells), array.attrs)

    # One read uses all cores by itself; threads only overlap the Python code between large reads.
    large = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays) * len(labels) >= _PARALLEL_BYTES
    if parallel and large and len(arrays) > 1:
        variables = dict(zip((array.name for array in arrays), run_io(variable, arrays, _SIDE_BY_SIDE), strict=True))
        stacked = _assemble(labels[0], arrays, attrs, lambda array: variables[array.name])
    else:
        stacked = _assemble(labels[0], arrays, attrs, variable)
    return stacked.assign_coords({concat_dim: labels})


def _read_metadata(session: Session, dataset: str) -> tuple[list[_StoredArray], dict[str, Any]]:
    entries = session.view.entries(dataset)
    attributes = assign_attributes(session.view.exact_attributes(dataset), entries)
    arrays = []
    for name, entry in entries.items():
        schema = entry.schema
        attrs = attributes.variables[name]
        if schema.fill is not None:
            attrs.pop(FILL_KEY, None)
            attrs[FILL_KEY] = schema.fill
        xarray_dtype = attributes.dtypes.get(name)
        decoded = decoded_dtype(xarray_dtype, schema.datatype.name)
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
    return arrays, attributes.dataset


def _check_stackable(session: Session, array: _StoredArray, labels: list[str]) -> None:
    """Refuse to read the integers of one dataset as the dates or durations of another."""
    for label in labels[1:]:
        schema = session.view.array(label, array.name).schema
        xarray_dtype = session.view.attribute(label, (array.name, DTYPE_KEY))
        dtype = decoded_dtype(xarray_dtype, schema.datatype.name) or schema.memory_dtype
        if dtype.kind != array.dtype.kind or (dtype.kind == "O" and xarray_dtype != array.xarray_dtype):
            raise InvalidValueError(
                f"array {array.name!r} is {array.xarray_dtype} in dataset {labels[0]!r} and {xarray_dtype or dtype} in "
                f"dataset {label!r}, which do not stack; stack datasets of one dtype and calendar"
            )


def _decode_if_exact(array: _StoredArray, cells: NDArray[Any]) -> NDArray[Any]:
    if array.xarray_dtype is None:
        return cells
    try:
        return decode_times(array.name, cells, array.xarray_dtype)
    except InvalidValueError:  # later datasets may hold finer times than the first: nanoseconds fit them all
        return cells.view(f"{array.dtype.kind}8[ns]")


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
    except ValueError as error:
        raise InvalidValueError(
            f"the arrays of dataset {name!r} do not fit in one xr.Dataset: {error}; read them with read_array"
        ) from error
    return ds
