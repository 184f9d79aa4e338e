"""NetCDF files to compare: the header of one as values, its cells as bytes, and a folder of odd ones."""

from __future__ import annotations

import netCDF4
import numpy as np

__all__ = ["ODD_FILES", "cells", "header", "write_odd_file"]


def header(path):
    """All that `ncdump -h` prints, chunks, filters and byte order too, in order and with the types of values."""
    with netCDF4.Dataset(path) as file:
        return {
            "format": file.data_model,
            "dimensions": [(dim.name, len(dim), dim.isunlimited()) for dim in file.dimensions.values()],
            "types": {name: kind.enum_dict for name, kind in file.enumtypes.items()},
            "attributes": _attributes(file),
            "variables": [(name, _variable(variable)) for name, variable in file.variables.items()],
        }


def _variable(variable):
    kind = variable.datatype
    return {
        "dtype": kind.name if isinstance(kind, netCDF4.EnumType) else str(variable.dtype),
        "dimensions": variable.dimensions,
        "chunks": variable.chunking(),
        "filters": variable.filters(),
        "endian": variable.endian(),
        "attributes": _attributes(variable),
    }


def _attributes(owner):
    found = []
    for name in owner.ncattrs():
        value = owner.getncattr(name)
        array = np.asarray(value)
        found.append((name, type(value).__name__, array.dtype.str, array.shape, array.tolist().__repr__()))
    return found


