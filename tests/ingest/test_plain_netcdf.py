"""Files that the C library reads alone: what they hold is what netCDF4 and xarray make of it."""

from __future__ import annotations

import warnings

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from atlas.ingest import plain_netcdf
from atlas.ingest.netcdf_file import open_netcdf
from atlas.ingest.plain_netcdf import open_plain
from tests.xarray.netcdf_files import ODD_FILES, write_odd_file

MANY = 10**6
CLASSIC = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF4_CLASSIC")
FORMATS = (*CLASSIC, "NETCDF3_64BIT_DATA", "NETCDF4")
LENGTHS = {"x": 3, "y": 2, "late": None}
LEFT = {"enum", "layouts"}
"""Odd files that are left to netCDF4."""


def shown(value):
    """A value with its type, as a NaN equals none."""
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value), [shown(part) for part in value]
    return type(value), getattr(value, "dtype", None), repr(value)


def contents(file):
    """All that an open file says, cells as bytes or lists."""
    found = {"dims": list(file.dims), "attrs": shown(file.attrs), "encoding": file.encoding, "groups": file.groups}
    for name in file.names:
        variable = file.open(name)
        encoding = shown(variable.encoding | {"source": None})
        variable = variable if isinstance(variable, xr.Variable) else variable.to_variable()
        is_text = variable.dtype == object
        cells = np.asarray(variable.values, object if is_text else None)
        values = cells.tolist() if is_text else cells.tobytes()
        found[name] = variable.dims, variable.shape, variable.dtype, values, shown(variable.attrs), encoding
    return found


def plain(path, most_cells=MANY):
    """What a file says that is plain, None of others."""
    with open_plain(path, path.read_bytes(), most_cells) as file:
        return None if file is None else contents(file)


def by_netcdf4(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_netcdf(path) as file:
            return contents(file)


names = st.text("abcdé_ 1", min_size=1, max_size=4).filter(lambda text: text[0] not in " 1_" and text[-1] != " ")
numbers = st.sampled_from(["i1", "i2", "i4", "f4", "f8"])
texts = st.sampled_from(["", "degC", "days since 1950-01-01", "Zürich", "a\nb"])


@st.composite
def attributes(draw, form):
    found = {}
    for name in draw(st.lists(names, max_size=3, unique=True)):
        kind = draw(st.sampled_from(["text", "number", "numbers", "none", "texts", "long"]))
        dtype = draw(numbers)
        found[name] = {
            "text": draw(texts),
            "number": np.dtype(dtype).type(draw(st.integers(-9, 99))),
            "numbers": np.array([1, 2, 3], dtype),
            "none": np.array([], dtype),
            "texts": ["a", "Zürich", ""] if form == "NETCDF4" else "a",
            "long": "long " * 1000,
        }[kind]
    return found


@st.composite
def files(draw):
    """A format, and variables with their dtype, dimensions, options and attributes."""
    form = draw(st.sampled_from(FORMATS))
    variables = []
    for name in draw(st.lists(names, max_size=4, unique=True)):
        dtype = draw(st.sampled_from(["i1", "i2", "i4", "f4", "f8", "S1"]))
        if form in ("NETCDF4", "NETCDF3_64BIT_DATA"):
            dtype = draw(st.sampled_from(["u1", "u2", "u4", "i8", "u8", dtype]))
        if form == "NETCDF4":
            dtype = draw(st.sampled_from([str, dtype, dtype]))
        dims = tuple(draw(st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True)))
        dims = ("late", *dims) if draw(st.booleans()) else dims
        options = {}
        if form.startswith("NETCDF4") and dtype is not str and dims:
            options = draw(
                st.sampled_from(
                    [{}, {"zlib": True}, {"zlib": True, "complevel": 9, "shuffle": False}, {"fletcher32": True}]
                )
            )
        if dtype is not str and draw(st.booleans()):
            options["fill_value"] = "x" if dtype == "S1" else 7
        variables.append((name, dtype, dims, options, draw(attributes(form))))
    return form, draw(attributes(form)), variables, draw(st.integers(0, 2))


