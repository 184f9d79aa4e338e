"""Adding an xarray dataset: the mapping, what is refused, and that a failure leaves nothing."""

from __future__ import annotations

import copy
import re

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import (
    AtlasError,
    DatasetExistsError,
    InvalidNameError,
    InvalidTypeError,
    InvalidValueError,
    OutOfRangeError,
    UnsupportedDtypeError,
)
from atlas.write.writer import Writer

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_the_published_mapping(store):
    ds = xr.Dataset(
        {"t": (["y", "x"], X, {"units": "C", "levels": [1, 2.5, "a"], "_FillValue": np.float32(9)})},
        coords={"x": [1, 2, 3], "y": ("y", [1.0, 2.0], {"axis": "Y"}), "z": ("x", [7, 8, 9])},
        attrs={"month": 1, "station": "KNMI", "pair": (1, 2)},
    )
    store.add_xr_dataset(ds, "a")
    view = store.open_dataset("a")
    assert view.list_arrays() == ["x", "y", "z", "t"]
    assert view.attributes() == {
        "y.axis": "Y",
        "t.units": "C",
        "t.levels": 'json:[1, 2.5, "a"]',
        "month": 1,
        "station": "KNMI",
        "pair": "json:[1, 2]",
        "_pyatlas_coords": '["x", "y", "z"]',
    }
    assert list(view.attributes())[-1] == "_pyatlas_coords"
    assert view.array_fill_value("t") == 9.0
    assert view.array_fill_value("x") is None
    assert view.array_meta("t") == {
        "dtype": "float32",
        "shape": [2, 3],
        "chunk_shape": [2, 3],
        "dimension_names": ["y", "x"],
    }


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", ">i4", ">f8"])
def test_every_number_is_stored_as_it_is(store, dtype):
    ds = xr.Dataset({"t": ("x", np.array([1, 2], dtype)), "s": ((), np.array(3, dtype))})
    store.add_xr_dataset(ds, "a")
    assert store.open_dataset("a").array_meta("t")["dtype"] == np.dtype(dtype).name
    assert store.open_dataset("a").array_meta("s")["shape"] == []
    xr.testing.assert_identical(store.to_xarray("a"), ds)


@pytest.mark.parametrize(
    "cells",
    [np.array(["a", "ü"], object), np.array(["a", "ü"])],
    ids=["object", "U"],
)
def test_text_of_objects_and_of_numpy_comes_back_as_str(store, cells):
    store.add_xr_dataset(xr.Dataset({"t": ("x", cells), "s": ((), cells[1])}), "a")
    assert store.open_dataset("a").array_meta("t")["dtype"] == "string"
    back = store.to_xarray("a")
    assert back.t.values.tolist() == ["a", "ü"]
    assert back.s.item() == "ü"
    assert back.t.dtype == object


def test_an_index_of_pandas_strings_is_a_string_array(store):
    ds = xr.Dataset({"t": ("station", [1, 2])}, coords={"station": pd.Index(["a", "b"], dtype="str")})
    store.add_xr_dataset(ds, "a")
    assert store.to_xarray("a").station.values.tolist() == ["a", "b"]


@pytest.mark.parametrize("cells", [np.array([1], "c8"), np.array([1], "c16"), np.array([1], "g")], ids=str)
def test_other_dtypes_are_refused_naming_variable_and_supported(store, cells):
    with pytest.raises(UnsupportedDtypeError, match=r"'bad'.*float32.*timestamp_nanoseconds"):
        store.add_xr_dataset(xr.Dataset({"good": 1, "bad": ("x", cells)}), "a")
    assert store.list_datasets() == []


def test_pandas_extension_arrays_are_refused(store):
    ds = xr.Dataset({"bad": ("x", pd.array([1, None], dtype="Int64"))})
    with pytest.raises(UnsupportedDtypeError, match=r"'bad'.*Int64"):
        store.add_xr_dataset(ds, "a")