def cells(path):
    """The cells of each variable as the file holds them: bytes, or a list of text."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        return {
            name: array.tolist() if array.dtype == object else (array.dtype.str, array.shape, array.tobytes())
            for name, array in ((name, np.asarray(variable[...])) for name, variable in file.variables.items())
        }


def _packed(file):
    file.createDimension("x", 4)
    for name, kind, options in (
        ("packed", "i2", {"fill_value": -9}),
        ("packed_to_double", "i2", {"fill_value": -9}),
        ("unsigned", "i1", {"fill_value": -1}),
    ):
        variable = file.createVariable(name, kind, ("x",), **options)
        variable.set_auto_maskandscale(False)
        variable[:] = [1, -9, 3, -1]
    file["packed"].setncatts({"scale_factor": np.float32(0.5), "add_offset": np.float32(10), "units": "K"})
    file["packed_to_double"].setncatts({"scale_factor": 0.1, "add_offset": -3.0})
    file["unsigned"].setncatts({"_Unsigned": "true", "scale_factor": 2.0})


def _missing(file):
    file.createDimension("x", 4)
    both = file.createVariable("both", "f4", ("x",), fill_value=-999.0)
    both.missing_value = np.float32(-999)
    both[:] = [1, -999, 3, 4]
    only = file.createVariable("missing_value", "i4", ("x",), fill_value=False)
    only.missing_value = np.int32(-1)
    only.set_auto_maskandscale(False)
    only[:] = [-1, 2, 3, 4]
    file.createVariable("whole", "i4", ("x",), fill_value=7)[:] = [1, 2, 3, 4]
    file.createVariable("nan", "f8", ("x",), fill_value=np.nan)[:] = [1, np.nan, 3, 4]
    file.createVariable("none", "f8", ("x",), fill_value=False)[:] = [1, np.nan, 3, 4]
    file.createVariable("default", "f8", ("x",))[:] = [1, np.nan, 3, 4]


def _times(file):
    file.createDimension("x", 3)
    for name, kind, units, calendar in (
        ("days", "i4", "days since 2000-01-01", "standard"),
        ("hours", "f8", "hours since 1990-06-01 12:00:00", "proleptic_gregorian"),
        ("noleap", "i4", "days since 2001-02-27", "noleap"),
        ("thirty", "f8", "days since 2001-02-27", "360_day"),
    ):
        variable = file.createVariable(name, kind, ("x",), fill_value=False)
        variable.setncatts({"units": units, "calendar": calendar})
        variable[:] = [0, 1, 2]
    lead = file.createVariable("lead", "i4", ("x",), fill_value=False)
    lead.units = "hours"
    lead[:] = [6, 12, 18]


def _unlimited(file):
    file.createDimension("time", None)
    file.createDimension("x", 4)
    time = file.createVariable("time", "f8", ("time",), fill_value=False)
    time.setncatts({"units": "days since 2000-01-01", "calendar": "standard", "axis": "T", "bounds": "time_bounds"})
    time[:] = [0.5, 1.5]
    file.createDimension("bounds", 2)
    file.createVariable("time_bounds", "f8", ("time", "bounds"), fill_value=False)[:] = [[0, 1], [1, 2]]
    file.createVariable("t", "f4", ("time", "x"), zlib=True, complevel=6, chunksizes=(1, 4))[:] = np.ones((2, 4))


def _layouts(file):
    file.createDimension("y", 8)
    file.createDimension("x", 6)
    options = {
        "zlib_and_shuffle": {"zlib": True, "complevel": 3, "shuffle": True, "chunksizes": (4, 3)},
        "zlib_alone": {"zlib": True, "complevel": 9, "shuffle": False},
        "checksums": {"fletcher32": True, "chunksizes": (8, 6)},
        "contiguous": {"contiguous": True},
        "digits": {"zlib": True, "least_significant_digit": 2},
    }
    for name, chosen in options.items():
        file.createVariable(name, "f4", ("y", "x"), **chosen)[:] = np.arange(48).reshape(8, 6)
    file.createVariable("big", ">f4", ("y", "x"), endian="big")[:] = np.arange(48).reshape(8, 6)


def _coordinates(file):
    file.createDimension("y", 2)
    file.createDimension("x", 3)
    t = file.createVariable("t", "f4", ("y", "x"), fill_value=-1.0)
    t.setncatts({"coordinates": "lat lon height", "grid_mapping": "crs", "cell_methods": "time: mean"})
    t[:] = np.arange(6).reshape(2, 3)
    for name in ("lat", "lon"):
        file.createVariable(name, "f8", ("y", "x"), fill_value=False)[:] = np.arange(6).reshape(2, 3)
        file[name].units = "degrees"
    file.createVariable("height", "f8", (), fill_value=False)[...] = 2.0
    file.createVariable("crs", "i4", ())[...] = 0
    file["crs"].grid_mapping_name = "latitude_longitude"
    flags = file.createVariable("flags", "i1", ("y", "x"), fill_value=np.int8(-127))
    flags.setncatts({"flag_values": np.array([0, 1, 2], "i1"), "flag_meanings": "good bad ugly"})
    flags[:] = [[0, 1, 2], [2, 1, 0]]
    file.setncatts({"Conventions": "CF-1.8", "levels": np.array([1, 2], "i4"), "version": np.float32(1.5)})


def _texts(file):
    file.createDimension("x", 3)
    file.createVariable("text", str, ("x",))[:] = np.array(["a", "ümlaut", ""], object)
    file["text"].long_name = "names"


def _characters(file):
    file.createDimension("x", 3)
    file.createDimension("length", 6)
    for name, options in (("bytes", {}), ("text", {}), ("filled", {"fill_value": b"-"}), ("packed", {"zlib": True})):
        variable = file.createVariable(name, "S1", ("x", "length"), **options)
        variable.set_auto_chartostring(False)
        variable[:] = np.array(["Zürch".encode(), b"ab", b""], "S6").view("S1").reshape(3, 6)
    file["text"]._Encoding = "utf-8"
    file["text"].long_name = "names"
    file.createVariable("single", "S1", ("x",))[:] = np.array([b"a", b"b", b"c"])
    file.createVariable("scalar", "S1", ())[...] = b"z"


def _enum(file):
    file.createDimension("x", 3)
    clouds = file.createEnumType("u1", "cloud_t", {"clear": 0, "cumulus": 1, "missing": 255})
    file.createVariable("clouds", clouds, ("x",), fill_value=False)[:] = [0, 1, 1]


def _empty(file):
    file.createDimension("none", 0)
    file.createDimension("time", None)
    file.createVariable("a", "i2", ("none",), fill_value=-9)
    file.createVariable("b", "f4", ("time", "none"))
    file.createVariable("time", "f8", ("time",)).units = "days since 2000-01-01"
    file.createVariable("texts", str, ("none",))


def _classic(file):
    file.createDimension("time", None)
    file.createDimension("x", 2)
    file.createVariable("t", "i2", ("time", "x"), fill_value=-9)[:] = [[1, 2], [3, -9]]
    file["t"].scale_factor = 0.5


ODD_FILES = {
    "packed": (_packed, "NETCDF4"),
    "missing": (_missing, "NETCDF4"),
    "times": (_times, "NETCDF4"),
    "unlimited": (_unlimited, "NETCDF4"),
    "layouts": (_layouts, "NETCDF4"),
    "coordinates": (_coordinates, "NETCDF4"),
    "texts": (_texts, "NETCDF4"),
    "characters": (_characters, "NETCDF4"),
    "enum": (_enum, "NETCDF4"),
    "empty": (_empty, "NETCDF4"),
    "classic": (_classic, "NETCDF3_CLASSIC"),
}
"""How to write each odd file, by its name, and in which format."""


def write_odd_file(name, path):
    """Write the odd file `name` at `path`."""
    write, kind = ODD_FILES[name]
    with netCDF4.Dataset(path, "w", format=kind) as file:
        write(file)
