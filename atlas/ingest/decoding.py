"""Decodes the variables of a file as xarray does, and says which one cannot be decoded.

xarray's decoders make lazy arrays in several layers. What most variables of numbers need is done here at once, in a
tenth of the time: a fill value of floats, and dates. All else, and all that fails, is left to xarray. Cells differ from
xarray's in two cases, in which those would change what cells mean: integers of 64 bits and enumerations with a fill
value stay integers, and text of nothing but fill values is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pandas as pd
import xarray as xr
from xarray.coding.times import decode_cf_datetime

from atlas.errors import InvalidValueError
from atlas.xarray import LoadedVariable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from atlas.ingest.open_files import FileVariable

__all__ = ["Decoded", "UndecodedError", "UnreadableError", "are_times", "decode", "unify_missing"]

_FILL, _MISSING = "_FillValue", "missing_value"
_PACKING = ("scale_factor", "add_offset")
_LEFT_TO_XARRAY = frozenset({"_Unsigned", _MISSING, *_PACKING, "dtype", "bounds"})
"""Attributes of what is not decoded here; bounds of dates take their units from them."""
_MOST_SCALES = 256
_MOST_NANOSECONDS = 1 << 62
"""What dates may be away from 1970, so that no sum is out of 64 bits; they go to 2116."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Variables as they are stored."""

    variables: dict[str, FileVariable]
    """By name, in the order of the file, data variables first."""
    coords: frozenset[str]
    """Names of coordinates."""
    lazy: frozenset[str]
    """Names of variables whose cells are not decoded yet."""
    attrs: dict[str, Any]
    """Attributes of the dataset."""


class UndecodedError(Exception):
    """Dates of a variable cannot be decoded."""

    def __init__(self, variable: str, error: Exception, cells: object = None) -> None:
        super().__init__(variable, error)
        self.variable, self.reason = variable, _one_line(variable, error)
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf" and cells.size:
            self.reason += f"; its values go from {np.nanmin(cells):g} to {np.nanmax(cells):g}"


def decode(
    variables: Mapping[str, FileVariable],
    attrs: dict[str, Any],
    coords: Collection[str],
    in_memory: Collection[str],
    kept_raw: Collection[str],
    untouched: Collection[str],
    *,
    raw: bool,
) -> Decoded:
    """Decode the variables of a file; those in memory are changed. With `raw`, only characters are joined to text.

    `coords` are the names of coordinates, to which those in attributes are added. Dates of `kept_raw` keep their
    numbers, and `untouched` are not decoded at all.

    Raises `UndecodedError` for dates that cannot be decoded, unless `kept_raw` names them, and `InvalidValueError` for
    other variables that cannot.
    """
    bounds = {variable.attrs.get("bounds") for variable in variables.values() if _bounds_dates(variable)}
    done: dict[str, FileVariable] = {}
    named = set(coords)
    for name, variable in variables.items():
        if name in untouched:
            done[name] = variable
            continue
        coordinates = variable.attrs.get("coordinates", "")
        is_own = name in in_memory and name not in bounds and name not in kept_raw and isinstance(coordinates, str)
        found = _decode_plain(variable, raw=raw) if is_own else None
        if found is not None:
            done[name] = found
            if coordinates and not raw:
                found.encoding["coordinates"] = found.attrs.pop("coordinates")
                named.update(coordinates.split())
            continue
        for key in () if raw else _PACKING:
            if isinstance(text := variable.attrs.get(key), str):
                raise UnreadableError(name, TypeError(f"its {key} is the text {text!r}"), variable.attrs)
    left = variables.keys() - done.keys()
    if left or "coordinates" in attrs:
        others, attrs, more = _decode_by_xarray(variables, attrs, in_memory, kept_raw, done.keys(), raw=raw)
        done |= others
        named |= more
    dims = {dim for variable in done.values() for dim in variable.dims}
    for name, variable in done.items():
        if name in dims and not variable.ndim:
            raise UnreadableError(name, ValueError("it has no dimension, and a dimension has its name"))
    own = frozenset(name for name, variable in done.items() if name in named or variable.dims == (name,))
    ordered = sorted(variables, key=own.__contains__)  # data variables first, as xarray has them
    lazy = frozenset(left).union(name for name in untouched if name not in in_memory)
    return Decoded({name: done[name] for name in ordered}, own, lazy, attrs)


