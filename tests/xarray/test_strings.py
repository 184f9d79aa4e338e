"""Text and bytes of xarray through the store: missing cells, the dtypes of NumPy and pandas, and what is refused."""

from __future__ import annotations

import re

import cftime
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import atlas
from atlas import Atlas
from atlas.errors import InvalidTypeError, InvalidValueError, UnsupportedDtypeError
from atlas.xarray.recorded_dtypes import decode_recorded, decoded_dtype
from atlas.xarray.strings import check_strings, string_dtype_to_record


def objects(cells, shape=None):
    out = np.empty(len(cells), object)
    out[:] = cells
    return out if shape is None else out.reshape(shape)


def text_dtype(**options):
    return np.dtypes.StringDType(**options)


TEXTS = {
    "objects": objects(["a", None, ""]),
    "missing first": objects([None, "", "é"]),
    "nothing but missing": objects([None, None, None]),
    "numbers of axes": objects(["a", None, "", "b", None, "c"], (3, 2)),
    "long": objects(["z" * 200, None, "y" * 129]),
    "numpy": np.array(["a", "", "ü"]),
    "numpy strings": np.array(["a", "", "ü"], text_dtype()),
    "numpy strings, NaN": np.array(["a", np.nan, ""], text_dtype(na_object=np.nan)),
    "numpy strings, None": np.array(["a", None, ""], text_dtype(na_object=None)),
    "numpy strings, NA": np.array(["a", "b", ""], text_dtype(na_object=pd.NA)),
    "bytes": np.array([b"a", b"", b"caf\xe9"]),
    "bytes of axes": np.array([[b"a", b""], [b"\xff", b"b"], [b"c", b"d"]]),
    "bytes, objects": objects([b"a\0", None, b""]),
    "bytes, missing first": objects([None, b"\xff", b"a"]),
    "scalar": np.array("a", object),
    "scalar bytes": np.array(b"a"),
}


def dataset(cells):
    dims = ("x", "y")[: cells.ndim]
    return xr.Dataset({"t": (dims, cells), "n": ("x", [1, 2, 3])})


def assert_same(back, ds):
    # Earlier xarray calls no two arrays of StringDType equal, not even an array and its copy.
    if ds.t.dtype.kind != "T" or ds.t.variable.equals(xr.Variable("x", np.array(ds.t.values.tolist(), ds.t.dtype))):
        xr.testing.assert_identical(back, ds)
    assert back.t.dtype == (ds.t.dtype if ds.t.dtype.kind != "U" else object)
    assert [str(cell) for cell in back.t.values.ravel()] == [str(cell) for cell in ds.t.values.ravel()]


def missing(values):
    return [cell is None or cell is pd.NA or cell != cell for cell in values.ravel().tolist()]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("what", TEXTS)
def test_text_and_bytes_come_back_identical(tmp_path, what, lazy):
    ds = dataset(TEXTS[what])
    # dask keeps no StringDType of its own missing cells when it pickles or rechunks: those are tried in memory alone.
    lazy = lazy and ds.t.ndim > 0 and ds.t.dtype.kind != "T"
    if lazy:
        ds = ds.chunk({"x": 2})
    store = Atlas.create(tmp_path / "s")
    store.add_xr_dataset(ds, "a")
    for handle in (store, store.flush() or Atlas.open(tmp_path / "s")):
        back = handle.to_xarray("a")
        assert_same(back.compute(), ds.compute())
        kept = ds.t.dtype.kind in "ST"
        assert back.t.dtype == (ds.t.dtype if kept else object)
        assert missing(back.t.values) == missing(ds.t.values)
        assert bool(back.t.chunks) == lazy
    stats = store["a"]["t"].stats
    assert stats["null_count"] == sum(missing(ds.t.values))
    present = [cell for cell, gone in zip(ds.t.values.ravel().tolist(), missing(ds.t.values), strict=True) if not gone]
    assert (stats["min"], stats["max"]) == (min(present, default=None), max(present, default=None))
    assert store["a"].array_meta("t")["dtype"] == ("bytes" if "bytes" in what else "string")
    assert atlas.verify(tmp_path / "s").ok
    store.compact(keep_versions=1, keep_days=0)
    assert_same(store.to_xarray("a").compute(), ds.compute())


