"""`view.attrs` and `view["t"].attrs`: mappings of exact values that write through, each with its own attributes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import InvalidNameError, InvalidTypeError, InvalidValueError, MissingAttributeError


@pytest.fixture
def view(store):
    view = store.create_dataset("d")
    view.define_array("t", "float32", ["x"], [2])
    view.define_array("t.sub", "float32", ["x"], [2])
    return view


def test_each_mapping_has_its_own(view):
    view.set_attribute("station", "KNMI")
    view.set_attribute("t.units", "K")
    view.set_attribute("t.sub.units", "m")
    assert dict(view.attrs) == {"station": "KNMI"}
    assert dict(view["t"].attrs) == {"units": "K"}
    assert dict(view["t.sub"].attrs) == {"units": "m"}
    assert repr(view["t"].attrs) == "{'units': 'K'}"
    assert (len(view["t"].attrs), "units" in view["t"].attrs, view["t"].attrs.get("gone")) == (1, True, None)


def test_setting_and_deleting_write_through(place):
    with Atlas.create(place) as store:
        view = store.create_dataset("d")
        view.define_array("t", "float32", ["x"], [2])
        view.attrs["month"] = 1
        view["t"].attrs.update({"units": "K", "range": np.array([1, 2], "i2"), "flags": ["a", "b"]})
        view["t"].attrs["units"] = "degC"
        view["t"].attrs["gone"] = None
        del view["t"].attrs["gone"]
    view = Atlas.open(place)["d"]
    assert view.attrs == {"month": 1}
    assert list(view["t"].attrs) == ["units", "range", "flags"]
    assert view["t"].attrs["range"].dtype == "i2"
    assert view["t"].attrs["flags"] == ["a", "b"]
    assert view.attributes()["t.units"] == "degC"
    assert Atlas.open(place).to_xarray("d")["t"].attrs["flags"] == ["a", "b"]


def test_an_attribute_set_by_its_plain_name_is_replaced_and_not_doubled(view):
    view.set_attribute("t.units", "K")
    view["t"].attrs["units"] = "degC"
    assert view.attributes() == {"t.units": "degC"}
    view.set_attribute("t.units", "F")
    assert view.attributes() == {"t.units": "F"}
    del view["t"].attrs["units"]
    assert view.attributes() == {}


def test_attributes_of_xarray_come_back_as_they_were(store):
    attrs = {"units": "K", "levels": [1, 2.5, "a"], "none": None, "bytes": b"\x00", "when": np.datetime64(5, "ns")}
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0], attrs)}, attrs={"pair": (1, 2)}), "x")
    assert dict(store["x"]["t"].attrs) == dict(store.to_xarray("x")["t"].attrs)
    assert dict(store["x"].attrs) == dict(store.to_xarray("x").attrs)


def test_values_are_copies(view):
    view.attrs["flags"] = ["a"]
    view.attrs["flags"].append("b")
    assert view.attrs["flags"] == ["a"]


WRONG = {
    "a missing name": (lambda attrs: attrs["gone"], MissingAttributeError, "'gone'"),
    "deleting a missing name": (lambda attrs: attrs.__delitem__("gone"), MissingAttributeError, "'gone'"),
    "a name that is no text": (lambda attrs: attrs.__setitem__(1, 2), InvalidTypeError, "str"),
    "a value that is not stored": (lambda attrs: attrs.__setitem__("k", object()), InvalidValueError, "'k'"),
    "a name that is reserved": (lambda attrs: attrs.__setitem__("_atlas_dtype", "x"), InvalidNameError, "reserved"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("owner", ["dataset", "array"])
def test_a_refusal_names_what_is_wrong_and_changes_nothing(view, wrong, owner):
    use, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words):
        use(view.attrs if owner == "dataset" else view["t"].attrs)
    assert view.attributes() == {}
