"""Adds an xarray dataset to the store, all of it or nothing: checks every variable first, then writes.

Coordinates come before data variables. A dask-backed variable is written block by block in C order, one `write_array`
each, with one block in memory at a time; every other variable takes one `write_array`. Never flushes, and never
changes the source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex, PandasMultiIndex

from atlas.errors import AtlasError, InvalidTypeError, UnsupportedDtypeError
from atlas.format.attributes import decode_text, encode_value
from atlas.format.dtypes import SUPPORTED, parse_dtype
from atlas.format.names import check_name
from atlas.format.schema import make_schema
from atlas.xarray.attribute_owners import COORDS_KEY, DTYPE_KEY, FILL_KEY, INDEXES_KEY, check_attributes
from atlas.xarray.cftime_dates import cftime_dtype, encode_dates
from atlas.xarray.chunk_shapes import check_chunks, chunk_shape
from atlas.xarray.dask_blocks import dask_blocks
from atlas.xarray.strings import check_strings
from atlas.xarray.time_encoding import dtype_to_record, encode_times, is_stored_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey
    from atlas.session import Session
    from atlas.xarray.chunk_shapes import Chunks
    from atlas.xarray.dask_blocks import Part
    from atlas.xarray.interfaces import DatasetInterface, StoreInterface

__all__ = ["add"]


@dataclass(frozen=True, slots=True)
class _ArrayPlan:
    """A variable that has passed every check, and the array that it becomes."""

    name: str
    """Name of the array."""
    variable: xr.Variable
    """The source variable; its cells may not be loaded yet."""
    dtype: str
    """Stored dtype."""
    dims: tuple[str, ...]
    """Names of its dimensions."""
    chunk_shape: tuple[int, ...] | None
    """Shape of a stored chunk, None to store the array as one chunk."""
    fill: object
    """Fill value, None for none."""
    attributes: dict[str, object]
    """Exact attributes."""
    xarray_dtype: str | None
    """Recorded dtype of times (see `time_encoding`), None for cells that are stored as they are."""
    dask_backed: bool
    """Whether the cells are a dask array, which is written block by block."""


def add(
    store: StoreInterface,
    session: Session,
    ds: xr.Dataset,
    name: str,
    chunks: Chunks | None = None,
) -> None:
    """Create the dataset `name` of `store` from `ds`; for `chunks` see `chunk_shapes`.

    Raises FileExistsError for a name that is taken; `UnsupportedDtypeError` (NotImplementedError), naming the
    variable, for dtypes that are not stored and for a MultiIndex; `InvalidTypeError` for cells, fill values and names
    of a wrong type; `InvalidValueError` for names, chunks and attributes that cannot be stored; `OutOfRangeError` for
    times outside 64 bits of nanoseconds. After any error, also one of dask, the store does not have the dataset.
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidTypeError(
            f"ds is an xarray.Dataset, not {type(ds).__name__}; convert it, for example with to_dataset()"
        )
    plans, attributes = _plan(ds, check_chunks(ds, chunks))
    with session.locks.building.passing():
        view = store.create_dataset(name)
        try:
            for plan in plans:
                view.define_array(
                    plan.name,
                    dtype=plan.dtype,
                    dims=list(plan.dims),
                    shape=list(plan.variable.shape),
                    chunk_shape=None if plan.chunk_shape is None else list(plan.chunk_shape),
                    fill_value=plan.fill,
                )
            for plan in plans:
                _write(view, plan)
            for key, value in attributes.items():
                session.writer.set_attribute(name, key, encode_value(value))
        except BaseException:
            session.writer.discard_dataset(name)
            raise


def _plan(ds: xr.Dataset, chunks: Chunks) -> tuple[list[_ArrayPlan], dict[AttributeKey, object]]:
    indexed = _indexed(ds)
    names = [*ds.coords, *ds.data_vars]
    plans = [_plan_variable(ds, check_name("array", name), chunks) for name in names]
    attributes: dict[AttributeKey, object] = {
        (plan.name, key): value for plan in plans for key, value in plan.attributes.items()
    }
    attributes |= {(plan.name, DTYPE_KEY): plan.xarray_dtype for plan in plans if plan.xarray_dtype is not None}
    attributes |= {(key,): value for key, value in check_attributes("dataset", ds.attrs).items()}
    if set(indexed) != {name for name in ds.coords if ds.variables[name].dims == (name,)}:
        attributes[INDEXES_KEY,] = json.dumps(indexed)
    attributes[COORDS_KEY] = json.dumps(list(ds.coords))
    return plans, attributes


def _indexed(ds: xr.Dataset) -> list[Any]:
    """Return the names of the coordinates that have an index. Raises `UnsupportedDtypeError` for one that is lost."""
    names: list[Any] = []
    for index, variables in ds.xindexes.group_by_index():
        if type(index) is not PandasIndex:
            remedy = f"ds.drop_indexes({list(variables)!r})"
            if isinstance(index, PandasMultiIndex):
                remedy = f"ds.reset_index({index.dim!r})"
            listed = ", ".join(map(repr, variables))
            raise UnsupportedDtypeError(
                f"the index of {listed} is a {type(index).__name__}, which is not stored; use {remedy} first"
            )
        names += variables
    return names


