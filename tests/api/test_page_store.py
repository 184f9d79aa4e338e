"""The published page, sentence by sentence: the store, its durability and its reference."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas import Atlas, DatasetView
from tests.api.samples import FIXED, make_cells, put
from tests.model import identical


def files(place):
    return sorted(str(path.relative_to(place)) for path in Path(place).rglob("*") if path.is_file())


def test_quick_start(tmp_path):
    source = f"""
        import numpy as np
        import atlas

        # The `with` block flushes (== close) on exit. Nothing is persisted before that.
        with atlas.Atlas.create({str(tmp_path / "my_store")!r}, codec="zstd") as store:  # "zstd" | "lz4" | "none"
            ds = store.create_dataset("jan_2024")
            ds.define_array(
                "temperature",
                dtype="float32",
                dims=["lat", "lon"],
                shape=[8, 16],
                chunk_shape=[4, 8],
                fill_value=float("nan"),
            )
            ds.write_array("temperature", start=[0, 0], data=np.full((8, 16), 20.0, dtype=np.float32))
            ds.set_attribute("month", 1)
            ds.set_attribute("station", "KNMI")

        store = atlas.Atlas.open({str(tmp_path / "my_store")!r})
        ds = store.open_dataset("jan_2024")
        arr = ds.read_array("temperature")
        chunk = ds.read_array("temperature", [0, 0], [4, 8])
        stats = ds.array_stats("temperature")
        month = ds.get_attribute("month")
    """
    names = {}
    exec(textwrap.dedent(source), names)
    assert identical(names["arr"], np.full((8, 16), 20.0, np.float32))
    assert identical(names["chunk"], np.full((4, 8), 20.0, np.float32))
    assert names["stats"] == {"row_count": 128, "null_count": 0, "min": 20.0, "max": 20.0}
    assert names["month"] == 1
    assert type(names["month"]) is int


def test_unwritten_cells_read_back_as_the_fill_and_nan_cells_count_as_nulls(store):
    view = store.create_dataset("d")
    view.define_array("t", "float32", ["x"], [6], [3], float("nan"))
    view.write_array("t", [1], np.array([1, np.nan], "f4"))
    assert np.isnan(view.read_array("t")[[0, 2, 3, 4, 5]]).all()
    store.flush()
    assert view.array_stats("t") == {"row_count": 6, "null_count": 5, "min": 1.0, "max": 1.0}


# "Writes are buffered in memory and only hit disk on flush()"


def test_nothing_reaches_disk_before_flush(store, place):
    before = {name: (place / name).read_bytes() for name in files(place)}
    view = store.create_dataset("d")
    put(view, "t", make_cells("float64", (400, 500)), "float64", (100, 100))
    view.set_attribute("k", 1)
    store.list_arrays()
    view.read_array("t")
    assert {name: (place / name).read_bytes() for name in files(place)} == before
    assert Atlas.open(place).list_datasets() == []


def test_every_mutation_is_seen_by_its_own_handle_at_once(store):
    view = store.create_dataset("d")
    assert store.list_datasets() == ["d"]
    put(view, "t", np.arange(4), "int64")
    assert store.open_dataset("d").read_array("t").tolist() == [0, 1, 2, 3]
    assert store.list_arrays() == ["t"]
    view.set_attribute("k", 1)
    assert store.open_dataset("d").attributes() == {"k": 1}


def test_dropping_a_handle_without_flushing_abandons_every_pending_write(place):
    store = Atlas.create(place)
    put(store.create_dataset("d"), "t", np.arange(4), "int64")
    del store
    assert Atlas.open(place).list_datasets() == []


@pytest.mark.parametrize("boundary", ["flush", "close"])
def test_flush_and_close_persist_everything(store, place, boundary):
    put(store.create_dataset("d"), "t", np.arange(4), "int64")
    getattr(store, boundary)()
    assert Atlas.open(place).open_dataset("d").read_array("t").tolist() == [0, 1, 2, 3]
    put(store.create_dataset("e"), "t", np.arange(3), "int64")  # the store stays usable
    store.flush()
    assert Atlas.open(place).list_datasets() == ["d", "e"]


def test_leaving_a_with_block_flushes(place):
    with Atlas.create(place) as store:
        put(store.create_dataset("d"), "t", np.arange(4), "int64")
    assert Atlas.open(place).list_datasets() == ["d"]


def test_leaving_a_with_block_by_an_exception_flushes_too(place):
    with pytest.raises(FileExistsError), Atlas.create(place) as store:  # noqa: PT012 - the block is what is tested
        store.create_dataset("d")
        store.create_dataset("d")
    assert Atlas.open(place).list_datasets() == ["d"]


def test_many_writes_are_one_file_an_array_name_and_one_commit(store, place):
    before = files(place)
    for i in range(50):
        view = store.create_dataset(f"d{i}")
        for array in ("t", "s"):
            put(view, array, make_cells("float32", (5,), i), "float32")
    store.flush()
    new = sorted(set(files(place)) - set(before))
    assert len([name for name in new if name.startswith("arrays/t/")]) == 1
    assert len([name for name in new if name.startswith("arrays/s/")]) == 1
    assert len([name for name in new if name.startswith("commits/")]) == 1
    assert len(new) == 3


def test_a_flush_of_nothing_writes_nothing(store, place):
    store.create_dataset("d")
    store.flush()
    before = {name: (place / name).stat().st_mtime_ns for name in files(place)}
    store.flush()
    store.close()
    assert {name: (place / name).stat().st_mtime_ns for name in files(place)} == before


# Supported dtypes


@pytest.mark.parametrize("dtype", FIXED)
def test_every_number_is_stored_as_it_is(store, place, dtype):
    cells = make_cells(dtype, (5, 7))
    put(store.create_dataset("d"), "t", cells, cells.dtype)
    store.flush()
    view = Atlas.open(place).open_dataset("d")
    assert identical(view.read_array("t"), cells)
    assert view.array_meta("t")["dtype"] == dtype


@pytest.mark.parametrize("name", ["timestamp_nanoseconds", "timestamp_ns", "datetime64[ns]", "TIMESTAMP_NS"])
def test_names_of_timestamps(store, name):
    view = store.create_dataset("d")
    cells = np.array(["2024-01-01", "NaT"], "M8[ns]")
    put(view, "t", cells, name)
    assert view.array_meta("t")["dtype"] == "timestamp_nanoseconds"
    assert identical(view.read_array("t"), cells)


@pytest.mark.parametrize(
    "cells",
    [np.array(["a", b"b\xc3\xbc"], object), np.array([b"a", "bü".encode()]), np.array(["a", "bü"])],
    ids=["object", "S", "U"],
)
def test_text_is_variable_length_and_reads_return_str(store, cells):
    view = store.create_dataset("d")
    put(view, "t", cells, "string")
    for _ in range(2):
        assert view.read_array("t").tolist() == ["a", "bü"]
        assert all(type(cell) is str for cell in view.read_array("t").tolist())
        store.flush()


def test_bool_is_an_attribute_type_and_an_array_dtype(store, place):
    view = store.create_dataset("d")
    view.set_attribute("k", True)
    view.define_array("t", "bool", ["x"], [2])
    view.write_array("t", [1], np.array([True]))
    store.flush()
    again = Atlas.open(place).open_dataset("d")
    assert again.get_attribute("k") is True
    assert again.read_array("t").tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["binary", "list[int8]", "fixed_size_list[int8,3]"])
def test_reserved_dtypes(store, dtype):
    with pytest.raises(NotImplementedError):
        store.create_dataset("d").define_array("t", dtype, ["x"], [1])


# API reference


def test_signatures_of_the_page():
    def names(function):
        return [name for name in inspect.signature(function).parameters if name != "self"]

    assert names(DatasetView.define_array) == ["name", "dtype", "dims", "shape", "chunk_shape", "fill_value"]
    assert names(DatasetView.write_array) == ["name", "start", "data"]
    assert names(DatasetView.read_array) == ["name", "start", "shape"]
    assert names(DatasetView.read_arrays) == ["names", "start", "shape"]
    assert names(DatasetView.delete_array) == ["name"]
    assert names(DatasetView.array_meta) == ["array"]
    assert names(DatasetView.array_stats) == ["array"]
    assert names(DatasetView.array_fill_value) == ["array"]
    assert names(DatasetView.set_attribute) == ["key", "value", "dtype"]
    assert names(DatasetView.get_attribute) == ["key"]
    assert names(Atlas.create)[1:4] == ["codec", "meta_format", "meta_compression"]
    assert names(Atlas.add_xr_dataset) == ["ds", "name", "chunks"]
    assert names(Atlas.to_xarray_many)[:3] == ["names", "concat_dim", "parallel"]
    assert names(Atlas.read_array_across) == ["array", "dataset_names", "start", "shape"]
    assert names(Atlas.read_array_across_stacked) == ["array", "dataset_names", "start", "shape"]
    assert names(Atlas.array_stats_across) == ["array", "dataset_names"]
    assert names(Atlas.attributes_across) == ["dataset_names", "keys", "array"]


def test_a_view_has_no_flush_and_no_compact():
    assert not hasattr(DatasetView, "flush")
    assert not hasattr(DatasetView, "compact")


def test_name_is_a_property(store):
    assert store.create_dataset("d").name == "d"
    with pytest.raises(AttributeError):
        store.open_dataset("d").name = "e"


def test_delete_dataset_is_persisted_on_the_next_flush(store, place):
    store.create_dataset("d")
    store.flush()
    store.delete_dataset("d")
    assert not store.dataset_exists("d")
    assert Atlas.open(place).list_datasets() == ["d"]
    store.flush()
    assert Atlas.open(place).list_datasets() == []


def test_list_arrays_of_the_store_are_distinct_names_across_datasets(store):
    for name, arrays in (("a", ["z", "b"]), ("b", ["b", "a"])):
        view = store.create_dataset(name)
        for array in arrays:
            view.define_array(array, "int8", [], [])
    assert store.list_arrays() == ["a", "b", "z"]
    assert store.open_dataset("a").list_arrays() == ["z", "b"]


def test_dataset_exists(store):
    store.create_dataset("d")
    assert store.dataset_exists("d") is True
    assert store.dataset_exists("e") is False


def test_compact_reclaims_space(store, place):
    def size():
        return sum((place / name).stat().st_size for name in files(place))

    rng = np.random.default_rng(0)
    for i in range(5):
        put(store.create_dataset(f"d{i}"), "t", rng.normal(size=20_000), "float64")
        store.flush()
    full = size()
    for i in range(4):
        store.delete_dataset(f"d{i}")
    kept = store.open_dataset("d4").read_array("t")
    store.compact(keep_versions=1, keep_days=0)
    assert size() < full / 3
    assert identical(Atlas.open(place).open_dataset("d4").read_array("t"), kept)
    assert len([name for name in files(place) if name.startswith("arrays/t/")]) == 1


def test_read_array_is_none_where_the_dataset_lacks_it(store):
    view = store.create_dataset("d")
    assert view.read_array("t") is None
    assert view.array_meta("t") is None
    assert view.array_stats("t") is None
    assert view.array_fill_value("t") is None


def test_array_meta(store):
    view = store.create_dataset("d")
    view.define_array("t", "f4", ["lat", "lon"], [8, 16], [4, 8])
    view.define_array("whole", np.int16, ("x",), (3,))
    assert view.array_meta("t") == {
        "dtype": "float32",
        "shape": [8, 16],
        "chunk_shape": [4, 8],
        "dimension_names": ["lat", "lon"],
    }
    assert view.array_meta("whole")["chunk_shape"] == [3]


def test_delete_array_is_within_its_dataset(store, place):
    for name in ("a", "b"):
        put(store.create_dataset(name), "t", np.arange(3), "int64")
    store.flush()
    store.open_dataset("a").delete_array("t")
    store.flush()
    again = Atlas.open(place)
    assert again.open_dataset("a").read_array("t") is None
    assert again.open_dataset("b").read_array("t").tolist() == [0, 1, 2]


def test_statistics_are_populated_after_flush(store):
    view = store.create_dataset("d")
    put(view, "t", np.array([3, 1, 2]), "int64", fill_value=1)
    assert view.array_stats("t") is None
    store.flush()
    assert view.array_stats("t") == {"row_count": 3, "null_count": 1, "min": 2, "max": 3}


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (True, None, True), (7, None, 7), (1.5, None, 1.5), ("x", None, "x"),
        (np.datetime64("2024-01-01", "ns"), None, 1_704_067_200_000_000_000),
        (100, "int8", 100), (0.1, "float32", float(np.float32(0.1))), (3, "float64", 3.0),
        (5, "timestamp_nanoseconds", 5), ("x", "string", "x"), (False, "bool", False), (200, "uint8", 200),
    ],
)  # fmt: skip
def test_attributes_infer_their_type_or_take_one(store, place, value, dtype, expected):
    store.create_dataset("d").set_attribute("k", value, dtype)
    store.flush()
    for handle in (store, Atlas.open(place)):
        found = handle.open_dataset("d").get_attribute("k")
        assert found == expected
        assert type(found) is type(expected)
        assert handle.open_dataset("d").attributes() == {"k": expected}


def test_the_version_is_published():
    assert isinstance(atlas.__version__, str)
    assert atlas.__version__[0].isdigit()
