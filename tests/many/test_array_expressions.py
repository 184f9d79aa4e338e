"""Arrays of dask that are expressions (`array.query-planning`) hold what others do: of one dataset and of many."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.api.subprocesses import run_python

SCRIPT = """
import sys
import dask.array as da, numpy as np, xarray as xr
from atlas import Atlas
from atlas.engine import AtlasBackendEntrypoint

assert hasattr(da.Array, "expr")
store = Atlas.create(sys.argv[1])
cells = {f"d{at}": np.random.default_rng(at).random((5 * at + 1, 3)).round(2) for at in range(4)}
for name, own in cells.items():
    blocks = da.from_array(own, chunks=(4, 3))
    store.add_xr_dataset(xr.Dataset({"t": (("x", "y"), blocks)}, {"lat": 1.5}), name, chunks={"x": 4})
store.flush()
one = store.to_xarray("d3")["t"].data
assert one.chunks == ((4, 4, 4, 4), (3,))
np.testing.assert_array_equal((one[::3] + 1).compute(), cells["d3"][::3] + 1)
np.testing.assert_allclose(one.mean().compute(), cells["d3"].mean())
lazy = xr.open_dataset(sys.argv[1], engine=AtlasBackendEntrypoint, group="d2", chunks={})["t"]
np.testing.assert_array_equal(lazy.data.compute(), cells["d2"])
flat = np.concatenate(list(cells.values()))
for combine in ("ragged", "concat"):
    many = store.open_many(combine=combine, chunks="auto")["t"]
    assert many.data.name == store.open_many(combine=combine, chunks="auto")["t"].data.name
    np.testing.assert_array_equal(many.data.compute(), flat)
    np.testing.assert_array_equal(many.data[3:9].sum(axis=0).compute(), flat[3:9].sum(axis=0))
stack = store.open_many(missing="fill", chunks={"dataset": 3})["t"].data
assert stack.chunks[0] == (3, 1)
np.testing.assert_allclose(da.nansum(stack).compute(), flat.sum())
print("all")
"""


@pytest.mark.skipif(find_spec("dask.array._array_expr") is None, reason="this version of dask has no array expressions")
def test_they_hold_what_other_arrays_do(tmp_path):
    assert run_python(SCRIPT, tmp_path / "store", DASK_ARRAY__QUERY_PLANNING="True") == "all"
