"""`Atlas.open(mode="r")` reads everything and refuses every change; nothing of the store on disk changes."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, AtlasError
from atlas.errors import InvalidValueError, ReadOnlyError

CHANGES = {
    "create": lambda store: store.create_dataset("new"),
    "create many": lambda store: store.create_datasets(["new", "newer"]),
    "delete": lambda store: store.delete_dataset("d"),
    "del": lambda store: store.__delitem__("d"),
    "define": lambda store: store["d"].define_array("u", "int8", [], []),
    "write": lambda store: store["d"].write_array("t", [0], np.zeros(3)),
    "assign": lambda store: store["d"]["t"].__setitem__(0, 1.0),
    "delete array": lambda store: store["d"].delete_array("t"),
    "attribute": lambda store: store["d"].set_attribute("k", 1),
    "delete attribute": lambda store: store["d"].delete_attribute("units"),
    "attrs": lambda store: store["d"].attrs.__setitem__("k", 1),
    "array attrs": lambda store: store["d"]["t"].attrs.__setitem__("k", 1),
    "stacked": lambda store: store.write_array_across_stacked("u", ["d"], np.zeros((1, 2))),
    "xarray": lambda store: store.add_xr_dataset(xr.Dataset({"t": ("x", [1.0])}), "new"),
    "rollback": lambda store: store.rollback(0),
    "compact": lambda store: store.compact(keep_days=0),
    "repair": lambda store: store.verify(repair=True),
}


@pytest.fixture
def files(tmp_path):
    with Atlas.create(tmp_path / "s") as store:
        view = store.create_dataset("d")
        view.define_array("t", "float64", ["x"], [3])
        view["t"][:] = [1, 2, 3]
        view.set_attribute("units", "K")
    return lambda: {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused_and_leaves_all_as_it_was(tmp_path, files, change):
    before, store = files(), Atlas.open(tmp_path / "s", mode="r")
    with pytest.raises(ReadOnlyError, match='mode="r\\+"') as caught:
        CHANGES[change](store)
    assert isinstance(caught.value, AtlasError)
    assert isinstance(caught.value, PermissionError)
    assert list(store) == ["d"]
    assert store["d"].attributes() == {"units": "K"}
    store.close()
    assert files() == before


def test_everything_can_be_read(tmp_path, files):
    before = files()
    with Atlas.open(tmp_path / "s", mode="r") as store:
        assert store["d"]["t"][1:].tolist() == [2, 3]
        assert store["d"].read_array("t").tolist() == [1, 2, 3]
        assert store["d"]["t"].stats["max"] == 3
        assert store.to_xarray("d")["t"].values.tolist() == [1, 2, 3]
        assert store.read_array_across_stacked("t", ["d"]).shape == (1, 3)
        assert store.verify().ok
        assert store.verify(export=tmp_path / "copy").ok
        assert [version.version for version in store.history()] == [0, 1]
        store.flush()
    assert files() == before
    assert Atlas.open(tmp_path / "copy")["d"]["t"][0] == 1


def test_it_follows_other_writers(tmp_path, files):
    store = Atlas.open(tmp_path / "s", mode="r")
    with Atlas.open(tmp_path / "s") as other:
        other["d"]["t"][0] = 9
    assert store.refresh() == 2
    assert store["d"]["t"][0] == 9


def test_a_pickled_handle_stays_read_only(tmp_path, files):
    reader, writer = Atlas.open(tmp_path / "s", mode="r"), Atlas.open(tmp_path / "s")
    again, writable = pickle.loads(pickle.dumps([reader, writer]))
    with pytest.raises(ReadOnlyError):
        again["d"]["t"][0] = 1
    writable["d"]["t"][0] = 1
    assert again["d"]["t"][0] == 1


@pytest.mark.skipif(not Path("/tmp").is_dir() or os.geteuid() != 0, reason="needs a second user")
def test_it_needs_no_permission_to_write():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the folders of a test run are closed to other users
        with Atlas.create(f"{folder}/s") as store:
            store.create_dataset("d").define_array("t", "int8", ["x"], [3])
            store["d"]["t"][:] = [1, 2, 3]
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            store = Atlas.open(f"{folder}/s", mode="r")
            os._exit(0 if store["d"]["t"][...].tolist() == [1, 2, 3] and store.verify().ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("mode", ["w", "a", "R", "", None, 1])
def test_other_modes_are_refused(tmp_path, files, mode):
    with pytest.raises(InvalidValueError, match='"r\\+" to read and write or "r" to read'):
        Atlas.open(tmp_path / "s", mode=mode)