@pytest.mark.parametrize(
    ("cells", "stored"),
    [
        (np.array([1.5], "g"), "float64"),
        (pd.array([1, None], dtype="Int64"), "float64"),
        (pd.array([1, 2**63 - 1], dtype="Int64"), "int64"),
        (pd.array([1, 2], dtype="UInt8"), "uint8"),
        (pd.array([1.5, None], dtype="Float32"), "float32"),
        (pd.array([True, None], dtype="boolean"), "float32"),
        (pd.array([True, False], dtype="boolean"), "bool"),
    ],
)
def test_the_remedy_for_dtypes_that_are_not_stored_works(store, cells, stored):
    ds = xr.Dataset({"bad": ("x", cells)})
    with pytest.raises(UnsupportedDtypeError) as caught:
        store.add_xr_dataset(ds, "a")
    assert str(caught.value).endswith(f"; use ds['bad'].astype('{stored}')")
    store.add_xr_dataset(ds.assign(bad=ds["bad"].astype(stored)), "a")
    back = store.to_xarray("a")["bad"]
    assert back.dtype == stored
    assert shown(back.values) == [None if cell is pd.NA else cell for cell in cells.tolist()]


ADVICE = {
    "complex": (np.array([1 + 2j, 3]), {"t_real": [1, 3], "t_imag": [2, 0]}),
    "compound": (np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")]), {"t_a": [1, 3], "t_b": [2.5, 4.5]}),
    "void": (np.array([b"ab", b"cd"], "V2"), {}),
    "long double": (np.ones(2, np.longdouble), {"t": [1.0, 1.0]}),
    "interval": (pd.arrays.IntervalArray.from_breaks([0, 1, 2]), {"t": ["(0, 1]", "(1, 2]"]}),
    "category": (pd.Categorical(["a", None]), {"t": ["a", None]}),
    "zone": (pd.date_range("2000-01-01", periods=2, tz="Europe/Paris"), {"t": ["1999-12-31T23", "2000-01-01T23"]}),
    "integers of pandas": (pd.array([1, None], "Int64"), {"t": [1.0, None]}),
    "flags of pandas": (pd.array([True, None], "boolean"), {"t": [1.0, None]}),
}
LABELS = {
    "interval": (pd.interval_range(0, 2), ["(0, 1]", "(1, 2]"]),
    "category": (pd.CategoricalIndex(["a", "b"]), ["a", "b"]),
    "zone": (pd.date_range("2000-01-01", periods=2, tz="Europe/Paris"), ["1999-12-31T23", "2000-01-01T23"]),
    "period": (pd.period_range("2000-01-01", periods=2), ["2000-01-01", "2000-01-02"]),
}


def follow(store, ds, name):
    """The dataset that the advice of a refusal makes, stored and read back."""
    with pytest.raises(UnsupportedDtypeError, match=f"variable '{name}'") as caught:
        store.add_xr_dataset(ds, "a")
    assert list(store) == []
    message = str(caught.value)
    assert len(message) < 450
    made = eval(re.search(r"; use (.*?)(, (?:which|a variable).*)?$", message)[1], {"ds": ds})
    store.add_xr_dataset(ds.assign({name: made}) if isinstance(made, xr.DataArray) else made, "a")
    return store.to_xarray("a")


def shown(cells):
    cells = cells.astype("M8[h]").astype(str) if cells.dtype.kind == "M" else cells
    return [None if cell is None or cell != cell else cell for cell in cells.tolist()]


@pytest.mark.parametrize("what", ADVICE)
def test_the_advice_for_a_dtype_that_is_not_stored_works(store, what):
    cells, expected = ADVICE[what]
    back = follow(store, xr.Dataset({"t": ("x", cells), "n": ("x", [1, 2])}), "t")
    assert {name: shown(variable.values) for name, variable in back.items()} == expected | {"n": [1, 2]}


@pytest.mark.parametrize("what", LABELS)
def test_the_advice_for_labels_that_are_not_stored_works(store, what):
    labels, expected = LABELS[what]
    back = follow(store, xr.Dataset({"n": ("x", [1, 2])}, {"x": labels}), "x")
    assert shown(back.x.values) == expected
    assert "x" in back.xindexes


@pytest.mark.parametrize("chunks", ["auto", 3, True, ["t"], {"t": "auto"}, {"t": 3}])
def test_chunks_must_map_variables_to_shapes(store, chunks):
    with pytest.raises(InvalidTypeError, match="chunk"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", [1])}), "a", chunks=chunks)
    assert store.list_datasets() == []


@pytest.mark.parametrize(("cell", "kind"), [(b"c", "bytes"), (["c"], "list"), (4, "int")])
@pytest.mark.parametrize("lazy", [False, True])
def test_cells_that_are_not_strings_are_refused(store, cell, kind, lazy):
    cells = np.array(["a", "b", None], object)
    cells[2] = cell
    ds = xr.Dataset({"names": ("x", da.from_array(cells, chunks=2) if lazy else cells)})
    with pytest.raises(InvalidTypeError, match=f"'names'.*({kind})"):
        store.add_xr_dataset(ds, "a")
    assert store.list_datasets() == []


@pytest.mark.parametrize("name", ["_t", "a/b", ""])
def test_variable_names_follow_the_rule(store, name):
    with pytest.raises(InvalidNameError):
        store.add_xr_dataset(xr.Dataset({name: ("x", [1, 2])}), "a")
    assert store.list_datasets() == []


def test_names_that_are_not_strings_are_refused(store):
    with pytest.raises(InvalidTypeError):
        store.add_xr_dataset(xr.Dataset({5: ("x", [1])}), "a")
    with pytest.raises(InvalidTypeError):
        store.add_xr_dataset(xr.Dataset({"t": ((5,), [1])}), "a")
    assert store.list_datasets() == []


@pytest.mark.parametrize(
    "value",
    [pytest.param(object(), id="object"), 1j, {1, 2}, np.array([1j]), pd.Timestamp(0, tz="Europe/Paris")],
    ids=str,
)
def test_attributes_that_cannot_be_stored_are_refused_by_name(store, value):
    with pytest.raises(InvalidValueError, match=r"'t'.*'bad'.*unsupported"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", [1], {"bad": value})}), "a")
    with pytest.raises(InvalidValueError, match=r"dataset.*'bad'.*unsupported"):
        store.add_xr_dataset(xr.Dataset(attrs={"bad": value}), "a")
    with pytest.raises(OutOfRangeError, match="'big'"):
        store.add_xr_dataset(xr.Dataset(attrs={"big": 2**5000}), "a")
    assert store.list_datasets() == []


@pytest.mark.parametrize(
    "name", ["_pyatlas_coords", "_atlas_dtype", "_atlas_encoding", "_atlas_source", "_atlas_order"]
)
def test_attribute_names_of_the_store_are_refused(store, name):
    with pytest.raises(InvalidNameError, match=name):
        store.add_xr_dataset(xr.Dataset(attrs={name: 1}), "a")
    with pytest.raises(InvalidNameError, match=name):
        store.add_xr_dataset(xr.Dataset({"t": ((), 1, {name: 1})}), "a")


@pytest.mark.parametrize("value", [[0.0, 90.0], np.array([0.0, 90.0]), 3.5], ids=["list", "array", "number"])
@pytest.mark.parametrize("key", ["bounds", "climatology"])
def test_bounds_of_a_coordinate_may_be_any_attribute(store, key, value):
    ds = xr.Dataset({"t": ("x", [1, 2])}, {"x": ("x", [0.5, 1.5], {key: value})})
    store.add_xr_dataset(ds, "a")
    xr.testing.assert_identical(store.to_xarray("a"), ds)


def test_attribute_keys_become_strings(store):
    store.add_xr_dataset(xr.Dataset(attrs={5: 1}), "a")
    assert store.to_xarray("a").attrs == {"5": 1}


@pytest.mark.parametrize("source", [xr.DataArray([1], name="q"), {"t": 1}, None])
def test_only_datasets_are_added(store, source):
    with pytest.raises(InvalidTypeError, match=r"xarray.Dataset"):
        store.add_xr_dataset(source, "a")


def test_a_name_that_is_taken_stays_as_it_was(store):
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1, 2])}), "a")
    with pytest.raises(DatasetExistsError):
        store.add_xr_dataset(xr.Dataset({"t": ("x", [3])}), "a")
    assert store.to_xarray("a").t.values.tolist() == [1, 2]


