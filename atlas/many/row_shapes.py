"""Ragged datasets to padded ones and back, and to the dataset of one row. In memory; knows no store.

Ragged: a contiguous ragged array of the CF conventions (chapter 9.3.3), whose count variable has `sample_dimension`.
Padded: arrays whose shorter rows are filled at the end, with a coordinate of lengths that has `padded_dimension`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.errors import DatasetNotFoundError, InvalidValueError
from atlas.format.strings import is_missing
from atlas.many.combining import equal_cells
from atlas.many.padded import PADDED_KEY, length_variable
from atlas.many.part_cells import filler
from atlas.many.ragged import ROW_SIZE, SAMPLE_KEY, count_variable
from atlas.many.unaligned_index import UnalignedIndex
from atlas.xarray.attribute_owners import FILL_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["select_row", "to_padded", "to_ragged"]


def to_padded(ds: xr.Dataset) -> xr.Dataset:
    """Return a ragged dataset with its rows along the dimension of the datasets, filled at the end. See `accessor`."""
    name_of_counts, dim, sample = _counts(ds, SAMPLE_KEY, "ragged", "open_many(combine='ragged')")
    sizes = _sizes(ds, name_of_counts)
    longest = int(sizes.max(initial=0))
    filled = np.arange(longest) < sizes[:, None]

    def pad(name: str, variable: xr.Variable) -> xr.Variable:
        rows = variable.transpose(sample, ...)
        cells = rows.to_numpy()
        if name == sample and rows.ndim == 1:
            whole = cells[sizes[: int(sizes.argmax())].sum() :][:longest]
            if equal_cells(cells, np.broadcast_to(whole, filled.shape)[filled]).all():
                return xr.Variable((sample,), whole, variable.attrs, variable.encoding)
        out = np.empty((*filled.shape, *cells.shape[1:]), cells.dtype)
        if not filled.all():
            out[~filled] = filler(name, variable.attrs, cells.dtype)
        out[filled] = cells
        return xr.Variable((dim, *rows.dims), out, variable.attrs)

    made = {name: pad(str(name), variable) for name, variable in ds.variables.items() if sample in variable.dims}
    return _with(ds, made, dict([length_variable(sample, dim, sizes)]), without=name_of_counts)


def to_ragged(ds: xr.Dataset) -> xr.Dataset:
    """Return a padded dataset with the cells of each row one after another, without filled ends. See `accessor`."""
    name_of_counts, dim, padded = _counts(ds, PADDED_KEY, "padded", "open_many(missing='fill')")
    sizes = _sizes(ds, name_of_counts)
    known = np.arange(ds.sizes[padded]) < sizes[:, None]

    def flatten(name: str, variable: xr.Variable) -> xr.Variable:
        if dim not in variable.dims:
            variable = variable.set_dims({dim: len(sizes), **variable.sizes})  # type: ignore[no-untyped-call]
        rows = variable.transpose(dim, padded, ...)
        cells = rows.to_numpy()
        if dim in ds.variables[name].dims and not _are_missing(cells[~known], variable.attrs):
            raise InvalidValueError(
                f"variable {name!r} has cells after the end that {name_of_counts!r} tells of a row; "
                "set them to what is missing, or set the lengths"
            )
        return xr.Variable(rows.dims[1:], cells[known], variable.attrs)

    made = {name: flatten(str(name), variable) for name, variable in ds.variables.items() if padded in variable.dims}
    made[ROW_SIZE] = count_variable(padded, dim, sizes)
    return _with(ds, made, {}, without=name_of_counts)


def select_row(ds: xr.Dataset, label: object) -> xr.Dataset:
    """Return one dataset of a ragged, padded or stacked one. See `accessor`."""
    found = [name for name, variable in ds.variables.items() if {SAMPLE_KEY, PADDED_KEY} & variable.attrs.keys()]
    dim = ds.variables[found[0]].dims[0] if found else "dataset"
    if dim not in ds.coords or ds[dim].dims != (dim,):
        raise InvalidValueError(
            f"this dataset has no coordinate {dim!r} with the names of its rows; it has {list(ds.coords)}"
        )
    rows = np.flatnonzero(ds[dim].to_numpy() == label)
    if len(rows) != 1:
        raise DatasetNotFoundError(
            f"{label!r} names {len(rows)} rows; the coordinate {dim!r} has {len(ds[dim])}, such as {ds[dim].values[:1]}"
        )
    row = int(rows[0])
    cuts: dict[Any, Any] = {}
    for name in found:
        attrs, sizes = ds.variables[name].attrs, _sizes(ds, name)
        begin = int(sizes[:row].sum()) if SAMPLE_KEY in attrs else 0
        cuts[attrs.get(SAMPLE_KEY, attrs.get(PADDED_KEY))] = slice(begin, begin + int(sizes[row]))
    one = ds.drop_vars(found).isel(cuts).isel({dim: row})
    for axis in cuts:
        if axis in one.coords and one[axis].dims == (axis,) and axis not in one.xindexes:
            one = one.set_xindex(axis)
    return one


def _counts(ds: xr.Dataset, key: str, shape: str, made_by: str) -> tuple[str, str, str]:
    """Return the name of the variable that tells the lengths of rows, its dimension, and that which they lie along."""
    found = [str(name) for name, variable in ds.variables.items() if key in variable.attrs]
    if len(found) != 1:
        raise InvalidValueError(
            f"a {shape} dataset has one variable with the attribute {key!r}, as of {made_by}; this one has "
            f"{found or 'none'}"
        )
    counts = ds.variables[found[0]]
    dim = counts.attrs[key]
    if dim not in ds.dims or counts.ndim != 1 or counts.dtype.kind not in "iu":
        raise InvalidValueError(
            f"variable {found[0]!r} tells lengths along {dim!r}: it has integers along one dimension, and "
            f"{dim!r} is another; it is {counts.dtype} of {counts.dims}, and the dataset has {list(ds.dims)}"
        )
    return found[0], str(counts.dims[0]), str(dim)


def _sizes(ds: xr.Dataset, name: Any) -> NDArray[np.int64]:
    """Return the lengths of rows that a variable tells: ragged ones add up to the axis, others are as long at most."""
    counts = ds.variables[name]
    is_sum = SAMPLE_KEY in counts.attrs
    length = ds.sizes.get(counts.attrs[SAMPLE_KEY if is_sum else PADDED_KEY], 0)
    sizes: NDArray[np.int64] = counts.to_numpy().astype(np.int64)
    found = int(sizes.sum()) if is_sum else int(sizes.max(initial=0))
    if sizes.min(initial=0) < 0 or (found != length if is_sum else found > length):
        rule = f"add up to {length}" if is_sum else f"are {length} at most"
        raise InvalidValueError(
            f"lengths of rows {rule}, and none is negative; here they {'add up to' if is_sum else 'reach'} {found}, "
            f"the least is {sizes.min(initial=0)}"
        )
    return sizes


def _with(
    ds: xr.Dataset, variables: Mapping[Any, xr.Variable], coords: Mapping[Any, xr.Variable], *, without: str
) -> xr.Dataset:
    """Return a dataset with variables in place of others of their name; labels of two dimensions get no usual index."""
    named = {name for name in ds.coords if name != without} | set(coords)
    made = {name: variables.get(name, variable) for name, variable in ds.variables.items() if name != without}
    made |= {name: variable for name, variable in {**variables, **coords}.items() if name not in made}
    indexes = {name: index for name, index in ds.xindexes.items() if name not in variables}
    kept = xr.Coordinates({name: made[name] for name in named}, indexes=indexes)
    out = xr.Dataset({name: variable for name, variable in made.items() if name not in named}, kept, ds.attrs)
    for name, variable in variables.items():
        if name in named and variable.dims == (name,) and ROW_SIZE not in variables:
            out = out.set_xindex(str(name))
        elif name in named and variable.ndim > 1 and name in variable.dims:
            out = out.set_xindex(str(name), UnalignedIndex)
    return out


def _are_missing(cells: NDArray[Any], attrs: Mapping[Any, Any]) -> bool:
    """Return whether all cells are missing or the declared fill value."""
    if cells.dtype.kind in "OST":
        fill = attrs.get(FILL_KEY)
        return all(is_missing(cell) or cell == fill for cell in cells.reshape(-1).tolist())
    missing = np.isnat(cells) if cells.dtype.kind in "mM" else cells != cells  # noqa: PLR0124 - NaN
    if FILL_KEY in attrs:
        missing = missing | (cells == attrs[FILL_KEY])
    return bool(missing.all())
