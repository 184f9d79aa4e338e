"""Which cells are strings."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InvalidTypeError
from atlas.xarray.strings import check_strings


@pytest.mark.parametrize(
    "cells",
    [
        np.array([["a", "bc"]]),
        np.array([b"caf\xe9"]),
        np.array(["a", b"b", "caf\udce9"], object),
        np.array(["a", "b"], np.dtypes.StringDType()),
        np.array("x", object),
        np.empty((2, 0), object),
    ],
    ids=str,
)
def test_str_and_bytes_are_strings(cells):
    check_strings("t", cells)


@pytest.mark.parametrize(
    ("cell", "remedy"), [(None, "fillna"), (np.nan, "fillna"), (5, "astype"), (["a"], "astype")], ids=repr
)
def test_other_cells_are_refused_with_a_remedy(cell, remedy):
    cells = np.empty(2, object)
    cells[:] = ["a", cell]
    with pytest.raises(InvalidTypeError, match=rf"'names'.*{type(cell).__name__}.*{remedy}"):
        check_strings("names", cells)