def are_times(variable: FileVariable) -> bool:
    """Return whether a variable has, or had before it was decoded, units of dates, as xarray knows them."""
    return _is_date(variable.attrs.get("units")) or _is_date(variable.encoding.get("units"))


def _is_date(units: object) -> TypeGuard[str]:
    return isinstance(units, str) and "since" in units


def unify_missing(cells: np.ndarray[Any, Any], variable: FileVariable) -> np.ndarray[Any, Any]:
    """Return the cells of a decoded variable where those that are missing but do not say so do.

    That is text which was joined of characters that all are the fill value, and integers that equal `missing_value`.
    """
    fill, missing = variable.encoding.get(_FILL), variable.attrs.get(_MISSING)
    if "char_dim_name" in variable.encoding and isinstance(fill, bytes) and len(fill) == 1:
        fills: dict[type, Any] = {bytes: bytes(fill), str: fill.decode("latin-1")}
        cells = cells.astype(object)
        for at, cell in np.ndenumerate(cells):
            if cell and isinstance(cell, bytes | str) and not cell.strip(fills[type(cell)]):
                cells[at] = None
    elif _FILL in variable.attrs and missing is not None and cells.dtype.kind in "iu":
        return np.where(np.isin(cells, missing), variable.attrs[_FILL], cells)
    return cells


class UnreadableError(InvalidValueError):
    """A variable cannot be read or decoded."""

    def __init__(self, variable: str, error: Exception, attrs: Mapping[Any, Any] | None = None) -> None:
        self.variable, self.reason = variable, _one_line(variable, error)
        advice = f"leave it out with drop=[{variable!r}] (--drop {variable} of the command)"
        if attrs is not None and not isinstance(error, OSError | RuntimeError):  # netCDF4 raises these
            advice = f"keep its cells as they are with on_unsupported='raw' (--on-unsupported raw), or {advice}"
        super().__init__(f"variable {variable!r} cannot be read: {self.reason}; {advice}")


def _bounds_dates(variable: FileVariable) -> bool:
    return isinstance(variable.attrs.get("bounds"), str) and are_times(variable)


def _decode_plain(variable: FileVariable, *, raw: bool) -> FileVariable | None:
    """Return a variable in memory decoded, which changes it; None where it is left to xarray, unchanged."""
    cells, attrs, encoding = variable.data, variable.attrs, variable.encoding
    if not _LEFT_TO_XARRAY.isdisjoint(attrs):
        return None
    if raw:
        return variable
    fill, units = attrs.get(_FILL), attrs.get("units")
    if fill is not None:
        if type(fill) is not cells.dtype.type:
            return None
        if cells.dtype.kind != "f":
            return variable if _keeps_integers(variable) else None
        is_fill = cells == fill
        if is_fill.any():
            cells[is_fill] = np.nan
    dates = None
    if _is_date(units):
        dates = _decode_dates(cells, units, attrs.get("calendar"))
        if dates is None:
            return None
        encoding.update((key, attrs.pop(key)) for key in ("units", "calendar") if key in attrs)
    if fill is not None:
        encoding[_FILL] = attrs.pop(_FILL)
    # The setter of `data` of xarray would have pandas convert the dates.
    return variable if dates is None else LoadedVariable(variable.dims, dates, attrs, encoding)


def _decode_dates(cells: np.ndarray[Any, Any], units: str, calendar: Any) -> np.ndarray[Any, Any] | None:
    """Return numbers as dates; None where xarray, which takes most of its time for the units, is to say what is wrong.

    For the units of many files it is asked once what zero and one are.
    """
    try:
        scale = _scale(units, calendar)
        if scale is not None and cells.size:
            first, last = (int(bound) for bound in (cells.min(), cells.max()))  # a NaN has none
            epoch, step = scale
            if all(abs(epoch) + abs(bound) * step < _MOST_NANOSECONDS for bound in (first, last)):
                wide = cells.astype(np.float64 if cells.dtype.kind == "f" else np.int64)
                return ((wide * step).astype(np.int64) + epoch).view("M8[ns]")
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        dates: np.ndarray[Any, Any] = decode_cf_datetime(cells, units, calendar, None)
    except Exception:  # noqa: BLE001 - xarray says why
        return None
    return dates


