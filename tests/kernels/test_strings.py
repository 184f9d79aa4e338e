"""Text bounds and gathering, and lengths that lie."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.format import strings as string_chunks
from atlas.format.strings import MISSING_LENGTH
from atlas.kernels import JIT, BlockError, find_distinct, gather_strings, string_offsets, strings
from tests import reference


def as_array(raw):
    return np.frombuffer(raw, np.uint8)


def bound(raw, offset, cells, out, starts):
    string_offsets(as_array(raw), offset, cells, out, np.empty(out.shape, np.uint8), starts)


@given(st.lists(st.lists(st.none() | st.text(max_size=9), max_size=8), max_size=5), st.integers(0, 3))
def test_chunks_come_back(chunks, lead):
    raw = b"#" * lead
    offset, cells, starts = [], [], []
    at = 0
    for chunk in chunks:
        offset.append(len(raw))
        cells.append(len(chunk))
        starts.append(at)
        at += len(chunk) + 1
        raw += reference.text_chunk(chunk)
    out, missing = np.full(at, -1, np.int64), np.full(at, 9, np.uint8)
    string_offsets(as_array(raw), np.array(offset), np.array(cells), out, missing, np.array(starts))
    for chunk, start in zip(chunks, starts, strict=True):
        ends = out[start : start + len(chunk) + 1]
        gone = missing[start : start + len(chunk)].tolist()
        assert gone == [cell is None for cell in chunk]
        found = [raw[a:b].decode() for a, b in itertools.pairwise(ends)]
        assert found == ["" if cell is None else cell for cell in chunk]
        data, offsets = gather_strings(as_array(raw), ends[:-1][::-1], ends[1:][::-1])
        want = [(cell or "").encode() for cell in reversed(chunk)]
        assert data.tobytes() == b"".join(want)
        assert offsets.tolist() == np.cumsum([0, *map(len, want)]).tolist()


def distinct(cells, lead=b"#"):
    """What `find_distinct` says of cells that lie one after the other."""
    ends = len(lead) + np.cumsum([len(cell) for cell in cells], dtype=np.int64)
    begins = ends - np.array([len(cell) for cell in cells], np.int64)
    found = find_distinct(as_array(lead + b"".join(cells)), begins, ends)
    return None if found is None else tuple(part.tolist() for part in found)


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"station 1", b"station 2", b"", b"\0", b"x" * 40])))
def test_equal_cells_are_found(cells):
    assert distinct(cells) == reference.distinct_texts(cells)


@pytest.mark.parametrize("length", [*range(1, 26), 64, 65])
def test_cells_that_differ_in_one_byte_differ(length):
    cells = [bytes(length)] + [bytes(at) + b"\1" + bytes(length - at - 1) for at in range(length)]
    cells += [bytes(length + 1), bytes(length - 1)]
    assert distinct(cells * 3) == reference.distinct_texts(cells * 3)


def test_no_table_is_made_of_cells_that_mostly_differ():
    cells = [b"%d" % at for at in range(3000)]
    assert distinct(cells) is None
    assert distinct(cells[:1000]) == reference.distinct_texts(cells[:1000])
    alike = [b"%d" % (at % 500) for at in range(3000)] + cells
    assert distinct(alike) == reference.distinct_texts(alike)


def test_many_cells_of_one_hash_take_no_quadratic_time(monkeypatch):
    """Of a forged file. They may count as different, and each is still found to be itself."""
    if JIT:
        pytest.skip("the hash is compiled in")
    monkeypatch.setattr(strings, "_hash", lambda *_: np.int64(5))
    asked = []
    are_equal = strings._are_equal
    monkeypatch.setattr(strings, "_are_equal", lambda *cells: asked.append(1) or are_equal(*cells))
    cells = [b"%04d" % (at % 300) for at in range(1000)]
    first, of = distinct(cells)
    assert [cells[first[at]] for at in of] == cells
    assert len(asked) <= 16 * len(cells)


GOOD = reference.text_chunk(["ab", "", "cde"])


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_every_truncation(size):
    with pytest.raises(BlockError) as fault:
        bound(GOOD[:size], np.array([0]), np.array([3]), np.zeros(4, np.int64), np.array([0]))
    assert (fault.value.block, fault.value.reason) == (0, "offset")


@pytest.mark.parametrize(("offset", "cells"), [(-1, 3), (18, 0), (2**63 - 1, 3), (0, 5), (14, 1), (1, 3)])
def test_places_that_leave_the_block(offset, cells):
    out = np.zeros(20, np.int64)
    with pytest.raises(BlockError) as fault:
        bound(GOOD, np.array([0, offset]), np.array([3, cells]), out, np.array([0, 4]))
    assert (fault.value.block, fault.value.reason) == (1, "offset")


def test_lengths_that_lie():
    for at in range(0, 12, 4):
        raw = bytearray(GOOD)
        raw[at : at + 4] = b"\xfe\xff\xff\xff"
        with pytest.raises(BlockError):
            bound(bytes(raw), np.array([0]), np.array([3]), np.zeros(4, np.int64), np.array([0]))


@pytest.mark.parametrize(("cells", "start"), [(-1, 0), (3, 1), (3, -1), (2**63 - 1, 0), (3, 2**63 - 1)])
def test_offsets_that_leave_the_result(cells, start):
    with pytest.raises(ValueError):
        bound(GOOD, np.array([0]), np.array([cells]), np.zeros(4, np.int64), np.array([start]))


def test_a_missing_cell_has_no_bytes_and_the_format_says_the_same():
    assert strings.MISSING_LENGTH == MISSING_LENGTH
    assert string_chunks.encode_cells(["a", None, ""]) == reference.text_chunk(["a", None, ""])


def test_bad_requests():
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    for missing in (np.zeros(8, np.uint8), np.zeros(9, np.int8), np.zeros(18, np.uint8)[::2]):
        with pytest.raises(ValueError):
            string_offsets(as_array(GOOD), one, one, np.zeros(9, np.int64), missing, one)
    with pytest.raises(ValueError):
        bound(GOOD, one, two, np.zeros(9, np.int64), one)
    with pytest.raises(ValueError):
        bound(GOOD, one, one, np.zeros(9, np.int32), one)
    with pytest.raises(ValueError):
        bound(GOOD, one, one, np.zeros(9, np.int64)[::2], one)
    with pytest.raises(ValueError):
        gather_strings(as_array(GOOD), one, two)
    for begin, end in ((-1, 2), (2, 1), (0, 18)):
        for kernel in (gather_strings, find_distinct):
            with pytest.raises(ValueError):
                kernel(as_array(GOOD), np.array([begin]), np.array([end]))
