from __future__ import annotations

import pytest

from atlas.format.strings import IN_CELL, NO_EXTREME, string_statistics
from atlas.verification.block_check import check_strings

A, B = 0, 1
"""Positions of the two texts of the table."""


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ((1, A, B), True),
        ((1, IN_CELL + 1, IN_CELL + 2), True),
        ((1, IN_CELL + 3, B), True),  # another cell that holds the smallest
        ((0, A, B), False),
        ((1, B, B), False),
        ((1, A, A), False),
        ((1, A, 2), False),  # there is no such text
        ((1, IN_CELL + 2, IN_CELL + 2), False),
        ((1, A, IN_CELL + 4), False),  # there is no such cell
        ((1, NO_EXTREME, B), False),
        ((1, A, NO_EXTREME), False),
    ],
)
def test_rows_must_name_the_extremes(stated, right):
    for cells in ["", "a", "b", "a"], [b"", b"a", b"b", b"a"], [None, "a", "b", "a"]:
        assert check_strings(cells, string_statistics(cells, cells[0]), stated, [b"a", b"b"]) is right


@pytest.mark.parametrize(("cells", "fill"), [(["", ""], ""), ([None, None], None), ([None, ""], ""), ([b""] * 2, b"")])
def test_chunks_of_nulls_alone_have_no_extremes(cells, fill):
    assert check_strings(cells, string_statistics(cells, fill), (2, NO_EXTREME, NO_EXTREME), [])
    assert not check_strings(cells, string_statistics(cells, fill), (2, A, A), [b""])
    assert not check_strings(cells, string_statistics(cells, fill), (2, IN_CELL, IN_CELL), [])
