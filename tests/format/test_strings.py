from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from atlas.format.strings import NO_CELL, encode_cells, string_statistics

texts = st.lists(st.text(max_size=8), max_size=10)


@given(texts)
def test_a_chunk_is_the_lengths_then_the_bytes(cells):
    encoded = [cell.encode() for cell in cells]
    expected = struct.pack(f"<{len(cells)}I", *map(len, encoded)) + b"".join(encoded)
    assert encode_cells(cells) == expected


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
