from __future__ import annotations

import enum
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine.text import NO_CELL, as_text, encode_cells, text_statistics
from atlas.errors import InvalidTypeError

texts = st.lists(st.text(max_size=8), max_size=10)


@given(texts)
def test_a_chunk_is_the_lengths_then_the_bytes(cells):
    encoded = [cell.encode() for cell in cells]
    expected = struct.pack(f"<{len(cells)}I", *map(len, encoded)) + b"".join(encoded)
    assert encode_cells(cells) == expected


@given(texts, st.none() | st.sampled_from(["", "a", "é"]))
def test_statistics_name_cells(cells, fill):
    cells = cells or [""]
    nulls, low, high = text_statistics(cells, fill)
    kept = [cell for cell in cells if cell != fill]
    assert nulls == len(cells) - len(kept)
    if kept:
        assert (cells[low], cells[high]) == (min(kept), max(kept))
    else:
        assert low == high == NO_CELL


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
    out = as_text(data)
    assert (out.dtype, out.shape, out.flags.c_contiguous) == (np.dtype(object), (2, 2), True)
    assert out.tolist() == [["a", "é"], ["", "🌊"]]
    assert all(type(cell) is str for cell in out.ravel())


class Colour(str, enum.Enum):  # noqa: UP042 - which prints as its name
    RED = "red"
    ROSE = "rosé"


def test_subclasses_of_text_become_text():
    found = as_text(np.array([*Colour], object)).tolist()
    assert (found, [type(cell) for cell in found]) == (["red", "rosé"], [str, str])
    assert type(as_text(np.array([np.str_("a"), np.str_("é")], object))[1]) is str
    assert type(as_text(np.array([np.str_("a")], object))[0]) is str


def test_bytes_and_surrogates_that_are_no_text_are_replaced():
    out = as_text(np.array([b"\xff", "\udcc3\udca9", "\udcff", "\ud800"], object))
    assert out[:3].tolist() == ["\ufffd", "é", "\ufffd"]
    for cell in out:
        cell.encode()


def test_bytes_cells_of_numpy_are_text():
    assert as_text(np.array([b"abc", "é".encode()])).tolist() == ["abc", "é"]


@pytest.mark.parametrize("cell", [None, 1, 1.5, ["a"], np.nan])
def test_other_cells_are_refused(cell):
    data = np.empty(2, object)
    data[:] = ["a", 0]
    data[1] = cell
    with pytest.raises(InvalidTypeError, match="takes str and bytes"):
        as_text(data)
