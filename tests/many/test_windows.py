"""`isel=`: what is taken of each dataset before it becomes part of many, beside taking it of each by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import InvalidIndexError
from atlas.storage import MemoryStorage

LENGTHS = [5, 2, 9, 5]


def profile(at):
    rng = np.random.default_rng(at)
    levels = LENGTHS[at]
    return xr.Dataset(
        {
            "t": (("level", "band"), rng.random((levels, 3)).round(2), {"units": "K"}),
            "u": (("band", "level"), rng.random((3, levels)).round(2)),
            "lat": ((), 1.5 * at),
        },
        {"level": np.arange(levels) * 2.0, "band": [1, 2, 4]},
    )


@pytest.fixture(scope="module")
def source():
    storage = MemoryStorage()
    store = Atlas.create(storage)
    for at in range(len(LENGTHS)):
        store.add_xr_dataset(profile(at), f"p{at}", chunks={"level": 2})
    store.flush()
    return storage


def entries(length):
    """Positions that datasets of any length from 2 on have, and slices."""
    inside = st.integers(-2, 1)
    edges = st.none() | st.integers(-length, length)
    return inside | st.builds(slice, edges, edges)


OPTIONS = {
    "stack": {"missing": "fill"},
    "ragged": {"dim": "level", "variables": ["t", "lat"]},
    "concat": {"dim": "level", "variables": ["t"], "sort": False},
}


@pytest.mark.filterwarnings("ignore:the labels 'level' are in no order")
@pytest.mark.parametrize("combine", OPTIONS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_equals_taking_it_of_each_dataset(source, combine, data):
    isel = {"band": data.draw(entries(3))}
    level = data.draw(entries(9))
    if combine == "stack" or isinstance(level, slice):
        isel["level"] = level
    cut = Atlas.create(MemoryStorage())
    for at in range(len(LENGTHS)):
        cut.add_xr_dataset(profile(at).isel(isel), f"p{at}")
    cut.flush()
    found = Atlas.open(source).open_many(combine=combine, isel=isel, **OPTIONS[combine])
    expected = cut.open_many(combine=combine, **OPTIONS[combine])
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name][::-2].values, expected[name].values[::-2])
    xr.testing.assert_equal(found.load(), expected.load())


def test_the_last_cell_of_each(source):
    ds = Atlas.open(source).open_many(isel={"level": -1, "band": slice(1, None)})
    np.testing.assert_array_equal(ds.t, [profile(at).t[-1, 1:] for at in range(len(LENGTHS))])
    assert ds.level.dims == ("dataset",)
    assert (ds.level.values.tolist(), ds.band.values.tolist()) == ([8, 2, 16, 8], [2, 4])
    with pytest.raises(
        InvalidIndexError, match="position 2 along 'level', and array 'level' of dataset 'p1' has 2 cells"
    ):
        Atlas.open(source).open_many(isel={"level": 2})


def test_blocks_of_other_windows_have_other_names(source):
    store = Atlas.open(source)
    first, last = (
        store.open_many(isel={"level": level}, variables=["t"], chunks="auto")["t"] for level in (0, slice(-1, None))
    )
    assert first.data.name != last.data.name
    np.testing.assert_array_equal(last[:, 0] - first, [profile(at).t[-1] - profile(at).t[0] for at in range(4)])