def test_a_dask_variable_is_one_write_a_block_in_order(store, calls):
    data = da.from_array(np.arange(70).reshape(7, 10), chunks=(3, 4))
    store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), data)}), "a")
    view = store.open_dataset("a")
    assert view.array_meta("t")["chunk_shape"] == [3, 4]
    starts = [[y, x] for y in (0, 3, 6) for x in (0, 4, 8)]
    assert [call[2] for call in calls] == starts
    assert [call[3] for call in calls] == [(min(3, 7 - y), min(4, 10 - x)) for y, x in starts]
    np.testing.assert_array_equal(view.read_array("t"), np.arange(70).reshape(7, 10))


def test_blocks_are_computed_one_at_a_time(store, monkeypatch):
    live, most = set(), []

    def block(block_info=None):
        location = tuple(block_info[None]["chunk-location"])
        live.add(location)
        most.append(len(live))
        return np.ones((2, 2))

    def written(self, dataset, name, start, data):
        write(self, dataset, name, start, data)
        live.clear()

    write = Writer.write_array
    monkeypatch.setattr(Writer, "write_array", written)
    data = da.map_blocks(block, chunks=((2, 2, 2), (2, 2)), dtype=float, meta=np.empty((0, 0)))
    store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), data)}), "a")
    assert most == [1] * 6


