"""What a dataset holds, on its way between processes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr

from atlas.xarray import Contents, contents_of, dataset_of

CELLS = [
    np.arange(6, dtype="i2").reshape(2, 3)[:, ::2],
    np.array(2.5),
    np.zeros((0, 4), "f4"),
    np.array([[True, False]]),
    np.array(["2026-01-01", "NaT"], "M8[ns]"),
    np.array([5, 6], "m8[s]"),
    np.array([1, 2], ">i4"),
    np.array(["a", "", "é"], object),
    np.array([b"a", b""], "S1"),
    np.arange(100_000.0),
]


@pytest.mark.parametrize("cells", CELLS, ids=lambda cells: f"{cells.dtype}-{cells.size}")
def test_pickling_changes_nothing(cells):
    variable = xr.Variable([f"d{axis}" for axis in range(cells.ndim)], cells, {"a": 1}, {"dtype": cells.dtype})
    before = Contents({"v": variable}, frozenset({"v"}), {"v": cells.dtype}, {"b": [2]}, {"source": "f"})
    after = pickle.loads(pickle.dumps(before, protocol=5))
    assert (after.coords, after.indexes, after.attrs, after.encoding) == (
        before.coords, before.indexes, before.attrs, before.encoding,
    )  # fmt: skip
    (made,) = after.variables.values()
    assert (made.dims, made.dtype, made.attrs, made.encoding) == (
        variable.dims, variable.dtype, variable.attrs, variable.encoding,
    )  # fmt: skip
    np.testing.assert_array_equal(made.values, variable.values)


def test_metadata_of_a_dtype_comes_along():
    dtype = np.dtype("u1", metadata={"enum": {"clear": 0}})
    before = Contents({"v": xr.Variable("x", np.zeros(2, dtype))}, frozenset(), {})
    assert pickle.loads(pickle.dumps(before, protocol=5)).variables["v"].dtype.metadata == dtype.metadata


def test_a_dataset_comes_back():
    ds = xr.Dataset({"t": ("x", [1.5, 2.5])}, {"x": ["a", "b"]}, {"title": "T"})
    ds.t.encoding["zlib"] = True
    found = dataset_of(pickle.loads(pickle.dumps(contents_of(ds), protocol=5)))
    xr.testing.assert_identical(found, ds)
    assert found.t.encoding == {"zlib": True}
