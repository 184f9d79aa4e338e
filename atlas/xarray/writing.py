"""An xarray dataset into the store: everything is checked first, then written in pieces; all of it or nothing.

Coordinates go before data variables. A dask-backed variable is written one block at a time, one `write_array` each
in C order of the blocks, and only one block is in memory; every other variable goes in one piece. Nothing is flushed,
and the source is left as it is.
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
from atlas.format.dtypes import SUPPORTED, parse_dtype
from atlas.format.names import check_name
from atlas.format.schema import make_schema
from atlas.xarray.attrs import COORDS_KEY, DTYPE_KEY, FILL_KEY, checked_attributes
from atlas.xarray.calendars import calendar_marker, dates_to_microseconds
from atlas.xarray.strings import check_text
from atlas.xarray.times import time_marker, times_to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

    from atlas.format.attributes import AttributeKey
    from atlas.xarray.protocols import StoreLike, ViewLike

__all__ = ["add"]

_Piece: TypeAlias = "tuple[list[int], Callable[[], NDArray[Any]]]"
"""Where a piece of a variable goes, and how to load it."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A variable that has passed every check, and what it becomes."""

    name: str
    """Name of the array."""
    variable: xr.Variable
    """Its cells, perhaps not loaded yet."""
    dtype: str
    """Stored dtype."""
    dims: tuple[str, ...]
    """Names of its axes."""
    chunk_shape: tuple[int, ...] | None
    """Shape of a stored chunk, None for one chunk."""
    fill: object
    """Fill value, None for none."""
    attributes: dict[str, object]
    """Exact attributes."""
    marker: str | None
    """How times are restored (see `times`), None for what is stored as it is."""
    chunked: bool
    """Whether dask holds it, and it goes block by block."""


