"""Adds what an xarray dataset holds to the store, or replaces a dataset, all of it or nothing.

Checks every variable first, then writes.

Coordinates come before data variables. A dask-backed variable is written block by block in C order, one write each,
with one block in memory at a time. Every other variable takes one write, and the small ones take one together. Never
flushes, and never changes the source.
"""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.errors import AtlasError, DatasetNotFoundError, UnsupportedDtypeError
from atlas.format.attribute_keys import DTYPE_KEY, EXACT_FILL_KEY, INDEXES_KEY, ORDER_KEY
from atlas.format.dtypes import parse_dtype
from atlas.format.names import check_name
from atlas.format.strings import is_missing
from atlas.xarray.attribute_owners import COORDS_KEY, FILL_KEY, check_owners, encode_attributes
from atlas.xarray.cftime_dates import STORED as STORED_DATES
from atlas.xarray.cftime_dates import cftime_dtype, encode_dates
from atlas.xarray.chunk_shapes import check_chunks, chunk_shape
from atlas.xarray.dask_blocks import dask_blocks, is_dask_backed
from atlas.xarray.encoding_record import record_encodings
from atlas.xarray.fill_values import fill_attribute, is_same_fill, to_fill_value
from atlas.xarray.recorded_dtypes import decoded_dtype
from atlas.xarray.strings import check_declared, check_strings, objects_to_record, string_dtype_to_record
from atlas.xarray.time_encoding import NANOSECONDS, encode_times, is_stored_time, time_dtype_to_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from atlas.format.attribute_keys import AttributeKey
    from atlas.format.schema import ArraySchema
    from atlas.session import Session
    from atlas.xarray.chunk_shapes import Chunks
    from atlas.xarray.contents import Contents
    from atlas.xarray.dask_blocks import Part

__all__ = ["add", "replace"]

_BOUNDS = ("bounds", "climatology")
"""Attributes of CF by which a coordinate names the variable with the bounds of its cells (CF, 7.1 and 7.4)."""
_SMALL_BYTES = 64 << 10
"""Bytes up to which an array waits for the others of its dataset: they are written together."""


class _ArrayPlan(NamedTuple):
    """A variable that has passed every check, and the array that it becomes. A tuple: a fleet has millions."""

    name: str
    """Name of the array."""
    variable: xr.Variable
    """The source variable; its cells may not be loaded yet."""
    schema: ArraySchema
    """Its schema."""
    attributes: dict[str, object]
    """Encoded attributes."""
    xarray_dtype: str | None
    """Recorded dtype (see `recorded_dtypes`), None for cells that are stored as they are."""
    dask_backed: bool
    """Whether the cells are a dask array, which is written block by block."""
    coordinate: bool
    """Whether it is a coordinate."""


def add(
    session: Session,
    contents: Contents,
    name: str,
    chunks: Chunks | None = None,
    hidden: Mapping[AttributeKey, object] | None = None,
    *,
    keeps_encoding: bool = True,
) -> None:
    """Create the dataset `name` of `contents`, with hidden attributes; for `chunks` see `chunk_shapes`.

    Without `keeps_encoding`, encodings say what is missing and are not stored.

    Raises FileExistsError for a name that is taken; `UnsupportedDtypeError` (NotImplementedError), naming the
    variable, for dtypes that are not stored and for a MultiIndex; `InvalidTypeError` for cells, fill values and names
    of a wrong type; `InvalidValueError` for names, chunks and attributes that cannot be stored; `OutOfRangeError` for
    times outside 64 bits of nanoseconds. After any error, also one of dask, the store does not have the dataset.
    """
    plans, attributes = _checked(session, contents, name, chunks, hidden, keeps_encoding=keeps_encoding)
    with session.locks.building.passing():
        session.writer.create_dataset(name)
        try:
            _write_all(session, name, plans, attributes)
        except BaseException:
            session.writer.discard_dataset(name)
            raise


def replace(
    session: Session,
    contents: Contents,
    name: str,
    chunks: Chunks | None = None,
    hidden: Mapping[AttributeKey, object] | None = None,
    *,
    keeps_encoding: bool = True,
) -> None:
    """Put `contents` in the place of the dataset `name`, which stays until all of them are written; see `add`.

    Raises `DatasetNotFoundError` where there is none of that name, and what `add` raises. After any error the store has
    the dataset that it had, with what was pending of it.
    """
    try:
        session.view.check_exists(name)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(
            f"there is no dataset {name!r} in the store to replace; add_xr_dataset(ds, {name!r}) adds it, and "
            "list_datasets() returns those that exist"
        ) from error
    plans, attributes = _checked(session, contents, name, chunks, hidden, keeps_encoding=keeps_encoding)
    with session.locks.building.passing():
        draft = session.writer.begin_replacement(name)
        try:
            _write_all(session, draft, plans, attributes)
            session.writer.replace_dataset(name, draft)
        except BaseException:
            session.writer.discard_replacement(draft)
            raise


