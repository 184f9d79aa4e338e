from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import (
    AtlasError,
    CorruptStoreError,
    InvalidNameError,
    InvalidTypeError,
    InvalidValueError,
    OutOfRangeError,
)
from atlas.format.dtypes import DATATYPES
from atlas.format.schema import check_index, make_schema, schema_from_json, schema_to_json

FILLS = {
    "int8": [None, -128, 127],
    "uint64": [None, 0, 2**64 - 1],
    "float32": [None, 0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 5e-324],
    "float64": [None, -0.0, math.nan, 1e308, 5e-324],
    "string": [None, "", "Ålesund", "float64"],
    "timestamp_nanoseconds": [None, 0, -(2**63), 2**63 - 1],
}


@pytest.mark.parametrize(("dtype", "fill"), [(dtype, fill) for dtype, fills in FILLS.items() for fill in fills])
def test_schemas_come_back(dtype, fill):
    schema = make_schema(dtype, ["x", "Å"], [3, 0], [2, 0], fill)
    back = schema_from_json(json.loads(json.dumps(schema_to_json(schema), allow_nan=False)))
    assert back == schema
    assert hash(back) == hash(schema)
    assert (back.fill is None) == (fill is None)
    assert back.fill_bits == schema.fill_bits


@given(
    st.sampled_from(list(DATATYPES)), st.lists(st.tuples(st.text(), st.integers(0, 9), st.integers(1, 12)), max_size=5)
)
def test_any_shape_comes_back(dtype, axes):
    names, shape, chunks = ([axis[part] for axis in axes] for part in range(3))
    schema = make_schema(dtype, names, shape, chunks)
    back = schema_from_json(json.loads(json.dumps(schema_to_json(schema))))
    assert back == schema
    assert back.grid == tuple(math.ceil(n / c) for n, c in zip(shape, chunks, strict=True))
    assert back.size == math.prod(shape)
    assert back.chunks == math.prod(back.grid)


def test_what_makes_schemas_different():
    base = {"dtype": "float64", "dims": ["x"], "shape": [4], "chunk_shape": [2], "fill_value": 0.0}
    changes = [
        {},
        {"dtype": "float32"},
        {"dims": ["y"]},
        {"shape": [5]},
        {"chunk_shape": [3]},
        {"fill_value": -0.0},
        {"fill_value": math.nan},
        {"fill_value": None},
    ]
    schemas = [make_schema(**(base | change)) for change in changes]
    assert len(set(schemas)) == len(changes)
    assert make_schema(**(base | {"fill_value": math.nan})) == schemas[6]
    assert schemas[0] != "schema"
    assert make_schema("int8", [], [], fill_value=0) != make_schema("int8", [], [])


@pytest.mark.parametrize(
    ("dtype", "fill", "bits"),
    [
        ("int16", None, b"\0\0"),
        ("int16", -2, b"\xfe\xff"),
        ("uint64", 2**64 - 1, b"\xff" * 8),
        ("float32", 0.1, np.float32(0.1).tobytes()),
        ("float64", -0.0, b"\0" * 7 + b"\x80"),
        ("timestamp_nanoseconds", -(2**63), b"\0" * 7 + b"\x80"),
        ("string", None, b""),
        ("string", "é", b"\xc3\xa9"),
    ],
)
def test_the_bits_of_unwritten_cells(dtype, fill, bits):
    assert make_schema(dtype, [], [], fill_value=fill).fill_bits == bits


def test_the_chunk_shape_is_the_shape_by_default():
    assert make_schema("int8", ["x", "y"], [3, 0]).chunk_shape == (3, 0)
    assert make_schema("int8", [], []).chunks == 1
    assert make_schema("int8", ["x"], [0]).chunks == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((["x"], [3, 4], None), InvalidValueError),
        ((["x"], [3], [1, 1]), InvalidValueError),
        ((["x"], [3], [0]), InvalidValueError),
        (("x", [3], None), InvalidTypeError),
        ((["x"], "3", None), InvalidTypeError),
        ((["x"], 3, None), InvalidTypeError),
        ((["x"], [3.0], None), InvalidTypeError),
        ((["x"], [True], None), InvalidTypeError),
        ((["x"], [None], None), InvalidTypeError),
        ((["x"], [-1], None), OutOfRangeError),
        ((["x"], [2**63], None), OutOfRangeError),
        ((["x"], [3], [-1]), OutOfRangeError),
        ((["x", "y"], [2**62, 2**62], None), InvalidValueError),
        ((["x"], [2**61], None), InvalidValueError),
        (([1], [3], None), InvalidTypeError),
        ((["\ud800"], [3], None), InvalidNameError),
    ],
)
def test_declarations_that_break_a_rule(arguments, error):
    with pytest.raises(error):
        make_schema("float64", *arguments)


