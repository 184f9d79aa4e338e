"""Strings of every NumPy kind as object arrays of str."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidTypeError
from atlas.interop.texts import text_cells


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (np.array([["a", "bc"]]), [["a", "bc"]]),
        (np.array([b"caf\xc3\xa9", b"caf\xe9"]), ["café", "caf\ufffd"]),
        (np.array(["ü\udcc3\udca9", "caf\udce9", "b"], object), ["üé", "caf\ufffd", "b"]),
        (np.array(["a\0b", ""], object), ["a\0b", ""]),
        (np.array(["a", "long" * 20], np.dtypes.StringDType()), ["a", "long" * 20]),
        (np.array("x"), "x"),
        (np.empty((2, 0), "U3"), [[], []]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_cells_become_str(cells, texts):
    before = cells.copy()
    out = text_cells("t", cells)
    assert out.dtype == object
    assert out.tolist() == texts
    assert out.shape == cells.shape
    assert all(type(cell) is str for cell in out.ravel())
    assert cells.tolist() == before.tolist()


@pytest.mark.parametrize("cell", [None, np.nan, 5, ["a"]], ids=repr)
def test_other_cells_are_refused_naming_the_variable_and_the_type(cell):
    cells = np.empty(2, object)
    cells[:] = ["a", cell]
    with pytest.raises(InvalidTypeError, match=rf"'names'.*{type(cell).__name__}"):
        text_cells("names", cells)