def _checked(
    session: Session,
    contents: Contents,
    name: str,
    chunks: Chunks | None,
    hidden: Mapping[AttributeKey, object] | None,
    *,
    keeps_encoding: bool,
) -> tuple[list[_ArrayPlan], dict[AttributeKey, object]]:
    """Return the arrays that contents become, and its attributes."""
    plans, attributes = _plan(session, contents, check_chunks(contents, chunks))
    if keeps_encoding:
        attributes |= record_encodings(name, contents.encoding, {plan.name: plan.variable.encoding for plan in plans})
    return plans, {**attributes, **(hidden or {})}


def _write_all(
    session: Session, name: str, plans: Sequence[_ArrayPlan], attributes: dict[AttributeKey, object]
) -> None:
    """Write what a dataset becomes to a new one."""
    writer = session.writer
    writer.define_arrays(name, {plan.name: plan.schema for plan in plans}, _likely_alike(plans))
    small: dict[str, NDArray[Any]] = {}
    for plan in plans:
        recorded = plan.xarray_dtype
        for start, load in _parts(plan):
            # Loaded within the call, so that no variable keeps a block alive while the next one is computed.
            cells = _encode_cells(plan, load())
            if recorded is None and plan.schema.datatype.kind == "string":
                recorded = objects_to_record(cells)
            if not plan.dask_backed and cells.nbytes <= _SMALL_BYTES:
                small[plan.name] = cells
            else:
                writer.write_array(name, plan.name, start, cells)
            del cells
        if recorded is not None:
            attributes[plan.name, DTYPE_KEY] = recorded
    if small:
        writer.write_arrays(name, small)
    writer.set_attributes(name, attributes)


def _likely_alike(plans: Sequence[_ArrayPlan]) -> frozenset[str]:
    """Return the names of the variables that many datasets are likely to share: coordinates and their bounds."""
    coords = [plan for plan in plans if plan.coordinate]
    found = [plan.variable.attrs.get(key) for plan in coords for key in _BOUNDS]
    return frozenset([plan.name for plan in coords] + [value for value in found if isinstance(value, str)])


def _plan(session: Session, contents: Contents, chunks: Chunks) -> tuple[list[_ArrayPlan], dict[AttributeKey, object]]:
    variables, indexes = contents.variables, contents.indexes
    coords = [name for name in variables if name in contents.coords]
    names = coords + [name for name in variables if name not in contents.coords]
    plans = [_plan_variable(session, contents, check_name("array", name), chunks) for name in names]
    attributes: dict[AttributeKey, object] = {
        (plan.name, key): value for plan in plans for key, value in plan.attributes.items()
    }
    attributes |= {(key,): value for key, value in encode_attributes("dataset", contents.attrs).items()}
    check_owners({None: contents.attrs} | {plan.name: plan.variable.attrs for plan in plans}, names)
    if set(indexes) != {name for name in coords if variables[name].dims == (name,)}:
        attributes[INDEXES_KEY,] = json.dumps(list(indexes))
    if list(variables) != names[len(coords) :] + coords:
        attributes[ORDER_KEY,] = json.dumps(list(variables))
    attributes[COORDS_KEY] = json.dumps(coords)
    return plans, attributes


def _plan_variable(session: Session, contents: Contents, name: str, chunks: Chunks) -> _ArrayPlan:
    variable, indexed = contents.variables[name], name in contents.indexes
    owner, dask_backed = f"variable {name!r}", is_dask_backed(variable)
    attrs = dict(variable.attrs)
    exact_fill = attrs.pop(FILL_KEY, None)
    attributes = encode_attributes(owner, attrs)
    try:
        dtype, xarray_dtype = _dtypes(variable, name, contents.indexes.get(name))
        chosen = chunk_shape(name, variable, chunks, indexed=indexed, dask_backed=dask_backed)
        schema = session.schemas.make(
            dtype,
            variable.dims,  # type: ignore[arg-type]
            variable.shape,
            chosen,
            to_fill_value(exact_fill, dtype, variable.dtype.kind),
            nan_is_missing=dtype == STORED_DATES or _had_missing_values(variable),
        )
    except UnsupportedDtypeError as error:
        raise UnsupportedDtypeError(f"{owner}: {error}{_remedy(name, variable, indexed=indexed)}") from error
    except AtlasError as error:
        raise type(error)(f"{owner}: {error}") from error
    if FILL_KEY in variable.attrs:
        decoded = None if xarray_dtype is None else decoded_dtype(xarray_dtype, dtype)
        if exact_fill is None or not is_same_fill(exact_fill, fill_attribute(schema, decoded)):
            attributes[EXACT_FILL_KEY] = encode_attributes(owner, {FILL_KEY: exact_fill})[FILL_KEY]
    return _ArrayPlan(
        name,
        variable,
        schema,
        attributes=attributes,
        xarray_dtype=xarray_dtype,
        dask_backed=dask_backed,
        coordinate=name in contents.coords,
    )


