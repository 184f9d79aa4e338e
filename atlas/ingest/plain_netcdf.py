"""A NetCDF file of nothing but small variables of numbers and text, read by the C library alone.

netCDF4 takes two thirds of the time of such a file for the objects of Python that stand for what is in it. Here the
functions of the C library that netCDF4 has loaded are called (NetCDF-C, netcdf.h and netcdf_mem.h), and give what
netCDF4 and xarray make of them. Other files, and those that fail as they are opened, are left to those two.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import sys
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from xarray.coding.strings import create_vlen_dtype

from atlas.ingest.classic_netcdf import MAGIC
from atlas.xarray import LoadedVariable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["PlainFile", "open_plain"]

_CHAR, _STRING = 2, 12
"""Types of NetCDF for text."""
_DTYPES: Final = {
    kind: np.dtype(text)
    for kind, text in enumerate(("i1", "S1", "i2", "i4", "f4", "f8", "u1", "u2", "u4", "i8", "u8"), start=1)
}
"""dtypes by the types of NetCDF."""
_OWN_ENDIAN: Final = (0, 1 if sys.byteorder == "little" else 2)
"""Byte orders that are those of this machine."""
_GLOBAL, _CHUNKED = -1, 0
_MOST_NAME, _MOST_AXES = 256, 1024
_MOST_FILTERS = 32
_FEW_BYTES = 1024
"""Bytes of an attribute up to which one buffer takes all."""
_OWN_FILTERS: Final = frozenset({1, 2, 3})
"""Filters of HDF5 by number that `filters()` of netCDF4 has a key for: deflate, shuffle, Fletcher-32 (H5Zpublic.h)."""
_NO_FILTERS: Final = {
    "zlib": False, "szip": False, "zstd": False, "bzip2": False, "blosc": False, "shuffle": False, "complevel": 0,
    "fletcher32": False,
}  # fmt: skip
"""What netCDF4 says of a variable without filters."""
_DIGITS = "least_significant_digit"


@contextmanager
def open_plain(path: Path, data: bytes, most_cells: int) -> Iterator[PlainFile | None]:
    """Open a file whose bytes are `data`; None where it has other contents, or a variable more than `most_cells`."""
    library, number, is_classic = _library(), c_int(), data.startswith(MAGIC)
    if library is None or _open(library, path, None if is_classic else data, byref(number)):
        yield None
        return
    try:
        try:
            file = PlainFile(library, number.value, most_cells, is_classic=is_classic)
        except (_LeftError, RuntimeError, UnicodeDecodeError, KeyError):
            file = None
        yield file
    finally:
        library.nc_close(number)


def _open(library: Any, path: Path, data: bytes | None, number: Any) -> Any:
    """Open a file, of `data` in memory if there are any, and return the code of what went wrong."""
    # Memory is faster. Some classic files cannot be opened there: the library rounds their size up to a page.
    if data is None:
        return library.nc_open(os.fsencode(path), 0, number)
    return library.nc_open_mem(b"memory", 0, c_size_t(len(data)), data, number)


class _LeftError(Exception):
    """A file is left to netCDF4."""


class PlainFile:
    """A file that the C library has opened; see `OpenFile`. Raises `RuntimeError` where the library fails.

    Of what the library is called with, all but whole numbers and pointers to what is held here says its type.
    """

    def __init__(self, library: Any, number: int, most_cells: int, *, is_classic: bool) -> None:
        self._library, self._number, self._is_classic = library, number, is_classic
        self._count, self._type, self._length = c_int(), c_int(), c_size_t()
        self._to_count, self._to_type, self._to_length = byref(self._count), byref(self._type), byref(self._length)
        self._name, self._axes = ctypes.create_string_buffer(_MOST_NAME + 1), (c_int * _MOST_AXES)()
        self._values = ctypes.create_string_buffer(_FEW_BYTES)
        self.groups = list[str]()
        self.coords = frozenset[str]()
        self.lost_attributes = dict[str, str]()
        for inquire in (library.nc_inq_grps, library.nc_inq_typeids):
            self._check(inquire(number, self._to_count, None))
            if self._count.value:
                raise _LeftError
        self._dims = {at: self._dimension(at) for at in self._numbers(library.nc_inq_dimids, 0)}
        self._check(library.nc_inq_natts(number, self._to_count))
        self.attrs = self._attributes(_GLOBAL, self._count.value)
        self._variables = dict(map(self._describe, self._numbers(library.nc_inq_varids)))
        if any(math.prod(variable.shape) > most_cells for variable in self._variables.values()):
            raise _LeftError

    @property
    def dims(self) -> Collection[str]:
        """Names of its dimensions."""
        return [name for name, _ in self._dims.values()]

    @property
    def names(self) -> list[str]:
        """Names of its variables."""
        return list(self._variables)

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding of the dataset."""
        return {"unlimited_dims": {self._dims[at][0] for at in self._numbers(self._library.nc_inq_unlimdims)}}

    def unsupported(self) -> dict[str, str]:
        """Return nothing: what is not stored is in no plain file."""
        return {}

    def open(self, name: str) -> LoadedVariable:
        """Return a variable undecoded, with its cells."""
        found = self._variables[name]
        attrs = found.attrs.copy()
        dtype: Any = _DTYPES.get(found.kind, str)
        if found.kind == _STRING:
            cells = self._strings(found, attrs.get("_Encoding", "utf-8"))
        else:
            cells = np.empty(found.shape, dtype)
            if cells.size:
                self._check(self._library.nc_get_var(self._number, found.number, c_void_p(cells.ctypes.data)))
        if found.kind == _CHAR and "_FillValue" in attrs:
            attrs["_FillValue"] = np.bytes_(attrs["_FillValue"])
        encoding: dict[str, Any] = {"dtype": dtype}
        if not self._is_classic:
            self._add_layout(found, encoding)
        if _DIGITS in attrs:
            encoding[_DIGITS] = attrs.pop(_DIGITS)
        encoding["source"], encoding["original_shape"] = "", found.shape
        return LoadedVariable(found.dims, cells, attrs, encoding)

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(self._library.nc_strerror(code).decode())

    def _numbers(self, inquire: Any, *arguments: int) -> list[int]:
        """Return the numbers by which the library knows dimensions or variables."""
        self._check(inquire(self._number, self._to_count, None, *arguments))
        found = (c_int * self._count.value)()
        self._check(inquire(self._number, self._to_count, found, *arguments))
        return list(found)

    def _dimension(self, at: int) -> tuple[str, int]:
        """Return the name and length of a dimension."""
        self._check(self._library.nc_inq_dim(self._number, at, self._name, self._to_length))
        return self._name.value.decode(), self._length.value

    def _describe(self, at: int) -> tuple[str, _Described]:
        """Return the name of a variable and what is said of it."""
        attributes, axes, name = c_int(), self._axes, self._name
        self._check(
            self._library.nc_inq_var(self._number, at, name, self._to_type, self._to_count, axes, byref(attributes))
        )
        kind, own = self._type.value, [self._dims[dim] for dim in axes[: self._count.value]]
        if (kind not in _DTYPES and kind != _STRING) or not (self._is_classic or self._is_common(at)):
            raise _LeftError
        text, dims, shape = name.value.decode(), tuple(dim for dim, _ in own), tuple(size for _, size in own)
        return text, _Described(at, kind, dims, shape, self._attributes(at, attributes.value))

    def _is_common(self, variable: int) -> bool:
        """Return whether a variable of an HDF5 file has the byte order of this machine and no odd filters."""
        library, filters = self._library, (c_uint * _MOST_FILTERS)()
        self._check(library.nc_inq_var_endian(self._number, variable, self._to_count))
        self._check(library.nc_inq_var_filter_ids(self._number, variable, self._to_length, filters))
        return self._count.value in _OWN_ENDIAN and _OWN_FILTERS.issuperset(filters[: self._length.value])

    def _attributes(self, variable: int, count: int) -> dict[str, Any]:
        """Return attributes as netCDF4 has them."""
        library, number, name = self._library, self._number, self._name
        attrs: dict[str, Any] = {}
        for at in range(count):
            self._check(library.nc_inq_attname(number, variable, at, name))
            self._check(library.nc_inq_att(number, variable, name, self._to_type, self._to_length))
            key, kind, length = name.value.decode(), self._type.value, self._length.value
            if kind == _STRING:
                attrs[key] = self._texts(variable, length)
                continue
            if kind not in _DTYPES:
                raise _LeftError
            dtype = _DTYPES[kind]
            size = length * dtype.itemsize
            values = self._values if size <= _FEW_BYTES else ctypes.create_string_buffer(size)
            self._check(library.nc_get_att(number, variable, name, values))
            data = ctypes.string_at(values, size)
            if kind != _CHAR:
                attrs[key] = np.frombuffer(data, dtype)[0] if length == 1 else np.frombuffer(data, dtype).copy()
            elif key == "_FillValue":
                attrs[key] = data
            else:
                attrs[key] = data.decode(errors="replace").replace("\0", "")
        return attrs

    def _texts(self, variable: int, count: int) -> str | list[str]:
        """Return the attribute that was asked for last, which is text of variable length."""
        library, pointers = self._library, (c_char_p * count)()
        self._check(library.nc_get_att_string(self._number, variable, self._name, pointers))
        try:
            found = [(text or b"").decode(errors="replace").replace("\0", "") for text in pointers]
        finally:
            library.nc_free_string(c_size_t(count), pointers)
        return found[0] if count == 1 else found

    def _strings(self, variable: _Described, encoding: str) -> np.ndarray[Any, Any]:
        """Return the cells of a variable of text of variable length."""
        library, pointers = self._library, (c_char_p * math.prod(variable.shape))()
        cells = np.empty(len(pointers), create_vlen_dtype(str))  # type: ignore[no-untyped-call]
        if len(pointers):
            self._check(library.nc_get_var(self._number, variable.number, pointers))
            try:
                cells[:] = [(text or b"").decode(encoding) for text in pointers]
            finally:
                library.nc_free_string(c_size_t(len(pointers)), pointers)
        return cells.reshape(variable.shape)

    def _add_layout(self, variable: _Described, encoding: dict[str, Any]) -> None:
        """Add how an HDF5 file compresses and chunks a variable."""
        library, asked = self._library, (self._number, variable.number)
        storage, lengths = c_int(), (c_size_t * max(1, len(variable.shape)))()
        self._check(library.nc_inq_var_chunking(*asked, byref(storage), lengths))
        encoding.update(_NO_FILTERS)
        if storage.value != _CHUNKED:
            encoding["contiguous"], encoding["chunksizes"] = True, None
            return
        shuffle, deflate, level, checksum = c_int(), c_int(), c_int(), c_int()
        self._check(library.nc_inq_var_deflate(*asked, byref(shuffle), byref(deflate), byref(level)))
        self._check(library.nc_inq_var_fletcher32(*asked, byref(checksum)))
        chunks = tuple(lengths[: len(variable.shape)])
        encoding |= {
            "zlib": bool(deflate.value),
            "shuffle": bool(shuffle.value),
            "complevel": level.value if deflate.value else 0,
            "fletcher32": bool(checksum.value),
            "contiguous": False,
            "chunksizes": chunks,
            "preferred_chunks": dict(zip(variable.dims, chunks, strict=True)),
        }


class _Described(NamedTuple):
    """What a file says of a variable."""

    number: int
    """The number by which the library knows it."""
    kind: int
    """Its type, one of NetCDF."""
    dims: tuple[str, ...]
    """Names of its axes."""
    shape: tuple[int, ...]
    """Its shape."""
    attrs: dict[str, Any]
    """Its attributes."""


@cache
def _library() -> Any:
    """Return the C library that netCDF4 has loaded; None where a build of it does not show its functions."""
    try:
        library = ctypes.CDLL(importlib.import_module("netCDF4._netCDF4").__file__)
        library.nc_strerror.restype = c_char_p
        _ = library.nc_open_mem, library.nc_inq_var_filter_ids  # what builds may lack
    except (AttributeError, OSError):
        return None
    return library
