from __future__ import annotations

import numpy as np

from atlas import Atlas
from atlas.maintenance.description import describe


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_store_is_described_by_what_is_committed(tmp_path):
    store = Atlas.create(tmp_path / "s", codec="lz4", filter="none", meta_format="msgpack")
    for number in range(3):
        view = store.create_dataset(f"d{number}")
        view.define_array("t", "float32" if number else "int16", ["x"], [100])
        view.write_array("t", [0], np.arange(100).astype("f4" if number else "i2"))
        view.define_array("name", "string", [], [])
        view.write_array("name", [], np.array("abc", object))
        store.flush()
    store.delete_dataset("d2")
    store.create_dataset("pending").define_array("u", "int8", [], [])
    store.flush()
    store.create_dataset("not flushed").define_array("v", "int8", [], [])

    found = describe(store._session.view, store._session.log)
    on_disk = files_in(tmp_path / "s")
    assert (found.codec, found.filter, found.metadata_name, found.version) == ("lz4", "none", "atlas.msgpack", 4)
    assert found.datasets == 3
    name, t, u = found.arrays
    assert (name.name, name.dtypes, name.datasets, name.cells, name.segments) == ("name", ("string",), 2, 2, 3)
    assert name.raw > 0
    assert (t.name, t.dtypes, t.datasets, t.cells, t.raw) == ("t", ("float32", "int16"), 2, 200, 600)
    assert t.stored == sum(size for key, size in on_disk.items() if key.startswith("arrays/t/"))
    assert (u.name, u.raw, u.segments, u.stored) == ("u", 1, 0, 0)
    assert found.stored == sum(on_disk.values())
    assert found.raw == name.raw + 601


def test_arrays_of_deleted_datasets_are_shown_while_they_take_space(tmp_path):
    store = Atlas.create(tmp_path / "s")
    view = store.create_dataset("d")
    view.define_array("t", "float32", ["x"], [100])
    view.write_array("t", [0], np.arange(100, dtype="f4"))
    store.flush()
    store.delete_dataset("d")
    store.flush()
    (gone,) = describe(store._session.view, store._session.log).arrays
    assert (gone.dtypes, gone.datasets, gone.raw, gone.segments) == ((), 0, 0, 1)
    assert gone.stored > 0
    store.compact(keep_versions=1, keep_days=0)
    assert describe(store._session.view, store._session.log).arrays == ()


def filled(path, names):
    """A store with one flush, in which every dataset has an array of noise and a text."""
    noise = np.random.default_rng(1)
    store = Atlas.create(path, codec="none", filter="none")
    for name in names:
        view = store.create_dataset(name)
        view.define_array("t", "float64", ["x"], [4000], chunk_shape=[1000])
        view.write_array("t", [0], noise.random(4000))
        view.define_array("name", "string", [], [])
        view.write_array("name", [], np.array(name, object))
    store.flush()
    return store


def test_all_files_are_counted_and_nothing_is_held_at_first(tmp_path):
    found = filled(tmp_path / "s", "abc").describe()
    assert (found.on_disk, found.held) == (sum(files_in(tmp_path / "s").values()), 0)
    assert found.on_disk == found.stored


def test_what_is_held_is_about_what_a_compaction_frees(tmp_path):
    store = filled(tmp_path / "s", "abcd")
    store.delete_dataset("b")
    store.open_dataset("c").delete_array("t")
    store.flush()
    found = store.describe()
    assert 64_000 <= found.held < 66_000
    store.compact(keep_days=0)
    assert abs(found.on_disk - store.describe().on_disk - found.held) < 2000
    assert store.describe().held == 0


def test_chunks_written_again_are_held(tmp_path):
    store = filled(tmp_path / "s", "ab")
    store.open_dataset("a").write_array("t", [0], np.random.default_rng(2).random(4000))
    store.flush()
    assert 32_000 <= store.describe().held < 34_000


def test_after_a_compaction_the_files_of_earlier_versions_are_held(tmp_path):
    store = filled(tmp_path / "s", "abc")
    store.delete_dataset("a")
    store.compact()
    found, on_disk = store.describe(), files_in(tmp_path / "s")
    assert found.on_disk == sum(on_disk.values())
    older = {key: size for key, size in on_disk.items() if key.startswith("arrays/")}
    assert found.held == sum(older.values()) - sum(array.stored for array in found.arrays)
    assert found.stored == found.on_disk - found.held


def test_a_damaged_index_leaves_an_estimate(tmp_path):
    store = filled(tmp_path / "s", "abcd")
    store.delete_dataset("b")
    store.flush()
    (path,) = (tmp_path / "s").glob("arrays/t/*")
    stored = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-50] + bytes(50))
    found = Atlas.open(tmp_path / "s").describe()
    assert stored / 5 < found.held < stored / 3


def test_a_chunk_that_datasets_share_is_held_by_the_last_of_them(tmp_path):
    store = Atlas.create(tmp_path / "s", codec="none")
    noise = np.random.default_rng(0).random((2, 4000))
    for number in range(4):
        view = store.create_dataset(f"d{number}")
        view.define_array("x", "float64", ["x"], [4000])
        view.write_array("x", [0], noise[number // 2])
    store.flush()
    for name in ("d1", "d2"):
        store.delete_dataset(name)
        store.flush()
        assert store.describe().held < 3000
    store.delete_dataset("d0")
    store.flush()
    assert 32_000 <= store.describe().held < 36_000
    assert store.compact(keep_versions=1, keep_days=0).bytes_freed >= 32_000
    np.testing.assert_array_equal(store.open_dataset("d3").read_array("x"), noise[1])
