"""What `array.name` means as the name of an attribute: the same for every call that sets, shows or deletes it."""

from __future__ import annotations

import datetime as dt
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.dataset import exact_attributes
from atlas.errors import ConflictError, CorruptStoreError, InvalidNameError, MissingAttributeError
from atlas.format.attributes import encode_value
from atlas.storage import MemoryStorage
from tests.exact import set_exact_attribute
from tests.verification.samples import rewrite

ARRAYS = ["a", "a.b", "b"]
TEXTS = ["c", "b.c", "a.c", "a.b.c", "a.b", "a.", ".a", "a.b.c.d", "b._FillValue"]
VALUES = [1, 2, "json:[1]"]


def owner_of(text, arrays):
    """The rule: the longest array whose name and a dot begin the text, and the rest of it."""
    array = max((name for name in arrays if text.startswith(f"{name}.")), key=len, default=None)
    return array, text if array is None else text[len(array) + 1 :]


def define(view, array):
    view.define_array(array, "int8", [f"dim of {array}"], [2])


def listed(value, plain):
    """What xarray and `attrs` have of a value: text that `set_attribute` took may stand for a list."""
    return [1] if plain and value == "json:[1]" else value


def check(store, arrays, attributes):
    """Compare what every call shows with the model: names to value and whether `set_attribute` took it."""
    view, ds = store["d"], store.to_xarray("d")
    assert view.attributes() == {text: value for text, (value, _) in attributes.items()}
    assert list(view.attributes()) == list(attributes)
    for text in {*TEXTS, *attributes}:
        assert view.get_attribute(text) == attributes.get(text, (None,))[0]
    for array in (None, *arrays):
        expected = {
            owner_of(text, arrays)[1]: listed(*shown)
            for text, shown in attributes.items()
            if owner_of(text, arrays)[0] == array
        }
        assert dict(view.attrs if array is None else view[array].attrs) == expected
        assert (ds if array is None else ds[array]).attrs == expected


ACTIONS = (
    st.tuples(st.just("plain"), st.sampled_from(TEXTS), st.sampled_from(VALUES))
    | st.tuples(st.just("attrs"), st.sampled_from([None, *ARRAYS]), st.sampled_from(TEXTS), st.sampled_from(VALUES))
    | st.tuples(st.just("forget"), st.sampled_from(TEXTS))
    | st.tuples(st.just("pop"), st.sampled_from([None, *ARRAYS]), st.sampled_from(TEXTS))
    | st.tuples(st.sampled_from(["define", "delete"]), st.sampled_from(ARRAYS))
    | st.tuples(st.just("reopen"))
)


@given(st.lists(ACTIONS, max_size=12))
def test_all_calls_agree_whatever_was_done(actions):
    storage = MemoryStorage()
    store, arrays, attributes = Atlas.create(storage), [], {}
    store.create_dataset("d")
    for action, *given_ in actions:
        view = store["d"]
        if action == "plain":
            text, value = given_
            view.set_attribute(text, value)
            attributes[text] = value, True
        elif action == "attrs" and (given_[0] is None or given_[0] in arrays):
            array, name, value = given_
            text = name if array is None else f"{array}.{name}"
            attrs = view.attrs if array is None else view[array].attrs
            if owner_of(text, arrays) == (array, name):
                attrs[name] = value
            else:
                with pytest.raises(InvalidNameError) as caught:
                    attrs[name] = value
                advised = str(caught.value).rpartition("; use ")[2]
                exec(f"{advised} = value", {"dataset": view, "value": value})
            attributes[text] = value, False
        elif action == "forget":
            (text,) = given_
            if attributes.pop(text, None):
                view.delete_attribute(text)
            else:
                with pytest.raises(MissingAttributeError):
                    view.delete_attribute(text)
        elif action == "pop" and (given_[0] is None or given_[0] in arrays):
            array, name = given_
            text = name if array is None else f"{array}.{name}"
            attrs = view.attrs if array is None else view[array].attrs
            if text in attributes and owner_of(text, arrays) == (array, name):
                del attributes[text]
                del attrs[name]
            else:
                with pytest.raises(MissingAttributeError):
                    del attrs[name]
        elif action == "define" and given_[0] not in arrays:
            define(view, *given_)
            arrays += given_
        elif action == "delete" and given_[0] in arrays:
            attributes = {text: shown for text, shown in attributes.items() if owner_of(text, arrays)[0] != given_[0]}
            view.delete_array(*given_)
            arrays.remove(*given_)
        elif action == "reopen":
            store.flush()
            store = Atlas.open(storage)
        check(store, arrays, attributes)


def set_plain(view):
    view.set_attribute("t.units", "K")


def set_attrs(view):
    view["t"].attrs["units"] = "K"


