"""Stores in places that cannot create an object only if it is absent: readable always, writable on the user's word."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle

import numpy as np
import pytest

from atlas import Atlas, AtlasError
from atlas.errors import ConditionalPutError, StorageError
from atlas.storage import durable
from tests.api.samples import put
from tests.servers import serving
from tests.storage.naive import MANNERS, Naive


def fill(store, value=1):
    view = store.create_dataset(f"d{value}")
    put(view, "t", np.full(4, value), "int64")
    return view


def objects(handle):
    return {entry["path"]: bytes(handle.get(entry["path"]).buffer()) for batch in handle.list() for entry in batch}


@pytest.fixture(params=[*MANNERS, "folder"])
def location(request, tmp_path, monkeypatch):
    """A location whose storage lacks atomic put-if-absent, and a function that returns what it holds."""
    if request.param != "folder":
        handle = Naive(request.param)
        return handle, lambda: objects(handle.store)

    def link(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def rename(*_):
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(durable, "_renameat2", lambda: rename)
    folder = tmp_path / "s"
    return folder, lambda: {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_creating_is_refused_unless_one_writer_is_guaranteed(location):
    source, content = location
    with pytest.raises(ConditionalPutError, match="single_writer=True") as caught:
        Atlas.create(source)
    assert isinstance(caught.value, AtlasError)
    assert isinstance(caught.value, OSError)
    assert content() == {}
    with Atlas.create(source, single_writer=True) as store:
        fill(store)
    assert Atlas.open(source).open_dataset("d1").read_array("t").tolist() == [1] * 4


def test_a_refused_overwrite_leaves_the_store_unchanged(location):
    source, content = location
    with Atlas.create(source, single_writer=True) as store:
        fill(store)
    before = content()
    with pytest.raises(ConditionalPutError):
        Atlas.create(source, overwrite=True)
    assert content() == before
    Atlas.create(source, overwrite=True, single_writer=True)
    assert Atlas.open(source).list_datasets() == []


def test_a_refused_flush_keeps_pending_and_committed_data(location):
    source, content = location
    with Atlas.create(source, single_writer=True) as store:
        fill(store)
    before = content()
    store = Atlas.open(source)
    view = fill(store, 2)
    for _ in range(2):
        with pytest.raises(ConditionalPutError):
            store.flush()
        with pytest.raises(ConditionalPutError):
            store.compact()
    assert view.read_array("t").tolist() == [2] * 4
    assert store.open_dataset("d1").read_array("t").tolist() == [1] * 4
    assert content() == before
    with Atlas.open(source, single_writer=True) as store:
        fill(store, 2)
        store.flush()
        store.delete_dataset("d1")
        store.compact()
    assert Atlas.open(source).list_datasets() == ["d2"]


def test_a_replaced_store_is_noticed_with_single_writer_too(location):
    source, _ = location
    first = Atlas.create(source, single_writer=True)
    second = Atlas.open(source, single_writer=True)
    fill(first, 1)
    first.flush()
    fill(second, 2)
    # One after the other is not the race that the word is about.
    try:
        second.flush()
    except AtlasError:
        second = Atlas.open(source, single_writer=True)
        fill(second, 2)
        second.flush()
    assert sorted(Atlas.open(source).list_datasets()) == ["d1", "d2"]


def test_the_word_goes_along_when_a_handle_is_pickled(tmp_path, monkeypatch):
    Atlas.create(tmp_path / "s").close()
    unpickled = pickle.loads(pickle.dumps(Atlas.open(tmp_path / "s", single_writer=True)))
    untold = pickle.loads(pickle.dumps(Atlas.open(tmp_path / "s")))
    assert unpickled._session.view.storage.single_writer
    assert not untold._session.view.storage.single_writer


class TestPlainHTTP:
    @pytest.fixture
    def folder(self, tmp_path):
        with Atlas.create(tmp_path / "s") as store:
            for number in range(3):
                put(store.create_dataset(f"d{number}"), "t", np.arange(4000).reshape(40, 100) * number, "int64", (7, 9))
            store.create_dataset("words").define_array("s", "string", ["x"], [3])
            store.open_dataset("words").write_array("s", [0], np.array(["a", "ü", ""], object))
            store.open_dataset("words").set_attribute("k", 1.5)
            store.flush()
            store.delete_dataset("d0")
        return tmp_path / "s"

    def test_a_store_is_read_over_it(self, folder):
        with serving(folder) as handle:
            store = Atlas.open(handle)
            assert store.list_datasets() == ["d1", "d2", "words"]
            stacked = store.read_array_across_stacked("t", ["d2", "d1"], [3, 10], [20, 50])
            whole = np.arange(4000).reshape(40, 100)[3:23, 10:60]
            np.testing.assert_array_equal(stacked, np.stack([whole * 2, whole]))
            assert store.open_dataset("words").read_array("s").tolist() == ["a", "ü", ""]
            assert store.open_dataset("words").attributes() == {"k": 1.5}
            assert store.open_dataset("d2").array_stats("t")["max"] == 7998
            with pytest.raises(FileNotFoundError):
                Atlas.open(type(handle)(handle.url + "/nothing", client_options={"allow_http": True}))

    @pytest.mark.parametrize("single_writer", [False, True])
    def test_writing_says_that_it_is_read_only(self, folder, single_writer):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with serving(folder) as handle:
            store = Atlas.open(handle, single_writer=single_writer)
            view = fill(store, 5)
            store.open_dataset("words").set_attribute("k", 2)
            for call in (store.flush, store.compact, lambda: Atlas.create(handle, overwrite=True)):
                with pytest.raises(StorageError, match="read-only") as caught:
                    call()
                assert caught.value.errno == errno.EROFS
            assert view.read_array("t").tolist() == [5] * 4
            assert store.open_dataset("words").attributes() == {"k": 2}
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_a_server_without_ranges_is_an_error_and_no_fill(self, folder):
        with serving(folder, ranges=False) as handle:
            store = Atlas.open(handle)
            assert store.list_datasets() == ["d1", "d2", "words"]
            with pytest.raises(StorageError, match="ange"):
                store.open_dataset("d1").read_array("t")
