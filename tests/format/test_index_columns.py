from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from atlas.errors import CorruptStoreError
from atlas.format.index_columns import decode_columns, encode_columns

DTYPES = ["<u1", "<i8", "<u8"]
WIDE = {
    "constant": [7] * 100,
    "sequence": list(range(5, 500, 5)),
    "falling": list(range(500, 0, -1)),
    "extremes": [2**63 - 1, 0, 2**63 - 1, 0, 1],
    "one": [3],
    "none": [],
    "sorted with gaps": sorted(at * at % 1009 for at in range(600)),
    "small": [at * 7 % 5 for at in range(600)],
}


def encoding_of(index, at=0):
    return index[8 + 48 * at + 17]


def round_trip(columns):
    index = encode_columns(columns)
    back = decode_columns(index, {name: (values.dtype.str, len(values)) for name, values in columns.items()})
    assert list(back) == list(columns)
    for name, values in columns.items():
        assert back[name].dtype == values.dtype
        np.testing.assert_array_equal(back[name], values)
    return index


@pytest.mark.parametrize("dtype", ["<i8", "<u8"])
@pytest.mark.parametrize("name", WIDE)
def test_columns_come_back(name, dtype):
    round_trip({name: np.array(WIDE[name], dtype)})


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, st.integers(0, 300))), st.integers(0, 3))
def test_any_columns_come_back(values, shape):
    ordered = {0: values, 1: np.sort(values), 2: values[:1].repeat(len(values)), 3: values // 3}[shape]
    round_trip({"first": ordered, "second": np.arange(5, dtype="<u8")})


def test_the_smallest_encoding_is_taken():
    noise = np.random.default_rng(1).integers(0, 2**63, 40)
    cases = {0: noise, 1: np.full(40, 9), 2: np.arange(40), 3: noise % 2, 4: np.cumsum(noise % 1000) * 10**9}
    assert {encoding_of(encode_columns({"a": np.asarray(values, "<i8")})) for values in cases.values()} == set(range(5))
    for encoding, values in cases.items():
        assert encoding_of(round_trip({"a": np.asarray(values, "<i8")})) == encoding


def test_a_sequence_wraps_around():
    values = np.array([2**64 - 2, 2**64 - 1, 0, 1], "<u8")
    assert encoding_of(round_trip({"a": values})) == 2


def test_decoded_columns_may_be_written_to():
    for values in WIDE.values():
        decoded = decode_columns(encode_columns({"a": np.array(values, "<i8")}), {"a": ("<i8", len(values))})["a"]
        assert decoded.flags.writeable


def test_columns_that_are_not_asked_for_are_passed_over():
    index = encode_columns({"new": np.arange(3, dtype="<u1"), "a": np.arange(2)})
    np.testing.assert_array_equal(decode_columns(index, {"a": ("<i8", 2)})["a"], [0, 1])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"b": ("<i8", 3)}, "lacks the column 'b'"),
        ({"a": ("<i8", 4)}, "is not 4 values"),
        ({"a": ("<u8", 3)}, "is not 3 values of <u8"),
    ],
)
def test_other_columns_than_wanted_are_refused(wanted, message):
    with pytest.raises(CorruptStoreError, match=message):
        decode_columns(encode_columns({"a": np.array([1, 5, 6])}), wanted)


def entry(*, dtype=1, encoding=0, count=3, payload=b"", offset=56, length=None):
    size = len(payload) if length is None else length
    return struct.pack("<Q16sBB6xQQQ", 1, b"a", dtype, encoding, count, offset, size) + payload


def frame(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"\1" * 7,
        struct.pack("<Q", 1),
        struct.pack("<Q", 2**64 - 1),
        struct.pack("<Q", 2**60) + bytes(48),
        entry(payload=bytes(23)),
        entry(payload=bytes(25)),
        entry(payload=bytes(24), length=2**64 - 1),
        entry(payload=bytes(24), offset=2**64 - 1),
        entry(payload=bytes(24), offset=57),
        entry(payload=bytes(24), dtype=3),
        entry(payload=bytes(24), dtype=0),
        entry(payload=bytes(24), encoding=5),
        entry(payload=bytes(24), encoding=255),
        entry(payload=b"", encoding=1),
        entry(payload=bytes(16), encoding=1),
        entry(payload=bytes(8), encoding=2),
        entry(payload=b"not a frame", encoding=3),
        entry(payload=b"", encoding=4),
        entry(payload=frame(bytes(23)), encoding=3),
        entry(payload=frame(bytes(25)), encoding=4),
        entry(payload=frame(bytes(24), write_content_size=False), encoding=3),
        entry(payload=frame(bytes(24))[:-1], encoding=3),
        entry(payload=frame(bytes(24))[:9], encoding=4),
    ],
)
def test_damaged_indexes_are_refused(index):
    with pytest.raises(CorruptStoreError):
        decode_columns(index, {"a": ("<i8", 3)})


def test_a_frame_that_declares_much_is_not_unpacked():
    bomb = frame(bytes(1 << 26))
    with pytest.raises(CorruptStoreError, match="does not declare the 24 bytes"):
        decode_columns(entry(payload=bomb, encoding=3), {"a": ("<i8", 3)})


def test_no_damage_of_an_index_raises_anything_else():
    columns = {
        "packed": np.random.default_rng(0).integers(0, 3, 50),
        "deltas": np.cumsum(np.random.default_rng(0).integers(0, 3, 50)) * 10**6,
        "plain": np.array([1, 5, 2], "<u8"),
        "bytes": np.array([1, 2, 2], "<u1"),
    }
    index = encode_columns(columns)
    wanted = {name: (values.dtype.str, len(values)) for name, values in columns.items()}
    for at in range(len(index)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(index)
            damaged[at] ^= flip
            try:
                decode_columns(bytes(damaged), wanted)
            except CorruptStoreError:
                continue
    for stop in range(len(index)):
        with pytest.raises(CorruptStoreError):
            decode_columns(index[:stop], wanted)
