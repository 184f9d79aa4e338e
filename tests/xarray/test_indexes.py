"""Which coordinates have an index comes back; an index that is not stored is refused with a line that works."""

from __future__ import annotations

import re

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray import indexes

from atlas import Atlas
from atlas.errors import UnsupportedDtypeError

T = ("x", [1.0, 2.0, 3.0])
DATASETS = {
    "usual": xr.Dataset({"t": T}, {"x": [3, 1, 2]}),
    "no coordinates": xr.Dataset({"t": T}),
    "a dimension coordinate without index": xr.Dataset({"t": T}, xr.Coordinates({"x": ("x", [3, 1, 2])}, indexes={})),
    "another coordinate": xr.Dataset({"t": T}, {"q": ("x", [3, 1, 2])}).set_xindex("q"),
    "both": xr.Dataset({"t": T}, {"x": [1, 2, 3], "q": ("x", list("abc"))}).set_xindex("q"),
    "the other instead": xr.Dataset({"t": T}, {"x": [1, 2, 3], "q": ("x", list("abc"))})
    .drop_indexes("x")
    .set_xindex("q"),
    "dates": xr.Dataset({"t": T}, {"x": pd.date_range("2000", periods=3), "s": 5}),
    "dropped dates": xr.Dataset({"t": T}, {"x": pd.date_range("2000", periods=3), "s": 5}).drop_indexes("x"),
    "two dimensions": xr.Dataset({"t": (("y", "x"), np.ones((2, 3)))}, {"x": [1, 2, 3], "y": [1, 2]}).drop_indexes("y"),
}


@pytest.mark.parametrize("what", DATASETS)
def test_indexes_come_back(place, what):
    ds = DATASETS[what]
    with Atlas.create(place) as store:
        store.add_xr_dataset(ds, "a")
    store = Atlas.open(place)
    back = store.to_xarray("a")
    xr.testing.assert_identical(back, ds)
    assert set(back.xindexes) == set(ds.xindexes)
    assert "_atlas_indexes" not in store["a"].attributes()
    assert "_atlas_indexes" not in back.attrs
    assert "_atlas_indexes" not in store["a"].attrs


def test_a_coordinate_without_index_may_be_lazy(store):
    cells = da.arange(6, chunks=2)
    ds = xr.Dataset({"t": ("x", np.arange(6.0))}, xr.Coordinates({"x": ("x", cells)}, indexes={}))
    store.add_xr_dataset(ds, "a")
    back = store.to_xarray("a")
    assert back["x"].variable.chunks == ((2, 2, 2),)
    assert not back.xindexes
    xr.testing.assert_identical(back.compute(), ds.compute())


def test_the_record_of_another_program_is_ignored_where_it_names_nothing(store):
    store.add_xr_dataset(DATASETS["another coordinate"], "a")
    store["a"].delete_array("q")
    assert not store.to_xarray("a").xindexes


def refused():
    cells = np.ones((2, 3))
    yield "MultiIndex", xr.Dataset({"t": (("x", "y"), cells)}, {"x": [1, 2], "y": [1, 2, 3]}).stack(z=("x", "y"))
    if hasattr(indexes, "RangeIndex"):  # of later versions of xarray
        index = indexes.RangeIndex.arange(0.0, 1.0, 0.2, dim="x")
        yield "RangeIndex", xr.Dataset(coords=xr.Coordinates.from_xindex(index))


@pytest.mark.parametrize(("kind", "ds"), [pytest.param(*case, id=case[0]) for case in refused()])
def test_an_index_that_is_not_stored_is_refused_and_the_advice_works(store, kind, ds):
    with pytest.raises(UnsupportedDtypeError, match=f"{kind}, which is not stored") as caught:
        store.add_xr_dataset(ds, "a")
    assert list(store) == []
    again = eval(re.search(r"use (ds\..*) first$", str(caught.value))[1], {"ds": ds})
    store.add_xr_dataset(again, "a")
    xr.testing.assert_identical(store.to_xarray("a"), again)
