"""A NetCDF file that netCDF4 has opened, its variables as xarray opens them, undecoded.

Imports netCDF4 when a file is opened.
"""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import NetCDF4DataStore

from atlas.ingest.groups import GroupPart, flatten_groups
from atlas.ingest.hidden_contents import find_hidden

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import xarray as xr

__all__ = ["NetcdfFile", "open_netcdf"]


@contextmanager
def open_netcdf(path: Path, *, flatten: bool = False) -> Iterator[NetcdfFile]:
    """Open a file; with `flatten`, what is in groups counts as in the root. Raises what netCDF4 raises.

    Raises `InvalidValueError` where two variables would have one name then.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        file = _netcdf4().Dataset(path)
    # netCDF4 leaves out variables of some dtypes.
    found = (re.search(r"variable '(.*)' has unsupported (.*)datatype", str(one.message)) for one in warned)
    unread = {match[1]: f"is of a {match[2]}dtype that netCDF4 cannot read" for match in found if match}
    with file:
        hidden = find_hidden(path, file)
        parts = flatten_groups(file) if flatten else [GroupPart("", file)]
        yield NetcdfFile(parts, hidden.variables | unread, hidden.attributes)


class NetcdfFile:
    """A file that netCDF4 has opened, or parts of one; see `OpenFile`."""

    def __init__(self, parts: list[GroupPart], unread: dict[str, str], lost_attributes: dict[str, str]) -> None:
        self._parts, self._unread = parts, unread
        self._variables = {
            part.prefix + name: (part, variable) for part in parts for name, variable in part.group.variables.items()
        }
        known = {part.group.path for part in parts}
        self.groups = [name for part in parts for name, group in part.group.groups.items() if group.path not in known]
        self.coords = frozenset[str]()
        self.lost_attributes = lost_attributes

    @property
    def dims(self) -> Collection[str]:
        """Names of its dimensions."""
        return [part.prefix + name for part in self._parts for name in part.group.dimensions]

    @property
    def names(self) -> list[str]:
        """Names of its variables."""
        return list(self._variables)

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""
        return {part.prefix + name: value for part in self._parts for name, value in _attributes(part.group).items()}

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding of the dataset."""
        dims = ((part.prefix + name, dim) for part in self._parts for name, dim in part.group.dimensions.items())
        return {"unlimited_dims": {name for name, dim in dims if dim.isunlimited()}}

    def unsupported(self) -> dict[str, str]:
        """Return the names of what is of a dtype that is not stored or cannot be read, with the reasons."""
        found = {name: _unsupported(variable.datatype) for name, (_, variable) in self._variables.items()}
        return {name: reason for name, reason in found.items() if reason is not None} | self._unread

    def open(self, name: str) -> xr.Variable:
        """Return a variable as xarray opens it. An enumeration says the names of its values, as CF does (3.5)."""
        part, variable = self._variables[name]
        store = NetCDF4DataStore(part.group)  # type: ignore[no-untyped-call]
        found: xr.Variable = store.open_store_variable(variable.name, variable)
        found.dims, found.attrs = part.dims(variable), part.named(found.attrs)
        if _is_enumeration(variable) and not {"flag_values", "flag_meanings"} & found.attrs.keys():
            values: Mapping[str, int] = variable.datatype.enum_dict
            found.attrs["flag_values"] = np.array(list(values.values()), variable.dtype)
            found.attrs["flag_meanings"] = " ".join("_".join(value.split()) for value in values)
        return found


def _attributes(owner: Any) -> dict[str, Any]:
    return {name: owner.getncattr(name) for name in owner.ncattrs()}


def _is_enumeration(variable: Any) -> bool:
    return isinstance(variable.datatype, _netcdf4().EnumType)


def _unsupported(datatype: Any) -> str | None:
    """Return why variables of a dtype are not stored."""
    if isinstance(datatype, _netcdf4().CompoundType):
        return f"is of the compound dtype {datatype.name!r}, and compound dtypes are not stored"
    if isinstance(datatype, _netcdf4().VLType) and datatype.dtype is not str:
        return f"has lists of {datatype.dtype} of different lengths (vlen), which are not stored"
    return None


@cache
def _netcdf4() -> Any:
    return importlib.import_module("netCDF4")
