"""Native and Python codecs, compiled and plain kernels: the same values, in files that each can read."""

from __future__ import annotations

import numpy as np
import pytest

from tests.api.subprocesses import run_python

WRITE = """
    import sys, numpy as np, atlas
    from atlas.format.block_types import FILTERS
    from tests.api.samples import DTYPES, make_cells, put
    from tests.api.test_codecs import decimals
    for codec in ("zstd", "lz4", "none"):
        for chosen in ("auto", *FILTERS) if codec != "none" else ("auto",):
            with atlas.Atlas.create(f"{sys.argv[1]}/{codec}-{chosen}", codec, filter=chosen) as store:
                view = store.create_dataset("d")
                for seed, dtype in enumerate(DTYPES):
                    put(view, dtype, make_cells(dtype, (6, 9), seed), dtype, (4, 5))
                for name, (dtype, cells) in decimals().items():
                    put(view, name, cells, dtype)
    print("written")
"""
READ = """
    import sys, numpy as np, atlas
    from pathlib import Path
    from tests.api.samples import DTYPES, make_cells
    from tests.api.test_codecs import decimals
    from tests.model import identical
    stores = sorted(Path(sys.argv[1]).iterdir())
    for path in stores:
        store = atlas.Atlas.open(path)
        view = store.open_dataset("d")
        for seed, dtype in enumerate(DTYPES):
            cells = make_cells(dtype, (6, 9), seed)
            assert identical(view.read_array(dtype), cells), (path, dtype)
            assert identical(view.read_array(dtype, [1, 2], [4, 5]), cells[1:5, 2:7].copy()), (path, dtype)
            assert store.read_array_across_stacked(dtype, ["d", "d"]).shape == (2, 6, 9)
        for name, (_, cells) in decimals().items():
            assert identical(view.read_array(name), cells), (path, name)
            assert identical(view.read_array(name, [270], [20]), cells[270:290].copy()), (path, name)
    print(len(stores), sorted(map(repr, view.array_stats("float32").values())))
"""


def decimals():
    """Dtype and cells of arrays that the filters of integers take, with some missing cells."""
    steps = np.arange(700) // 3
    found = {"steps": ("int32", steps.astype("i4"))}
    for dtype, kind in (("float32", np.float32), ("float64", np.float64)):
        for name, cells in (("decimals", (steps / 100).astype(kind)), ("packed", steps.astype(kind) * kind(0.01))):
            cells[5:45] = np.nan
            cells[99] = 1 / 3
            found[f"{name} {dtype}"] = dtype, cells
    return found


WAYS = {
    "native": {"ATLAS_CODECS": "native"},
    "python": {"ATLAS_CODECS": "python"},
    "interpreted": {"NUMBA_DISABLE_JIT": "1", "ATLAS_CODECS": ""},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folders = {way: tmp_path_factory.mktemp(way) for way in WAYS}
    for way, folder in folders.items():
        assert run_python(WRITE, folder, **WAYS[way]) == "written"
    return folders


@pytest.mark.parametrize("reader", WAYS)
def test_each_way_reads_what_the_others_wrote(written, reader):
    answers = {run_python(READ, folder, **WAYS[reader]) for folder in written.values()}
    assert len(answers) == 1
    assert answers.pop().startswith("15 ")


def test_an_unknown_way_is_refused():
    with pytest.raises(AssertionError, match="ATLAS_CODECS must be"):
        run_python("import tempfile, atlas; atlas.Atlas.create(tempfile.mkdtemp() + '/s')", ATLAS_CODECS="rust")