def write(path, form, attrs, variables, rows):
    with netCDF4.Dataset(path, "w", format=form) as file:
        for name, length in LENGTHS.items():
            file.createDimension(name, length)
        file.setncatts(attrs)
        for name, dtype, dims, options, own in variables:
            variable = file.createVariable(name, dtype, dims, **options)
            variable.set_auto_maskandscale(False)
            variable.set_auto_chartostring(False)
            variable.setncatts(own)
            shape = tuple(rows if dim == "late" else LENGTHS[dim] for dim in dims)
            if 0 in shape:
                continue
            count = int(np.prod(shape))
            if dtype is str:
                variable[...] = np.array([f"é{at}" if at else "" for at in range(count)], object).reshape(shape)
            elif dtype == "S1":
                variable[...] = np.array([b"a", b"x", b""] * count)[:count].astype("S1").reshape(shape)
            else:
                variable[...] = np.arange(count).reshape(shape)


@given(files())
def test_what_they_hold_is_what_netcdf4_and_xarray_make_of_it(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("plain") / "a.nc"
    write(path, *found)
    expected = by_netcdf4(path)
    assert plain(path) == expected


@pytest.mark.parametrize("name", sorted(ODD_FILES.keys() - LEFT))
def test_odd_files_too(tmp_path, name):
    path = tmp_path / "a.nc"
    write_odd_file(name, path)
    assert plain(path) == by_netcdf4(path)


def lists(file):
    file.createVariable("v", file.createVLType("i4", "lists"), ("x",))


def enumeration(file):
    file.createVariable("v", file.createEnumType("u1", "kinds", {"a": 0}), ("x",))


def big_endian(file):
    file.createVariable("v", ">f4", ("x",), endian="big")


def odd_filter(file):
    options = {"compression": "szip", "szip_pixels_per_block": 2, "chunksizes": (4,)}
    file.createVariable("v", "f4", ("x",), **options)


class TestLeftToNetcdf4:
    @pytest.mark.parametrize(
        "add", [lists, enumeration, big_endian, odd_filter, lambda file: file.createGroup("inner")]
    )
    def test_other_contents(self, tmp_path, add):
        with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
            file.createDimension("x", 4)
            file.createVariable("t", "f4", ("x",))[:] = 1
            add(file)
        assert plain(tmp_path / "a.nc") is None

    def test_many_cells(self, tmp_path):
        write(tmp_path / "a.nc", "NETCDF4", {}, [("t", "f4", ("x", "y"), {}, {})], 0)
        assert plain(tmp_path / "a.nc", most_cells=6) is not None
        assert plain(tmp_path / "a.nc", most_cells=5) is None

    @pytest.mark.parametrize("data", [b"", b"CDF", b"no NetCDF", b"\x89HDF\r\n\x1a\n"])
    def test_what_is_no_netcdf(self, tmp_path, data):
        (tmp_path / "a.nc").write_bytes(data)
        assert plain(tmp_path / "a.nc") is None

    def test_where_the_library_does_not_show_its_functions(self, tmp_path, monkeypatch):
        write(tmp_path / "a.nc", "NETCDF4", {}, [], 0)
        plain_netcdf._library.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(plain_netcdf.ctypes, "CDLL", lambda path: object())
            assert plain(tmp_path / "a.nc") is None
        plain_netcdf._library.cache_clear()
        assert plain(tmp_path / "a.nc") is not None


def test_cells_that_cannot_be_read_raise_as_netcdf4_does(tmp_path):
    path = tmp_path / "a.nc"
    write(path, "NETCDF4", {}, [("t", "f8", ("x", "y"), {"fletcher32": True}, {})], 0)
    data = bytearray(path.read_bytes())
    at = data.find(np.arange(6.0).tobytes())
    data[at + 9] ^= 1
    path.write_bytes(data)
    said = []
    for opened in (open_netcdf(path), open_plain(path, bytes(data), MANY)):
        with opened as file, pytest.raises(RuntimeError) as caught:
            np.asarray(file.open("t").data)
        said.append(str(caught.value))
    assert said[0] == said[1] == "NetCDF: HDF error"
