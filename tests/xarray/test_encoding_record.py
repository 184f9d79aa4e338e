from __future__ import annotations

from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InvalidValueError
from atlas.xarray import encoding_record
from atlas.xarray.encoding_record import common_encoding, decode_encoding, encode_encoding, record_encodings

FILE = "/data/a.nc"
ENUM = np.dtype("u1", metadata={"enum": {"clear": 0, "cloudy": 1}, "enum_name": "cloud_t"})
TEXT = np.dtype("O", metadata={"vlen": str})

VALUES = [
    *(None, True, 1, 2**70, 0.5, float("nan"), -0.0, "zlib", "ümlaut", b"\xff"),
    *(
        np.float32(0.5),
        np.float64("nan"),
        np.int16(-9),
        np.uint8(1),
        np.bool_(True),
        np.str_("a"),
        np.datetime64("NaT", "ns"),
    ),
    *((1, 2), (), (None, (1.0, True)), [1, "a"], {"x": 4, "y": {"z": (1,)}}, {"time"}, set()),
    *(np.array([1, 2], "i2"), np.array(5.0), np.array(["a", "b"])),
    *(np.dtype("i2"), np.dtype(">f4"), np.dtype("S1"), np.dtype("<U5"), np.dtype("O"), np.dtype("M8[25s]")),
    *(np.dtype("bool"), np.dtype("c8"), ENUM, TEXT),
    *(str, float, bytes, object, np.int16, np.float64),
]


