"""Attribute values: lossless through JSON and MessagePack, plain as published, and never trusting what is stored."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
import struct
from typing import Any

import numpy as np
import orjson
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atlas.errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from atlas.format.attributes import (
    MAX_DEPTH,
    Timestamp,
    coerce_attribute,
    decode_value,
    encode_value,
    plain_value,
)
from atlas.format.text import recover_text

NAN_WITH_PAYLOAD = struct.unpack(">d", bytes.fromhex("fff8000000001234"))[0]


class Level(enum.IntEnum):
    LOW = 1


class Name(str, enum.Enum):  # noqa: UP042 - the older spelling, whose str() is not its text
    A = "a"


def same(a: Any, b: Any) -> bool:
    """Equal in type and in every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and not isinstance(a, np.generic):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, j) and same(v, w) for (k, v), (j, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, np.ndarray | np.generic) and not isinstance(a, np.str_ | np.bytes_):
        little = a.dtype.newbyteorder("<")
        if little != b.dtype or a.shape != b.shape:
            return False
        return a.tolist() == b.tolist() if a.dtype.kind == "O" else a.astype(little).tobytes() == b.tobytes()
    return bool(a == b)


def through(value: object) -> object:
    """The value after JSON; MessagePack and the plain structure must agree with it."""
    encoded = encode_value(value)
    via_json = decode_value(orjson.loads(orjson.dumps(encoded)))
    assert same(via_json, decode_value(ormsgpack.unpackb(ormsgpack.packb(encoded))))
    assert same(via_json, decode_value(encoded))
    return via_json


EXACT = [
    True,
    False,
    0,
    -(2**63),
    2**63 - 1,
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    1e22,
    1.0,
    math.inf,
    -math.inf,
    math.nan,
    NAN_WITH_PAYLOAD,
    "",
    "ü\0\u2028",
    "2020-01-01",
    "json:[1, 2]",
    '{"$": "none"}',
    b"",
    b"\xff\x00",
    None,
    Timestamp(-(2**63)),
    Timestamp(2**63 - 1),
    np.bool_(True),
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.float16(1.1),
    np.float32("nan"),
    np.float64(0.1),
    np.datetime64("NaT", "ns"),
    np.datetime64("2020-01-01", "25s"),
    np.datetime64("12020", "Y"),
    np.timedelta64(5, "ms"),
    np.timedelta64(7, "ns"),
    np.int64(7).view("m8"),
    np.int64(-(2**63)).view("M8"),
    np.str_("a\0"),
    np.bytes_(b"a\0"),
    np.array(5),
    np.array([], np.float32),
    np.zeros((2, 0, 3), np.int16),
    np.arange(6, dtype=np.uint16).reshape(2, 3),
    np.array([True, False]),
    np.array([1.5, NAN_WITH_PAYLOAD, -0.0]),
    np.array(["2020-01-01", "NaT"], "datetime64[D]"),
    np.array([1, 2], "timedelta64[us]"),
    np.array([b"a", b"bcd"]),
    np.array(["a", "bü🌍"]),
    np.array([["a", ""], ["ü", "x" * 50]], object),
    np.arange(4, dtype=">i4"),
    np.arange(12).reshape(3, 4).T[::2],
    [],
    [1, 2.5, "a", None, True, b"x", [np.float32(1)], {"k": ()}],
    (1, (2,), []),
    {},
    {"$": "none", "v": [1]},
    {"b": 1, "a": {"c": [math.nan]}},
    {1: "x", None: 2, False: 3, 2.5: 4},
    [2**64, -(2**70), 2**4095, 1 - 2**4096],
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: repr(value)[:40])
def test_exact_values_survive_bit_for_bit(value: object) -> None:
    assert same(value, through(value))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.builds(Timestamp, st.integers(-(2**63), 2**63 - 1))
)
ARRAYS = hnp.arrays(
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes(),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.sampled_from("$va"), inner),
    max_leaves=8,
)


@given(VALUES)
def test_any_nesting_survives(value: object) -> None:
    assert same(value, through(value))


@given(VALUES)
def test_plain_is_always_a_scalar_that_json_can_say(value: object) -> None:
    plain = plain_value(value)
    assert type(plain) in (bool, int, float, str)
    if isinstance(value, list | tuple | dict | np.ndarray) or value is None:
        assert isinstance(plain, str)
        assert plain.startswith("json:")
        json.loads(plain.removeprefix("json:"))


