from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.format.strings import (
    IN_CELL,
    MISSING_LENGTH,
    NO_EXTREME,
    TextTable,
    decode_cells,
    encode_cells,
    encode_extreme,
    is_missing,
    string_statistics,
)

chunks = st.lists(st.none() | st.text(max_size=8), max_size=10) | st.lists(
    st.none() | st.binary(max_size=8), max_size=10
)


def encoded(cell):
    return cell.encode() if isinstance(cell, str) else cell


def kind_of(cells):
    return "bytes" if any(isinstance(cell, bytes) for cell in cells) else "string"


@given(chunks)
def test_a_chunk_is_the_lengths_then_the_bytes(cells):
    parts = [encoded(cell) for cell in cells]
    lengths = [MISSING_LENGTH if part is None else len(part) for part in parts]
    present = b"".join([part for part in parts if part is not None])
    assert encode_cells(cells) == struct.pack(f"<{len(cells)}I", *lengths) + present


@given(chunks)
def test_cells_decode_to_what_was_encoded(cells):
    parts = [encoded(cell) or b"" for cell in cells]
    data, missing = np.frombuffer(b"".join(parts), np.uint8), np.array([cell is None for cell in cells], np.uint8)
    offsets = np.cumsum([0, *map(len, parts)])
    for errors in ("replace", "strict"):
        assert decode_cells(data, offsets, missing, kind_of(cells), errors).tolist() == cells


def test_a_cell_whose_length_would_stand_for_a_missing_one_is_refused():
    class Long(bytes):
        def __len__(self):
            return MISSING_LENGTH

    with pytest.raises(OverflowError):
        encode_cells([Long()])


def test_text_that_is_not_utf8_is_replaced_or_refused_and_bytes_are_neither():
    data, offsets, missing = np.frombuffer(b"ab\xff\xc3\xa9", np.uint8), np.array([0, 2, 3, 5]), np.zeros(3, np.uint8)
    assert decode_cells(data, offsets, missing).tolist() == ["ab", "\ufffd", "é"]
    assert decode_cells(data, offsets, missing, "bytes", "strict").tolist() == [b"ab", b"\xff", b"\xc3\xa9"]
    with pytest.raises(UnicodeDecodeError):
        decode_cells(data, offsets, missing, "string", "strict")


@given(st.lists(st.text(max_size=4) | st.sampled_from(["é", "日本", "😀", ""]), max_size=30))
def test_short_texts_are_cut_of_one_text(texts):
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    data = np.frombuffer(b"".join(encoded), np.uint8)
    assert decode_cells(data, offsets, np.zeros(len(texts), np.uint8)).tolist() == texts


@pytest.mark.parametrize("offsets", [[0, 1, 4], [0, 2, 3, 4], [0, 3, 4], [1, 2, 4], [2, 4]])
def test_cells_that_begin_within_a_character_are_decoded_one_by_one(offsets):
    data = "éé".encode()
    expected = [data[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets)]
    missing = np.zeros(len(expected), np.uint8)
    assert decode_cells(np.frombuffer(data, np.uint8), np.array(offsets), missing).tolist() == expected


@given(chunks, st.none() | st.sampled_from(["", "a", "é", b"", b"a"]))
def test_statistics_name_cells(cells, fill):
    nulls, low, high = string_statistics(cells, fill)
    kept = [cell for cell in cells if cell is not None and cell != fill]
    assert nulls == len(cells) - len(kept)
    if kept:
        assert (cells[low], cells[high]) == (min(kept), max(kept))
    else:
        assert low == high == NO_EXTREME


def test_short_extremes_are_in_a_table_each_once_and_long_ones_in_their_cells():
    table = {}
    named = [encode_extreme(cell, 7, table) for cell in ("é", b"a" * 128, "a" * 128, "é", "é" * 65, b"b" * 129, "")]
    assert named == [0, 1, 1, 0, IN_CELL + 7, IN_CELL + 7, 2]
    texts = TextTable.of(list(table))
    assert [texts[at] for at in range(len(texts))] == ["é".encode(), b"a" * 128, b""]
    assert len(TextTable.of([])) == 0


@pytest.mark.parametrize(
    "cell",
    [None, float("nan"), np.float32("nan"), np.datetime64("NaT", "s"), np.timedelta64("NaT", "s"), pd.NaT, pd.NA],
    ids=repr,
)
def test_what_stands_for_a_missing_cell(cell):
    assert is_missing(cell)


@pytest.mark.parametrize("cell", ["", b"", "nan", "None", 0, 0.0, False, np.datetime64(0, "s"), [], [None]], ids=repr)
def test_what_does_not(cell):
    assert not is_missing(cell)
