from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.format.strings import NO_CELL, decode_cells, encode_cells, string_statistics

texts = st.lists(st.text(max_size=8), max_size=10)


@given(texts)
def test_a_chunk_is_the_lengths_then_the_bytes(cells):
    encoded = [cell.encode() for cell in cells]
    expected = struct.pack(f"<{len(cells)}I", *map(len, encoded)) + b"".join(encoded)
    assert encode_cells(cells) == expected


@given(texts)
def test_cells_decode_to_what_was_encoded(cells):
    data = np.frombuffer("".join(cells).encode(), np.uint8)
    offsets = np.cumsum([0, *(len(cell.encode()) for cell in cells)])
    assert decode_cells(data, offsets).tolist() == decode_cells(data, offsets, "strict").tolist() == cells


def test_bytes_that_are_not_utf8_are_replaced_or_refused():
    data, offsets = np.frombuffer(b"ab\xff\xc3\xa9", np.uint8), np.array([0, 2, 3, 5])
    assert decode_cells(data, offsets).tolist() == ["ab", "\ufffd", "é"]
    with pytest.raises(UnicodeDecodeError):
        decode_cells(data, offsets, "strict")


@given(texts, st.none() | st.sampled_from(["", "a", "é"]))
def test_statistics_name_cells(cells, fill):
    cells = cells or [""]
    nulls, low, high = string_statistics(cells, fill)
    kept = [cell for cell in cells if cell != fill]
    assert nulls == len(cells) - len(kept)
    if kept:
        assert (cells[low], cells[high]) == (min(kept), max(kept))
    else:
        assert low == high == NO_CELL