@lru_cache(_MOST_SCALES)
def _scale(units: str, calendar: Any) -> tuple[int, int] | None:
    """Return the nanoseconds since 1970 of zero, and those from it to one; None where these are no such dates."""
    try:
        # Not an array: to see that it is none of dask's, xarray would import dask, which takes as long as 100 files.
        both = decode_cf_datetime(pd.RangeIndex(2), units, calendar, None)
    except Exception:  # noqa: BLE001 - xarray says why
        return None
    if both.dtype != "M8[ns]":
        return None
    zero, one = both.view(np.int64).tolist()
    return zero, one - zero


def _keeps_integers(variable: FileVariable) -> bool:
    """Return whether a variable stays as it is, as floats could not hold its integers, or for its named values."""
    attrs, dtype = variable.attrs, variable.encoding.get("dtype", variable.dtype)
    is_packed = {*_PACKING, "_Unsigned"} & attrs.keys()
    if variable.dtype.kind not in "iu" or is_packed or are_times(variable):
        return False
    fills = [np.asarray(attrs[key]) for key in (_FILL, _MISSING) if key in attrs]
    if not fills or any(fill.dtype != variable.dtype or fill.size != 1 for fill in fills):
        return False
    return variable.dtype.itemsize == 8 or "enum" in (getattr(dtype, "metadata", None) or {})


def _decode_by_xarray(
    variables: Mapping[str, FileVariable],
    attrs: dict[str, Any],
    in_memory: Collection[str],
    kept_raw: Collection[str],
    done: Collection[str],
    *,
    raw: bool,
) -> tuple[dict[str, xr.Variable], dict[str, Any], set[str]]:
    """Decode the variables that are not done. Raises as `decode` does."""
    integers = [] if raw else [name for name in variables if name not in done and _keeps_integers(variables[name])]

    def attempt(leave_out: Collection[str], *, dates: bool = True) -> tuple[Any, Any, Any]:
        times = not raw and dates and (dict.fromkeys(kept_raw, False) or True)
        return xr.conventions.decode_cf_variables(
            {name: _copied(variable) for name, variable in variables.items()},
            attrs,
            mask_and_scale=not raw and (dict.fromkeys(integers, False) or True),
            decode_times=times,
            decode_coords=not raw,
            drop_variables=set(leave_out),
            decode_timedelta=False,
        )

    try:
        found, attributes, coords = attempt(done)
    except MemoryError:
        raise
    except Exception:
        # xarray does not say which variable it is.
        for name in (name for name in variables if name not in done):
            others = variables.keys() - {name}
            try:
                attempt(others)
            except Exception as error:
                if not raw and _decodes(attempt, others):
                    raise UndecodedError(name, error, variables[name].data if name in in_memory else None) from error
                raise UnreadableError(name, error, variables[name].attrs) from error
        raise
    for name in integers:
        found[name].attrs.setdefault(_FILL, found[name].attrs.get(_MISSING))
    return dict(found), dict(attributes), set(coords)


def _copied(variable: FileVariable) -> xr.Variable:
    """Return a variable as xarray has it, with attributes and an encoding of its own."""
    return variable.to_variable() if isinstance(variable, LoadedVariable) else variable.copy(deep=False)


def _decodes(attempt: Any, leave_out: Collection[str]) -> bool:
    """Return whether what is not left out can be decoded but for dates."""
    try:
        attempt(leave_out, dates=False)
    except Exception:  # noqa: BLE001 - what is wrong in a file leads to errors of any type
        return False
    return True


def _one_line(name: str, error: Exception) -> str:
    """Return what an error of a variable says, without its name and advice on arguments of xarray."""
    text = " ".join(str(error).split()).removeprefix(f"Failed to decode variable {name!r}: ") or type(error).__name__
    return text.partition(" Try opening your dataset with decode_times")[0].removesuffix(".")