def _plan_variable(ds: xr.Dataset, name: str, chunks: Chunks) -> _ArrayPlan:
    variable = ds.variables[name]
    owner = f"variable {name!r}"
    attrs = dict(variable.attrs)
    fill = attrs.pop(FILL_KEY, None)
    attributes = check_attributes(owner, attrs)
    if isinstance(fill, np.ndarray) or (fill is None and FILL_KEY in variable.attrs):
        attributes |= check_attributes(owner, {FILL_KEY: fill})  # comes back as it was, and not as a scalar
    fill = _fill_value(fill)
    try:
        xarray_dtype = _xarray_dtype(variable)
        dtype = "int64" if xarray_dtype and variable.dtype == object else _stored_dtype(variable.dtype)
        chosen = chunk_shape(name, variable, chunks, indexed=name in ds.xindexes)
        schema = make_schema(dtype, variable.dims, variable.shape, chosen, fill)  # type: ignore[arg-type]
    except UnsupportedDtypeError as error:
        raise UnsupportedDtypeError(f"{owner}: {error}{_remedy(name, variable.dtype)}") from error
    except AtlasError as error:
        raise type(error)(f"{owner}: {error}") from error
    return _ArrayPlan(
        name,
        variable,
        dtype=dtype,
        dims=schema.dims,
        chunk_shape=None if chosen is None else schema.chunk_shape,
        fill=fill,
        attributes=attributes,
        xarray_dtype=xarray_dtype,
        dask_backed=variable.__dask_graph__() is not None,
    )


def _xarray_dtype(variable: xr.Variable) -> str | None:
    if not isinstance(variable.dtype, np.dtype):
        return None
    if variable.dtype != object or not variable.size:
        return dtype_to_record(variable.dtype)
    # Objects are strings or cftime dates: the first cell tells which. For a dask array that computes one block.
    return cftime_dtype(variable[(0,) * variable.ndim].to_numpy()[()])


@lru_cache(maxsize=64)
def _stored_dtype(dtype: Any) -> str:
    if not isinstance(dtype, np.dtype):  # one of pandas
        if dtype.kind == "O" and str(dtype).startswith("str"):
            return "string"
        raise UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored; the dtypes supported are {SUPPORTED}")
    if dtype.names is not None:
        fields = ", ".join(dtype.names[:3]) + (f" and {len(dtype.names) - 3} more" if len(dtype.names) > 3 else "")
        raise UnsupportedDtypeError(f"compound dtypes are not stored; make a variable of each field: {fields}")
    if dtype.kind in "mM" and not is_stored_time(dtype):
        return "timestamp_nanoseconds" if dtype.kind == "M" else "timedelta64[ns]"
    return parse_dtype(dtype).name


def _remedy(name: str, dtype: Any) -> str:
    """The end of an error message: how to convert a dtype that is not stored; empty where no rule fits."""
    if dtype.kind == "c":
        return f"; use ds[{name!r}].real and ds[{name!r}].imag, a variable each"
    numpy = isinstance(dtype, np.dtype)
    replacement = {"f": "float64"}.get(dtype.kind)
    if not numpy:
        # Integers and bools of pandas may have missing cells, which floats keep as NaN.
        replacement = {"O": "str", "i": "float64", "u": "float64", "b": "float32"}.get(dtype.kind, replacement)
    return f"; use ds[{name!r}].astype({replacement!r})" if replacement else ""


def _fill_value(value: object) -> object:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return decode_text(value) if isinstance(value, bytes) else value


def _write(view: DatasetInterface, plan: _ArrayPlan) -> None:
    parts = dask_blocks(plan.name, plan.variable.data) if plan.dask_backed else _whole(plan.variable)
    for start, load in parts:
        # Loaded within the call, so that no variable keeps a block alive while the next one is computed.
        view.write_array(plan.name, start=start, data=_encode_cells(plan, load()))


def _encode_cells(plan: _ArrayPlan, cells: NDArray[Any]) -> NDArray[Any]:
    if cells.dtype.kind in "mM" and not is_stored_time(cells.dtype):
        return encode_times(plan.name, cells)
    if plan.dtype == "string":
        check_strings(plan.name, cells)
        return cells
    if cells.dtype == object and plan.xarray_dtype is not None:
        return encode_dates(plan.name, cells, plan.xarray_dtype)
    return cells


def _whole(variable: xr.Variable) -> Iterator[Part]:
    if variable.size:
        yield [0] * variable.ndim, partial(_load, variable)


def _load(variable: xr.Variable) -> NDArray[Any]:
    data = variable.data
    return data if type(data) is np.ndarray else variable.to_numpy()