def pandas_dtypes():
    """Those that are of text; before pandas 3, "str" is not."""
    return [name for name in ("string", "str") if isinstance(pd.api.types.pandas_dtype(name), pd.StringDtype)]


@pytest.mark.parametrize("dtype", pandas_dtypes())
def test_missing_text_of_pandas_is_missing_as_it_was(store, dtype):
    ds = xr.Dataset({"t": ("x", pd.array(["a", None, "b"], dtype))}, {"x": pd.Index(["p", "q", None], dtype=dtype)})
    store.add_xr_dataset(ds, "a")
    back = store.to_xarray("a")
    assert [type(cell) for cell in back.t.values.tolist()] == [type(cell) for cell in ds.t.values.tolist()]
    assert back.t.dtype == ds.t.dtype
    assert back.indexes["x"].dtype == ds.indexes["x"].dtype
    assert back.indexes["x"].equals(ds.indexes["x"])
    assert back.sel(x="q").t.isnull()


def test_an_empty_text_is_no_missing_one(store):
    store.add_xr_dataset(xr.Dataset({"t": ("x", objects(["", None]))}), "a")
    assert store["a"].read_array("t").tolist() == ["", None]
    store.flush()
    assert store["a"]["t"].stats["null_count"] == 1


def test_a_missing_cell_of_a_variable_with_a_fill_value_is_the_fill_value(store):
    ds = xr.Dataset({"t": ("x", objects(["a", None]), {"_FillValue": "gone"})})
    store.add_xr_dataset(ds, "a")
    store.flush()
    assert store["a"].read_array("t").tolist() == ["a", "gone"]
    assert store["a"]["t"].stats["null_count"] == 1
    ds = xr.Dataset({"t": ("x", np.array([b"a", b"\0\0"]), {"_FillValue": b"-"})})
    store.add_xr_dataset(ds, "b")
    xr.testing.assert_identical(store.to_xarray("b"), ds)
    assert store["b"].array_fill_value("t") == b"-"


def test_datasets_of_other_lengths_and_dtypes_of_text_are_stacked(store):
    for name, cells in {
        "a": np.array([b"a", b"b"]),
        "b": np.array([b"longer", b""]),
        "c": objects([b"o", None]),
    }.items():
        store.add_xr_dataset(xr.Dataset({"t": ("x", cells)}), name)
    two = store.to_xarray_many(["a", "b"]).t
    assert (two.dtype, two.values.tolist()) == (np.dtype("S6"), [[b"a", b"b"], [b"longer", b""]])
    three = store.to_xarray_many(["a", "b", "c"]).t
    assert missing(three.values) == [False] * 5 + [True]
    store.add_xr_dataset(xr.Dataset({"t": ("x", np.array(["a", "b"], text_dtype()))}), "d")
    store.add_xr_dataset(xr.Dataset({"t": ("x", objects(["e", None]))}), "e")
    assert store.to_xarray_many(["d"]).t.dtype == text_dtype()
    assert missing(store.to_xarray_many(["d", "e"]).t.values) == [False] * 3 + [True]
    with pytest.raises(InvalidValueError, match="'t' holds bytes in dataset 'a' and text in dataset 'd'"):
        store.to_xarray_many(["a", "d"])


