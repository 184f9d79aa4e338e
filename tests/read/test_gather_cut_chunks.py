"""A chunk that is cut over several blocks, read by itself from disk."""

from __future__ import annotations

import numpy as np
import pytest

from atlas import Atlas


@pytest.mark.parametrize("cells", [131_073, 200_000, 500_000])
def test_a_single_read_of_a_chunk_cut_over_blocks_returns_what_was_written(tmp_path, cells):
    data = np.arange(cells, dtype=np.float32)
    with Atlas.create(tmp_path / "store") as store:
        view = store.create_dataset("a")
        view.define_array("t", "float32", ["x"], [cells])
        view.write_array("t", [0], data)
    view = Atlas.open(tmp_path / "store").open_dataset("a")
    np.testing.assert_array_equal(view.read_array("t"), data)
    np.testing.assert_array_equal(view.read_array("t", [cells - 3], [3]), data[-3:])
