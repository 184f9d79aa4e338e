"""Every wrong input: the builtin kind and the family, a message with the value and a way out, and no trace left."""

from __future__ import annotations

import builtins
import pickle

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, AtlasError, errors
from tests.api.samples import put

CLASSES = [
    kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and kind is not AtlasError and not name.startswith("_")
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_exported_has_a_builtin_parent_and_pickles(kind):
    assert kind.__name__ in errors.__all__
    assert issubclass(kind, AtlasError)
    assert any(parent in vars(builtins).values() and parent is not Exception for parent in kind.__mro__[:-3])
    error = kind("what is wrong")  # all but the message has a default
    # The second way is that of tblib, by which dask.distributed brings errors back from its workers.
    for again in (pickle.loads(pickle.dumps(error)), kind.__new__(kind, *error.args)):
        assert (type(again), again.args) == (kind, error.args)


@pytest.fixture
def view(store):
    view = store.create_dataset("d")
    put(view, "t", np.arange(12.0).reshape(3, 4), "float64", (2, 2), -1.0)
    put(view, "i", np.arange(3, dtype="i4"), "int32")
    put(view, "s", np.array(["a", "b"], object), "string")
    view.set_attribute("k", 1)
    store.flush()
    return view


def new(*arguments, **keywords):
    return lambda store, view: view.define_array("new", *arguments, **keywords)


def write(name, start, data):
    return lambda store, view: view.write_array(name, start, data)


def read(*arguments):
    return lambda store, view: view.read_array(*arguments)


WRONG = {
    # names
    "dataset name empty": (lambda s, v: s.create_dataset(""), ValueError, "empty"),
    "dataset name slash": (lambda s, v: s.create_dataset("a/b"), ValueError, "'a/b'"),
    "dataset name underscore": (lambda s, v: s.create_dataset("_a"), ValueError, "'_a'"),
    "dataset name dot": (lambda s, v: s.create_dataset("."), ValueError, "'.'"),
    "dataset name dots": (lambda s, v: s.create_dataset(".."), ValueError, "'..'"),
    "dataset name nul": (lambda s, v: s.create_dataset("a\0"), ValueError, "name"),
    "dataset name surrogate": (lambda s, v: s.create_dataset("\ud800"), ValueError, "surrogate"),
    "dataset name int": (lambda s, v: s.create_dataset(1), TypeError, "int"),
    "dataset name bytes": (lambda s, v: s.create_dataset(b"a"), TypeError, "bytes"),
    "array name slash": (lambda s, v: v.define_array("a/b", "int8", [], []), ValueError, "'a/b'"),
    "array name empty": (lambda s, v: v.define_array("", "int8", [], []), ValueError, "empty"),
    "array name int": (lambda s, v: v.define_array(3, "int8", [], []), TypeError, "int"),
    # what is there, and what is not
    "dataset exists": (lambda s, v: s.create_dataset("d"), FileExistsError, r"'d'.*replace_dataset\(\)"),
    "array exists": (lambda s, v: v.define_array("t", "int8", [], []), FileExistsError, "'t'"),
    "open missing": (lambda s, v: s.open_dataset("e"), KeyError, "'e'"),
    "open a number": (lambda s, v: s.open_dataset(1), TypeError, "1"),
    "delete missing": (lambda s, v: s.delete_dataset("e"), KeyError, "'e'"),
    "replace missing": (lambda s, v: s.replace_dataset("e", xr.Dataset()), KeyError, "'e'.*add_xr_dataset"),
    "replace by no dataset": (lambda s, v: s.replace_dataset("d", {"t": [1]}), TypeError, "dict"),
    "replace the other way round": (lambda s, v: s.replace_dataset(xr.Dataset(), "d"), TypeError, r"\(name, ds\)"),
    "to_xarray missing": (lambda s, v: s.to_xarray("e"), KeyError, "'e'"),
    "delete array missing": (lambda s, v: v.delete_array("x"), KeyError, "'x'"),
    "delete attribute missing": (lambda s, v: v.delete_attribute("x"), KeyError, "'x'"),
    "write missing": (write("x", [0], np.zeros(1)), KeyError, "'x'"),
    "across missing": (lambda s, v: s.read_array_across("x", ["d"]), KeyError, "'x'"),
    "stacked missing dataset": (lambda s, v: s.read_array_across_stacked("t", ["d", "e"]), KeyError, "'e'"),
    "across nothing": (lambda s, v: s.read_array_across("t", []), ValueError, "at least one"),
    "stacked nothing": (lambda s, v: s.read_array_across_stacked("t", []), ValueError, "at least one"),
    "many nothing": (lambda s, v: s.to_xarray_many([]), ValueError, "at least one"),
    "across a text": (lambda s, v: s.read_array_across("t", "d"), TypeError, r"\['d'\]"),
    "many a text": (lambda s, v: s.to_xarray_many("d"), TypeError, r"\['d'\]"),
    "stats across missing": (lambda s, v: s.array_stats_across("x"), KeyError, "'x'"),
    "stats across nothing": (lambda s, v: s.array_stats_across("t", []), ValueError, "at least one"),
    "stats across a text": (lambda s, v: s.array_stats_across("t", "d"), TypeError, r"\['d'\]"),
    "stats across a number": (lambda s, v: s.array_stats_across(3), TypeError, "3"),
    "attributes across missing": (lambda s, v: s.attributes_across(array="x"), KeyError, "'x'"),
    "attributes across nothing": (lambda s, v: s.attributes_across([]), ValueError, "at least one"),
    "attributes across a text": (lambda s, v: s.attributes_across("d"), TypeError, r"\['d'\]"),
    "attributes across a key": (lambda s, v: s.attributes_across(keys="k"), TypeError, r"\['k'\]"),
    "attributes across a number": (lambda s, v: s.attributes_across(keys=[1]), TypeError, "1"),
    "attributes across no name": (lambda s, v: s.attributes_across(array=3), TypeError, "3"),
    # declarations
    "dtype unknown": (new("float31", ["x"], [1]), ValueError, "float31.*float32"),
    "dtype none": (new(None, ["x"], [1]), TypeError, "float32"),
    "dtype object": (new(object(), ["x"], [1]), TypeError, "dtype"),
    "dtype binary": (new("binary", ["x"], [1]), NotImplementedError, "binary"),
    "dtype complex": (new("complex64", ["x"], [1]), NotImplementedError, "complex64"),
    "dtype long double": (new(np.longdouble, ["x"], [1]), NotImplementedError, "float"),
    "dtype days": (new("datetime64[D]", ["x"], [1]), NotImplementedError, r"datetime64\[D\].*datetime64\[s\]"),
    "dtype hours": (new("timedelta64[h]", ["x"], [1]), NotImplementedError, r"timedelta64\[h\].*timedelta64\[s\]"),
    "dtype of two meanings": (new("i8", ["x"], [1]), ValueError, '"int64" or "int8"'),
    "fill of a bool": (new("bool", ["x"], [1], fill_value=1), TypeError, "is a bool, not int 1"),
    "fill of another time": (new("M8[s]", ["x"], [1], None, np.timedelta64(1, "s")), TypeError, "unit s"),
    "fill too fine": (new("M8[s]", ["x"], [1], None, np.datetime64(1, "ms")), OverflowError, "whole s"),
    "dtype structured": (new(np.dtype([("a", "i4")]), ["x"], [1]), NotImplementedError, "supported"),
    "dims too few": (new("int8", [], [1]), ValueError, "one entry an axis"),
    "dims too many": (new("int8", ["x", "y"], [1]), ValueError, "one entry an axis"),
    "chunk rank": (new("int8", ["x"], [1], [1, 1]), ValueError, "one entry an axis"),
    "chunk zero": (new("int8", ["x"], [1], [0]), ValueError, "at least 1"),
    "chunk negative": (new("int8", ["x"], [1], [-1]), OverflowError, "-1"),
    "shape negative": (new("int8", ["x"], [-1]), OverflowError, "-1"),
    "shape too large": (new("int8", ["x"], [2**63]), OverflowError, str(2**63)),
    "shape overflows": (new("int8", ["x", "y"], [2**40, 2**40], [1, 1]), ValueError, "bytes"),
    "shape float": (new("int8", ["x"], [1.0]), TypeError, "1.0"),
    "shape bool": (new("int8", ["x"], [True]), TypeError, "bool"),
    "shape number": (new("int8", ["x"], 1), TypeError, "sequence"),
    "shape text": (new("int8", ["x"], "1"), TypeError, "sequence"),
    "dims text": (new("int8", "x", [1]), TypeError, r"\['x'\]"),
    "dims numbers": (new("int8", [1], [1]), TypeError, "int"),
    # data
    "data dtype": (write("t", [0, 0], np.zeros((1, 1), "f4")), TypeError, "float32.*astype"),
    "data ints": (write("t", [0, 0], np.zeros((1, 1), "i8")), TypeError, "int64"),
    "data bool": (write("i", [0], np.zeros(1, bool)), TypeError, "bool"),
    "data text": (write("t", [0, 0], np.array([["a"]])), TypeError, "float64"),
    "data object": (write("t", [0, 0], np.array([[1.0]], object)), TypeError, "object"),
    "data list": (write("t", [0, 0], [[1.0]]), TypeError, "asarray"),
    "data number": (write("t", [0, 0], 1.0), TypeError, "asarray"),
    "data none": (write("t", [0, 0], None), TypeError, "NoneType"),
    "data numbers for text": (write("s", [0], np.zeros(1)), TypeError, "string"),
    "cells that are no text": (write("s", [0], np.array(["a", 3], object)), TypeError, "int 3"),
    "cells that are lists": (write("s", [0], np.array([["a"], None], object)[:1]), TypeError, "list"),
    "write rank": (write("t", [0], np.zeros((1, 1))), ValueError, "dimensions"),
    "write data rank": (write("t", [0, 0], np.zeros(1)), ValueError, "dimensions"),
    "write outside": (write("t", [2, 3], np.zeros((2, 1))), ValueError, r"\[3, 4\]"),
    "write beyond": (write("t", [9, 0], np.zeros((1, 1))), ValueError, "leaves"),
    "write far beyond": (write("t", [2**63 - 1, 0], np.zeros((2, 1))), ValueError, "leaves"),
    "write negative": (write("t", [-1, 0], np.zeros((1, 1))), OverflowError, "-1"),
    "write float index": (write("t", [0.0, 0], np.zeros((1, 1))), TypeError, "float"),
    "write no start": (write("t", None, np.zeros((3, 4))), TypeError, "start"),
    # reads
    "read outside": (read("t", [0, 0], [4, 4]), ValueError, r"\[3, 4\]"),
    "read beyond": (read("t", [4, 0]), ValueError, "leaves"),
    "read rank": (read("t", [0]), ValueError, "dimensions"),
    "read shape rank": (read("t", None, [1, 1, 1]), ValueError, "dimensions"),
    "read negative": (read("t", [-1, 0]), OverflowError, "-1"),
    "read negative shape": (read("t", None, [-1, 1]), OverflowError, "-1"),
    "read huge": (read("t", None, [2**64, 1]), OverflowError, str(2**64)),
    "read float": (read("t", [0.5, 0]), TypeError, "float"),
    "read number": (read("t", 0), TypeError, "whole numbers"),
    "read text": (read("i", "0"), TypeError, "'0'"),
    # attributes
    "attribute list": (lambda s, v: v.set_attribute("k", [1]), ValueError, "list.*supported"),
    "attribute none": (lambda s, v: v.set_attribute("k", None), ValueError, "NoneType"),
    "attribute bytes": (lambda s, v: v.set_attribute("k", b"x"), ValueError, "bytes"),
    "attribute too large": (lambda s, v: v.set_attribute("k", 2**63), OverflowError, "between"),
    "attribute range": (lambda s, v: v.set_attribute("k", 300, "int8"), OverflowError, "300.*int8"),
    "attribute kind": (lambda s, v: v.set_attribute("k", "1", "int8"), TypeError, "int8"),
    "attribute dtype": (lambda s, v: v.set_attribute("k", 1, "int9"), ValueError, "int9"),
    "attribute dtype kind": (lambda s, v: v.set_attribute("k", 1, 5), TypeError, "int8"),
    "attribute key": (lambda s, v: v.set_attribute(1, 1), TypeError, "int"),
    # xarray
    "add nothing": (lambda s, v: s.add_xr_dataset({"a": 1}, "new"), TypeError, "dict"),
}  # fmt: skip


@pytest.mark.parametrize("pending", [False, True], ids=["flushed", "pending"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_and_leaves_no_trace(store, place, view, case, pending):
    call, kind, words = WRONG[case]
    if pending:
        view.write_array("t", [0, 0], np.full((1, 1), 5.0))
    expected = view.read_array("t").tolist()
    before = sorted(path for path in place.rglob("*") if path.is_file())
    with pytest.raises(kind, match=words) as info:
        call(store, view)
    assert isinstance(info.value, AtlasError)
    assert not str(info.value).startswith(('"', "'\""))
    assert len(str(info.value)) > 10
    assert sorted(path for path in place.rglob("*") if path.is_file()) == before
    assert store._session.pending == pending
    view.write_array("i", [1], np.array([9], "i4"))
    view.set_attribute("after", 2)
    store.flush()
    again = Atlas.open(place)
    assert again.list_datasets() == ["d"]
    found = again.open_dataset("d")
    assert found.list_arrays() == ["t", "i", "s"]
    assert found.read_array("t").tolist() == expected
    assert found.read_array("i").tolist() == [0, 9, 2]
    assert found.read_array("s").tolist() == ["a", "b"]
    assert found.attributes() == {"k": 1, "after": 2}


@pytest.mark.parametrize("source", [None, 5, b"x", object(), ["a"]])
@pytest.mark.parametrize("call", [Atlas.create, Atlas.open])
def test_sources_of_another_type_are_refused(call, source):
    with pytest.raises(TypeError, match="path") as info:
        call(source)
    assert isinstance(info.value, AtlasError)


@pytest.mark.parametrize("call", [Atlas.create, Atlas.open])
def test_urls_are_refused_with_a_way_out(call):
    with pytest.raises(ValueError, match="obstore") as info:
        call("s3://bucket/prefix")
    assert isinstance(info.value, AtlasError)


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "f").write_text("x")
    for call in (Atlas.create, Atlas.open):
        with pytest.raises(OSError, match="f") as info:
            call(tmp_path / "f")
        assert isinstance(info.value, AtlasError)
    assert (tmp_path / "f").read_text() == "x"


@pytest.mark.parametrize("option", ["codec", "meta_format", "meta_compression", "filter"])
def test_options_that_are_no_strings_are_refused(place, option):
    with pytest.raises(TypeError, match=option):
        Atlas.create(place, **{option: 1})
    assert not place.exists()


def test_a_view_of_a_deleted_dataset_is_a_key_error(store, view):
    store.delete_dataset("d")
    calls = [
        view.list_arrays, view.attributes, lambda: view.read_array("t"), lambda: view.array_meta("t"),
        lambda: view.array_stats("t"), lambda: view.set_attribute("k", 1), lambda: view.get_attribute("k"),
        lambda: view.define_array("n", "int8", [], []), lambda: view.write_array("t", [0, 0], np.zeros((1, 1))),
        lambda: view.delete_array("t"), lambda: view.array_fill_value("t"), lambda: view.delete_attribute("k"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(KeyError, match="'d'"):
            call()
    assert store.list_datasets() == []
