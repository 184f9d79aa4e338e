from __future__ import annotations

import math

import numpy as np
import pytest

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnsupportedDtypeError
from atlas.format.dtypes import DATATYPES, check_fill, parse_dtype

NUMBERS = [name for name in DATATYPES if name not in {"string", "timestamp_nanoseconds"}]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_dtype_by_every_spelling(name):
    dtype = np.dtype(name)
    spellings = [
        name,
        name.upper(),
        f" {name} ",
        dtype,
        dtype.type,
        dtype.newbyteorder(">"),
        dtype.str,
        dtype.newbyteorder(">").str,
    ]
    short = f"{name[0]}{dtype.itemsize * 8}"
    assert {parse_dtype(spelling).name for spelling in [*spellings, short]} == {name}
    assert parse_dtype(name).memory == parse_dtype(name).cell == dtype.newbyteorder("<")


@pytest.mark.parametrize(
    "dtype", ["timestamp_ns", "TIMESTAMP_NANOSECONDS", "datetime64[ns]", "M8[ns]", ">M8[ns]", np.dtype("M8[ns]")]
)
def test_timestamps(dtype):
    datatype = parse_dtype(dtype)
    assert datatype is DATATYPES["timestamp_nanoseconds"]
    assert (datatype.memory, datatype.cell) == (np.dtype("<M8[ns]"), np.dtype("<i8"))


@pytest.mark.parametrize("dtype", ["string", "str", str, object, "O", "U", "<U5", "S3", np.dtypes.StringDType(), bytes])
def test_strings(dtype):
    assert parse_dtype(dtype) is DATATYPES["string"]
    assert (DATATYPES["string"].cell, DATATYPES["string"].itemsize) == (None, 1)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        bool,
        "float16",
        "f2",
        "complex64",
        "M8[s]",
        "m8[ns]",
        "V3",
        "binary",
        "list<int8>",
        "fixed_size_list",
        np.longdouble,
    ],
)
def test_dtypes_that_are_not_stored(dtype):
    with pytest.raises(UnsupportedDtypeError, match="dtypes supported are int8, "):
        parse_dtype(dtype)


@pytest.mark.parametrize("dtype", ["", "float31", "numbers", "int 8"])
def test_text_that_names_no_dtype(dtype):
    with pytest.raises(InvalidValueError, match="unknown dtype"):
        parse_dtype(dtype)


@pytest.mark.parametrize("dtype", [None, 5, 1.5, {}, [1]])
def test_what_cannot_be_a_dtype(dtype):
    with pytest.raises((InvalidTypeError, UnsupportedDtypeError)):
        parse_dtype(dtype)


@pytest.mark.parametrize("name", [name for name in NUMBERS if "int" in name])
def test_fills_of_integers(name):
    limits = np.iinfo(name)
    datatype = parse_dtype(name)
    for value in (0, int(limits.min), int(limits.max), np.dtype(name).type(3), np.int64(5)):
        found = check_fill(datatype, value)
        assert type(found) is int
        assert found == value
    for value in (int(limits.min) - 1, int(limits.max) + 1, 10**30):
        with pytest.raises(OutOfRangeError, match="is outside"):
            check_fill(datatype, value)
    for other in (1.0, True, np.True_, "1", b"1", [1], np.float32(1), np.datetime64(1, "ns"), np.timedelta64(1, "ns")):
        with pytest.raises(InvalidTypeError):
            check_fill(datatype, other)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_fills_of_floats(name):
    datatype = parse_dtype(name)
    for value in (0, -0.0, 1.5, math.inf, -math.inf, np.float32(0.5), np.int8(3), 10**20):
        found = check_fill(datatype, value)
        assert type(found) is float
        assert found == value
    assert math.isnan(check_fill(datatype, math.nan))
    assert math.copysign(1, check_fill(datatype, -0.0)) == -1
    for other in (True, "1", None.__class__, [1.0], np.datetime64(1, "ns")):
        with pytest.raises(InvalidTypeError):
            check_fill(datatype, other)
    with pytest.raises(OutOfRangeError):
        check_fill(datatype, 10**400)
    if name == "float32":
        with pytest.raises(OutOfRangeError, match="too large for float32"):
            check_fill(datatype, 1e39)


def test_fills_of_strings():
    datatype = parse_dtype("string")
    assert check_fill(datatype, "Ålesund") == "Ålesund"
    assert type(check_fill(datatype, np.str_("a"))) is str
    assert check_fill(datatype, "\udcc3\udca9") == "é"
    with pytest.raises(InvalidValueError, match="no UTF-8"):
        check_fill(datatype, "a\ud800")
    for other in (b"a", 1, ["a"], 1.5):
        with pytest.raises(InvalidTypeError):
            check_fill(datatype, other)


def test_fills_of_timestamps():
    datatype = parse_dtype("timestamp_nanoseconds")
    assert check_fill(datatype, 5) == 5
    assert check_fill(datatype, np.datetime64(2, "s")) == 2 * 10**9
    for unit in ("ns", "D"):
        assert check_fill(datatype, np.datetime64("NaT", unit)) == -(2**63)
    for value in (2**63, np.datetime64("9999-01-01"), np.datetime64(10**15, "Y")):
        with pytest.raises(OutOfRangeError, match=f"fill_value {value} "):
            check_fill(datatype, value)
    for value in (np.datetime64(1, "ps"), np.datetime64(-(2**63) + 1, "as")):
        with pytest.raises(OutOfRangeError, match="no whole nanosecond"):
            check_fill(datatype, value)
    for other in (1.0, True, "2020-01-01", np.timedelta64(1, "ns")):
        with pytest.raises(InvalidTypeError):
            check_fill(datatype, other)


@pytest.mark.parametrize("name", DATATYPES)
def test_no_fill(name):
    assert check_fill(parse_dtype(name), None) is None
