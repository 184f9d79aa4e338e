"""The whole API on object stores, and what is said where obstore is not installed."""

from __future__ import annotations

import pickle
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from atlas import Atlas
from atlas.errors import ConflictError
from tests.api.samples import DTYPES, make_cells, put
from tests.api.subprocesses import run_python
from tests.model import identical


@pytest.fixture(params=["memory", "local", "s3", "azure"])
def handle(request, tmp_path):
    from obstore.store import LocalStore, MemoryStore  # noqa: PLC0415 - optional

    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        (tmp_path / "objects").mkdir()
        return LocalStore(tmp_path / "objects")
    if request.param == "azure":
        endpoint = request.getfixturevalue("azure_endpoint")
        return endpoint.open_store(endpoint.make_container("api"), prefix=f"deep/{uuid.uuid4().hex}")
    endpoint = request.getfixturevalue("s3_endpoint")
    return endpoint.open_store(endpoint.make_bucket("api"), prefix=f"deep/{uuid.uuid4().hex}")


@pytest.mark.parametrize("form", [("json", "none"), ("msgpack", "zstd")])
def test_the_whole_api(handle, form):
    with pytest.raises(FileNotFoundError):
        Atlas.open(handle)
    store = Atlas.create(handle, "zstd", *form)
    with pytest.raises(FileExistsError):
        Atlas.create(handle)
    expected = {}
    for seed, name in enumerate(["a", "ü %", "c"]):
        view = store.create_dataset(name)
        for dtype in DTYPES:
            expected[name, dtype] = make_cells(dtype, (5, 6), seed)
            put(view, dtype, expected[name, dtype], dtype, (2, 4))
        view.set_attribute("k", float("nan"))
    assert Atlas.open(handle).list_datasets() == []
    store.flush()
    store.open_dataset("c").write_array("int32", [1, 1], np.full((2, 2), 7, "i4"))
    expected["c", "int32"][1:3, 1:3] = 7
    store.delete_dataset("a")
    store.close()
    for _ in range(2):
        again = Atlas.open(handle)
        assert again.list_datasets() == ["ü %", "c"]
        for dtype in DTYPES:
            for name in again.list_datasets():
                assert identical(again.open_dataset(name).read_array(dtype), expected[name, dtype])
            stacked = again.read_array_across_stacked(dtype, ["c", "ü %"], [1, 2], [3, 4])
            assert identical(stacked, np.stack([expected[name, dtype][1:4, 2:6] for name in ("c", "ü %")]))
        assert np.isnan(again.open_dataset("c").get_attribute("k"))
        assert again.open_dataset("c").array_stats("int8")["row_count"] == 30
        again.compact(keep_versions=1, keep_days=0)


def test_xarray_and_lazy_reads(handle):
    ds = xr.Dataset({"t": (("x", "y"), make_cells("float32", (8, 6)), {"units": "K"})}, coords={"x": np.arange(8)})
    with Atlas.create(handle) as store:
        store.add_xr_dataset(ds.chunk({"x": 3}), "d")
    back = Atlas.open(handle).to_xarray("d")
    assert back["t"].chunks == ((3, 3, 2), (6,))
    xr.testing.assert_identical(back.compute(), ds)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param(([0, 0], [448, 448]), id="every block"),
        pytest.param(([0, 0], [64, 448]), id="blocks side by side"),
        pytest.param(([0, 0], [448, 1]), id="blocks 192 KiB apart"),
        pytest.param(([384, 5], [1, 1]), id="one block"),
    ],
)
def test_blocks_of_one_batch_that_lie_within_a_mebibyte_are_one_request(monkeypatch, box):
    from obstore.store import MemoryStore  # noqa: PLC0415 - optional

    class Counting:
        asked = 0

        def __getattr__(self, name):
            return getattr(objects, name)

        def get_range(self, path, *, start, length):
            self.asked += 1
            return objects.get_range(path, start=start, length=length)

    objects, counting = MemoryStore(), Counting()
    cells = make_cells("float64", (448, 448))
    with Atlas.create(objects, "none") as store:
        put(store.create_dataset("d"), "t", cells, "float64", (64, 64))
    # Each batch, for one thread, makes requests of its own; so many cells are one batch.
    monkeypatch.setenv("ATLAS_NUM_THREADS", "1")
    view = Atlas.open(counting).open_dataset("d")
    view.array_stats("t")  # reads the index
    counting.asked = 0
    (row, column), (rows, columns) = box
    assert identical(view.read_array("t", *box), cells[row : row + rows, column : column + columns])
    assert counting.asked == 1


