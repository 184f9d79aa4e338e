"""The climate models of CMIP6, as far as a package of sample data has them, stacked: each year keeps its own dates."""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, AtlasError
from atlas.storage import MemoryStorage

PACKAGE = find_spec("esmvaltool_sample_data")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        PACKAGE is None, reason="pip install --no-deps esmvaltool-sample-data==0.0.4 (see CONTRIBUTING.md)"
    ),
]


@pytest.fixture(scope="module")
def paths():
    """The files of the package by their names."""
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    return {path.stem: path for path in sorted(Path(PACKAGE.origin).parent.rglob("*.nc"))}


@pytest.fixture(scope="module")
def originals(paths):
    """The datasets of the package by the names of their files."""
    found = {}
    for path in paths.values():
        with xr.open_dataset(path, decode_timedelta=False) as ds:
            found[path.stem] = ds.load()
    assert len(found) > 300
    return found


@pytest.fixture(scope="module")
def store(originals):
    store = Atlas.create(MemoryStorage())
    for name, ds in originals.items():
        store.add_xr_dataset(ds, name)
    store.flush()
    return store


def models_of(names):
    """Names of the files of each model."""
    models = defaultdict(list)
    for name in names:
        models[name.rsplit("_", 1)[0]].append(name)  # what follows are the years
    return models


def calendar(ds):
    return ds.time.encoding["calendar"].replace("gregorian", "standard").replace("proleptic_", "")


def test_every_file_comes_back_identical(store, originals):
    for name, ds in originals.items():
        xr.testing.assert_identical(store.to_xarray(name).compute(), ds)


def test_the_years_of_each_model_keep_their_dates_and_cells(store, originals):
    stacked = refused = 0
    for names in models_of(originals).values():
        lengths = [originals[name].sizes["time"] for name in names]
        if len(set(lengths)) > 1:
            refused += 1
            with pytest.raises(AtlasError, match=rf"'time' has the shape \({lengths[0]},\).*join='outer' or 'inner'"):
                store.to_xarray_many(names)
            continue
        stacked += len(names) > 1
        many = store.to_xarray_many(names)
        for name in names:
            ds, own = originals[name], many.sel(dataset=name)
            for each in ("time", "lat", "lon", "ta"):
                if each in ds:
                    np.testing.assert_array_equal(own[each].values, ds[each].values, err_msg=name)
    assert stacked > 5
    assert refused > 20


def test_the_years_of_a_model_align_by_their_dates(store, originals):
    names = [name for name in originals if name.startswith("ta_Amon_NorESM2-LM_historical_")]
    many = store.to_xarray_many(names, join="outer", variables=["ta"])
    assert many.sizes["time"] == sum(originals[name].sizes["time"] for name in names)
    for name in names:
        ds = originals[name]
        np.testing.assert_array_equal(many.ta.sel(dataset=name, time=ds.time.values).values, ds.ta.values)
    assert int(many.ta.count()) == sum(int(originals[name].ta.count()) for name in names)


def test_models_of_other_calendars_are_refused_by_name(store, originals):
    first = {}
    for name, ds in originals.items():
        first.setdefault((calendar(ds), ds.sizes["time"]), name)
    of_length = defaultdict(list)
    for (_, length), name in first.items():
        of_length[length].append(name)
    pairs = [(one, other) for one, *others in of_length.values() for other in others]
    assert pairs
    for one, other in pairs:
        with pytest.raises(AtlasError, match=r"array 'time' holds dates.* of the calendar") as caught:
            store.to_xarray_many([one, other], variables=["time"])
        assert all(name in str(caught.value) for name in (one, other))


@pytest.mark.parametrize("chunks", [None, "auto"])
def test_the_years_of_each_model_one_after_another_are_what_xarray_makes_of_the_files(store, paths, chunks):
    many = [names for names in models_of(paths).values() if len(names) > 1]
    assert len(many) > 30
    for names in many:
        ours = store.open_many(names[::-1], combine="concat", dim="time", chunks=chunks)
        with xr.open_mfdataset(
            [paths[name] for name in names],
            decode_timedelta=False,
            data_vars="minimal",
            coords="minimal",
            compat="override",
            combine_attrs="drop_conflicts",
        ) as theirs:
            xr.testing.assert_identical(ours.copy().load(), theirs.load())
            middle = theirs.sizes["time"] // 2
            xr.testing.assert_equal(ours.isel(time=middle), theirs.isel(time=middle))


def test_models_of_other_calendars_do_not_follow_one_another(store, originals):
    first = {}
    for name, ds in originals.items():
        first.setdefault(calendar(ds), name)
    one, *others = first.values()
    assert others
    for other in others:
        with pytest.raises(AtlasError, match=r"array 'time' holds dates.* of the calendar") as caught:
            store.open_many([one, other], combine="concat", dim="time", variables=["time"])
        assert all(name in str(caught.value) for name in (one, other))
