"""The eighteen failures of the system this one takes over from, each absent. The numbers are the contract's."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from atlas import Atlas, AtlasError
from atlas.errors import CorruptStoreError, UnsupportedFormatError
from atlas.format.documents import parse_encoding
from tests.api.samples import make_cells, put
from tests.model import identical


def files(place):
    return sorted(path for path in place.rglob("*") if path.is_file())


def test_01_writes_after_a_compaction_are_read_back_and_stored(store, place):
    view = store.create_dataset("d")
    put(view, "t", np.zeros(4), "float64")
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    view.write_array("t", [0], np.ones(4))
    assert view.read_array("t").tolist() == [1] * 4
    store.flush()
    assert view.read_array("t").tolist() == [1] * 4
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == [1] * 4


def test_01_a_compaction_before_any_flush_keeps_statistics_apart(store):
    put(store.create_dataset("a"), "t", np.array([1.0, 2.0]), "float64")
    store.flush()
    store.delete_dataset("a")
    put(store.create_dataset("b"), "t", np.array([5.0, 6.0]), "float64")
    store.compact(keep_versions=1, keep_days=0)
    assert store.open_dataset("b").array_stats("t") == {"row_count": 2, "null_count": 0, "min": 5.0, "max": 6.0}


# 2: test_failures.py


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_03_attributes_of_any_value_leave_the_store_open(place, form):
    values = [
        float("nan"),
        float("inf"),
        0.1,
        1 / 3,
        "2020-01-01T00:00:00Z",
        "2020-01-01",
        "json:{}",
        "json:nope",
        "NaN",
    ]
    with Atlas.create(place, meta_format=form) as store:
        view = store.create_dataset("d")
        for i, value in enumerate(values):
            view.set_attribute(str(i), value)
    found = Atlas.open(place).open_dataset("d").attributes()
    assert [repr(value) for value in found.values()] == [repr(value) for value in values]


def test_04_array_names_with_special_characters_survive(store, place):
    view = store.create_dataset("d")
    for i, name in enumerate(["ü", "#", "%", "%25", "a%2Fb"]):
        put(view, name, np.array([i]), "int64")
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert [view.read_array(name)[0] for name in view.list_arrays()] == [0, 1, 2, 3, 4]


def test_04_attributes_of_a_variable_whose_name_holds_a_dot(store, place):
    ds = xr.Dataset({"a": ("x", [1], {"b": 1, "k.c": 2}), "a.b": ("x", [2], {"c": 3})}, attrs={"b.k": 4})
    store.add_xr_dataset(ds, "d")
    store.flush()
    xr.testing.assert_identical(Atlas.open(place).to_xarray("d"), ds)


def test_05_a_compaction_replaces_before_it_deletes(store, place, monkeypatch):
    for i in range(3):
        put(store.create_dataset(f"d{i}"), "t", np.full(5, i), "int64")
        store.flush()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(store._session.view.storage), "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        store.compact(keep_versions=1, keep_days=0)
    again = Atlas.open(place)
    assert [again.open_dataset(f"d{i}").read_array("t")[0] for i in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("flushed", [False, True])
def test_06_what_was_deleted_does_not_come_back_with_its_name(store, place, flushed):
    view = store.create_dataset("d")
    put(view, "t", np.full(4, 7), "int64", (2,))
    view.set_attribute("k", 1)
    store.flush()
    store.delete_dataset("d")
    if flushed:
        store.flush()
    view = store.create_dataset("d")
    assert view.list_arrays() == []
    assert view.attributes() == {}
    view.define_array("t", "int64", ["x"], [4], [2])
    view.write_array("t", [0], np.array([1]))
    assert view.read_array("t").tolist() == [1, 0, 0, 0]
    view.delete_array("t")
    view.define_array("t", "int64", ["x"], [4], [2], -1)
    for _ in range(3):
        assert view.read_array("t").tolist() == [-1] * 4
        assert view.array_stats("t") is None
        store.compact(keep_versions=1, keep_days=0)
        store = Atlas.open(place)
        view = store.open_dataset("d")


def test_07_create_on_an_existing_store_is_refused_without_overwrite(store, place):
    put(store.create_dataset("d"), "t", np.arange(3), "int64")
    store.flush()
    for form in ("json", "msgpack"):
        with pytest.raises(FileExistsError) as info:
            Atlas.create(place, meta_format=form)
        assert isinstance(info.value, AtlasError)
        assert "overwrite" in str(info.value)
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == [0, 1, 2]
    Atlas.create(place, meta_format="msgpack", overwrite=True)
    assert Atlas.open(place).list_datasets() == []
    assert [path.name for path in files(place) if path.parent == place] == ["atlas.msgpack"]
    assert not list(place.rglob("*.seg"))


@pytest.mark.parametrize("exists", [False, True])
def test_07_open_of_a_wrong_path_is_an_error(place, exists):
    if exists:
        place.mkdir()
    with pytest.raises(FileNotFoundError) as info:
        Atlas.open(place)
    assert isinstance(info.value, AtlasError)
    assert str(place) in str(info.value)
    assert place.exists() == exists


def test_08_the_second_writer_loses_nothing(store, place):
    store.create_dataset("base")
    store.flush()
    one, two = Atlas.open(place), Atlas.open(place)
    put(one.create_dataset("one"), "t", np.array([1]), "int64")
    put(two.create_dataset("two"), "t", np.array([2]), "int64")
    one.flush()
    two.flush()
    assert Atlas.open(place).list_datasets() == two.list_datasets() == ["base", "one", "two"]
    assert Atlas.open(place).open_dataset("two").read_array("t").tolist() == [2]
    assert Atlas.open(place).open_dataset("one").read_array("t").tolist() == [1]


def test_09_no_flipped_bit_gives_a_wrong_value(store, place):
    expected = {"t": make_cells("float32", (6, 7)), "s": make_cells("string", (9,)), "i": make_cells("int16", (50,), 2)}
    view = store.create_dataset("d")
    put(view, "t", expected["t"], "float32", (2, 3))
    put(view, "s", expected["s"], "string", (4,))
    put(view, "i", expected["i"], "int16")
    view.set_attribute("k", 0.1)
    store.flush()
    statistics = {name: view.array_stats(name) for name in expected}
    rng = np.random.default_rng(1)
    noticed = 0
    targets = files(place)
    for _ in range(300):
        path = targets[int(rng.integers(len(targets)))]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            view = Atlas.open(place).open_dataset("d")
            for name, cells in expected.items():
                assert identical(view.read_array(name), cells), path
                assert view.array_stats(name) == statistics[name], path
            assert view.attributes() == {"k": 0.1}
        except AtlasError:
            noticed += 1
        path.write_bytes(good)
    assert noticed > 150


def test_09_a_lost_file_is_an_error_that_names_it(store, place):
    for i in range(2):
        put(store.create_dataset(f"d{i}"), "t", make_cells("int32", (5,), i), "int32")
        store.flush()
    for path in [path for path in files(place) if path.suffix == ".seg"]:
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(CorruptStoreError) as info:
            Atlas.open(place).read_array_across("t", ["d0", "d1"])
        assert path.name in str(info.value)
        assert isinstance(info.value, RuntimeError)
        path.write_bytes(good)


def test_10_stacks_neither_reshape_nor_convert(store):
    put(store.create_dataset("a"), "t", np.zeros((2, 3)), "float64")
    put(store.create_dataset("b"), "t", np.zeros((3, 2)), "float64")
    with pytest.raises(ValueError, match="shape"):
        store.read_array_across_stacked("t", ["a", "b"])
    for name, text in (("a", "x"), ("b", "yy")):
        put(store.open_dataset(name), "s", np.array([text, ""]), "string")
    stacked = store.read_array_across_stacked("s", ["a", "b"])
    assert stacked.dtype == object
    assert stacked.tolist() == [["x", ""], ["yy", ""]]


@pytest.mark.parametrize(
    ("start", "shape"),
    [([3, 0], [2, 1]), ([0, 5], None), (None, [4, 6]), ([0], None), (None, [4]), ([0, 0, 0], [1, 1, 1])],
)
def test_11_reads_out_of_bounds_or_of_the_wrong_rank_are_refused(store, start, shape):
    view = store.create_dataset("d")
    put(view, "t", np.zeros((4, 4)), "float64", (2, 2))
    with pytest.raises(ValueError, match=r"leaves|dimensions"):
        view.read_array("t", start, shape)


def test_12_axes_of_length_zero_string_fills_and_string_statistics(store, place):
    view = store.create_dataset("d")
    view.define_array("empty", "float32", ["x", "y"], [0, 5])
    view.write_array("empty", [0, 0], np.zeros((0, 5), "f4"))
    view.define_array("s", "string", ["x"], [4], [2], "none")
    view.write_array("s", [0], np.array(["b", "a"]))
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert view.read_array("empty").shape == (0, 5)
    assert view.read_array("s").tolist() == ["b", "a", "none", "none"]
    assert view.array_stats("s") == {"row_count": 4, "null_count": 2, "min": "a", "max": "b"}


def test_13_a_failing_ingest_leaves_nothing(store, place):
    def boom(block):
        raise ZeroDivisionError

    bad = xr.Dataset({"a": ("x", np.arange(3)), "b": ("x", da.ones(3, chunks=1).map_blocks(boom, dtype=float))})
    with pytest.raises(ZeroDivisionError):
        store.add_xr_dataset(bad, "d")
    assert store.list_datasets() == []
    store.flush()
    assert Atlas.open(place).list_datasets() == []
    assert not (place / "arrays").exists() or not list((place / "arrays").rglob("*.seg"))


def test_14_times_strided_and_byte_swapped_data_are_taken(store):
    view = store.create_dataset("d")
    times = np.array(["2024-01-01", "2025-01-01"], "M8[ns]")
    put(view, "m", times, "timestamp_ns")
    put(view, "i", times.view(np.int64), "timestamp_ns")
    put(view, "m>", times.astype(">M8[ns]"), "timestamp_ns")
    cells = make_cells("float32", (6, 8))
    put(view, "f", np.asfortranarray(cells), "float32")
    put(view, "s", cells[::-2, ::3], "float32")
    put(view, ">", cells.astype(">f4"), "float32")
    for _ in range(2):
        for name in ("m", "i", "m>"):
            assert identical(view.read_array(name), times)
        assert identical(view.read_array("f"), cells)
        assert identical(view.read_array("s"), cells[::-2, ::3].copy())
        assert identical(view.read_array(">"), cells)
        store.flush()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_15_times_and_durations_of_every_unit_come_back(store, unit):
    ds = xr.Dataset(
        {
            "t": ("x", np.array(["2024-01-01", "NaT"], f"M8[{unit}]")),
            "d": ("x", np.array([5, -7], f"m8[{unit}]")),
        }
    )
    store.add_xr_dataset(ds, "d")
    stored = "timestamp_nanoseconds" if unit == "ns" else f"datetime64[{unit}]"
    assert store.open_dataset("d").array_meta("t")["dtype"] == stored
    assert store.open_dataset("d").array_meta("d")["dtype"] == f"timedelta64[{unit}]"
    xr.testing.assert_identical(store.to_xarray("d"), ds)


# 16: test_threads.py


@pytest.mark.bulky
def test_16_no_temporary_file_stays(store, place):
    rng = np.random.default_rng(0)
    put(store.create_dataset("d"), "t", rng.normal(size=2_000_000), "float64", (100_000,))
    store.flush()
    store.compact(keep_versions=1, keep_days=0)
    assert not [path for path in files(place) if ".tmp" in path.name]


def calls_made(count):
    """Python and C calls that a flush of `count` new datasets takes: its work, without the clock's noise."""
    script = """
        import sys, tempfile, numpy as np, atlas
        cells = np.arange(24, dtype="f4")
        calls = 0
        def count_calls(frame, event, argument):
            global calls
            calls += event in ("call", "c_call")
        def run(count):
            with tempfile.TemporaryDirectory() as folder:
                store = atlas.Atlas.create(folder + "/s")
                for i in range(count):
                    view = store.create_dataset(f"d{i}")
                    view.define_array("t", "float32", ["x"], [24])
                    view.write_array("t", [0], cells)
                sys.setprofile(count_calls)
                store.flush()
                sys.setprofile(None)
        run(10)
        calls = 0
        run(int(sys.argv[1]))
        print(calls)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(count)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_17_a_flush_grows_with_what_it_writes_and_not_its_square():
    # Eight times the datasets: 8 where it grows in proportion, 64 where it grows with the square.
    assert calls_made(8_000) < 12 * calls_made(1_000)


def test_17_a_small_flush_of_a_large_store_writes_little(store, place):
    for i in range(6_000):
        store.create_dataset(f"dataset-{i}").set_attribute("k", i)
    store.flush()
    before = {path: path.stat().st_mtime_ns for path in files(place)}
    store.create_dataset("one more")
    store.flush()
    new = [path for path in files(place) if before.get(path) != path.stat().st_mtime_ns]
    assert sum(path.stat().st_size for path in new) < 20_000


def test_17_small_arrays_do_not_cost_many_times_their_bytes(store, place):
    rng = np.random.default_rng(0)
    for i in range(2_000):
        view = store.create_dataset(f"d{i}")
        for array in "abcd":
            put(view, array, rng.normal(size=24).astype("f4"), "float32")
    store.flush()
    assert sum(path.stat().st_size for path in files(place)) < 2.5 * 2_000 * 4 * 96


def test_18_attributes_can_be_deleted_and_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Atlas.create("~/s") as store:
        view = store.create_dataset("d")
        view.set_attribute("k", 1)
        view.delete_attribute("k")
        with pytest.raises(KeyError):
            view.delete_attribute("k")
    assert (tmp_path / "s" / "atlas.json").exists()
    assert Atlas.open("~/s").open_dataset("d").attributes() == {}


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_07_a_store_of_a_newer_format_is_refused(place, form):
    Atlas.create(place, meta_format=form)
    path = place / f"atlas.{form}"
    encoding = parse_encoding(form, "none")
    document = encoding.decode(path.read_bytes())
    path.write_bytes(encoding.encode(document | {"format": document["format"] + 1}))
    with pytest.raises(UnsupportedFormatError, match="newer") as info:
        Atlas.open(place)
    assert isinstance(info.value, RuntimeError)


def test_07_a_store_of_atlas_python_is_recognised(place):
    place.mkdir()
    (place / "atlas.json").write_text('{"version": 1, "datasets": {}}')
    with pytest.raises(UnsupportedFormatError, match="atlas-python"):
        Atlas.open(place)
    with pytest.raises(FileExistsError):
        Atlas.create(place)
