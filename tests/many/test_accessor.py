"""`xr.Dataset.atlas`: registered by `import atlas`, and equal to the method of the store."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from atlas.errors import InvalidTypeError
from atlas.many.accessor import AtlasAccessor


def test_write_is_add_xr_dataset(store):
    ds = xr.Dataset({"t": ("x", np.arange(4))})
    assert isinstance(ds.atlas, AtlasAccessor)
    assert ds.atlas.write(store, "a") is None
    assert ds.atlas.write(store, "b", chunks={"t": [3]}) is None
    xr.testing.assert_identical(store.to_xarray("a"), ds)
    assert store.open_dataset("b").array_meta("t")["chunk_shape"] == [3]


def test_a_path_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(InvalidTypeError, match=r"an open store, .* is str; open it first: store = atlas\.Atlas\.open"):
        xr.Dataset().atlas.write(str(tmp_path), "a")