@pytest.mark.parametrize(
    ("first", "then", "defined"),
    [
        (first, then, defined)
        for first, then, defined in product([None, set_plain, set_attrs], [set_plain, set_attrs], ["before", "after"])
        if defined == "before" or set_attrs not in (first, then)
    ],
)
def test_each_way_to_set_is_shown_by_each_way_to_read(store, first, then, defined):
    view = store.create_dataset("d")
    view.set_attribute("before", 0)
    for act in [lambda view: define(view, "t")] * (defined == "before") + [first, then]:
        if act is not None:
            act(view)
    if defined == "after":
        assert (dict(view.attrs), view.attributes()["t.units"]) == ({"before": 0, "t.units": "K"}, "K")
        define(view, "t")
    assert view.attributes() == {"before": 0, "t.units": "K"}
    assert view.get_attribute("t.units") == "K"
    assert (dict(view["t"].attrs), dict(view.attrs)) == ({"units": "K"}, {"before": 0})
    ds = store.to_xarray("d")
    assert (ds["t"].attrs, ds.attrs) == ({"units": "K"}, {"before": 0})
    view.delete_array("t")
    define(view, "t")
    assert view.attributes() == {"before": 0}
    assert store.to_xarray("d")["t"].attrs == {}


SHADOWING = {
    "of the dataset": (xr.Dataset({"t": ("x", [1])}, attrs={"t.units": 4, "t_units": 5}), "dataset"),
    "of the dataset, twice": (xr.Dataset({"t": ("x", [1], {"units": 3})}, attrs={"t.units": 4}), "dataset"),
    "of the dataset, without a name": (xr.Dataset({"t": ("x", [1])}, attrs={"t.": 6}), "dataset"),
    "of a number": (xr.Dataset({"1": ("x", [1])}, attrs={1.5: 6}), "dataset"),
    "of another variable": (xr.Dataset({"a": ("x", [1], {"b.c": 1}), "a.b": ("x", [2])}), "variable 'a'"),
    "of a coordinate": (xr.Dataset({"x": ("x", [1], {"y.z": 1})}, {"x.y": ("x", [2])}), "variable 'x'"),
}


@pytest.mark.parametrize("case", SHADOWING)
def test_an_attribute_of_xarray_that_would_come_back_elsewhere_is_refused_and_the_advice_works(store, case):
    ds, owner = SHADOWING[case]
    before = ds.copy(deep=True)
    with pytest.raises(InvalidNameError, match=f"^{owner}: ") as caught:
        store.add_xr_dataset(ds, "d")
    xr.testing.assert_identical(ds, before)
    assert list(store) == []
    renamed = ds.copy()
    exec(str(caught.value).rpartition("rename it: ")[2], {"ds": renamed})
    store.add_xr_dataset(renamed, "d")
    xr.testing.assert_identical(store.to_xarray("d"), renamed)
    for mapping, found in [
        (ds.attrs, renamed.attrs),
        *((ds[name].attrs, renamed[name].attrs) for name in ds.variables),
    ]:
        assert sorted(map(str, mapping.values())) == sorted(map(str, found.values()))


def test_an_array_that_is_declared_later_takes_the_attributes_that_are_named_so(store):
    store.add_xr_dataset(xr.Dataset({"a": ("x", [1], {"b.c": 1})}, attrs={"t.units": "K"}), "d")
    view = store["d"]
    assert (dict(view.attrs), dict(view["a"].attrs)) == ({"t.units": "K"}, {"b.c": 1})
    define(view, "t")
    define(view, "a.b")
    assert (dict(view.attrs), dict(view["a"].attrs)) == ({}, {})
    assert (dict(view["t"].attrs), dict(view["a.b"].attrs)) == ({"units": "K"}, {"c": 1})
    assert view.attributes() == {"a.b.c": 1, "t.units": "K", "_pyatlas_coords": "[]"}


@pytest.mark.parametrize("keys", list(product(["t.u", ("t.u",), ("t", "u")], repeat=2)))
def test_no_two_keys_of_a_dataset_are_shown_alike(store, keys):
    view = store.create_dataset("d")
    for at, key in enumerate([("first",), keys[0], "last", keys[1]]):
        set_exact_attribute(view, key, at)
    assert list(exact_attributes(view).items()) == [(("first",), 0), (keys[1], 3), ("last", 2)]


def test_a_store_with_two_keys_that_are_shown_alike_is_damaged():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        view = store.create_dataset("d")
        set_exact_attribute(view, ("t", "u"), 1)
        set_exact_attribute(view, ("v",), 2)

    def spoil(document):
        (keys,) = document["rows"]["keyset_table"]
        keys[1] = ["t.u"]

    rewrite(storage, storage.list("commits")[-1], spoil)
    with pytest.raises(CorruptStoreError, match="shown alike"):
        Atlas.open(storage)


# Two writers


def two_writers():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        define(store.create_dataset("d"), "t")
        store["d"]["t"].attrs["units"] = "K"
    return storage, Atlas.open(storage), Atlas.open(storage)


