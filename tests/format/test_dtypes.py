from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnsupportedDtypeError
from atlas.format.dtypes import DATATYPES, check_fill, exact_times, parse_dtype

NUMBERS = [name for name, datatype in DATATYPES.items() if datatype.kind in {"int", "uint", "float"}]
TIMES = {name: datatype.memory for name, datatype in DATATYPES.items() if datatype.has_nat}


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
    short = [] if name in {"int8", "uint8", "float16"} else [f"{name[0]}{dtype.itemsize * 8}"]
    assert {parse_dtype(spelling).name for spelling in [*spellings, *short]} == {name}
    assert parse_dtype(name).memory == parse_dtype(name).cell == dtype.newbyteorder("<")


@pytest.mark.parametrize(
    "dtype", ["timestamp_ns", "TIMESTAMP_NANOSECONDS", "datetime64[ns]", "M8[ns]", ">M8[ns]", np.dtype("M8[ns]")]
)
def test_timestamps(dtype):
    datatype = parse_dtype(dtype)
    assert datatype is DATATYPES["timestamp_nanoseconds"]
    assert (datatype.memory, datatype.cell) == (np.dtype("<M8[ns]"), np.dtype("<i8"))


@pytest.mark.parametrize("name", TIMES)
def test_times_by_every_spelling(name):
    dtype = TIMES[name]
    spellings = [
        name,
        name.upper(),
        f" {name} ",
        dtype,
        dtype.newbyteorder(">"),
        dtype.str,
        dtype.newbyteorder(">").str,
    ]
    assert {parse_dtype(spelling).name for spelling in [*spellings, dtype.name, dtype.name.upper()]} == {name}
    assert (parse_dtype(name).memory, parse_dtype(name).cell) == (dtype, np.dtype("<i8"))


@pytest.mark.parametrize("name", DATATYPES)
def test_a_dtype_has_the_text_of_its_byte_order(name):
    memory = DATATYPES[name].memory
    assert memory.byteorder == np.dtype(memory.str).byteorder  # not "<" where that is the order of the machine


@pytest.mark.parametrize("dtype", ["bool", "Bool", bool, np.bool_, "?", "b1", "|b1", np.dtype(bool)])
def test_bools(dtype):
    datatype = parse_dtype(dtype)
    assert datatype is DATATYPES["bool"]
    assert (datatype.memory, datatype.cell, datatype.itemsize) == (np.dtype(bool), np.dtype("u1"), 1)


@pytest.mark.parametrize(
    ("text", "name"), [("i4", "int32"), ("f8", "float64"), ("f2", "float16"), ("u2", "uint16"), ("i1", "int8")]
)
def test_short_names_that_are_numpys(text, name):
    assert parse_dtype(text).name == name


@pytest.mark.parametrize(("text", "names"), [("i8", ("int64", "int8")), (" U8 ", ("uint64", "uint8"))])
def test_short_names_of_two_meanings_are_refused_with_both(text, names):
    with pytest.raises(InvalidValueError, match=rf'eight bits to atlas-python: write "{names[0]}" or "{names[1]}"'):
        parse_dtype(text)
    assert parse_dtype(np.dtype(text.strip().lower())).name == names[0]
    assert parse_dtype(f"<{text.strip().lower()}").name == names[0]


@pytest.mark.parametrize("dtype", ["string", "str", str, object, "O", "U", "<U5", "S3", np.dtypes.StringDType()])
def test_strings(dtype):
    assert parse_dtype(dtype) is DATATYPES["string"]
    assert (DATATYPES["string"].cell, DATATYPES["string"].itemsize) == (None, 1)


@pytest.mark.parametrize("dtype", ["bytes", "BYTES", bytes])
def test_bytes(dtype):
    assert parse_dtype(dtype) is DATATYPES["bytes"]
    assert (DATATYPES["bytes"].cell, DATATYPES["bytes"].itemsize) == (None, 1)
    assert check_fill(DATATYPES["bytes"], np.bytes_(b"\xff")) == b"\xff"
    for fill in ("a", 1):
        with pytest.raises(InvalidTypeError, match="is bytes, not"):
            check_fill(DATATYPES["bytes"], fill)


