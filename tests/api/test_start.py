"""What a fresh process loads: no xarray and no dask before somebody needs them."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from tests.api.subprocesses import run_python

SLOW = ["xarray", "dask", "pandas", "cftime", "netCDF4", "distributed", "obstore"]
NAMES = ["a", "b", "c"]


@pytest.fixture
def location(tmp_path):
    """A store of three datasets."""
    with atlas.Atlas.create(tmp_path / "store") as store:
        store.create_datasets(NAMES)
        store.write_array_across_stacked("t", NAMES, np.arange(12, dtype=np.float32).reshape(3, 4), dims=["x"])
    return tmp_path / "store"


def test_a_stacked_read_loads_neither_xarray_nor_dask(location):
    out = run_python(
        f"""
        import sys
        import atlas
        store = atlas.Atlas.open(sys.argv[1])
        cells = store.read_array_across_stacked("t", store.list_datasets(), [1], [2])
        print(cells.tolist(), sorted(set({SLOW}) & set(sys.modules)))
        """,
        location,
    )
    assert out == "[[1.0, 2.0], [5.0, 6.0], [9.0, 10.0]] []"


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["ls", "--long"], ["show", "a"], ["info"]])
def test_looking_from_a_shell_loads_neither_xarray_nor_dask(location, arguments):
    command, *options = arguments
    given = [command] if command == "--help" else [command, str(location), *options]
    out = run_python(
        f"""
        import sys
        from atlas.cli import main
        main({given}, standalone_mode=False)
        print(sorted(set({SLOW}) & set(sys.modules)))
        """
    )
    assert len(out.splitlines()) > 1
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("imports", ["atlas, xarray", "xarray, atlas", "atlas.many.accessor, xarray"])
def test_xarray_has_the_accessor_whichever_is_imported_first(imports):
    assert run_python(f"import {imports}\nprint(type(xarray.Dataset().atlas).__name__)") == "AtlasAccessor"
