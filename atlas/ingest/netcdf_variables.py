"""Variables of an open NetCDF file as they are there, undecoded: what xarray's `NetCDF4DataStore` gives.

xarray takes twice the time of netCDF4 for a small file, as it makes a lazy array in several layers of each variable.
Small variables of numbers are read at once here; xarray opens the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["lazy_variable", "read_attributes", "read_variable"]

_DIGITS = "least_significant_digit"


def read_attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of a file or of one of its variables."""
    return {name: owner.getncattr(name) for name in owner.ncattrs()}


def read_variable(variable: Any, source: str) -> xr.Variable | None:
    """Return a variable with its cells; None where they are no plain numbers. `source` is the file.

    Raises what netCDF4 raises.
    """
    dtype = variable.dtype
    if dtype is str or dtype.kind not in "iuf" or not dtype.isnative or _is_enumeration(variable):
        return None
    variable.set_auto_maskandscale(False)
    cells = np.asarray(variable[...])
    attrs = read_attributes(variable)
    encoding = {"dtype": dtype, **(variable.filters() or {})}
    chunks = variable.chunking()
    if chunks == "contiguous":
        encoding |= {"contiguous": True, "chunksizes": None}
    elif chunks is not None:
        encoding |= {"contiguous": False, "chunksizes": tuple(chunks)}
        encoding["preferred_chunks"] = dict(zip(variable.dimensions, chunks, strict=True))
    if _DIGITS in attrs:
        encoding[_DIGITS] = attrs.pop(_DIGITS)
    encoding |= {"source": source, "original_shape": cells.shape}
    return xr.Variable(variable.dimensions, cells, attrs, encoding, fastpath=True)


def lazy_variable(name: str, variable: Any) -> xr.Variable:
    """Return a variable as xarray opens it. An enumeration says the names of its values, as CF does (3.5)."""
    store = NetCDF4DataStore(variable.group())  # type: ignore[no-untyped-call]
    found: xr.Variable = store.open_store_variable(name, variable)
    if _is_enumeration(variable) and not {"flag_values", "flag_meanings"} & found.attrs.keys():
        names: Mapping[str, int] = variable.datatype.enum_dict
        found.attrs["flag_values"] = np.array(list(names.values()), variable.dtype)
        found.attrs["flag_meanings"] = " ".join("_".join(name.split()) for name in names)
    return found


def _is_enumeration(variable: Any) -> bool:
    return isinstance(variable.datatype, importlib.import_module("netCDF4").EnumType)