def alike(one, other):
    """Whether two values are of one type and equal to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, np.dtype):
        return one == other and dict(one.metadata or {}) == dict(other.metadata or {})
    return np.float64(one).tobytes() == np.float64(other).tobytes() if isinstance(one, float) else one == other


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_to_the_bit(value):
    for _ in range(2):  # the second time from memory
        record, lost = encode_encoding({"k": value, "zlib": True}, None)
        assert not lost
        record.encode()
        back = decode_encoding(record, None)
        assert list(back) == ["k", "zlib"]
        assert alike(back["k"], value)


@given(st.lists(st.sampled_from(VALUES), max_size=4))
def test_values_in_memory_are_never_confused(values):
    encoding = {str(i): value for i, value in enumerate(values)}
    record, lost = encode_encoding(encoding, None)
    assert not lost
    assert alike(decode_encoding(record, None), encoding)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (np.int8(1), np.uint8(1)),
        (np.float32(1), np.int32(1065353216)),
        ((1,), (True,)),
        ((np.int8(1),), (np.uint8(1),)),
        (np.array([1, 2], "i2"), np.array([131073], "i4")),
        (np.dtype("O"), TEXT),
        ("a", b"a"),
    ],
    ids=repr,
)
def test_values_that_look_alike_are_told_apart(one, other):
    for value in (one, other, one):
        assert alike(decode_encoding(encode_encoding({"dtype": value, "k": value}, None)[0], None)["k"], value)


def test_the_source_of_the_dataset_is_not_in_a_record():
    records = {encode_encoding({"zlib": True, "source": file}, file)[0] for file in ("/a.nc", "/b.nc")}
    assert len(records) == 1
    (record,) = records
    assert decode_encoding(record, "/c.nc") == {"zlib": True, "source": "/c.nc"}
    assert decode_encoding(record, None) == {"zlib": True}
    other, _ = encode_encoding({"zlib": True, "source": "/other.nc"}, FILE)
    assert decode_encoding(other, FILE) == {"zlib": True, "source": "/other.nc"}
    without, _ = encode_encoding({"zlib": True}, FILE)
    assert decode_encoding(without, FILE) == {"zlib": True}
    assert decode_encoding(encode_encoding({"source": None}, None)[0], FILE) == {"source": None}


def test_what_a_caller_does_to_an_encoding_stays_with_the_caller():
    given = {"preferred_chunks": {"x": 1}, "unlimited_dims": {"t"}, "l": [1], "n": ([1], 2), "a": np.array([1])}
    record, _ = encode_encoding(given, None)
    changed = decode_encoding(record, None)
    changed["preferred_chunks"]["x"] = 2
    changed["unlimited_dims"].add("y")
    changed["l"].append(2)
    changed["n"][0].append(2)
    changed["a"][0] = 2
    changed["new"] = 1
    assert alike(decode_encoding(record, None), given)


class _Codec:
    """Stands for a codec object of zarr."""

    def __repr__(self):
        return "_Codec()"


@pytest.mark.parametrize(
    "value",
    [
        *(_Codec(), (_Codec(),), np.dtype([("a", "i2")]), IntEnum, [np.dtype("i2")], {1: {2: _Codec()}}, 1j),
        *(frozenset({1}), np.dtype("i2", metadata={3: 4}), np.dtype("i2", metadata={"a": _Codec()}), "caf\udce9"),
    ],
    ids=repr,
)
def test_what_cannot_be_stored_is_named(value):
    record, lost = encode_encoding({"zlib": True, "bad": value}, None)
    assert lost == ("bad",)
    assert decode_encoding(record, None) == {"zlib": True}


def test_keys_are_text():
    assert encode_encoding({1: 2, "a\udce9": 3, None: 4}, None) == ("{}", (1, "a\udce9", None))


def test_one_warning_names_keys_and_variables_and_what_to_do():
    encodings = {"t": {"filters": _Codec(), "serializer": _Codec(), "zlib": True}, "u": {"filters": _Codec()}, "v": {}}
    with pytest.warns(UserWarning, match="dataset 'd'") as caught:
        attributes = record_encodings("d", {"own": _Codec()}, encodings)
    (warning,) = caught
    text = str(warning.message)
    assert "'own' of the dataset; 'filters' of 't', 'u'; 'serializer' of 't'" in text
    assert "ds.drop_encoding()" in text
    assert "del ds.encoding['own']" in text
    assert attributes == {
        ("_atlas_encoding",): "{}",
        ("t", "_atlas_encoding"): '{"zlib":true}',
        ("u", "_atlas_encoding"): "{}",
    }
    with pytest.warns(UserWarning, match=r"del ds\['u'\].encoding\['filters'\]"):
        record_encodings("d", {}, {"u": {"filters": _Codec()}})
    assert record_encodings("d", {}, {"t": {}}) == {}


def test_the_source_is_that_of_the_dataset_or_of_its_first_variable():
    own = record_encodings("d", {"source": FILE}, {"t": {"source": FILE}, "u": {"source": "/b.nc"}})
    assert own[("_atlas_source",)] == FILE
    assert own["t", "_atlas_encoding"] == own[("_atlas_encoding",)] == '{"source":{"$":"source"}}'
    assert own["u", "_atlas_encoding"] == '{"source":"/b.nc"}'
    assert record_encodings("d", {}, {"s": {}, "t": {"source": FILE}})[("_atlas_source",)] == FILE
    assert ("_atlas_source",) not in record_encodings("d", {}, {"t": {"source": 5}})


def test_few_records_are_kept_in_memory(monkeypatch):
    monkeypatch.setattr(encoding_record, "_MOST_CACHED", 3)
    for i in range(10):
        assert decode_encoding(encode_encoding({"complevel": i}, None)[0], None) == {"complevel": i}
        assert len(encoding_record._encoded) <= 3


@pytest.mark.parametrize(
    "record",
    [
        *("", "{", "[]", "5", 5, None, [1], "[" * 100_000),
        *(
            '{"k": {"$": "dtype"}}',
            '{"k": {"$": "dtype", "t": "V8", "m": {}}}',
            '{"k": {"$": "dtype", "t": 5, "m": {}}}',
        ),
        *('{"k": {"$": "dtype", "t": "<M8[0ns]", "m": {}}}', '{"k": {"$": "dtype", "t": "<f2", "m": 5}}'),
        *('{"k": {"$": "dtype", "t": "<c2", "m": {}}}', '{"k": {"$": "type", "v": "eval"}}', '{"k": {"$": "set"}}'),
        *('{"k": {"$": "set", "v": [{"$": "list", "v": []}]}}', '{"k": {"$": "type", "v": []}}', '{"k": {"$": "new"}}'),
        '{"k":' + '{"$":"dtype","t":"|O","m":{"k":' * 5000 + "1" + "}}" * 5000 + "}",
        *('{"k": {"$": []}}', '{"k": {"$": "source"}}', '{"k": [1]}', '{"k": null}'),
    ],
    ids=lambda record: repr(record)[:40],
)
def test_what_is_no_record_is_refused(record):
    with pytest.raises(InvalidValueError, match="malformed"):
        decode_encoding(record, None)
    if record is not None:
        with pytest.raises(InvalidValueError, match="malformed"):
            common_encoding([record, "{}"], stacked=False)


def test_datasets_have_in_common_what_is_equal_in_all():
    packed = {"dtype": np.dtype("i2"), "scale_factor": 0.1, "_FillValue": np.int16(-9), "zlib": True, "source": FILE}
    layout = {"chunksizes": (1, 2), "original_shape": (3, 4), "preferred_chunks": {"x": 1}}
    record, _ = encode_encoding({**packed, **layout}, FILE)
    equal = {key: value for key, value in packed.items() if key != "source"}
    assert common_encoding([record, record], stacked=True) == equal
    assert common_encoding([record], stacked=False) == {**equal, **layout}
    # A scale without its dtype, or the other way round, would write other cells.
    other, _ = encode_encoding({**packed, "scale_factor": 0.2}, FILE)
    assert common_encoding([record, other, record], stacked=True) == {"zlib": True}
    other, _ = encode_encoding({**packed, "zlib": False}, FILE)
    assert common_encoding([record, other], stacked=True) == {key: equal[key] for key in equal if key != "zlib"}
    assert common_encoding([record, None], stacked=True) == {}
    assert common_encoding([None, record], stacked=True) == {}
