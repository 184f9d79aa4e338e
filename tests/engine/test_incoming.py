from __future__ import annotations

import numpy as np
import pytest

from atlas.engine.incoming import as_cells
from atlas.errors import InvalidTypeError
from atlas.format.dtypes import DATATYPES
from atlas.format.schema import make_schema

NUMBERS = [name for name, datatype in DATATYPES.items() if datatype.kind in {"int", "uint", "float"}]


def schema(dtype, fill=None):
    return make_schema(dtype, ["x"], [3], fill_value=fill)


@pytest.mark.parametrize("name", NUMBERS)
def test_data_of_the_dtype_is_taken_in_any_byte_order(name):
    data = np.array([1, 2, 100], name)
    assert as_cells(data, schema(name), "t") is data
    swapped = data.astype(data.dtype.newbyteorder(">"))
    found = as_cells(swapped, schema(name), "t")
    assert found.dtype == DATATYPES[name].cell
    assert found.tolist() == [1, 2, 100]


@pytest.mark.parametrize(
    "data", [np.array([1, 2], "i8"), np.array([1, 2], "M8[ns]"), np.array([1, 2], ">M8[ns]"), np.array([1, 2], ">i8")]
)
def test_timestamps_are_dates_or_ticks(data):
    found = as_cells(data, schema("timestamp_nanoseconds"), "t")
    assert (found.dtype, found.tolist()) == (np.dtype("<i8"), [1, 2])


@pytest.mark.parametrize("name", DATATYPES)
def test_data_of_other_dtypes_is_refused(name):
    others = [np.zeros(2, other) for other in ("?", "f2", "c8", "M8[s]", "m8[ns]", "V2", "i1", "u2", "f4", "O", "U3")]
    taken = DATATYPES[name]
    for data in others:
        if data.dtype == taken.cell or (taken.cell is None and data.dtype.kind in "OU"):
            continue
        with pytest.raises(InvalidTypeError, match="does not fit"):
            as_cells(data, schema(name), "t")


@pytest.mark.parametrize("data", [[1, 2], 5, None, (1,), "text", memoryview(b"a")])
def test_what_is_no_array_is_refused(data):
    with pytest.raises(InvalidTypeError, match="is a numpy ndarray"):
        as_cells(data, schema("int64"), "t")


def test_numpy_scalars_are_arrays_without_axes():
    assert as_cells(np.float32(1.5), make_schema("float32", [], []), "t").shape == ()


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_masked_cells_become_the_fill(dtype):
    data = np.ma.MaskedArray(np.array([1, 2, 3], dtype), [False, True, False])
    assert as_cells(data, schema(dtype, 9), "t").tolist() == [1, 9, 3]
    with pytest.raises(InvalidTypeError, match="no fill_value"):
        as_cells(data, schema(dtype), "t")
    nothing_masked = np.ma.MaskedArray(np.array([1, 2, 3], dtype))
    assert as_cells(nothing_masked, schema(dtype), "t").tolist() == [1, 2, 3]


def test_masked_dates_and_text_become_the_fill():
    dates = np.ma.MaskedArray(np.array([1, 2], "M8[ns]"), [True, False])
    ticks = np.ma.MaskedArray(np.array([1, 2]), [True, False])
    for data in (dates, ticks):
        assert as_cells(data, schema("timestamp_nanoseconds", 7), "t").tolist() == [7, 2]
    text = np.ma.MaskedArray(np.array(["a", "b"], object), [True, False])
    assert as_cells(text, schema("string", "?"), "t").tolist() == ["?", "b"]


def test_a_masked_array_is_not_changed():
    data = np.ma.MaskedArray(np.array([1, 2, 3]), [False, True, False])
    as_cells(data, schema("int64", 9), "t")
    assert data.data.tolist() == [1, 2, 3]
