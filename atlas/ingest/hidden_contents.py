"""What netCDF4 leaves out of an HDF5 file without a word: variables and attributes of dtypes that NetCDF does not have.

Imports h5py for a file that the NetCDF library did not write.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any

from atlas.ingest.classic_netcdf import MAGIC

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GROUP_JOINT", "Hidden", "find_hidden", "hides_nothing"]

GROUP_JOINT = "__"
"""What joins the names of groups and of what is in them, as cfdm and netcdf-flattener have it."""
_SIGNATURE = b"_NCProperties"
"""The name of the attribute by which the NetCDF library, since 4.4.1, and those that write like it sign a file."""
_OWN_ATTRIBUTES = frozenset(
    {"CLASS", "DIMENSION_LABELS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST", "_NCProperties", "_Netcdf4Coordinates",
     "_Netcdf4Dimid", "_nc3_strict"}
)  # fmt: skip
"""Attributes that say what dimensions are, which NetCDF says otherwise."""
_KINDS = ("REFERENCE", "COMPOUND", "ARRAY", "OPAQUE", "BITFIELD", "VLEN", "ENUM", "TIME")
"""Classes of dtypes that HDF5 has and netCDF4 does not always read."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What is left out, with the reasons."""

    variables: dict[str, str] = field(default_factory=dict)
    """By the names of variables."""
    attributes: dict[str, str] = field(default_factory=dict)
    """By the names of attributes, those of a variable after its name and a dot."""


def find_hidden(path: Path, file: Any) -> Hidden:
    """Return what a file has that `file`, which is the file as netCDF4 has opened it, does not show.

    Names of what is in groups have the groups before them, joined by "__".
    """
    found = Hidden()
    if file.disk_format != "HDF5":
        return found
    with path.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as data:
        if hides_nothing(data):
            return found
    with importlib.import_module("h5py").File(path, "r") as opened:
        _compare("", opened, file, found)
    return found


def _compare(prefix: str, opened: Any, shown: Any, found: Hidden) -> None:
    """Add what a group has and the same group as netCDF4 opened it does not show."""
    dataset = importlib.import_module("h5py").Dataset
    _compare_attributes(prefix, opened.attrs, shown, found)
    for name in opened:
        if name in shown.groups:
            _compare(f"{prefix}{name}{GROUP_JOINT}", opened[name], shown.groups[name], found)
        elif name in shown.variables:
            _compare_attributes(f"{prefix}{name}.", opened[name].attrs, shown.variables[name], found)
        elif name not in shown.dimensions and isinstance(opened[name], dataset):
            found.variables[f"{prefix}{name}"] = f"is of {_kind(opened[name].id.get_type())} that netCDF4 cannot read"


def hides_nothing(data: bytes | mmap) -> bool:
    """Return whether the NetCDF library has written the file of these bytes."""
    # Not asked of netCDF4: version 4.10 of its library ends the process for some files that earlier ones have signed.
    return data[: len(MAGIC)] == MAGIC or data.find(_SIGNATURE) >= 0


def _compare_attributes(prefix: str, attributes: Any, shown: Any, found: Hidden) -> None:
    for name in set(attributes) - set(shown.ncattrs()) - _OWN_ATTRIBUTES:
        kind = _kind(attributes.get_id(name).get_type())
        found.attributes[f"{prefix}{name}"] = f"is of {kind} that netCDF4 cannot read"


def _kind(datatype: Any) -> str:
    h5t = importlib.import_module("h5py").h5t
    named = {getattr(h5t, name): name.lower() for name in _KINDS if hasattr(h5t, name)}
    kind = named.get(datatype.get_class())
    return "a dtype" if kind is None else f"a dtype of the class {kind}"
