from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from atlas.errors import AtlasError, MissingExtraError, StorageError
from atlas.storage import LocalStorage, MemoryStorage, open_storage
from atlas.storage.objects import ObjectStorage
from tests.storage.helpers import run_python


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_folder(tmp_path, kind):
    storage = open_storage(kind(tmp_path / "a" / "s"))
    assert isinstance(storage, LocalStorage)
    assert storage.path == tmp_path / "a" / "s"
    assert not storage.path.exists()
    assert open_storage(kind(tmp_path / "a" / "s"), create=True).list() == []
    assert storage.path.is_dir()


def test_a_storage_is_itself_and_a_handle_is_wrapped():
    storage = MemoryStorage()
    assert open_storage(storage, create=True) is storage
    assert isinstance(open_storage(MemoryStore()), ObjectStorage)


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_folder_is_told_whether_to_wait_for_the_disk(tmp_path, durable):
    folder = open_storage(tmp_path / "s", create=True, durable=durable)
    assert folder.durable is durable
    assert pickle.loads(pickle.dumps(folder)).durable is durable
    for source in (MemoryStorage(), MemoryStore(), LocalStorage(tmp_path)):
        assert open_storage(source, durable=durable).durable


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    open_storage("~/s", create=True)
    assert (tmp_path / "s").is_dir()


@pytest.mark.parametrize("path", ["~", "~/s", "~nobody-of-this-name/s"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_home_that_is_nowhere_is_refused(tmp_path, monkeypatch, path, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    for create in (False, True):
        with pytest.raises(ValueError, match="home folder") as caught:
            open_storage(kind(path), create=create)
        assert isinstance(caught.value, AtlasError)
    assert list(tmp_path.iterdir()) == []
    assert open_storage("./~s", create=True).path == tmp_path / "~s"


def test_a_working_folder_that_is_gone_is_a_storage_error(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError):
        open_storage("s")


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/key", "S3://b", "gs://b/k", "https://host/x", "file:///tmp/x", "x+y://z", Path("s3://bucket/key")],
)
def test_urls_are_refused_with_the_way_out(url):
    with pytest.raises(ValueError, match="obstore handle") as caught:
        open_storage(url)
    assert isinstance(caught.value, AtlasError)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="not a path"):
        open_storage(path)


@pytest.mark.parametrize("source", [None, 3, b"path", MemoryStore, object(), ["a"], {}])
def test_other_things_are_refused_by_type(source):
    with pytest.raises(TypeError) as caught:
        open_storage(source)
    assert isinstance(caught.value, AtlasError)


def test_a_folder_that_cannot_be_made_is_known_at_once(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        open_storage(tmp_path / "file" / "s", create=True)


def test_names_with_a_colon_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30", "run:7/x", "C:/data"):
        assert isinstance(open_storage(name), LocalStorage)


def test_obstore_is_not_imported_before_it_is_needed(tmp_path):
    script = """
        import sys
        from atlas.storage import open_storage
        open_storage(sys.argv[1], create=True).create("a", b"")
        assert not any(name.partition(".")[0] == "obstore" for name in sys.modules)
    """
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_handle_without_obstore_names_the_extra(monkeypatch):
    handle = MemoryStore()
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "atlas.storage.objects")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*obstore"):
        open_storage(handle)