def test_two_writers_lose_nothing(handle):
    """Each version is made by one of them, who then has all the others have made."""
    Atlas.create(handle).close()
    barrier = threading.Barrier(3)

    def write(writer: int) -> None:
        store = Atlas.open(handle)
        for number in range(4):
            barrier.wait()
            while True:
                view = store.create_dataset(f"{writer}-{number}")
                put(view, "t", np.arange(5) + 10 * writer + number, "int64")
                try:
                    store.flush()
                    break
                except ConflictError:
                    # What is pending is kept, and readable.
                    assert view.read_array("t").tolist() == (np.arange(5) + 10 * writer + number).tolist()
                    store = Atlas.open(handle)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, writer) for writer in range(3)]:
            done.result(timeout=200)
    store = Atlas.open(handle)
    for _ in range(2):
        assert sorted(store.list_datasets()) == sorted(
            f"{writer}-{number}" for writer in range(3) for number in range(4)
        )
        for name in store.list_datasets():
            writer, number = map(int, name.split("-"))
            assert store.open_dataset(name).read_array("t").tolist() == (np.arange(5) + 10 * writer + number).tolist()
        store.compact()
        store = Atlas.open(handle)
    if type(handle).__name__ != "LocalStore":  # which leaves empty folders
        assert not [entry["path"] for batch in handle.list() for entry in batch if ".tmp-" in entry["path"]]


WRITER = """
import pickle, sys
import numpy as np
from atlas import Atlas
from atlas.errors import ConflictError

if __name__ == "__main__":
    handle, writer = pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2]
    won = 0
    while won < 5:
        store = Atlas.open(handle)
        view = store.create_dataset(f"{writer}-{won}")
        view.define_array("t", "int64", ["x"], [3])
        view.write_array("t", [0], np.full(3, won))
        try:
            store.flush()
        except ConflictError:
            continue
        won += 1
    print(won)
"""


def test_two_processes_lose_nothing(handle):
    if type(handle).__name__ == "MemoryStore":
        assert handle.put("a", b"x", mode="create")  # lives in one process: nothing to compete for
        return
    Atlas.create(handle).close()
    pickled = pickle.dumps(handle).hex()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda writer: run_python(WRITER, pickled, writer), "ab")) == ["5", "5"]
    store = Atlas.open(handle)
    assert sorted(store.list_datasets()) == [f"{writer}-{number}" for writer in "ab" for number in range(5)]
    for name in store.list_datasets():
        assert store.open_dataset(name).read_array("t").tolist() == [int(name[2:])] * 3


def test_handles_pickle_where_obstore_does(handle):
    store = Atlas.create(handle)
    put(store.create_dataset("d"), "t", np.arange(3), "int64")
    store.flush()
    if type(handle).__name__ == "MemoryStore":
        with pytest.raises(TypeError):
            pickle.dumps(store)
    else:
        other = pickle.loads(pickle.dumps(store))
        assert other.open_dataset("d").read_array("t").tolist() == [0, 1, 2]


def test_secrets_are_not_shown(s3_endpoint):
    handle = s3_endpoint.open_store(s3_endpoint.make_bucket("api"), prefix="none", secret="very-secret-text")
    with pytest.raises(FileNotFoundError) as info:
        Atlas.open(handle)
    assert "very-secret-text" not in str(info.value)


def test_a_handle_without_obstore_says_what_to_install():
    out = run_python(
        """
        import sys
        sys.modules["obstore"] = None
        import atlas, tempfile
        class Handle:
            def get(self, path): ...
            def put(self, path, data): ...
            def get_range(self, path, *, start, end): ...
            def get_ranges(self, path, *, starts, ends): ...
            def head(self, path): ...
            def list(self, prefix=None): ...
            def delete(self, paths): ...
        for call in (atlas.Atlas.create, atlas.Atlas.open):
            try:
                call(Handle())
            except ImportError as error:
                assert isinstance(error, atlas.AtlasError)
                print(error)
        with atlas.Atlas.create(tempfile.mkdtemp() + "/s") as store:
            store.create_dataset("d")
        """
    )
    assert out.count("pip install") == 2
    assert "the extra 'cloud' of atlas-store" in out