def _had_missing_values(variable: xr.Variable) -> bool:
    """Return whether xarray has made NaN or not-a-time of the missing values of a file."""
    encoding = variable.encoding
    return encoding.get("_FillValue") is not None or encoding.get("missing_value") is not None


def _dtypes(variable: xr.Variable, name: str, index_dtype: Any) -> tuple[str, str | None]:
    """Return the stored dtype of a variable, and the dtype to record, None where the stored one tells it.

    `index_dtype` is that of its labels, None where it has no index.
    """
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):
        return _stored_dtype(dtype), string_dtype_to_record(dtype)
    if dtype.kind != "O":
        return _stored_dtype(dtype), time_dtype_to_record(dtype) or string_dtype_to_record(dtype)
    first = _first_present(name, variable)
    dates = cftime_dtype(first)
    if dates is not None:
        return STORED_DATES, dates
    recorded = None if index_dtype is None else string_dtype_to_record(index_dtype)
    return "bytes" if isinstance(first, bytes) else "string", recorded


def _first_present(name: str, variable: xr.Variable) -> object:
    """Return the first object that is not missing, which tells what an array of objects holds; None where all are."""
    if not variable.size:
        return None
    # Of a dask array or a file the first cell is one block, and mostly enough.
    first: object = variable[(0,) * variable.ndim].to_numpy()[()]
    if not is_missing(first):
        return first
    parts = dask_blocks(name, variable.data) if is_dask_backed(variable) else _whole(variable)
    cells = (cell for _, load in parts for cell in load().ravel().tolist())
    return next((cell for cell in cells if not is_missing(cell)), None)


@lru_cache(maxsize=64)
def _stored_dtype(dtype: Any) -> str:
    if not isinstance(dtype, np.dtype):  # one of pandas
        if dtype.kind == "O" and str(dtype).startswith("str"):
            return "string"
        raise UnsupportedDtypeError(f"arrays of dtype {dtype} are not stored")
    if dtype.names is not None:
        fields = ", ".join(dtype.names[:3]) + (f" and {len(dtype.names) - 3} more" if len(dtype.names) > 3 else "")
        raise UnsupportedDtypeError(f"compound dtypes, here of {fields}, are not stored")
    if dtype.kind in "mM" and not is_stored_time(dtype):
        return NANOSECONDS[dtype.kind]
    return "bytes" if dtype.kind == "S" else parse_dtype(dtype).name


def _remedy(name: str, variable: xr.Variable, *, indexed: bool) -> str:
    """The end of an error message: an expression that converts a dtype that is not stored."""
    this, dtype = f"ds[{name!r}]", variable.dtype
    if not isinstance(dtype, np.dtype):
        if dtype.kind in "iufb":
            # Floats keep missing cells as NaN.
            number = {"f": None, "b": "float32"}.get(dtype.kind, "float64") if variable.isnull().any() else None
            return f"; use {this}.astype({number or str(dtype.numpy_dtype)!r})"
        if dtype.kind == "M" and indexed:
            return (
                f"; use ds.assign_coords({{{name!r}: ds.indexes[{name!r}].tz_convert(None)}}), which are dates in UTC"
            )
        if dtype.kind == "M":
            return f"; use {this}.copy(data={this}.to_index().tz_convert(None)), which are dates in UTC"
        return f"; use {this}.astype(str).where({this}.notnull()), which is text"
    if dtype.kind == "f":
        return f"; use {this}.astype('float64')"
    parts = ""
    if dtype.kind == "c":
        parts = f"{{{name + '_real'!r}: {this}.real, {name + '_imag'!r}: {this}.imag}}"
    elif dtype.names is not None:
        parts = f"{{{name + '_'!r} + field: {this}.copy(data={this}.values[field]) for field in {this}.dtype.names}}"
    return f"; use ds.drop_vars({name!r})" + (f".assign({parts}), a variable for each part" if parts else "")


def _parts(plan: _ArrayPlan) -> Iterator[Part]:
    return dask_blocks(plan.name, plan.variable.data) if plan.dask_backed else _whole(plan.variable)


def _encode_cells(plan: _ArrayPlan, cells: NDArray[Any]) -> NDArray[Any]:
    if cells.dtype.kind in "mM" and not is_stored_time(cells.dtype):
        return encode_times(plan.name, cells)
    if plan.schema.datatype.cell is None:
        check_strings(plan.name, cells, plan.schema.datatype.kind, whole=not plan.dask_backed)
        if plan.xarray_dtype is not None and cells.dtype != plan.variable.dtype:
            check_declared(plan.name, cells, plan.xarray_dtype)
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
