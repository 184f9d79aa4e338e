"""Whole xarray datasets through the store: real NetCDF files, and datasets that hypothesis generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from xarray.testing import strategies

from atlas import Atlas, AtlasError
from atlas.storage import MemoryStorage

pytest.importorskip("netCDF4")
iris_sample_data = pytest.importorskip("iris_sample_data")

FILES = sorted(Path(iris_sample_data.path).rglob("*.nc")) + [
    Path(xr.__file__).parent / "tests" / "data" / name for name in ("example_1.nc", "bears.nc")
]


@pytest.mark.bulky
@pytest.mark.parametrize("chunked", [False, True], ids=["eager", "chunked"])
@pytest.mark.parametrize("decode", [True, False], ids=["decoded", "raw"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_files_come_back_identical(tmp_path, path, decode, chunked):
    location = tmp_path / "store"
    store = Atlas.create(location)
    with xr.open_dataset(path, decode_cf=decode, decode_timedelta=decode) as opened:
        ds = opened.load()
    if chunked:
        ds = ds.chunk({dim: -(-length // 2) for dim, length in ds.sizes.items()})
    store.add_xr_dataset(ds, path.stem)
    store.flush()
    back = Atlas.open(location).to_xarray(path.stem)
    xr.testing.assert_identical(back.compute(), ds.compute())
    assert list(back.attrs) == list(ds.attrs)
    assert list(back.coords) == list(ds.coords)
    for name, variable in ds.variables.items():
        if variable.dtype.kind not in "UO":
            assert back[name].dtype == variable.dtype


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
NAMES = TEXT.filter(lambda name: name not in {"", ".", ".."} and "/" not in name and not name.startswith("_"))
DIMS = {"x": 3, "y": 2, "z": 0}
ATTRIBUTES = st.dictionaries(
    TEXT,
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | TEXT
    | st.just("json:[1]")
    | st.lists(st.integers(-5, 5))
    | hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=3)),
    max_size=3,
).map(lambda attrs: {k: v for k, v in attrs.items() if k not in {"_FillValue", "_pyatlas_coords", "_atlas_dtype"}})


@st.composite
def variables(draw):
    dims = draw(st.lists(st.sampled_from(sorted(DIMS)), unique=True, max_size=3))
    shape = tuple(DIMS[dim] for dim in dims)
    dtype = draw(
        st.sampled_from(["?", "i1", "u8", "f2", "f4", ">f8", "M8[ns]", "M8[s]", "m8[ms]", "m8[ns]", "O", "U3"])
    )
    if dtype == "O":
        cells = draw(hnp.arrays(object, shape, elements=TEXT))
    elif dtype[1:].startswith("8["):
        ticks = st.integers(-(10**9), 10**9) | st.just(-(2**63))
        cells = draw(hnp.arrays(np.int64, shape, elements=ticks)).view(dtype)
    else:
        cells = draw(hnp.arrays(dtype, shape))
    variable = xr.Variable(dims, cells, draw(ATTRIBUTES))
    return variable.chunk(draw(st.integers(1, 3))) if shape and draw(st.booleans()) else variable


@st.composite
def datasets(draw):
    named = draw(st.dictionaries(NAMES.filter(lambda name: name not in DIMS), variables(), max_size=4))
    coords = set(draw(st.lists(st.sampled_from(sorted(named)), unique=True))) if named else set()
    indexes = {
        dim: xr.Variable(dim, draw(hnp.arrays(np.int32, DIMS[dim])), draw(ATTRIBUTES))
        for dim in draw(st.lists(st.sampled_from(sorted(DIMS)), unique=True))
    }
    return xr.Dataset(
        {name: variable for name, variable in named.items() if name not in coords},
        indexes | {name: named[name] for name in coords},
        draw(ATTRIBUTES),
    )


def is_shadowed(ds):
    """Whether the name of an array and a dot begin an attribute of another owner: see test_dotted_attributes.py."""
    texts = {(None, key) for key in ds.attrs} | {(name, key) for name in ds.variables for key in ds[name].attrs}
    return any(
        (key if owner is None else f"{owner}.{key}").startswith(f"{name}.")
        for owner, key in texts
        for name in ds.variables
        if owner is None or (name != owner and len(name) > len(owner))
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "store"
    Atlas.create(path)
    return path


@settings(deadline=None)  # the first example may compile kernels
@given(datasets().filter(lambda ds: not is_shadowed(ds)))
def test_any_dataset_comes_back_identical(path, ds):
    with Atlas.open(path) as store:
        store.add_xr_dataset(ds, "a")
        unflushed = store.to_xarray("a")
    with Atlas.open(path) as store:
        flushed = store.to_xarray("a")
        for back in (unflushed, flushed):
            xr.testing.assert_identical(back.compute(), ds.compute())
            assert set(back.coords) == set(ds.coords)
            for name, variable in ds.variables.items():
                assert list(back[name].attrs) == list(variable.attrs)
                if variable.dtype.kind not in "UO":
                    assert back[name].dtype == variable.dtype.newbyteorder("=")
        store.delete_dataset("a")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abc"),
        strategies.variables(dims=strategies.dimension_sizes(max_dims=2, max_side=3), attrs=strategies.simple_attrs),
        max_size=2,
    ),
    strategies.simple_attrs,
)
def test_what_xarray_itself_generates_comes_back_identical_or_is_refused_whole(named, attrs):
    try:
        ds = xr.Dataset(named, attrs=attrs)
    except ValueError:  # two lengths of one dimension
        return
    store = Atlas.create(MemoryStorage())
    try:
        store.add_xr_dataset(ds, "a")
    except AtlasError:
        assert list(store) == []
        return
    back = store.to_xarray("a").compute()
    xr.testing.assert_identical(back, ds)
    assert {name: back[name].dtype for name in ds.variables} == {name: ds[name].dtype for name in ds.variables}
