"""Lists of names that were looked up once must follow every change of the datasets they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import atlas
from atlas.errors import ArrayNotFoundError, DatasetNotFoundError, InvalidTypeError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["a", "b", "c"]


@pytest.fixture
def store(tmp_path: Path) -> atlas.Atlas:
    """Three datasets that look alike, flushed and read once."""
    store = atlas.Atlas.create(tmp_path / "store")
    store.create_datasets(NAMES)
    store.write_array_across_stacked("v", NAMES, np.arange(6, dtype=np.int32).reshape(3, 2), ["x"])
    store.flush()
    assert store.read_array_across_stacked("v", NAMES).tolist() == [[0, 1], [2, 3], [4, 5]]
    return store


def _define(store: atlas.Atlas, name: str, values: list[int], array: str = "v") -> None:
    dataset = store.open_dataset(name)
    dataset.define_array(array, "int32", ["x"], [len(values)])
    dataset.write_array(array, [0], np.array(values, np.int32))


def test_a_list_that_its_owner_changes_is_looked_up_again(store: atlas.Atlas) -> None:
    mine = NAMES.copy()
    store.read_array_across_stacked("v", mine)
    mine.reverse()
    assert store.read_array_across_stacked("v", mine).tolist() == [[4, 5], [2, 3], [0, 1]]
    mine[0] = 7  # type: ignore[call-overload]
    with pytest.raises(InvalidTypeError, match="holds texts"):
        store.read_array_across_stacked("v", mine)


@pytest.mark.parametrize("make", [tuple, np.array, iter], ids=["tuple", "array", "iterator"])
def test_names_come_in_any_sequence(store: atlas.Atlas, make: type) -> None:
    for _ in range(2):
        assert store.read_array_across_stacked("v", make(NAMES)).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_dataset_that_is_created_is_found_by_the_next_read(store: atlas.Atlas) -> None:
    wanted = [*NAMES, "d"]
    with pytest.raises(DatasetNotFoundError, match="'d'"):
        store.read_array_across_stacked("v", wanted)
    store.create_dataset("d")
    with pytest.raises(ArrayNotFoundError, match="'d' has no array 'v'"):
        store.read_array_across_stacked("v", wanted)
    _define(store, "d", [6, 7])
    for _ in range(2):
        assert store.read_array_across_stacked("v", wanted)[3].tolist() == [6, 7]
        store.flush()


def test_a_dataset_that_is_deleted_is_missed_by_the_next_read(store: atlas.Atlas) -> None:
    store.delete_dataset("b")
    for _ in range(2):
        with pytest.raises(DatasetNotFoundError, match="'b'"):
            store.read_array_across_stacked("v", NAMES)
        assert store.read_array_across("v", NAMES)[1] is None
        store.flush()
    store.create_dataset("b")
    _define(store, "b", [8, 9, 10])
    for _ in range(2):
        assert [cells.tolist() for cells in store.read_array_across("v", NAMES)] == [[0, 1], [8, 9, 10], [4, 5]]
        store.flush()


def test_an_array_that_is_deleted_and_defined_again_is_read_anew(store: atlas.Atlas) -> None:
    dataset = store.open_dataset("c")
    dataset.delete_array("v")
    with pytest.raises(ArrayNotFoundError, match="'c' has no array 'v'"):
        store.read_array_across_stacked("v", NAMES)
    _define(store, "c", [0, 9])
    assert store.read_array_across_stacked("v", NAMES).tolist() == [[0, 1], [2, 3], [0, 9]]
    store.flush()
    assert store.read_array_across_stacked("v", NAMES).tolist() == [[0, 1], [2, 3], [0, 9]]


def test_every_array_of_a_fleet_is_looked_up_by_itself(store: atlas.Atlas) -> None:
    _define(store, "b", [5], "w")
    for _ in range(2):
        assert store.read_array_across("w", NAMES)[0] is None
        assert store.read_array_across("w", NAMES)[1].tolist() == [5]
        assert store.read_array_across_stacked("v", NAMES).shape == (3, 2)
        store.flush()


def test_a_name_may_stand_in_a_list_more_than_once(store: atlas.Atlas) -> None:
    assert store.read_array_across_stacked("v", ["b", "b", "a"]).tolist() == [[2, 3], [2, 3], [0, 1]]


def test_many_lists_take_turns(store: atlas.Atlas) -> None:
    lists = [[a, b] for a in NAMES for b in NAMES]
    for _ in range(2):
        for names in lists:
            expected = [[2 * NAMES.index(name), 2 * NAMES.index(name) + 1] for name in names]
            assert store.read_array_across_stacked("v", names).tolist() == expected