def test_every_other_variable_is_one_write_and_small_ones_are_one_together(store, calls):
    large, empty = np.arange(10_000.0), np.zeros(0)
    ds = xr.Dataset({"t": (("y", "x"), X), "large": ("z", large), "s": 5, "empty": ("none", empty)})
    store.add_xr_dataset(ds, "a", chunks={"t": [1, 2]})
    assert calls == [
        ("write", "large", [0], (10_000,)),
        ("together", ["t", "s"]),
        ("write", "t", [0, 0], (2, 3)),  # of several chunks
    ]
    assert store.open_dataset("a").array_meta("t")["chunk_shape"] == [1, 2]
    xr.testing.assert_identical(store.to_xarray("a").load(), ds)


def test_irregular_dask_chunks_take_the_largest(store, calls):
    data = da.from_array(np.arange(20).reshape(2, 10), chunks=(1, (1, 6, 3)))
    store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), data)}), "a")
    view = store.open_dataset("a")
    assert view.array_meta("t")["chunk_shape"] == [1, 6]
    assert [call[2] for call in calls] == [[y, x] for y in (0, 1) for x in (0, 1, 7)]
    np.testing.assert_array_equal(view.read_array("t"), np.arange(20).reshape(2, 10))


def test_chunks_override_those_of_dask(store, calls):
    data = da.from_array(X, chunks=(1, 2))
    store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), data)}), "a", chunks={"t": (2, 1)})
    view = store.open_dataset("a")
    assert view.array_meta("t")["chunk_shape"] == [2, 1]
    assert [call[3] for call in calls] == [(1, 2), (1, 1), (1, 2), (1, 1)]


def test_scalars_and_empty_blocks_of_dask(store, calls):
    ds = xr.Dataset(
        {
            "s": ((), da.from_array(np.array(5))),
            "none": (("y", "x"), da.zeros((0, 3), chunks=(1, 2))),
            "some": ("x", da.from_array(np.arange(3), chunks=((0, 2, 0, 1),))),
            "empty": ("y", np.zeros(0)),
        }
    )
    store.add_xr_dataset(ds, "a")
    assert calls == [
        ("write", "s", [], ()),
        ("write", "some", [0], (2,)),
        ("write", "some", [2], (1,)),
    ]
    xr.testing.assert_identical(store.to_xarray("a"), ds)