def test_decoded_arrays_are_writable_and_own_their_memory() -> None:
    array = decode_value(encode_value(np.arange(3)))
    assert isinstance(array, np.ndarray)
    array[0] = 9
    assert array.tolist() == [9, 1, 2]


def test_numbers_and_text_are_stored_as_they_are() -> None:
    for value in (True, 5, 1.5, "json:[1]"):
        assert same(encode_value(value), value)


def test_subclasses_of_builtins_are_their_values() -> None:
    assert same(through(Level.LOW), 1)
    assert same(through(Name.A), "a")


@pytest.mark.parametrize(
    "value",
    [
        1j,
        np.complex64(1),
        np.longdouble(1),
        {1, 2},
        pytest.param(object(), id="object"),
        range(3),
        np.ma.masked_array([1, 2], [True, False]),
        np.array([1j]),
        np.array([(1, 2)], "i4,i4"),
        np.array(["a", 1], object),
        pytest.param([object()], id="[object]"),
        {"a": {b"k": 1}},
        {(1,): 2},
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process that collects tests
)
def test_unsupported_kinds_are_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidValueError, match="unsupported"):
        encode_value(value)


def test_a_cycle_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidValueError, match="nested"):
        encode_value(loop)


def test_nesting_up_to_the_limit_is_kept() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert through(deep) == deep


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**20000], ids=["above", "below", "huge"])
def test_integers_that_users_set_are_int64(value: int) -> None:
    with pytest.raises(OutOfRangeError):
        coerce_attribute(value)
    with pytest.raises(OutOfRangeError):
        coerce_attribute(value, "int8")


def test_integers_of_more_than_4096_bits_are_refused() -> None:
    for value in (2**20000, [2**4096]):
        with pytest.raises(OutOfRangeError, match="4096 bits"):
            encode_value(value)


def test_an_integer_too_long_to_be_shown_is_refused_within_a_list() -> None:
    with pytest.raises(OutOfRangeError):
        encode_value([2**4096])


MALFORMED: list[object] = [
    None,
    [],
    2**63,
    math.nan,
    b"x",
    {},
    {"$": "nope"},
    {"$": ["list"]},
    {"$": "none", "v": 1},
    {"$": "list"},
    {"$": "list", "v": {}},
    {"$": "list", "v": [None]},
    {"$": "tuple", "v": "ab"},
    {"$": "dict", "v": [["a"]]},
    {"$": "dict", "v": ["ab"]},
    {"$": "dict", "v": [[{"$": "list", "v": []}, 1]]},
    {"$": "int", "v": "1_0"},
    {"$": "int", "v": 5},
    {"$": "int", "v": "1" * 5000},
    {"$": "float", "v": "00"},
    {"$": "float", "v": "zz"},
    {"$": "time", "v": 2**63},
    {"$": "time", "v": True},
    {"$": "time", "v": 1.5},
    {"$": "bytes", "v": "###"},
    {"$": "bytes", "v": "ü"},
    {"$": "np", "t": "<f4", "v": "AAAA"},
    {"$": "np", "t": "<i4", "v": ""},
    {"$": "np", "t": "|b1", "v": "Ag=="},
    {"$": "np", "t": "|O8", "v": "AAAAAAAAAAA="},
    {"$": "np", "t": "O", "v": ""},
    {"$": "np", "t": "<f4,<f4", "v": "AAAAAAAAAAA="},
    {"$": "np", "t": "|S4", "v": "AAAAAA=="},
    {"$": "np", "t": ["<f4"], "v": "AAAAAA=="},
    {"$": "np", "t": "<M8[999999999999s]", "v": "AAAAAAAAAAA="},
    {"$": "array", "t": "<f4", "s": [2], "v": "AAAAAA=="},
    {"$": "array", "t": "<f4", "s": [-1], "v": "AAAAAA=="},
    {"$": "array", "t": "<f4", "s": [True], "v": "AAAAAA=="},
    {"$": "array", "t": "<f4", "s": [1.0], "v": "AAAAAA=="},
    {"$": "array", "t": "<f4", "s": [1] * 70, "v": "AAAAAA=="},
    {"$": "array", "t": "<f4", "s": [2**62, 2**62, 0, 2**62], "v": "AAAAAA=="},
    {"$": "array", "t": "|S0", "s": [2**40], "v": ""},
    {"$": "array", "t": "|S999999999", "s": [1], "v": "AAAA"},
    {"$": "array", "t": "<U1", "s": [1], "v": "////fw=="},
    {"$": "array", "t": "|b1", "s": [1], "v": "Ag=="},
    {"$": "text", "s": [2], "v": ["a"]},
    {"$": "text", "s": [1], "v": [1]},
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data)[:40])
def test_malformed_input_is_a_value_error(data: object) -> None:
    with pytest.raises(InvalidValueError):
        decode_value(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("$vst"), inner),
    max_leaves=8,
)
TAGGED = st.fixed_dictionaries(
    {
        "$": st.sampled_from(["none", "int", "float", "bytes", "time", "list", "dict", "np", "array", "text", "npstr"]),
        "v": JSON | st.sampled_from(["AAAAAA==", "AAAAAAAAAAA=", "00"]),
    },
    optional={"t": st.sampled_from(["<f4", "<i8", "<U1", "|S2", "<M8[s]", "|b1", ""]), "s": st.lists(st.integers())},
)


