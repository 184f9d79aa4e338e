"""What is written of many arrays of one dataset at once."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas
from atlas.errors import ArrayNotFoundError, InvalidTypeError
from atlas.storage import MemoryStorage
from atlas.write import writer as writer_module

CELLS = {
    "flat": np.arange(5, dtype="i4"),
    "chunked": np.arange(6, dtype="i4").reshape(2, 3),
    "scalar": np.array(7, "i4"),
    "none": np.zeros((0, 2), "i4"),
    "many": np.arange(400_000, dtype="i4"),
}
CHUNKS = {"chunked": [1, 2]}


@pytest.fixture
def store():
    store = Atlas.create(MemoryStorage())
    view = store.create_dataset("d")
    for name, cells in CELLS.items():
        view.define_array(name, "int32", [f"{name}{axis}" for axis in range(cells.ndim)], cells.shape, CHUNKS.get(name))
    return store


def test_all_arrays_are_written_and_are_the_stores_own(store):
    data = {name: cells.copy() for name, cells in CELLS.items()}
    store._session.writer.write_arrays("d", data)
    for cells in data.values():
        cells[...] = -1
    for opened in (store, reopened(store)):
        assert {name: opened["d"].read_array(name).tolist() for name in CELLS} == {
            name: cells.tolist() for name, cells in CELLS.items()
        }


def reopened(store):
    store.flush()
    return Atlas.open(store._session.view.storage)


def test_cells_that_do_not_fit_change_nothing(store):
    with pytest.raises(InvalidTypeError, match="array 'scalar' is of dtype int32"):
        store._session.writer.write_arrays("d", CELLS | {"scalar": np.array(0.5)})
    with pytest.raises(ArrayNotFoundError):
        store._session.writer.write_arrays("d", {"flat": CELLS["flat"], "other": CELLS["flat"]})
    assert store["d"].read_array("flat").tolist() == [0] * 5


def test_an_array_that_another_thread_has_declared_anew_gets_cells_of_its_schema(store, monkeypatch):
    one_chunk = writer_module.one_chunk

    def declared_anew(cells, schema, start, limits):
        monkeypatch.undo()
        store["d"].delete_array("flat")
        store["d"].define_array("flat", "int32", ["x"], [5], [2], 9)
        return one_chunk(cells, schema, start, limits)

    monkeypatch.setattr(writer_module, "one_chunk", declared_anew)
    store._session.writer.write_arrays("d", {"flat": CELLS["flat"]})
    assert store["d"].array_meta("flat")["chunk_shape"] == [2]
    for opened in (store, reopened(store)):
        assert opened["d"].read_array("flat").tolist() == [0, 1, 2, 3, 4]
