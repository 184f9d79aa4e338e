"""A store is a mapping of datasets, a dataset one of arrays, and `help` shows what is public and nothing else."""

from __future__ import annotations

import inspect
import pydoc
import re

import numpy as np
import pytest

import atlas
from atlas import ArrayView, Atlas, DatasetView, errors
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidTypeError
from atlas.many.accessor import AtlasAccessor

PUBLIC = [Atlas, DatasetView, ArrayView, atlas.Attributes]


@pytest.fixture
def filled(store):
    for view in store.create_datasets(["jan", "feb"]):
        view.define_array("t", "float32", ["x"], [3])
        view.define_array("s", "float32", ["x"], [3])
    return store


def test_a_store_is_a_mapping_of_names(filled):
    assert list(filled) == ["jan", "feb"]
    assert len(filled) == 2
    assert "jan" in filled
    assert "mar" not in filled
    assert 1 not in filled
    assert isinstance(filled["jan"], DatasetView)
    assert filled["jan"].name == "jan"
    del filled["jan"]
    assert list(filled) == ["feb"]
    filled.flush()
    assert "jan" not in filled


def test_a_dataset_is_a_mapping_of_names(filled):
    view = filled["jan"]
    assert (list(view), len(view), "t" in view, "u" in view, 1 in view) == (["t", "s"], 2, True, False, False)
    view["t"][1:] = [2, 3]
    assert view["t"][...].tolist() == [0, 2, 3]
    del view["t"]
    assert list(view) == ["s"]


@pytest.mark.parametrize("name", ["mar", ""])
def test_a_missing_name_is_a_key_error(filled, name):
    for use in (filled.__getitem__, filled.__delitem__):
        with pytest.raises(DatasetNotFoundError) as caught:
            use(name)
        assert isinstance(caught.value, KeyError)
    for use in (filled["jan"].__getitem__, filled["jan"].__delitem__):
        with pytest.raises(ArrayNotFoundError) as caught:
            use(name)
        assert isinstance(caught.value, KeyError)
    assert (len(filled), len(filled["jan"])) == (2, 2)


def test_what_is_no_name_is_a_type_error(filled):
    with pytest.raises(InvalidTypeError, match="list_datasets"):
        filled[0]


def test_handles_are_true_however_little_they_hold(store):
    view = store.create_dataset("jan")
    view.define_array("empty", "float32", ["x"], [0])
    assert bool(Atlas.create(f"{store.describe().location}-other"))
    assert bool(view)
    assert bool(view["empty"])


def test_notebooks_complete_names(filled):
    assert filled._ipython_key_completions_() == ["jan", "feb"]
    assert filled["jan"]._ipython_key_completions_() == ["t", "s"]


def test_atlas_is_opened_or_created_and_never_called():
    with pytest.raises(InvalidTypeError, match=r"Atlas\.open\(path\).*Atlas\.create\(path\)"):
        Atlas("store")


def test_help_shows_nothing_internal():
    text = pydoc.plain(pydoc.render_doc(Atlas)).lower()
    assert not re.search(r"session|discard|internal|layer", text)
    for kind in PUBLIC:
        names = {name for name in vars(kind) if not name.startswith("_")}
        assert names.isdisjoint({"discard_dataset", "token", "exact_attributes", "set_exact_attribute", "session"})


def public_calls():
    for kind in PUBLIC:
        for name, call in inspect.getmembers(kind, callable):
            if not name.startswith("_") and name in vars(kind):
                yield pytest.param(call, id=f"{kind.__name__}.{name}")
    yield from (pytest.param(getattr(atlas, name), id=name) for name in ("verify", "init_tracing"))
    yield pytest.param(AtlasAccessor.write, id="xr.Dataset.atlas.write")


@pytest.mark.parametrize("call", list(public_calls()))
def test_every_parameter_is_documented_with_its_type(call):
    documented = inspect.getdoc(call) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+$|\Z)", documented, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\w+(?:, \w+)*)(?: : (.+))?$", section[1] if section else "", re.MULTILINE)
    names = [name for group, _ in entries for name in group.split(", ")]
    parameters = [name for name in inspect.signature(call).parameters if name not in {"self", "cls"}]
    assert names == parameters
    for group, kind in entries:
        assert kind or "See `atlas.verify`" in documented, f"{group} has no type"
        defaults = {inspect.signature(call).parameters[name].default for name in group.split(", ")}
        if kind and defaults != {inspect.Parameter.empty}:
            assert "optional" in kind or "default" in kind, f"{group} does not say that it may be left out"


def test_the_package_exports_what_users_name():
    assert atlas.errors is errors
    assert all(hasattr(atlas, name) for name in atlas.__all__)
    assert {"ArrayStatistics", "ArrayView", "Attributes", "Limits", "StoreSource", "errors"} <= set(atlas.__all__)


def test_mappings_cost_no_copy_of_names_to_count(store):
    store.create_datasets([f"d{at}" for at in range(1000)])
    assert len(store) == 1000
    assert np.all([f"d{at}" in store for at in range(1000)])


def test_the_package_completes_public_names_alone():
    assert dir(atlas) == sorted(atlas.__all__)


@pytest.mark.parametrize("mode", ["r", "r+", "w"])
def test_a_mode_given_as_the_version_is_told_apart(tmp_path, mode):
    Atlas.create(tmp_path / "s")
    with pytest.raises(InvalidTypeError, match=re.escape(f"write mode={mode!r}")):
        Atlas.open(tmp_path / "s", mode)