@given(JSON | TAGGED)
def test_hostile_input_decodes_or_is_a_value_error(data: object) -> None:
    try:
        value = decode_value(data)
    except (InvalidValueError, OutOfRangeError):
        return
    assert same(decode_value(encode_value(value)), value)


def test_hostile_nesting_is_refused_before_the_stack_ends() -> None:
    data: object = 1
    for _ in range(5000):
        data = {"$": "list", "v": [data]}
    with pytest.raises(InvalidValueError, match="nested"):
        decode_value(data)


@pytest.mark.parametrize(
    ("escaped", "recovered"),
    [
        ("plain ü", "plain ü"),
        ("ü\udcc3\udca9", "üé"),
    ],
)
def test_escaped_bytes_are_recovered(escaped: str, recovered: str) -> None:
    assert recover_text(escaped) == recovered
    assert through(escaped) == recovered
    assert coerce_attribute(escaped) == recovered
    assert through(np.array([escaped])).tolist() == [recovered]  # type: ignore[attr-defined]
    assert through(np.array([escaped], object)).tolist() == [recovered]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800x", "\udcc3", "a\udfff"])
def test_text_that_is_no_utf8_is_refused_and_the_advice_works(text: str) -> None:
    for use in (recover_text, through, lambda value: through([value])):
        with pytest.raises(InvalidValueError, match="no UTF-8") as caught:
            use(text)
        converted = eval(re.search(r"with (text\..*)$", str(caught.value))[1], {"text": text})
        assert through(converted) == converted


@pytest.mark.parametrize(
    ("exact", "plain"),
    [
        ([1, 2.5, "a"], 'json:[1, 2.5, "a"]'),
        (np.arange(3), "json:[0, 1, 2]"),
        (np.ones((2, 2)), "json:[[1.0, 1.0], [1.0, 1.0]]"),
        ((1, 2), "json:[1, 2]"),
        ([], "json:[]"),
        (None, "json:null"),
        ({"a": {"b": [1]}}, 'json:{"a": {"b": [1]}}'),
        ([math.nan], "json:[NaN]"),
        (["ü"], 'json:["\\u00fc"]'),
        (np.array(5), "json:5"),
        (np.array("x"), 'json:"x"'),
        ([b"a", np.float32(0.5)], 'json:["a", 0.5]'),
        (np.array(["2020-01-01", "NaT"], "datetime64[ns]"), "json:[1577836800000000000, -9223372036854775808]"),
        ([Timestamp(5)], "json:[5]"),
        ("json:[1]", "json:[1]"),
        (np.float32(1.1), 1.100000023841858),
        (np.int8(1), 1),
        (np.bool_(True), True),
        (np.str_("q"), "q"),
        (np.bytes_(b"q"), "q"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\ufffd"),
        (Timestamp(7), 7),
        (np.datetime64("2020-01-01"), 1577836800000000000),
        (np.datetime64("2020-03"), 1583020800000000000),
        (np.datetime64("-0001"), -62198755200000000000),
        (np.datetime64("1969-12-31T23:59:59.9999999999"), -1),
        (np.datetime64("NaT", "ns"), -(2**63)),
        (np.timedelta64(5, "ms"), 5_000_000),
        (np.int64(7).view("m8"), 7),
        (math.inf, math.inf),
        (True, True),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_plain_values(exact: object, plain: object) -> None:
    shown = plain_value(exact)
    assert shown == plain
    assert type(shown) is type(plain)


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (True, True),
        (1, 1),
        (1.5, 1.5),
        ("x", "x"),
        ("json:[1]", "json:[1]"),
        ("2020-01-01", "2020-01-01"),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("q"), "q"),
        (np.datetime64("2020-01-01"), Timestamp(1577836800000000000)),
        (np.datetime64("NaT", "ns"), Timestamp(-(2**63))),
        (Level.LOW, 1),
    ],
    ids=repr,
)
def test_the_kind_of_a_set_value_is_its_own(value: object, exact: object) -> None:
    coerced = coerce_attribute(value)
    assert coerced == exact
    assert type(coerced) is type(exact)