@pytest.mark.parametrize(("one", "two"), [(set_plain, set_attrs), (set_attrs, set_plain)])
def test_two_writers_that_set_one_name_in_two_ways_conflict(one, two):
    storage, first, second = two_writers()
    for store, act in ((first, one), (second, two)):
        del store["d"]["t"].attrs["units"]
        store["d"].set_attribute("other", act.__name__)
        del store["d"].attrs["other"]
        act(store["d"])
        store["d"].set_attribute("t.units", f"by {act.__name__}")
    first.flush()
    with pytest.raises(ConflictError, match=r"'t\.units'"):
        second.flush()
    second.refresh()
    second.flush()
    assert Atlas.open(storage)["d"].attributes() == {"t.units": f"by {two.__name__}"}
    assert len(exact_attributes(Atlas.open(storage)["d"])) == 1


@pytest.mark.parametrize("deletes_first", [True, False])
@pytest.mark.parametrize("act", [set_plain, lambda view: view["t"].attrs.update(units="degC", more=1)])
def test_a_writer_that_sets_an_attribute_of_an_array_that_another_deletes_conflicts(act, deletes_first):
    storage, deleter, setter = two_writers()
    setter["d"].set_attribute("t.new", 5)
    act(setter["d"])
    deleter["d"].delete_array("t")
    first, second = (deleter, setter) if deletes_first else (setter, deleter)
    first.flush()
    with pytest.raises(ConflictError, match="'t'"):
        second.flush()
    if deletes_first:
        with pytest.raises(ConflictError, match="delete that here too"):
            setter.refresh()
        setter["d"].delete_array("t")
    second.refresh()
    second.flush()
    view = Atlas.open(storage)["d"]
    assert (view.list_arrays(), view.attributes()) == ([], {})


# Reserved names


@pytest.mark.parametrize("name", ["_atlas_dtype", "_atlas_fill", "_atlas_indexes"])
@pytest.mark.parametrize("prefix", ["", "t.", "later."])
def test_reserved_names_are_refused_shown_nowhere_and_not_deleted(store, name, prefix):
    store.add_xr_dataset(
        xr.Dataset({"t": ("x", np.array([1], "m8[s]"), {"_FillValue": pd.Timedelta(5, "s")})}), "d", chunks={"t": [1]}
    )
    view = store["d"]
    before = exact_attributes(view)
    for act in (
        lambda: view.set_attribute(prefix + name, "x"),
        lambda: view.attrs.__setitem__(prefix + name, "x"),
        lambda: view["t"].attrs.__setitem__(prefix + name, "x"),
        lambda: store.add_xr_dataset(xr.Dataset(attrs={prefix + name: "x"}), "e"),
    ):
        with pytest.raises(InvalidNameError, match="reserved"):
            act()
    with pytest.raises(MissingAttributeError):
        view.delete_attribute(prefix + name)
    assert view.get_attribute(prefix + name) is None
    assert view.attributes() == {"_pyatlas_coords": "[]"}
    assert exact_attributes(view) == before
    assert list(store) == ["d"]


# Values


@pytest.mark.parametrize(
    "value",
    [dt.datetime(2000, 1, 2, tzinfo=dt.UTC), dt.date.min, dt.timedelta(1), pd.Timestamp("2000").as_unit("s"), pd.NaT],
    ids=repr,
)
def test_dates_and_durations_are_shown_as_themselves_by_every_call(place, value):
    def same(found):
        return (type(found), repr(found), getattr(found, "unit", None)) == (
            type(value),
            repr(value),
            getattr(value, "unit", None),
        )

    with Atlas.create(place) as store:
        store.add_xr_dataset(xr.Dataset({"t": ("x", [1], {"when": value})}, attrs={"all": [value]}), "d")
        with pytest.raises(ValueError, match=r"dataset\[array\]\.attrs\[name\] = value") as caught:
            store["d"].set_attribute("t.attrs", value)
        advised = str(caught.value).partition(" and dataset[array]")[2].partition(" take ")[0]
        exec(f"dataset[array]{advised}", {"dataset": store["d"], "array": "t", "name": "attrs", "value": value})
    view, ds = Atlas.open(place)["d"], Atlas.open(place).to_xarray("d")
    for name in ("when", "attrs"):
        assert same(view.attributes()[f"t.{name}"])
        assert same(view.get_attribute(f"t.{name}"))
        assert same(view["t"].attrs[name])
        assert same(ds["t"].attrs[name])
    assert same(ds.attrs["all"][0])
    assert view.attributes()["all"] == f'json:["{value}"]'


def test_a_value_is_encoded_once(store, monkeypatch):
    values = []

    def encode(value):
        values.append(value)
        return encode_value(value)

    monkeypatch.setattr("atlas.xarray.attribute_owners.encode_value", encode)
    store.create_dataset("d").attrs["k"] = [1, 2]
    store.add_xr_dataset(xr.Dataset({"t": ("x", [1], {"m": 3})}, attrs={"n": None}), "e")
    assert values == [[1, 2], 3, None]
    assert store["d"].attrs["k"] == [1, 2]
