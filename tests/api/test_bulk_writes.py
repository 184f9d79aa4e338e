"""`create_datasets` and `write_array_across_stacked`, the bulk twins of calls for one dataset."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import atlas
from atlas.errors import ArrayExistsError, DatasetExistsError, DatasetNotFoundError, InvalidNameError, InvalidValueError

NAMES = [f"station{at}" for at in range(7)]


@pytest.fixture
def store(tmp_path):
    return atlas.Atlas.create(tmp_path / "store")


@pytest.mark.parametrize("chunk_shape", [None, [2, 3], [50, 50]])
@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint16", "float32", "float64", "datetime64[ns]", "bool", "float16", "datetime64[s]", "m8[ms]", "O"],
)
def test_what_is_written_across_reads_back_one_by_one(store, tmp_path, dtype, chunk_shape):
    data = np.arange(7 * 5 * 4).reshape(7, 5, 4).astype("i8").astype("U" if dtype == "O" else dtype)
    store.create_datasets(NAMES)
    store.write_array_across_stacked("t", NAMES, data, dims=["y", "x"], chunk_shape=chunk_shape)
    store.flush()
    for handle in (store, atlas.Atlas.open(tmp_path / "store")):
        for name, values in zip(NAMES, data, strict=True):
            view = handle.open_dataset(name)
            np.testing.assert_array_equal(view.read_array("t"), values)
            assert view.array_meta("t")["dimension_names"] == ["y", "x"]


def test_what_is_written_across_is_seen_before_a_flush(store):
    data = np.arange(14.0).reshape(7, 2)
    store.create_datasets(NAMES)
    store.write_array_across_stacked("t", NAMES, data)
    assert (store.read_array_across_stacked("t", NAMES) == data).all()
    assert store.open_dataset("station2").read_array("t").tolist() == [4, 5]


def test_later_writes_replace_cells_of_a_stacked_write(store):
    store.create_datasets(NAMES)
    store.write_array_across_stacked("t", NAMES, np.zeros((7, 4), np.int32), fill_value=-1)
    store.open_dataset("station3").write_array("t", [1], np.array([5, 6], np.int32))
    store.flush()
    assert store.open_dataset("station3").read_array("t").tolist() == [0, 5, 6, 0]
    assert store.open_dataset("station3").array_stats("t") == {"row_count": 4, "null_count": 0, "min": 0, "max": 6}
    assert store.read_array_across_stacked("t", NAMES[:2]).tolist() == [[0] * 4, [0] * 4]


def test_new_and_flushed_datasets_take_it_together(store, tmp_path):
    store.create_datasets(NAMES[:4])
    store.flush()
    store.create_datasets(NAMES[4:])
    data = np.arange(14.0).reshape(7, 2)
    store.write_array_across_stacked("t", NAMES, data)
    store.flush()
    assert (atlas.Atlas.open(tmp_path / "store").read_array_across_stacked("t", NAMES) == data).all()


def test_the_data_may_change_afterwards(store):
    data = np.zeros((7, 20_000))
    store.create_datasets(NAMES)
    store.write_array_across_stacked("t", NAMES, data)
    data[...] = 1
    assert not store.read_array_across_stacked("t", NAMES).any()


@pytest.mark.parametrize(
    ("names", "data", "error"),
    [
        ([*NAMES, "nowhere"], np.zeros((8, 2)), DatasetNotFoundError),
        (NAMES, np.zeros((6, 2)), InvalidValueError),
        (NAMES, [[1.0, 2.0]] * 7, InvalidValueError),
        (["station0", "station0"], np.zeros((2, 2)), InvalidValueError),
        (NAMES, np.zeros((7, 2), complex), NotImplementedError),
    ],
)
def test_a_refused_write_leaves_no_trace(store, names, data, error):
    store.create_datasets(NAMES)
    with pytest.raises(error) as caught:
        store.write_array_across_stacked("t", names, data)
    assert isinstance(caught.value, atlas.AtlasError)
    assert store.list_arrays() == []
    store.write_array_across_stacked("t", NAMES, np.ones((7, 2)))
    assert store.read_array_across_stacked("t", NAMES).all()


def test_a_stacked_write_is_refused_where_one_dataset_has_the_array(store):
    store.create_datasets(NAMES)
    store.open_dataset("station5").define_array("t", "int8", ["x"], [1])
    with pytest.raises(ArrayExistsError, match="station5"):
        store.write_array_across_stacked("t", NAMES, np.zeros((7, 1), np.int8))
    assert store.open_dataset("station0").list_arrays() == []


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["a", "there"], DatasetExistsError),
        (["a", "_b"], InvalidNameError),
        (["a", "a"], InvalidValueError),
        ("ab", TypeError),
    ],
)
def test_datasets_are_created_all_or_none(store, names, error):
    store.create_dataset("there")
    with pytest.raises(error):
        store.create_datasets(names)
    assert store.list_datasets() == ["there"]


def test_creating_many_returns_views_in_order(store):
    assert [view.name for view in store.create_datasets(NAMES)] == NAMES == store.list_datasets()


@pytest.mark.parametrize("how", ["ragged", "stacked", "refused"])
def test_a_write_of_nothing_leaves_nothing_pending(how, tmp_path):
    store = atlas.Atlas.create(tmp_path / "store")
    store.create_dataset("a")
    store.flush()
    if how == "ragged":
        store.write_array_across_ragged("t", [], np.zeros(0), [], dims=["x"])
    elif how == "stacked":
        store.write_array_across_stacked("t", [], np.zeros((0, 3)), dims=["x"])
    else:
        with pytest.raises(DatasetNotFoundError, match="no dataset 'b'"):
            store.write_array_across_stacked("t", ["a", "b"], np.zeros((2, 3)), dims=["x"])
    assert not store._session.pending
    assert pickle.loads(pickle.dumps(store)).list_datasets() == ["a"]
    store.flush()
    assert store.version == 1
