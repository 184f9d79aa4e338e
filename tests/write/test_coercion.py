from __future__ import annotations

import enum

import numpy as np
import pandas as pd
import pytest

from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.format.dtypes import DATATYPES
from atlas.format.schema import make_schema
from atlas.write.coercion import cast_cells, coerce_cells, coerce_strings

NUMBERS = [name for name, datatype in DATATYPES.items() if datatype.kind in {"int", "uint", "float"}]


def schema(dtype, fill=None):
    return make_schema(dtype, ["x"], [3], fill_value=fill)


TEXT, BYTES = schema("string"), schema("bytes")


@pytest.mark.parametrize("name", NUMBERS)
def test_data_of_the_dtype_is_taken_in_any_byte_order(name):
    data = np.array([1, 2, 100], name)
    assert coerce_cells(data, schema(name), "t") is data
    swapped = data.astype(data.dtype.newbyteorder(">"))
    found = coerce_cells(swapped, schema(name), "t")
    assert found.dtype == DATATYPES[name].cell
    assert found.tolist() == [1, 2, 100]


@pytest.mark.parametrize(
    "data", [np.array([1, 2], "i8"), np.array([1, 2], "M8[ns]"), np.array([1, 2], ">M8[ns]"), np.array([1, 2], ">i8")]
)
def test_timestamps_are_dates_or_ticks(data):
    found = coerce_cells(data, schema("timestamp_nanoseconds"), "t")
    assert (found.dtype, found.tolist()) == (np.dtype("<i8"), [1, 2])


@pytest.mark.parametrize("name", [name for name, datatype in DATATYPES.items() if datatype.has_nat])
def test_times_are_those_of_their_unit_or_ticks(name):
    memory = DATATYPES[name].memory
    ticks = np.array([1, -(2**63), 2**63 - 1])
    for data in (ticks, ticks.view(memory)):
        for order in "<>":
            found = coerce_cells(data.astype(data.dtype.newbyteorder(order)), schema(name), "t")
            assert (found.dtype, found.tolist()) == (np.dtype("<i8"), ticks.tolist())


def test_bools_are_bytes_without_a_copy():
    data = np.array([True, False, True])
    found = coerce_cells(data, schema("bool"), "t")
    assert (found.dtype, found.tolist()) == (np.dtype("u1"), [1, 0, 1])
    assert np.shares_memory(found, data)
    odd = np.array([0, 2, 255], "u1").view(bool)
    assert coerce_cells(odd, schema("bool"), "t").tolist() == [0, 1, 1]
    assert coerce_cells(np.empty((0, 3), bool), schema("bool"), "t").shape == (0, 3)
    masked = np.ma.MaskedArray(data, [True, False, False])
    assert coerce_cells(masked, schema("bool", False), "t").tolist() == [0, 0, 1]
    with pytest.raises(InvalidTypeError, match="no fill_value"):
        coerce_cells(masked, schema("bool"), "t")


@pytest.mark.parametrize("name", DATATYPES)
def test_data_of_other_dtypes_is_refused(name):
    others = [
        np.zeros(2, other)
        for other in ("?", "f2", "c8", "M8[s]", "m8[ns]", "M8[0s]", "V2", "i1", "u1", "u2", "f4", "O", "U3")
    ]
    taken = DATATYPES[name]
    for data in others:
        if data.dtype == taken.memory or (taken.cell is None and data.dtype.kind in "OU"):
            continue
        with pytest.raises(InvalidTypeError, match="does not fit"):
            coerce_cells(data, schema(name), "t")


@pytest.mark.parametrize("data", [[1, 2], 5, None, (1,), "text", memoryview(b"a")])
def test_what_is_no_array_is_refused(data):
    with pytest.raises(InvalidTypeError, match="is a numpy ndarray"):
        coerce_cells(data, schema("int64"), "t")


def test_numpy_scalars_are_arrays_without_axes():
    assert coerce_cells(np.float32(1.5), make_schema("float32", [], []), "t").shape == ()


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_masked_cells_become_the_fill(dtype):
    data = np.ma.MaskedArray(np.array([1, 2, 3], dtype), [False, True, False])
    assert coerce_cells(data, schema(dtype, 9), "t").tolist() == [1, 9, 3]
    with pytest.raises(InvalidTypeError, match="no fill_value"):
        coerce_cells(data, schema(dtype), "t")
    nothing_masked = np.ma.MaskedArray(np.array([1, 2, 3], dtype))
    assert coerce_cells(nothing_masked, schema(dtype), "t").tolist() == [1, 2, 3]


def test_masked_dates_and_text_become_the_fill():
    dates = np.ma.MaskedArray(np.array([1, 2], "M8[ns]"), [True, False])
    ticks = np.ma.MaskedArray(np.array([1, 2]), [True, False])
    for data in (dates, ticks):
        assert coerce_cells(data, schema("timestamp_nanoseconds", 7), "t").tolist() == [7, 2]
    durations = np.ma.MaskedArray(np.array([1, 2], "m8[s]"), [True, False])
    assert coerce_cells(durations, schema("timedelta64[s]", -(2**63)), "t").tolist() == [-(2**63), 2]
    text = np.ma.MaskedArray(np.array(["a", "b"], object), [True, False])
    assert coerce_cells(text, schema("string", "?"), "t").tolist() == ["?", "b"]