def test_shapes_may_be_numpy_integers_and_huge():
    schema = make_schema("int8", ["x"], np.array([2**62]), (np.int32(7),))
    assert schema.shape == (2**62,)
    assert type(schema.shape[0]) is int
    assert make_schema("int8", ["x", "y"], [2**63 - 1, 0]).size == 0


@pytest.mark.parametrize(
    ("dtype", "fill", "document", "bits"),
    [
        ("bool", True, True, b"\1"),
        ("bool", False, False, b"\0"),
        ("float16", 0.1, {"float64": "3fb999999999999a"}, np.float16(0.1).tobytes()),
        ("float16", -0.0, {"float64": "8000000000000000"}, b"\0\x80"),
        ("datetime64[s]", np.datetime64("9999-01-01"), 253_370_764_800, (253_370_764_800).to_bytes(8, "little")),
        ("timedelta64[ms]", np.timedelta64("NaT", "s"), -(2**63), bytes(7) + b"\x80"),
    ],
)
def test_fills_of_bools_halves_and_times_in_documents(dtype, fill, document, bits):
    schema = make_schema(dtype, ["x"], [3], [2], fill)
    assert schema.fill_bits == bits
    assert schema_to_json(schema)["fill"] == document
    assert type(schema_to_json(schema)["fill"]) is type(document)
    assert schema_from_json(schema_to_json(schema)) == schema


@pytest.mark.parametrize("fill", [0, 1, 2, "true", {"float64": "3ff0000000000000"}])
def test_the_fill_of_a_bool_is_a_bool(fill):
    with pytest.raises(CorruptStoreError):
        schema_from_json({"dtype": "bool", "dims": ["x"], "shape": [3], "chunk_shape": [2], "fill": fill})


@pytest.mark.parametrize("value", [0, 5, 2**63 - 1, np.int8(5), np.uint64(2**63 - 1)])
def test_indices(value):
    assert check_index("start", value) == int(value)
    assert type(check_index("start", value)) is int


GOOD = {"dtype": "int16", "dims": ["x"], "shape": [3], "chunk_shape": [2], "fill": 4}
HOSTILE = [
    None,
    True,
    1,
    -1,
    1.5,
    2**63,
    2**70,
    "",
    "x",
    "int99",
    [],
    [None],
    [1.5],
    [True],
    [-1],
    [2**64],
    ["x"],
    [[1]],
    {},
    {"float64": "zz"},
]


@pytest.mark.parametrize("field", GOOD)
def test_hostile_fields_are_refused_or_make_a_schema(field):
    for value in HOSTILE:
        try:
            schema = schema_from_json(GOOD | {field: value})
        except CorruptStoreError:
            continue
        assert schema_from_json(schema_to_json(schema)) == schema
    without = {name: value for name, value in GOOD.items() if name != field}
    if field == "fill":
        assert schema_from_json(without).fill is None
    else:
        with pytest.raises(CorruptStoreError):
            schema_from_json(without)


@pytest.mark.parametrize("document", [None, [], "schema", 1, {}])
def test_what_is_no_schema(document):
    with pytest.raises(CorruptStoreError):
        schema_from_json(document)


@pytest.mark.parametrize(
    "fill",
    [
        {"float64": 1},
        {"float64": ""},
        {"float64": "00"},
        {"float64": "00" * 9},
        {"float64": "g" * 16},
        {},
        {"other": 1},
        [1],
        True,
        "x",
    ],
)
def test_hostile_fills_of_floats(fill):
    with pytest.raises(CorruptStoreError):
        schema_from_json(GOOD | {"dtype": "float64", "fill": fill})


def test_an_error_of_a_damaged_schema_is_of_the_family():
    with pytest.raises(AtlasError, match="not valid"):
        schema_from_json(GOOD | {"shape": [1, 2]})