def test_dask_chunks_of_unknown_size_are_refused_with_a_remedy(store):
    data = da.from_array(np.arange(6), chunks=2)
    ds = xr.Dataset({"t": ("x", data)})
    ds.t.variable._data = data[data > 1]
    with pytest.raises(InvalidValueError, match="compute_chunk_sizes"):
        store.add_xr_dataset(ds, "a")


@pytest.mark.parametrize(
    "chunks",
    [
        {"salinity": [7]},
        {"time": 3},
        {"t": [1, 2], "z": 1},
        {1: 2},
        {"x": True},
        {"x": np.timedelta64(2, "s")},
    ],
    ids=str,
)
def test_chunks_of_what_the_dataset_lacks_are_refused_and_name_what_it_has(store, chunks):
    with pytest.raises(InvalidValueError, match=r"dimensions.*\['y', 'x'\].*variables.*\['t'\]"):
        store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), X)}), "a", chunks=chunks)
    assert list(store) == []


def test_chunks_by_dimension_hold_for_every_variable_that_has_it(store):
    ds = xr.Dataset(
        {"t": (("time", "x"), np.zeros((100, 4))), "u": ("time", np.zeros(100)), "s": ("x", np.zeros(4))},
        coords={"time": np.arange(100), "label": ("time", np.arange(100))},
    )
    store.add_xr_dataset(ds, "a", chunks={"time": 10})
    assert {name: store["a"][name].chunks for name in store["a"]} == {
        "t": (10, 4), "u": (10,), "s": (4,), "time": (100,), "label": (10,)
    }  # fmt: skip
    store.add_xr_dataset(ds.chunk({"time": 7, "x": 2}), "b", chunks={"time": 1000, "t": [50, 1]})
    assert store["b"]["t"].chunks == (50, 1)
    assert store["b"]["u"].chunks == (100,)
    assert store["b"]["s"].chunks == (2,)
    store.add_xr_dataset(ds.isel(time=slice(0)), "c", chunks={"time": 10})
    xr.testing.assert_identical(store.to_xarray("c").compute(), ds.isel(time=slice(0)))
    with pytest.raises(InvalidValueError, match="'time'"):
        store.add_xr_dataset(ds, "d", chunks={"time": 0})
    xr.testing.assert_identical(store.to_xarray("a").compute(), ds)


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ({"t": [3]}, InvalidValueError),
        ({"t": [0, 1]}, InvalidValueError),
        ({"t": [-1, 1]}, OutOfRangeError),
        ({"t": [1.5, 1]}, InvalidTypeError),
        ({"t": 1}, InvalidTypeError),
        ({"t": "ab"}, InvalidTypeError),
        ({"t": {"y": 1, "x": 1}}, InvalidTypeError),
    ],
)
def test_chunks_are_checked_before_anything_is_stored(store, chunks, error):
    with pytest.raises(error):
        store.add_xr_dataset(xr.Dataset({"t": (("y", "x"), X)}), "a", chunks=chunks)
    assert store.list_datasets() == []


def test_a_failing_block_leaves_nothing(store):
    def block(block_info=None):
        if block_info[None]["chunk-location"] == (2,):
            raise ZeroDivisionError
        return np.ones(2)

    data = da.map_blocks(block, chunks=((2, 2, 2),), dtype=float, meta=np.empty(0))
    with pytest.raises(ZeroDivisionError):
        store.add_xr_dataset(xr.Dataset({"ok": ("x", np.zeros(6)), "t": ("x", data)}), "a")
    assert store.list_datasets() == []
    store.add_xr_dataset(xr.Dataset({"t": ("x", np.zeros(6))}), "a")
    assert store.open_dataset("a").list_arrays() == ["t"]


