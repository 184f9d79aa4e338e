"""An open NetCDF file, its variables as they are there, undecoded.

xarray takes twice the time of netCDF4 for a small file, as it makes a lazy array in several layers of each variable.
Small variables of numbers are read at once here, as xarray's `NetCDF4DataStore` would give them; it opens the others.
Imports netCDF4 when a file is opened.
"""

from __future__ import annotations

import importlib
import math
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore

from atlas.format.names import check_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["NetcdfFile", "open_netcdf"]

_DIGITS = "least_significant_digit"


@contextmanager
def open_netcdf(path: Path) -> Iterator[NetcdfFile]:
    """Open a file. Raises what netCDF4 raises."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        file = importlib.import_module("netCDF4").Dataset(path)
    # netCDF4 leaves out variables of some dtypes.
    found = (re.search(r"variable '(.*)' has unsupported (.*)datatype", str(one.message)) for one in warned)
    unread = {match[1]: f"is of a {match[2]}dtype that netCDF4 cannot read" for match in found if match}
    with file:
        yield NetcdfFile(file, unread)


class NetcdfFile:
    """A file that netCDF4 has opened; see `OpenFile`."""

    def __init__(self, file: Any, unread: dict[str, str]) -> None:
        self._file, self._unread = file, unread
        self.coords = frozenset[str]()

    @property
    def groups(self) -> list[str]:
        """Names of its groups."""
        return list(self._file.groups)

    @property
    def dims(self) -> Collection[str]:
        """Names of its dimensions."""
        return list(self._file.dimensions)

    @property
    def names(self) -> list[str]:
        """Names of its variables."""
        return list(self._file.variables)

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""
        return _attributes(self._file)

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding of the dataset."""
        return {"unlimited_dims": {name for name, dim in self._file.dimensions.items() if dim.isunlimited()}}

    def unsupported(self) -> dict[str, str]:
        """Return the names of what cannot be stored, with the reasons."""
        found = {name: _unsupported(name, variable.datatype) for name, variable in self._file.variables.items()}
        return {name: reason for name, reason in found.items() if reason is not None} | self._unread

    def read(self, name: str, most_cells: int) -> xr.Variable | None:
        """Return a variable with its cells; None where they are too many or no plain numbers."""
        variable = self._file.variables[name]
        dtype = variable.dtype
        if dtype is str or dtype.kind not in "iuf" or not dtype.isnative or _is_enumeration(variable):
            return None
        if math.prod(variable.shape) > most_cells:
            return None
        variable.set_auto_maskandscale(False)
        cells = np.asarray(variable[...])
        attrs = _attributes(variable)
        encoding = {"dtype": dtype, **(variable.filters() or {})}
        chunks = variable.chunking()
        if chunks == "contiguous":
            encoding |= {"contiguous": True, "chunksizes": None}
        elif chunks is not None:
            encoding |= {"contiguous": False, "chunksizes": tuple(chunks)}
            encoding["preferred_chunks"] = dict(zip(variable.dimensions, chunks, strict=True))
        if _DIGITS in attrs:
            encoding[_DIGITS] = attrs.pop(_DIGITS)
        encoding |= {"source": "", "original_shape": cells.shape}
        return xr.Variable(variable.dimensions, cells, attrs, encoding, fastpath=True)

    def open(self, name: str) -> xr.Variable:
        """Return a variable as xarray opens it. An enumeration says the names of its values, as CF does (3.5)."""
        variable = self._file.variables[name]
        store = NetCDF4DataStore(self._file)  # type: ignore[no-untyped-call]
        found: xr.Variable = store.open_store_variable(name, variable)
        if _is_enumeration(variable) and not {"flag_values", "flag_meanings"} & found.attrs.keys():
            values: Mapping[str, int] = variable.datatype.enum_dict
            found.attrs["flag_values"] = np.array(list(values.values()), variable.dtype)
            found.attrs["flag_meanings"] = " ".join("_".join(value.split()) for value in values)
        return found


def _attributes(owner: Any) -> dict[str, Any]:
    return {name: owner.getncattr(name) for name in owner.ncattrs()}


def _is_enumeration(variable: Any) -> bool:
    return isinstance(variable.datatype, importlib.import_module("netCDF4").EnumType)


def _unsupported(name: str, datatype: Any) -> str | None:
    """Return why a variable is not stored."""
    netCDF4 = importlib.import_module("netCDF4")  # noqa: N806 - its own spelling
    if isinstance(datatype, netCDF4.CompoundType):
        return f"is of the compound dtype {datatype.name!r}, and compound dtypes are not stored"
    if isinstance(datatype, netCDF4.VLType) and datatype.dtype is not str:
        return f"has lists of {datatype.dtype} of different lengths (vlen), which are not stored"
    try:
        check_name("array", name)
    except ValueError as error:
        return f"has a name that no array may have: {error}"
    return None
