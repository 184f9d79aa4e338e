"""Which cells are strings."""

from __future__ import annotations

import re

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from atlas import Atlas
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


DAY_ONE, DAY = cftime.DatetimeNoLeap(1, 1, 1), cftime.DatetimeNoLeap(2000, 1, 2)
MISSING = {
    "pandas": (pd.array(["a", None], "string").astype(object), ["a", ""]),
    "None": (["a", None], ["a", ""]),
    "NaT": (["a", pd.NaT], ["a", ""]),
    "flags": ([True, np.nan], [True, False]),
    "no flags": ([None, False], [False, False]),
    "dates": ([np.nan, DAY], [DAY_ONE, DAY]),
    "anything": (["a", 5], ["a", "5"]),
}


@pytest.mark.parametrize("what", MISSING)
def test_the_advice_for_missing_cells_works(tmp_path, what):
    values, expected = MISSING[what]
    cells = np.empty(2, object)
    cells[:] = list(values)
    ds = xr.Dataset({"t": ("x", cells)})
    store = Atlas.create(tmp_path / "s")
    with pytest.raises(InvalidTypeError, match="variable 't'") as caught:
        store.add_xr_dataset(ds, "a")
    advice = re.search(r"use (.*\))(?: for|$)", str(caught.value))[1]
    ds["t"] = eval(advice, {"ds": ds, "cftime": cftime, "np": np})
    store.add_xr_dataset(ds, "a")
    assert store.to_xarray("a")["t"].values.tolist() == expected
