"""Datasets of the store as xarray datasets: one, or many stacked along a new dimension.

A variable is a dask array exactly where its chunk shape differs from its shape; coordinates that xarray indexes are
always in memory, as xarray has no other kind. Nothing is written, and no chunk of a lazy variable is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from atlas.errors import ArrayNotFoundError, InvalidTypeError, InvalidValueError
from atlas.format.dtypes import parse_dtype
from atlas.xarray.attrs import DTYPE_KEY, FILL_KEY, sort_attributes
from atlas.xarray.lazy import lazy_array
from atlas.xarray.times import restored_dtype, restored_times

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from atlas.xarray.protocols import StoreLike, ViewLike

__all__ = ["to_xarray", "to_xarray_many"]

_SIDE_BY_SIDE = 8 << 20
"""Bytes of a result from which on its variables are read at the same time: below, starting threads takes longer."""


@dataclass(frozen=True, slots=True)
class _Array:
    """What an `xr.Variable` needs to know of a stored array before its cells."""

    name: str
    """Name of the array."""
    dims: tuple[str, ...]
    """Names of its axes."""
    shape: tuple[int, ...]
    """Their lengths."""
    chunk_shape: tuple[int, ...]
    """Lengths of a chunk."""
    dtype: np.dtype[Any]
    """dtype of the variable."""
    marker: str | None
    """How to restore times (see `times`), None for cells as read."""
    attrs: dict[str, Any]
    """Attributes, `_FillValue` last."""
    coordinate: bool
    """Whether it is a coordinate."""

    @property
    def indexed(self) -> bool:
        """Whether xarray keeps it in memory as an index."""
        return self.dims == (self.name,)


def to_xarray(view: ViewLike) -> xr.Dataset:
    """The dataset as an `xr.Dataset`; raises `InvalidValueError` where arrays disagree on the length of a dimension."""

    def variable(array: _Array) -> xr.Variable:
        lazy = array.chunk_shape != array.shape and not array.indexed
        if lazy:
            data: Any = lazy_array(
                view, array.name, array.shape, array.chunk_shape, dtype=array.dtype, marker=array.marker
            )
        else:
            data = _read(view, array)
        return xr.Variable(array.dims, data, array.attrs)

    arrays, attrs = _describe(view)
    return _assemble(view.name, arrays, attrs, variable)


def to_xarray_many(
    store: StoreLike, names: Iterable[str], concat_dim: str = "dataset", parallel: bool = True
) -> xr.Dataset:
    """Many datasets stacked along the new dimension `concat_dim`, whose coordinate is their names; all in memory.

    Coordinates and attributes are those of the first dataset; every other array is of shape (N, *shape). `parallel`
    reads several variables at a time.

    Raises `InvalidValueError` on no names or where shapes differ, and KeyError where a dataset, or one of the arrays
    of the first, is missing.
    """
    if isinstance(names, str):
        raise InvalidTypeError(f"names is a list of dataset names, not the text {names!r}; write [{names!r}]")
    if not isinstance(names, Iterable):
        raise InvalidTypeError(f"names is a list of dataset names, not {names!r}; store.list_datasets() has them all")
    if not isinstance(concat_dim, str):
        raise InvalidTypeError(f"concat_dim is the name of the new dimension, not {concat_dim!r}; write 'dataset'")
    labels = list(names)
    if not labels:
        raise InvalidValueError("to_xarray_many needs at least one dataset name")
    first = store.open_dataset(labels[0])
    arrays, attrs = _describe(first)
    if any(concat_dim == array.name or concat_dim in array.dims for array in arrays):
        raise InvalidValueError(
            f"concat_dim {concat_dim!r} is an array or a dimension of dataset {labels[0]!r} already; choose another"
        )

    for array in arrays:
        if array.marker is not None and not array.coordinate:
            _check_alike(store, array, labels)

    def variable(array: _Array) -> xr.Variable:
        if array.coordinate:
            return xr.Variable(array.dims, _read(first, array), array.attrs)
        cells = store.read_array_across_stacked(array.name, labels)
        return xr.Variable((concat_dim, *array.dims), _restored_if_exact(array, cells), array.attrs)

    # A read uses all cores by itself; side by side only the Python around large ones is worth a thread.
    large = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays) * len(labels) >= _SIDE_BY_SIDE
    if parallel and large and len(arrays) > 1:
        with ThreadPoolExecutor(min(4, len(arrays))) as pool:
            variables = dict(zip((array.name for array in arrays), pool.map(variable, arrays), strict=True))
        stacked = _assemble(labels[0], arrays, attrs, lambda array: variables[array.name])
    else:
        stacked = _assemble(labels[0], arrays, attrs, variable)
    return stacked.assign_coords({concat_dim: labels})


def _describe(view: ViewLike) -> tuple[list[_Array], dict[str, Any]]:
    names = view.list_arrays()
    attributes = sort_attributes(view.exact_attributes(), names)
    arrays = []
    for name in names:
        meta = view.array_meta(name)
        if meta is None:
            raise ArrayNotFoundError(f"dataset {view.name!r} has no array {name!r} any more")
        dims = tuple(meta["dimension_names"])
        attrs = attributes.variables[name]
        fill = view.array_fill_value(name)
        if fill is not None:
            attrs.pop(FILL_KEY, None)
            attrs[FILL_KEY] = fill
        marker = attributes.markers.get(name)
        restored = restored_dtype(marker, meta["dtype"])
        coordinate = dims == (name,) or (attributes.coords is not None and name in attributes.coords)
        arrays.append(
            _Array(
                name,
                dims,
                tuple(meta["shape"]),
                tuple(meta["chunk_shape"]),
                dtype=restored or parse_dtype(meta["dtype"]).memory,
                marker=str(marker) if restored else None,
                attrs=attrs,
                coordinate=coordinate,
            )
        )
    return arrays, attributes.dataset


def _read(view: ViewLike, array: _Array) -> NDArray[Any]:
    cells = view.read_array(array.name)
    if cells is None:
        raise ArrayNotFoundError(f"dataset {view.name!r} has no array {array.name!r} any more")
    return cells if array.marker is None else restored_times(array.name, cells, array.marker)


def _check_alike(store: StoreLike, array: _Array, labels: list[str]) -> None:
    """Refuse to read the integers of one dataset as the dates or durations of another."""
    for label in labels[1:]:
        view = store.open_dataset(label)
        meta = view.array_meta(array.name)
        if meta is None:
            raise ArrayNotFoundError(f"dataset {label!r} has no array {array.name!r}")
        marker = view.exact_attributes().get((array.name, DTYPE_KEY))
        restored = restored_dtype(marker, meta["dtype"]) or parse_dtype(meta["dtype"]).memory
        if restored.kind != array.dtype.kind or (restored.kind == "O" and marker != array.marker):
            raise InvalidValueError(
                f"array {array.name!r} of dataset {label!r} is {marker or restored}, which does not stack with the "
                f"{array.marker} of dataset {labels[0]!r}"
            )


def _restored_if_exact(array: _Array, cells: NDArray[Any]) -> NDArray[Any]:
    if array.marker is None:
        return cells
    try:
        return restored_times(array.name, cells, array.marker)
    except InvalidValueError:  # datasets other than the first may hold finer times: nanoseconds suit them all
        return cells.view(f"{array.dtype.kind}8[ns]")


def _assemble(
    name: str, arrays: list[_Array], attrs: dict[str, Any], variable: Callable[[_Array], xr.Variable]
) -> xr.Dataset:
    variables = {array.name: variable(array) for array in arrays}
    try:
        return xr.Dataset(
            data_vars={array.name: variables[array.name] for array in arrays if not array.coordinate},
            coords={array.name: variables[array.name] for array in arrays if array.coordinate},
            attrs=attrs,
        )
    except ValueError as error:
        raise InvalidValueError(f"the arrays of dataset {name!r} do not fit in one xr.Dataset: {error}") from error