@pytest.mark.parametrize(
    "dtype",
    [
        "complex64",
        complex,
        "M8[D]",
        "m8[h]",
        "M8[25s]",
        "M8[0s]",
        np.dtype("m8[0ns]"),
        "datetime64",
        "M8[ps]",
        "V3",
        np.dtype([("a", "i4")]),
        "binary",
        "list<int8>",
        "fixed_size_list",
        np.longdouble,
    ],
)
def test_dtypes_that_are_not_stored(dtype):
    with pytest.raises(UnsupportedDtypeError, match="dtypes supported are bool, int8, "):
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


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_fills_of_floats(name):
    datatype = parse_dtype(name)
    for value in (0, -0.0, 1.5, math.inf, -math.inf, np.float32(0.5), np.float16(7), np.int8(3), 65504):
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
    too_large = {"float16": 65520, "float32": 1e39}.get(name)
    if too_large is not None:
        with pytest.raises(OutOfRangeError, match=f"too large for {name}"):
            check_fill(datatype, too_large)


def test_fills_of_bools():
    datatype = parse_dtype("bool")
    for value in (True, False, np.True_, np.False_):
        found = check_fill(datatype, value)
        assert type(found) is bool
        assert found == value
    for other in (0, 1, np.uint8(1), 1.0, "True", [True]):
        with pytest.raises(InvalidTypeError, match="fill_value of a bool array is a bool"):
            check_fill(datatype, other)


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
        with pytest.raises(OutOfRangeError, match="it holds whole ns from 1677-09-22 to 2262-04-11"):
            check_fill(datatype, value)
    for other in (1.0, True, "2020-01-01", np.timedelta64(1, "ns")):
        with pytest.raises(InvalidTypeError):
            check_fill(datatype, other)


@pytest.mark.parametrize("name", TIMES)
def test_fills_of_times(name):
    datatype, kind = parse_dtype(name), TIMES[name].type
    unit = np.datetime_data(TIMES[name])[0]
    for value in (5, np.int32(5), kind(5, unit)):
        found = check_fill(datatype, value)
        assert (type(found), found) == (int, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2.5 and later warn of times without a unit
        nat, bare = kind("NaT"), [np.timedelta64(5)] if kind is np.timedelta64 else []
    for value in (nat, kind("NaT", "D"), kind("NaT", unit), -(2**63)):
        assert check_fill(datatype, value) == -(2**63)
    assert check_fill(datatype, kind(2, "h")) == 7200 * 10 ** (3 * ["s", "ms", "us", "ns"].index(unit))
    for value in (2**63, kind(2**62, "W"), kind(1, "as"), *bare):
        with pytest.raises(OutOfRangeError, match=r"fill_value .*(it holds whole|which holds)"):
            check_fill(datatype, value)
    other = np.timedelta64 if kind is np.datetime64 else np.datetime64
    for value in (other(5, unit), 1.0, True, "2020-01-01"):
        with pytest.raises(InvalidTypeError, match=f"an int or a NumPy time of unit {unit}"):
            check_fill(datatype, value)


@pytest.mark.parametrize("kind", "Mm")
@given(st.data())
def test_times_change_their_unit_exactly_or_not_at_all(kind, data):
    per = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    one, two = data.draw(st.sampled_from([*per])), data.draw(st.sampled_from([*per]))
    ticks = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3).map((10**9).__mul__), max_size=4))
    order = data.draw(st.sampled_from("<>"))
    cells = np.array(ticks, "i8").view(f"{kind}8[{one}]").astype(f"{order}{kind}8[{one}]")
    exact = [Fraction(tick * per[one], per[two]) if tick != -(2**63) else tick for tick in ticks]
    found = exact_times(cells, np.dtype(f"{kind}8[{two}]"))
    if all(value == int(value) and -(2**63) <= value < 2**63 for value in exact) and not any(
        value == -(2**63) and tick != -(2**63) for value, tick in zip(exact, ticks, strict=True)
    ):
        assert found.dtype == f"{kind}8[{two}]"
        assert found.view("i8").tolist() == [int(value) for value in exact]
    else:
        assert found is None


def test_any_byte_reads_as_a_bool():
    cells = np.array([0, 1, 2, 255], np.uint8)
    found = parse_dtype("bool").in_memory(cells)
    assert (found.dtype, found.view("u1").tolist()) == (np.dtype(bool), [0, 1, 1, 1])
    assert np.shares_memory(found, cells)


@pytest.mark.parametrize("name", DATATYPES)
def test_no_fill(name):
    assert check_fill(parse_dtype(name), None) is None


@pytest.mark.parametrize("name", TIMES)
def test_times_that_count_none_of_their_unit_do_not_end_the_process(name):
    dtype = TIMES[name]
    none = np.zeros(2, f"{dtype.kind}8[0s]")
    assert exact_times(none, dtype) is None
    with pytest.raises(OutOfRangeError, match="does not fit"):
        check_fill(parse_dtype(name), none[0])