@pytest.mark.parametrize(
    "value",
    [None, b"a", [1], (1,), {}, set(), 1j, np.array(1), np.timedelta64(1, "s"), np.bytes_(b"q"), dt.date.min],
    ids=repr,
)
def test_other_kinds_cannot_be_set(value: object) -> None:
    with pytest.raises(InvalidValueError, match="unsupported attribute type"):
        coerce_attribute(value)


@pytest.mark.parametrize(
    ("value", "dtype", "exact"),
    [
        (True, "bool", True),
        (True, "int8", 1),
        (127, "int8", 127),
        (-128, "i8", -128),
        (255, "UINT8", 255),
        (2**63 - 1, "u64", 2**63 - 1),
        (1, "float32", 1.0),
        (0.1, "f32", float(np.float32(0.1))),
        (math.inf, "float32", math.inf),
        (0.1, "Float64", 0.1),
        (np.int16(5), "float64", 5.0),
        ("5", "string", "5"),
        ("5", "str", "5"),
        (5, "timestamp_nanoseconds", Timestamp(5)),
        (-5, "timestamp_ns", Timestamp(-5)),
        (np.datetime64("1970-01-01T00:00:01"), "datetime64[ns]", Timestamp(10**9)),
        (3, np.int8, 3),
        (3, np.dtype("float32"), 3.0),
    ],
)
def test_a_dtype_narrows(value: object, dtype: Any, exact: object) -> None:
    coerced = coerce_attribute(value, dtype)
    assert coerced == exact
    assert type(coerced) is type(exact)


def test_nan_narrows_to_nan() -> None:
    narrowed = coerce_attribute(math.nan, "float32")
    assert isinstance(narrowed, float)
    assert math.isnan(narrowed)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(300, "int8"), (-1, "uint8"), (2**63, "uint64"), (1e40, "float32"), (10**400, "float64"), (2**63, "timestamp_ns")],
    ids=["int8", "uint8", "uint64", "float32", "float64", "timestamp"],
)
def test_a_dtype_checks_the_range(value: object, dtype: str) -> None:
    with pytest.raises(OutOfRangeError):
        coerce_attribute(value, dtype)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "bool"),
        (1.5, "int8"),
        ("5", "int8"),
        (None, "int8"),
        (np.timedelta64(1, "s"), "int64"),
        ("5", "float32"),
        (np.datetime64("2020"), "float32"),
        (1j, "float64"),
        (5, "string"),
        (b"a", "string"),
        (1.5, "timestamp_ns"),
        ("2020-01-01", "timestamp_ns"),
        ([1], "int8"),
        (1, 5),
        (1, list),
    ],
    ids=repr,
)
def test_a_value_must_be_of_its_dtypes_kind(value: object, dtype: Any) -> None:
    with pytest.raises(InvalidTypeError):
        coerce_attribute(value, dtype)


@pytest.mark.parametrize("dtype", ["nope", "binary", "", "float16", np.complex64])
def test_unknown_dtypes_are_value_errors(dtype: Any) -> None:
    with pytest.raises(InvalidValueError, match="unknown attribute dtype"):
        coerce_attribute(1, dtype)


def test_a_time_finer_than_nanoseconds_cannot_be_set() -> None:
    with pytest.raises(InvalidValueError, match="finer"):
        coerce_attribute(np.datetime64(1, "ps"))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, 2**4095, -(2**4095)])
def test_integers_of_more_than_64_bits_come_back(number: int) -> None:
    assert through(number) == number
    assert through([number]) == [number]


REFUSED = [
    1 + 2j,
    np.complex64(1),
    np.longdouble(1.5),
    {1},
    frozenset("a"),
    range(3),
    np.array(["a", None], np.dtypes.StringDType(na_object=None)),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_is_not_stored_is_refused_with_advice_that_works(value: object) -> None:
    for refused in (value, [value]):
        with pytest.raises(InvalidValueError, match=f"unsupported attribute type: {type(value).__name__}") as caught:
            encode_value(refused)
    instead = eval(str(caught.value).rpartition("; use ")[2], {"value": value, "np": np})
    assert through(instead) == instead