def add(store: StoreLike, ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]] | None = None) -> None:
    """Create the dataset `name` from `ds`; `chunks` gives variables by name their stored chunk shape.

    Raises FileExistsError for a name that is taken; `UnsupportedDtypeError` (NotImplementedError) naming the
    variable for dtypes that are not stored, a MultiIndex among them; `InvalidTypeError` for cells, fill values and
    names of a wrong type; `InvalidValueError` for names, chunks and attributes that cannot be kept; `OutOfRangeError`
    for times beyond 64 bits of nanoseconds. Whatever is raised, also by dask, no trace of the dataset stays.
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidTypeError(f"an xarray.Dataset is added to a store, not {type(ds).__name__}; see its to_dataset()")
    if not isinstance(chunks, Mapping | None):
        raise InvalidTypeError(
            f"chunks gives chunk shapes by variable, such as {{'t': [24, 50]}}, and is {chunks!r}; leave it out to "
            "keep the chunks of dask"
        )
    plans, attributes = _plan(ds, chunks or {})
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
            view.set_exact_attribute(key, value)
    except BaseException:
        store.discard_dataset(name)
        raise


def _plan(ds: xr.Dataset, chunks: Mapping[str, Sequence[int]]) -> tuple[list[_Plan], dict[AttributeKey, object]]:
    names = [*ds.coords, *ds.data_vars]
    plans = [_plan_variable(ds, check_name("array", name), chunks) for name in names]
    attributes: dict[AttributeKey, object] = {
        (plan.name, key): value for plan in plans for key, value in plan.attributes.items()
    }
    attributes |= {(plan.name, DTYPE_KEY): plan.marker for plan in plans if plan.marker is not None}
    attributes |= {(key,): value for key, value in checked_attributes("dataset", ds.attrs).items()}
    attributes[COORDS_KEY] = json.dumps(list(ds.coords))
    return plans, attributes


def _plan_variable(ds: xr.Dataset, name: str, chunks: Mapping[str, Sequence[int]]) -> _Plan:
    variable = ds.variables[name]
    owner = f"variable {name!r}"
    if isinstance(ds.xindexes.get(name), PandasMultiIndex):
        raise UnsupportedDtypeError(f"{owner} belongs to a MultiIndex, which is not stored; use ds.reset_index() first")
    attrs = dict(variable.attrs)
    fill = _fill_value(name, attrs.pop(FILL_KEY, None), variable.dtype)
    attributes = checked_attributes(owner, attrs)
    try:
        marker = _marker(variable)
        dtype = "int64" if marker and variable.dtype == object else _stored_dtype(variable.dtype)
        # Asked for only where there are any: of arrays in memory xarray takes 0.1 ms to say that there are none.
        dask_chunks = None if variable.__dask_graph__() is None else variable.chunks
        chunk_shape = chunks[name] if name in chunks else _dask_chunk_shape(dask_chunks)
        schema = make_schema(dtype, variable.dims, variable.shape, chunk_shape, fill)  # type: ignore[arg-type]
    except UnsupportedDtypeError as error:
        raise UnsupportedDtypeError(f"{owner}: {error}{_remedy(name, variable.dtype)}") from error
    except AtlasError as error:
        raise type(error)(f"{owner}: {error}") from error
    return _Plan(
        name,
        variable,
        dtype=dtype,
        dims=schema.dims,
        chunk_shape=None if chunk_shape is None else schema.chunk_shape,
        fill=fill,
        attributes=attributes,
        marker=marker,
        chunked=dask_chunks is not None,
    )


def _marker(variable: xr.Variable) -> str | None:
    if not isinstance(variable.dtype, np.dtype):
        return None
    if variable.dtype != object or not variable.size:
        return time_marker(variable.dtype)
    # Objects are strings or dates of a calendar of cftime. The first cell tells; of a dask array it costs one block.
    return calendar_marker(variable[(0,) * variable.ndim].to_numpy()[()])


@lru_cache(maxsize=64)
def _stored_dtype(dtype: Any) -> str:
    if not isinstance(dtype, np.dtype):  # one of pandas
        if dtype.kind == "O" and str(dtype).startswith("str"):
            return "string"
        raise UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored; the dtypes supported are {SUPPORTED}")
    if dtype.names is not None:
        fields = ", ".join(dtype.names[:3]) + (f" and {len(dtype.names) - 3} more" if len(dtype.names) > 3 else "")
        raise UnsupportedDtypeError(f"compound dtypes are not stored; make a variable of each field: {fields}")
    if dtype.kind == "M":
        return "timestamp_nanoseconds"
    if dtype.kind == "m":
        return "int64"
    return parse_dtype(dtype).name


def _remedy(name: str, dtype: Any) -> str:
    """What to do with a dtype that is not stored, to end a message with; nothing where there is no plain answer."""
    if dtype.kind == "c":
        return f"; use ds[{name!r}].real and ds[{name!r}].imag, a variable each"
    numpy = isinstance(dtype, np.dtype)
    other = {"b": "uint8", "f": ("float32" if dtype.itemsize < 4 else "float64") if numpy else "float64"}.get(
        dtype.kind
    )
    if not numpy:
        # Those of pandas: integers may have missing cells, which float64 keeps as NaN.
        other = {"O": "str", "i": "float64", "u": "float64"}.get(dtype.kind, other)
    return f"; use ds[{name!r}].astype({other!r})" if other else ""


def _fill_value(name: str, value: object, dtype: Any) -> object:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, np.timedelta64) and dtype.kind == "m":
        return int(times_to_ns(name, np.asarray(value)))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _dask_chunk_shape(chunks: tuple[tuple[int, ...], ...] | None) -> tuple[int, ...] | None:
    """The largest length along each axis: dask's chunks may differ, those of the store may not."""
    if chunks is None:
        return None
    if np.isnan(sum(map(sum, chunks))):
        raise InvalidValueError("the dask array has chunks of unknown size; call its compute_chunk_sizes() first")
    return tuple(map(max, chunks))


def _write(view: ViewLike, plan: _Plan) -> None:
    pieces = _blocks(plan.variable.data) if plan.chunked else _whole(plan.variable)
    for start, load in pieces:
        # Loaded within the call, so that no name keeps a block alive while the next one is computed.
        view.write_array(plan.name, start=start, data=_stored_cells(plan, load()))


def _stored_cells(plan: _Plan, cells: NDArray[Any]) -> NDArray[Any]:
    if cells.dtype.kind in "mM":
        return times_to_ns(plan.name, cells)
    if plan.dtype == "string":
        check_text(plan.name, cells)
        return cells
    if cells.dtype == object and plan.marker is not None:
        return dates_to_microseconds(plan.name, cells, plan.marker)
    return cells


def _whole(variable: xr.Variable) -> Iterator[_Piece]:
    if variable.size:
        yield [0] * variable.ndim, partial(_loaded, variable)


def _loaded(variable: xr.Variable) -> NDArray[Any]:
    data = variable.data
    return data if type(data) is np.ndarray else variable.to_numpy()


def _blocks(data: da.Array) -> Iterator[_Piece]:
    """The blocks that have any cells, in C order."""
    # Optimised and flattened once: asking for `data.blocks[i]` would walk the whole graph again for every block.
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