def test_a_masked_array_is_not_changed():
    data = np.ma.MaskedArray(np.array([1, 2, 3]), [False, True, False])
    coerce_cells(data, schema("int64", 9), "t")
    assert data.data.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "data",
    [
        np.array([["a", "é"], ["", "🌊"]], object),
        np.array([["a", "é"], ["", "🌊"]]),
        np.array([["a", "é"], ["", "🌊"]], np.dtypes.StringDType()),
        np.array([[b"a", "é".encode()], [b"", "🌊".encode()]], object),
        np.array([["a", "é"], ["", "🌊"]], object).T.copy().T,
    ],
)
def test_text_of_every_kind_becomes_objects(data):
    out = coerce_strings(data, TEXT)
    assert (out.dtype, out.shape, out.flags.c_contiguous) == (np.dtype(object), (2, 2), True)
    assert out.tolist() == [["a", "é"], ["", "🌊"]]
    assert all(type(cell) is str for cell in out.ravel())


class Colour(str, enum.Enum):  # noqa: UP042 - which prints as its name
    RED = "red"
    ROSE = "rosé"


def test_subclasses_of_text_become_text():
    found = coerce_strings(np.array([*Colour], object), TEXT).tolist()
    assert (found, [type(cell) for cell in found]) == (["red", "rosé"], [str, str])
    assert type(coerce_strings(np.array([np.str_("a"), np.str_("é")], object), TEXT)[1]) is str
    assert type(coerce_strings(np.array([np.str_("a")], object), TEXT)[0]) is str


def test_escaped_bytes_are_recovered():
    assert coerce_strings(np.array([b"\xc3\xa9", "\udcc3\udca9"], object), TEXT).tolist() == ["é", "é"]


@pytest.mark.parametrize("cell", [b"\xff", "a\udcff", "b\ud800"])
def test_bytes_and_surrogates_that_are_no_text_are_refused(cell):
    with pytest.raises(InvalidValueError, match=r"no UTF-8.*for example with"):
        coerce_strings(np.array(["a", cell], object), TEXT)


def test_bytes_cells_of_numpy_are_text():
    assert coerce_strings(np.array([b"abc", "é".encode()]), TEXT).tolist() == ["abc", "é"]


@pytest.mark.parametrize("cell", [1, 1.5, ["a"], True, np.float32(2)])
def test_other_cells_are_refused(cell):
    data = np.empty(2, object)
    data[:] = ["a", 0]
    data[1] = cell
    with pytest.raises(InvalidTypeError, match="takes str and bytes, and None for missing"):
        coerce_strings(data, TEXT)
    data[0] = b"a"
    with pytest.raises(InvalidTypeError, match="takes bytes, and None for missing"):
        coerce_strings(data, BYTES)


MISSING = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s")]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_missing_cells_are_none_or_the_declared_fill(missing):
    data = np.array(["a", 0, ""], object)
    data[1] = missing
    assert coerce_strings(data, TEXT).tolist() == ["a", None, ""]
    assert coerce_strings(data, schema("string", fill="gone")).tolist() == ["a", "gone", ""]
    data[[0, 2]] = b"a", b""
    assert coerce_strings(data, BYTES).tolist() == [b"a", None, b""]
    assert coerce_strings(data, schema("bytes", fill=b"\xff")).tolist() == [b"a", b"\xff", b""]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_cells_of_numpys_text(missing):
    data = np.array(["a", missing, ""], np.dtypes.StringDType(na_object=missing))
    assert coerce_strings(data, TEXT).tolist() == ["a", None, ""]


def test_bytes_stay_bytes_and_text_is_refused():
    assert coerce_strings(np.array([b"\xff", b"a\0b"]), BYTES).tolist() == [b"\xff", b"a\0b"]
    assert type(coerce_strings(np.array([np.bytes_(b"a")], object), BYTES)[0]) is bytes
    for data in (np.array(["a"]), np.array(["a"], object), np.array(["a"], np.dtypes.StringDType())):
        with pytest.raises(InvalidTypeError, match=r"text.encode\(\)"):
            coerce_strings(data, BYTES)


@pytest.mark.parametrize(
    ("dtype", "fill", "data", "expected"),
    [
        ("string", "missing", np.array(["a", "b"]), ["a", "missing"]),
        ("string", None, np.array(["a", "b"]), ["a", None]),
        ("bytes", b"missing", np.array([b"a", b"b"]), [b"a", b"missing"]),
        ("bytes", None, np.array([b"a", b"b"]), [b"a", None]),
        ("string", "missing", np.array(["a", 5], object), ["a", "missing"]),
    ],
)
def test_masked_text_becomes_the_whole_fill_or_is_missing(dtype, fill, data, expected):
    masked = np.ma.array(data, mask=[False, True])
    assert coerce_cells(masked, schema(dtype, fill=fill), "t").tolist() == expected
    assert cast_cells(masked, schema(dtype, fill=fill), "t").tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "fill", "data", "expected"),
    [
        ("float64", 1e300, np.array([1, 2], "f4"), [1.0, 1e300]),
        ("int64", 99_999, np.array([1, 2], "i1"), [1, 99_999]),
        ("int8", -1, np.array([1, 1000]), [1, -1]),
        ("float32", -5.0, np.array([1, 1e300]), [1.0, -5.0]),
        ("datetime64[s]", 43_205, np.array(["1970-01-02", "9999-01-01"], "M8[D]"), [86_400, 43_205]),
        ("timedelta64[ms]", -1, np.array([1, 2**40], "m8[D]"), [86_400_000, -1]),
        ("bool", True, np.array([False, False]), [0, 1]),
        ("float16", 0.1, np.array([1, 2], "i8"), [1.0, float(np.float16(0.1))]),
    ],
)
def test_a_mask_takes_the_fill_as_declared_whatever_the_dtype_of_the_data(dtype, fill, data, expected):
    masked = np.ma.array(data, mask=[False, True])
    before = masked.copy()
    assert cast_cells(masked, schema(dtype, fill=fill), "t").tolist() == expected
    np.testing.assert_array_equal(masked.data, before.data)
