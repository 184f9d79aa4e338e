"""Adds an xarray dataset to the store, all of it or nothing: checks every variable first, then writes.

Coordinates come before data variables. A dask-backed variable is written block by block in C order, one `write_array`
each, with one block in memory at a time; every other variable takes one `write_array`. Never flushes, and never
changes the source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from dask.base import get_scheduler, optimize
from dask.optimization import cull
from xarray.indexes import PandasMultiIndex

from atlas.errors import AtlasError, InvalidTypeError, InvalidValueError, UnsupportedDtypeError
from atlas.format.attributes import encode_value
from atlas.format.dtypes import SUPPORTED, parse_dtype
from atlas.format.names import check_name
from atlas.format.schema import make_schema
from atlas.xarray.attribute_owners import COORDS_KEY, DTYPE_KEY, FILL_KEY, check_attributes
from atlas.xarray.cftime_dates import cftime_dtype, encode_dates
from atlas.xarray.strings import check_strings
from atlas.xarray.time_encoding import dtype_to_record, encode_times, is_stored_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey
    from atlas.session import Session
    from atlas.xarray.interfaces import DatasetInterface, StoreInterface

__all__ = ["add"]

_Part: TypeAlias = "tuple[list[int], Callable[[], NDArray[Any]]]"
"""The start of a box of a variable, and a function that loads its cells."""


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
    chunks: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Create the dataset `name` of `store` from `ds`; `chunks` maps names of variables to stored chunk shapes.

    Raises FileExistsError for a name that is taken; `UnsupportedDtypeError` (NotImplementedError), naming the
    variable, for dtypes that are not stored and for a MultiIndex; `InvalidTypeError` for cells, fill values and names
    of a wrong type; `InvalidValueError` for names, chunks and attributes that cannot be stored; `OutOfRangeError` for
    times outside 64 bits of nanoseconds. After any error, also one of dask, the store does not have the dataset.
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidTypeError(
            f"ds is an xarray.Dataset, not {type(ds).__name__}; convert it, for example with to_dataset()"
        )
    if not isinstance(chunks, Mapping | None):
        raise InvalidTypeError(
            f"chunks maps variables to chunk shapes, such as {{'t': [24, 50]}}, and is {chunks!r}; leave it out to "
            "keep the chunks of dask"
        )
    plans, attributes = _plan(ds, chunks or {})
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


def _plan(ds: xr.Dataset, chunks: Mapping[str, Sequence[int]]) -> tuple[list[_ArrayPlan], dict[AttributeKey, object]]:
    names = [*ds.coords, *ds.data_vars]
    plans = [_plan_variable(ds, check_name("array", name), chunks) for name in names]
    attributes: dict[AttributeKey, object] = {
        (plan.name, key): value for plan in plans for key, value in plan.attributes.items()
    }
    attributes |= {(plan.name, DTYPE_KEY): plan.xarray_dtype for plan in plans if plan.xarray_dtype is not None}
    attributes |= {(key,): value for key, value in check_attributes("dataset", ds.attrs).items()}
    attributes[COORDS_KEY] = json.dumps(list(ds.coords))
    return plans, attributes


def _plan_variable(ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]]) -> _ArrayPlan:
    variable = ds.variables[name]
    owner = f"variable {name!r}"
    if isinstance(ds.xindexes.get(name), PandasMultiIndex):
        raise UnsupportedDtypeError(f"{owner} belongs to a MultiIndex, which is not stored; use ds.reset_index() first")
    attrs = dict(variable.attrs)
    fill = _fill_value(attrs.pop(FILL_KEY, None))
    attributes = check_attributes(owner, attrs)
    try:
        xarray_dtype = _xarray_dtype(variable)
        dtype = "int64" if xarray_dtype and variable.dtype == object else _stored_dtype(variable.dtype)
        # `chunks` only of dask arrays: for an array in memory it takes xarray 0.1 ms to return None.
        dask_chunks = None if variable.__dask_graph__() is None else variable.chunks
        chunk_shape = chunks[name] if name in chunks else _dask_chunk_shape(dask_chunks)
        schema = make_schema(dtype, variable.dims, variable.shape, chunk_shape, fill)  # type: ignore[arg-type]
    except UnsupportedDtypeError as error:
        raise UnsupportedDtypeError(f"{owner}: {error}{_remedy(name, variable.dtype)}") from error
    except AtlasError as error:
        raise type(error)(f"{owner}: {error}") from error
    return _ArrayPlan(
        name,
        variable,
        dtype=dtype,
        dims=schema.dims,
        chunk_shape=None if chunk_shape is None else schema.chunk_shape,
        fill=fill,
        attributes=attributes,
        xarray_dtype=xarray_dtype,
        dask_backed=dask_chunks is not None,
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
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _dask_chunk_shape(chunks: tuple[tuple[int, ...], ...] | None) -> tuple[int, ...] | None:
    """The largest chunk length along each axis: chunks of dask may differ in length, stored chunks may not."""
    if chunks is None:
        return None
    if np.isnan(sum(map(sum, chunks))):
        raise InvalidValueError("the dask array has chunks of unknown size; call its compute_chunk_sizes() first")
    return tuple(map(max, chunks))


def _write(view: DatasetInterface, plan: _ArrayPlan) -> None:
    parts = _dask_blocks(plan.variable.data) if plan.dask_backed else _whole(plan.variable)
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


def _whole(variable: xr.Variable) -> Iterator[_Part]:
    if variable.size:
        yield [0] * variable.ndim, partial(_load, variable)


def _load(variable: xr.Variable) -> NDArray[Any]:
    data = variable.data
    return data if type(data) is np.ndarray else variable.to_numpy()


def _dask_blocks(data: da.Array) -> Iterator[_Part]:
    """The blocks that are not empty, in C order."""
    # Optimised and flattened once: `data.blocks[i]` would walk the whole graph again for every block.
    (optimized,) = optimize(data)  # type: ignore[no-untyped-call]
    graph = dict(optimized.__dask_graph__())
    get = get_scheduler(collections=[optimized])  # type: ignore[no-untyped-call]

    def load(key: tuple[object, ...]) -> NDArray[Any]:
        needed, _ = cull(graph, [key])  # type: ignore[no-untyped-call]
        (block,) = get(needed, [key])
        return np.asanyarray(block)  # masked blocks stay masked: the store fills or refuses them

    starts = [tuple(accumulate(lengths, initial=0)) for lengths in data.chunks]
    for index in product(*map(range, data.numblocks)):
        if all(lengths[i] for i, lengths in zip(index, data.chunks, strict=True)):
            yield [axis[i] for i, axis in zip(index, starts, strict=True)], partial(load, (optimized.name, *index))
