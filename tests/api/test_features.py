"""A store that needs a feature of a later release is refused by name wherever it is read, and is not called damaged."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas import Atlas
from atlas.errors import UnsupportedFormatError
from atlas.format.documents import CHECKPOINT_NAMES
from atlas.runtime import limits
from atlas.runtime.limits import Limits
from atlas.storage import MemoryStorage
from tests.verification.samples import rewrite

UNKNOWN = (
    r"needs the feature 'dtype:complex64', which this version does not know; install a later version of atlas-store"
)


def need_later(document):
    """Change a document as a later release would write it."""
    document["features"] = [*document.get("features", []), "dtype:complex64"]
    document["rows"]["schema_table"][0]["dtype"] = "complex64"


def add(store, name, dtype="bool"):
    view = store.create_dataset(name)
    view.define_array("t", dtype, ["x"], [3], [2])
    view.write_array("t", [0], np.ones(3, dtype))
    store.flush()


def features(storage, key):
    encoding = CHECKPOINT_NAMES["atlas.json"]
    return (encoding.compressed() if key.endswith(".zst") else encoding).decode(storage.read(key)).get("features")


@pytest.fixture
def storage():
    storage = MemoryStorage()
    with Atlas.create(storage) as store:
        add(store, "first", "int8")
    return storage


def test_commits_checkpoints_bases_and_pages_say_what_they_declare(storage, monkeypatch):
    monkeypatch.setattr(limits, "DEFAULT", Limits(page_rows=2))
    store = Atlas.open(storage)
    add(store, "second", "bool")
    for at in range(3):
        store.create_dataset(f"paged {at}").define_array("t", "timedelta64[s]", [], [])
    store.flush()
    store.create_dataset("last").define_array("t", "float16", [], [])
    store.compact(keep_versions=1, keep_days=0)
    commits = sorted(storage.list("commits"))
    found = {key: features(storage, key) for key in [*commits, *storage.list("pages"), *storage.list("bases")]}
    declared = {name for names in found.values() for name in names or []}
    assert declared == {"dtype:bool", "dtype:timedelta64[s]", "dtype:float16"}
    for key, names in found.items():
        if names is not None:
            assert names == sorted(names), key
    assert Atlas.open(storage).list_datasets() == store.list_datasets()


def test_opening_is_refused_and_verification_says_the_same(storage):
    with Atlas.open(storage) as store:
        add(store, "second")
    (*_, commit) = sorted(storage.list("commits"))
    assert features(storage, commit) == ["dtype:bool"]
    rewrite(storage, commit, need_later)
    for read in (Atlas.open, atlas.verify, lambda source: Atlas.open(source, mode="r")):
        with pytest.raises(UnsupportedFormatError, match=UNKNOWN) as caught:
            read(storage)
        assert commit in str(caught.value)
    assert Atlas.open(storage, version=1).list_datasets() == ["first"]


def test_a_checkpoint_is_refused(storage):
    store = Atlas.open(storage)
    add(store, "second")
    assert store._session.committer.writer.checkpoint(store._session.catalog, force=True)
    assert features(storage, "atlas.json") == ["dtype:bool"]
    rewrite(storage, "atlas.json", need_later)
    before = storage.read("atlas.json")
    with pytest.raises(UnsupportedFormatError, match=f"atlas.json: it {UNKNOWN}"):
        Atlas.open(storage)
    with pytest.raises(UnsupportedFormatError, match=UNKNOWN):
        atlas.verify(storage, repair=True)
    assert storage.read("atlas.json") == before


def test_a_refresh_and_a_rebase_are_refused_and_lose_nothing(storage):
    reader, writer = Atlas.open(storage), Atlas.open(storage)
    with Atlas.open(storage) as other:
        add(other, "second")
    (*_, commit) = sorted(storage.list("commits"))
    whole = storage.read(commit)
    rewrite(storage, commit, need_later)
    with pytest.raises(UnsupportedFormatError, match=UNKNOWN):
        reader.refresh()
    assert reader.list_datasets() == ["first"]
    assert reader.open_dataset("first").read_array("t").tolist() == [1, 1, 1]
    writer.create_dataset("mine").define_array("t", "int8", [], [])
    for _ in range(2):
        with pytest.raises(UnsupportedFormatError, match=UNKNOWN):
            writer.flush()
    assert max(storage.list("commits")) == commit
    assert writer.list_datasets() == ["first", "mine"]
    storage.replace(commit, whole)
    writer.flush()
    assert Atlas.open(storage).list_datasets() == ["first", "second", "mine"]
