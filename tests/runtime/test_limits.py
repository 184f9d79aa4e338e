"""Limits: what they accept, and what a store does with any that it cannot use."""

import pickle
from dataclasses import fields

import numpy as np
import pytest

import atlas
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.runtime.limits import DEFAULT, Limits

SET_BY_THE_FORMAT = ("cut_over", "cut_into")
LEAST = {
    "joined_at_once": 2,
    "pack_commits": 2,
    "shared_block": 1,
    "partial_bytes": 1,
    "task_bytes": 1,
    "copied_bytes": 1,
    "batch_bytes": 1,
}


@pytest.mark.parametrize("value", ["8", 2.0, None, True])
def test_a_size_that_is_no_integer_is_refused(value):
    with pytest.raises(InvalidTypeError, match=r"batch_bytes is .*; pass an integer, such as 2097152"):
        Limits(batch_bytes=value)


def test_a_size_that_is_too_small_is_refused():
    with pytest.raises(InvalidValueError, match="joined_at_once is 1; pass at least 2"):
        Limits(joined_at_once=1)
    with pytest.raises(InvalidValueError, match="cut_into is 1; pass at least 16"):
        Limits(cut_into=1)
    with pytest.raises(InvalidValueError, match="page_rows is -1; pass at least 0"):
        Limits(page_rows=-1)
    assert Limits(page_rows=0, small_checkpoint=0).page_rows == 0


@pytest.mark.parametrize("limits", [{"page_rows": 5}, 7, 0, {}, Limits])
def test_limits_of_another_type_are_refused_and_nothing_is_made(tmp_path, limits):
    with pytest.raises(InvalidTypeError, match=r"pass an atlas\.Limits"):
        atlas.Atlas.create(tmp_path / "s", limits=limits)
    assert not any(tmp_path.iterdir())
    atlas.Atlas.create(tmp_path / "s").close()
    with pytest.raises(InvalidTypeError, match=r"pass an atlas\.Limits"):
        atlas.Atlas.open(tmp_path / "s", limits=limits)


def test_blocks_that_no_other_handle_could_read_are_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="own_block is 131073; pass at most cut_over, 131072"):
        Limits(own_block=(128 << 10) + 1)
    for limits in (Limits(cut_into=4096), Limits(cut_over=1 << 20)):
        with pytest.raises(InvalidValueError, match="the format sets them to 131072 and 65536: leave them out"):
            atlas.Atlas.create(tmp_path / "s", limits=limits)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [field.name for field in fields(Limits) if field.name not in SET_BY_THE_FORMAT])
def test_a_store_of_the_least_sizes_is_read_by_one_of_the_default(tmp_path, name):
    cells = np.random.default_rng(0).random((200, 170))
    names = [f"d{i}" for i in range(40)]
    least = Limits(**{name: LEAST.get(name, 0)})
    with atlas.Atlas.create(tmp_path / "s", limits=least) as store:
        store.create_datasets(names)
        store.write_array_across_stacked("small", names, cells[:40, :24])
        view = store.open_dataset("d0")
        view.define_array("large", "float64", ["y", "x"], [200, 170], [150, 150])
        view.write_array("large", [0, 0], cells)
        for i in range(6):
            view.write_array("small", [0], cells[i, :24])
            store.flush()
        view.write_array("large", [3, 3], cells[:50, :50])
        store.flush()
        store.compact(keep_days=0)
        found = [
            (s.open_dataset("d0").read_array("large"), s.read_array_across_stacked("small", names))
            for s in (store, atlas.Atlas.open(tmp_path / "s"))
        ]
    large, small = cells.copy(), cells[:40, :24].copy()
    large[3:53, 3:53], small[0] = cells[:50, :50], cells[5, :24]
    for got in found:
        assert (got[0] == large).all()
        assert (got[1] == small).all()


def test_limits_come_back_from_a_pickle():
    small = Limits(batch_bytes=1 << 10)
    assert pickle.loads(pickle.dumps(small)) == small != DEFAULT