@pytest.mark.parametrize(
    ("cells", "dtype"), [([b"longer", b"a"], "S6"), ([b"a\0", b"b"], object), ([None, b"b"], object)]
)
def test_what_the_recorded_dtype_cannot_hold_is_read_in_a_wider_one_or_refused_where_it_is_lazy(store, cells, dtype):
    store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([b"a", b"b"]))}), "a")
    store.add_xr_dataset(xr.Dataset({"t": ("x", np.array([b"a", b"b"]))}), "lazy", chunks={"t": [1]})
    for name in ("a", "lazy"):
        store[name].write_array("t", [0], objects(cells))
    back = store.to_xarray("a").t
    assert (back.dtype, [None if cell != cell else cell for cell in back.values.tolist()]) == (dtype, cells)
    with pytest.raises(InvalidValueError, match=r"'t' holds cells that its xarray dtype \|S1 cannot .* read_array"):
        store.to_xarray("lazy").compute()
    assert store["lazy"].read_array("t").tolist() == cells


@pytest.mark.parametrize(
    "recorded", ["S5", "S0", "S", "S99999999999", "StringDType(0)", "StringDtype", "strings", "U5"]
)
def test_a_record_of_another_dtype_is_ignored(recorded):
    assert decoded_dtype(recorded, "string") is None
    assert decoded_dtype(recorded, "int8") is None


def test_text_that_is_missing_is_refused_by_a_dtype_that_has_no_missing_cells():
    cells = objects(["a", None])
    assert decode_recorded("t", cells, "StringDType(nan)").tolist()[0] == "a"
    with pytest.raises(InvalidValueError, match="'t'"):
        decode_recorded("t", cells, "StringDType")


def test_missing_cells_that_are_text_are_refused():
    with pytest.raises(UnsupportedDtypeError, match="a missing cell in them is text"):
        string_dtype_to_record(text_dtype(na_object="none"))


@pytest.mark.parametrize("cell", [5, ["a"], 1.5, True], ids=repr)
@pytest.mark.parametrize("kind", ["string", "bytes"])
def test_other_cells_are_refused_with_a_remedy(cell, kind):
    cells = objects([{"string": "a", "bytes": b"a"}[kind], cell])
    with pytest.raises(InvalidTypeError, match=rf"'names'.*one cell is {type(cell).__name__}; use "):
        check_strings("names", cells, kind)


NOON = cftime.DatetimeNoLeap(2000, 1, 2, 12)
REFUSED = {
    "flags": ([True, np.nan], [True, False]),
    "no flags": ([None, False], [False, False]),
    "integers": ([1, None], [1.0, np.nan]),
    "mixed numbers": ([None, 2.5, 1], [np.nan, 2.5, 1.0]),
    "text and numbers": (["a", None, 5], ["a", None, "5"]),
    "text and bytes": (["é", None, "é".encode()], ["é", None, "é"]),
    "bytes and text": ([None, b"a", "b"], [None, "a", "b"]),
    "dates and text": (["a", NOON, None], ["a", str(NOON), None]),
    "lists": ([["a"], None], ["['a']", None]),
}


NUMBERS = ("flags", "no flags", "integers", "mixed numbers")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("what", REFUSED)
def test_objects_of_another_kind_are_refused_with_advice_that_works(tmp_path, what, lazy):
    values, expected = REFUSED[what]
    if lazy and what in NUMBERS:  # of one block it cannot be told that all the others hold numbers too
        expected = [None if cell is None or cell != cell else str(cell) for cell in values]
    cells = objects(values)
    ds = xr.Dataset({"t": ("x", da.from_array(cells, chunks=1) if lazy else cells)})
    store = Atlas.create(tmp_path / "s")
    with pytest.raises(InvalidTypeError, match="variable 't'") as caught:
        store.add_xr_dataset(ds, "a")
    assert list(store) == []
    advice = re.search(r"use (.*\))(?: for | to make |$)", str(caught.value))[1]
    ds["t"] = eval(advice, {"ds": ds, "np": np, "xr": xr})
    store.add_xr_dataset(ds, "a")
    found = store["a"].read_array("t").tolist()
    assert [cell for cell in found if cell == cell] == [cell for cell in expected if cell == cell]
    assert missing(objects(found)) == missing(objects(expected))