def test_a_failure_leaves_no_trace_for_the_next_flush(store, tmp_path):
    cells = np.array(["a", 5], object)
    with pytest.raises(InvalidTypeError):
        store.add_xr_dataset(xr.Dataset({"ok": ("x", np.zeros(2)), "bad": ("x", cells)}, attrs={"k": 1}), "a")
    store.create_dataset("b")
    store.flush()
    again = Atlas.open(tmp_path / "store")
    assert again.list_datasets() == ["b"]
    assert again.list_arrays() == []
    assert not [path for path in (tmp_path / "store").rglob("*") if "ok" in path.name or "bad" in path.name]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_any_scheduler_computes_the_blocks(store, scheduler):
    data = da.from_array(np.arange(6), chunks=3) + 1
    with dask.config.set(scheduler=scheduler):
        store.add_xr_dataset(xr.Dataset({"t": ("x", data)}), "a")
    assert store.open_dataset("a").read_array("t").tolist() == [1, 2, 3, 4, 5, 6]


def test_the_source_is_left_as_it_is(store):
    attrs = {"_FillValue": 9.0, "list": [1, [2]], "array": np.arange(3)}
    ds = xr.Dataset({"t": (("y", "x"), X, attrs)}, attrs={"list": [1]})
    before = copy.deepcopy(ds)
    store.add_xr_dataset(ds, "a")
    xr.testing.assert_identical(ds, before)
    ds.t.attrs["list"].append(3)
    ds.t.attrs["array"][0] = 9
    ds.t.values[0, 0] = 9
    xr.testing.assert_identical(store.to_xarray("a").drop_attrs(), before.drop_attrs())
    assert store.to_xarray("a").t.attrs["list"] == [1, [2]]
    assert store.to_xarray("a").t.attrs["array"].tolist() == [0, 1, 2]


def test_unflushed_names_collide_only_within_the_store(store):
    ds = xr.Dataset({"t": ("x", [1])})
    for name in ("a", "b", "ü 1.2"):
        store.add_xr_dataset(ds, name)
        xr.testing.assert_identical(store.to_xarray(name), ds)


def test_every_refusal_is_of_the_family(store):
    with pytest.raises(AtlasError):
        store.add_xr_dataset(xr.Dataset({"t": ("x", [1j])}), "a")


def test_blocks_that_turn_out_masked_are_filled_or_refused(store):
    def mask(block):
        return np.ma.masked_array(block, block == 2)

    data = da.map_blocks(mask, da.arange(1.0, 4.0, chunks=2), dtype=float, meta=np.empty(0))
    store.add_xr_dataset(xr.Dataset({"t": ("x", data, {"_FillValue": -1.0})}), "a")
    assert store.to_xarray("a").t.values.tolist() == [1, -1, 3]
    with pytest.raises(InvalidTypeError, match="masked"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", data)}), "b")
    assert store.list_datasets() == ["a"]


def test_text_that_is_no_utf8_is_refused_by_name_and_nothing_is_stored(store):
    bad = b"caf\xe9".decode("utf-8", "surrogateescape")
    for ds, words in (
        (xr.Dataset({"t": ("x", [bad, "b"])}), "'t'"),
        (xr.Dataset({"t": ("x", [1])}, attrs={"inst": bad}), "'inst'"),
        (xr.Dataset({"t": ("x", [1], {bad: 1})}), "'t', name of an attribute"),
        (xr.Dataset({"t": ("x", [1], {"_FillValue": b"\xff"})}), "no UTF-8"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            store.add_xr_dataset(ds, "a")
        assert list(store) == []


def test_two_attribute_names_that_would_become_one_are_refused(store):
    with pytest.raises(InvalidValueError, match="two attribute names become '3'"):
        store.add_xr_dataset(xr.Dataset({"t": ("x", [1], {"3": 1, 3: 2})}), "a")
    assert list(store) == []
