"""Cells of a part of a fleet as cells of one variable: decoded where parts differ, axes in one order, fills. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from atlas.catalog.meaning import comparable
from atlas.errors import InvalidValueError
from atlas.many.combining import combine_attributes, common_cells
from atlas.xarray.attribute_owners import FILL_KEY
from atlas.xarray.recorded_dtypes import decode_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from atlas.many.plans import Part, Plan

__all__ = ["attributes_of", "decode_part", "filler", "filler_of", "variable_dtype"]

_LEADING = "__leading__"
"""Name of the axis that cells of several datasets have before their own, while they are decoded."""


def decode_part(
    plan: Plan, part: Part, cells: NDArray[Any], *, leads: bool, widens: bool
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return cells of a part as the variable has them, and the attributes of their variable.

    `leads` tells whether an axis comes before those of the array, for its datasets; `widens` whether bytes that have
    become longer than their recorded dtype get a longer one, or are refused.
    """
    array = part.array
    if array.xarray_dtype is not None:
        cells = decode_recorded(plan.name, cells, array.xarray_dtype, widens=widens)
    if not plan.decode:
        return _in_order(plan, part, cells, leads=leads), array.attrs
    raw = xr.Variable((_LEADING, *array.dims) if leads else array.dims, cells, array.attrs)
    try:
        decoded = xr.conventions.decode_cf_variable(plan.name, raw, concat_characters=False, decode_timedelta=False)
        values = decoded.to_numpy()  # only now it is decoded
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError) as error:
        raise InvalidValueError(
            f"array {plan.name!r} has another packing or reference date in some datasets than in others, and that "
            f"of dataset {part.label!r} cannot be decoded: {error}; leave it out with variables="
        ) from error
    return _in_order(plan, part, values, leads=leads), dict(decoded.attrs)


def _in_order(plan: Plan, part: Part, cells: NDArray[Any], *, leads: bool) -> NDArray[Any]:
    """Return cells of a part with their axes in the order of the plan."""
    if part.array.dims == plan.dims:  # of which one may occur twice
        return cells
    axes = [leads + plan.dims.index(dim) for dim in part.array.dims]
    return np.moveaxis(cells, range(leads, cells.ndim), axes)


def variable_dtype(plan: Plan, *, filled: bool) -> tuple[np.dtype[Any], list[dict[str, Any]]]:
    """Return the dtype of a variable, and the attributes that decoding leaves of each of its parts.

    `filled` tells whether datasets that lack it are filled. Raises what decoding the cells would raise for their dtype.
    """
    empty = []
    for part in plan.reads:
        stored = np.empty((0,) * len(part.array.dims), part.memory_dtype)
        empty.append(decode_part(plan, part, stored, leads=False, widens=False))
    dtype = common_cells(plan.name, [cells for cells, _ in empty])[0].dtype
    if filled:
        filler_of(plan, dtype)
        dtype = np.dtype(object) if dtype.kind == "S" else dtype  # a fill may be longer than all cells
    return dtype, [attrs for _, attrs in empty]


def attributes_of(plan: Plan, decoded: list[dict[str, Any]], how: str | Callable[..., Any]) -> dict[str, Any]:
    """Return the attributes of the variable as one; `decoded` are those that decoding has left of each part."""
    found = decoded if plan.decode else [part.array.attrs for part in plan.parts]
    attrs = combine_attributes(f"variable {plan.name!r}", found, how)
    if not plan.decode:  # its cells have the fill value of the first
        attrs.pop(FILL_KEY, None)
        attrs |= {key: value for key, value in plan.first.attrs.items() if key == FILL_KEY}
    return attrs


def filler(name: str, attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> Any:
    """Return what a variable has where cells are filled: its fill value, else NaN, NaT or None.

    Raises `InvalidValueError` where it has none of these.
    """
    if FILL_KEY in attrs:
        fill = attrs[FILL_KEY]
        try:
            cell = np.asarray(fill, object if dtype.kind in "OST" else dtype).reshape(())[()]
        except (ValueError, TypeError, OverflowError):
            cell = None
        if comparable(cell) == comparable(fill) or dtype.kind in "mM":
            return cell
        raise InvalidValueError(f"_FillValue {fill!r} of variable {name!r} is no cell of {dtype}; set it anew")
    if dtype.kind in "mM":
        return np.array("NaT", dtype)[()]
    missing = {"f": np.nan, "O": None, "S": None, "T": getattr(dtype, "na_object", "")}
    if dtype.kind not in missing:
        raise InvalidValueError(
            f"nothing to fill variable {name!r} of {dtype} with, as it has no _FillValue; use missing='drop', "
            "variables=, or combine='ragged', which fills no ends"
        )
    return missing[dtype.kind]


def filler_of(plan: Plan, dtype: np.dtype[Any]) -> Any:
    """Return what a variable has in datasets that lack it, see `filler`."""
    return filler(plan.name, {} if plan.decode else plan.first.attrs, dtype)
