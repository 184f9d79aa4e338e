from __future__ import annotations

import pytest

from atlas.format.strings import NO_CELL
from atlas.verification.block_check import check_strings


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ((1, 1, 2), True),
        ((1, 3, 2), True),  # another cell that holds the smallest
        ((0, 1, 2), False),
        ((1, 2, 2), False),
        ((1, 1, 1), False),
        ((1, 1, 4), False),  # there is no such cell
        ((1, NO_CELL, 2), False),
        ((1, 1, NO_CELL), False),
    ],
)
def test_the_cells_named_must_hold_the_extremes(stated, right):
    assert check_strings(["", "a", "b", "a"], "", stated) is right


def test_chunks_of_nulls_alone_name_no_cell():
    assert check_strings(["", ""], "", (2, NO_CELL, NO_CELL))
    assert not check_strings(["", ""], "", (2, 0, 0))
