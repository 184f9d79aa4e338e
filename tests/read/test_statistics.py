from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.format.dtypes import DATATYPES
from atlas.storage import MemoryStorage

DTYPES = {
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "uint64": st.integers(0, 2**64 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float16": st.floats(width=16),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "string": st.text(max_size=3),
} | {name: st.integers(-(2**63), 2**63 - 1) for name, datatype in DATATYPES.items() if datatype.has_nat}


def statistics(dtype, cells, fill=None, chunk=4, start=0, shape=None):
    storage = MemoryStorage()
    store = Atlas.create(storage)
    view = store.create_dataset("d")
    view.define_array("a", dtype, ["x"], [shape or len(cells)], [chunk], fill)
    kind = object if dtype == "string" else "i8" if DATATYPES[dtype].has_nat else dtype
    view.write_array("a", [start], np.array(cells, kind))
    assert view.array_stats("a") is None
    store.flush()
    found = view.array_stats("a")
    assert repr(found) == repr(Atlas.open(storage).open_dataset("d").array_stats("a"))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_statistics_are_those_of_brute_force(dtype, data):
    cells = data.draw(st.lists(DTYPES[dtype], min_size=1, max_size=9))
    fill = data.draw(st.none() | st.sampled_from(cells) | DTYPES[dtype])
    if dtype in {"float16", "float32"} and fill is not None:
        fill = float(fill)
    found = statistics(dtype, cells, fill)
    null = [fill is not None and (cell == fill or (cell != cell and fill != fill)) for cell in cells]
    kept = [cell for cell, is_null in zip(cells, null, strict=True) if not is_null and cell == cell]
    if DATATYPES[dtype].has_nat:
        kept = [cell for cell in kept if cell != -(2**63)]
    assert found == {
        "row_count": len(cells),
        "null_count": sum(null),
        "min": min(kept, default=None),
        "max": max(kept, default=None),
    }
    if kept:
        assert type(found["min"]) is type(found["max"]) is type(cells[0])


def test_cells_of_chunks_never_written_are_nulls_but_no_bounds():
    found = statistics("int16", [5, 7], chunk=3, start=4, shape=10)
    assert found == {"row_count": 10, "null_count": 7, "min": 0, "max": 7}
    found = statistics("int16", [5, 7], fill=-1, chunk=3, start=4, shape=10)
    assert found == {"row_count": 10, "null_count": 8, "min": 5, "max": 7}


def test_bounds_of_nothing():
    assert statistics("float64", [math.nan] * 5) == {"row_count": 5, "null_count": 0, "min": None, "max": None}
    assert statistics("float64", [math.nan] * 5, fill=math.nan)["null_count"] == 5
    assert statistics("string", ["?"] * 5, fill="?") == {"row_count": 5, "null_count": 5, "min": None, "max": None}
    assert statistics("string", [""] * 5) == {"row_count": 5, "null_count": 0, "min": "", "max": ""}


def test_infinities_are_values():
    found = statistics("float32", [math.inf, -math.inf, math.nan])
    assert (found["min"], found["max"]) == (-math.inf, math.inf)
    assert statistics("float32", [math.inf])["min"] == math.inf


def test_statistics_follow_flushes_compactions_and_arrays_defined_anew():
    store = Atlas.create(MemoryStorage())
    views = [store.create_dataset(name) for name in "abc"]

    def write(view, chunks, first=0):
        if view.array_meta("v") is None:
            view.define_array("v", "int16", ["x"], [6], [2], fill_value=-1)
        for chunk in chunks:
            view.write_array("v", [2 * chunk], np.array([first + chunk, -1], np.int16))

    def found():
        return [view.array_stats("v") and tuple(view.array_stats("v").values()) for view in views]

    for view, chunks in zip(views, ([0, 1, 2], [1], []), strict=True):
        write(view, chunks)
    store.flush()
    expected = [(6, 3, 0, 2), (6, 5, 1, 1), None]
    assert found() == expected
    # Chunks of the array before still lie between those of the array that took its name.
    views[0].delete_array("v")
    write(views[0], [1], 10)
    write(views[2], [0, 2], 20)
    assert found() == [None, *expected[1:]]
    store.flush()
    expected = [(6, 5, 11, 11), (6, 5, 1, 1), (6, 4, 20, 22)]
    assert found() == expected
    store.compact(keep_versions=1, keep_days=0)
    assert found() == expected
    write(views[1], [0], -5)
    store.flush()
    assert found() == [expected[0], (6, 4, -5, 1), expected[2]]


def test_a_loop_in_any_order_says_the_same_of_texts():
    """A loop in order looks extremes up for many arrays at once."""
    store = Atlas.create(MemoryStorage())
    names = [f"d{at:04d}" for at in range(2500)]
    store.create_datasets(names)
    cells = np.array([[f"é{at % 7}", f"z{at}"] for at in range(2500)], object)
    store.write_array_across_stacked("t", names, cells, ["x"])
    store.flush()
    expected = [(low, high) for low, high in (sorted(row) for row in cells.tolist())]
    for order in (range(2500), range(2499, -1, -1), range(0, 2500, 7)):
        found = [store[names[at]].array_stats("t") for at in order]
        assert [(stats["min"], stats["max"]) for stats in found] == [expected[at] for at in order]


def test_a_loop_over_strings_and_bytes_in_turn_keeps_them_apart():
    store = Atlas.create(MemoryStorage())
    for at in range(40):
        view = store.create_dataset(f"d{at}")
        dtype, cell = [("string", f"é{at}"), ("bytes", b"\xff%d" % at), ("int64", at)][at % 3]
        view.define_array("t", dtype, ["x"], [1 + at % 2], [1])
        view.write_array("t", [0], np.array([cell], object if at % 3 < 2 else np.int64))
    store.flush()
    found = [store[name].array_stats("t")["max"] for name in store]
    assert found == [[f"é{at}", b"\xff%d" % at, at][at % 3] for at in range(40)]


def test_arrays_of_many_chunks_are_looked_up_one_by_one():
    store = Atlas.create(MemoryStorage())
    names = [f"d{at}" for at in range(12)]
    store.create_datasets(names)
    cells = np.array([[f"{at} {cell}" for cell in range(1000)] for at in range(12)], object)
    store.write_array_across_stacked("t", names, cells, ["x"], [1])
    store.flush()
    assert [store[name].array_stats("t")["max"] for name in names] == [max(row) for row in cells.tolist()]
